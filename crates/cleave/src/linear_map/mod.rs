// SPDX-License-Identifier: MIT OR Apache-2.0
//! The linear map: painting it, deciding whether it must be split, and splitting it.
//!
//! The order of a repaint is in the types and in this list:
//!
//! 1. [`paint`] writes the map in the largest leaves and counts ([`crate::tables::Census`]), [`link`] makes it live;
//! 2. [`decide`] says whether live changes of size are possible;
//! 3. [`Pool::reserve`] sets aside exactly what the split takes, or fails and changes nothing;
//! 4. [`Skeleton::build`] and [`Fill`] make the shadow, a complete map in pages that no walker reaches;
//! 5. [`exchange`] swaps the root entries while every CPU is parked (or [`split_in_window`] splits in place);
//! 6. [`free_tables`] gives the old tables back, or the shadow if the rendezvous was aborted.
//!
//! [`FirstPaint`] is step 1 for a kernel that has no linear map yet, [`repaint`] is 3 to 6 with everything that can go
//! wrong: what a kernel calls. The steps themselves are there for who needs another order.
//!
//! `examples/split_in_memory.rs` of this package is a whole repaint.

mod commit;
mod decide;
mod fill;
mod first;
mod layout;
mod lock;
mod paint;
mod pool;
mod repaint;
mod retire;
mod shadow;

#[cfg(test)]
mod tests;

pub use commit::{PhysicalWindow, RootSpan, exchange, split_in_window};
pub use decide::{Action, Decision, Reason, Trust, Wish, decide};
pub use fill::{Fill, ShadowMap, Share};
pub use first::FirstPaint;
pub use layout::{Layout, LayoutError};
pub use lock::{Busy, MapLock, MapLockGuard};
pub use paint::{LargestLeaf, PaintError, link, paint, tables_bound};
pub use pool::{OutOfMemory, Pool};
pub use repaint::{ATTEMPTS, Commit, Ending, Form, Kernel, LiveMap, Roots, Step, Tally, repaint};
pub use retire::free_tables;
pub use shadow::Skeleton;
