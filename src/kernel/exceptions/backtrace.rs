//! Walking frame records (AAPCS64, "The Frame Pointer") without ever faulting.

use core::fmt;

use cleave::arch::translate;
use cleave::paging::VirtAddr;

use crate::kernel::image::{Section, boot_slot};
use crate::kernel::layout::{Part, Slot};
use crate::kernel::percpu;

/// More than any sound call chain of the kernel has.
const MOST_FRAMES: usize = 32;

/// The return addresses from a frame pointer upwards.
#[derive(Clone, Copy)]
pub(crate) struct Backtrace {
    frame_pointer: u64,
}

/// The call chain whose innermost frame record is at `frame_pointer`.
pub(crate) fn backtrace(frame_pointer: u64) -> Backtrace {
    Backtrace { frame_pointer }
}

/// The caller's own call chain.
#[inline(always)]
pub(crate) fn backtrace_here() -> Backtrace {
    let frame_pointer;
    // SAFETY: reads a register; frame pointers are kept (.cargo/config.toml).
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) };
    Backtrace { frame_pointer }
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = percpu::try_this_cpu().map_or_else(boot_slot, |cpu| cpu.slot);
        let text = Section::Text.virt();
        let mut record = self.frame_pointer;
        for number in 0..MOST_FRAMES {
            // The root has x29 = 0 (boot/head.S, boot/secondary.S).
            if record == 0 {
                return Ok(());
            }
            let Some((next, back)) = read_record(slot, VirtAddr(record)) else {
                return writeln!(f, "  (the frame record at {record:#x} is not on a stack of this CPU)");
            };
            if back != 0 {
                let place = if text.contains(&VirtAddr(back)) { "" } else { "  (not in the text)" };
                writeln!(f, "  #{number:<2} {back:#018x}{place}")?;
            }
            // Records go up within a stack, and from one stack to another only through an exception.
            if next <= record && next != 0 && stack_of(slot, next) == stack_of(slot, record) {
                return writeln!(f, "  (the frame record at {record:#x} points back to {next:#x})");
            }
            record = next;
        }
        writeln!(f, "  (more)")
    }
}

/// The stack of this CPU that `address` lies on.
fn stack_of(slot: Slot, address: u64) -> Option<Part> {
    [Part::Thread, Part::Exception, Part::Emergency]
        .into_iter()
        .find(|part| slot.range(*part).contains(&VirtAddr(address)))
}

/// The two words of a frame record, if it lies whole on a stack of this CPU.
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
