//! A store to a descriptor that a walker may reach: which changes are allowed without break-before-make.

use super::invalidate::Residue;
use super::order::By;
use super::reach::{Place, RESTRICTIONS};
use super::rule::Text;
use super::{Rule, State};
use crate::linear_map::BbmLevel;
use crate::paging::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// M1.
pub(super) const M1: Text = Text {
    name: "size",
    sentence: "block to table or back while the old value may be cached on, or reachable by, a CPU whose level is below \
               2; on level 2 and up also if anything but the size changes in the same step",
    source: "Arm ARM D8.16 TLB maintenance: Using break-before-make when updating translation table entries; Support \
             levels for changing block size (FEAT_BBM)",
};

/// M2.
pub(super) const M2: Text = Text {
    name: "target",
    sentence: "output address, memory type, shareability, cacheability or nG of a live entry changed, at any level",
    source: "Arm ARM D8.16 TLB maintenance: Using break-before-make when updating translation table entries",
};

/// M3.
pub(super) const M3: Text = Text {
    name: "remake",
    sentence: "invalid to valid while an older valid value may still be cached",
    source: "Arm ARM D8.16 TLB maintenance: Using break-before-make (make only after the invalidation is complete); \
             herd7: SM-notlbi",
};

/// M11.
pub(super) const M11: Text = Text {
    name: "contiguous",
    sentence: "a group with unequal attributes or a hole once its stores are ordered, or a live change of one of its \
               entries below level 2",
    source: "Arm ARM D8.7 The Contiguous bit: Misprogramming of the Contiguous bit",
};

const CONTIGUOUS: u64 = 1 << 52;
/// Output address, AttrIndx, SH and nG of a leaf.
const TARGET: u64 = 0x0000_ffff_ffff_f000 | 0b111 << 2 | 0b11 << 8 | 1 << 11;
/// Everything else of a leaf that means something, but for its size: permissions, execute-never, AF, DBM.
const PERMISSIONS: u64 = 0b11 << 6 | 1 << 10 | 1 << 51 | 0b11 << 53;

/// In what two translations of the same addresses differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Difference {
    size: bool,
    target: bool,
    permissions: bool,
}

impl State {
    /// The least level among these CPUs.
    pub(super) fn least_level(&self, holders: u32) -> BbmLevel {
        let levels = self.cpus.iter().enumerate().filter(|(n, _)| holders >> n & 1 == 1).map(|(_, cpu)| cpu.level);
        levels.min().unwrap_or(BbmLevel::Three)
    }

    /// One store to a descriptor that walkers may reach at `place`; `old` is what it replaced.
    pub(super) fn live_store(&mut self, cpu: usize, at: PhysAddr, old: Descriptor, new: Descriptor, place: Place) {
        let address = self.address_in(place, self.index_of(at));
        if !place.current {
            let detail = "a table is written that a walk cache may still lead to";
            return self.violated(Rule::M12, cpu, Some(address), at, old, new, detail);
        }
        if old == new {
            return;
        }
        self.check_hardware_update(cpu, address, at, new, place.level);
        match (old.is_valid(), new.is_valid()) {
            (false, false) => {}
            (false, true) => self.make(cpu, at, new, place, address),
            (true, false) => {
                self.check_parked(address, at, old, new, place);
                self.remember(cpu, at, old, place, address);
            }
            (true, true) => {
                self.change_live(cpu, at, old, new, place, address);
                self.remember(cpu, at, old, place, address);
            }
        }
        let is_table = |value: Descriptor| matches!(value.kind(self.geometry, place.level), Kind::Table(_));
        match (is_table(old), is_table(new)) {
            (false, false) => {}
            (false, true) => self.linked(cpu, at, new, place, address),
            (true, to_table) => {
                self.reach = None;
                if to_table {
                    self.linked(cpu, at, new, place, address);
                }
            }
        }
        if place.level >= Level::L1 && (old.0 | new.0) & CONTIGUOUS != 0 {
            self.groups_touched.push((cpu, self.group_of(at, place.level), place.level));
        }
    }

