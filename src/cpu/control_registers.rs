// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control registers whose values must be equal on every CPU, as read on one of them.

/// The registers of one CPU, as read on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ControlRegisters {
    /// SCTLR_EL1.
    pub(crate) sctlr: u64,
    /// TCR_EL1.
    pub(crate) tcr: u64,
    /// MAIR_EL1.
    pub(crate) mair: u64,
    /// CNTKCTL_EL1.
    pub(crate) cntkctl: u64,
}

#[cfg(target_os = "none")]
impl ControlRegisters {
    /// Reads those of this CPU.
    pub(crate) fn read() -> Self {
        use crate::cpu::registers::{CNTKCTL_EL1, MAIR_EL1, SCTLR_EL1, TCR_EL1};
        use tock_registers::interfaces::Readable;
        Self { sctlr: SCTLR_EL1.get(), tcr: TCR_EL1.get(), mair: MAIR_EL1.get(), cntkctl: CNTKCTL_EL1.get() }
    }
}
