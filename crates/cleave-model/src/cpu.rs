// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU of the machine, and what it can do.

use super::context::TtbrValue;
use super::memory::OldValue;
use super::{Access, Action, Dsb, Flag, Machine, Maintenance, Outcome, Presence, Rule, State, Tlbi, Violation};
use cleave::tables::{Descriptor, Kind, PhysAddr, VirtAddr, slot};

/// A CPU of a machine. Each method is one architectural action.
#[derive(Clone, Copy)]
pub struct OnCpu<'a> {
    machine: &'a Machine,
    number: usize,
}

impl<'a> OnCpu<'a> {
    pub(super) const fn new(machine: &'a Machine, number: usize) -> Self {
        Self { machine, number }
    }

    /// Returns the CPU's number.
    #[must_use]
    pub const fn number(self) -> usize {
        self.number
    }

    /// Returns the machine that the CPU belongs to.
    #[must_use]
    pub const fn machine(self) -> &'a Machine {
        self.machine
    }

    fn act<T>(self, action: Action, what: impl FnOnce(&mut State, usize) -> T) -> T {
        let mut state = self.machine.state();
        state.did(self.number, action);
        what(&mut state, self.number)
    }

    /// Stores a descriptor, single-copy atomic. The store orders nothing.
    pub fn store(self, at: PhysAddr, value: Descriptor) {
        self.store_run(at, value, 0, 1);
    }

    /// Stores consecutive descriptors, in no particular order.
    pub fn store_run(self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        self.act(Action::Store(first, value, count), |state, cpu| state.store_run(cpu, first, value, stride, count));
    }

    /// Executes a data synchronisation barrier.
    pub fn dsb(self, dsb: Dsb) {
        self.act(Action::Dsb(dsb), |state, cpu| state.dsb(cpu, dsb));
    }

    /// Executes an ISB, or any other context synchronisation event: an exception, or a return from one.
    pub fn isb(self) {
        self.act(Action::Isb, State::isb);
    }

    /// Executes a conditional branch that depends on the loads before it.
    pub fn branch(self) {
        self.act(Action::Branch, State::branch);
    }

    /// Executes a TLB invalidation.
    pub fn tlbi(self, tlbi: Tlbi) {
        self.act(Action::Tlbi(tlbi), |state, cpu| state.invalidate(cpu, tlbi));
    }

    /// Accesses memory at `address`.
    pub fn access(self, address: VirtAddr, access: Access) -> Outcome {
        self.act(Action::Access(address), |state, cpu| state.access(cpu, address, access))
    }

    /// Performs an access by code whose fault handler asks the MMU again (AT, ISB) and retries when the address
    /// translates by now, so that a stale fault costs only a detour. Returns true when the fault was, or may have been,
    /// stale.
    pub fn access_retrying(self, address: VirtAddr, access: Access) -> (Outcome, bool) {
        self.act(Action::Access(address), |state, cpu| {
            let before = std::mem::take(&mut state.noted);
            let outcome = state.access(cpu, address, access);
            // Those about an entry that was not valid before; no retry helps against anything else.
            let is_stale_fault = |violation: &Violation| {
                violation.rule == Rule::ContextSynchronisation
                    && violation.old == Descriptor::EMPTY
                    && violation.new.is_valid()
            };
            let mut others = std::mem::replace(&mut state.noted, before).into_kinds();
            let all = others.len();
            others.retain(|violation| !is_stale_fault(violation));
            let stale = others.len() < all;
            state.noted.append(others);
            (outcome, stale)
        })
    }

    /// Stores `flag`, which other CPUs look at. Its number says which.
    pub fn store_flag(self, flag: usize, kind: Flag) {
        self.act(Action::StoreFlag(kind), |state, cpu| state.flag_stored(cpu, flag, kind));
    }

    /// Stores `flag` by a read-modify-write: what it conveyed before, it goes on conveying. Its load is one of its own.
    pub fn modify_flag(self, flag: usize, kind: Flag) {
        self.act(Action::StoreFlag(kind), |state, cpu| state.flag_modified(cpu, flag, kind));
    }

    /// Loads `flag` and finds what was last stored there.
    pub fn load_flag(self, flag: usize, kind: Flag) {
        self.act(Action::LoadFlag(kind), |state, cpu| state.flag_loaded(cpu, flag, kind));
    }

    /// Writes `root` and this ASID to TTBR0_EL1 (TCR.A1 = 0): another process. Takes effect with the next ISB at the
    /// latest.
    pub fn set_process(self, root: PhysAddr, asid: u16) {
        self.act(Action::SetTtbr0(root), |state, cpu| {
            state.write_registers(cpu, |registers| (registers.ttbr0, registers.asid) = (Some(root), asid));
        });
    }

    /// Writes `root` and ASID 0 to TTBR0_EL1; `None` disables table walks (TCR.EPD0). Takes effect with the next ISB at
    /// the latest.
    pub fn set_ttbr0(self, root: Option<PhysAddr>) {
        let at = root.unwrap_or_default();
        self.act(Action::SetTtbr0(at), |state, cpu| {
            state.write_registers(cpu, |registers| (registers.ttbr0, registers.asid) = (root, 0))
        });
    }

    /// Writes `root` to TTBR1_EL1.
    pub fn set_ttbr1(self, root: PhysAddr) {
        self.act(Action::SetTtbr1(root), |state, cpu| {
            state.write_registers(cpu, |registers| registers.ttbr1 = Some(root));
        });
    }

    /// Writes `value` to TTBR0_EL1, as the instruction takes it: CnP in bit 0, the base address in bits 47:1, the ASID
    /// (TCR.A1 = 0) in bits 63:48.
    pub fn write_ttbr0(self, value: u64) {
        let (root, asid) = (TtbrValue(value).base(), TtbrValue(value).asid());
        self.act(Action::SetTtbr0(root), |state, cpu| {
            state.check_private(cpu, TtbrValue(value));
            state.write_registers(cpu, |registers| (registers.ttbr0, registers.asid) = (Some(root), asid));
        });
    }

    /// Writes `value` to TTBR1_EL1, as the instruction takes it; its ASID is not in use (TCR.A1 = 0).
    pub fn write_ttbr1(self, value: u64) {
        let root = TtbrValue(value).base();
        self.act(Action::SetTtbr1(root), |state, cpu| {
            state.check_private(cpu, TtbrValue(value));
            state.write_registers(cpu, |registers| registers.ttbr1 = Some(root));
        });
    }

    /// Writes `value` to TCR_EL1. The machine knows HA, HD and the IRGN fields; all others need only be equal
    /// everywhere.
    pub fn set_tcr(self, value: u64) {
        self.act(Action::SetTcr(value), |state, cpu| {
            state.walks_change(value);
            state.write_registers(cpu, |registers| registers.tcr = value);
        });
    }

    /// Writes `value` to MAIR_EL1.
    pub fn set_mair(self, value: u64) {
        self.act(Action::SetMair(value), |state, cpu| state.write_registers(cpu, |registers| registers.mair = value));
    }

    /// Writes `value` to VTTBR_EL2.VMID, as the boot code at EL2 does.
    pub fn set_vmid(self, value: u16) {
        self.act(Action::SetVmid(value), |state, cpu| state.write_registers(cpu, |registers| registers.vmid = value));
    }

    /// Sets SCTLR_EL1.M. Takes effect with the next ISB at the latest.
    pub fn mmu_on(self) {
        self.act(Action::MmuOn, State::turn_on);
    }

    /// Starts another CPU by PSCI CPU_ON: from here on it may be anywhere in its entry code.
    pub fn cpu_on(self, other: usize) {
        self.act(Action::CpuOn(other), |state, _| state.cpus[other].presence = Presence::Starting);
    }

    /// Makes this CPU one of those that a rendezvous counts. The code that admits it makes sure of the order.
    pub fn admitted(self) {
        self.act(Action::Admitted, |state, cpu| state.cpus[cpu].presence = Presence::Online);
    }

    /// Parks this CPU: it touches nothing that may be broken.
    pub fn park(self) {
        self.act(Action::Arrived, State::park);
    }

    /// Ends this CPU's standstill.
    pub fn leave(self) {
        self.act(Action::Left, State::leave);
    }

    /// Stores data with the MMU and the data cache off.
    pub fn store_uncached(self, at: PhysAddr) {
        self.act(Action::Uncached(at), |state, cpu| state.store_uncached(cpu, at));
    }

    /// Loads data with the MMU and the data cache off.
    pub fn load_uncached(self, at: PhysAddr) {
        self.act(Action::Uncached(at), |state, cpu| state.load_uncached(cpu, at));
    }

    /// Stores data through the cache.
    pub fn store_cached(self, at: PhysAddr) {
        self.act(Action::Cached(at), |state, cpu| state.store_cached(cpu, at));
    }

    /// Loads data, or walks, through the cache.
    pub fn load_cached(self, at: PhysAddr) {
        self.act(Action::Cached(at), |state, cpu| state.load_cached(cpu, at));
    }

    /// Executes DC CVAC, DC IVAC or DC CIVAC on the line at `at`; complete with this CPU's next DSB of loads and
    /// stores.
    pub fn maintain_cache(self, at: PhysAddr, maintenance: Maintenance) {
        let action = match maintenance {
            Maintenance::Clean => Action::CacheClean(at),
            Maintenance::Invalidate => Action::CacheInvalidate(at),
            Maintenance::CleanInvalidate => Action::CacheCleanInvalidate(at),
        };
        self.act(action, |state, cpu| state.maintain(cpu, at, maintenance));
    }
}

