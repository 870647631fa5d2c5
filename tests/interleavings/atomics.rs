// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loom's atomics, for `tests/interleavings`, with orderings that a test can weaken: a model that passes with every
//! ordering there is must fail with some of them gone, or it has looked at nothing.

use core::panic::Location;
use core::sync::atomic::Ordering;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use cleave::atomics::{Atomic, Atomics, Counter};

/// Orderings that are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Weakened {
    /// None.
    #[default]
    Nothing,
    /// No load acquires.
    Acquire,
    /// No store releases.
    Release,
    /// One operation of the source has one of its orderings no more.
    One(Site),
}

/// One ordering of one operation in the source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Site {
    /// The file of the operation.
    pub(crate) file: &'static str,
    /// The line in that file.
    pub(crate) line: u32,
    /// The part of the operation whose ordering it is.
    pub(crate) part: Part,
}

/// The sides of an operation that an ordering applies to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Part {
    /// Its load, or that of an exchange that takes place, acquires.
    Acquire,
    /// Its store releases.
    Release,
    /// The load of an exchange that does not take place acquires, and the first load of an update.
    FailureAcquire,
}

std::thread_local! {
    // One model runs in one thread: loom's threads are coroutines of it.
    static WEAKENED: Cell<Weakened> = const { Cell::new(Weakened::Nothing) };
    static SEEN: RefCell<BTreeSet<Site>> = const { RefCell::new(BTreeSet::new()) };
}

/// Leaves orderings out, in every model that runs in this thread from now on.
pub(crate) fn weaken(what: Weakened) {
    WEAKENED.with(|weakened| weakened.set(what));
}

/// Returns every ordering that this thread's models have come by.
#[must_use]
pub(crate) fn seen() -> Vec<Site> {
    SEEN.with(|seen| seen.borrow().iter().copied().collect())
}

loom::thread_local! {
    static BEFORE: RefCell<Option<Rc<dyn Fn()>>> = RefCell::new(None);
}

/// Has `hook` called on this thread of loom's before every access of an atomic: where a CPU may be interrupted.
pub(crate) fn before_each(hook: impl Fn() + 'static) {
    BEFORE.with(|before| *before.borrow_mut() = Some(Rc::new(hook)));
}

fn before() {
    let hook = BEFORE.with(|before| before.borrow().clone());
    if let Some(hook) = hook {
        hook();
    }
}

#[track_caller]
fn left(order: Ordering) -> Ordering {
    left_of(order, Part::Acquire)
}

/// The same of an exchange that does not take place.
#[track_caller]
fn left_failing(order: Ordering) -> Ordering {
    left_of(order, Part::FailureAcquire)
}

#[track_caller]
fn left_of(order: Ordering, load: Part) -> Ordering {
    let place = Location::caller();
    let keeps = |part: Part| {
        let site = Site { file: place.file(), line: place.line(), part };
        match WEAKENED.with(Cell::get) {
            Weakened::Nothing => {
                SEEN.with(|seen| seen.borrow_mut().insert(site));
                true
            }
            Weakened::Acquire => part == Part::Release,
            Weakened::Release => part != Part::Release,
            Weakened::One(weak) => site != weak,
        }
    };
    let acquires = matches!(order, Ordering::Acquire | Ordering::AcqRel) && keeps(load);
    let releases = matches!(order, Ordering::Release | Ordering::AcqRel) && keeps(Part::Release);
    match (acquires, releases) {
        (true, true) => Ordering::AcqRel,
        (true, false) => Ordering::Acquire,
        (false, true) => Ordering::Release,
        (false, false) => Ordering::Relaxed,
    }
}

/// Loom's atomics as those of the library.
#[derive(Debug)]
pub(crate) struct Loom;

impl Atomics for Loom {
    type Bool = Weakening<loom::sync::atomic::AtomicBool>;
    type U32 = Weakening<loom::sync::atomic::AtomicU32>;
    type U64 = Weakening<loom::sync::atomic::AtomicU64>;
}

/// An atomic of loom's whose orderings can be left out.
#[derive(Debug)]
pub(crate) struct Weakening<C>(C);

macro_rules! weakening {
    ($($name:ident: $value:ty;)*) => {
        $(
            impl Atomic<$value> for Weakening<loom::sync::atomic::$name> {
                fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                #[track_caller]
                fn load(&self, order: Ordering) -> $value {
                    before();
                    self.0.load(left(order))
                }

                #[track_caller]
                fn store(&self, value: $value, order: Ordering) {
                    before();
                    self.0.store(value, left(order));
                }

                #[track_caller]
                fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    before();
                    self.0.compare_exchange(current, new, left(success), left_failing(failure))
                }

                #[track_caller]
                fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    step: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    before();
                    self.0.fetch_update(left(set), left_failing(fetch), step)
                }
            }
        )*
    };
}

weakening! {
    AtomicBool: bool;
    AtomicU32: u32;
    AtomicU64: u64;
}

impl Counter for Weakening<loom::sync::atomic::AtomicU64> {
    #[track_caller]
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        before();
        self.0.fetch_sub(value, left(order))
    }
}
