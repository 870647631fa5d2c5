// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB invalidations: which stale entries a TLBI covers, and when it is complete.
//!
//! A CPU may hold any translation it could have walked at any time since its last completed, covering invalidation. The
//! entries that memory no longer has are in `stale`.

use super::rule::Text;
use super::stale::{Issued, NOT_GLOBAL, Residue};
use super::table_place::{Cpus, Place};
use super::tlbi::{LastLevel, Scope, Tlbi, What};
use super::{CpuState, Dsb, Outdated, Rule, State};
use cleave::tables::{Kind, PhysAddr};

/// The text of M4.
pub(super) const STORE_BEFORE_TLBI: Text = Text {
    id: "M4",
    name: "order before",
    sentence: "a TLBI counts only for stores that a DSB with store semantics and inner-shareable scope has ordered \
               before it (not ISHLD, not NSH)",
    source: "Arm ARM D8.17 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb1, \
             SM-dsb1ishld",
};

/// The text of M5.
pub(super) const TLBI_COVERAGE: Text = Text {
    id: "M5",
    name: "coverage",
    sentence: "a TLBI of the wrong scope, the wrong address, the last level only where a table entry changed, the wrong \
               level hint or another VMID leaves what it was meant for",
    source: "Arm ARM D8.17 TLB maintenance: Scope of the TLBI instructions, TTL hint (FEAT_TTL); herd7: SM-local",
};

/// The text of M6.
pub(super) const DSB_AFTER_TLBI: Text = Text {
    id: "M6",
    name: "order after",
    sentence: "a TLBI is complete only after a full DSB ISH or SY on the CPU that issued it (NSH for a local one), \
               and on the erratum cores only after a second TLBI and DSB",
    source: "Arm ARM D8.17 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb2, \
             SM-dsb2nsh, SM-dsb2ishst; Arm errata notices (repeat TLBI)",
};

impl State {
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
                (false, _) => Rule::TlbiCoverage,
                (true, false) => Rule::StoreBeforeTlbi,
                (true, true) => {
                    self.cpus[cpu].issued.push(Issued { residue: residue.number, scope: tlbi.scope, second: false });
                    // Whom it does not reach keeps it, whatever comes after.
                    if residue.holders & !reached == 0 { Rule::DsbAfterTlbi } else { Rule::TlbiCoverage }
                }
            };
            blames.push((index, blame));
        }
        for (index, blame) in blames {
            let residue = &mut self.residues[index];
            // The attempt that came nearest is the one to name.
            if residue.blame == Rule::MakeWithoutTlbi
                || blame == Rule::DsbAfterTlbi
                || residue.blame == Rule::TlbiCoverage && blame == Rule::StoreBeforeTlbi
            {
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
