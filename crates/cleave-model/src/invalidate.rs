// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB invalidations: which stale entries a TLBI covers, and when it is complete.
//!
//! A CPU may hold any translation it could have walked at any time since its last completed, covering invalidation. The
//! entries that memory no longer has are in `stale`.

use super::rule::RuleText;
use super::stale::{Issued, NOT_GLOBAL, StaleEntry};
use super::table_place::{Cpus, Place};
use super::tlbi::{Coverage, LastLevel, Scope, Tlbi};
use super::{CpuState, Dsb, Outdated, Rule, State};
use cleave::tables::{Kind, PhysAddr};

/// The text of M4.
pub(super) const STORE_BEFORE_TLBI: RuleText = RuleText {
    id: "M4",
    name: "order before",
    sentence: "a TLBI counts only for stores that a DSB with store semantics and inner-shareable scope has ordered \
               before it (not ISHLD, not NSH)",
    source: "Arm ARM D8.17 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb1, \
             SM-dsb1ishld",
};

/// The text of M5.
pub(super) const TLBI_COVERAGE: RuleText = RuleText {
    id: "M5",
    name: "coverage",
    sentence: "a TLBI of the wrong scope, the wrong address, the last level only where a table entry changed, the wrong \
               level hint or another VMID leaves what it was meant for",
    source: "Arm ARM D8.17 TLB maintenance: Scope of the TLBI instructions, TTL hint (FEAT_TTL); herd7: SM-local",
};

/// The text of M6.
pub(super) const DSB_AFTER_TLBI: RuleText = RuleText {
    id: "M6",
    name: "order after",
    sentence: "a TLBI is complete only after a full DSB ISH or SY on the CPU that issued it (NSH for a local one), \
               and on the erratum cores only after a second TLBI and DSB",
    source: "Arm ARM D8.17 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb2, \
             SM-dsb2nsh, SM-dsb2ishst; Arm errata notices (repeat TLBI)",
};

impl State {
    /// M5: does the invalidation cover the stale entry, on the CPUs that it reaches?
    fn is_covered(&self, stale: &StaleEntry, covers: Coverage, reached: Cpus) -> bool {
        let (table, global) = (self.is_table(stale), stale.old.0 & NOT_GLOBAL == 0);
        match (covers, covers.named()) {
            (Coverage::All, _) => true,
            (Coverage::Asid(asid), _) => {
                stale.asid == asid && if table { self.leads_to_one_asid(stale) } else { !global }
            }
            (_, Some(named)) => {
                self.meets(stale, named)
                    && !(table && named.last == LastLevel::Only)
                    // A hint speaks of the leaf; entries above it go as well when all levels are asked for.
                    && named.hint.is_none_or(|hint| if table { stale.level < Some(hint) } else { stale.level == Some(hint) })
                    // Entries above the leaf have the ASID they were walked under, regardless of the leaf's nG.
                    && named.asid.is_none_or(|asid| stale.asid == asid || !table && global)
                    // A leaf that can be walked again through a cached table entry is not gone for good.
                    && (named.last == LastLevel::AllLevels || !self.can_be_walked_again(stale, stale.holders & reached))
            }
            (_, None) => false,
        }
    }

    /// Returns true for a leaf that these CPUs can walk again through a cached table entry: it is not gone for good.
    fn can_be_walked_again(&self, stale: &StaleEntry, holders: Cpus) -> bool {
        let is_above = |other: &StaleEntry| Some(other.number) == stale.above && other.holders & holders != 0;
        let now = self.memory.get(stale.slot);
        stale.level.is_some_and(|level| self.is_alike(level, stale.old, now)) && self.stale_entries.iter().any(is_above)
    }

    /// Returns true for a table entry, or a root, below which no leaf is global.
    pub(super) fn leads_to_one_asid(&self, stale: &StaleEntry) -> bool {
        self.below(stale).is_some_and(|(table, place)| self.is_of_one_asid(table, place))
    }

    fn is_of_one_asid(&self, table: PhysAddr, place: Place) -> bool {
        self.valid_in(table, place.level).all(|(_, entry)| {
            match (entry.kind(self.geometry, place.level), place.level.next()) {
                (Kind::Table(below), Some(level)) => self.is_of_one_asid(below, Place { level, ..place }),
                _ => entry.0 & NOT_GLOBAL != 0,
            }
        })
    }

    /// Begins a TLBI. It counts for the entries that it covers and that were ordered before it; the others are recorded
    /// for the diagnosis.
    pub(super) fn invalidate(&mut self, cpu: usize, tlbi: Tlbi) {
        if let Some(named) = tlbi.covers.named() {
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
        for (index, stale) in self.stale_entries.iter().enumerate() {
            if tlbi.scope == Scope::InnerShareable && stale.half == Some(cpu) {
                self.cpus[cpu].issued.push(Issued { stale: stale.number, scope: tlbi.scope, second: true });
                continue;
            }
            let counts = self.is_covered(stale, tlbi.covers, reached) && stale.holders & reached != 0;
            let ordered = stale.store.is_none_or(|(writer, store)| self.is_before_tlbi(cpu, writer, store));
            let blame = match (counts, ordered) {
                (false, _) => Rule::TlbiCoverage,
                (true, false) => Rule::StoreBeforeTlbi,
                (true, true) => {
                    self.cpus[cpu].issued.push(Issued { stale: stale.number, scope: tlbi.scope, second: false });
                    // A CPU that this TLBI does not reach keeps the entry: a later DSB changes nothing there.
                    if stale.holders & !reached == 0 { Rule::DsbAfterTlbi } else { Rule::TlbiCoverage }
                }
            };
            blames.push((index, blame));
        }
        for (index, blame) in blames {
            let stale = &mut self.stale_entries[index];
            // The attempt that came nearest is the one to name.
            if stale.blame == Rule::MakeWithoutTlbi
                || blame == Rule::DsbAfterTlbi
                || stale.blame == Rule::TlbiCoverage && blame == Rule::StoreBeforeTlbi
            {
                stale.blame = blame;
            }
        }
        self.cpus[cpu].unfinished_local |= tlbi.covers == Coverage::All;
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
            let Some(index) = self.stale_entries.iter().position(|stale| stale.number == one.stale) else { continue };
            let broadcast = one.scope == Scope::InnerShareable;
            if broadcast && self.repeats && !one.second {
                self.stale_entries[index].half = Some(cpu);
                continue;
            }
            let reached: Cpus = match one.scope {
                Scope::Local => 1 << cpu,
                Scope::InnerShareable => {
                    (0..self.cpus.len()).filter(|&n| self.cpus[n].registers.vmid == vmid).map(|n| 1 << n).sum()
                }
            };
            let gone = self.stale_entries[index].holders & reached;
            self.stale_entries[index].holders &= !reached;
            self.await_sync(StaleEntry { holders: gone, ..self.stale_entries[index] }, cpu);
            changed |= self.is_table(&self.stale_entries[index]);
        }
        self.stale_entries.retain(|stale| stale.holders != 0);
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
