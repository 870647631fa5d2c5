// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of the library where a machine may be watching: the real ones, which also tell the machine which CPU
//! released what and which acquired it. Without a machine on this thread they are the real ones and nothing else.

use core::sync::atomic::Ordering;

use cleave::atomics::{Access, Observed, Observer};

use super::Flag;
use super::schedule::{self, Touch};

/// The atomics for the library's types that CPUs share, to be run on a machine.
pub type Watched = Observed<Watch>;

/// Tells the machine of this thread about each access.
#[derive(Clone, Copy, Debug)]
pub struct Watch;

const fn acquires(order: Ordering) -> Flag {
    match order {
        Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst => Flag::Ordered,
        _ => Flag::Plain,
    }
}

const fn releases(order: Ordering) -> Flag {
    match order {
        Ordering::Release | Ordering::AcqRel | Ordering::SeqCst => Flag::Ordered,
        _ => Flag::Plain,
    }
}

impl Observer for Watch {
    fn observe<T>(cell: usize, access: Access, operation: impl FnOnce() -> Option<T>) -> Option<T> {
        let touch = match access {
            Access::Load(order) => Touch::Load(acquires(order)),
            Access::Store(order) => Touch::Store(releases(order)),
            Access::Modify(order) => Touch::Modify(acquires(order), releases(order)),
        };
        schedule::touched(cell, touch, operation)
    }
}
