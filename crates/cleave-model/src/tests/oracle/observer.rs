// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU's walker and TLB: every state they can be in.
//!
//! A [`View`] is a state: how much of memory the walker sees, which invalidations have yet to arrive, what the TLB
//! holds. Between two events anything may happen: a store becomes visible, an invalidation arrives, a new root comes to
//! be used, the walker walks and the TLB keeps what it found. [`Observer::settle`] follows all of it, until no new
//! state turns up. A barrier makes nothing happen: it rules out the states in which what it waits for has not happened.
//!
//! Nothing is ever evicted, and what can be cached is cached at once: see [`Caching`].

use std::collections::{BTreeSet, HashMap, HashSet};

use super::memory::{Memory, Seen};
use super::order::{Events, Order, Reach};
use super::program::Covering;
use super::recent::{Pending, Recent};
use super::world::{GEOMETRY, STORED, Table, pages_at, slots_of};
use crate::LastLevel;
use cleave::tables::{Descriptor, Kind, Level};

/// APTable, and what else a table descriptor takes away from what is below.
pub(super) const RESTRICTIONS: u64 = 0x1f << 59;

/// Something in a TLB. Neither kind says which table it was found in: a TLB does not know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Cached {
    /// A translation: its first page, how many pages, its descriptor, and what the tables above took away.
    Leaf { first: u64, pages: u64, leaf: u64, restrictions: u64 },
    /// A table descriptor of a level, for the pages from the first on, and what it and those above it take away.
    Table { first: u64, level: Level, table: Table, restrictions: u64 },
}

impl Cached {
    pub(super) fn covers(self, page: u64) -> bool {
        let (first, pages) = match self {
            Self::Leaf { first, pages, .. } => (first, pages),
            Self::Table { first, level, .. } => (first, pages_at(level)),
        };
        (first..first + pages).contains(&page)
    }

    /// Returns true when the invalidation takes it away.
    fn is_taken(self, covering: Covering) -> bool {
        let Covering::Page(page, last, hint) = covering else { return true };
        let level_is_right = match self {
            Self::Leaf { pages, .. } => hint.is_none_or(|level| pages_at(level) == pages),
            Self::Table { level, .. } => last == LastLevel::AllLevels && hint.is_none_or(|leaf| level < leaf),
        };
        self.covers(page) && level_is_right
    }
}

/// The position of a walk: a table, the first page it translates, and the restrictions of the tables on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) table: Table,
    pub(super) first: u64,
    pub(super) restrictions: u64,
}

impl At {
    pub(super) fn root(table: Table) -> Self {
        Self { table, first: 0, restrictions: 0 }
    }

    /// The entry here that translates a page.
    pub(super) fn index_of(self, page: u64) -> usize {
        ((page - self.first) / pages_at(self.table.level())) as usize
    }

    /// Returns the descriptor in entry `index` here as something to cache, or `None`.
    pub(super) fn find(self, index: usize, value: Descriptor) -> Option<Cached> {
        let (level, restrictions) = (self.table.level(), self.restrictions);
        let first = self.first + index as u64 * pages_at(level);
        match value.kind(GEOMETRY, level) {
            Kind::Leaf(_) => Some(Cached::Leaf { first, pages: pages_at(level), leaf: value.0, restrictions }),
            Kind::Table(table) => {
                let restrictions = restrictions | value.0 & RESTRICTIONS;
                Table::at(table).map(|table| Cached::Table { first, level, table, restrictions })
            }
            _ => None,
        }
    }

    /// Returns the position at which the walk goes on from a cached table descriptor.
    pub(super) fn below(cached: Cached) -> Option<Self> {
        match cached {
            Cached::Table { first, table, restrictions, .. } => Some(Self { table, first, restrictions }),
            Cached::Leaf { .. } => None,
        }
    }
}

/// A TLBI that may not have arrived yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Waiting {
    /// Its event.
    pub(super) event: usize,
    pub(super) issuer: usize,
}

/// One state of one CPU's walker and TLB.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct View {
    pub(super) seen: Seen,
    /// The root in use, by its number among those the CPU wrote.
    pub(super) root: usize,
    waiting: Vec<Waiting>,
    pub(super) tlb: BTreeSet<Cached>,
}

