// SPDX-License-Identifier: MIT OR Apache-2.0
//! The declared cases in which the machine is stricter than the architecture: see docs/abstract-machine.md.
//!
//! There the two are not held against each other exactly. That the machine is never silent is asked everywhere.

use super::judge::Oracle;
use super::observer::{At, View};
use super::program::{Covering, Doing, Event};
use super::recent::Pending;
use super::world::{PAGES, SLOTS, STORED, Slot, Table};
use crate::{LastLevel, Scope};
use cleave::tables::{Descriptor, Level};

impl Oracle {
    /// Returns true when the event is one of those where the machine, by declaration, takes more to be cached than can
    /// be:
    ///
    /// - a slot is stored to by two CPUs, or by one, if it is a link or the one may know of the other, while a store of the
    ///   other is not complete anywhere: the machine wants each store completed by its own CPU, whichever CPU has stored since,
    ///   and a CPU learns nothing by storing where another has stored;
    /// - a table that only a walk cache leads to changes while an invalidation is under way: which of the two comes first
    ///   is left open;
    /// - a root that a CPU has left changes, or what was found through it is invalidated by address: it counts as walked
    ///   until an invalidation of everything, though no TLB holds a root;
    /// - an invalidation of the last level follows a local one: where one CPU has lost a table descriptor and another has
    ///   not, it counts for both or for none;
    /// - an invalidation follows a store of another CPU that its own does not know of, by what orders a TLBI: it may have been
    ///   executed before the store, regardless of the clock, and the oracle does not follow that;
    /// - a table changes that was linked once: what a walk found in it before is not known any more.
    pub(super) fn is_loose(&self, event: Event) -> bool {
        let open = |slot: Slot| self.memory.versions(slot).iter().filter_map(|version| version.by);
        let mut open = (0..STORED).flat_map(|slot| open(slot).map(move |by| (slot, by)));
        let is_open = |store: usize| !self.order.is_complete(store);
        match event.doing {
            Doing::Store(slot, _) => {
                let table = SLOTS[slot].0;
                let acquires =
                    |earlier: &Event| earlier.cpu == event.cpu && matches!(earlier.doing, Doing::LoadFlag(_));
                let knows = self.events.iter().any(acquires);
                let is_near = table.level() < Level::L3 || knows;
                let is_under_way = self.observers.iter().flat_map(|observer| &observer.views).any(View::is_awaiting);
                let is_loose = |other: Slot, store: usize| other == slot || is_near && is_open(store);
                open.any(|(other, (cpu, store))| cpu != event.cpu && is_loose(other, store))
                    || is_under_way && self.is_left(table)
                    || (0..self.levels.len()).any(|cpu| self.has_left(cpu, |root| root == table))
                    || !self.is_linked(table) && self.links(table) > 0
            }
            Doing::Invalidate(_, covering) => {
                let mut cpus = 0..self.levels.len();
                let has_left_a_root = |cpu| Table::ALL.iter().any(|&table| self.has_left(cpu, |root| root == table));
                let is_local = |event: &Event| matches!(event.doing, Doing::Invalidate(Scope::Local, _));
                let before = self.order.before(event);
                open.clone().any(|(_, (cpu, store))| cpu != event.cpu && before >> store & 1 == 0)
                    || open.any(|(slot, (_, store))| is_open(store) && self.is_left(SLOTS[slot].0))
                    || covering != Covering::All && cpus.any(has_left_a_root)
                    || matches!(covering, Covering::Page(_, LastLevel::Only, _)) && self.events.iter().any(is_local)
            }
            _ => false,
        }
    }

    /// The number of times that a table was linked.
    fn links(&self, table: Table) -> usize {
        let names = |slot: Slot, value: Descriptor| {
            let (of, index) = SLOTS[slot];
            At::root(of).find(index, value).and_then(At::below).is_some_and(|below| below.table == table)
        };
        (0..STORED)
            .map(|slot| self.memory.versions(slot).iter().filter(|version| names(slot, version.value)).count())
            .sum()
    }

    /// Returns true when a table was linked more than once. The machine takes an entry for fresh through every link,
    /// also through one that says that the entry was there before.
    pub(super) fn is_linked_again(&self) -> bool {
        Table::ALL.into_iter().any(|table| self.links(table) > 1)
    }

    /// Returns true when an access may use what an invalidation by its own CPU has taken away, and one by another CPU
    /// as well since. With that the first is over too; the machine asks for the context synchronisation all the same.
    pub(super) fn is_pending_by_declaration(&self, event: Event) -> bool {
        match event.doing {
            Doing::Access(page, access) => self.may_be_pending(event.cpu, page, access, Pending::ByDeclaration),
            _ => false,
        }
    }

    /// Returns true when some CPU may hold something other than what memory says, though it may come to the same.
    pub(super) fn is_something_held(&self) -> bool {
        (0..self.levels.len()).any(|cpu| PAGES.iter().any(|&page| !self.stale(cpu, page).is_empty()))
    }

    /// Returns true when a CPU had such a root, and has not now.
    fn has_left(&self, cpu: usize, is_such: impl Fn(Table) -> bool) -> bool {
        let roots = self.memory.roots(cpu);
        roots.iter().any(|root| is_such(root.table)) && roots.last().is_some_and(|root| !is_such(root.table))
    }

    /// Returns true when some CPU may come to a table by an entry that is no longer on the way.
    pub(super) fn is_left(&self, table: Table) -> bool {
        (0..self.levels.len()).any(|cpu| {
            self.has_left(cpu, |root| self.leads_to(root, table))
                || PAGES.iter().any(|&page| self.left(cpu, page).iter().any(|at| self.leads_to(at.table, table)))
        })
    }

    /// Returns true when memory maps some page by this very leaf.
    pub(super) fn says(&self, leaf: Descriptor) -> bool {
        let cpus = 0..self.levels.len();
        let mut now = cpus.flat_map(|cpu| PAGES.iter().filter_map(move |&page| self.now(cpu, page)));
        now.any(|now| now.leaf == leaf.0)
    }
}
