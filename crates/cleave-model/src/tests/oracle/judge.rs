// SPDX-License-Identifier: MIT OR Apache-2.0
//! The oracle: the errors possible in a program, and the old values that a CPU may still hold.

use std::collections::BTreeSet;

use super::memory::{Memory, Seen};
use super::observer::{At, Cached, Caching, Observer, View, Waiting, is_among, is_completed};
use super::order::{Events, Order, completes_invalidations, completes_stores};
use super::program::{Doing, Ets2, Event, Program};
use super::recent::Pending;
use super::world::{PAGES, SLOTS, Table, beginning, descriptor, slots_of};
use crate::{Access, Scope};
use cleave::aarch64::BbmLevel;
use cleave::tables::PhysAddr;

/// A possible failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Harm {
    /// An access comes out otherwise than memory says: by a translation, or by a table, that is no longer there.
    Stale,
    /// Two translations of different size in one TLB, which forbids that.
    MultiHit,
    /// A fault where memory maps something, taken from a walk of before.
    StaleFault,
    /// An access that may still use what an invalidation by its own CPU has taken away.
    PendingSync,
    /// An access under a root that may be the old one or the new one.
    Register,
    /// A store to a table that is nowhere linked, and that some walker can still reach.
    Reuse,
    /// A walker follows a link to a table, and finds there what was before the link's contents were stored.
    Unordered,
}

/// The translation of an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Found {
    pub(super) output: PhysAddr,
    pub(super) leaf: u64,
    pub(super) restrictions: u64,
    pub(super) bytes: u64,
}

impl Found {
    fn at(page: u64, cached: Cached) -> Option<Self> {
        let Cached::Leaf { first, pages, leaf, restrictions } = cached else { return None };
        let output = || PhysAddr((leaf & 0x0000_ffff_ffff_f000) + (page - first) * 0x1000);
        cached.covers(page).then(|| Self { output: output(), leaf, restrictions, bytes: pages * 0x1000 })
    }

    /// AP\[2\] and APTable\[1\] forbid stores.
    pub(super) fn allows(self, access: Access) -> bool {
        access != Access::Store || (self.leaf >> 7 & 1 == 0 && self.restrictions >> 62 & 1 == 0)
    }
}

/// The oracle, after some events of a program.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) levels: Vec<BbmLevel>,
    ets2: Ets2,
    pub(super) events: Vec<Event>,
    pub(super) memory: Memory,
    pub(super) order: Order,
    pub(super) observers: Vec<Observer>,
}

impl Oracle {
    pub(super) fn new(program: &Program, caching: Caching) -> Self {
        let cpus = program.levels.len();
        let mut oracle = Self {
            levels: program.levels.clone(),
            ets2: program.ets2,
            events: Vec::new(),
            memory: Memory::new(beginning(program.beginning), cpus),
            order: Order::default(),
            observers: (0..cpus).map(|cpu| Observer::new(cpu, caching)).collect(),
        };
        oracle.settle();
        oracle
    }

    fn settle(&mut self) {
        for observer in &mut self.observers {
            observer.settle(&self.memory, &self.order);
        }
    }

    /// One event more: what can go wrong at it.
    pub(super) fn step(&mut self, event: Event) -> Vec<Harm> {
        let mut harms = Vec::new();
        let (cpu, number) = (event.cpu, self.events.len());
        let is_out = |&table: &Table| !self.is_linked(table) && !self.is_left(table);
        let out_of_reach: Vec<Table> = Table::ALL.into_iter().filter(is_out).collect();
        if let Doing::Access(page, access) = event.doing {
            harms = self.access(cpu, page, access);
        }
        if let Doing::Store(slot, _) = event.doing
            && self.is_reuse(SLOTS[slot].0)
        {
            harms.push(Harm::Reuse);
        }
        self.order.push(event);
        self.events.push(event);
        match event.doing {
            Doing::Store(slot, value) => {
                self.memory.store(slot, descriptor(value, slot), cpu, number);
                self.settle();
            }
            Doing::SetTtbr1(root) => {
                self.memory.set_root(cpu, root, number);
                self.settle();
            }
            Doing::Invalidate(scope, covering) => {
                let reached = self.observers.iter_mut().enumerate();
                let waiting = Waiting { event: number, issuer: cpu };
                for (_, observer) in reached.filter(|&(other, _)| scope == Scope::InnerShareable || other == cpu) {
                    observer.send(waiting, covering);
                }
                self.settle();
            }
            Doing::Dsb(dsb) => {
                let invalidations = completes_invalidations(dsb);
                let asked = |event: usize| match self.events[event].doing {
                    Doing::Invalidate(scope, _) => is_completed(scope, invalidations),
                    _ => false,
                };
                for observer in &mut self.observers {
                    if completes_stores(dsb) {
                        observer.require_stores(&self.memory, cpu);
                    }
                    observer.require_invalidations(cpu, asked);
                }
            }
            Doing::Isb => {
                self.observers[cpu].require_root(&self.memory);
                self.observers[cpu].synchronise();
            }
            Doing::Access(..) | Doing::StoreFlag(_) | Doing::LoadFlag(_) | Doing::Branch => {}
        }
        if matches!(event.doing, Doing::Store(..) | Doing::SetTtbr1(_))
            && self.may_walk_into_the_unordered(&out_of_reach)
        {
            harms.push(Harm::Unordered);
        }
        harms
    }

