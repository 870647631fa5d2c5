// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runner of a model, which also runs it with an ordering left out.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use crate::atomics::{Weakened, weaken};

/// The bound of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Every interleaving.
    None,
    /// Every one with so many preemptions at most.
    Preemptions(usize),
}

/// One scenario.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) bound: Bound,
    pub(crate) scenario: fn(),
}

fn explore(bound: Bound, scenario: fn()) -> u64 {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = match bound {
        Bound::None => None,
        Bound::Preemptions(most) => Some(most),
    };
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    executions.load(Ordering::Relaxed)
}

std::thread_local! {
    /// This thread's model is to fail, and need not say so.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the failures that are looked for out of the output.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !MAY_FAIL.with(Cell::get) {
                usual(panic);
            }
        }));
    });
}

impl Model {
    /// Goes through every execution; then sees that the model fails when no load acquires, and when no store releases.
    pub(crate) fn check(&self) {
        let executions = self.explore(self.bound);
        println!("{}: {executions} executions, bound {:?}", self.name, self.bound);
        for what in [Weakened::Acquire, Weakened::Release] {
            assert!(self.misses(what, self.bound), "{}: passes without any {what:?}", self.name);
        }
    }

    /// Goes through every execution within `bound`.
    pub(crate) fn explore(&self, bound: Bound) -> u64 {
        hush();
        weaken(Weakened::Nothing);
        explore(bound, self.scenario)
    }

    /// Returns true when the model fails within `bound` with `what` left out.
    pub(crate) fn misses(&self, what: Weakened, bound: Bound) -> bool {
        hush();
        weaken(what);
        MAY_FAIL.with(|may| may.set(true));
        let weakened = catch_unwind(AssertUnwindSafe(|| explore(bound, self.scenario)));
        MAY_FAIL.with(|may| may.set(false));
        weaken(Weakened::Nothing);
        let Err(failure) = weakened else { return false };
        // A model that only goes round for longer than loom follows it has shown nothing.
        let text = failure.downcast_ref::<String>().map(String::as_str).or(failure.downcast_ref::<&str>().copied());
        let endless = text.is_some_and(|text| text.contains("maximum number of branches"));
        assert!(!endless, "{}: {text:?} with {what:?}", self.name);
        true
    }
}
