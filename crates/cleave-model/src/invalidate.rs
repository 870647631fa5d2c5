// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a TLB may still hold although memory says otherwise, and what gets rid of it.
//!
//! A CPU may hold any translation it could have walked at any time since its last completed, covering invalidation.
//! What memory holds now may always be cached, so it need not be remembered; what it held before is a [`Residue`], from
//! the store that replaced it until an invalidation of it has completed on every CPU that may have walked it. That is
//! every schedule of caching and eviction at once: a residue is there if some TLB of some machine may have it.

use super::reach::{Cpus, Place};
use super::rule::Text;
use super::tlbi::{LastLevel, Named, Scope, Tlbi, What};
use super::{CpuState, Dsb, Outdated, Rule, State};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr};

/// M4.
pub(super) const M4: Text = Text {
    name: "order before",
    sentence: "a TLBI counts only for stores that a DSB with store semantics and inner-shareable scope has ordered \
               before it (not ISHLD, not NSH)",
    source: "Arm ARM D8.17 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb1, \
             SM-dsb1ishld",
};

/// M5.
pub(super) const M5: Text = Text {
    name: "coverage",
    sentence: "a TLBI of the wrong scope, the wrong address, the last level only where a table entry changed, the wrong \
               level hint or another VMID leaves what it was meant for",
    source: "Arm ARM D8.17 TLB maintenance: Scope of the TLBI instructions, TTL hint (FEAT_TTL); herd7: SM-local",
};

/// M6.
pub(super) const M6: Text = Text {
    name: "order after",
    sentence: "a TLBI is complete only after a full DSB ISH or SY on the CPU that issued it (NSH for a local one), \
               and on the erratum cores only after a second TLBI and DSB",
    source: "Arm ARM D8.17 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb2, \
             SM-dsb2nsh, SM-dsb2ishst; Arm errata notices (repeat TLBI)",
};

/// nG of a leaf.
pub(super) const NOT_GLOBAL: u64 = 1 << 11;

/// A translation or a table entry that some CPU may hold and memory no longer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residue {
    pub(super) number: u64,
    pub(super) slot: PhysAddr,
    pub(super) old: Descriptor,
    /// The level of the table the entry stood in; none for a root that a base register held.
    pub(super) level: Option<Level>,
    /// That root, or the one that this was below.
    pub(super) root: Option<PhysAddr>,
    /// The first virtual address it covers.
    pub(super) address: VirtAddr,
    /// The CPUs that may hold it.
    pub(super) holders: Cpus,
    pub(super) restrictions: u64,
    /// The ASID it was walked under: what is not global holds for that one only.
    pub(super) asid: u16,
    /// Who replaced it, and by which store of that CPU; nobody for a root.
    pub(super) store: Option<(usize, u64)>,
    /// The residue of the table entry it can be walked through again.
    pub(super) above: Option<u64>,
    /// On an erratum core: the CPU that has done the first of two invalidations.
    pub(super) half: Option<usize>,
    /// What went wrong with the attempts to get rid of it so far.
    pub(super) blame: Rule,
}

impl Residue {
    /// What an entry at `place` held that its holders may have walked.
    pub(super) const fn new(slot: PhysAddr, old: Descriptor, place: Place, address: VirtAddr) -> Self {
        Self {
            number: 0,
            slot,
            old,
            level: Some(place.level),
            root: None,
            address,
            holders: place.holders,
            restrictions: place.restrictions,
            asid: 0,
            store: None,
            above: None,
            half: None,
            blame: Rule::M3,
        }
    }
}

/// A TLBI that counts for a residue and waits for its DSB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued {
    pub(super) residue: u64,
    pub(super) scope: Scope,
    pub(super) second: bool,
}

impl State {
    pub(super) fn is_table(&self, residue: &Residue) -> bool {
        match residue.level {
            None => true,
            Some(level) => matches!(residue.old.kind(self.geometry, level), Kind::Table(_)),
        }
    }

    /// How many bytes a residue covers.
    pub(super) fn bytes(&self, residue: &Residue) -> u128 {
        residue.level.map_or(1 << self.geometry.address_bits(), |level| 1 << self.geometry.shift(level))
    }