impl View {
    /// Returns true when an invalidation has yet to arrive.
    pub(super) fn is_awaiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// The caching of translations that could be cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caching {
    /// All that can be cached is, at once, and stays. A CPU that holds more can do all that a CPU can that holds less,
    /// for all that is held may be evicted before it is used; so no other states are needed to find everything that can
    /// go wrong.
    Greedy,
    /// Each translation is cached at some time or never, and evicted at some time or never: every state there is.
    Free,
}

/// One CPU's walker and TLB, in every state they can be in.
#[derive(Debug)]
pub(super) struct Observer {
    cpu: usize,
    caching: Caching,
    pub(super) views: Vec<View>,
    recent: Recent,
    /// The entries that each TLBI under way covers, by its event.
    covering: HashMap<usize, Covering>,
}

impl Observer {
    pub(super) fn new(cpu: usize, caching: Caching) -> Self {
        let at_first = View { seen: [0; STORED], root: 0, waiting: Vec::new(), tlb: BTreeSet::new() };
        Self { cpu, caching, views: vec![at_first], recent: Recent::default(), covering: HashMap::new() }
    }

    /// An invalidation that reaches this CPU is on its way.
    pub(super) fn send(&mut self, waiting: Waiting, covering: Covering) {
        self.covering.insert(waiting.event, covering);
        if waiting.issuer != self.cpu {
            self.recent.send(waiting, |cached| cached.is_taken(covering));
        }
        self.views.iter_mut().for_each(|view| view.waiting.push(waiting));
    }

    /// Rules out all states in which a store of `cpu` has not been seen.
    pub(super) fn require_stores(&mut self, memory: &Memory, cpu: usize) {
        let mut least = [0; STORED];
        for (slot, least) in least.iter_mut().enumerate() {
            let of_cpu = |version: &super::memory::Version| version.by.is_some_and(|(by, _)| by == cpu);
            *least = memory.versions(slot).iter().rposition(of_cpu).unwrap_or(0) as u8;
        }
        self.views.retain(|view| view.seen.iter().zip(least).all(|(&seen, least)| seen >= least));
    }

    /// Rules out all states in which an invalidation that `cpu` issued, of those asked about, has not arrived.
    pub(super) fn require_invalidations(&mut self, cpu: usize, asked: impl Fn(usize) -> bool) {
        let before = self.held();
        self.views.retain(|view| !view.waiting.iter().any(|one| one.issuer == cpu && asked(one.event)));
        let after = self.held();
        if cpu == self.cpu {
            self.recent.take(&before, &after);
        } else {
            self.recent.complete(&before, &after, |waiting| waiting.issuer == cpu && asked(waiting.event));
        }
    }

    /// The entries that the TLB may hold.
    pub(super) fn held(&self) -> BTreeSet<Cached> {
        self.views.iter().flat_map(|view| &view.tlb).copied().collect()
    }

    /// The entries that the TLB may not hold any more, and an explicit access of the CPU may still use.
    pub(super) fn pending(&self, which: Pending) -> BTreeSet<Cached> {
        self.recent.pending(which, &self.held())
    }

    /// A context synchronisation event.
    pub(super) fn synchronise(&mut self) {
        self.recent.synchronise(self.held());
    }

    /// Rules out all states in which an older root than the last is in use.
    pub(super) fn require_root(&mut self, memory: &Memory) {
        let last = memory.roots(self.cpu).len() - 1;
        self.views.retain(|view| view.root == last);
    }

    /// Follows everything that may happen, until there is nothing new.
    pub(super) fn settle(&mut self, memory: &Memory, order: &Order) {
        let mut known: HashSet<View> = HashSet::new();
        let mut ahead: Vec<View> = std::mem::take(&mut self.views);
        if self.caching == Caching::Greedy {
            ahead.iter_mut().for_each(|view| self.fill(memory, view));
        }
        while let Some(view) = ahead.pop() {
            if known.contains(&view) {
                continue;
            }
            ahead.extend(self.steps(memory, order, &view));
            known.insert(view);
        }
        self.views = match self.caching {
            Caching::Greedy => without_lesser(known),
            Caching::Free => known.into_iter().collect(),
        };
        let held = self.held();
        self.recent.hold(&held);
    }

