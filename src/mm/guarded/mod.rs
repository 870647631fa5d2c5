// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guarded pool: objects that have a page each, with an unmapped page on each side, so that an overflow or a use after free
//! faults at the instruction that does it.
//!
//! The pool lies in the linear map. Opening it splits its memory to pages once; from then on an object is mapped and unmapped in
//! place, from any context. An object ends at the end of its page, so that an overflow meets the guard page at once; the rest
//! of the page is filled with a pattern, which [`check`] and [`free`] look at.

mod pages;
#[cfg(target_os = "none")]
mod pool;
#[cfg(target_os = "none")]
mod record;

#[cfg(target_os = "none")]
pub(crate) use pool::{PoolError, allocate, check, close, free, is_open, open};
#[cfg(target_os = "none")]
pub(crate) use record::fault;