    pub(super) fn covers(&self, residue: &Residue, address: VirtAddr) -> bool {
        u128::from(address.0.wrapping_sub(residue.address.0)) < self.bytes(residue)
    }

    /// Remembers what a store replaced.
    pub(super) fn remember(&mut self, cpu: usize, slot: PhysAddr, old: Descriptor, place: Place, address: VirtAddr) {
        let store = Some((cpu, self.cpus[cpu].order.stores));
        self.remember_for_each_asid(Residue { store, ..Residue::new(slot, old, place, address) });
    }

    /// Remembers that a CPU's base register held another root before.
    pub(super) fn remember_root(&mut self, cpu: usize, root: PhysAddr, base: VirtAddr) {
        let top = self.top(base, 1 << cpu);
        let residue = Residue::new(root, Descriptor(root.0), top, base);
        self.remember_for_each_asid(Residue { level: None, root: Some(root), ..residue });
    }

    /// One residue for each ASID that some of its holders walk under.
    pub(super) fn remember_for_each_asid(&mut self, residue: Residue) {
        let mut left = residue.holders;
        while left != 0 {
            let asid = self.cpus[left.trailing_zeros() as usize].registers.asid;
            let alike: Cpus =
                self.of(left).filter(|(_, cpu)| cpu.registers.asid == asid).map(|(number, _)| 1 << number).sum();
            left &= !alike;
            self.push(Residue { holders: alike, asid, ..residue });
        }
    }

    pub(super) fn push(&mut self, residue: Residue) {
        self.residue_number += 1;
        self.residues.push(Residue { number: self.residue_number, ..residue });
    }

    /// True when the residue covers some address of those.
    pub(super) fn meets(&self, residue: &Residue, named: Named) -> bool {
        let first = u128::from(residue.address.0);
        let start = u128::from(named.start.0);
        first < start + u128::from(named.bytes) && start < first + self.bytes(residue)
    }

    /// M5: does the invalidation cover the residue, on the CPUs that it reaches?
    fn is_covered(&self, residue: &Residue, what: What, reached: Cpus) -> bool {
        let (table, global) = (self.is_table(residue), residue.old.0 & NOT_GLOBAL == 0);
        match (what, what.named()) {
            (What::All, _) => true,
            (What::Asid(asid), _) => {
                residue.asid == asid && if table { self.leads_to_one_asid(residue) } else { !global }
            }
            (_, Some(named)) => {
                self.meets(residue, named)
                    && !(table && named.last == LastLevel::Only)
                    // A hint speaks of the leaf; entries above it go as well when all levels are asked for.
                    && named.hint.is_none_or(|hint| if table { residue.level < Some(hint) } else { residue.level == Some(hint) })
                    // Entries above the leaf have the ASID they were walked under, whatever the leaf's nG says.
                    && named.asid.is_none_or(|asid| residue.asid == asid || !table && global)
                    // A leaf that can be walked again through a cached table entry is not gone for good.
                    && (named.last == LastLevel::AllLevels || !self.can_be_walked_again(residue, residue.holders & reached))
            }
            (_, None) => false,
        }
    }

    /// True for a leaf that these CPUs can walk again through a cached table entry: it is not gone for good.
    fn can_be_walked_again(&self, residue: &Residue, holders: Cpus) -> bool {
        let is_above = |other: &Residue| Some(other.number) == residue.above && other.holders & holders != 0;
        let now = self.memory.get(residue.slot);
        residue.level.is_some_and(|level| self.is_alike(level, residue.old, now)) && self.residues.iter().any(is_above)
    }

    /// True for a table entry, or a root, below which no leaf is global.
    pub(super) fn leads_to_one_asid(&self, residue: &Residue) -> bool {
        self.below(residue).is_some_and(|(table, place)| self.is_of_one_asid(table, place))
    }

    fn is_of_one_asid(&self, table: PhysAddr, place: Place) -> bool {
        self.valid_in(table, place.level).all(|(_, entry)| {
            match (entry.kind(self.geometry, place.level), place.level.next()) {
                (Kind::Table(below), Some(level)) => self.is_of_one_asid(below, Place { level, ..place }),
                _ => entry.0 & NOT_GLOBAL != 0,
            }
        })
    }

