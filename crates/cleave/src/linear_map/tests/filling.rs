// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filling of a replacement by several CPUs: every table once, in fair shares, no chunk lost.

use proptest::prelude::*;

use super::plan::*;
use super::world::*;
use crate::linear_map::{Fill, LargestLeaf, Pool, Share, UpperTables};
use crate::tables::fake::{Event, FakeCpu, SharedMemory};
use crate::tables::{Descriptor, PhysAddr, PhysRange, TableMemory};

/// A world whose replacement has a upper, in memory that threads can share.
pub(super) struct Opened {
    pub(super) world: World,
    pub(super) shared: SharedMemory,
    /// Returns how many page tables wait to be filled.
    waiting: u64,
}

impl Opened {
    pub(super) fn new(plan: Plan) -> Self {
        let mut world = World::painted(plan.clone(), LargestLeaf::Block);
        let needed = world.stats.tables_to_split(plan.geometry) + world.stats.tables;
        let mut pool = Pool::reserve(&world.memory, &mut world.frames, needed).unwrap();
        let view = &world.memory;
        let upper = UpperTables::build(&replacement(&plan.layout(), view, view), &mut pool);
        let shared = SharedMemory::default();
        *shared.memory.lock().unwrap() = std::mem::take(&mut world.memory);
        Self { world, shared, waiting: upper.tables - upper.complete }
    }

    /// Calls `work` once, on a CPU of its own.
    pub(super) fn work(&self, fill: &Fill, cpu: &FakeCpu, share: Share, mine: &mut u64) -> u64 {
        let layout = self.world.plan.layout();
        fill.work(&replacement(&layout, &self.shared, &self.shared), cpu, share, mine)
    }

    /// Returns true when every waiting table was filled `times` times, and nothing else was.
    fn filled_each(&self, times: u64) -> bool {
        let runs = self.shared.runs.lock().unwrap();
        runs.len() as u64 == self.waiting && runs.values().all(|&count| count == times)
    }

    /// Gives the memory back and checks the replacement.
    fn check(mut self) {
        let before = {
            self.world.memory = std::mem::take(&mut *self.shared.memory.lock().unwrap());
            self.world.leaves(LIVE)
        };
        check_split(&self.world, &before, REPLACEMENT);
    }
}

/// Returns a layout of RAM that begins `skipped` bytes behind a gibibyte, with a kernel in it.
pub(super) fn ram(skipped: u64, bytes: u64) -> Plan {
    let start = 0x4000_0000 + skipped;
    Plan::k4(&[range(start, start + bytes)], range(start + 0x20_0000, start + 0x60_0000))
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn every_table_is_filled_once_in_any_order_of_the_cpus(
        plan in plans(1), turns in proptest::collection::vec(0..6usize, 0..20), cpus in 1..6u64,
    ) {
        let opened = Opened::new(plan);
        let fill = Fill::new();
        let cpu = FakeCpu::default();
        fill.open(&opened.world.plan.layout(), &cpu, cpus);
        let mut mine = [0; 6];
        let mut tables = 0;
        for turn in turns {
            tables += opened.work(&fill, &cpu, Share::Fair, &mut mine[turn]);
        }
        if tables < opened.waiting {
            prop_assert!(fill.is_open() && !fill.is_complete());
        }
        let fair = mine;
        tables += opened.work(&fill, &cpu, Share::Everything, &mut mine[0]);
        prop_assert_eq!(tables, opened.waiting);
        prop_assert!(fill.is_complete() && !fill.is_open());
        prop_assert!(opened.filled_each(1));
        // No CPU, however often it claimed, had more than two fifths beyond an even part, rounded up to whole chunks.
        let chunks: u64 = mine.iter().sum();
        let most = (chunks * 7 / (5 * cpus)).max(chunks.div_ceil(cpus));
        prop_assert!(fair.iter().all(|&mine| mine <= most), "{fair:?} of {chunks}");
        prop_assert!(fair.iter().all(|&mine| fill.share_left(mine) == (mine < most)));
        opened.check();
    }
}

#[test]
fn no_cpu_of_four_fills_more_than_two_fifths_of_the_tables() {
    let sizes = [128, 130, 144, 256, 1000, 1536];
    // RAM need not begin where a chunk does.
    for (mebibytes, skipped) in sizes.into_iter().flat_map(|size| [0, 2, 6, 14].map(|skipped| (size, skipped))) {
        let opened = Opened::new(ram(skipped << 20, mebibytes << 20));
        let fill = Fill::new();
        let cpu = FakeCpu::default();
        fill.open(&opened.world.plan.layout(), &cpu, 4);
        let mut total = 0;
        // The greediest order there is: each takes all it may before the next one looks, and asks twice.
        for _ in 0..4 {
            let mut mine = 0;
            let tables = opened.work(&fill, &cpu, Share::Fair, &mut mine);
            assert_eq!(opened.work(&fill, &cpu, Share::Fair, &mut mine), 0);
            assert!(tables * 10 <= opened.waiting * 4, "{tables} of {} at {mebibytes}+{skipped} MiB", opened.waiting);
            total += tables;
        }
        // Four fair shares are enough for all of it.
        assert_eq!(total, opened.waiting);
        assert!(fill.is_complete() && opened.filled_each(1));
    }
}

