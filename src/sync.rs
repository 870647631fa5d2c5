//! The atomics the portable rooms use: the real ones, loom's when the interleavings are checked (`--cfg loom`), or those
//! that the abstract machine can watch.

#[cfg(all(not(loom), any(test, feature = "machine")))]
pub(crate) use crate::machine::atomics::{AtomicBool, AtomicU32, AtomicU64};
#[cfg(all(not(loom), not(any(test, feature = "machine"))))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
