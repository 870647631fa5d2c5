// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups of leaves with the Contiguous bit, any of which may bring one TLB entry for all of them.
//!
//! A group is built and taken apart by many stores, and other CPUs may look between any two of them. Invalid members
//! are no misprogramming (Arm ARM D8.7.1.1, I_PGVGZ), so a group may be filled and emptied one by one; but as a TLB
//! entry from a valid member may cover the hole, no access may use the hole, nor is a change complete that leaves one
//! (R_SKQHL). Members with the bit among others without are misprogramming, which cores of level 1 and up endure while
//! the bit is changed (R_NGLXZ, R_KHRBC): there too a change that leaves them is not complete. Valid members that are
//! not one another's successors are wrong at any time.

use super::change::{CONTIGUOUS, IGNORED_IN_LEAF};
use super::rule::RuleText;
use super::{Rule, State};
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// The text of M11.
pub(super) const CONTIGUOUS_GROUP: RuleText = RuleText {
    id: "M11",
    name: "contiguous",
    sentence: "a group with unequal members once its stores are ordered, or with the bit on some only where a CPU's level \
               is 0; one that is linked, used or called complete with a hole; a live change of one of its members on \
               level 0",
    source: "Arm ARM D8.7.1 The Contiguous bit: Misprogramming the Contiguous bit (R_SKQHL, R_QTRPM, R_NGLXZ, I_PGVGZ); \
             D8.17.2 Support levels for changing table or block size (R_KHRBC)",
};

/// Output address, in whose bits the members of a group differ.
const OUTPUT: u64 = 0x0000_ffff_ffff_f000;

/// The occasion on which a group is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GroupCheck {
    /// The table it is in becomes reachable.
    Linked,
    /// Stores to some of it are ordered.
    Ordered,
    /// A change is called complete.
    Complete,
}

impl State {
    /// Returns the first slot of the contiguous group that `at` is in.
    pub(super) fn group_of(&self, at: PhysAddr, level: Level) -> PhysAddr {
        let group = self.geometry.contiguous(level).unwrap_or(1);
        let index = self.index_of(at) / group * group;
        slot(self.table_of(at), index)
    }

    /// M11, once the stores of a CPU are ordered: every group it touched is in order.
    pub(super) fn check_touched_groups(&mut self, cpu: usize) {
        let touched = std::mem::take(&mut self.groups_touched);
        let (mine, others) = touched.into_iter().partition(|&(writer, ..)| writer == cpu);
        self.groups_touched = others;
        let mut mine: Vec<_> = mine;
        mine.dedup();
        for (_, first, level) in mine {
            self.check_reachable_group(cpu, first, level, GroupCheck::Ordered);
        }
    }

    /// M11, when changes are called complete: no group is left as it may be only for a while.
    pub(super) fn check_unfinished_groups(&mut self, cpu: usize) {
        for (first, level) in std::mem::take(&mut self.unfinished_groups) {
            self.check_reachable_group(cpu, first, level, GroupCheck::Complete);
        }
    }

    fn check_reachable_group(&mut self, cpu: usize, first: PhysAddr, level: Level, when: GroupCheck) {
        if !self.places(self.table_of(first)).is_empty() {
            self.check_group(cpu, first, level, when);
        }
    }

    fn members(&self, first: PhysAddr, level: Level) -> impl Iterator<Item = (PhysAddr, Descriptor)> + '_ {
        let group = self.geometry.contiguous(level).unwrap_or(1);
        (0..group).map(move |index| (slot(first, index), self.memory.get(slot(first, index))))
    }

    /// M11 for the group that begins at `first`.
    pub(super) fn check_group(&mut self, cpu: usize, first: PhysAddr, level: Level, when: GroupCheck) {
        let Some(group) = self.geometry.contiguous(level) else { return };
        // In a table descriptor the bit is ignored.
        let is_leaf = |value: Descriptor| matches!(value.kind(self.geometry, level), Kind::Leaf(_));
        let is_member = |value: Descriptor| is_leaf(value) && value.is_contiguous();
        let Some((at, value)) = self.members(first, level).find(|&(_, value)| is_member(value)) else { return };
        let size = self.geometry.size(level);
        let start = value.0.wrapping_sub((at.0 - first.0) / 8 * size);
        let expected = |n: usize| start.wrapping_add(n as u64 * size);
        let (mut unequal, mut mixed, mut hole) = (None, None, None);
        for (n, (at, value)) in self.members(first, level).enumerate() {
            let differs = (value.0 ^ expected(n)) & !IGNORED_IN_LEAF;
            let found = match differs {
                _ if !value.is_valid() => &mut hole,
                0 => continue,
                CONTIGUOUS => &mut mixed,
                _ => &mut unequal,
            };
            found.get_or_insert((at, value));
        }
        let holders = self.places(self.table_of(first)).iter().fold(0, |all, place| all | place.holders);
        let endured = when == GroupCheck::Ordered && self.least_level(holders) >= BbmLevel::One;
        let found = unequal.map(|at| (at, "a contiguous group has unequal members"));
        let found = found.or_else(|| {
            let mixed = mixed.filter(|_| !endured)?;
            Some((mixed, "some members of a group have the Contiguous bit and others have not"))
        });
        let found = found.or_else(|| {
            let hole = hole.filter(|_| when != GroupCheck::Ordered)?;
            Some((hole, "a contiguous group has a hole, and a TLB entry of the others may cover it"))
        });
        if let Some(((at, now), detail)) = found {
            self.violated(Rule::ContiguousGroup, cpu, None, at, (value, now), detail);
        } else if start & (size * group as u64 - 1) & OUTPUT & !(size - 1) != 0 {
            self.violated(Rule::ContiguousGroup, cpu, None, first, (value, value), "a contiguous group is not aligned");
        } else if (mixed.is_some() || hole.is_some()) && !self.unfinished_groups.contains(&(first, level)) {
            self.unfinished_groups.push((first, level));
        }
    }

    /// M11: an access whose walk ended at an invalid entry, where a valid member of its group may be cached for all.
    pub(super) fn check_hole(&mut self, cpu: usize, address: VirtAddr, at: PhysAddr, level: Level) {
        let first = self.group_of(at, level);
        let valid = |&(_, value): &(PhysAddr, Descriptor)| value.is_valid() && value.is_contiguous();
        let member = self.members(first, level).find(valid);
        if let Some((_, member)) = member.filter(|_| self.geometry.contiguous(level).is_some()) {
            let now = self.memory.get(at);
            let detail = "an address in a hole of a contiguous group is used: a TLB entry of the others may cover it";
            self.violated(Rule::ContiguousGroup, cpu, Some(address), at, (member, now), detail);
        }
    }
}