/// However few chunks there are, the shares of all CPUs together are enough for them.
#[test]
fn fair_shares_cover_a_small_memory_too() {
    for mebibytes in [10, 16, 34, 64] {
        for cpus in 1..7 {
            let opened = Opened::new(ram(0, mebibytes << 20));
            let fill = Fill::new();
            let cpu = FakeCpu::default();
            fill.open(&opened.world.plan.layout(), &cpu, cpus);
            let total: u64 = (0..cpus).map(|_| opened.work(&fill, &cpu, Share::Fair, &mut 0)).sum();
            assert_eq!(total, opened.waiting, "{mebibytes} MiB and {cpus} CPUs");
            assert!(fill.is_complete());
        }
    }
}

#[test]
fn what_others_leave_the_leader_fills() {
    let opened = Opened::new(ram(0, 256 << 20));
    let fill = Fill::new();
    let cpu = FakeCpu::default();
    fill.open(&opened.world.plan.layout(), &cpu, 4);
    let fair = opened.work(&fill, &cpu, Share::Fair, &mut 0);
    assert!(fair < opened.waiting && !fill.is_complete() && fill.is_open());
    assert_eq!(fair + opened.work(&fill, &cpu, Share::Everything, &mut 0), opened.waiting);
    assert!(fill.is_complete());
    opened.check();
}

#[test]
fn threads_fill_every_table_once() {
    for round in 0..6 {
        let opened = Opened::new(ram(0, 200 << 20));
        let fill = Fill::new();
        fill.open(&opened.world.plan.layout(), &FakeCpu::default(), 4);
        let shared = SharedOnly(&opened.shared, &opened.world.plan);
        let tables: Vec<u64> = std::thread::scope(|scope| {
            let (opened, fill) = (&shared, &fill);
            let filler = move |delay: u64| {
                std::thread::sleep(std::time::Duration::from_micros(delay));
                opened.work(fill, Share::Fair)
            };
            let threads: Vec<_> = (0..4).map(|cpu| scope.spawn(move || filler(cpu * round * 50))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(tables.iter().sum::<u64>(), opened.waiting, "{tables:?}");
        assert!(tables.iter().all(|&tables| tables * 10 <= opened.waiting * 4), "{tables:?}");
        assert!(fill.is_complete() && opened.filled_each(1));
        opened.check();
    }
}

/// The part of [`Opened`] that threads may share.
struct SharedOnly<'a>(&'a SharedMemory, &'a Plan);

impl SharedOnly<'_> {
    fn work(&self, fill: &Fill, share: Share) -> u64 {
        let layout = self.1.layout();
        fill.work(&replacement(&layout, self.0, self.0), &FakeCpu::default(), share, &mut 0)
    }
}

#[test]
fn a_late_look_finds_nothing_and_disturbs_nothing() {
    let opened = Opened::new(ram(0, 64 << 20));
    let layout = opened.world.plan.layout();
    let fill = Fill::new();
    let cpu = FakeCpu::default();
    let mut late = 0;
    // Before there was any, when it is done, and when it is closed.
    assert_eq!(opened.work(&fill, &cpu, Share::Everything, &mut late), 0);
    fill.open(&layout, &cpu, 4);
    opened.work(&fill, &cpu, Share::Everything, &mut 0);
    for _ in 0..100 {
        assert_eq!(opened.work(&fill, &cpu, Share::Everything, &mut late), 0);
    }
    fill.close();
    assert_eq!(opened.work(&fill, &cpu, Share::Everything, &mut late), 0);
    assert_eq!(late, 0);
    // The next filling is whole all the same.
    fill.open(&layout, &cpu, 4);
    assert!(fill.is_open() && !fill.is_complete());
    let tables: u64 = (0..4).map(|_| opened.work(&fill, &cpu, Share::Fair, &mut 0)).sum();
    assert_eq!(tables, opened.waiting);
    assert!(fill.is_complete() && opened.filled_each(2));
}

#[test]
fn a_filling_that_was_closed_half_way_can_be_opened_again() {
    let opened = Opened::new(ram(0, 64 << 20));
    let layout = opened.world.plan.layout();
    let fill = Fill::new();
    let cpu = FakeCpu::default();
    fill.open(&layout, &cpu, 4);
    assert!(opened.work(&fill, &cpu, Share::Fair, &mut 0) < opened.waiting);
    fill.close();
    assert!(!fill.is_open() && !fill.is_complete());
    fill.open(&layout, &cpu, 1);
    assert_eq!(opened.work(&fill, &cpu, Share::Fair, &mut 0), opened.waiting);
    assert!(fill.is_complete());
    opened.check();
}

#[test]
fn a_filling_of_nothing_is_complete_at_once() {
    let fill = Fill::new();
    fill.open(&Plan::k4(&[], PhysRange::default()).layout(), &FakeCpu::default(), 4);
    assert!(fill.is_complete() && !fill.is_open());
}

/// Regions smaller than a chunk, several in one chunk, and one that only touches the next.
#[test]
fn regions_that_share_a_chunk_are_filled_once() {
    let block = 0x20_0000;
    let regions = [
        range(0, block),
        range(2 * block, 3 * block),
        range(3 * block, 4 * block + 0x1000),
        range(5 * block, 6 * block),
        range(7 * block, 9 * block),
        range(0x80_0000_0000, 0x80_0000_0000 + block),
    ];
    let opened = Opened::new(Plan::k4(&regions, PhysRange::default()));
    assert_eq!(opened.waiting, 1 + 1 + 1 + 1 + 2 + 1);
    let fill = Fill::new();
    let cpu = FakeCpu::default();
    fill.open(&opened.world.plan.layout(), &cpu, 3);
    let tables: u64 = (0..3).map(|_| opened.work(&fill, &cpu, Share::Fair, &mut 0)).sum();
    assert_eq!(tables, opened.waiting);
    assert!(fill.is_complete() && opened.filled_each(1));
    opened.check();
}

/// Runs `stalled` in the middle of the first run of stores.
pub(super) struct Stalling<'a, F: Fn()> {
    pub(super) memory: &'a SharedMemory,
    pub(super) stalled: std::cell::Cell<Option<F>>,
}
impl<F: Fn()> TableMemory for Stalling<'_, F> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.memory.load(slot)
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.memory.store(slot, value);
    }
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        self.memory.store_run(first, value, stride, count);
        if let Some(stalled) = self.stalled.take() {
            stalled();
        }
    }
}