    /// The same where memory has the table elsewhere, and only a walk cache leads here: what it held was found here, too.
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
        // The very value that may be cached says nothing new, be it this one or one below it.
        let mut residues = std::mem::take(&mut self.residues);
        for residue in residues.iter_mut().filter(|residue| self.is_said_again(residue, at, new, place)) {
            residue.holders &= !place.holders;
        }
        residues.retain(|residue| residue.holders != 0);
        self.residues = residues;
        if let Some(residue) = self.cached_for(place, address) {
            let detail = match residue.blame {
                Rule::M4 => "made again; the TLBI came before the store was ordered, and does not count for it",
                Rule::M5 => "made again; the TLBI did not cover what is cached",
                Rule::M6 => "made again; the TLBI has not completed",
                _ => "made again without any TLBI",
            };
            self.violated(residue.blame, cpu, Some(address), residue.slot, residue.old, new, detail);
        }
    }

    /// Whether a walk by way of `new` at `at` finds what a residue was, where it was.
    fn is_said_again(&self, residue: &Residue, at: PhysAddr, new: Descriptor, mut place: Place) -> bool {
        let (mut at, mut entry) = (at, new);
        if self.address_in(place, self.index_of(at)).0 != residue.address.0 & !(self.geometry.size(place.level) - 1) {
            return false;
        }
        while residue.level != Some(place.level) {
            let (Kind::Table(below), Some(level)) = (entry.kind(self.geometry, place.level), place.level.next()) else {
                return false;
            };
            place = Place { level, restrictions: place.restrictions | entry.0 & RESTRICTIONS, ..place };
            at = slot(below, self.geometry.index(residue.address, level));
            entry = self.memory.get(at);
        }
        (residue.slot, residue.old, residue.restrictions) == (at, entry, place.restrictions)
    }

    /// An older value that a CPU may hold for what an entry at `place` covers.
    fn cached_for(&self, place: Place, address: VirtAddr) -> Option<Residue> {
        let bytes = 1u128 << self.geometry.shift(place.level);
        let overlaps = |residue: &&Residue| {
            self.covers(residue, address) || u128::from(residue.address.0.wrapping_sub(address.0)) < bytes
        };
        // A root that is no longer in a register is another context: what it held there is judged when it is used.
        let of_tables = |residue: &&Residue| residue.root.is_none();
        self.residues
            .iter()
            .filter(of_tables)
            .find(|residue| residue.holders & place.holders != 0 && overlaps(residue))
            .copied()
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
        let low = self.least_level(place.holders) < BbmLevel::Two;
        let (rule, detail) = if difference.target {
            (Rule::M2, "a live entry got another output address, type, shareability or scope")
        } else if difference.size && low {
            (Rule::M1, "the size of a live mapping changed without break-before-make")
        } else if difference.size && difference.permissions {
            (Rule::M1, "size and permissions changed in one step")
        } else if low && old.is_contiguous() && difference.permissions {
            (Rule::M11, "one entry of a live contiguous group changed")
        } else if let Some(residue) = self.cached_for(place, address)
            && residue.level != Some(place.level)
            && difference.permissions
        {
            let detail = "permissions changed while the mapping may still be cached in its old size";
            return self.violated(Rule::M1, cpu, Some(address), residue.slot, residue.old, new, detail);
        } else {
            return;
        };
        self.violated(rule, cpu, Some(address), at, old, new, detail);
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
                into.target |= (old.0 ^ new.0) & TARGET != 0;
                into.permissions |= (old.0 ^ new.0) & PERMISSIONS != 0 || old_above != new_above;
                into.size |= (old.0 ^ new.0) & CONTIGUOUS != 0;
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

    /// The first slot of the contiguous group that `at` is in.
    fn group_of(&self, at: PhysAddr, level: Level) -> PhysAddr {
        let group = self.geometry.contiguous(level).unwrap_or(1);
        let index = self.index_of(at) / group * group;
        slot(self.table_of(at), index)
    }

    /// M11, once the stores of a CPU are ordered: every group it touched is whole.
    pub(super) fn check_touched_groups(&mut self, cpu: usize) {
        let touched = std::mem::take(&mut self.groups_touched);
        let (mine, others) = touched.into_iter().partition(|&(writer, ..)| writer == cpu);
        self.groups_touched = others;
        let mut mine: Vec<_> = mine;
        mine.dedup();
        for (_, first, level) in mine {
            if !self.places(self.table_of(first)).is_empty() {
                self.check_group(cpu, first, level);
            }
        }
    }

    /// M11 for the group that begins at `first`: no entry has the bit, or all have it and are one another's successors.
    pub(super) fn check_group(&mut self, cpu: usize, first: PhysAddr, level: Level) {
        let Some(group) = self.geometry.contiguous(level) else { return };
        let is_member = |value: Descriptor| value.is_valid() && value.is_contiguous();
        let values = (0..group).map(|index| (slot(first, index), self.memory.get(slot(first, index))));
        let Some((at, value)) = values.clone().find(|&(_, value)| is_member(value)) else { return };
        let index = (at.0 - first.0) / 8;
        let size = self.geometry.size(level);
        let start = value.0.wrapping_sub(index * size);
        let aligned = start & (self.geometry.size(level) * group as u64 - 1) & TARGET & 0x0000_ffff_ffff_f000 == 0;
        let wrong = values.enumerate().find(|&(n, (_, value))| value.0 != start.wrapping_add(n as u64 * size));
        if let Some((_, (at, now))) = wrong {
            let address = None;
            let detail = "a contiguous group has a hole or unequal entries";
            self.violated(Rule::M11, cpu, address, at, value, now, detail);
        } else if !aligned {
            self.violated(Rule::M11, cpu, None, first, value, value, "a contiguous group is not aligned");
        }
    }

    /// M7, M11, M12, M15, M18 for everything that a store has just made reachable.
    fn linked(&mut self, cpu: usize, at: PhysAddr, entry: Descriptor, place: Place, address: VirtAddr) {
        let (Kind::Table(table), Some(level)) = (entry.kind(self.geometry, place.level), place.level.next()) else {
            return;
        };
        let restrictions = place.restrictions | entry.0 & RESTRICTIONS;
        let below = Place { level, base: address, restrictions, ..place };
        self.check_tree(cpu, at, table, below);
        if let Some(mut reach) = self.reach.take() {
            self.add_tree(&mut reach, table, below);
            self.reach = Some(reach);
        }
    }

    /// M7: the contents of a table that `cpu` is about to make reachable come before that.
    pub(super) fn check_written(&mut self, cpu: usize, table: PhysAddr, level: Level, base: VirtAddr, by: By) {
        let entries = self.geometry.entries(level);
        let late = self
            .memory
            .writes(table, entries)
            .find(|(_, write)| !self.is_before_link(cpu, write.writer, write.number, by))
            .map(|(at, write)| (at, write.writer));
        if let Some((at, writer)) = late {
            let now = self.memory.get(at);
            let detail = "a table is linked whose contents a walker may not see yet";
            self.violated(Rule::M7, writer, Some(base), at, Descriptor::EMPTY, now, detail);
        }
    }

    fn check_tree(&mut self, cpu: usize, link: PhysAddr, table: PhysAddr, place: Place) {
        self.check_becomes_table(cpu, link, table, place.base);
        let entries = self.geometry.entries(place.level);
        self.check_written(cpu, table, place.level, place.base, By::Store);
        if let Some(index) = (0..entries).find(|&index| !self.memory.is_stored(slot(table, index))) {
            let at = slot(table, index);
            let detail = "a table is linked that nobody has filled";
            self.violated(Rule::M7, cpu, Some(place.base), at, Descriptor::EMPTY, Descriptor::EMPTY, detail);
        }
        let valid: Vec<_> = self.valid_in(table, place.level).collect();
        let mut group = None;
        for (index, entry) in valid {
            let (at, address) = (slot(table, index), self.address_in(place, index));
            self.check_hardware_update(cpu, address, at, entry, place.level);
            match (entry.kind(self.geometry, place.level), place.level.next()) {
                (Kind::Table(below), Some(level)) => {
                    let restrictions = place.restrictions | entry.0 & RESTRICTIONS;
                    self.check_tree(cpu, at, below, Place { level, base: address, restrictions, ..place });
                }
                _ if entry.is_contiguous() => {
                    let first = self.group_of(at, place.level);
                    if group.replace(first) != Some(first) {
                        self.check_group(cpu, first, place.level);
                    }
                }
                _ => {}
            }
        }
    }
}
