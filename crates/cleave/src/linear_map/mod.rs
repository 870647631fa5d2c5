// SPDX-License-Identifier: MIT OR Apache-2.0
//! The linear map: its first painting, the decision whether it must be split, and the split.
//!
//! The order of a repaint is in the types and in this list:
//!
//! 1. [`paint`] writes the map in the largest leaves and counts ([`crate::tables::MapStats`]), [`link`] makes it live;
//! 2. [`decide`] says whether live changes of size are possible;
//! 3. [`Pool::reserve`] sets aside exactly what the split takes, or fails and changes nothing;
//! 4. [`UpperTables::build`] and [`Fill`] make the replacement, a complete map in pages that no walker reaches;
//! 5. [`exchange`] swaps the root entries while every CPU is parked (or [`InPlace`] splits in place);
//! 6. [`free_tables`] gives the old tables back, or the replacement if the rendezvous was aborted.
//!
//! [`FirstPaint`] is step 1 for a kernel that has no linear map yet, [`LinearMap::repaint`] is 3 to 6 with everything that can go
//! wrong: what a kernel calls. The steps themselves are there for a kernel that needs another order.
//!
//! `examples/split_in_memory.rs` of this package is a whole repaint.

mod change;
mod counts;
mod decide;
mod exchange;
mod fill;
mod first;
mod kernel;
mod layout;
mod lock;
mod map;
mod paint;
mod pool;
mod repaint;
mod replacement;
mod retire;
mod successor;

#[cfg(test)]
mod tests;

pub use change::{Change, ChangeError, Changed, Switch};
pub use counts::{ChangeCounts, MapCounts};
pub use decide::{Action, BbmPolicy, Decision, MapPolicy, Reason, decide};
pub use exchange::{InPlace, RootSpan, TemporaryMapping, exchange};
pub use fill::{Fill, ReplacementMap, Share};
pub use first::{FirstPaint, first_paint_bytes};
pub use kernel::{Kernel, Step};
pub use layout::{Layout, LayoutError};
pub use lock::{Busy, MapLock, MapLockGuard};
pub use map::{LinearMap, Roots};
pub use paint::{LargestLeaf, PaintError, link, paint, tables_bound};
pub use pool::{OutOfMemory, Pool};
pub use repaint::{ATTEMPTS, Form, FrameCounts, Outcome, Repainted};
pub use replacement::UpperTables;
pub use retire::free_tables;
