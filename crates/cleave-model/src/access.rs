// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses, and the translations that a CPU may use for an address at that moment.

use super::rule::RuleText;
use super::stale::{NOT_GLOBAL, StaleEntry};
use super::table_place::{Half, Place, RESTRICTIONS};
use super::{Rule, State};
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// The text of M8.
pub(super) const MULTI_HIT: RuleText = RuleText {
    id: "M8",
    name: "multi-hit",
    sentence: "an access for which two cached translations of different size exist, on a level that forbids it; on level \
               2, for the Contiguous bit on level 1, it raises the conflict abort that the handler must survive",
    source: "Arm ARM D8.17 TLB maintenance: TLB conflict aborts; Support levels for changing table or block size (R_FCPSG)",
};

/// The text of M9.
pub(super) const AMBIGUOUS_TRANSLATION: RuleText = RuleText {
    id: "M9",
    name: "agreement",
    sentence: "an access whose result differs between the translations that may be cached",
    source: "Arm ARM D8.16 Translation Lookaside Buffers; D8.17 TLB maintenance: break-before-make (loss of coherency, \
             of ordering, of uniprocessor semantics)",
};

/// The text of M13.
pub(super) const BROKEN_ENTRY_ACCESS: RuleText = RuleText {
    id: "M13",
    name: "broken slot",
    sentence: "a fetch, stack, data or table access through an entry that is broken",
    source: "Arm ARM D8.17 TLB maintenance: Using break-before-make (what the entry maps is not accessible between break \
             and make)",
};

/// The kind of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load, of data or of a descriptor.
    Load,
    /// A store, of data, to the stack or to a descriptor.
    Store,
    /// An instruction fetch.
    Fetch,
}

/// The result of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It went to this address.
    Memory(PhysAddr),
    /// A translation or permission fault.
    Fault,
    /// A TLB conflict abort is possible (level 2); a handler that invalidates and retries gets to this address.
    Conflict(PhysAddr),
}

/// A translation some CPU may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Translation {
    pub(super) output: PhysAddr,
    pub(super) leaf: Descriptor,
    level: Level,
    pub(super) restrictions: u64,
    /// The bytes that one TLB entry of it covers.
    pub(super) bytes: u64,
    pub(super) slot: PhysAddr,
}

impl Translation {
    const READ_ONLY: u64 = 1 << 7;
    const AP_TABLE_READ_ONLY: u64 = 1 << 62;
    const PXN: u64 = 1 << 53;
    const PXN_TABLE: u64 = 1 << 59;

    pub(super) fn allows(&self, access: Access) -> bool {
        let bits = match access {
            Access::Load => return true,
            Access::Store => (Self::READ_ONLY, Self::AP_TABLE_READ_ONLY),
            Access::Fetch => (Self::PXN, Self::PXN_TABLE),
        };
        self.leaf.0 & bits.0 == 0 && self.restrictions & bits.1 == 0
    }

    /// AttrIndx and SH.
    fn memory_type(&self) -> u64 {
        self.leaf.0 & 0b11_0001_1100
    }

    /// Returns true when an access has the same result by either.
    pub(super) fn agrees(&self, other: &Self, access: Access) -> bool {
        self.output == other.output
            && self.memory_type() == other.memory_type()
            && self.allows(access) == other.allows(access)
    }
}

impl State {
    /// Walks from a table down. The slots on the way go to `path`.
    fn walk(
        &self,
        mut table: PhysAddr,
        mut place: Place,
        address: VirtAddr,
        path: &mut Vec<PhysAddr>,
    ) -> Option<Translation> {
        loop {
            let at = slot(table, self.geometry.index(address, place.level));
            path.push(at);
            let entry = self.memory.get(at);
            match (entry.kind(self.geometry, place.level), place.level.next()) {
                (Kind::Table(below), Some(level)) => {
                    place = Place { level, restrictions: place.restrictions | entry.0 & RESTRICTIONS, ..place };
                    table = below;
                }
                (Kind::Leaf(_), _) => return self.leaf(entry, place.level, place.restrictions, at, address),
                _ => return None,
            }
        }
    }

    pub(super) fn leaf(
        &self,
        leaf: Descriptor,
        level: Level,
        restrictions: u64,
        at: PhysAddr,
        address: VirtAddr,
    ) -> Option<Translation> {
        let Kind::Leaf(output) = leaf.kind(self.geometry, level) else { return None };
        let size = self.geometry.size(level);
        let group = if leaf.is_contiguous() { self.geometry.contiguous(level).unwrap_or(1) as u64 } else { 1 };
        let output = output.offset(address.0 & (size - 1));
        Some(Translation { output, leaf, level, restrictions, bytes: size * group, slot: at })
    }

