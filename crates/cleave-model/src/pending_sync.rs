// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pending-synchronisation entries: translations whose TLBI; DSB has completed but that a CPU may still use until its
//! next context synchronisation event. The other half of M10.
//!
//! With the DSB behind it a TLBI is complete for the explicit accesses of every CPU *but the one that issued it*. There
//! it is complete with the context synchronisation event behind the DSB (Arm ARM D8.17.8, rules R_YNJCP and R_BLDZX).
//! With FEAT_ETS2 the DSB is enough on that CPU too, where neither the old translation nor the new one may be executed.
//!
//! Instruction fetches are another matter on every CPU: what was fetched through the old translation before the
//! invalidation may be executed behind it, so that each CPU needs a context synchronisation event that is known to come
//! behind the DSB (R_BLDZX, I_WZCBG; in Arm's model nothing but a CSE orders a fetch behind what precedes it).
//!
//! Break-before-make itself needs no ISB between the invalidation and the make (R_DDMVT has six steps, and none of them
//! is one), nor does giving a frame back: both are about other CPUs. It is the use that needs it.

use super::access::Translation;
use super::stale::StaleEntry;
use super::table_place::Place;
use super::{Access, Rule, State};
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, PhysAddr, VirtAddr};

/// A stale entry that is in no TLB any more. Its holders are the CPUs that may still execute what they had through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingSync {
    stale: StaleEntry,
    /// The CPU whose DSB completed the invalidation, and the place of that DSB among its stores.
    completed: (usize, u64),
}

impl State {
    /// Keeps a stale entry whose invalidation the DSB of `cpu` has completed.
    pub(super) fn await_sync(&mut self, stale: StaleEntry, cpu: usize) {
        if stale.holders != 0 {
            self.pending_sync.push(PendingSync { stale, completed: (cpu, self.cpus[cpu].order.stores) });
        }
    }

    /// Forgets, at a context synchronisation event of `cpu`, the entries whose invalidation is known to be complete
    /// before it.
    pub(super) fn forget_synchronised(&mut self, cpu: usize) {
        let mut pending = std::mem::take(&mut self.pending_sync);
        pending.retain_mut(|PendingSync { stale, completed: (other, number) }| {
            if *other == cpu || self.has_synchronised(cpu, *other, *number) {
                stale.holders &= !(1 << cpu);
            }
            stale.holders != 0
        });
        self.pending_sync = pending;
    }

    /// Returns the places of a table below pending-synchronisation entries, each with its entry.
    pub(super) fn pending_places(&self, table: PhysAddr) -> Vec<(Place, PendingSync)> {
        let mut found = Vec::new();
        for pending in &self.pending_sync {
            if let Some((top, place)) = self.below(&pending.stale) {
                let mut places = Vec::new();
                self.find_below(top, place, table, &mut places);
                found.extend(places.into_iter().map(|place| (place, *pending)));
            }
        }
        found
    }

    /// Adds a value that a store replaces below a pending-synchronisation entry: it may have been used by way of that.
    pub(super) fn await_sync_below(&mut self, (place, above): (Place, PendingSync), at: PhysAddr, old: Descriptor) {
        if old.is_valid() {
            let address = self.address_in(place, self.index_of(at));
            let asid = above.stale.asid;
            let stale = StaleEntry { asid, ..StaleEntry::new(at, old, place, address) };
            self.pending_sync.push(PendingSync { stale, ..above });
        }
    }

    /// M10: may this access of `cpu` still use what was taken away, and does that differ from what memory says?
    pub(super) fn check_pending_sync(
        &mut self,
        cpu: usize,
        address: VirtAddr,
        access: Access,
        now: Option<Translation>,
    ) {
        let mine = self.pending_sync.iter().filter(|pending| pending.stale.holders >> cpu & 1 == 1);
        let candidates = mine.filter(|pending| access == Access::Fetch || pending.completed.0 == cpu);
        let results = candidates.filter_map(|pending| self.result_of(&pending.stale, cpu, address));
        let found = results.into_iter().find(|old| {
            let executes = |one: &Option<Translation>| one.is_some_and(|one| one.allows(Access::Fetch));
            let in_order = self.ets2 && access != Access::Fetch && !executes(old) && !executes(&now);
            let differs = match (old, now) {
                (None, None) => false,
                (Some(some), None) => some.allows(access),
                // A table that is gone, and maps nothing.
                (None, Some(now)) => now.allows(access),
                (Some(old), Some(now)) => {
                    let same_size = now.bytes == old.bytes || self.cpus[cpu].level >= BbmLevel::Two;
                    !old.agrees(&now, access) || !same_size
                }
            };
            differs && !in_order
        });
        if let Some(old) = found {
            let new = now.map_or(Descriptor::EMPTY, |now| now.leaf);
            let slot = old.or(now).map_or(PhysAddr(0), |either| either.slot);
            let old = old.map_or(Descriptor::EMPTY, |old| old.leaf);
            let detail = "an invalidation is complete, but this CPU has had no context synchronisation since";
            self.violated(Rule::ContextSynchronisation, cpu, Some(address), slot, (old, new), detail);
        }
    }

    /// M10, for a call that promises that a change is complete on the CPU that made it.
    pub(super) fn check_all_synchronised(&mut self, cpu: usize) {
        let late = |pending: &&PendingSync| pending.completed.0 == cpu && pending.stale.holders >> cpu & 1 == 1;
        if let Some(&PendingSync { stale, .. }) = self.pending_sync.iter().find(late) {
            let now = self.memory.get(stale.slot);
            let detail = "a change is called complete, but the CPU that made it has not synchronised its context";
            self.violated(Rule::ContextSynchronisation, cpu, Some(stale.address), stale.slot, (stale.old, now), detail);
        }
    }
}