/// A CPU that stalls in the middle of a chunk while the filling is closed and another is opened: what it does in the
/// end counts for the filling it belonged to, or the next one would be called complete a chunk too early.
#[test]
fn a_chunk_finished_too_late_does_not_count_for_the_next_filling() {
    let opened = Opened::new(ram(0, 64 << 20));
    let layout = opened.world.plan.layout();
    let fill = Fill::new();
    let cpu = FakeCpu::default();
    let again = || {
        fill.close();
        fill.open(&layout, &cpu, 4);
        assert!(opened.work(&fill, &cpu, Share::Fair, &mut 0) < opened.waiting);
        assert!(!fill.is_complete());
    };
    fill.open(&layout, &cpu, 4);
    let stalling = Stalling { memory: &opened.shared, stalled: std::cell::Cell::new(Some(again)) };
    let map = replacement(&layout, &stalling, &stalling);
    // Its share of the first filling, and what it may have of the second.
    fill.work(&map, &cpu, Share::Fair, &mut 0);
    assert!(!fill.is_complete(), "a chunk of the first filling was counted");
    opened.work(&fill, &cpu, Share::Everything, &mut 0);
    assert!(fill.is_complete());
    opened.check();
}

/// A filler says a chunk is done only when walkers see what it stored.
#[test]
fn every_chunk_ends_with_a_barrier() {
    let mut world = World::painted(Plan::k4(&[range(0, 0x480_0000)], PhysRange::default()), LargestLeaf::Block);
    let plan = world.plan.clone();
    let layout = plan.layout();
    let needed = world.stats.tables_to_split(plan.geometry) + world.stats.tables;
    let mut pool = Pool::reserve(&world.memory, &mut world.frames, needed).unwrap();
    UpperTables::build(&replacement(&layout, &world.memory, &world.memory), &mut pool);
    let fill = Fill::new();
    fill.open(&layout, &world.cpu, 1);
    // The upper levels are visible to walkers before any CPU may claim a chunk.
    assert_eq!(world.cpu.take(), [Event::DsbIshst]);
    let (memory, roots) = (tables(&world.memory).logged(&world.cpu), roots(&world.memory).logged(&world.cpu));
    let map = replacement(&layout, memory, roots);
    let mut mine = 0;
    assert_eq!(fill.work(&map, &world.cpu, Share::Everything, &mut mine), 36);
    let events = world.cpu.take();
    assert_eq!(events.iter().filter(|&&event| event == Event::DsbIshst).count() as u64, mine);
    let chunks: Vec<_> = events.split(|event| *event == Event::DsbIshst).collect();
    let (last, chunks) = chunks.split_last().unwrap();
    assert!(last.is_empty(), "stores behind the last barrier");
    assert!(mine > 1 && chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() % 512 == 0));
    let stores = chunks.concat();
    assert_eq!(stores.len(), 36 * 512);
    assert!(stores.iter().all(|event| matches!(event, Event::Store(..))));
}
