// SPDX-License-Identifier: MIT OR Apache-2.0
//! The methods of starting a CPU.

/// A method of starting a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// It was running already: the loader entered the image on it.
    Boot,
    /// PSCI CPU_ON.
    Psci,
    /// The release address of a spin-table.
    SpinTable,
}