    fn of(&self, holders: Cpus) -> impl Iterator<Item = (usize, &CpuState)> + '_ {
        self.cpus.iter().enumerate().filter(move |(number, _)| holders >> number & 1 == 1)
    }

    /// A TLBI begins. It counts for what it covers and was ordered before it; the rest is noted for the blame.
    pub(super) fn invalidate(&mut self, cpu: usize, tlbi: Tlbi) {
        if let Some(named) = tlbi.what.named() {
            self.expand_for(named);
        }
        let vmid = self.cpus[cpu].registers.vmid;
        let reached: Cpus = match tlbi.scope {
            Scope::Local => 1 << cpu,
            Scope::InnerShareable => {
                let same = |other: &&CpuState| other.registers.vmid == vmid;
                (0..self.cpus.len()).filter(|&n| same(&&self.cpus[n])).map(|n| 1 << n).sum()
            }
        };
        let mut blames = Vec::new();
        for (index, residue) in self.residues.iter().enumerate() {
            if tlbi.scope == Scope::InnerShareable && residue.half == Some(cpu) {
                self.cpus[cpu].issued.push(Issued { residue: residue.number, scope: tlbi.scope, second: true });
                continue;
            }
            let counts = self.is_covered(residue, tlbi.what, reached) && residue.holders & reached != 0;
            let ordered = residue.store.is_none_or(|(writer, store)| self.is_before_tlbi(cpu, writer, store));
            let blame = match (counts, ordered) {
                (false, _) => Rule::M5,
                (true, false) => Rule::M4,
                (true, true) => {
                    self.cpus[cpu].issued.push(Issued { residue: residue.number, scope: tlbi.scope, second: false });
                    // Whom it does not reach keeps it, whatever comes after.
                    if residue.holders & !reached == 0 { Rule::M6 } else { Rule::M5 }
                }
            };
            blames.push((index, blame));
        }
        for (index, blame) in blames {
            let residue = &mut self.residues[index];
            // The attempt that came nearest is the one to name.
            if residue.blame == Rule::M3 || blame == Rule::M6 || residue.blame == Rule::M5 && blame == Rule::M4 {
                residue.blame = blame;
            }
        }
        self.cpus[cpu].unfinished_local |= tlbi.what == What::All;
    }

    /// M6: a DSB completes the TLBIs its own CPU has issued, if it is one that waits for everything.
    pub(super) fn complete_invalidations(&mut self, cpu: usize, dsb: Dsb) {
        if !dsb.waits_for_everything() {
            return;
        }
        let issued = std::mem::take(&mut self.cpus[cpu].issued);
        let vmid = self.cpus[cpu].registers.vmid;
        let mut changed = false;
        for one in issued {
            if one.scope == Scope::InnerShareable && !dsb.is_inner_shareable() {
                self.cpus[cpu].issued.push(one);
                continue;
            }
            let Some(index) = self.residues.iter().position(|residue| residue.number == one.residue) else { continue };
            let broadcast = one.scope == Scope::InnerShareable;
            if broadcast && self.repeats && !one.second {
                self.residues[index].half = Some(cpu);
                continue;
            }
            let reached: Cpus = match one.scope {
                Scope::Local => 1 << cpu,
                Scope::InnerShareable => {
                    (0..self.cpus.len()).filter(|&n| self.cpus[n].registers.vmid == vmid).map(|n| 1 << n).sum()
                }
            };
            let gone = self.residues[index].holders & reached;
            self.residues[index].holders &= !reached;
            self.linger(Residue { holders: gone, ..self.residues[index] }, cpu);
            changed |= self.is_table(&self.residues[index]);
        }
        self.residues.retain(|residue| residue.holders != 0);
        if changed {
            self.reach = None;
        }
        let state = &mut self.cpus[cpu];
        if state.unfinished_local {
            state.local_tlb_clean = true;
            state.outdated = Outdated::No;
        }
        state.unfinished_local = false;
    }
}
