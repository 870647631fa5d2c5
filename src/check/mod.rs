// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the running kernel: stress test, audit, probe, guard, guarded pool, and fault injection.

pub(crate) mod audit;
pub(crate) mod churn;
pub(crate) mod hooks;
pub(crate) mod inject;
pub(crate) mod patches;
pub(crate) mod pool;
pub(crate) mod probe;
pub(crate) mod secrets;
pub(crate) mod stale;
pub(crate) mod stress;
pub(crate) mod totals;
pub(crate) mod watch;
