// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ID registers of the calling CPU. The meaning of their fields is in [`super::features`] and [`super::midr`].

use super::features::{Features, IdRegisters};
use super::midr::Midr;
use super::registers;

/// The fields of MPIDR_EL1 that name a CPU: Aff3 in bits 39:32, Aff2 to Aff0 in 23:0 (DDI 0487, MPIDR_EL1).
pub const AFFINITY: u64 = 0xff_00ff_ffff;

/// CPUECTLR_EL1.SMPEN: the CPU takes part in hardware coherency, TLB and cache maintenance broadcasts included.
const SMPEN: u64 = 1 << 6;

/// Returns the affinity of this CPU, as a device tree's `reg` and PSCI's target have it.
#[inline]
#[must_use]
pub fn mpidr() -> u64 {
    registers::mpidr_el1() & AFFINITY
}

/// Returns the core that this CPU is, by its MIDR_EL1.
#[inline]
#[must_use]
pub fn midr() -> Midr {
    Midr(registers::midr_el1() as u32)
}

/// Returns the features that this CPU's ID registers name.
#[must_use]
pub fn features() -> Features {
    Features::from(IdRegisters {
        isar0: registers::id_aa64isar0_el1(),
        mmfr0: registers::id_aa64mmfr0_el1(),
        mmfr1: registers::id_aa64mmfr1_el1(),
        mmfr2: registers::id_aa64mmfr2_el1(),
        pfr0: registers::id_aa64pfr0_el1(),
    })
}

/// Returns whether this CPU takes part in hardware coherency, on the cores that can tell (CPUECTLR_EL1.SMPEN); `None` on others.
///
/// Setting it is firmware's business: below EL3 the write may trap. Call it only on a CPU that was entered at EL2: a
/// hypervisor traps the register, and gives an undefined instruction back.
#[must_use]
pub fn takes_part_in_coherency() -> Option<bool> {
    midr().has_smpen().then(|| registers::cpuectlr_el1() & SMPEN != 0)
}
