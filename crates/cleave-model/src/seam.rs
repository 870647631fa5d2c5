// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine behind the traits that table code is written against.

use super::{Access, Action, Coverage, Dsb, LastLevel, Machine, OnCpu, Outcome, Scope, Tlbi};
use cleave::aarch64::tlb;
use cleave::tables::{Cpu, Descriptor, FrameSource, PhysAddr, TableMemory, TlbiLevels, TlbiRange, VirtAddr};

impl From<TlbiLevels> for LastLevel {
    fn from(levels: TlbiLevels) -> Self {
        match levels {
            TlbiLevels::All => Self::AllLevels,
            TlbiLevels::Last => Self::Only,
        }
    }
}

impl Cpu for OnCpu<'_> {
    fn dsb_ishst(&self) {
        self.dsb(Dsb::Ishst);
    }
    fn dsb_ish(&self) {
        self.dsb(Dsb::Ish);
    }
    fn dsb_nsh(&self) {
        self.dsb(Dsb::Nsh);
    }
    fn isb(&self) {
        Self::isb(*self);
    }
    fn tlbi_vmalle1is(&self) {
        self.tlbi(Tlbi::VMALLE1IS);
    }
    // With the operands that the device gives them.
    fn tlbi_address(&self, address: VirtAddr, levels: TlbiLevels) {
        let geometry = self.machine().state().geometry;
        self.tlbi(Tlbi::from_operand(tlb::operand(address, 0), levels.into(), geometry).for_every_asid());
    }
    fn tlbi_range(&self, range: TlbiRange, levels: TlbiLevels) {
        let geometry = self.machine().state().geometry;
        self.tlbi(Tlbi::from_range_operand(tlb::range_operand(range, 0), levels.into(), geometry).for_every_asid());
    }
    fn tlbi_vmalle1(&self) {
        self.tlbi(Tlbi::VMALLE1);
    }
    fn repeat_tlbi_workaround(&self) {
        // VALE1IS, with the operand that the device gives it.
        let covers = Coverage::Address { address: VirtAddr(0), asid: Some(0), last: LastLevel::Only, hint: None };
        self.tlbi(Tlbi { scope: Scope::InnerShareable, covers });
    }
    fn set_ttbr0(&self, root: PhysAddr) {
        Self::set_ttbr0(*self, Some(root));
    }
}

/// The way in which table code reaches tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Through {
    /// By a mapping that never changes, as a kernel image's own, or with the MMU off.
    Physical,
    /// At this constant distance from the physical address, by the tables themselves: a linear map, or an identity map
    /// under TTBR0. Each access is one of the CPU's.
    Distance(u64),
}

/// A view of a machine's tables: what a CPU loads and stores through it are its events.
#[derive(Clone, Copy)]
pub struct View<'a> {
    machine: &'a Machine,
    cpu: usize,
    through: Through,
}

impl<'a> View<'a> {
    pub(super) const fn new(machine: &'a Machine, cpu: usize, through: Through) -> Self {
        Self { machine, cpu, through }
    }

    /// Makes the access to the slot for this CPU; it is judged as any other, and one that cannot be made is a broken
    /// slot.
    fn reach(&self, slot: PhysAddr, access: Access) {
        let Through::Distance(distance) = self.through else { return };
        let address = VirtAddr(slot.0.wrapping_add(distance));
        let mut state = self.machine.state();
        let before = state.noted.total;
        let outcome = state.access(self.cpu, address, access);
        if outcome == Outcome::Memory(slot) || outcome == Outcome::Conflict(slot) {
            return;
        }
        if state.noted.total == before {
            state.did(self.cpu, Action::Access(address));
            let detail = "a table is reached through an address that is not mapped to it";
            let none = Descriptor::EMPTY;
            state.violated(super::Rule::BrokenEntryAccess, self.cpu, Some(address), slot, (none, none), detail);
        }
    }
}

impl TableMemory for View<'_> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.reach(slot, Access::Load);
        let mut state = self.machine.state();
        state.check_read(self.cpu, slot);
        state.load_through(self.cpu, slot);
        state.memory.get(slot)
    }

    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.reach(slot, Access::Store);
        OnCpu::new(self.machine, self.cpu).store(slot, value);
    }

    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        // A table is one page of every granule, so that one access stands for all.
        if count > 0 {
            self.reach(first, Access::Store);
        }
        OnCpu::new(self.machine, self.cpu).store_run(first, value, stride, count);
    }
}

/// The machine's frame allocator, as one CPU uses it.
#[derive(Clone, Copy)]
pub struct Frames<'a> {
    machine: &'a Machine,
    cpu: usize,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(machine: &'a Machine, cpu: usize) -> Self {
        Self { machine, cpu }
    }
}

impl FrameSource for Frames<'_> {
    fn available(&self) -> u64 {
        self.machine.state().frames.free.len() as u64
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        let mut state = self.machine.state();
        let frame = state.allocate(self.cpu);
        state.did(self.cpu, Action::Allocate(frame.unwrap_or_default()));
        frame
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        self.machine.state().frames.out.contains(&frame)
    }

    fn free(&mut self, frame: PhysAddr) {
        let mut state = self.machine.state();
        state.did(self.cpu, Action::Free(frame));
        state.free(self.cpu, frame);
    }
}
