// SPDX-License-Identifier: MIT OR Apache-2.0
//! A store to a descriptor that a walker may reach: which changes are allowed without break-before-make.

use super::rule::RuleText;
use super::stale::StaleEntry;
use super::table_place::{Place, RESTRICTIONS};
use super::{Rule, State};
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// The text of M1.
pub(super) const LIVE_SIZE_CHANGE: RuleText = RuleText {
    id: "M1",
    name: "size",
    sentence: "block to table or back while the old value may be cached on, or reachable by, a CPU whose level is below \
               2, or the Contiguous bit where one is below 1; where it is allowed also if permissions change in the same \
               step",
    source: "Arm ARM D8.17 TLB maintenance: Using break-before-make when updating translation table entries; Support \
             levels for changing table or block size (R_KFLJB, R_KHRBC); for permissions this library's own caution, as \
             R_PVTFW speaks only of what needs break-before-make",
};

/// The text of M2.
pub(super) const LIVE_TARGET_CHANGE: RuleText = RuleText {
    id: "M2",
    name: "target",
    sentence: "output address, memory type, shareability or cacheability of a live entry changed, or it became global, \
               at any level",
    source: "Arm ARM D8.17 TLB maintenance: Using break-before-make when updating translation table entries (R_WHZWS); \
             that two read-only targets hold the same is not known here",
};

/// The text of M3.
pub(super) const MAKE_WITHOUT_TLBI: RuleText = RuleText {
    id: "M3",
    name: "remake",
    sentence: "invalid to valid while an older valid value may still be cached, or a change that ends so, without any TLBI",
    source: "Arm ARM D8.17 TLB maintenance: Using break-before-make (make only after the invalidation is complete); \
             herd7: SM-notlbi",
};

pub(super) const CONTIGUOUS: u64 = 1 << 52;
const NOT_GLOBAL: u64 = 1 << 11;
/// Output address, AttrIndx and SH of a leaf.
const TARGET: u64 = 0x0000_ffff_ffff_f000 | 0b111 << 2 | 0b11 << 8;
/// Everything else of a leaf that means something, but for its size: permissions, execute-never, AF, DBM, GP.
const PERMISSIONS: u64 = 0b11 << 6 | 1 << 10 | 0b11 << 50 | 0b11 << 53;
/// The bits that the hardware ignores: software's own bits of a leaf; of a table descriptor the leaf's attributes as
/// well.
pub(super) const IGNORED_IN_LEAF: u64 = 0xf << 55;
const IGNORED_IN_TABLE: u64 = 0xff << 51 | 1 << 11 | 0xff << 2;

/// In what two translations of the same addresses differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Difference {
    /// Block against table.
    size: bool,
    /// The Contiguous bit.
    contiguous: bool,
    target: bool,
    permissions: bool,
}

impl State {
    /// Returns the least level among these CPUs.
    pub(super) fn least_level(&self, holders: u32) -> BbmLevel {
        let levels = self.cpus.iter().enumerate().filter(|(n, _)| holders >> n & 1 == 1).map(|(_, cpu)| cpu.level);
        levels.min().unwrap_or(BbmLevel::Three)
    }

    /// Returns true when the hardware cannot tell them apart.
    pub(super) fn is_alike(&self, level: Level, one: Descriptor, other: Descriptor) -> bool {
        let is_table = matches!(one.kind(self.geometry, level), Kind::Table(_));
        let ignored = if is_table { IGNORED_IN_TABLE } else { IGNORED_IN_LEAF };
        one == other || one.is_valid() && (one.0 ^ other.0) & !ignored == 0
    }

    /// Judges a store to a descriptor that walkers may reach at `place`; `old` is the value that it replaced.
    pub(super) fn live_store(&mut self, cpu: usize, at: PhysAddr, old: Descriptor, new: Descriptor, place: Place) {
        let address = self.address_in(place, self.index_of(at));
        if !place.current {
            let detail = "a table is written that a walk cache may still lead to";
            return self.violated(Rule::FrameReuse, cpu, Some(address), at, (old, new), detail);
        }
        if self.is_alike(place.level, old, new) {
            return;
        }
        self.check_hardware_update(cpu, address, at, new, place.level);
        match (old.is_valid(), new.is_valid()) {
            (false, false) => {}
            (false, true) => {
                self.check_transiently_invalid(at, new, place, address);
                self.make(cpu, at, new, place, address);
            }
            (true, false) => {
                self.check_parked(address, at, old, new, place);
                self.remember(cpu, at, old, place, address);
            }
            (true, true) => {
                self.change_live(cpu, at, old, new, place, address);
                self.remember(cpu, at, old, place, address);
            }
        }
        let table = |value: Descriptor| match value.kind(self.geometry, place.level) {
            Kind::Table(table) => Some(table),
            _ => None,
        };
        match (table(old), table(new)) {
            (None, None) => {}
            (None, Some(_)) => self.linked(cpu, at, new, place, address),
            (before, after) => {
                self.reach = None;
                // With other restrictions it is the table that was there.
                if after.is_some() && after != before {
                    self.linked(cpu, at, new, place, address);
                } else if after.is_some() {
                    self.find_unordered(place.holders);
                }
            }
        }
        if place.level >= Level::L1 && (old.0 | new.0) & CONTIGUOUS != 0 {
            self.groups_touched.push((cpu, self.group_of(at, place.level), place.level));
        }
    }

