// SPDX-License-Identifier: MIT OR Apache-2.0
//! Constants and records shared with `boot/*.S`: register values, the reasons for which a CPU parks, and the boot
//! record of a secondary.
//!
//! The register values are those of the Arm ARM (DDI 0487, chapter "AArch64 System Register
//! Descriptions", under the register's name); the files in `boot/` say when each is written.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "the boot assembly is part of this module")]

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::mm::init_data::ro_after_init;
use crate::mm::layout;
use cleave::aarch64;
use cleave::tables::{Geometry, PhysAddr, VirtAddr};

ro_after_init! {
    /// The load address of the image: written once by `boot/head.S`, not in .bss, which is cleared after that.
    static LOAD_ADDRESS: AtomicU64 = AtomicU64::new(u64::MAX);
}

/// Returns the physical address of the image's first byte.
#[must_use]
pub(crate) fn load_address() -> PhysAddr {
    PhysAddr(LOAD_ADDRESS.load(Ordering::Relaxed))
}

/// A reason for ending at the label `cleave_park`: the number in the CPU's x0, four ASCII characters.
///
/// For the faults x1 to x3 hold ESR, ELR and FAR of the level that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Parked {
    /// Entered at EL3: this is a kernel for EL2 or EL1.
    El3 = reason(*b"EL3!"),
    /// Loaded off a 4 KiB boundary.
    LoadAlign = reason(*b"ALGN"),
    /// Loaded at or above 2^47, which the linear map does not reach.
    LoadHigh = reason(*b"HIGH"),
    /// The CPU has no 4 KiB granule.
    Granule = reason(*b"GRAN"),
    /// x0 was 0: no device tree.
    TreeNone = reason(*b"DTB0"),
    /// The device tree pointer is not 8-byte aligned.
    TreeAlign = reason(*b"DTBA"),
    /// The memory that x0 points at does not begin with the magic of a device tree.
    TreeMagic = reason(*b"DTBM"),
    /// A secondary was started without a usable boot record.
    Record = reason(*b"RECD"),
    /// An exception at EL1 before the MMU was on.
    FaultEl1 = reason(*b"FLT1"),
    /// An exception that came to EL2 after the kernel had left it.
    FaultEl2 = reason(*b"FLT2"),
    /// A fault on the emergency stack: while a fault in a fault handler was being reported.
    Nested = reason(*b"NEST"),
    /// The memory that x0 points at begins like a device tree and is not a usable one.
    TreeMalformed = reason(*b"DTBX"),
    /// The kernel panicked and knows no way to stop the machine; where it knew no console either, the console's early
    /// ring has the text.
    Panicked = reason(*b"PANC"),
    /// Parked by the kernel after a report, or as it ended.
    Ended = reason(*b"DONE"),
}

/// Returns the characters as a number that reads the same in hexadecimal.
const fn reason(text: [u8; 4]) -> u32 {
    u32::from_be_bytes(text)
}

/// The record a secondary starts from before it can run Rust. Written by the CPU that starts it and cleaned to the point of
/// coherency, since it is read with the MMU off; its physical address is the context given to CPU_ON. A CPU let go
/// through a spin-table comes without a context and finds the record in [`SPIN_TABLE_RECORDS`]' chain.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct SecondaryBoot {
    /// TTBR1_EL1: physical address of the holding root.
    pub(crate) ttbr1: u64,
    /// Initial SP_EL0, virtual.
    pub(crate) stack: u64,
    /// Initial SP_EL1, virtual.
    pub(crate) exception_stack: u64,
    /// TPIDR_EL1: the virtual address of the CPU's [`crate::cpu::percpu::PerCpu`].
    pub(crate) per_cpu: u64,
    /// Virtual address of the function that gets the CPU, an `extern "C" fn(argument: u64, entry_level: u64) -> !`: the
    /// level is the one the CPU came in at, 1 or 2. It runs with the MMU and caches on, TTBR1 on the holding root, every
    /// interrupt masked.
    pub(crate) entry: u64,
    /// Handed to `entry` as its first argument.
    pub(crate) argument: u64,
    /// The CPU's MPIDR_EL1 affinity, by which a CPU let go through a spin-table finds its record.
    pub(crate) mpidr: u64,
    /// Physical address of the next record of the spin-table's chain; zero at its end, and with PSCI.
    pub(crate) next: u64,
}

const _: () = assert!(size_of::<SecondaryBoot>() == 64, "a record is one 64-byte block");

/// Physical address of the first record of the chain that CPUs of a spin-table search; zero for an empty chain. Read by
/// `boot/secondary.S` past the caches: its writer cleans it to the point of coherency.
pub(crate) static SPIN_TABLE_RECORDS: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn cleave_secondary_entry();
    fn cleave_spin_table_entry();
    fn cleave_park(reason: u64) -> !;
    static cleave_board_mark: u32;
}

