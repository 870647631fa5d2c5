// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of stores between CPUs, and the two rules about it.
//!
//! Stores to tables are numbered on each CPU. A clock says, for each CPU, up to which of its stores something is known
//! to have happened. A CPU learns of another's stores by reading a flag that the other wrote after them. How much the
//! flag conveys depends on both sides: a release conveys everything before it, a plain store only what a DSB before it
//! completed; an acquire is known at once, a plain load only behind a branch on it and an ISB.
//!
//! Whether a *translation fault* may be stale is one step stricter: without FEAT_ETS2 only a context synchronisation
//! event behind the branch keeps a CPU from taking a fault that a walk from before produced.

use super::access::Translation;
use super::memory::OldValue;
use super::rule::RuleText;
use super::{Access, Flag, MAX_CPUS, Rule, State};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// The text of M7.
pub(super) const CHILD_BEFORE_PARENT: RuleText = RuleText {
    id: "M7",
    name: "child first",
    sentence: "the contents of a child table are not ordered before the store that links it, by a DSB ISHST of the CPU \
               that wrote them or by release and acquire to the one that links",
    source: "Arm ARM D8.2 The VMSAv8-64 translation process (walks are explicit-order observers of table stores); \
             K13 barrier litmus tests; herd7 VMSA model",
};

/// The text of M10.
pub(super) const CONTEXT_SYNCHRONISATION: RuleText = RuleText {
    id: "M10",
    name: "context",
    sentence: "no ISB between a release, seen behind a branch, and the first use of the map; none after a write of \
               TTBR, TCR, MAIR or SCTLR; a fresh entry used without context synchronisation or a retry of the fault; an \
               access that may use what its own CPU's TLBI; DSB has taken away, or a fetch on any CPU, before the ISB",
    source: "Arm ARM B2.3 Definition of the Arm memory model (DSB-ordered-before, ETS-ordered-before); D8.17 TLB \
             maintenance: Ordering and completion of TLB maintenance instructions; D8.2 (translation table base \
             changes); glossary: Context synchronization event; herd7: SM-noisb-p1, SM-dsbp1",
};

/// The way in which a table becomes reachable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkedBy {
    /// By a store, behind what an acquire conveyed.
    Store,
    /// By a write of a base register. An acquire orders accesses and no such write, a branch keeps it back.
    Register,
}

/// The way of a walk that ends in a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WalkPath {
    Now,
    /// Through an entry that has been replaced: what was in the tables there may be overwritten as well by now.
    Before,
}

/// For each CPU, the number of its last store to a table that is known of.
pub(super) type Clock = [u64; MAX_CPUS];

pub(super) fn join(into: &mut Clock, other: &Clock) {
    for (mine, theirs) in into.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

/// The stores of one CPU, and the stores that it knows of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Order {
    /// The number of its last store.
    pub(super) stores: u64,
    /// Its last store that a DSB of store semantics and inner-shareable scope has completed.
    pub(super) completed: u64,
    /// Its last store that a release came after.
    pub(super) released: u64,
    /// Stores that precede its next accesses.
    known: Clock,
    /// Stores that its loads conveyed and that no branch depends on yet.
    loaded: Clock,
    /// Stores that its loads conveyed and that a branch depends on.
    branched: Clock,
    /// Stores that precede its last context synchronisation event.
    synchronised: Clock,
    /// Stores that its last DSB put before everything later.
    fenced: Clock,
    /// Stores that precede all that it does next, its TLBIs included: those are not ordered by an acquire.
    ahead: Clock,
}

impl State {
    fn everything_before(&self, cpu: usize) -> Clock {
        let order = &self.cpus[cpu].order;
        let mut clock = order.known;
        clock[cpu] = order.stores;
        clock
    }

    /// Completes a CPU's stores, at a DSB that waits for stores as far as the inner shareable domain.
    pub(super) fn complete_stores(&mut self, cpu: usize) {
        let clock = self.everything_before(cpu);
        let order = &mut self.cpus[cpu].order;
        order.completed = order.stores;
        order.fenced = clock;
    }

    /// Executes a DSB that waits for loads: all that they conveyed precedes everything behind it but the walks of later
    /// accesses, and those too behind an ISB (herd7: DSB-ob, CSE-ob).
    pub(super) fn complete_loads(&mut self, cpu: usize) {
        let order = &mut self.cpus[cpu].order;
        let loaded = order.loaded;
        join(&mut order.known, &loaded);
        join(&mut order.branched, &loaded);
        let known = order.known;
        join(&mut order.ahead, &known);
    }

    pub(super) fn synchronise(&mut self, cpu: usize) {
        let order = &mut self.cpus[cpu].order;
        // A branch and an ISB behind a plain load order what follows behind it.
        let branched = order.branched;
        join(&mut order.known, &branched);
        join(&mut order.synchronised, &branched);
        join(&mut order.ahead, &branched);
        order.synchronised[cpu] = order.completed;
    }

    /// Notes a branch that depends on the loads so far.
    pub(super) fn branch(&mut self, cpu: usize) {
        let order = &mut self.cpus[cpu].order;
        let loaded = order.loaded;
        join(&mut order.branched, &loaded);
    }

