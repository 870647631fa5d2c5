// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completion: the checks when a run is over, or when a call promises that its changes are complete.
//!
//! In the middle of a sequence something old may be cached: that is what break-before-make is for. At the end it may
//! not. What then is left is a violation of the rule whose step is missing, as if the entry were made again: M3 where
//! there was no TLBI, M4 to M6 where there was one that does not count.

use super::stale::{NOT_GLOBAL, StaleEntry};
use super::table_place::RESTRICTIONS;
use super::{Findings, Machine, Outdated, Rule, State, Violation};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

impl Machine {
    /// Judges a whole run: every rule was kept, and at its end no TLB may hold what memory no longer says.
    ///
    /// It is the question to ask when the code under test has returned. What some CPU may still hold is a violation of
    /// the rule whose step is missing (M3 to M6; M11 for a contiguous group that is left in pieces; M17 where TCR or
    /// MAIR changed), with the address, and with the CPU that may hold it. In the middle of a sequence ask
    /// [`Machine::so_far`].
    ///
    /// # Errors
    /// The violations of the run, and behind them those of its end.
    pub fn verdict(&self) -> Result<(), Box<Findings>> {
        let mut state = self.state();
        // The run may go on, so that what is found of its end is not kept.
        let (noted, groups) = (state.noted.clone(), state.unfinished_groups.clone());
        state.check_end();
        let verdict = state.noted.verdict();
        (state.noted, state.unfinished_groups) = (noted, groups);
        verdict
    }

    /// Judges the steps so far, in the middle of a sequence: a change may be under way, and what it replaced cached.
    ///
    /// # Errors
    /// The violations so far.
    pub fn so_far(&self) -> Result<(), Box<Findings>> {
        self.state().noted.verdict()
    }

    /// Returns the violations so far, the first one of each kind.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.state().noted.kinds().to_vec()
    }

    /// Returns the violations so far and forgets them: the next verdict is about what comes next.
    #[must_use]
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.state().noted).into_kinds()
    }

    /// Returns true when no TLB may hold anything that memory does not.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state().left_over().is_none()
    }

    /// Checks that every change so far is complete, as a call of `cpu` that promises it does before it returns: what
    /// may still be cached is a violation of the rule that was not kept. That CPU itself must have synchronised its
    /// context (M10), which [`Machine::verdict`] does not ask for: an exception return may do that later.
    pub fn check_settled(&self, cpu: usize) {
        let mut state = self.state();
        if let Some((stale, _)) = state.left_over() {
            let now = state.memory.get(stale.slot);
            let detail = "a change is called complete, but what it replaced may still be cached";
            state.violated(stale.blame, cpu, Some(stale.address), stale.slot, (stale.old, now), detail);
        }
        state.check_all_synchronised(cpu);
        state.check_unfinished_groups(cpu);
    }
}

impl State {
    /// Notes what is wrong with a run that ends here.
    fn check_end(&mut self) {
        if let Some((stale, holder)) = self.left_over() {
            let detail = match stale.blame {
                Rule::StoreBeforeTlbi => {
                    "at the end this CPU may hold what was replaced; the TLBI came before the store was ordered"
                }
                Rule::TlbiCoverage => "at the end this CPU may hold what was replaced; the TLBI did not cover it",
                Rule::DsbAfterTlbi => "at the end this CPU may hold what was replaced; the TLBI has not completed",
                _ => "at the end this CPU may hold what was replaced; there was no TLBI",
            };
            let now = self.memory.get(stale.slot);
            self.violated(stale.blame, holder, Some(stale.address), stale.slot, (stale.old, now), detail);
        }
        if let Some(cpu) = self.cpus.iter().position(|cpu| cpu.mmu && cpu.outdated == Outdated::Yes) {
            let mine = self.cpus[cpu].registers;
            let detail = "at the end this CPU's TLB may hold what was walked under an old value of TCR or MAIR";
            let (tcr, mair) = (Descriptor(mine.tcr), Descriptor(mine.mair));
            self.violated(Rule::CpuContexts, cpu, None, PhysAddr(0), (tcr, mair), detail);
        }
        if let Some(&(first, _)) = self.unfinished_groups.first() {
            let holders = self.places(self.table_of(first)).iter().fold(0, |all, place| all | place.holders);
            self.check_unfinished_groups((holders.trailing_zeros() as usize).min(self.cpus.len() - 1));
        }
    }

    /// Returns the first thing that a TLB may hold and memory does not, and a CPU that may hold it.
    fn left_over(&self) -> Option<(StaleEntry, usize)> {
        self.stale_entries.iter().find_map(|stale| {
            let holders = (0..self.cpus.len()).filter(|cpu| stale.holders >> cpu & 1 == 1);
            let mut holders = holders.filter(|&cpu| stale.root.is_none() || self.is_foreign(stale, cpu));
            holders.next().map(|holder| (*stale, holder))
        })
    }

    /// Returns true when what a CPU may hold of a root that left its register says something else than the root that is
    /// there now. A change of root alone replaces nothing: what the present root has as well, or what has the ASID of
    /// another process, is no stale entry.
    fn is_foreign(&self, stale: &StaleEntry, cpu: usize) -> bool {
        let is_of_one_asid =
            if self.is_table(stale) { self.leads_to_one_asid(stale) } else { stale.old.0 & NOT_GLOBAL != 0 };
        if is_of_one_asid && stale.asid != self.cpus[cpu].registers.asid {
            return false;
        }
        let now = self.root_of(cpu, stale.address);
        match (stale.level, stale.root) {
            (None, Some(root)) => self.has_its_own(root, now),
            (Some(level), _) => {
                let found = now.and_then(|root| self.entry_below(root, stale.address, level));
                found
                    .is_none_or(|(entry, above)| above != stale.restrictions || !self.is_alike(level, stale.old, entry))
            }
            (None, None) => false,
        }
    }

    /// Returns the entry of `level` that a walk for an address comes to, and the restrictions of the tables above it.
    fn entry_below(&self, root: PhysAddr, address: VirtAddr, wanted: Level) -> Option<(Descriptor, u64)> {
        let (mut table, mut level, mut above) = (root, self.geometry.root_level(), 0);
        loop {
            let entry = self.memory.get(slot(table, self.geometry.index(address, level)));
            if level == wanted {
                return Some((entry, above));
            }
            let Kind::Table(below) = entry.kind(self.geometry, level) else { return None };
            (table, level, above) = (below, level.next()?, above | entry.0 & RESTRICTIONS);
        }
    }
}
