// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that come, stand still and go: the rendezvous as the architecture sees it.
//!
//! A leaf that is made invalid and stays present is somebody's wish (a guard page, secret memory), and may come back with
//! other permissions at any time. Whether it was a break shows when it is made valid again: if it then maps as much as
//! before, but elsewhere or in another size, somebody took the addresses away for a while from CPUs that use them.

use core::ops::RangeInclusive;

use super::rule::Text;
use super::table_place::Place;
use super::{Presence, Rule, State};
use cleave::tables::{Descriptor, Kind, PhysAddr, VirtAddr};

/// The text of M14.
pub(super) const RENDEZVOUS: Text = Text {
    id: "M14",
    name: "rendezvous",
    sentence: "an edit before every online CPU is in, a leaf made invalid and then valid as another included; a departure \
               before the invalidation is complete and the entries are made again; a CPU between CPU_ON and check-in not \
               accounted for",
    source: "this library's own promise, from Arm ARM D8.17: nobody may use what is broken; PSCI, Arm DEN 0022: CPU_ON",
};

/// A leaf of what every CPU uses that was made invalid while somebody did not stand still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dimmed {
    at: PhysAddr,
    old: Descriptor,
    /// The CPU that was not parked.
    loose: usize,
}

impl State {
    /// True when every CPU that is up stands still.
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

    /// A CPU that does not stand still and may use what an entry at `place` maps.
    fn loose(&self, place: Place) -> Option<usize> {
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
        let loose = self.loose(place);
        if matches!(new.kind(self.geometry, place.level), Kind::InvalidLeaf(_)) {
            self.dimmed.extend(loose.map(|loose| Dimmed { at, old, loose }));
        } else if let Some(number) = loose {
            let detail = match self.cpus[number].presence {
                Presence::Starting => "an entry is broken while a CPU is on its way in that can walk it",
                _ => "an entry is broken before every online CPU stands still",
            };
            self.violated(Rule::Rendezvous, number, Some(address), at, old, new, detail);
        } else {
            self.broken.push((at, address));
        }
    }

    /// M14: an entry becomes valid. If it was an invalid leaf for a while, was that a break?
    pub(super) fn check_dimmed(&mut self, at: PhysAddr, new: Descriptor, place: Place, address: VirtAddr) {
        let Some(found) = self.dimmed.iter().position(|dimmed| dimmed.at == at) else { return };
        let Dimmed { old, loose, .. } = self.dimmed.swap_remove(found);
        if !self.in_window() && self.is_made_again_as_another(old, new, place.level) {
            let detail = "an entry was broken, as an invalid leaf, before every online CPU stood still, and made again as another";
            self.violated(Rule::Rendezvous, loose, Some(address), at, old, new, detail);
        }
    }

    /// A CPU stands still, and may be the last.
    pub(super) fn park(&mut self, cpu: usize) {
        self.cpus[cpu].parked = true;
        if self.in_window() {
            self.open_window();
        }
    }

    /// M14: a CPU goes on.
    pub(super) fn leave(&mut self, cpu: usize) {
        let broken = self.broken.iter().find(|&&(at, _)| !self.memory.get(at).is_valid()).copied();
        if let Some((at, address)) = broken {
            let now = self.memory.get(at);
            let detail = "a CPU goes on while an entry is broken";
            self.violated(Rule::Rendezvous, cpu, Some(address), at, now, now, detail);
        }
        let held = self.residues.iter().find(|residue| {
            let last = VirtAddr(residue.address.0.wrapping_add(self.bytes(residue) as u64 - 1));
            residue.root.is_none() && self.shares(residue.address, last)
        });
        if let Some(&residue) = held {
            let now = self.memory.get(residue.slot);
            let detail = "a CPU goes on before the invalidation is complete";
            self.violated(Rule::Rendezvous, cpu, Some(residue.address), residue.slot, residue.old, now, detail);
        }
        self.cpus[cpu].parked = false;
        if !self.cpus.iter().any(|cpu| cpu.parked) {
            self.broken.clear();
            self.close_window();
        }
    }
}
