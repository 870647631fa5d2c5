// SPDX-License-Identifier: MIT OR Apache-2.0
//! GICv3's redistributors: the search for each CPU's own, and its registers.
//!
//! The driver crate waits for a redistributor without a bound: for one that is powered down that would be for ever, on a CPU
//! that has nothing to say so with. Every wait here ends in an error that names the register.

use core::mem::offset_of;

use crate::devicetree::Affinity;
use arm_gic::gicv3::GicRedistributor;
use arm_gic::gicv3::registers::{Gicr, GicrSgi, GicrTyper, Sgi};
use cleave::tables::VirtAddr;
use safe_mmio::UniqueMmioPointer;

use super::controller::GicError;
use super::encoding::v3::{LpiTables, private_words};
use super::{FOUR_PRIORITIES, PATIENCE, SGIS};
use crate::cpu::wait::wait;
use crate::io::mmio::Registers;

/// The offset of a redistributor's SGIs and private interrupts: its second frame.
const SGI_FRAME: usize = offset_of!(GicrSgi, sgi);

/// GICR_CTLR: LPIs; a write that is not in effect yet (IHI 0069H, GICR_CTLR).
const CONTROL: usize = offset_of!(Gicr, ctlr);
const ENABLE_LPIS: u32 = 1 << 0;
const PENDING_WRITE: u32 = 1 << 3;

/// GICR_WAKER (IHI 0069H): the CPU may sleep, and the interface to it is quiet.
const WAKER: usize = offset_of!(Gicr, waker);
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;

/// The state of a redistributor's LPIs after [`Redistributor::disable_lpis`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lpis {
    /// They were off, or there are none.
    Off,
    /// They were on and are off now.
    SwitchedOff,
}

/// Reads GICR_TYPER.
#[expect(unsafe_code, reason = "a device is named by its address")]
fn typer(gicr: Registers) -> GicrTyper {
    // SAFETY: the maker of `gicr` promised the mapping; the register is read only.
    GicRedistributor::new(unsafe { UniqueMmioPointer::new(gicr.pointer::<GicrSgi>()) }).typer()
}

/// Sets up the private interrupts of the CPU `cpu`, which this runs on and `gicr` belongs to: all in group 1, SGIs enabled and
/// all others disabled, none pending or active.
///
/// # Errors
/// When the redistributor does not do as it is told.
pub(super) fn init(gicr: Registers, cpu: Affinity) -> Result<(), GicError> {
    // Where only the secure state may write the register, it reads as zero.
    let waker = gicr.read(WAKER);
    if waker & (PROCESSOR_SLEEP | CHILDREN_ASLEEP) != 0 {
        gicr.write(WAKER, waker & !PROCESSOR_SLEEP);
        if !wait(PATIENCE, || gicr.read(WAKER) & CHILDREN_ASLEEP == 0) {
            return Err(GicError::Asleep { cpu });
        }
    }
    let words = private_words(gicr.read(offset_of!(Gicr, typer)));
    gicr.fill(SGI_FRAME + offset_of!(Sgi, icenabler), words, !0);
    // An interrupt that is disabled may still be forwarded until then.
    settle(gicr)?;
    gicr.fill(SGI_FRAME + offset_of!(Sgi, igroupr), words, !0);
    gicr.fill(SGI_FRAME + offset_of!(Sgi, ipriorityr), 8 * words, FOUR_PRIORITIES);
    // Of private interrupts only: what triggers an SGI, the first of the words, cannot be chosen.
    gicr.fill(SGI_FRAME + offset_of!(Sgi, icfgr) + 4, 2 * words - 1, 0);
    gicr.fill(SGI_FRAME + offset_of!(Sgi, icpendr), words, !0);
    gicr.fill(SGI_FRAME + offset_of!(Sgi, icactiver), words, !0);
    gicr.write(SGI_FRAME + offset_of!(Sgi, isenabler), SGIS);
    settle(gicr)
}

/// Waits until the redistributor has done what was written: GICR_CTLR.RWP.
fn settle(gicr: Registers) -> Result<(), GicError> {
    let done = wait(PATIENCE, || gicr.read(CONTROL) & PENDING_WRITE == 0);
    if done { Ok(()) } else { Err(GicError::PendingWrite { register: "GICR_CTLR" }) }
}

