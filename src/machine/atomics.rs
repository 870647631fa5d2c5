//! The atomics of the portable rooms where a machine may be watching: the real ones, and a word to the machine about who
//! released what and who acquired it. Without a machine on this thread they are the real ones and nothing else.

use core::sync::atomic::{self, Ordering};

use super::Flag;
use super::schedule::{self, Touch};

const fn is_acquire(order: Ordering) -> Flag {
    match order {
        Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst => Flag::Ordered,
        _ => Flag::Plain,
    }
}

const fn is_release(order: Ordering) -> Flag {
    match order {
        Ordering::Release | Ordering::AcqRel | Ordering::SeqCst => Flag::Ordered,
        _ => Flag::Plain,
    }
}

/// Threads as CPUs without a machine: where they may be interrupted.
#[cfg(test)]
mod hook {
    use std::cell::RefCell;
    use std::rc::Rc;

    thread_local! {
        static BEFORE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    }

    /// The hook is there while it lives.
    #[must_use]
    pub(crate) struct Hook;

    impl Drop for Hook {
        fn drop(&mut self) {
            BEFORE.with(|before| before.borrow_mut().take());
        }
    }

    /// Has `hook` called on this thread before every access of an atomic.
    pub(crate) fn before_each(hook: impl Fn() + 'static) -> Hook {
        BEFORE.with(|before| *before.borrow_mut() = Some(Rc::new(hook)));
        Hook
    }

    pub(super) fn before() {
        let hook = BEFORE.with(|before| before.borrow().clone());
        if let Some(hook) = hook {
            hook();
        }
    }
}
#[cfg(test)]
pub(crate) use hook::before_each;

/// Does `operation` on the atomic at `flag`, as whichever CPU this thread is.
fn touched<T>(flag: usize, touch: Touch, operation: impl FnOnce() -> Option<T>) -> Option<T> {
    #[cfg(test)]
    hook::before();
    schedule::touched(flag, touch, operation)
}

macro_rules! watched {
    ($name:ident, $value:ty) => {
        /// As the one of the standard library.
        #[derive(Debug, Default)]
        pub(crate) struct $name(atomic::$name);

        #[allow(dead_code, reason = "not every type needs every operation")]
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            fn flag(&self) -> usize {
                core::ptr::from_ref(self) as usize
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                touched(self.flag(), Touch::Load(is_acquire(order)), || Some(self.0.load(order))).unwrap_or_default()
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                touched(self.flag(), Touch::Store(is_release(order)), || Some(self.0.store(value, order)));
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let mut result = Err(current);
                touched(self.flag(), Touch::Modify(is_acquire(success), is_release(success)), || {
                    result = self.0.compare_exchange(current, new, success, failure);
                    result.ok()
                });
                result
            }

            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                step: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut result = Ok(<$value>::default());
                touched(self.flag(), Touch::Modify(is_acquire(set), is_release(set)), || {
                    result = self.0.fetch_update(set, fetch, step);
                    result.ok()
                });
                result
            }
        }
    };
}

macro_rules! counted {
    ($name:ident, $value:ty) => {
        #[allow(dead_code, reason = "not every type needs every operation")]
        impl $name {
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                let modify = Touch::Modify(is_acquire(order), is_release(order));
                touched(self.flag(), modify, || Some(self.0.fetch_add(value, order))).unwrap_or_default()
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                let modify = Touch::Modify(is_acquire(order), is_release(order));
                touched(self.flag(), modify, || Some(self.0.fetch_sub(value, order))).unwrap_or_default()
            }
        }
    };
}

watched!(AtomicBool, bool);
watched!(AtomicU32, u32);
watched!(AtomicU64, u64);
counted!(AtomicU32, u32);
counted!(AtomicU64, u64);
