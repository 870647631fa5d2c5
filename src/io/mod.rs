// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console: the UART, the log, the ring that keeps early output, and the last resort.

pub(crate) mod console;
pub(crate) mod last_resort;
pub(crate) mod logger;
pub(crate) mod mmio;
pub(crate) mod serial;