/// Returns true when the image was made for a Raspberry Pi 4.
pub(crate) fn is_marked() -> bool {
    // SAFETY: a word of the image's header (boot/head.S), mapped and never written.
    unsafe { cleave_board_mark == BOARD_MARK }
}

/// Returns the entry point for PSCI CPU_ON, where the image is linked.
#[must_use]
pub(crate) fn secondary_entry() -> VirtAddr {
    VirtAddr(cleave_secondary_entry as *const () as u64)
}

/// Returns the entry point that is written into the release word of a spin-table, where the image is linked.
#[must_use]
pub(crate) fn spin_table_entry() -> VirtAddr {
    VirtAddr(cleave_spin_table_entry as *const () as u64)
}

/// Stops this CPU for good, interrupts masked, the reason in x0.
pub(crate) fn park(why: Parked) -> ! {
    // SAFETY: `cleave_park` (boot/park.S) touches no memory and never returns.
    unsafe { cleave_park(why as u64) }
}

// The image header's flags: bit 0 little endian (0), bits 2:1 page size 4 KiB (1), bit 3 anywhere in memory.
const HEADER_FLAGS: u64 = 1 << 1 | 1 << 3;

/// In the image header's first reserved word: the image was made for a Raspberry Pi 4, and the last-resort console may be
/// looked for at that board's address. `scripts/lib/elf.py` writes it.
pub(crate) const BOARD_MARK: u32 = u32::from_le_bytes(*b"RPI4");

// SCTLR_EL1 with the MMU off. RES1 on cores without the feature that gives the bit a meaning: LSMAOE 29,
// nTLSMD 28, SPAN 23, EIS 22, TSCXT 20, EOS 11, SED 8, ITD 7. SA 3 and SA0 4: SP alignment is checked. EE = 0.
// WXN 19: writable memory is never executed, regardless of its descriptors.
const SCTLR_EL1_OFF: u64 =
    1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 19 | 1 << 11 | 1 << 8 | 1 << 7 | 3 << 3;
// The same with M 0, C 2 and I 12. A 1 stays 0: unaligned access to Normal memory is allowed.
const SCTLR_EL1_ON: u64 = SCTLR_EL1_OFF | 1 | 1 << 2 | 1 << 12;
// SCTLR_EL2, MMU and caches off: its RES1 bits 29, 28, 23, 22, 18, 16, 11, 5, 4.
const SCTLR_EL2: u64 = 0x30c5_0830;
// HCR_EL2.RW 31: EL1 is AArch64.
const HCR_EL2: u64 = 1 << 31;
// VTCR_EL2's RES1 bit.
const VTCR_EL2: u64 = 1 << 31;
// CPTR_EL2 with E2H = 0: RES1 bits 13, 9 and 7:0. TZ 8 and TSM 12 depend on the core.
const CPTR_EL2: u64 = 1 << 13 | 1 << 9 | 0xff;
// CPTR_EL2 with E2H = 1: SMEN 25:24, FPEN 21:20 and ZEN 17:16 all 0b11, no trap.
const CPTR_EL2_E2H: u64 = 3 << 24 | 3 << 20 | 3 << 16;
// CNTHCTL_EL2: EL1PCTEN and EL1PCEN, bits 0 and 1 with E2H = 0; EL1PCTEN and EL1PTEN, bits 10 and 11 with E2H = 1.
const CNTHCTL_EL2: u64 = 0b11;
const CNTHCTL_EL2_E2H: u64 = 0b11 << 10;
// ICC_SRE_EL2 (IHI 0069): SRE 0 and Enable 3.
const ICC_SRE_EL2: u64 = 1 | 1 << 3;
// SPSR_EL2: EL1h, D, A, I and F masked.
const SPSR_EL1H_MASKED: u64 = 0b1111 << 6 | 0b0101;

// TCR_EL1 without IPS, which el1.S adds by the CPU: the library's value for the kernel's tables.
const TCR_EL1: u64 = aarch64::tcr_el1(Geometry::K4_V48, 0);
// ID_AA64MMFR0_EL1.PARange and TCR_EL1.IPS for 48 bits.
const PA_48_BITS: u64 = 0b101;
// MAIR_EL1: the library's value for its memory types. The early tables use index 0, Normal write-back.
const MAIR_EL1: u64 = aarch64::MAIR_EL1;

// Descriptors (DDI 0487, D8, "Translation table descriptor formats"): valid and table or page; AttrIndx 0; SH inner 9:8; AF 10; AP[2] 7
// read-only; nG 0 (global); PXN 53; UXN 54.
const TABLE_DESCRIPTOR: u64 = 0b11;
const PAGE_RW: u64 = 0b11 | 0b11 << 8 | 1 << 10 | 1 << 54;
const READ_ONLY: u64 = 1 << 7;
const PXN: u64 = 1 << 53;
const PAGE_TEXT: u64 = PAGE_RW | READ_ONLY;
const PAGE_RODATA: u64 = PAGE_RW | READ_ONLY | PXN;
const PAGE_DATA: u64 = PAGE_RW | PXN;

