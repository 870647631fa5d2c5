// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CPU that was left behind in the middle of filling tables, and the repaint after that.

use super::filling::{Opened, Stalling, ram};
use super::world::*;
use crate::linear_map::{
    Commit, Ending, Fill, Form, Kernel, LiveMap, MapLock, Roots, ShadowMap, Share, Skeleton, repaint,
};
use crate::rendezvous::Refused;
use crate::tables::TlbiRepeat;
use crate::tables::fake::{FakeCpu, FakeFrames, SharedMemory};

/// A kernel of which nothing may be asked.
struct Unasked;

impl Kernel for Unasked {
    type Memory = SharedMemory;
    type Roots = SharedMemory;
    type Window = SharedMemory;
    type Cpu = FakeCpu;
    type Frames = FakeFrames;

    fn memory(&self) -> SharedMemory {
        unreachable!()
    }
    fn roots(&self) -> SharedMemory {
        unreachable!()
    }
    fn window(&self) -> SharedMemory {
        unreachable!()
    }
    fn cpu(&self) -> FakeCpu {
        unreachable!()
    }
    fn with_frames<T>(&mut self, _work: impl FnOnce(&mut FakeFrames) -> T) -> T {
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
        assert_eq!(repaint(&mut Unasked, &map, Form::Ahead).0, Ending::Busy);
    };
    assert!(fill.is_idle());
    fill.open(&layout, &cpu, 4);
    let stalling = Stalling { memory: &opened.shared, stalled: std::cell::Cell::new(Some(given_up)) };
    let shadow = ShadowMap { layout: &layout, memory: &stalling, roots: &stalling, live: LIVE, shadow: SHADOW };
    fill.work(&shadow, &cpu, Share::Fair, &mut 0);
    assert!(fill.is_idle());
}
