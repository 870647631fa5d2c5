// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system registers that the kernel reads and writes by their fields, from the crate that has them all.
//!
//! Its accessors do not order memory accesses (`nomem`). A register that changes what an address means is written through a
//! function of [`cleave::aarch64::mmu`] or [`cleave::aarch64::interrupts`].
#![cfg(target_os = "none")]

pub(crate) use aarch64_cpu::registers::{CNTKCTL_EL1, ELR_EL1, MAIR_EL1, SCTLR_EL1, TCR_EL1, TPIDR_EL1};