// In x27 while the last-resort console is looked for: a number that no other code computes, since at a fault much later
// the same register may be in use.
const PROBING: u64 = 0x5052_4f42_494e_4721;

// One block, in this order: macros first.
global_asm!(
    include_str!("../boot/macros.S"),
    include_str!("../boot/head.S"),
    include_str!("../boot/park.S"),
    include_str!("../boot/last_resort.S"),
    include_str!("../boot/el2.S"),
    include_str!("../boot/el1.S"),
    include_str!("../boot/secondary.S"),
    include_str!("../boot/tables.S"),
    PROBING = const PROBING,
    HEADER_FLAGS = const HEADER_FLAGS,
    BOARD_MARK = const BOARD_MARK,
    IMAGE_BASE = const layout::IMAGE_BASE,
    IMAGE_L3_TABLES = const layout::IMAGE_L3_TABLES,
    IMAGE_L1_INDEX = const layout::IMAGE_L1_INDEX,
    KERNEL_L0_INDEX = const layout::KERNEL_L0_INDEX,
    EARLY_TABLES = const layout::EARLY_TABLES,
    SLOT_USED = const layout::BLOCK_TOP,
    THREAD_BOTTOM = const layout::THREAD_BOTTOM,
    THREAD_TOP = const layout::THREAD_TOP,
    EXCEPTION_BOTTOM = const layout::EXCEPTION_BOTTOM,
    EXCEPTION_TOP = const layout::EXCEPTION_TOP,
    EMERGENCY_BOTTOM = const layout::EMERGENCY_BOTTOM,
    EMERGENCY_TOP = const layout::EMERGENCY_TOP,
    BLOCK_BOTTOM = const layout::BLOCK_BOTTOM,
    BLOCK_TOP = const layout::BLOCK_TOP,
    LOAD_ADDRESS = sym LOAD_ADDRESS,
    SCTLR_EL1_OFF = const SCTLR_EL1_OFF,
    SCTLR_EL1_ON = const SCTLR_EL1_ON,
    SCTLR_EL2 = const SCTLR_EL2,
    HCR_EL2 = const HCR_EL2,
    VTCR_EL2 = const VTCR_EL2,
    CPTR_EL2 = const CPTR_EL2,
    CPTR_EL2_E2H = const CPTR_EL2_E2H,
    CNTHCTL_EL2 = const CNTHCTL_EL2,
    CNTHCTL_EL2_E2H = const CNTHCTL_EL2_E2H,
    ICC_SRE_EL2 = const ICC_SRE_EL2,
    SPSR_EL1H_MASKED = const SPSR_EL1H_MASKED,
    TCR_EL1 = const TCR_EL1,
    PA_48_BITS = const PA_48_BITS,
    MAIR_EL1 = const MAIR_EL1,
    TABLE_DESCRIPTOR = const TABLE_DESCRIPTOR,
    PAGE_TEXT = const PAGE_TEXT,
    PAGE_RODATA = const PAGE_RODATA,
    PAGE_DATA = const PAGE_DATA,
    RECORD_TTBR1 = const offset_of!(SecondaryBoot, ttbr1),
    RECORD_STACK = const offset_of!(SecondaryBoot, stack),
    RECORD_EXCEPTION_STACK = const offset_of!(SecondaryBoot, exception_stack),
    RECORD_PER_CPU = const offset_of!(SecondaryBoot, per_cpu),
    RECORD_ENTRY = const offset_of!(SecondaryBoot, entry),
    RECORD_ARGUMENT = const offset_of!(SecondaryBoot, argument),
    RECORD_MPIDR = const offset_of!(SecondaryBoot, mpidr),
    RECORD_NEXT = const offset_of!(SecondaryBoot, next),
    MPIDR_AFFINITY = const cleave::aarch64::cpu::AFFINITY,
    SPIN_TABLE_RECORDS = sym SPIN_TABLE_RECORDS,
    REASON_EL3 = const Parked::El3 as u32,
    REASON_ALIGN = const Parked::LoadAlign as u32,
    REASON_HIGH = const Parked::LoadHigh as u32,
    REASON_GRANULE = const Parked::Granule as u32,
    REASON_TREE_NONE = const Parked::TreeNone as u32,
    REASON_TREE_ALIGN = const Parked::TreeAlign as u32,
    REASON_TREE_MAGIC = const Parked::TreeMagic as u32,
    REASON_RECORD = const Parked::Record as u32,
    REASON_FAULT_EL1 = const Parked::FaultEl1 as u32,
    REASON_FAULT_EL2 = const Parked::FaultEl2 as u32,
);