impl State {
    pub(super) fn dsb(&mut self, cpu: usize, dsb: Dsb) {
        if dsb.is_inner_shareable() && dsb.waits_for_loads() {
            self.complete_loads(cpu);
        }
        if dsb.is_inner_shareable() && dsb.waits_for_everything() && !self.cpus[cpu].issued.is_empty() {
            // What it completes has a place among the stores, for others to learn of.
            self.cpus[cpu].order.stores += 1;
        }
        if dsb.is_inner_shareable() && dsb.waits_for_stores() {
            self.complete_stores(cpu);
            self.check_touched_groups(cpu);
        }
        if dsb.waits_for_everything() {
            self.complete_maintenance(cpu);
        }
        self.complete_invalidations(cpu, dsb);
    }

    pub(super) fn isb(&mut self, cpu: usize) {
        self.synchronise(cpu);
        self.forget_synchronised(cpu);
        let changed = self.cpus[cpu].switched || self.cpus[cpu].registers != self.cpus[cpu].pending;
        self.cpus[cpu].switched = false;
        self.apply_registers(cpu);
        if changed {
            self.check_everything_walkable(cpu);
        }
    }

    pub(super) fn store_run(&mut self, cpu: usize, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        let page = self.geometry.page_size();
        let mut done = 0;
        while done < count {
            let at = slot(first, done);
            // As far as the table, and the page of the memory's books, goes.
            let here = (count - done).min(((0x1000.min(page) - at.0 % 0x1000) / 8) as usize);
            self.store_piece(cpu, at, value.0.wrapping_add(stride.wrapping_mul(done as u64)), stride, here);
            done += here;
        }
    }

