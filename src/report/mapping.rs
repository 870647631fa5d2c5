// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mapping of a faulting address, and the reason why the access was refused. Never faults itself.
#![cfg(target_os = "none")]

use core::fmt;

use cleave::aarch64::syndrome::{Abort, Access, Status};
use cleave::rendezvous::Phase;
use cleave::tables::{PhysAddr, VirtAddr};

use crate::irq::ipi::RENDEZVOUS;
use crate::mm::address_class::Place;
use crate::mm::dump::{self, Half};
use crate::mm::guarded;
use crate::mm::image::Section;
use crate::mm::layout::LINEAR_BASE;
use crate::mm::memory;
use crate::mm::views::Careful;

/// The mapping of an address, and why the abort was taken: lines of a report.
pub(crate) struct Mapping {
    /// The faulting address.
    pub(crate) address: VirtAddr,
    /// The access, and the way it failed.
    pub(crate) abort: Abort,
}

impl Mapping {
    fn is_mapped(&self, half: Half, tables: &Careful) -> bool {
        half.tree(tables).translate(self.address).is_some()
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
            (Status::Permission(_), _, Place::Image(Section::RoAfterInit) | Place::InitDataAlias) => {
                "boot is over: what the kernel sets up once is read-only from then on"
            }
            (Status::Permission(_), _, _) => "it is mapped read-only",
            (Status::Translation(_), _, Place::Guard { .. }) => {
                "a guard page: nothing is mapped there, so that it faults"
            }
            (Status::Translation(_), _, Place::LinearMap | Place::KernelAlias | Place::InitDataAlias) => {
                self.why_not_linear(mapped, tables)
            }
            (Status::Translation(_), _, Place::Secret) => "a secret frame: the linear map lacks it while it is one",
            (Status::Translation(_), _, Place::Null) => "nothing is mapped at the lowest addresses",
            (Status::Translation(_), _, _) if tables.has_missed() => "a table on its way cannot be read",
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
            () if RENDEZVOUS.phase().0 == Phase::Run => "the linear map is broken: a rendezvous is in its stop window",
            () if tables.has_missed() => "a table on its way cannot be read",
            () if mapped => "it is mapped now: it was not a moment ago",
            () if guarded::fault(self.address).is_some() => "a page that the guarded pool keeps unmapped",
            () => "there is memory, and its mapping is gone",
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = Careful::default();
        if let Some(half) = Half::of(self.address) {
            write!(f, "  the way to ")?;
            dump::write_path(&tables, half, self.address, f)?;
        }
        writeln!(f, "  why: {}", self.why(&tables))
    }
}
