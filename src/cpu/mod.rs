// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs: their state, how they are started and stopped, and the lock that keeps interrupts out.

pub(crate) mod ban;
pub(crate) mod control_registers;
pub(crate) mod counter;
pub(crate) mod firmware;
pub(crate) mod lock;
pub(crate) mod method;
pub(crate) mod patience;
pub(crate) mod percpu;
pub(crate) mod power;
pub(crate) mod registers;
pub(crate) mod retries;
pub(crate) mod smp;
pub(crate) mod spin_table;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod wait;
