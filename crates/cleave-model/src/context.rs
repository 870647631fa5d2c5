// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers that translation depends on, and when a write of them takes effect.

use super::order::LinkedBy;
use super::rule::RuleText;
use super::{Access, Outdated, Presence, Registers, Rule, State};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr, slot};

/// The text of M17.
pub(super) const CPU_CONTEXTS: RuleText = RuleText {
    id: "M17",
    name: "contexts",
    sentence: "TCR, MAIR or VMID differ between CPUs that share tables; TCR or MAIR changed and used without an invalidation \
               on that CPU; CnP set; the MMU turned on without a local TLBI; TTBR1 with the linear map before admission",
    source: "Arm ARM D8.16 Translation Lookaside Buffers (TLB contents are UNKNOWN after reset; VMID and ASID tags also \
             with stage 2 off; Common not private translations); D8.17 TLB maintenance (broadcasts match the VMID; R_VNRFW)",
};

/// The text of M18.
pub(super) const HARDWARE_UPDATE: RuleText = RuleText {
    id: "M18",
    name: "hardware update",
    sentence: "a leaf with AF = 0, or TCR.HA or TCR.HD set: the walker would fault, or write descriptors on its own",
    source: "Arm ARM D8.5 Hardware updates to the translation tables: Access flag, Dirty state",
};

/// TCR_EL1.HA and HD.
const TCR_HARDWARE_UPDATE: u64 = 1 << 39 | 1 << 40;

/// A value of TTBR0_EL1 or TTBR1_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TtbrValue(pub(super) u64);

impl TtbrValue {
    const CNP: u64 = 1;

    pub(super) const fn base(self) -> PhysAddr {
        PhysAddr(self.0 & 0x0000_ffff_ffff_fffe)
    }

