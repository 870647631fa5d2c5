// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repaints that are refused before anything is reserved: after a CPU was left behind in the middle of filling tables, and
//! where the allocator does not own the old tables.

use super::filling::{Opened, Stalling, ram};
use super::world::*;
use crate::atomics::Atomics;
use crate::linear_map::{
    Form, FrameCounts, Kernel, LargestLeaf, LinearMap, OutOfMemory, Outcome, Pool, Repainted, Roots, Share, UpperTables,
};
use crate::rendezvous::{Leader, OnlineCpus, Parked, Refused, Rendezvous, Slot};
use crate::tables::fake::{FakeCpu, FakeFrames, FakeMemory, View};
use crate::tables::{FrameSource, PhysRange, TlbiRepeat};

/// A kernel that lends at most its memory and its allocator, and of which nothing else may be asked.
struct Unasked<'a>(Option<(&'a FakeMemory, &'a mut FakeFrames)>);

impl<'a> Unasked<'a> {
    fn memory(&self) -> &'a FakeMemory {
        self.0.as_ref().map(|(memory, _)| *memory).unwrap()
    }
}

impl<'a> Kernel for Unasked<'a> {
    type Memory = View<'a>;
    type Roots = View<'a>;
    type Temporary = View<'a>;
    type Cpu = FakeCpu;
    type Stopped = FakeCpu;
    type Frames = FakeFrames;

    fn memory(&self) -> View<'a> {
        tables(self.memory())
    }
    fn roots(&self) -> View<'a> {
        roots(self.memory())
    }
    fn temporary(&self) -> View<'a> {
        unreachable!()
    }
    fn cpu(&self) -> FakeCpu {
        unreachable!()
    }
    fn with_frames<T>(&mut self, work: impl FnOnce(&mut FakeFrames) -> T) -> T {
        work(self.0.as_mut().unwrap().1)
    }
    fn reserve(&mut self, _needed: u64) -> Result<Pool, OutOfMemory> {
        unreachable!()
    }
    fn is_in_use(&self, _range: PhysRange) -> bool {
        unreachable!()
    }
    fn repeat(&self) -> TlbiRepeat {
        unreachable!()
    }
    fn before_fill(&mut self, _built: &UpperTables) {
        unreachable!()
    }
    fn call_for_help(&mut self) {
        unreachable!()
    }
    fn work<A: Atomics>(&mut self, _map: &LinearMap<'_, A>, _share: Share) {
        unreachable!()
    }
    fn wait_until(&mut self, _done: impl Fn() -> bool) {
        unreachable!()
    }
    fn before_stop(&mut self, _attempt: u32) -> u64 {
        unreachable!()
    }
    fn stopped(&mut self, _parked: &Parked<'_>) -> FakeCpu {
        unreachable!()
    }
    fn refused(&mut self, _attempt: u32, _refused: &Refused) {
        unreachable!()
    }
}

/// Repaints `map` with `kernel`, led by the only CPU.
fn repaint(map: &LinearMap<'_>, kernel: Unasked<'_>) -> Repainted {
    let (rendezvous, slot): (Rendezvous, Slot) = Default::default();
    // SAFETY: there is one CPU, and this is its slot.
    #[allow(unsafe_code, reason = "the one CPU is counted")]
    let online = unsafe { OnlineCpus::of([&slot]) };
    let leader = Leader { rendezvous: &rendezvous, host: &Alone, slot: &slot, online: &online };
    let mut kernel = kernel;
    map.repaint(&mut kernel, &leader, Form::Ahead)
}

/// A CPU that was left behind in the middle of a chunk still reads the live tables: a repaint that would give those back
/// is refused until it has finished. One that does not look begins, and asks its kernel for something.
#[test]
fn no_repaint_begins_while_a_cpu_is_in_the_middle_of_a_chunk() {
    let opened = Opened::new(ram(0, 64 << 20));
    let layout = opened.world.plan.layout();
    let cpu = FakeCpu::default();
    let roots = Roots { live: LIVE, replacement: REPLACEMENT, spare: REPLACEMENT, empty: REPLACEMENT };
    let map = LinearMap::new(layout, roots, &opened.world.stats);
    let fill = &map.fill;
    let given_up = || {
        opened.work(fill, &cpu, Share::Everything, &mut 0);
        fill.close();
        assert!(!fill.is_idle());
        assert_eq!(repaint(&map, Unasked(None)).outcome, Outcome::Busy);
    };
    assert!(fill.is_idle());
    fill.open(&layout, &cpu, 4);
    let stalling = Stalling { memory: &opened.shared, stalled: std::cell::Cell::new(Some(given_up)) };
    fill.work(&replacement(&layout, &stalling, &stalling), &cpu, Share::Fair, &mut 0);
    assert!(fill.is_idle());
}

/// The old tables become the allocator's. A repaint that does not ask whether they are its frames reserves, exchanges the
/// root entries, and panics at the first old table, behind the point of no return.
#[test]
fn a_repaint_of_tables_that_the_allocator_lacks_is_refused() {
    let mut world = World::painted(ram(0, 64 << 20), LargestLeaf::Block);
    let layout = world.plan.layout();
    let roots = Roots { live: LIVE, replacement: REPLACEMENT, spare: SAVE, empty: NOTHING };
    let map = LinearMap::new(layout, roots, &world.stats);
    let table = world.frames.out.pop_last().unwrap();
    let (before, available) = (world.memory.contents(), world.frames.available());
    let done = repaint(&map, Unasked(Some((&world.memory, &mut world.frames))));
    assert_eq!((done.outcome, done.frame_counts), (Outcome::ForeignTable(table), FrameCounts::default()));
    assert_eq!((world.memory.contents(), world.frames.available()), (before, available));
    assert!(map.try_lock().is_ok());
}
