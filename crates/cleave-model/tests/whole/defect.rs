// SPDX-License-Identifier: MIT OR Apache-2.0
//! Seeded defects of the machine and of the code on it, each of which the model must report.

use std::sync::atomic::Ordering;

use cleave::atomics::{Atomic, Atomics};
use cleave::rendezvous::Host;
use cleave::tables::{Cpu, Descriptor, PhysAddr, PhysRange, TableMemory, TlbiLevels, TlbiRange, VirtAddr};
use cleave_model::{OnCpu, Scheduled, Tlbi, Watched};

/// The defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Defect {
    DsbIshst,
    DsbIsh,
    DsbNsh,
    Isb,
    NoTlbi,
    LocalTlbi,
    /// An invalidation by address names the page behind the one that changed.
    WrongTlbi,
    /// An invalidation by address leaves the entries of tables.
    LastLevelTlbi,
    NoLocalTlbi,
    SecondTlbi,
    /// The followers' context synchronisation.
    HostIsb,
    /// The leader counts one CPU too few, and that one does not come.
    Miscount,
    /// The old tables are given back before the commit.
    EarlyFree,
    /// The tables of the replacement are linked, and no CPU fills them.
    NoFill,
    /// The window's tables are reached through the map that is broken.
    ThroughLinear,
    /// A frame is taken from the allocator inside the window.
    Allocation,
    /// Frames become tables in the window that were allocated for something else.
    NotReserved,
    /// The followers are released while the map is broken.
    NoMake,
    /// A latecomer is given the whole map before the leader admits it.
    EarlyRoot,
}

/// Since when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Since {
    /// From the first paint on.
    Start,
    /// As soon as the linear map exists.
    Painted,
    /// As soon as every CPU is at work.
    Online,
}

/// A CPU with a defect.
#[derive(Clone, Copy)]
pub(crate) struct Bent<'a> {
    pub(crate) cpu: OnCpu<'a>,
    /// The size of a page.
    pub(crate) page: u64,
    pub(crate) defect: Option<Defect>,
}

impl Bent<'_> {
    fn unless(&self, defect: Defect, what: impl FnOnce()) {
        if self.defect != Some(defect) {
            what();
        }
    }
}

impl Cpu for Bent<'_> {
    fn dsb_ishst(&self) {
        self.unless(Defect::DsbIshst, || self.cpu.dsb_ishst());
    }
    fn dsb_ish(&self) {
        self.unless(Defect::DsbIsh, || self.cpu.dsb_ish());
    }
    fn dsb_nsh(&self) {
        self.unless(Defect::DsbNsh, || self.cpu.dsb_nsh());
    }
    fn isb(&self) {
        self.unless(Defect::Isb, || Cpu::isb(&self.cpu));
    }
    fn tlbi_vmalle1is(&self) {
        match self.defect {
            Some(Defect::NoTlbi) => {}
            Some(Defect::LocalTlbi) => self.cpu.tlbi_vmalle1(),
            _ => self.cpu.tlbi_vmalle1is(),
        }
    }
    fn tlbi_address(&self, address: VirtAddr, levels: TlbiLevels) {
        match self.defect {
            Some(Defect::NoTlbi) => {}
            Some(Defect::LocalTlbi) => self.cpu.tlbi(Tlbi::vaae1is(address).local()),
            Some(Defect::WrongTlbi) => self.cpu.tlbi_address(address.offset(self.page), levels),
            Some(Defect::LastLevelTlbi) => self.cpu.tlbi_address(address, TlbiLevels::Last),
            _ => self.cpu.tlbi_address(address, levels),
        }
    }
    fn tlbi_range(&self, range: TlbiRange, levels: TlbiLevels) {
        match self.defect {
            Some(Defect::NoTlbi | Defect::LocalTlbi) => {}
            Some(Defect::WrongTlbi) => {
                self.cpu.tlbi_range(TlbiRange { start: range.start.offset(self.page), ..range }, levels);
            }
            Some(Defect::LastLevelTlbi) => self.cpu.tlbi_range(range, TlbiLevels::Last),
            _ => self.cpu.tlbi_range(range, levels),
        }
    }
    fn tlbi_vmalle1(&self) {
        self.unless(Defect::NoLocalTlbi, || self.cpu.tlbi_vmalle1());
    }
    fn repeat_tlbi_workaround(&self) {
        self.unless(Defect::SecondTlbi, || self.cpu.repeat_tlbi_workaround());
    }
    fn set_ttbr0(&self, root: PhysAddr) {
        Cpu::set_ttbr0(&self.cpu, root);
    }
}

/// A filler's view: it may lose what is stored through it, and other CPUs may go on between any two of its loads.
pub(crate) struct Mute<'a, V> {
    pub(crate) view: V,
    pub(crate) defect: Option<Defect>,
    /// The word that a slow filler loads before each descriptor: other CPUs go on there.
    pub(crate) pace: Option<&'a <Watched as Atomics>::U64>,
}

impl<V: TableMemory> TableMemory for Mute<'_, V> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        if let Some(pace) = self.pace {
            (0..20).for_each(|_| _ = pace.load(Ordering::Relaxed));
        }
        self.view.load(slot)
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        if self.defect != Some(Defect::NoFill) {
            self.view.store(slot, value);
        }
    }
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        if self.defect != Some(Defect::NoFill) {
            self.view.store_run(first, value, stride, count);
        }
    }
}

/// A view of the roots through which the live root's entries may not be made again.
pub(crate) struct Unmaking<V> {
    pub(crate) view: V,
    pub(crate) live: PhysRange,
    pub(crate) defect: Option<Defect>,
}

impl<V: TableMemory> TableMemory for Unmaking<V> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.view.load(slot)
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        let makes = self.live.contains(slot) && value != Descriptor::EMPTY;
        if self.defect != Some(Defect::NoMake) || !makes {
            self.view.store(slot, value);
        }
    }
}

/// A follower's [`Host`] that may not synchronise.
pub(crate) struct BentHost<'a, 'b> {
    pub(crate) host: &'b Scheduled<'a>,
    pub(crate) defect: Option<Defect>,
}

impl Host for BentHost<'_, '_> {
    type Masked = <Scheduled<'static> as Host>::Masked;

    fn send_ipi(&self) {
        self.host.send_ipi();
    }
    fn ticks(&self) -> u64 {
        self.host.ticks()
    }
    fn pause(&self) {
        self.host.pause();
    }
    fn wait(&self) {
        self.host.wait();
    }
    fn wake(&self) {
        self.host.wake();
    }
    fn interrupts_enabled(&self) -> bool {
        self.host.interrupts_enabled()
    }
    fn mask_all(&self) -> Self::Masked {
        self.host.mask_all()
    }
    fn isb(&self) {
        if self.defect != Some(Defect::HostIsb) {
            Host::isb(self.host);
        }
    }
    fn before_arrival(&self) {
        self.host.before_arrival();
    }
    fn on_arrival(&self) {
        self.host.on_arrival();
    }
    fn on_release(&self) {
        self.host.on_release();
    }
}