    /// Returns true when two roots map an address by the same leaf with the same restrictions.
    pub(super) fn translates_alike(&self, one: PhysAddr, other: PhysAddr, address: VirtAddr) -> bool {
        let base = if address >= self.upper_half() { self.upper_half() } else { VirtAddr(0) };
        let [one, other] = [one, other].map(|root| self.walk(root, self.top(base, 0), address, &mut Vec::new()));
        let alike = |one: &Translation, other: &Translation| {
            (one.slot, one.leaf, one.restrictions) == (other.slot, other.leaf, other.restrictions)
        };
        one.zip(other).is_some_and(|(one, other)| alike(&one, &other))
    }

    /// Performs an access of `cpu`. Broken rules are recorded; the outcome follows from memory.
    pub(super) fn access(&mut self, cpu: usize, address: VirtAddr, access: Access) -> Outcome {
        if !self.cpus[cpu].mmu {
            return Outcome::Memory(PhysAddr(address.0));
        }
        self.check_synchronised(cpu, address, access);
        self.check_outdated(cpu, address);
        let (half, level) = (self.half_of(address), self.geometry.root_level());
        let mut path = Vec::new();
        let now = self.walk_registers(cpu, address, &mut path);
        // Where nothing is mapped a fault is no stale one.
        if let (Some(now), Some(&root), false) = (now, path.first(), self.handles_stale_faults) {
            let tops = [(self.table_of(root), level)].into_iter().chain(self.left_tables(cpu, address));
            for top in tops.collect::<Vec<_>>() {
                self.check_fresh(cpu, address, access, &now, top);
            }
        }
        for &at in &path {
            self.walked(cpu, half, at);
        }
        let cached = self.may_be_cached(cpu, address);
        let end = path.last().map(|&at| (at, Level::ALL[level.number() + path.len() - 1]));
        let outcome = self.judge(cpu, address, access, now, &cached, end);
        if let (None, Some((at, level))) = (now, end) {
            self.check_hole(cpu, address, at, level);
        }
        if !self.pending_sync.is_empty() {
            self.check_pending_sync(cpu, address, access, now);
        }
        outcome
    }

    /// Walks from the root that a CPU has for an address.
    fn walk_registers(&self, cpu: usize, address: VirtAddr, path: &mut Vec<PhysAddr>) -> Option<Translation> {
        let base = match self.half_of(address) {
            Half::Upper => self.upper_half(),
            Half::Lower => VirtAddr(0),
        };
        self.walk(self.root_of(cpu, address)?, self.top(base, 1 << cpu), address, path)
    }

    /// Returns the root that a CPU has in force for an address.
    pub(super) fn root_of(&self, cpu: usize, address: VirtAddr) -> Option<PhysAddr> {
        let registers = self.cpus[cpu].registers;
        match self.half_of(address) {
            Half::Upper => registers.ttbr1,
            Half::Lower => registers.ttbr0,
        }
    }

    /// Returns the address that memory maps an address to for a CPU.
    pub(super) fn now(&self, cpu: usize, address: VirtAddr) -> Option<PhysAddr> {
        self.walk_registers(cpu, address, &mut Vec::new()).map(|now| now.output)
    }

    /// Returns the tables that a walk cache of this CPU may still lead to, and that map the address.
    fn left_tables(&self, cpu: usize, address: VirtAddr) -> Vec<(PhysAddr, Level)> {
        let held = |stale: &&StaleEntry| stale.holders >> cpu & 1 == 1 && self.covers(stale, address);
        let below = self.stale_entries.iter().filter(held).filter_map(|stale| self.below(stale));
        let maps = |&(table, place): &(PhysAddr, Place)| self.walk(table, place, address, &mut Vec::new()).is_some();
        below.filter(maps).map(|(table, place)| (table, place.level)).collect()
    }

    /// Returns the results that this CPU may still get for an address although memory no longer has them. `None` is a
    /// fault: a table that is no longer on the way may still be walked, and maps nothing here.
    pub(super) fn may_be_cached(&self, cpu: usize, address: VirtAddr) -> Vec<Option<Translation>> {
        let held = self.stale_entries.iter().filter(|stale| stale.holders >> cpu & 1 == 1);
        held.filter_map(|stale| self.result_of(stale, cpu, address)).collect()
    }

