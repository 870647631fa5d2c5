// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers that the pieces of this module read, by the number or name that an assembler knows.
//!
//! Private: a kernel that reads registers has a crate for all of them. The reads do not order memory accesses (`nomem`).
#![allow(unsafe_code, reason = "system registers are inline assembly")]

/// Defines a function that reads a register by an `mrs` of the given name.
macro_rules! read_only {
    ($($(#[$doc:meta])* $name:ident: $register:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(super) fn $name() -> u64 {
                let value;
                // SAFETY: reading this register has no side effect; whether the CPU has it is the caller's to know.
                unsafe {
                    core::arch::asm!(concat!("mrs {}, ", $register), out(reg) value,
                        options(nomem, nostack, preserves_flags));
                }
                value
            }
        )*
    };
}

read_only! {
    /// Reads CNTFRQ_EL0, Counter-timer Frequency Register.
    cntfrq_el0: "cntfrq_el0";
    /// Reads CNTVCT_EL0, Counter-timer Virtual Count Register, in no order with anything.
    cntvct_el0: "cntvct_el0";
    /// Reads CNTKCTL_EL1, Counter-timer Kernel Control Register.
    cntkctl_el1: "cntkctl_el1";
    /// Reads CTR_EL0, Cache Type Register.
    ctr_el0: "ctr_el0";
    /// Reads the mask bits of PSTATE: D, A, I and F in bits 9 to 6.
    daif: "daif";
    /// Reads MIDR_EL1, Main ID Register.
    midr_el1: "midr_el1";
    /// Reads MPIDR_EL1, Multiprocessor Affinity Register.
    mpidr_el1: "mpidr_el1";
    /// Reads ID_AA64ISAR0_EL1, Instruction Set Attribute Register 0.
    id_aa64isar0_el1: "id_aa64isar0_el1";
    /// Reads ID_AA64MMFR0_EL1, Memory Model Feature Register 0.
    id_aa64mmfr0_el1: "id_aa64mmfr0_el1";
    /// Reads ID_AA64MMFR1_EL1, Memory Model Feature Register 1.
    id_aa64mmfr1_el1: "id_aa64mmfr1_el1";
    /// Reads ID_AA64MMFR2_EL1, Memory Model Feature Register 2.
    id_aa64mmfr2_el1: "id_aa64mmfr2_el1";
    /// Reads ID_AA64PFR0_EL1, Processor Feature Register 0.
    id_aa64pfr0_el1: "id_aa64pfr0_el1";
    /// Reads TTBR0_EL1, Translation Table Base Register 0.
    ttbr0_el1: "ttbr0_el1";
    /// Reads TTBR1_EL1, Translation Table Base Register 1.
    ttbr1_el1: "ttbr1_el1";
    /// Reads CPUECTLR_EL1 of the Cortex-A53, A57 and A72, CPU Extended Control Register (their TRMs, 4.3). It is undefined on
    /// other cores, and a hypervisor traps it.
    cpuectlr_el1: "S3_1_C15_C2_1";
}
