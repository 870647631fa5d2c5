// SPDX-License-Identifier: MIT OR Apache-2.0
//! GICv3 and 4: a distributor and a redistributor for each CPU in memory, and a CPU interface in system registers.
//!
//! Our interrupts are in group 1, which is the non-secure state's own where there are two security states and the
//! natural choice where there is one. Nothing here writes what only the secure state may.

use core::arch::asm;
use core::mem::offset_of;

use crate::devicetree::Affinity;
use arm_gic::gicv3::GicCpuInterface;
use arm_gic::gicv3::registers::Gicd;
use arm_gic::{IntId, InterruptGroup};
use cleave::aarch64::{barrier, cpu};
use cleave::tables::VirtAddr;

use super::controller::{CpuInterface, GicError, Interrupt};
use super::redistributor::{self, Redistributor, revision};
use super::{FOUR_PRIORITIES, PATIENCE, PRIVATE_BYTE_WORDS, PRIVATE_PAIR_WORDS, PRIVATE_WORDS, encoding};
use crate::cpu::wait::wait;
use crate::io::mmio::Registers;

/// GICD_CTLR, as we see it: group 0 (group 1 without affinity routing, where there are two security states); group 1; affinity
/// routing; a write that is not in effect everywhere (IHI 0069H, GICD_CTLR).
const GROUP_0: u32 = 1 << 0;
const GROUP_1: u32 = 1 << 1;
const AFFINITY_ROUTING: u32 = 1 << 4;
const PENDING_WRITE: u32 = 1 << 31;

/// A GICv3's distributor. Redistributors come as arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GicV3 {
    gicd: Registers,
}

impl GicV3 {
    /// Returns the GICv3 of [`InterruptController::v3`](super::InterruptController::v3).
    ///
    /// # Safety
    /// As there.
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(super) const unsafe fn new(distributor: VirtAddr) -> Self {
        // SAFETY: the caller promises the mapping; nothing here sets up tables in memory for the device.
        Self { gicd: unsafe { Registers::new(distributor) } }
    }

    pub(super) fn init_distributor(&self) -> Result<(), GicError> {
        let found = revision(self.gicd.read(offset_of!(Gicd, pidr2)));
        if !matches!(found, 3 | 4) {
            return Err(GicError::WrongVersion { expected: 3, found });
        }
        let typer = self.gicd.read(offset_of!(Gicd, typer));
        let (shared, extended) = (encoding::v3::shared_words(typer), encoding::v3::extended_words(typer));
        // Off before affinity routing goes on: with a group enabled that is unpredictable (IHI 0069H, GICD_CTLR).
        self.gicd.write(offset_of!(Gicd, ctlr), self.gicd.read(offset_of!(Gicd, ctlr)) & !(GROUP_0 | GROUP_1));
        self.gicd.fill(offset_of!(Gicd, icenabler) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, icenabler_e), extended, !0);
        // A disabled group, and interrupts that are disabled, may still be forwarded until then.
        self.settle()?;
        self.gicd.write(offset_of!(Gicd, ctlr), self.gicd.read(offset_of!(Gicd, ctlr)) | AFFINITY_ROUTING);
        self.settle()?;
        if self.gicd.read(offset_of!(Gicd, ctlr)) & AFFINITY_ROUTING == 0 {
            return Err(GicError::NoAffinityRouting);
        }
        let priorities = offset_of!(Gicd, ipriorityr) + 4 * PRIVATE_BYTE_WORDS;
        let configuration = offset_of!(Gicd, icfgr) + 4 * PRIVATE_PAIR_WORDS;
        self.gicd.fill(offset_of!(Gicd, icpendr) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, icactiver) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, igroupr) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(priorities, 8 * shared, FOUR_PRIORITIES);
        self.gicd.fill(configuration, 2 * shared, 0);
        self.gicd.fill(offset_of!(Gicd, icpendr_e), extended, !0);
        self.gicd.fill(offset_of!(Gicd, icactive_e), extended, !0);
        self.gicd.fill(offset_of!(Gicd, igroupr_e), extended, !0);
        self.gicd.fill(offset_of!(Gicd, ipriorityr_e), 8 * extended, FOUR_PRIORITIES);
        self.gicd.fill(offset_of!(Gicd, icfgr_e), 2 * extended, 0);
        self.gicd.write(offset_of!(Gicd, ctlr), self.gicd.read(offset_of!(Gicd, ctlr)) | GROUP_1);
        self.settle()
    }

    /// Waits until the distributor has done what was written: GICD_CTLR.RWP.
    fn settle(&self) -> Result<(), GicError> {
        let done = wait(PATIENCE, || self.gicd.read(offset_of!(Gicd, ctlr)) & PENDING_WRITE == 0);
        if done { Ok(()) } else { Err(GicError::PendingWrite { register: "GICD_CTLR" }) }
    }

    /// # Safety
    /// See [`InterruptController::init_cpu`](super::InterruptController::init_cpu).
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(super) unsafe fn init_cpu(&self, redistributor: Option<VirtAddr>) -> Result<CpuInterface, GicError> {
        let affinity = Affinity::from_mpidr(cpu::mpidr());
        let base = redistributor.ok_or(GicError::NoRedistributor { cpu: affinity })?;
        // SAFETY: the caller's promise.
        let gicr = unsafe { Registers::new(base) };
        let owner = Redistributor::at(gicr).affinity;
        if owner != affinity {
            return Err(GicError::WrongRedistributor { cpu: affinity, owner });
        }
        redistributor::init(gicr, affinity)?;
        init_cpu_interface()?;
        Ok(CpuInterface::V3 { affinity, redistributor: base })
    }

    /// Writes `command` to ICC_SGI1R_EL1.
    #[expect(unsafe_code, reason = "the driver crate has no way to set the range selector")]
    #[inline]
    pub(super) fn send_sgi(&self, command: u64) {
        // DSB ISHST: completes this CPU's stores before the SGI, so that the CPU that takes it sees them (pairs with
        // the acquire of the data they published). A write to a system register is not ordered behind stores at all.
        barrier::dsb_ishst();
        // SAFETY: ICC_SGI1R_EL1 sends an interrupt; it accesses no memory of ours.
        unsafe { asm!("msr S3_0_C12_C11_5, {}", in(reg) command, options(nostack, preserves_flags)) };
        // ISB: the SGI leaves now and not when the pipeline next drains; the sender may go on to WFI or a long loop.
        barrier::isb();
    }

    #[inline]
    pub(super) fn acknowledge(&self) -> Option<Interrupt> {
        let token: IntId = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?;
        // DSB SY: orders the activation before everything that the handler does, the end included: a read of
        // ICC_IAR1_EL1 alone does not say that the redistributor has seen it (IHI 0069H, on the effects of
        // acknowledging).
        barrier::dsb_sy();
        Some(Interrupt::new(encoding::v3::acknowledged(token.raw_value())?, token))
    }

    #[inline]
    pub(super) fn end(&self, token: IntId) {
        GicCpuInterface::end_interrupt(token, InterruptGroup::Group1);
        // ISB: the priority is dropped before what follows, a WFI for the next interrupt of the same priority say.
        barrier::isb();
    }
}

