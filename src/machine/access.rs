//! Accesses: what an address may translate to at this moment, on this CPU.

use super::invalidate::{NOT_GLOBAL, Residue};
use super::reach::{Place, RESTRICTIONS};
use super::rule::Text;
use super::{Rule, State};
use crate::linear_map::BbmLevel;
use crate::paging::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// M8.
pub(super) const M8: Text = Text {
    name: "multi-hit",
    sentence: "an access for which two cached translations of different size exist, on a level that forbids it; on level \
               2 it raises the conflict abort that the handler must survive",
    source: "Arm ARM D8.16 TLB maintenance: TLB conflict aborts; Support levels for changing block size (FEAT_BBM)",
};

/// M9.
pub(super) const M9: Text = Text {
    name: "agreement",
    sentence: "an access whose result differs between the translations that may be cached",
    source: "Arm ARM D8.15 Translation Lookaside Buffers; D8.16 TLB maintenance: break-before-make (loss of coherency, \
             of ordering, of uniprocessor semantics)",
};

/// M13.
pub(super) const M13: Text = Text {
    name: "broken slot",
    sentence: "a fetch, stack, data or table access through an entry that is broken",
    source: "Arm ARM D8.16 TLB maintenance: Using break-before-make (what the entry maps is not accessible between break \
             and make)",
};

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load, of data or of a descriptor.
    Load,
    /// A store, of data, to the stack or to a descriptor.
    Store,
    /// An instruction fetch.
    Fetch,
}

/// What came of an access.
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
    pub(super) restrictions: u64,
    /// How much one TLB entry of it covers.
    pub(super) bytes: u64,
    slot: PhysAddr,
}

impl Translation {
    const READ_ONLY: u64 = 1 << 7;
    const AP_TABLE_READ_ONLY: u64 = 1 << 62;
    const PXN: u64 = 1 << 53;
    const PXN_TABLE: u64 = 1 << 59;

    fn allows(&self, access: Access) -> bool {
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

    fn leaf(
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
        Some(Translation { output, leaf, restrictions, bytes: size * group, slot: at })
    }

    /// An access of `cpu`. Broken rules are noted; the outcome is what memory says.
    pub(super) fn access(&mut self, cpu: usize, address: VirtAddr, access: Access) -> Outcome {
        if !self.cpus[cpu].mmu {
            return Outcome::Memory(PhysAddr(address.0));
        }
        self.check_synchronised(cpu, address);
        let upper = address >= self.upper_half();
        let registers = self.cpus[cpu].registers;
        let root = if upper { registers.ttbr1 } else { registers.ttbr0 };
        let base = if upper { self.upper_half() } else { VirtAddr(0) };
        let level = self.geometry.root_level();
        let top = Place { level, base, holders: 1 << cpu, current: true, restrictions: 0 };
        let mut path = Vec::new();
        let now = root.and_then(|root| self.walk(root, top, address, &mut path));
        // Where nothing is mapped a fault is no stale one.
        if let Some(root) = root.filter(|_| now.is_some()) {
            self.check_fresh(cpu, address, root, level);
            for (table, level) in self.left_tables(cpu, address) {
                self.check_fresh(cpu, address, table, level);
            }
        }
        let cached = self.may_be_cached(cpu, address);
        self.judge(cpu, address, access, now, &cached, path.last().copied().unwrap_or_default())
    }

    /// The tables that a walk cache of this CPU may still lead to, and that map the address.
    fn left_tables(&self, cpu: usize, address: VirtAddr) -> Vec<(PhysAddr, Level)> {
        let held = |residue: &&Residue| residue.holders >> cpu & 1 == 1 && self.covers(residue, address);
        let below = self.residues.iter().filter(held).filter_map(|residue| self.below(residue));
        let maps = |&(table, place): &(PhysAddr, Place)| self.walk(table, place, address, &mut Vec::new()).is_some();
        below.filter(maps).map(|(table, place)| (table, place.level)).collect()
    }

    /// What this CPU may still use for an address although memory no longer has it. `None` is a fault: a table that is no
    /// longer on the way may still be walked, and maps nothing here.
    pub(super) fn may_be_cached(&self, cpu: usize, address: VirtAddr) -> Vec<Option<Translation>> {
        let mut found = Vec::new();
        let asid = self.cpus[cpu].registers.asid;
        for residue in &self.residues {
            if residue.holders >> cpu & 1 == 0 || !self.covers(residue, address) {
                continue;
            }
            let mut path = Vec::new();
            let old = match (self.below(residue), residue.level) {
                (Some((table, place)), _) => self.walk(table, place, address, &mut path),
                (None, Some(level)) => self.leaf(residue.old, level, residue.restrictions, residue.slot, address),
                (None, None) => None,
            };
            // A root is in no walk cache, but what it names may be.
            let is_walked = path.len() > usize::from(residue.level.is_none());
            // What is not global matches the ASID it was walked under.
            match old {
                Some(leaf) if leaf.leaf.0 & NOT_GLOBAL == 0 || residue.asid == asid => found.push(old),
                None if is_walked && residue.asid == asid => found.push(None),
                _ => {}
            }
        }
        found
    }

    fn judge(
        &mut self,
        cpu: usize,
        address: VirtAddr,
        access: Access,
        now: Option<Translation>,
        cached: &[Option<Translation>],
        slot: PhysAddr,
    ) -> Outcome {
        let Some(now) = now else {
            if let Some(old) = cached.iter().flatten().find(|old| old.allows(access)) {
                let detail = "memory maps nothing here, but the CPU may still hold what it did";
                self.violated(Rule::M9, cpu, Some(address), old.slot, old.leaf, Descriptor::EMPTY, detail);
            } else if self.is_shared(address) {
                let entry = self.memory.get(slot);
                let detail = "the entry on the way is broken";
                self.violated(Rule::M13, cpu, Some(address), slot, entry, entry, detail);
            }
            return Outcome::Fault;
        };
        let mut conflict = false;
        for old in cached {
            let Some(old) = old else {
                if now.allows(access) {
                    let detail = "a table that is no longer there may still be walked, and maps nothing here";
                    self.violated(Rule::M9, cpu, Some(address), now.slot, Descriptor::EMPTY, now.leaf, detail);
                }
                continue;
            };
            let agrees = old.output == now.output
                && old.memory_type() == now.memory_type()
                && old.allows(access) == now.allows(access);
            if !agrees {
                let detail = "the CPU may use the old translation or the new one, and they differ";
                self.violated(Rule::M9, cpu, Some(address), old.slot, old.leaf, now.leaf, detail);
            } else if old.bytes != now.bytes {
                match self.cpus[cpu].level {
                    BbmLevel::Zero | BbmLevel::One => {
                        let detail = "two translations of different size may be cached";
                        self.violated(Rule::M8, cpu, Some(address), old.slot, old.leaf, now.leaf, detail);
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