/// Returns the architecture's revision in GICD_PIDR2 or GICR_PIDR2.
pub(super) const fn revision(pidr2: u32) -> u8 {
    (pidr2 >> 4 & 0xf) as u8
}

/// One CPU's redistributor, as the walk finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Redistributor {
    /// The CPU it belongs to.
    pub(crate) affinity: Affinity,
    /// Its registers.
    pub(crate) base: VirtAddr,
}

impl Redistributor {
    pub(super) fn at(gicr: Registers) -> Self {
        Self { affinity: Affinity::from_mpidr(typer(gicr).core_mpidr()), base: gicr.base() }
    }

    /// Switches off the LPIs of this redistributor, which firmware, or a kernel before this one, may have left on: with them
    /// the GIC writes to memory. Once, before its CPU is started.
    ///
    /// # Errors
    /// Where they cannot be switched off: which memory the GIC goes on using.
    pub(crate) fn disable_lpis(&self) -> Result<Lpis, LpiTables> {
        #[expect(unsafe_code, reason = "a device is named by its address")]
        // SAFETY: `redistributors` was promised the mapping.
        let gicr = unsafe { Registers::new(self.base) };
        if gicr.read(CONTROL) & ENABLE_LPIS == 0 {
            return Ok(Lpis::Off);
        }
        gicr.write(CONTROL, gicr.read(CONTROL) & !ENABLE_LPIS);
        // RWP: the GIC has written what it cached of its tables. Whether the bit can be cleared at all is the
        // implementation's choice (IHI 0069H, GICR_CTLR.EnableLPIs).
        let done = wait(PATIENCE, || gicr.read(CONTROL) & PENDING_WRITE == 0);
        if done && gicr.read(CONTROL) & ENABLE_LPIS == 0 {
            return Ok(Lpis::SwitchedOff);
        }
        let [properties, pending] =
            [offset_of!(Gicr, propbaser), offset_of!(Gicr, pendbaser)].map(|offset| gicr.read_wide(offset));
        Err(LpiTables::new(properties, pending))
    }
}

/// The redistributors in one region, in the order they stand there.
#[derive(Debug)]
pub(crate) struct Redistributors {
    /// The next one, if the last was not the last.
    next: Option<Registers>,
    end: VirtAddr,
    stride: Option<u64>,
}

/// Walks the redistributors in the `bytes` bytes at `start`: one `reg` entry of the device tree; there may be several.
/// `stride` is the tree's `redistributor-stride`, if it has one. Do it once, for all CPUs: each step is two reads of a
/// device.
///
/// # Safety
/// The region is mapped as device memory, on every CPU and for good, and holds GICv3 redistributors.
#[expect(unsafe_code, reason = "a device is named by its address")]
pub(crate) unsafe fn redistributors(start: VirtAddr, bytes: u64, stride: Option<u64>) -> Redistributors {
    // SAFETY: the caller's promise; `next` stays inside the region.
    Redistributors { next: Some(unsafe { Registers::new(start) }), end: start.offset(bytes), stride }
}

impl Iterator for Redistributors {
    type Item = Redistributor;

    fn next(&mut self) -> Option<Redistributor> {
        let gicr = self.next.take()?;
        // The frames of one redistributor: RD and SGI, and two more where it has virtual LPIs (IHI 0069H, GICR_TYPER.VLPIS).
        const FRAMES: u64 = size_of::<GicrSgi>() as u64;
        if gicr.base().0 + FRAMES > self.end.0 || !matches!(revision(gicr.read(offset_of!(Gicr, pidr2))), 3 | 4) {
            return None;
        }
        let typer = typer(gicr);
        let frames = if typer.virtual_lpis_supported() { 2 * FRAMES } else { FRAMES };
        if !typer.last_redistributor() {
            #[expect(unsafe_code, reason = "a device is named by its address")]
            // SAFETY: `redistributors` was promised the whole region; the check above keeps the next one inside.
            let next = unsafe { Registers::new(gicr.base().offset(self.stride.unwrap_or(frames))) };
            self.next = Some(next);
        }
        Some(Redistributor::at(gicr))
    }
}
