//! The atomics the portable rooms use: the real ones, loom's when the interleavings are checked (`--cfg loom`), or those
//! that the abstract machine can watch.

#[cfg(loom)]
pub mod interleaved;

#[cfg(all(not(loom), any(test, feature = "machine")))]
pub(crate) use crate::machine::atomics::{AtomicBool, AtomicU32, AtomicU64};
#[cfg(all(not(loom), not(any(test, feature = "machine"))))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use interleaved::{AtomicBool, AtomicU32, AtomicU64};

/// A constructor that is `const` wherever the atomics in it are: not loom's.
macro_rules! constructor {
    ($(#[$meta:meta])* pub const fn new() -> Self $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        pub const fn new() -> Self $body

        $(#[$meta])*
        #[cfg(loom)]
        pub fn new() -> Self $body
    };
}
pub(crate) use constructor;