    /// The same where memory has the table elsewhere, and only a walk cache leads here: what it held was found here,
    /// too.
    pub(super) fn left_store(&mut self, cpu: usize, at: PhysAddr, old: Descriptor, new: Descriptor, place: Place) {
        if old.is_valid() {
            self.remember(cpu, at, old, place, self.address_in(place, self.index_of(at)));
        }
        if [old, new].iter().any(|value| matches!(value.kind(self.geometry, place.level), Kind::Table(_))) {
            self.reach = None;
        }
    }

    /// M3: from invalid to valid.
    fn make(&mut self, cpu: usize, at: PhysAddr, new: Descriptor, place: Place, address: VirtAddr) {
        // Re-storing the value that may still be cached changes nothing, be it this one or one below it.
        let mut stale_entries = std::mem::take(&mut self.stale_entries);
        for stale in stale_entries.iter_mut().filter(|stale| self.is_said_again(stale, at, new, place)) {
            stale.holders &= !place.holders;
        }
        stale_entries.retain(|stale| stale.holders != 0);
        self.stale_entries = stale_entries;
        let cached = self.cached_for(place, address).next().copied();
        if let Some(stale) = cached {
            let detail = match stale.blame {
                Rule::StoreBeforeTlbi => {
                    "made again; the TLBI came before the store was ordered, and does not count for it"
                }
                Rule::TlbiCoverage => "made again; the TLBI did not cover what is cached",
                Rule::DsbAfterTlbi => "made again; the TLBI has not completed",
                _ => "made again without any TLBI",
            };
            self.violated(stale.blame, cpu, Some(address), stale.slot, (stale.old, new), detail);
        }
    }

    /// Returns true when a walk by way of `new` at `at` finds the stale entry's value at the same place.
    fn is_said_again(&self, stale: &StaleEntry, at: PhysAddr, new: Descriptor, mut place: Place) -> bool {
        let (mut at, mut entry) = (at, new);
        if self.address_in(place, self.index_of(at)).0 != stale.address.0 & !(self.geometry.size(place.level) - 1) {
            return false;
        }
        while stale.level != Some(place.level) {
            let (Kind::Table(below), Some(level)) = (entry.kind(self.geometry, place.level), place.level.next()) else {
                return false;
            };
            place = Place { level, restrictions: place.restrictions | entry.0 & RESTRICTIONS, ..place };
            at = slot(below, self.geometry.index(stale.address, level));
            entry = self.memory.get(at);
        }
        (stale.slot, stale.restrictions) == (at, place.restrictions) && self.is_alike(place.level, stale.old, entry)
    }

    /// Returns the older values that a CPU may hold for what an entry at `place` covers.
    fn cached_for(&self, place: Place, address: VirtAddr) -> impl Iterator<Item = &StaleEntry> {
        let bytes = 1u128 << self.geometry.shift(place.level);
        let overlaps = move |stale: &&StaleEntry| {
            self.covers(stale, address) || u128::from(stale.address.0.wrapping_sub(address.0)) < bytes
        };
        // A root that is no longer in a register is another context: what it held there is judged when it is used.
        let of_tables = |stale: &&StaleEntry| stale.root.is_none();
        let held = move |stale: &&StaleEntry| stale.holders & place.holders != 0;
        self.stale_entries.iter().filter(of_tables).filter(held).filter(overlaps)
    }

    /// M1, M2: from valid to valid.
    fn change_live(
        &mut self,
        cpu: usize,
        at: PhysAddr,
        old: Descriptor,
        new: Descriptor,
        place: Place,
        address: VirtAddr,
    ) {
        let mut difference = Difference::default();
        self.compare(old, new, place.level, 0, 0, &mut difference);
        let Difference { size, contiguous, target, permissions } = difference;
        let least = self.least_level(place.holders);
        let (rule, detail) = if target {
            (Rule::LiveTargetChange, "a live entry got another output address or type, or became global")
        } else if size && least < BbmLevel::Two {
            (Rule::LiveSizeChange, "the size of a live mapping changed without break-before-make")
        } else if contiguous && least < BbmLevel::One {
            (Rule::LiveSizeChange, "the Contiguous bit of a live mapping changed without break-before-make")
        } else if (size || contiguous) && permissions {
            (Rule::LiveSizeChange, "size and permissions changed in one step")
        } else if least < BbmLevel::One && old.is_contiguous() && permissions {
            (Rule::ContiguousGroup, "one entry of a live contiguous group changed")
        } else if let Some((stale, detail)) = self.cached_otherwise(old, new, place, address, difference) {
            return self.violated(Rule::LiveSizeChange, cpu, Some(address), stale.slot, (stale.old, new), detail);
        } else {
            return;
        };
        self.violated(rule, cpu, Some(address), at, (old, new), detail);
    }

