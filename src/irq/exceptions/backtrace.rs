// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walking frame records (AAPCS64, "The Frame Pointer") without ever faulting.

use core::fmt;

use cleave::aarch64::translate;
use cleave::tables::VirtAddr;

use crate::cpu::percpu;
use crate::mm::image::{Section, boot_slot};
use crate::mm::layout::{Part, Slot};

/// More than any sound call chain of the kernel has.
pub(crate) const MOST_FRAMES: usize = 32;

/// The return addresses from a frame pointer upwards.
#[derive(Clone, Copy)]
pub(crate) struct Backtrace {
    frame_pointer: u64,
}

/// Returns the call chain whose innermost frame record is at `frame_pointer`.
pub(crate) fn backtrace(frame_pointer: u64) -> Backtrace {
    Backtrace { frame_pointer }
}

/// Returns the caller's own call chain.
#[inline(always)]
pub(crate) fn backtrace_here() -> Backtrace {
    let frame_pointer;
    // SAFETY: reads a register; frame pointers are kept (.cargo/config.toml).
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) };
    Backtrace { frame_pointer }
}

/// One step of the walk.
enum Step {
    /// The return address of a frame, and the frame's number.
    Return(usize, u64),
    /// The record at this address is not on a stack of this CPU: the walk ends.
    Lost(u64),
    /// The record at the first address points back to the second: the walk ends.
    Loops(u64, u64),
    /// There are more frames than are looked at.
    More,
}

impl Backtrace {
    /// Calls `each` with every return address, the innermost first.
    pub(crate) fn addresses(&self, mut each: impl FnMut(u64)) {
        let walked = self.walk(|step| {
            if let Step::Return(_, address) = step {
                each(address);
            }
            Ok(())
        });
        // Nothing above fails.
        let _ = walked;
    }

    fn walk(&self, mut each: impl FnMut(Step) -> fmt::Result) -> fmt::Result {
        let slot = percpu::try_this_cpu().map_or_else(boot_slot, |cpu| cpu.slot);
        let mut record = self.frame_pointer;
        for number in 0..MOST_FRAMES {
            // The root has x29 = 0 (boot/head.S, boot/secondary.S).
            if record == 0 {
                return Ok(());
            }
            let Some((next, back)) = read_record(slot, VirtAddr(record)) else { return each(Step::Lost(record)) };
            if back != 0 {
                each(Step::Return(number, back))?;
            }
            // Records go up within a stack, and from one stack to another only through an exception.
            if next <= record && next != 0 && stack_of(slot, next) == stack_of(slot, record) {
                return each(Step::Loops(record, next));
            }
            record = next;
        }
        each(Step::More)
    }
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Section::Text.virt();
        self.walk(|step| match step {
            Step::Return(number, address) => {
                let place = if text.contains(&VirtAddr(address)) { "" } else { "  (not in the text)" };
                writeln!(f, "  #{number:<2} {address:#018x}{place}")
            }
            Step::Lost(record) => writeln!(f, "  (the frame record at {record:#x} is not on a stack of this CPU)"),
            Step::Loops(record, next) => {
                writeln!(f, "  (the frame record at {record:#x} points back to {next:#x})")
            }
            Step::More => writeln!(f, "  (more)"),
        })
    }
}

/// Returns the stack of this CPU that `address` lies on.
fn stack_of(slot: Slot, address: u64) -> Option<Part> {
    [Part::Thread, Part::Exception, Part::Emergency]
        .into_iter()
        .find(|part| slot.range(*part).contains(&VirtAddr(address)))
}

/// Returns the two words of a frame record, if it lies whole on a stack of this CPU.
fn read_record(slot: Slot, address: VirtAddr) -> Option<(u64, u64)> {
    stack_of(slot, address.0)?;
    stack_of(slot, address.0 + 15)?;
    if !address.is_aligned(8) {
        return None;
    }
    // The block that names the stacks may be damaged: ask the MMU too. A page holds the record whole or the next one does.
    translate::read(address).address()?;
    translate::read(address.offset(8)).address()?;
    let words = address.0 as *const u64;
    // SAFETY: aligned, readable as the MMU has just said, on a stack, where every word is plain data; volatile, as the
    // compiler does not know that the frames below are alive.
    unsafe { Some((words.read_volatile(), words.add(1).read_volatile())) }
}