    /// Returns the translation of an address by a stale entry on a CPU, if there is one.
    pub(super) fn translation_of(&self, stale: &StaleEntry, cpu: usize, address: VirtAddr) -> Option<Translation> {
        self.result_of(stale, cpu, address).flatten()
    }

    /// Returns the translation or the fault of an address on a CPU that uses a stale entry; `None` if it cannot be used
    /// there.
    pub(super) fn result_of(&self, stale: &StaleEntry, cpu: usize, address: VirtAddr) -> Option<Option<Translation>> {
        if !self.covers(stale, address) {
            return None;
        }
        let mut path = Vec::new();
        let old = match (self.below(stale), stale.level) {
            (Some((table, place)), _) => self.walk(table, place, address, &mut path),
            (None, Some(level)) => self.leaf(stale.old, level, stale.restrictions, stale.slot, address),
            (None, None) => None,
        };
        // A root is in no walk cache, but what it names may be.
        let is_walked = path.len() > usize::from(stale.level.is_none());
        // What is not global matches the ASID it was walked under.
        let is_same_asid = stale.asid == self.cpus[cpu].registers.asid;
        let matches = old.map_or(is_walked && is_same_asid, |old| old.leaf.0 & NOT_GLOBAL == 0 || is_same_asid);
        matches.then_some(old)
    }

    /// Returns true when a walk ended at a leaf that is meant to be invalid; in the stop window that is a break.
    fn is_guarded(&self, end: Option<(PhysAddr, Level)>) -> bool {
        let is_guard = |(at, level)| matches!(self.memory.get(at).kind(self.geometry, level), Kind::InvalidLeaf(_));
        end.is_some_and(is_guard) && !self.in_window()
    }

    fn judge(
        &mut self,
        cpu: usize,
        address: VirtAddr,
        access: Access,
        now: Option<Translation>,
        cached: &[Option<Translation>],
        end: Option<(PhysAddr, Level)>,
    ) -> Outcome {
        let Some(now) = now else {
            if let Some(old) = cached.iter().flatten().find(|old| old.allows(access)) {
                let detail = "memory maps nothing here, but the CPU may still hold what it did";
                self.violated(
                    Rule::AmbiguousTranslation,
                    cpu,
                    Some(address),
                    old.slot,
                    (old.leaf, Descriptor::EMPTY),
                    detail,
                );
            } else if self.is_shared(address) && !self.is_guarded(end) {
                let slot = end.map(|(at, _)| at).unwrap_or_default();
                let entry = self.memory.get(slot);
                let detail = "the entry on the way is broken";
                self.violated(Rule::BrokenEntryAccess, cpu, Some(address), slot, (entry, entry), detail);
            }
            return Outcome::Fault;
        };
        let mut conflict = false;
        for old in cached {
            let Some(old) = old else {
                if now.allows(access) {
                    let detail = "a table that is no longer there may still be walked, and maps nothing here";
                    self.violated(
                        Rule::AmbiguousTranslation,
                        cpu,
                        Some(address),
                        now.slot,
                        (Descriptor::EMPTY, now.leaf),
                        detail,
                    );
                }
                continue;
            };
            if !old.agrees(&now, access) {
                let detail = "the CPU may use the old translation or the new one, and they differ";
                self.violated(Rule::AmbiguousTranslation, cpu, Some(address), old.slot, (old.leaf, now.leaf), detail);
            } else if old.bytes != now.bytes {
                // From level 1 on a change of the Contiguous bit may raise a conflict abort, and no worse (R_FCPSG).
                let contiguous = old.leaf.is_contiguous() != now.leaf.is_contiguous() && old.level == now.level;
                match self.cpus[cpu].level {
                    BbmLevel::One if contiguous => conflict = true,
                    BbmLevel::Zero | BbmLevel::One => {
                        let detail = "two translations of different size may be cached";
                        self.violated(Rule::MultiHit, cpu, Some(address), old.slot, (old.leaf, now.leaf), detail);
                    }
                    BbmLevel::Two => conflict = true,
                    BbmLevel::Three => {}
                }
            }
        }
        match (now.allows(access), conflict) {
            (false, _) => Outcome::Fault,
            (true, true) => Outcome::Conflict(now.output),
            (true, false) => Outcome::Memory(now.output),
        }
    }
}
