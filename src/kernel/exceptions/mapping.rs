//! What the tables say of a faulting address, and why the access was refused. Never faults itself.

use core::cell::Cell;
use core::fmt;

use cleave::arch::syndrome::{Abort, Access, Status};
use cleave::arch::translate;
use cleave::paging::{Descriptor, PhysAddr, TableMemory, VirtAddr, translate as walk_to};
use cleave::rendezvous::Phase;

use crate::kernel::dump::{self, Half};
use crate::kernel::image::Section;
use crate::kernel::interrupts::RENDEZVOUS;
use crate::kernel::layout::LINEAR_BASE;
use crate::kernel::memory::{self, GEOMETRY};
use crate::kernel::place::Place;
use crate::kernel::views::View;

/// Table memory that is asked for before it is read: through the image where it is part of that, through the linear map
/// where the MMU says that it is mapped, and otherwise empty.
struct Careful {
    missed: Cell<bool>,
}

impl TableMemory for Careful {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        if Section::Tables.phys().contains(slot) {
            return View::image().load(slot);
        }
        // AT does not fault: it answers in PAR_EL1.
        if translate::read(VirtAddr(LINEAR_BASE + slot.0)).address().is_some() {
            return View::LINEAR.load(slot);
        }
        self.missed.set(true);
        Descriptor::EMPTY
    }

    fn store(&self, slot: PhysAddr, _value: Descriptor) {
        unreachable!("a report stores no descriptor, at {slot}");
    }
}

/// The mapping of an address, and why the abort was taken: lines of a report.
pub(super) struct Mapping {
    /// The faulting address.
    pub(super) address: VirtAddr,
    /// What was attempted, and how it failed.
    pub(super) abort: Abort,
}

impl Mapping {
    fn is_mapped(&self, half: Half, tables: &Careful) -> bool {
        walk_to(tables, GEOMETRY, half.root(), self.address).is_some()
    }

    fn why(&self, tables: &Careful) -> &'static str {
        let Some(half) = Half::of(self.address) else { return "it is in neither half of the address space" };
        let place = Place::of(self.address);
        let mapped = self.is_mapped(half, tables);
        match (self.abort.status, self.abort.access, place) {
            (Status::Permission(_), Access::Fetch, _) => "it is mapped, and never executable",
            (Status::Permission(_), _, Place::KernelAlias) => {
                "it is mapped read-only: the alias of the kernel's text and read-only data"
            }
            (Status::Permission(_), _, _) => "it is mapped read-only",
            (Status::Translation(_), _, Place::Guard { .. }) => {
                "a guard page: nothing is mapped there, so that it faults"
            }
            (Status::Translation(_), _, Place::LinearMap | Place::KernelAlias) => self.why_not_linear(mapped, tables),
            (Status::Translation(_), _, Place::Null) => "nothing is mapped at the lowest addresses",
            (Status::Translation(_), _, _) if tables.missed.get() => "a table on its way cannot be read",
            (Status::Translation(_), _, _) if mapped => "it is mapped now: it was not a moment ago",
            (Status::Translation(_), _, _) => "a hole: nothing is mapped there",
            _ => "the tables do not say",
        }
    }

    fn why_not_linear(&self, mapped: bool, tables: &Careful) -> &'static str {
        let physical = PhysAddr(self.address.0 - LINEAR_BASE);
        match () {
            () if memory::try_layout().is_none_or(|layout| layout.part(physical).is_none()) => {
                "a hole: there is no memory that the kernel may map"
            }
            () if RENDEZVOUS.phase().0 == Phase::Run => "the linear map is broken: a rendezvous is in its window",
            () if tables.missed.get() => "a table on its way cannot be read",
            () if mapped => "it is mapped now: it was not a moment ago",
            () => "there is memory, and its mapping is gone",
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = Careful { missed: Cell::new(false) };
        if let Some(half) = Half::of(self.address) {
            write!(f, "  the way to ")?;
            dump::write_path(&tables, half, self.address, f)?;
        }
        writeln!(f, "  why: {}", self.why(&tables))
    }
}
