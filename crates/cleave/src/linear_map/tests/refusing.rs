// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repaints that are refused before anything is reserved: after a CPU was left behind in the middle of filling tables, and
//! where the allocator does not own the old tables.

use super::filling::{Opened, Stalling, ram};
use super::world::*;
use crate::linear_map::{
    Commit, Ending, Fill, Form, Kernel, LargestLeaf, LiveMap, MapLock, OutOfMemory, Pool, Roots, ShadowMap, Share,
    Skeleton, Tally, repaint,
};
use crate::rendezvous::Refused;
use crate::tables::fake::{FakeCpu, FakeFrames, FakeMemory, View};
use crate::tables::{FrameSource, TlbiRepeat};

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
    type Window = View<'a>;
    type Cpu = FakeCpu;
    type Frames = FakeFrames;

    fn memory(&self) -> View<'a> {
        tables(self.memory())
    }
    fn roots(&self) -> View<'a> {
        roots(self.memory())
    }
    fn window(&self) -> View<'a> {
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
    fn cpus(&self) -> u32 {
        unreachable!()
    }
    fn repeat(&self) -> TlbiRepeat {
        unreachable!()
    }
    fn before_fill(&mut self, _built: &Skeleton) {
        unreachable!()
    }
    fn call_for_help(&mut self) {
        unreachable!()
    }
    fn work(&mut self, _share: Share) {
        unreachable!()
    }
    fn wait_until(&mut self, _done: impl Fn() -> bool) {
        unreachable!()
    }
    fn gather<C: Commit>(&mut self, _commit: &mut C) -> Result<(), Refused> {
        unreachable!()
    }
    fn refused(&mut self, _attempt: u32, _refused: &Refused) {
        unreachable!()
    }
}

/// A CPU that was left behind in the middle of a chunk still reads the live tables: a repaint that would give those back
/// is refused until it has finished. One that does not look begins, and asks its kernel for something.
#[test]
fn no_repaint_begins_while_somebody_is_in_the_middle_of_a_chunk() {
    let opened = Opened::new(ram(0, 64 << 20));
    let layout = opened.world.plan.layout();
    let (fill, lock, cpu) = (Fill::new(), MapLock::new(), FakeCpu::default());
    let roots = Roots { live: LIVE, shadow: SHADOW, spare: SHADOW, empty: SHADOW };
    let map = LiveMap { layout: &layout, census: &opened.world.census, roots, lock: &lock, fill: &fill };
    let given_up = || {
        opened.work(&fill, &cpu, Share::Everything, &mut 0);
        fill.close();
        assert!(!fill.is_idle());
        assert_eq!(repaint(&mut Unasked(None), &map, Form::Ahead).0, Ending::Busy);
    };
    assert!(fill.is_idle());
    fill.open(&layout, &cpu, 4);
    let stalling = Stalling { memory: &opened.shared, stalled: std::cell::Cell::new(Some(given_up)) };
    let shadow = ShadowMap { layout: &layout, memory: &stalling, roots: &stalling, live: LIVE, shadow: SHADOW };
    fill.work(&shadow, &cpu, Share::Fair, &mut 0);
    assert!(fill.is_idle());
}

/// The old tables become the allocator's. A repaint that does not ask whether they are its frames reserves, exchanges the
/// root entries, and panics at the first old table, behind the point of no return.
#[test]
fn a_repaint_whose_old_tables_the_allocator_does_not_own_is_refused() {
    let mut world = World::painted(ram(0, 64 << 20), LargestLeaf::Block);
    let layout = world.plan.layout();
    let (fill, lock) = (Fill::new(), MapLock::new());
    let roots = Roots { live: LIVE, shadow: SHADOW, spare: SAVE, empty: NOTHING };
    let map = LiveMap { layout: &layout, census: &world.census, roots, lock: &lock, fill: &fill };
    let table = world.frames.out.pop_last().unwrap();
    let (before, available) = (world.memory.contents(), world.frames.available());
    let (ending, tally) = repaint(&mut Unasked(Some((&world.memory, &mut world.frames))), &map, Form::Ahead);
    assert_eq!((ending, tally), (Ending::ForeignTable(table), Tally::default()));
    assert_eq!((world.memory.contents(), world.frames.available()), (before, available));
    assert!(lock.try_lock().is_ok());
}
