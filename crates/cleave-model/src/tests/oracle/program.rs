// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for the oracle: a few events on a few CPUs, one after the other, and how the machine is told of them.

use super::world::{
    Beginning, GEOMETRY, SLOTS, STORED, Slot, Table, Value, address, address_of, beginning, descriptor,
};
use crate::{Access, Config, Coverage, Dsb, Flag, LastLevel, Machine, Outcome, Scope, Tlbi};
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Level, slot};

/// The flag of all programs.
const FLAG: usize = 0x100;

/// An action of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    Store(Slot, Value),
    Dsb(Dsb),
    Isb,
    Invalidate(Scope, Covering),
    Access(u64, Access),
    StoreFlag(Flag),
    /// A load of the flag that finds what was last stored there.
    LoadFlag(Flag),
    Branch,
    SetTtbr1(Table),
}

/// The entries that an invalidation covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Covering {
    All,
    /// The page, table entries on the way or not, and the level the leaf is said to be of.
    Page(u64, LastLevel, Option<Level>),
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Event {
    pub(super) cpu: usize,
    pub(super) doing: Doing,
}

/// A machine, what its tables hold, and what its CPUs do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Program {
    pub(super) levels: Vec<BbmLevel>,
    pub(super) ets2: Ets2,
    pub(super) beginning: Beginning,
    pub(super) events: Vec<Event>,
}

/// Says whether the CPUs have FEAT_ETS2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ets2 {
    Absent,
    Present,
}

impl Program {
    /// The machine before the first event.
    pub(super) fn machine(&self) -> Machine {
        let config = Config::new(GEOMETRY, &self.levels);
        let machine = Machine::new(match self.ets2 {
            Ets2::Absent => config,
            Ets2::Present => config.with_ets2(),
        });
        for table in Table::ALL {
            (0..512).for_each(|index| machine.poke(slot(table.address(), index), Descriptor::EMPTY));
        }
        let at_first = beginning(self.beginning);
        (0..SLOTS.len()).for_each(|slot| machine.poke(address_of(slot), at_first[slot]));
        // The last slots stand for all that follow in their tables.
        for last in STORED..SLOTS.len() {
            let (table, first) = SLOTS[last];
            for index in (first..512).filter(|_| at_first[last].is_valid()) {
                let page = at_first[last].0 + (index - first) as u64 * GEOMETRY.page_size();
                machine.poke(slot(table.address(), index), Descriptor(page));
            }
        }
        machine.boot_all(Table::Root.address());
        machine
    }
}

impl Event {
    /// Tells the machine. What came of an access is what comes back.
    pub(super) fn tell(self, machine: &Machine) -> Option<Outcome> {
        let cpu = machine.cpu(self.cpu);
        match self.doing {
            Doing::Store(slot, value) => cpu.store(address_of(slot), descriptor(value, slot)),
            Doing::Dsb(dsb) => cpu.dsb(dsb),
            Doing::Isb => cpu.isb(),
            Doing::Invalidate(scope, covering) => {
                let covers = match covering {
                    Covering::All => Coverage::All,
                    Covering::Page(page, last, hint) => {
                        Coverage::Address { address: address(page), asid: None, last, hint }
                    }
                };
                cpu.tlbi(Tlbi { scope, covers });
            }
            Doing::Access(page, access) => return Some(cpu.access(address(page), access)),
            Doing::StoreFlag(flag) => cpu.store_flag(FLAG, flag),
            Doing::LoadFlag(flag) => cpu.load_flag(FLAG, flag),
            Doing::Branch => cpu.branch(),
            Doing::SetTtbr1(root) => cpu.set_ttbr1(root.address()),
        }
        None
    }
}
