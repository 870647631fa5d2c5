// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that arrive, are parked and go on: the rendezvous as the architecture sees it.
//!
//! A leaf that is made invalid and stays present may be meant (a guard page, secret memory), and may come back with
//! other permissions at any time. Whether it was a break shows when it is made valid again: if it then maps as much as
//! before, but elsewhere or in another size, the addresses were taken away for a while from CPUs that use them.

use core::ops::RangeInclusive;

use super::rule::RuleText;
use super::table_place::Place;
use super::{Presence, Rule, State};
use cleave::tables::{Descriptor, Kind, PhysAddr, VirtAddr};

/// The text of M14.
pub(super) const RENDEZVOUS: RuleText = RuleText {
    id: "M14",
    name: "rendezvous",
    sentence: "an edit before every online CPU is in, a leaf made invalid and then valid as another included; a departure \
               before the invalidation is complete and the entries are made again; a CPU between CPU_ON and check-in not \
               accounted for",
    source: "this library's own promise, from Arm ARM D8.17: no CPU may use what is broken; PSCI, Arm DEN 0022: CPU_ON",
};

/// A leaf of shared addresses that was made invalid while some CPU was not parked.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransientlyInvalid {
    at: PhysAddr,
    old: Descriptor,
    /// The CPU that was not parked.
    unparked: usize,
}

impl State {
    /// Returns true in the stop window: when every online CPU is parked.
    pub(super) fn in_window(&self) -> bool {
        let mut up = self.cpus.iter().filter(|cpu| cpu.presence == Presence::Online).peekable();
        up.peek().is_some() && up.all(|cpu| cpu.parked)
    }

    pub(super) fn is_shared(&self, address: VirtAddr) -> bool {
        self.shared.iter().any(|range| range.contains(&address))
    }

    fn shares(&self, first: VirtAddr, last: VirtAddr) -> bool {
        self.shared.iter().any(|range: &RangeInclusive<VirtAddr>| *range.start() <= last && first <= *range.end())
    }

    /// Returns an unparked CPU that may use what an entry at `place` maps.
    fn unparked(&self, place: Place) -> Option<usize> {
        self.cpus.iter().enumerate().position(|(number, other)| match other.presence {
            Presence::Off => false,
            // Without the map in its registers it cannot walk what is broken.
            Presence::Starting => place.holders >> number & 1 == 1 && !other.parked,
            Presence::Online => !other.parked,
        })
    }

    /// M14: an entry of what every CPU uses is made invalid.
    pub(super) fn check_parked(
        &mut self,
        address: VirtAddr,
        at: PhysAddr,
        old: Descriptor,
        new: Descriptor,
        place: Place,
    ) {
        let last = VirtAddr(address.0.wrapping_add(self.geometry.size(place.level) - 1));
        if !self.shares(address, last) {
            return;
        }
        let unparked = self.unparked(place);
        if matches!(new.kind(self.geometry, place.level), Kind::InvalidLeaf(_)) {
            self.transiently_invalid.extend(unparked.map(|unparked| TransientlyInvalid { at, old, unparked }));
        } else if let Some(number) = unparked {
            let detail = match self.cpus[number].presence {
                Presence::Starting => "an entry is broken while a CPU is on its way in that can walk it",
                _ => "an entry is broken before every online CPU is parked",
            };
            self.violated(Rule::Rendezvous, number, Some(address), at, (old, new), detail);
        } else {
            self.broken.push((at, address));
        }
    }

    /// M14: an entry becomes valid. If it was an invalid leaf for a while, was that a break?
    pub(super) fn check_transiently_invalid(&mut self, at: PhysAddr, new: Descriptor, place: Place, address: VirtAddr) {
        let Some(found) = self.transiently_invalid.iter().position(|leaf| leaf.at == at) else {
            return;
        };
        let TransientlyInvalid { old, unparked, .. } = self.transiently_invalid.swap_remove(found);
        if !self.in_window() && self.is_made_again_as_another(old, new, place.level) {
            let detail = "an entry was broken, as an invalid leaf, before every online CPU was parked, and made again as another";
            self.violated(Rule::Rendezvous, unparked, Some(address), at, (old, new), detail);
        }
    }

    /// Parks a CPU. The last one opens the stop window.
    pub(super) fn park(&mut self, cpu: usize) {
        self.cpus[cpu].parked = true;
        if self.in_window() {
            self.open_window();
        }
    }

    /// M14: lets a CPU go on.
    pub(super) fn leave(&mut self, cpu: usize) {
        let broken = self.broken.iter().find(|&&(at, _)| !self.memory.get(at).is_valid()).copied();
        if let Some((at, address)) = broken {
            let now = self.memory.get(at);
            let detail = "a CPU goes on while an entry is broken";
            self.violated(Rule::Rendezvous, cpu, Some(address), at, (now, now), detail);
        }
        let held = self.stale_entries.iter().find(|stale| {
            let last = VirtAddr(stale.address.0.wrapping_add(self.bytes(stale) as u64 - 1));
            stale.root.is_none() && self.shares(stale.address, last)
        });
        if let Some(&stale) = held {
            let now = self.memory.get(stale.slot);
            let detail = "a CPU goes on before the invalidation is complete";
            self.violated(Rule::Rendezvous, cpu, Some(stale.address), stale.slot, (stale.old, now), detail);
        }
        self.cpus[cpu].parked = false;
        if !self.cpus.iter().any(|cpu| cpu.parked) {
            self.broken.clear();
            self.close_window();
        }
    }
}