    /// Every state that is one step away.
    fn steps(&self, memory: &Memory, order: &Order, view: &View) -> Vec<View> {
        let mut next = Vec::new();
        for slot in 0..STORED {
            // The stores to one slot are seen one after the other, and none before what is ordered before it.
            let version = memory.versions(slot).get(usize::from(view.seen[slot]) + 1);
            let by = version.and_then(|version| version.by);
            if version.is_some() && sees_all_before(memory, order, view, by.map(|(_, event)| event)) {
                let mut view = view.clone();
                view.seen[slot] += 1;
                next.push(view);
            }
        }
        for number in 0..view.waiting.len() {
            let mut view = view.clone();
            let covering = self.covering[&view.waiting.remove(number).event];
            view.tlb.retain(|cached| !cached.is_taken(covering));
            next.push(view);
        }
        let root = memory.roots(self.cpu).get(view.root + 1);
        if root.is_some_and(|root| sees_all_before(memory, order, view, root.by)) {
            next.push(View { root: view.root + 1, ..view.clone() });
        }
        match self.caching {
            Caching::Greedy => next.iter_mut().for_each(|view| self.fill(memory, view)),
            Caching::Free => {
                for found in self.walks(memory, view).into_iter().filter(|found| !view.tlb.contains(found)) {
                    let mut view = view.clone();
                    view.tlb.insert(found);
                    next.push(view);
                }
                for evicted in &view.tlb {
                    let mut view = view.clone();
                    view.tlb.remove(evicted);
                    next.push(view);
                }
            }
        }
        next
    }

    /// Returns the entries that one walk may find: from the root, or from a table descriptor that is cached.
    fn walks(&self, memory: &Memory, view: &View) -> Vec<Cached> {
        let root = memory.roots(self.cpu)[view.root].table;
        let starts = view.tlb.iter().filter_map(|&cached| At::below(cached));
        let starts: Vec<At> = starts.chain([At::root(root)]).collect();
        let mut found = Vec::new();
        for at in starts {
            found.extend(slots_of(at.table).filter_map(|(slot, index)| at.find(index, memory.read(&view.seen, slot))));
        }
        found
    }

    /// Caches all that can be found.
    fn fill(&self, memory: &Memory, view: &mut View) {
        loop {
            let before = view.tlb.len();
            let found = self.walks(memory, view);
            view.tlb.extend(found);
            if view.tlb.len() == before {
                return;
            }
        }
    }
}

/// Returns true when all stores that are ordered before an event have been seen.
fn sees_all_before(memory: &Memory, order: &Order, view: &View, event: Option<usize>) -> bool {
    let before = event.map_or(0, |event| order.up_to(event) & !(1 << event));
    (0..STORED).all(|slot| {
        let unseen = &memory.versions(slot)[usize::from(view.seen[slot]) + 1..];
        !unseen.iter().any(|version| is_among(before, version.by))
    })
}

/// Returns true when a version was stored by one of these events.
pub(super) fn is_among(events: Events, by: Option<(usize, usize)>) -> bool {
    by.is_some_and(|(_, event)| events >> event & 1 == 1)
}

/// Returns true when a TLBI of this form is completed by a barrier that reaches so far.
pub(super) fn is_completed(scope: crate::Scope, reach: Reach) -> bool {
    match (scope, reach) {
        (_, Reach::Everything) | (crate::Scope::Local, Reach::Own) => true,
        (crate::Scope::InnerShareable, Reach::Own) | (_, Reach::Nothing) => false,
    }
}

/// Leaves those states out that differ from another only in holding less.
fn without_lesser(views: HashSet<View>) -> Vec<View> {
    let mut alike: HashMap<(Seen, usize, Vec<Waiting>), Vec<BTreeSet<Cached>>> = HashMap::new();
    for view in views {
        let tlbs = alike.entry((view.seen, view.root, view.waiting)).or_default();
        if !tlbs.iter().any(|other| view.tlb.is_subset(other)) {
            tlbs.retain(|other| !other.is_subset(&view.tlb));
            tlbs.push(view.tlb);
        }
    }
    let views = alike.into_iter().flat_map(|((seen, root, waiting), tlbs)| {
        tlbs.into_iter().map(move |tlb| View { seen, root, waiting: waiting.clone(), tlb })
    });
    views.collect()
}