    pub(super) fn flag_stored(&mut self, cpu: usize, flag: usize, kind: Flag) {
        let clock = match kind {
            Flag::Ordered => {
                self.cpus[cpu].order.released = self.cpus[cpu].order.stores;
                self.everything_before(cpu)
            }
            Flag::Plain => self.cpus[cpu].order.fenced,
        };
        self.flags.insert(flag, clock);
    }

    /// Performs a read-modify-write: the flag goes on conveying all that it conveyed before (a release sequence).
    pub(super) fn flag_modified(&mut self, cpu: usize, flag: usize, kind: Flag) {
        let before = self.flags.get(&flag).copied().unwrap_or_default();
        self.flag_stored(cpu, flag, kind);
        if let Some(clock) = self.flags.get_mut(&flag) {
            join(clock, &before);
        }
    }

    pub(super) fn flag_loaded(&mut self, cpu: usize, flag: usize, kind: Flag) {
        let Some(clock) = self.flags.get(&flag).copied() else { return };
        let order = &mut self.cpus[cpu].order;
        join(&mut order.loaded, &clock);
        if kind == Flag::Ordered {
            join(&mut order.known, &clock);
        }
    }

    /// M7: `linker` makes a table reachable, which `writer` wrote with its store `number`.
    pub(super) fn is_before_link(&self, linker: usize, writer: usize, number: u64, by: LinkedBy) -> bool {
        let order = &self.cpus[linker].order;
        let handed_over = match by {
            LinkedBy::Store => order.known[writer],
            LinkedBy::Register => order.branched[writer],
        };
        // Completed for every CPU, or handed over. The linking CPU's own stores need its DSB.
        number <= self.cpus[writer].order.completed || (writer != linker && number <= handed_over)
    }

    /// M4: a TLBI of `cpu` comes behind store `number` of `writer`, which has completed it by a DSB of its own. On
    /// another CPU a TLBI is ordered behind the load that told of the store by a DSB, or by a branch and an ISB: an
    /// acquire is not enough (Arm ARM D8.17.8: in any order relative to other accesses unless a DSB is executed
    /// between).
    pub(super) fn is_before_tlbi(&self, cpu: usize, writer: usize, number: u64) -> bool {
        number <= self.cpus[writer].order.completed && (writer == cpu || number <= self.cpus[cpu].order.ahead[writer])
    }

    /// Returns true when a context synchronisation event of `cpu` is known to come behind what is number `number` on
    /// `other`.
    pub(super) fn has_synchronised(&self, cpu: usize, other: usize, number: u64) -> bool {
        number <= self.cpus[cpu].order.synchronised[other]
    }

    /// M10: may a walk of `cpu` still fault on an entry that `writer` made valid with its store `number`? With
    /// FEAT_ETS2 a walk that faults comes behind every explicit access in front of it, but for that of an instruction
    /// fetch.
    fn may_fault_on(&self, cpu: usize, writer: usize, number: u64, access: Access) -> bool {
        let order = &self.cpus[cpu].order;
        let seen = if writer == cpu { order.stores } else { order.known[writer].max(order.loaded[writer]) };
        let in_order = self.ets2 && access != Access::Fetch && number <= seen;
        !self.has_synchronised(cpu, writer, number) && !in_order
    }

    /// M10: `cpu` uses `address`, which is mapped as `now`, by way of a table of `level`, and may have found there what
    /// faults.
    pub(super) fn check_fresh(
        &mut self,
        cpu: usize,
        address: VirtAddr,
        access: Access,
        now: &Translation,
        (table, level): (PhysAddr, Level),
    ) {
        let Some(at) = self.may_fault_in(cpu, address, access, (table, level), WalkPath::Now) else { return };
        let entry = self.memory.get(at);
        // By way of an entry that is gone, where there may be anything by now.
        let (at, entry) = if entry.is_valid() { (at, entry) } else { (now.slot, now.leaf) };
        let detail = "an entry that was just made valid may still fault here: no context synchronisation since";
        self.violated(Rule::ContextSynchronisation, cpu, Some(address), at, (Descriptor::EMPTY, entry), detail);
    }

    /// Returns the slot in which a walk from `table` on finds what faults, when it sees of each slot what it may.
    fn may_fault_in(
        &self,
        cpu: usize,
        address: VirtAddr,
        access: Access,
        (table, level): (PhysAddr, Level),
        way: WalkPath,
    ) -> Option<PhysAddr> {
        let at = slot(table, self.geometry.index(address, level));
        let is_unseen = |&(writer, number, _): &(usize, u64, OldValue)| self.may_fault_on(cpu, writer, number, access);
        let unseen = self.memory.made_live(at).take_while(is_unseen);
        let before = unseen.filter_map(|(.., was)| match (was, way) {
            (OldValue::Faulting(was), _) => Some((was, WalkPath::Before)),
            (OldValue::Any, WalkPath::Before) => Some((Descriptor::EMPTY, way)),
            (OldValue::Any | OldValue::Valid, _) => None,
        });
        std::iter::once((self.memory.get(at), way)).chain(before).find_map(|(entry, way)| {
            match (entry.kind(self.geometry, level), level.next()) {
                (Kind::Leaf(_), _) => None,
                (Kind::Table(below), Some(next)) => self.may_fault_in(cpu, address, access, (below, next), way),
                _ => Some(at),
            }
        })
    }
}