    /// Returns the failures that are possible at an access, if it comes next.
    pub(super) fn access(&self, cpu: usize, page: u64, access: Access) -> Vec<Harm> {
        let mut harms = Vec::new();
        let now = self.now(cpu, page);
        if self.may_be_pending(cpu, page, access, Pending::Surely) {
            harms.push(Harm::PendingSync);
        }
        if self.stale(cpu, page).iter().any(|&old| differ(old, now, access)) {
            harms.push(Harm::Stale);
        }
        if self.levels[cpu] < BbmLevel::Two && self.observers[cpu].views.iter().any(|view| is_multi_hit(view, page)) {
            harms.push(Harm::MultiHit);
        }
        let root = self.memory.roots(cpu).last().map_or(Table::Root, |root| root.table);
        let before = self.order.before_fault(cpu, self.ets2);
        let tables = self.left(cpu, page).into_iter().filter(|&at| self.walk(at, page).1.is_some());
        if now.is_some() && tables.chain([At::root(root)]).any(|at| self.may_fault(at, page, before)) {
            harms.push(Harm::StaleFault);
        }
        if self.is_switching(cpu) {
            harms.push(Harm::Register);
        }
        harms
    }

    /// Returns true when an older root than the last may still be in use.
    pub(super) fn is_switching(&self, cpu: usize) -> bool {
        let last = self.memory.roots(cpu).last().map(|root| root.table);
        self.roots_in_use(cpu).any(|root| Some(root) != last)
    }

    /// Returns true when an access that comes next, somewhere, can come out wrong, or finds two sizes at once, or a
    /// table that is no longer there.
    pub(super) fn can_some_access_go_wrong(&self) -> bool {
        (0..self.levels.len()).any(|cpu| {
            PAGES.iter().any(|&page| {
                let harms = [Access::Load, Access::Store].map(|access| self.access(cpu, page, access));
                harms.iter().flatten().any(|&harm| harm == Harm::Stale)
                    || self.observers[cpu].views.iter().any(|view| is_multi_hit(view, page))
                    || !self.left(cpu, page).is_empty()
            })
        })
    }

    /// Returns the translation by memory, as the last root sees it.
    pub(super) fn now(&self, cpu: usize, page: u64) -> Option<Found> {
        self.path(cpu, page).1
    }

    fn path(&self, cpu: usize, page: u64) -> (Vec<Cached>, Option<Found>) {
        let root = self.memory.roots(cpu).last().map_or(Table::Root, |root| root.table);
        self.walk(At::root(root), page)
    }

    /// Returns the entries on the way of a walk that sees every store, and its end.
    fn walk(&self, mut at: At, page: u64) -> (Vec<Cached>, Option<Found>) {
        let newest = self.memory.newest();
        let mut path = Vec::new();
        loop {
            let entry = slots_of(at.table).find(|&(_, index)| at.index_of(page) == index);
            let found = entry.and_then(|(slot, index)| at.find(index, self.memory.read(&newest, slot)));
            path.extend(found);
            match found.map(|found| (found, At::below(found))) {
                Some((_, Some(below))) => at = below,
                Some((leaf, None)) => return (path, Found::at(page, leaf)),
                None => return (path, None),
            }
        }
    }

    /// The tables that some walk cache of a CPU may lead to for a page, and memory does not.
    pub(super) fn left(&self, cpu: usize, page: u64) -> Vec<At> {
        let (path, _) = self.path(cpu, page);
        let cached: BTreeSet<Cached> = self.observers[cpu].views.iter().flat_map(|view| &view.tlb).copied().collect();
        let left = cached.into_iter().filter(|cached| cached.covers(page) && !path.contains(cached));
        left.filter_map(At::below).collect()
    }

    /// Returns the stale translations that a CPU may use for a page. `None` is a fault: by a table that is no longer on
    /// the way.
    pub(super) fn stale(&self, cpu: usize, page: u64) -> BTreeSet<Option<Found>> {
        let cached = self.observers[cpu].views.iter().flat_map(|view| &view.tlb);
        let mut stale: BTreeSet<_> = cached.filter_map(|&cached| Found::at(page, cached)).map(Some).collect();
        if self.left(cpu, page).into_iter().any(|at| self.walk(at, page).1.is_none()) {
            stale.insert(None);
        }
        stale.remove(&self.now(cpu, page));
        stale
    }

