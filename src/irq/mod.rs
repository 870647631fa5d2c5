// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions, the interrupt controller, and the interrupts between CPUs.

pub(crate) mod exceptions;
pub(crate) mod gic;
pub(crate) mod ipi;
pub(crate) mod symbols;
