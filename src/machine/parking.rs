//! CPUs that come, stand still and go: the rendezvous as the architecture sees it.

use core::ops::RangeInclusive;

use super::reach::Place;
use super::rule::Text;
use super::{Presence, Rule, State};
use crate::paging::{Descriptor, PhysAddr, VirtAddr};

/// M14.
pub(super) const M14: Text = Text {
    name: "rendezvous",
    sentence: "an edit before every online CPU is in; a departure before the invalidation is complete and the entries \
               are made again; a CPU between CPU_ON and check-in not accounted for",
    source: "this library's own promise, from Arm ARM D8.16: nobody may use what is broken; PSCI, Arm DEN 0022: CPU_ON",
};

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

    /// M14: an entry of what every CPU uses is broken. A leaf that stays present but invalid is somebody's wish (a guard
    /// page), and no break.
    pub(super) fn check_parked(
        &mut self,
        address: VirtAddr,
        at: PhysAddr,
        old: Descriptor,
        new: Descriptor,
        place: Place,
    ) {
        let last = VirtAddr(address.0.wrapping_add(self.geometry.size(place.level) - 1));
        if new != Descriptor::EMPTY || !self.shares(address, last) {
            return;
        }
        let loose = self.cpus.iter().enumerate().find(|(number, other)| {
            let reaches = place.holders >> number & 1 == 1;
            match other.presence {
                Presence::Off => false,
                // Without the map in its registers it cannot walk what is broken.
                Presence::Starting => reaches && !other.parked,
                Presence::Online => !other.parked,
            }
        });
        if let Some((number, other)) = loose {
            let detail = match other.presence {
                Presence::Starting => "an entry is broken while a CPU is on its way in that can walk it",
                _ => "an entry is broken before every online CPU stands still",
            };
            self.violated(Rule::M14, number, Some(address), at, old, new, detail);
        } else {
            self.broken.push((at, address));
        }
    }

    /// M14: a CPU goes on.
    pub(super) fn leave(&mut self, cpu: usize) {
        let broken = self.broken.iter().find(|&&(at, _)| !self.memory.get(at).is_valid()).copied();
        if let Some((at, address)) = broken {
            let now = self.memory.get(at);
            let detail = "a CPU goes on while an entry is broken";
            self.violated(Rule::M14, cpu, Some(address), at, now, now, detail);
        }
        let held = self.residues.iter().find(|residue| {
            let last = VirtAddr(residue.address.0.wrapping_add(self.bytes(residue) as u64 - 1));
            residue.level.is_some() && self.shares(residue.address, last)
        });
        if let Some(&residue) = held {
            let now = self.memory.get(residue.slot);
            let detail = "a CPU goes on before the invalidation is complete";
            self.violated(Rule::M14, cpu, Some(residue.address), residue.slot, residue.old, now, detail);
        }
        self.cpus[cpu].parked = false;
        if !self.cpus.iter().any(|cpu| cpu.parked) {
            self.broken.clear();
        }
    }
}
