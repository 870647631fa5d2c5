// SPDX-License-Identifier: MIT OR Apache-2.0
//! GICv2: a distributor and a CPU interface, both in memory, the latter and the private part of the former banked for
//! each CPU.
//!
//! Which group our interrupts are in depends on where we run, and the same writes are right everywhere:
//!
//! - Without the Security Extensions (QEMU's machines as they come) there are groups 0 and 1, and bit 0 of both
//!   control registers enables group 0. All interrupts are put there.
//! - With them, in the non-secure state (a real GIC-400 behind firmware), group 0 is out of reach: GICD_IGROUPR
//!   ignores us, and bit 0 of both control registers enables group 1 (IHI 0048B, 4.3.1 and 4.4.1, non-secure copies).
//!
//! In both, interrupts are read from GICC_IAR and ended in GICC_EOIR. The aliased registers beside them, which the
//! driver crate calls group 1's, are the secure state's view of group 1 and give nothing here. The crate's `setup`
//! enables bit 1 where there are Security Extensions, which is right in the secure state only, so it is not used.

use core::mem::offset_of;

use arm_gic::gicv2::registers::{Gicc, Gicd};
use arm_gic::{IntId, InterruptGroup, gicv2};
use cleave::aarch64::barrier;
use cleave::tables::VirtAddr;

use super::controller::{CpuInterface, GicError, Interrupt};
use super::{FOUR_PRIORITIES, PRIVATE_BYTE_WORDS, PRIVATE_WORDS, SGIS, encoding};
use crate::io::mmio::Registers;

/// GICD_CTLR and GICC_CTLR: interrupts of our group.
const ENABLE: u32 = 1 << 0;
/// GICC_CTLR: bits 8:5 say whether an interrupt bypasses a disabled CPU interface; firmware's choice, and kept.
const BYPASS: u32 = 0x1e0;
/// Registers the driver crate has no fields for (IHI 0048B, GICD_CPENDSGIRn and GICC_APRn), four words each.
const GICD_CPENDSGIR: usize = 0xf10;
const GICC_APR: usize = 0xd0;

/// A GICv2 at two addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GicV2 {
    gicd: Registers,
    gicc: Registers,
}

impl GicV2 {
    /// Returns the GICv2 of [`InterruptController::v2`](super::InterruptController::v2).
    ///
    /// # Safety
    /// As there.
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(super) const unsafe fn new(distributor: VirtAddr, cpu_interface: VirtAddr) -> Self {
        // SAFETY: the caller promises the mappings; no register of a GICv2 makes the device access memory.
        unsafe { Self { gicd: Registers::new(distributor), gicc: Registers::new(cpu_interface) } }
    }

