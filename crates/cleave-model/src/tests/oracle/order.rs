// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of events: a graph over the events of a program, from the rules of the Arm ARM one by one.
//!
//! The machine keeps clocks. Here every event knows the set of all events before it, and an edge is a sentence of the
//! architecture.

use crate::{Dsb, Flag};

use super::program::{Doing, Ets2, Event};

/// A set of events, one bit each.
pub(super) type Events = u64;

/// The events so far, and for each the ones that are ordered before it.
#[derive(Debug, Default)]
pub(super) struct Order {
    events: Vec<Event>,
    before: Vec<Events>,
}

/// The reach of a DSB: it completes nothing, what concerns its own CPU alone, or everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    Nothing,
    Own,
    Everything,
}

/// Returns true when the stores before a DSB are visible to every walker behind it.
///
/// Behind a DSB NSH or NSHST they are to that of its own CPU. The machine gives no credit for that, by declaration.
pub(super) const fn completes_stores(dsb: Dsb) -> bool {
    match dsb {
        Dsb::Ish | Dsb::Ishst | Dsb::Osh | Dsb::Oshst | Dsb::Sy | Dsb::St => true,
        Dsb::Ishld | Dsb::Oshld | Dsb::Ld | Dsb::Nsh | Dsb::Nshst | Dsb::Nshld => false,
    }
}

/// Returns true when the events that the loads before a DSB convey are known behind it, branch or no branch. For the
/// non-shareable ones the machine gives no credit here either.
pub(super) const fn completes_loads(dsb: Dsb) -> bool {
    match dsb {
        Dsb::Ish | Dsb::Ishld | Dsb::Osh | Dsb::Oshld | Dsb::Sy | Dsb::Ld => true,
        Dsb::Ishst | Dsb::Oshst | Dsb::St | Dsb::Nsh | Dsb::Nshst | Dsb::Nshld => false,
    }
}

/// The invalidations that are complete behind a DSB: none, those of the local forms, all. It has to be one that waits
/// for loads and stores.
pub(super) const fn completes_invalidations(dsb: Dsb) -> Reach {
    match dsb {
        Dsb::Ish | Dsb::Osh | Dsb::Sy => Reach::Everything,
        Dsb::Nsh => Reach::Own,
        Dsb::Ishst | Dsb::Ishld | Dsb::Oshst | Dsb::Oshld | Dsb::Nshst | Dsb::Nshld | Dsb::St | Dsb::Ld => {
            Reach::Nothing
        }
    }
}

/// Returns true when `first`, earlier in program order on the same CPU, is ordered before `then`.
fn is_ordered(first: Doing, then: Doing) -> bool {
    match (first, then) {
        // Nothing behind a DSB or an ISB is executed before it is complete.
        (Doing::Dsb(_) | Doing::Isb, _) => true,
        (Doing::Store(..) | Doing::StoreFlag(_), Doing::Dsb(dsb)) => completes_stores(dsb),
        (Doing::LoadFlag(_), Doing::Dsb(dsb)) => completes_loads(dsb),
        // An acquire comes before the accesses behind it, but before no ISB: that needs a branch.
        (Doing::LoadFlag(Flag::Ordered), Doing::Store(..) | Doing::StoreFlag(_) | Doing::LoadFlag(_)) => true,
        // A release comes after the accesses before it.
        (Doing::Store(..) | Doing::StoreFlag(_) | Doing::LoadFlag(_), Doing::StoreFlag(Flag::Ordered)) => true,
        // A control dependency orders stores and register writes behind the branch, and with an ISB everything behind.
        (Doing::LoadFlag(_), Doing::Branch) => true,
        (Doing::Branch, Doing::Store(..) | Doing::StoreFlag(_) | Doing::SetTtbr1(_) | Doing::Isb) => true,
        _ => false,
    }
}

impl Order {
    /// Adds an event.
    pub(super) fn push(&mut self, event: Event) {
        let before = self.before(event);
        self.events.push(event);
        self.before.push(before);
    }

    /// Returns the events ordered before an event, if it comes next.
    pub(super) fn before(&self, event: Event) -> Events {
        let mut before = 0;
        for (number, earlier) in self.events.iter().enumerate() {
            if earlier.cpu == event.cpu && is_ordered(earlier.doing, event.doing) {
                before |= self.before[number] | 1 << number;
            }
        }
        if matches!(event.doing, Doing::LoadFlag(_)) {
            // Reads from the last store of the flag; from a CPU's own that says nothing of when others see it.
            let last = self.events.iter().rposition(|earlier| matches!(earlier.doing, Doing::StoreFlag(_)));
            if let Some(number) = last.filter(|&number| self.events[number].cpu != event.cpu) {
                before |= self.before[number] | 1 << number;
            }
        }
        if let Doing::Store(slot, _) = event.doing {
            // A walker that sees this store sees nothing older there (coherence).
            let is_here = |earlier: &Event| matches!(earlier.doing, Doing::Store(at, _) if at == slot);
            let last = self.events.iter().rposition(is_here);
            if let Some(number) = last.filter(|&number| self.events[number].cpu != event.cpu) {
                before |= self.before[number] | 1 << number;
            }
        }
        before
    }

    /// Returns the events ordered before an event, and it itself.
    pub(super) fn up_to(&self, event: usize) -> Events {
        self.before[event] | 1 << event
    }

    /// Returns the events that every walk of an access must have seen that ends in a fault, if the access is the next
    /// event of `cpu`.
    ///
    /// A fault may come from a walk at any time since the CPU's last context synchronisation event. With FEAT_ETS2 the
    /// walk comes after everything that is ordered before the access, and after the CPU's own loads and stores in front
    /// of it (ETS-ordered-before; herd7's verdict).
    pub(super) fn before_fault(&self, cpu: usize, ets2: Ets2) -> Events {
        let mut before = 0;
        for (number, event) in self.events.iter().enumerate().filter(|(_, event)| event.cpu == cpu) {
            let counts = match event.doing {
                Doing::Isb => true,
                Doing::Dsb(_) | Doing::LoadFlag(_) | Doing::Store(..) => ets2 == Ets2::Present,
                _ => false,
            };
            if counts {
                before |= self.up_to(number);
            }
        }
        before
    }

    /// The stores of `cpu` that a DSB before event `end` completed.
    fn complete(&self, cpu: usize, end: usize) -> Events {
        let is_barrier =
            |event: &Event| event.cpu == cpu && matches!(event.doing, Doing::Dsb(dsb) if completes_stores(dsb));
        let barrier = self.events[..end].iter().rposition(is_barrier);
        let stores = self.events[..barrier.unwrap_or(0)].iter().enumerate();
        stores
            .filter(|(_, event)| event.cpu == cpu && matches!(event.doing, Doing::Store(..)))
            .map(|(number, _)| 1 << number)
            .sum()
    }

    /// Returns true when a DSB of its CPU has completed a store by now.
    pub(super) fn is_complete(&self, store: usize) -> bool {
        self.complete(self.events[store].cpu, self.events.len()) >> store & 1 == 1
    }

    /// Returns the events that each walker has seen when it sees store `event`: those ordered before it, and those
    /// complete by then.
    pub(super) fn seen_with(&self, event: usize) -> Events {
        let cpus = self.events.iter().map(|event| event.cpu).max().unwrap_or(0);
        (0..=cpus).fold(self.up_to(event), |seen, cpu| seen | self.complete(cpu, event))
    }
}
