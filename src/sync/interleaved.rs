//! Loom's atomics, for `tests/interleavings`, with orderings that a test can weaken: a model that passes with every
//! ordering there is must fail with one kind of them gone, or it has looked at nothing.

use core::sync::atomic::Ordering;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Orderings that are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Weakened {
    /// None.
    #[default]
    Nothing,
    /// No load acquires.
    Acquire,
    /// No store releases.
    Release,
}

std::thread_local! {
    // One model runs in one thread: loom's threads are coroutines of it.
    static WEAKENED: Cell<Weakened> = const { Cell::new(Weakened::Nothing) };
}

/// Leaves orderings out, in every model that runs in this thread from now on.
pub fn weaken(what: Weakened) {
    WEAKENED.with(|weakened| weakened.set(what));
}

loom::thread_local! {
    static BEFORE: RefCell<Option<Rc<dyn Fn()>>> = RefCell::new(None);
}

/// Has `hook` called on this thread of loom's before every access of an atomic: where a CPU may be interrupted.
pub fn before_each(hook: impl Fn() + 'static) {
    BEFORE.with(|before| *before.borrow_mut() = Some(Rc::new(hook)));
}

fn before() {
    let hook = BEFORE.with(|before| before.borrow().clone());
    if let Some(hook) = hook {
        hook();
    }
}

fn left(order: Ordering) -> Ordering {
    match (WEAKENED.with(Cell::get), order) {
        (Weakened::Acquire, Ordering::Acquire) | (Weakened::Release, Ordering::Release) => Ordering::Relaxed,
        (Weakened::Acquire, Ordering::AcqRel) => Ordering::Release,
        (Weakened::Release, Ordering::AcqRel) => Ordering::Acquire,
        (_, order) => order,
    }
}

macro_rules! weakened {
    ($name:ident, $value:ty) => {
        /// As the one of the standard library.
        #[derive(Debug)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(dead_code, reason = "not every type needs every operation")]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                before();
                self.0.load(left(order))
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                before();
                self.0.store(value, left(order));
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                before();
                self.0.compare_exchange(current, new, left(success), left(failure))
            }

            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                step: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                before();
                self.0.fetch_update(left(set), left(fetch), step)
            }
        }
    };
}

weakened!(AtomicBool, bool);
weakened!(AtomicU32, u32);
weakened!(AtomicU64, u64);

impl AtomicU64 {
    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        before();
        self.0.fetch_sub(value, left(order))
    }
}