    /// Returns the crate's driver, for one access.
    #[expect(unsafe_code, reason = "a device is named by its address")]
    #[inline]
    fn driver(&self) -> gicv2::GicV2<'static> {
        // SAFETY: the maker of `self` promised the mappings. Drivers on several CPUs are alive at once, but used for
        // registers that are read only or banked.
        unsafe { gicv2::GicV2::new(self.gicd.pointer().as_ptr(), self.gicc.pointer().as_ptr()) }
    }

    pub(super) fn init_distributor(&self) -> Result<(), GicError> {
        // GICC_IIDR, architecture version; 1 differs in nothing that is used here.
        let found = (self.gicc.read(offset_of!(Gicc, iidr)) >> 16 & 0xf) as u8;
        if !matches!(found, 1 | 2) {
            return Err(GicError::WrongVersion { expected: 2, found });
        }
        let words = self.driver().typer().num_irqs() as usize / 32;
        let shared = words - PRIVATE_WORDS;
        // Nothing is forwarded while things change.
        self.gicd.write(offset_of!(Gicd, ctlr), 0);
        self.gicd.fill(offset_of!(Gicd, icenabler) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, icpendr) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, icactiver) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, igroupr) + 4 * PRIVATE_WORDS, shared, 0);
        let priorities = offset_of!(Gicd, ipriorityr) + 4 * PRIVATE_BYTE_WORDS;
        self.gicd.fill(priorities, 8 * shared, FOUR_PRIORITIES);
        self.gicd.write(offset_of!(Gicd, ctlr), ENABLE);
        Ok(())
    }

    pub(super) fn init_cpu(&self) -> Result<CpuInterface, GicError> {
        let bypass = self.gicc.read(offset_of!(Gicc, ctlr)) & BYPASS;
        self.gicc.write(offset_of!(Gicc, ctlr), bypass);
        self.gicd.fill(offset_of!(Gicd, icenabler), PRIVATE_WORDS, !0);
        self.gicd.fill(offset_of!(Gicd, icpendr), PRIVATE_WORDS, !0);
        self.gicd.fill(GICD_CPENDSGIR, 4, !0);
        self.gicd.fill(offset_of!(Gicd, icactiver), PRIVATE_WORDS, !0);
        self.gicd.fill(offset_of!(Gicd, igroupr), PRIVATE_WORDS, 0);
        self.gicd.fill(offset_of!(Gicd, ipriorityr), PRIVATE_BYTE_WORDS, FOUR_PRIORITIES);
        self.gicd.write(offset_of!(Gicd, isenabler), SGIS);
        // An interrupt that firmware, or a kernel before this one, never ended would hold back all of its priority.
        self.gicc.fill(GICC_APR, 4, 0);
        self.driver().set_priority_mask(0xff);
        if self.driver().get_priority_mask() == 0 {
            return Err(GicError::PriorityMask);
        }
        // EOImodeNS stays 0: GICC_EOIR drops the priority and deactivates.
        self.gicc.write(offset_of!(Gicc, ctlr), bypass | ENABLE);
        Ok(CpuInterface::V2 { target: self.own_target()? })
    }

    /// Returns the bit by which SGIs reach this CPU. Its CPU interface is wired, has no relation to its affinity, and
    /// is read from the banked target registers of its private interrupts. A GIC with one CPU interface reads zero.
    fn own_target(&self) -> Result<u8, GicError> {
        let words = offset_of!(Gicd, itargetsr)..offset_of!(Gicd, itargetsr) + 4 * PRIVATE_BYTE_WORDS;
        let target = words.step_by(4).find_map(|offset| encoding::v2::own_target(self.gicd.read(offset)));
        match target {
            Some(target) => Ok(target),
            None if self.driver().typer().cpu_count() == 1 => Ok(1),
            None => Err(GicError::NoTarget),
        }
    }

    /// Writes `command` to GICD_SGIR.
    #[inline]
    pub(super) fn send_sgi(&self, command: u32) {
        // DSB ISHST: orders this CPU's stores to ordinary memory before the SGI, so that the CPU that takes it sees
        // them (pairs with the acquire of the data they published). The SGI is a store to Device memory, which alone
        // would not be ordered behind them.
        barrier::dsb_ishst();
        self.gicd.write(offset_of!(Gicd, sgir), command);
    }

    #[inline]
    pub(super) fn acknowledge(&self) -> Option<Interrupt> {
        let token: IntId = self.driver().get_and_acknowledge_interrupt(InterruptGroup::Group0)?;
        // DSB SY: the read of GICC_IAR completes before any load of the handler's. Without it the handler could act on
        // what it read before this very interrupt was sent, and the call be lost: nothing else orders a Device load
        // before a later load of ordinary memory. Pairs with the DSB in `send_sgi`.
        barrier::dsb_sy();
        Some(Interrupt::new(encoding::v2::acknowledged(token.raw_value())?, token))
    }

    #[inline]
    pub(super) fn end(&self, token: IntId) {
        // With the sender's bits, as read (4.4.5).
        self.driver().end_interrupt(token, InterruptGroup::Group0);
    }
}
