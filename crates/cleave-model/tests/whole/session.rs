// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repaint on the machine: the library asks, the machine answers. What goes wrong goes wrong here.

use std::sync::atomic::Ordering;

use crate::case::*;
use crate::defect::{Bent, Defect, Unmaking};
use crate::world::World;
use cleave::aarch64::BbmLevel;
use cleave::atomics::Atomics;
use cleave::linear_map::{Kernel, LinearMap, OutOfMemory, Pool, Share, UpperTables, free_tables};
use cleave::rendezvous::{Host, Parked, Refused};
use cleave::tables::{FrameSource, PhysRange, TableTree, TlbiRepeat};
use cleave_model::{Frames, Scheduled, Through, View};

/// The leader of one repaint.
pub(crate) struct Session<'w, 'a> {
    pub(crate) world: &'w World<'a>,
    pub(crate) cpu: &'w Scheduled<'w>,
    pub(crate) trouble: Trouble,
    pub(crate) attempts: u32,
}

impl<'a> Kernel for Session<'_, 'a> {
    type Memory = View<'a>;
    type Roots = Unmaking<View<'a>>;
    type Temporary = View<'a>;
    type Cpu = Bent<'a>;
    type Stopped = Bent<'a>;
    type Frames = Frames<'a>;

    fn memory(&self) -> View<'a> {
        self.world.linear(0)
    }
    fn roots(&self) -> Unmaking<View<'a>> {
        let root_bytes = 8 * self.world.case.geometry.entries(self.world.case.geometry.root_level()) as u64;
        let live = PhysRange::new(LIVE, LIVE.offset(root_bytes));
        Unmaking { view: self.world.image(0), live, defect: self.world.defect() }
    }
    fn temporary(&self) -> View<'a> {
        let wrong = self.world.defect() == Some(Defect::ThroughLinear);
        if wrong { self.world.linear(0) } else { self.world.machine.view(0, Through::Distance(0)) }
    }
    fn cpu(&self) -> Bent<'a> {
        self.world.bent(0)
    }

    fn with_frames<T>(&mut self, work: impl FnOnce(&mut Self::Frames) -> T) -> T {
        work(&mut self.world.machine.frames(0))
    }

    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        let (memory, frames) = (self.memory(), &mut self.world.machine.frames(0));
        if self.world.defect() == Some(Defect::NotReserved) {
            self.world.machine.set_aside(|| ());
            return Pool::reserve(&memory, frames, needed);
        }
        self.world.machine.set_aside(|| Pool::reserve(&memory, frames, needed))
    }

    fn bbm_level(&self) -> BbmLevel {
        self.world.case.levels.iter().copied().min().unwrap_or(BbmLevel::Zero)
    }
    fn is_in_use(&self, range: PhysRange) -> bool {
        [self.world.case.first, self.world.case.frames].iter().any(|used| used.overlaps(range))
    }

    fn repeat(&self) -> TlbiRepeat {
        self.world.repeat()
    }
    fn has_range_tlbi(&self) -> bool {
        self.world.case.range_tlbi
    }

    fn before_fill(&mut self, _built: &UpperTables) {
        self.world.mine.iter().for_each(|mine| mine.store(0, Ordering::Relaxed));
    }

    fn call_for_help(&mut self) {
        self.cpu.step();
    }

    fn work<A: Atomics>(&mut self, _map: &LinearMap<'_, A>, share: Share) {
        self.world.work(0, share);
    }

    fn wait_until(&mut self, done: impl Fn() -> bool) {
        // A CPU that was left behind in the middle of an earlier filling may hold that one's account against this one,
        // and not come: the leader does not wait for ever.
        let start = self.cpu.ticks();
        let patience = if self.trouble == Trouble::Impatient { 0 } else { 500_000 };
        while !done() && self.cpu.ticks() - start < patience {
            self.cpu.pause();
        }
    }

    fn before_stop(&mut self, _attempt: u32) -> u64 {
        let world = self.world;
        self.attempts += 1;
        let absent = match self.trouble {
            Trouble::Absent => true,
            Trouble::Late => self.attempts == 1,
            _ => world.defect() == Some(Defect::Miscount),
        };
        let last = world.online() - 1;
        let absent = absent && last > 0;
        self.cpu.deafen(if absent { 1 << last } else { 0 });
        if world.defect() == Some(Defect::EarlyFree) {
            self.free_early();
        }
        if absent { 2000 } else { u64::MAX }
    }

    fn stopped(&mut self, _parked: &Parked<'_>) -> Bent<'a> {
        // Standing still is more than being counted: no interrupt may make a CPU go on.
        let miscounted = self.world.defect() == Some(Defect::Miscount);
        let open = (0..self.world.online()).find(|&cpu| !self.cpu.has_masked_all(cpu)).filter(|_| !miscounted);
        assert_eq!(open, None, "the leader acts while this CPU has not masked its interrupts");
        if self.world.defect() == Some(Defect::Allocation) {
            let _ = self.world.machine.frames(0).allocate();
        }
        self.cpu()
    }

    fn refused(&mut self, _attempt: u32, _refused: &Refused) {
        self.cpu.deafen(0);
        self.world.touch(self.cpu);
    }
}

impl Session<'_, '_> {
    fn free_early(&self) {
        let (linear, roots) = (self.world.linear(0), self.world.image(0));
        let (geometry, entries) = (self.world.case.geometry, self.world.layout.root_entries());
        let tree = TableTree { memory: linear, geometry, root: SPARE };
        free_tables(&tree, &roots, entries, &mut self.world.machine.frames(0));
    }
}
