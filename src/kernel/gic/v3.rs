//! GICv3 and 4: a distributor and a redistributor for each CPU in memory, and a CPU interface in system registers.
//!
//! Our interrupts are in group 1, which is the non-secure state's own where there are two security states and the
//! natural choice where there is one. Nothing here writes what only the secure state may.

use core::arch::asm;
use core::mem::offset_of;

use arm_gic::gicv3::registers::{Gicd, GicdCtlr, Gicr, GicrSgi, GicrTyper, Sgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor};
use arm_gic::{IntId, InterruptGroup};
use cleave::arch::{barrier, cpu};
use cleave::paging::VirtAddr;
use cleave::platform::Affinity;
use safe_mmio::UniqueMmioPointer;

use super::controller::{CpuInterface, GicError, Interrupt};
use super::encoding;
use crate::kernel::mmio::Registers;

/// Where the SGI and private interrupts of a redistributor are: in its second frame.
const SGI_FRAME: usize = offset_of!(GicrSgi, sgi);
/// The first 32 interrupts of a redistributor, one bit each, the low half SGIs.
const PRIVATE_WORDS: usize = 1;
const SGIS: u32 = 0x0000_ffff;

/// A GICv3's distributor. Redistributors come as arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GicV3 {
    gicd: Registers,
}

impl GicV3 {
    /// See [`InterruptController::v3`](super::InterruptController::v3).
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
        #[expect(unsafe_code, reason = "a device is named by its address")]
        // SAFETY: the maker of `self` promised the mapping; only the boot CPU comes here, once.
        let mut gicd = GicDistributor::new(unsafe { UniqueMmioPointer::new(self.gicd.pointer::<Gicd>()) });
        // Off before affinity routing goes on: with a group enabled that is unpredictable (IHI 0069H, GICD_CTLR).
        // EnableGrp1 is bit 0 or 1, ARE bit 4 in our view whatever the security state; the crate names the bits as
        // the secure state sees them.
        let groups = GicdCtlr::EnableGrp0 | GicdCtlr::EnableGrp1NS;
        gicd.modify_control(groups, false);
        gicd.enable_all_interrupts(false);
        gicd.wait_for_pending_write();
        gicd.modify_control(GicdCtlr::ARE_S, true);
        if self.gicd.read(offset_of!(Gicd, ctlr)) & GicdCtlr::ARE_S.bits() == 0 {
            return Err(GicError::NoAffinityRouting);
        }
        let shared = gicd.typer().num_spis() as usize / 32;
        self.gicd.fill(offset_of!(Gicd, icpendr) + 4 * PRIVATE_WORDS, shared, !0);
        self.gicd.fill(offset_of!(Gicd, icactiver) + 4 * PRIVATE_WORDS, shared, !0);
        gicd.configure_default_settings();
        Ok(())
    }

    /// # Safety
    /// See [`InterruptController::init_cpu`](super::InterruptController::init_cpu).
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(super) unsafe fn init_cpu(&self, redistributor: Option<VirtAddr>) -> Result<CpuInterface, GicError> {
        let affinity = Affinity::from_mpidr(cpu::mpidr());
        let redistributor = redistributor.ok_or(GicError::NoRedistributor { cpu: affinity })?;
        // SAFETY: the caller's promise.
        let gicr = unsafe { Registers::new(redistributor) };
        let owner = Redistributor::at(gicr).affinity;
        if owner != affinity {
            return Err(GicError::WrongRedistributor { cpu: affinity, owner });
        }
        let mut driver = driver(gicr);
        // An error says only that it is awake.
        let _ = driver.mark_core_awake();
        driver.configure_default_settings();
        gicr.fill(SGI_FRAME + offset_of!(Sgi, icpendr), PRIVATE_WORDS, !0);
        gicr.fill(SGI_FRAME + offset_of!(Sgi, icactiver), PRIVATE_WORDS, !0);
        gicr.write(SGI_FRAME + offset_of!(Sgi, isenabler), SGIS);
        driver.wait_for_pending_write();
        init_cpu_interface()?;
        Ok(CpuInterface::V3 { affinity, redistributor })
    }

    /// Writes `command` to ICC_SGI1R_EL1.
    #[expect(unsafe_code, reason = "the driver crate has no way to set the range selector")]
    #[inline]
    pub(super) fn send_sgi(&self, command: u64) {
        // DSB ISHST: completes this CPU's stores before the SGI, so that the CPU that takes it sees them (pairs with
        // the acquire of whatever they published). A write to a system register is not ordered behind stores at all.
        barrier::dsb_ishst();
        // SAFETY: ICC_SGI1R_EL1 sends an interrupt; it accesses no memory of ours.
        unsafe { asm!("msr S3_0_C12_C11_5, {}", in(reg) command, options(nostack, preserves_flags)) };
        // ISB: the SGI leaves now and not when the pipeline next drains; the sender may go on to WFI or a long loop.
        barrier::isb();
    }

    #[inline]
    pub(super) fn acknowledge(&self) -> Option<Interrupt> {
        let token: IntId = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?;
        // DSB SY: orders the activation before whatever the handler does, the end included: a read of ICC_IAR1_EL1
        // alone does not say that the redistributor has seen it (IHI 0069H, on the effects of acknowledging).
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

/// The crate's driver of one redistributor.
#[expect(unsafe_code, reason = "a device is named by its address")]
fn driver(gicr: Registers) -> GicRedistributor<'static> {
    // SAFETY: whoever made `gicr` promised the mapping; a redistributor is driven by its own CPU only.
    GicRedistributor::new(unsafe { UniqueMmioPointer::new(gicr.pointer::<GicrSgi>()) })
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

/// ICC_SRE_EL1.SRE, which reads as zero where a higher exception level keeps the registers to itself.
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

/// The architecture's revision in GICD_PIDR2 or GICR_PIDR2.
const fn revision(pidr2: u32) -> u8 {
    (pidr2 >> 4 & 0xf) as u8
}

/// One CPU's redistributor, as the walk finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Redistributor {
    /// The CPU it belongs to.
    pub(crate) affinity: Affinity,
    /// Where its registers are.
    pub(crate) base: VirtAddr,
}

impl Redistributor {
    fn at(gicr: Registers) -> Self {
        Self { affinity: Affinity::from_mpidr(Self::typer(gicr).core_mpidr()), base: gicr.base() }
    }

    fn typer(gicr: Registers) -> GicrTyper {
        driver(gicr).typer()
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
        let typer = Redistributor::typer(gicr);
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