    /// M1 in two steps without an invalidation between: to a TLB they are one.
    fn cached_otherwise(
        &self,
        old: Descriptor,
        new: Descriptor,
        place: Place,
        address: VirtAddr,
        difference: Difference,
    ) -> Option<(StaleEntry, &'static str)> {
        let is_table = |value: Descriptor| matches!(value.kind(self.geometry, place.level), Kind::Table(_));
        let leaf = if is_table(old) { new } else { old };
        let mut cached = self.cached_for(place, address);
        if difference.permissions {
            let now = self.leaf(leaf, place.level, 0, PhysAddr(0), address).map(|now| now.bytes);
            let has_other_size = |stale: &&StaleEntry| {
                let (cpu, at) = (stale.holders.trailing_zeros() as usize, stale.address.0.max(address.0));
                let old = self.translation_of(stale, cpu, VirtAddr(at)).map(|old| old.bytes);
                now.is_some() && old.is_some() && now != old
            };
            let other_size = cached.find(has_other_size)?;
            Some((*other_size, "permissions changed while the mapping may still be cached in its old size"))
        } else if (difference.size || difference.contiguous) && !is_table(leaf) {
            let changed = |stale: &&StaleEntry| !self.is_table(stale) && (stale.old.0 ^ leaf.0) & PERMISSIONS != 0;
            Some((
                *cached.find(changed)?,
                "the size changed while the mapping may still be cached with other permissions",
            ))
        } else {
            None
        }
    }

    /// Returns true when an entry that was valid maps as much now, but elsewhere or in another size.
    pub(super) fn is_made_again_as_another(&self, old: Descriptor, new: Descriptor, level: Level) -> bool {
        let mut difference = Difference::default();
        self.compare(old, new, level, 0, 0, &mut difference);
        let Difference { size, contiguous, target, .. } = difference;
        target || (size || contiguous) && self.maps_everything(new, level)
    }

    fn maps_everything(&self, entry: Descriptor, level: Level) -> bool {
        match (entry.kind(self.geometry, level), level.next()) {
            (Kind::Table(table), Some(next)) => (0..self.geometry.entries(next))
                .all(|index| self.maps_everything(self.memory.get(slot(table, index)), next)),
            (Kind::Leaf(_), _) => true,
            _ => false,
        }
    }

    /// Compares what two descriptors of a level, both valid, translate to.
    fn compare(
        &self,
        old: Descriptor,
        new: Descriptor,
        level: Level,
        old_above: u64,
        new_above: u64,
        into: &mut Difference,
    ) {
        let geometry = self.geometry;
        match (old.kind(geometry, level), new.kind(geometry, level), level.next()) {
            (Kind::Table(before), Kind::Table(after), Some(next)) => {
                let above = (old_above | old.0 & RESTRICTIONS, new_above | new.0 & RESTRICTIONS);
                if before == after && above.0 == above.1 {
                    return;
                }
                for index in 0..geometry.entries(next) {
                    let pair = [before, after].map(|table| self.memory.get(slot(table, index)));
                    self.compare_entries(pair, next, above, into);
                }
            }
            (Kind::Table(before), _, Some(next)) => {
                into.size = true;
                let first = new.split_child(next);
                for index in 0..geometry.entries(next) {
                    let child = Descriptor(first.0 + index as u64 * geometry.size(next));
                    let pair = [self.memory.get(slot(before, index)), child];
                    self.compare_entries(pair, next, (old_above | old.0 & RESTRICTIONS, new_above), into);
                }
            }
            (_, Kind::Table(after), Some(next)) => {
                into.size = true;
                let first = old.split_child(next);
                for index in 0..geometry.entries(next) {
                    let child = Descriptor(first.0 + index as u64 * geometry.size(next));
                    let pair = [child, self.memory.get(slot(after, index))];
                    self.compare_entries(pair, next, (old_above, new_above | new.0 & RESTRICTIONS), into);
                }
            }
            _ => {
                let changed = old.0 ^ new.0;
                into.target |= changed & TARGET != 0 || changed & old.0 & NOT_GLOBAL != 0;
                into.permissions |= changed & (PERMISSIONS | NOT_GLOBAL) != 0 || old_above != new_above;
                into.contiguous |= changed & CONTIGUOUS != 0;
            }
        }
    }

    fn compare_entries(&self, pair: [Descriptor; 2], level: Level, above: (u64, u64), into: &mut Difference) {
        match pair.map(Descriptor::is_valid) {
            [false, false] => {}
            [true, true] => self.compare(pair[0], pair[1], level, above.0, above.1, into),
            // Something is mapped that was not, or the reverse: no longer a change of size alone.
            [false, true] | [true, false] => into.permissions = true,
        }
    }
}
