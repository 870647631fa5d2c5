// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map lock, a try-lock that admits one change of the linear map at a time.

use core::fmt;
use core::sync::atomic::Ordering;

use crate::atomics::{Atomic, Atomics, Native};

/// Another CPU is changing the linear map, or the decision about it is still open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the linear map is being changed, or its decision is still open")
    }
}

/// A try-lock: a caller that finds it taken gets an error at once. A CPU that waited for it with interrupts masked
/// would keep the holder's rendezvous from ever completing.
pub struct MapLock<A: Atomics = Native> {
    taken: A::Bool,
}

crate::atomics::constructors! {
    /// Returns a free lock.
    MapLock<A> = Self { taken: <A as Atomics>::Bool::new(false) }
}

impl<A: Atomics> MapLock<A> {
    /// Takes it.
    ///
    /// # Errors
    /// [`Busy`] when it is taken.
    pub fn try_lock(&self) -> Result<MapLockGuard<'_, A>, Busy> {
        match self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(MapLockGuard { lock: self }),
            Err(_) => Err(Busy),
        }
    }
}

/// The right to change the linear map, until it is dropped.
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct MapLockGuard<'a, A: Atomics = Native> {
    lock: &'a MapLock<A>,
}

impl<A: Atomics> MapLockGuard<'_, A> {
    /// Returns true when this is the right that `lock` gives.
    pub(super) fn is_of(&self, lock: &MapLock<A>) -> bool {
        core::ptr::eq(self.lock, lock)
    }
}

impl<A: Atomics> Drop for MapLockGuard<'_, A> {
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_busy_at_once() {
        let lock = MapLock::new();
        let first = lock.try_lock();
        assert!(first.is_ok());
        assert_eq!(lock.try_lock().err(), Some(Busy));
        drop(first);
        assert!(lock.try_lock().is_ok());
    }
}
