// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers: those of the `aarch64-cpu` crate the kernel uses, and those it lacks.
//!
//! Their accessors do not order memory accesses (`nomem`): a register that changes what an address means is written
//! through a function of its own, in [`super::mmu`] or [`super::interrupts`].
#![allow(unsafe_code, reason = "system registers are inline assembly")]

pub use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTKCTL_EL1, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, CurrentEL, DAIF, ELR_EL1, ESR_EL1, FAR_EL1, ID_AA64ISAR0_EL1,
    ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, ID_AA64PFR0_EL1, MAIR_EL1, MIDR_EL1, MPIDR_EL1,
    SCTLR_EL1, SPSR_EL1, SPSel, TCR_EL1, TPIDR_EL1, TTBR0_EL1, TTBR1_EL1, VBAR_EL1,
};
use tock_registers::interfaces::Readable;

pub mod fields {
    //! The fields of the registers declared here.
    #![allow(missing_docs, reason = "the macro documents fields only, not the modules and constants it makes")]

    use tock_registers::register_bitfields;

    register_bitfields! {u64,
        /// CTR_EL0, Cache Type Register (DDI 0487, CTR_EL0).
        pub CTR_EL0 [
            /// Log2 of the words in the smallest line of all data caches.
            DminLine OFFSET(16) NUMBITS(4) []
        ],
        /// CPUECTLR_EL1 of the Cortex-A53, A57 and A72, CPU Extended Control Register (their TRMs, 4.3).
        pub CPUECTLR_EL1 [
            /// The CPU takes part in hardware coherency, TLB and cache maintenance broadcasts included.
            SMPEN OFFSET(6) NUMBITS(1) []
        ]
    }
}

/// Declares a register that is read by an `mrs` of the given name.
macro_rules! read_only {
    ($(#[$doc:meta])* $type:ident, $static:ident, $fields:ty, $name:literal) => {
        #[doc(hidden)]
        #[derive(Debug)]
        pub struct $type;

        impl Readable for $type {
            type T = u64;
            type R = $fields;

            #[inline(always)]
            fn get(&self) -> u64 {
                let value;
                // SAFETY: reading this register has no side effect; whether the CPU has it is the caller's to know.
                unsafe {
                    core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value,
                        options(nomem, nostack, preserves_flags));
                }
                value
            }
        }

        $(#[$doc])*
        pub const $static: $type = $type;
    };
}

read_only!(
    /// Cache Type Register.
    CtrEl0, CTR_EL0, fields::CTR_EL0::Register, "ctr_el0"
);
read_only!(
    /// CPU Extended Control Register of the Cortex-A53, A57 and A72 only; undefined elsewhere, and a hypervisor traps it.
    CpuectlrEl1, CPUECTLR_EL1, fields::CPUECTLR_EL1::Register, "S3_1_C15_C2_1"
);