    fn store_piece(&mut self, cpu: usize, first: PhysAddr, value: u64, stride: u64, count: usize) {
        let places = self.places(self.table_of(first)).to_vec();
        let pending = self.pending_places(self.table_of(first));
        self.check_owned(cpu, first, Descriptor(value));
        let order = &self.cpus[cpu].order;
        let before = order.completed.max(order.released);
        for index in 0..count {
            let at = slot(first, index);
            let new = Descriptor(value.wrapping_add(stride.wrapping_mul(index as u64)));
            self.cpus[cpu].order.stores += 1;
            let old = self.memory.get(at);
            pending.iter().for_each(|&above| self.await_sync_below(above, at, old));
            if !places.is_empty() {
                self.memory.set(at, new);
                let level = places[0].level;
                let was = match (old.is_valid(), new.is_valid()) {
                    (_, false) => OldValue::Any,
                    (false, true) => OldValue::Faulting(Descriptor::EMPTY),
                    (true, true)
                        if !self.is_alike(level, old, new)
                            && matches!(old.kind(self.geometry, level), Kind::Table(_)) =>
                    {
                        OldValue::Faulting(old)
                    }
                    (true, true) => OldValue::Valid,
                };
                self.memory.wrote(at, 1, cpu, self.cpus[cpu].order.stores, was, before);
                let current = places.iter().any(|place| place.current);
                for &place in &places {
                    if place.current || !current {
                        self.live_store(cpu, at, old, new, place);
                    } else if !self.is_alike(place.level, old, new) {
                        self.left_store(cpu, at, old, new, place);
                    }
                }
            } else {
                self.memory.set(at, new);
            }
        }
        if places.is_empty() && count > 0 {
            self.memory.wrote(first, count, cpu, self.cpus[cpu].order.stores, OldValue::Any, before);
        }
        self.store_through(cpu, first, count);
    }
}
