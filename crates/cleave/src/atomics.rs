// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of data that CPUs share, as a type parameter: the processor's own, or ones that a test can watch.
//!
//! A kernel never names any of this: [`Native`] is the default of every type that has the parameter, and compiles to the
//! processor's instructions. The abstract machine and the thread tests take [`Observed`]; the interleavings take loom's.

use core::marker::PhantomData;
use core::sync::atomic::{self, Ordering};

/// A family of atomics.
pub trait Atomics: 'static {
    /// A flag.
    type Bool: Atomic<bool>;
    /// A word of 32 bits.
    type U32: Atomic<u32>;
    /// A word of 64 bits.
    type U64: Counter;
}

/// One atomic value. Each method means what the one of that name in `core::sync::atomic` means.
pub trait Atomic<T>: Send + Sync {
    /// Returns an atomic that holds `value`.
    fn new(value: T) -> Self;
    /// Loads the value.
    #[track_caller]
    fn load(&self, order: Ordering) -> T;
    /// Stores `value`.
    #[track_caller]
    fn store(&self, value: T, order: Ordering);
    /// Stores `new` if the value is `current`, and returns the value found.
    ///
    /// # Errors
    /// The value found, where it was another.
    #[track_caller]
    fn compare_exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T>;
    /// Replaces the value by what `step` makes of it, and returns the value found.
    ///
    /// # Errors
    /// The value found, where `step` made nothing of it.
    #[track_caller]
    fn fetch_update(&self, set: Ordering, fetch: Ordering, step: impl FnMut(T) -> Option<T>) -> Result<T, T>;
}

/// An atomic word that counts.
pub trait Counter: Atomic<u64> {
    /// Subtracts `value`, and returns the value found.
    #[track_caller]
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64;
}

/// The atomics of `core`.
#[derive(Clone, Copy, Debug)]
pub struct Native;

impl Atomics for Native {
    type Bool = atomic::AtomicBool;
    type U32 = atomic::AtomicU32;
    type U64 = atomic::AtomicU64;
}

macro_rules! native {
    ($($name:ident: $value:ty;)*) => {
        $(
            impl Atomic<$value> for atomic::$name {
                #[inline(always)]
                fn new(value: $value) -> Self {
                    Self::new(value)
                }
                #[inline(always)]
                fn load(&self, order: Ordering) -> $value {
                    Self::load(self, order)
                }
                #[inline(always)]
                fn store(&self, value: $value, order: Ordering) {
                    Self::store(self, value, order);
                }
                #[inline(always)]
                fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    Self::compare_exchange(self, current, new, success, failure)
                }
                #[inline(always)]
                fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    step: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    Self::fetch_update(self, set, fetch, step)
                }
            }
        )*
    };
}

native! {
    AtomicBool: bool;
    AtomicU32: u32;
    AtomicU64: u64;
}

impl Counter for atomic::AtomicU64 {
    #[inline(always)]
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        Self::fetch_sub(self, value, order)
    }
}

/// An access of an atomic, with its ordering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Load(Ordering),
    /// A store.
    Store(Ordering),
    /// A load and a store in one; the ordering is that of an exchange that takes place.
    Modify(Ordering),
}

/// The observer of every access of [`Observed`] atomics.
pub trait Observer: 'static {
    /// Performs `operation` on the atomic at the address `cell`, and the observer's own steps before and after it. The
    /// operation returns `None` when it stored nothing though it is an [`Access::Modify`].
    fn observe<T>(cell: usize, access: Access, operation: impl FnOnce() -> Option<T>) -> Option<T>;
}

/// The atomics of `core`, each access of which goes through `O`.
#[derive(Clone, Copy, Debug)]
pub struct Observed<O>(PhantomData<fn() -> O>);

impl<O: Observer> Atomics for Observed<O> {
    type Bool = ObservedCell<atomic::AtomicBool, O>;
    type U32 = ObservedCell<atomic::AtomicU32, O>;
    type U64 = ObservedCell<atomic::AtomicU64, O>;
}

/// One atomic of [`Observed`].
#[derive(Debug)]
pub struct ObservedCell<C, O> {
    cell: C,
    observer: PhantomData<fn() -> O>,
}

impl<C, O: Observer> ObservedCell<C, O> {
    fn observe<T>(&self, access: Access, operation: impl FnOnce(&C) -> Option<T>) -> Option<T> {
        O::observe(core::ptr::from_ref(self) as usize, access, || operation(&self.cell))
    }
}

impl<T: Copy + Default, C: Atomic<T>, O: Observer> Atomic<T> for ObservedCell<C, O> {
    fn new(value: T) -> Self {
        Self { cell: C::new(value), observer: PhantomData }
    }

    fn load(&self, order: Ordering) -> T {
        self.observe(Access::Load(order), |cell| Some(cell.load(order))).unwrap_or_default()
    }

    fn store(&self, value: T, order: Ordering) {
        self.observe(Access::Store(order), |cell| {
            cell.store(value, order);
            Some(())
        });
    }

    fn compare_exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T> {
        let mut result = Err(current);
        self.observe(Access::Modify(success), |cell| {
            result = cell.compare_exchange(current, new, success, failure);
            result.ok()
        });
        result
    }

    fn fetch_update(&self, set: Ordering, fetch: Ordering, step: impl FnMut(T) -> Option<T>) -> Result<T, T> {
        let mut result = Ok(T::default());
        self.observe(Access::Modify(set), |cell| {
            result = cell.fetch_update(set, fetch, step);
            result.ok()
        });
        result
    }
}

impl<C: Counter, O: Observer> Counter for ObservedCell<C, O> {
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.observe(Access::Modify(order), |cell| Some(cell.fetch_sub(value, order))).unwrap_or_default()
    }
}

/// Writes the constructors of a type with a parameter of [`Atomics`]: one for statics, since only `core`'s atomics can be
/// made in a constant, and one for any.
macro_rules! constructors {
    ($(#[$meta:meta])* $type:ident<$atomics:ident> = $body:expr) => {
        impl $type {
            $(#[$meta])*
            #[must_use]
            pub const fn new() -> Self {
                type $atomics = $crate::atomics::Native;
                $body
            }
        }

        impl<$atomics: $crate::atomics::Atomics> Default for $type<$atomics> {
            fn default() -> Self {
                $body
            }
        }
    };
}
pub(crate) use constructors;