/// Sets up this CPU's ICC registers.
fn init_cpu_interface() -> Result<(), GicError> {
    GicCpuInterface::enable_system_register_el1();
    // ISB: the other registers exist for this CPU only once ICC_SRE_EL1.SRE is in effect.
    barrier::isb();
    if !system_registers_are_enabled() {
        return Err(GicError::NoSystemRegisters);
    }
    GicCpuInterface::enable_group1(false);
    reset_control();
    GicCpuInterface::set_priority_mask(0xff);
    // ISB: the mask reads back as written.
    barrier::isb();
    if GicCpuInterface::get_priority_mask() == 0 {
        return Err(GicError::PriorityMask);
    }
    GicCpuInterface::enable_group1(true);
    // ISB: interrupts come from here on, as far as PSTATE lets them.
    barrier::isb();
    Ok(())
}

/// Returns ICC_SRE_EL1.SRE, which reads as zero where a higher exception level keeps the registers to itself.
#[expect(unsafe_code, reason = "the driver crate has no way to read it")]
fn system_registers_are_enabled() -> bool {
    let sre: u64;
    // SAFETY: reading ICC_SRE_EL1 changes nothing.
    unsafe { asm!("mrs {}, S3_0_C12_C12_5", out(reg) sre, options(nomem, nostack, preserves_flags)) };
    sre & 1 != 0
}

/// Takes back what firmware, or a kernel before this one, chose for the CPU interface, and forgets interrupts that it
/// never ended: they would hold back all of their priority.
#[expect(unsafe_code, reason = "the driver crate has no access to these registers")]
fn reset_control() {
    let control: u64;
    // SAFETY: reading ICC_CTLR_EL1 changes nothing. Zero in it means EOImode 0, so that ICC_EOIR1_EL1 drops the
    // priority and deactivates, and CBPR 0 and PMHE 0, the plain meaning of the other registers.
    unsafe {
        asm!("mrs {0}, S3_0_C12_C12_4", "msr S3_0_C12_C12_4, xzr", out(reg) control,
            options(nomem, nostack, preserves_flags));
    }
    // PRIbits, bits 10:8: one less than the bits of a priority. ICC_AP1R1_EL1 exists from 6 of them on, the next two
    // from 7 on (IHI 0069H, ICC_AP1R<n>_EL1).
    let bits = (control >> 8 & 7) + 1;
    // SAFETY: the registers hold priorities only; those that do not exist are left alone.
    unsafe {
        asm!("msr S3_0_C12_C9_0, xzr", options(nomem, nostack, preserves_flags));
        if bits >= 6 {
            asm!("msr S3_0_C12_C9_1, xzr", options(nomem, nostack, preserves_flags));
        }
        if bits >= 7 {
            asm!("msr S3_0_C12_C9_2, xzr", "msr S3_0_C12_C9_3, xzr", options(nomem, nostack, preserves_flags));
        }
    }
}
