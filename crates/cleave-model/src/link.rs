// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables that become reachable at once, by a store to a live entry or a write of a base register.

use super::contiguous::GroupCheck;
use super::order::LinkedBy;
use super::table_place::{Place, RESTRICTIONS};
use super::{Rule, State};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

impl State {
    /// M7, M11, M12, M15, M18 for everything that a store has just made reachable.
    pub(super) fn linked(&mut self, cpu: usize, at: PhysAddr, entry: Descriptor, place: Place, address: VirtAddr) {
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
    pub(super) fn check_written(&mut self, cpu: usize, table: PhysAddr, level: Level, base: VirtAddr, by: LinkedBy) {
        let entries = self.geometry.entries(level);
        let late = self
            .memory
            .writes(table, entries)
            .find(|(_, write)| !self.is_before_link(cpu, write.writer, write.number, by))
            .map(|(at, write)| (at, write.writer));
        if let Some((at, writer)) = late {
            let now = self.memory.get(at);
            let detail = "a table is linked whose contents a walker may not see yet";
            self.violated(Rule::ChildBeforeParent, writer, Some(base), at, (Descriptor::EMPTY, now), detail);
        }
    }

    fn check_tree(&mut self, cpu: usize, link: PhysAddr, table: PhysAddr, place: Place) {
        self.check_becomes_table(cpu, link, table, place.base);
        let entries = self.geometry.entries(place.level);
        for holder in (0..self.cpus.len()).filter(|number| place.holders >> number & 1 == 1) {
            self.check_walkable(holder, self.half_of(place.base), table, entries);
        }
        self.check_written(cpu, table, place.level, place.base, LinkedBy::Store);
        if let Some(index) = (0..entries).find(|&index| !self.memory.is_stored(slot(table, index))) {
            let at = slot(table, index);
            let detail = "a table is linked that was never filled";
            self.violated(
                Rule::ChildBeforeParent,
                cpu,
                Some(place.base),
                at,
                (Descriptor::EMPTY, Descriptor::EMPTY),
                detail,
            );
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
                        self.check_group(cpu, first, place.level, GroupCheck::Linked);
                    }
                }
                _ => {}
            }
        }
    }
}