    /// Returns true when an access comes out otherwise, or finds another size, by what an invalidation by its own CPU
    /// has taken away. With FEAT_ETS2 the DSB is enough for all that cannot be executed, and nothing here can.
    pub(super) fn may_be_pending(&self, cpu: usize, page: u64, access: Access, which: Pending) -> bool {
        let now = self.now(cpu, page);
        let pending = self.observers[cpu].pending(which);
        let of_page = pending.into_iter().filter(|cached| cached.covers(page));
        let mut found = of_page.map(|cached| match At::below(cached) {
            None => Found::at(page, cached),
            // It may be walked again, and find what is there by now.
            Some(at) => self.walk(at, page).1,
        });
        let has_other_size = |old: Option<Found>| {
            let sizes = old.zip(now).map(|(old, now)| (old.bytes, now.bytes));
            self.levels[cpu] < BbmLevel::Two && sizes.is_some_and(|(old, now)| old != now)
        };
        self.ets2 == Ets2::Absent && found.any(|old| differ(old, now, access) || has_other_size(old))
    }

    /// Returns true when a walk may end in a fault that has to have seen these events and need have seen no others.
    fn may_fault(&self, at: At, page: u64, before: Events) -> bool {
        let Some((slot, index)) = slots_of(at.table).find(|&(_, index)| at.index_of(page) == index) else {
            return true;
        };
        let versions = self.memory.versions(slot);
        let oldest = versions.iter().rposition(|version| is_among(before, version.by)).unwrap_or(0);
        versions[oldest..].iter().any(|version| match at.find(index, version.value) {
            None => true,
            Some(found) => At::below(found).is_some_and(|below| {
                let with = version.by.map_or(0, |(_, event)| self.order.seen_with(event));
                self.may_fault(below, page, before | with)
            }),
        })
    }

    /// Returns true when memory links the table nowhere, and some TLB may hold a descriptor that does.
    fn is_reuse(&self, table: Table) -> bool {
        let is_held = |cached: &Cached| At::below(*cached).is_some_and(|below| below.table == table);
        let mut views = self.observers.iter().flat_map(|observer| &observer.views);
        !self.is_linked(table) && views.any(|view| view.tlb.iter().any(is_held))
    }

    /// Returns true when memory leads to the table from some CPU's root.
    pub(super) fn is_linked(&self, table: Table) -> bool {
        (0..self.levels.len()).any(|cpu| self.roots_in_use(cpu).any(|root| self.leads_to(root, table)))
    }

    fn roots_in_use(&self, cpu: usize) -> impl Iterator<Item = Table> + '_ {
        self.observers[cpu].views.iter().map(move |view| self.memory.roots(cpu)[view.root].table)
    }

    pub(super) fn leads_to(&self, from: Table, to: Table) -> bool {
        let newest = self.memory.newest();
        let below = |(slot, index)| At::root(from).find(index, self.memory.read(&newest, slot)).and_then(At::below);
        from == to || slots_of(from).filter_map(below).any(|below| self.leads_to(below.table, to))
    }

    /// Returns true when a walker can come to a table that was `out_of_reach` so far, and see there what is no longer
    /// so.
    fn may_walk_into_the_unordered(&self, out_of_reach: &[Table]) -> bool {
        self.observers.iter().enumerate().any(|(cpu, observer)| {
            observer.views.iter().any(|view| {
                let root = self.memory.roots(cpu)[view.root].table;
                self.is_unordered(&view.seen, At::root(root), out_of_reach)
            })
        })
    }

    fn is_unordered(&self, seen: &Seen, at: At, out_of_reach: &[Table]) -> bool {
        slots_of(at.table).any(|(slot, index)| {
            let value = self.memory.read(seen, slot);
            let from = seen.get(slot).copied().map_or(0, usize::from);
            let is_behind = self.memory.versions(slot)[from..].iter().any(|version| version.value != value);
            let below = at.find(index, value).and_then(At::below);
            out_of_reach.contains(&at.table) && is_behind
                || below.is_some_and(|below| self.is_unordered(seen, below, out_of_reach))
        })
    }
}

/// Returns true when an access comes out otherwise.
fn differ(old: Option<Found>, now: Option<Found>, access: Access) -> bool {
    match (old, now) {
        (Some(old), Some(now)) => old.output != now.output || old.allows(access) != now.allows(access),
        (Some(some), None) | (None, Some(some)) => some.allows(access),
        (None, None) => false,
    }
}

/// Returns true when a TLB holds two translations of different size for a page.
fn is_multi_hit(view: &View, page: u64) -> bool {
    let sizes: BTreeSet<u64> =
        view.tlb.iter().filter_map(|&cached| Found::at(page, cached)).map(|found| found.bytes).collect();
    sizes.len() > 1
}