    pub(super) const fn asid(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

impl State {
    /// M17: no CPU lends its TLB to another. CPUs with CnP set have to have the same tables under one ASID at all
    /// times, those between two writes of a register included; the machine does not know which CPUs share which tables,
    /// and reports all of it.
    pub(super) fn check_private(&mut self, cpu: usize, value: TtbrValue) {
        if value.0 & TtbrValue::CNP != 0 {
            let detail = "a table base register has CnP set: CPUs may use one another's translations";
            self.violated(Rule::CpuContexts, cpu, None, value.base(), (Descriptor::EMPTY, Descriptor(value.0)), detail);
        }
    }

    /// Writes registers; they may take effect now or with the next ISB.
    pub(super) fn write_registers(&mut self, cpu: usize, write: impl FnOnce(&mut Registers)) {
        let before = self.cpus[cpu].pending;
        let unsettled = before != self.cpus[cpu].registers;
        let mut after = before;
        write(&mut after);
        let upper = self.upper_half();
        for (old, new, base) in [(before.ttbr0, after.ttbr0, VirtAddr(0)), (before.ttbr1, after.ttbr1, upper)] {
            if old == new {
                continue;
            }
            if let Some(root) = new {
                self.check_contents(cpu, root, self.geometry.root_level(), base);
            }
            // A root that was written and no ISB has followed may have been walked all the same.
            if let Some(root) = old.filter(|_| unsettled && self.cpus[cpu].mmu) {
                self.remember_left_root(cpu, root, new, base);
                self.cpus[cpu].replaced.push((root, base));
            }
        }
        self.cpus[cpu].pending = after;
        self.reach = None;
        if before != after && self.cpus[cpu].mmu {
            self.find_unordered(1 << cpu);
        }
        if self.cpus[cpu].presence == Presence::Starting {
            self.check_admitted(cpu);
        }
    }

    /// M7 for a root that a register is about to name, and what is below it and was out of reach so far.
    fn check_contents(&mut self, cpu: usize, table: PhysAddr, level: Level, base: VirtAddr) {
        if !self.cpus[cpu].mmu || !self.places(table).is_empty() {
            return;
        }
        self.check_written(cpu, table, level, base, LinkedBy::Register);
        let below: Vec<_> = self.valid_in(table, level).collect();
        for (index, entry) in below {
            if let (Kind::Table(below), Some(next)) = (entry.kind(self.geometry, level), level.next()) {
                let first = VirtAddr(base.0.wrapping_add(index as u64 * self.geometry.size(level)));
                self.check_contents(cpu, below, next, first);
            }
        }
    }

    /// Puts the written registers in force, at a context synchronisation event. Roots that are gone may still be cached.
    pub(super) fn apply_registers(&mut self, cpu: usize) {
        let (old, new) = (self.cpus[cpu].registers, self.cpus[cpu].pending);
        // The CPU may have walked the old roots until here, so an invalidation in between did not end them.
        for (root, base) in std::mem::take(&mut self.cpus[cpu].replaced) {
            let after = if base == VirtAddr(0) { new.ttbr0 } else { new.ttbr1 };
            self.remember_left_root(cpu, root, after, base);
        }
        if old == new {
            return;
        }
        self.reach = None;
        if self.cpus[cpu].mmu {
            let upper = self.upper_half();
            for (before, after, base) in [(old.ttbr0, new.ttbr0, VirtAddr(0)), (old.ttbr1, new.ttbr1, upper)] {
                if let Some(root) = before.filter(|_| before != after) {
                    // Under the ASID it had.
                    self.remember_left_root(cpu, root, after, base);
                }
            }
        }
        if self.cpus[cpu].mmu && (old.tcr, old.mair) != (new.tcr, new.mair) {
            // An invalidation that began before is not one of what is walked until now.
            self.cpus[cpu].outdated = Outdated::Yes;
            self.cpus[cpu].unfinished_local = false;
        }
        self.cpus[cpu].registers = new;
        if self.cpus[cpu].mmu {
            self.check_contexts(cpu);
        }
    }

    /// Remembers that a CPU had another root in a register, if there is anything to remember.
    fn remember_left_root(&mut self, cpu: usize, root: PhysAddr, after: Option<PhysAddr>, base: VirtAddr) {
        if self.has_its_own(root, after) {
            self.remember_root(cpu, root, base);
            self.reach = None;
        }
    }

    /// Returns true when a walk from `root` can find what one from `other` does not. Where both have the same entry,
    /// what is cached of one is as good as the other's: a TLB does not remember which root it came from.
    pub(super) fn has_its_own(&self, root: PhysAddr, other: Option<PhysAddr>) -> bool {
        let in_other = |index| other.map(|other| self.memory.get(slot(other, index)));
        self.valid_in(root, self.geometry.root_level()).any(|(index, entry)| in_other(index) != Some(entry))
    }

    /// M17: an access by what was walked under other registers.
    pub(super) fn check_outdated(&mut self, cpu: usize, address: VirtAddr) {
        if self.cpus[cpu].outdated == Outdated::Yes {
            let mine = self.cpus[cpu].registers;
            let detail = "TCR or MAIR changed, and the TLB may hold what was walked under the old value";
            let (tcr, mair) = (Descriptor(mine.tcr), Descriptor(mine.mair));
            self.violated(Rule::CpuContexts, cpu, Some(address), PhysAddr(0), (tcr, mair), detail);
        }
    }

    pub(super) fn turn_on(&mut self, cpu: usize) {
        if !self.cpus[cpu].local_tlb_clean {
            let detail = "the MMU is turned on while the TLB holds entries from before reset";
            self.violated(Rule::CpuContexts, cpu, None, PhysAddr(0), (Descriptor::EMPTY, Descriptor::EMPTY), detail);
        }
        if self.cpus[cpu].registers != self.cpus[cpu].pending {
            let (old, new) = (self.cpus[cpu].registers, self.cpus[cpu].pending);
            let root = |registers: Registers| Descriptor(registers.ttbr1.unwrap_or_default().0);
            let detail = "the MMU is turned on while what it translates with is written and not synchronised";
            self.violated(Rule::ContextSynchronisation, cpu, None, PhysAddr(0), (root(old), root(new)), detail);
        }
        self.cpus[cpu].mmu = true;
        self.cpus[cpu].switched = true;
        self.reach = None;
        self.check_contexts(cpu);
    }

    /// M17, M18: this CPU and the others agree on what a descriptor means.
    fn check_contexts(&mut self, cpu: usize) {
        let mine = self.cpus[cpu].registers;
        let none = Descriptor::EMPTY;
        if mine.tcr & TCR_HARDWARE_UPDATE != 0 {
            let detail = "hardware updates of descriptors are on";
            self.violated(Rule::HardwareUpdate, cpu, None, PhysAddr(0), (none, Descriptor(mine.tcr)), detail);
        }
        let differing = self.cpus.iter().filter(|other| other.mmu).find_map(|other| {
            let theirs = other.registers;
            let pairs = [
                (theirs.tcr, mine.tcr, "TCR differs between CPUs that share tables"),
                (theirs.mair, mine.mair, "MAIR differs between CPUs that share tables"),
                (theirs.vmid.into(), mine.vmid.into(), "the VMID differs between CPUs that share tables"),
            ];
            pairs.into_iter().find(|(theirs, mine, _)| theirs != mine)
        });
        if let Some((theirs, mine, detail)) = differing {
            self.violated(Rule::CpuContexts, cpu, None, PhysAddr(0), (Descriptor(theirs), Descriptor(mine)), detail);
        }
    }

    /// M17: a CPU that is not admitted gets the map that may be broken under it.
    fn check_admitted(&mut self, cpu: usize) {
        let Some(root) = self.cpus[cpu].pending.ttbr1 else { return };
        let level = self.geometry.root_level();
        let (upper, size) = (self.upper_half(), self.geometry.size(level));
        let maps =
            self.valid_in(root, level).map(|(index, entry)| (index, VirtAddr(upper.0 + index as u64 * size), entry));
        let found = maps.into_iter().find(|&(_, first, _)| {
            let last = VirtAddr(first.0.wrapping_add(size - 1));
            self.shared.iter().any(|range| *range.start() <= last && first <= *range.end())
        });
        if let Some((index, address, entry)) = found {
            let detail = "TTBR1 names a map that other CPUs may break, before this CPU is admitted";
            self.violated(Rule::CpuContexts, cpu, Some(address), slot(root, index), (Descriptor::EMPTY, entry), detail);
        }
    }

    /// M10: nothing is used between a register write and the ISB behind it. What has to be fetched in between, if only
    /// that ISB, is mapped alike under both roots.
    pub(super) fn check_synchronised(&mut self, cpu: usize, address: VirtAddr, access: Access) {
        let state = &self.cpus[cpu];
        let (now, written) = (state.registers, state.pending);
        let upper = address >= self.upper_half();
        let root_differs = if upper { now.ttbr1 != written.ttbr1 } else { now.ttbr0 != written.ttbr0 };
        let others_differ = (now.tcr, now.mair, now.vmid) != (written.tcr, written.mair, written.vmid);
        let mut replaced = state.replaced.iter().filter(|(_, base)| (*base == self.upper_half()) == upper).peekable();
        if root_differs || others_differ || state.switched || replaced.peek().is_some() {
            let roots = if upper { (now.ttbr1, written.ttbr1) } else { (now.ttbr0, written.ttbr0) };
            let (old, new) = (roots.0.unwrap_or_default(), roots.1.unwrap_or_default());
            let only_a_root = !others_differ && !state.switched && now.asid == written.asid;
            let mut others = replaced.map(|&(root, _)| root).chain([new]);
            if access == Access::Fetch && only_a_root && others.all(|other| self.translates_alike(old, other, address))
            {
                return;
            }
            let detail = "an access between a write of a translation register and its ISB";
            self.violated(
                Rule::ContextSynchronisation,
                cpu,
                Some(address),
                new,
                (Descriptor(old.0), Descriptor(new.0)),
                detail,
            );
        }
    }

    /// M18: a leaf that the walker would have to touch.
    pub(super) fn check_hardware_update(
        &mut self,
        cpu: usize,
        address: VirtAddr,
        at: PhysAddr,
        entry: Descriptor,
        level: Level,
    ) {
        if matches!(entry.kind(self.geometry, level), Kind::Leaf(_)) && !entry.is_accessed() {
            let detail = "a valid leaf has its access flag clear";
            self.violated(Rule::HardwareUpdate, cpu, Some(address), at, (Descriptor::EMPTY, entry), detail);
        }
    }
}
