// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filling the tables of a replacement: each is filled by one CPU, and all of it is seen by the leader before it links them.

use crate::atomics::Loom;
use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::model::{Bound, Model};
use cleave::linear_map::{Fill, LargestLeaf, Layout, Pool, ReplacementMap, Share, UpperTables, paint};
use cleave::tables::{Attributes, Cpu, Descriptor, FrameSource, Geometry, PhysAddr, PhysRange, TableMemory, VirtAddr};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::{self, yield_now};

/// Two chunks of 16 MiB, a block or a few of each.
const REGIONS: [PhysRange; 2] = [
    PhysRange::new(PhysAddr(0x20_0000), PhysAddr(0x40_0000)),
    PhysRange::new(PhysAddr(0x100_0000), PhysAddr(0x120_0000)),
];
const LIVE: PhysAddr = PhysAddr(0x1_0000_0000);
const REPLACEMENT: PhysAddr = PhysAddr(0x1_0000_1000);
const FRAMES: PhysAddr = PhysAddr(0x1_0001_0000);

/// The tables above the pages, which are the same throughout, and a cell for each table of pages.
struct Tables {
    words: Mutex<BTreeMap<u64, u64>>,
    pages: BTreeMap<u64, UnsafeCell<u32>>,
}

// SAFETY: loom checks each access of the cells; finding two at a time is what it is there for.
#[allow(unsafe_code, reason = "the cells are what the models watch")]
unsafe impl Sync for Tables {}

impl Tables {
    fn new() -> Self {
        Self { words: Mutex::new(BTreeMap::new()), pages: BTreeMap::new() }
    }
}

/// A view of them.
#[derive(Clone, Copy)]
struct View<'a>(&'a Tables);

impl TableMemory for View<'_> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        Descriptor(self.0.words.lock().unwrap().get(&slot.0).copied().unwrap_or(0))
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.0.words.lock().unwrap().insert(slot.0, value.0);
    }
    #[allow(unsafe_code, reason = "the cells are what the models watch")]
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        match self.0.pages.get(&first.0) {
            // SAFETY: loom panics when another thread accesses the cell at the same time.
            Some(table) => table.with_mut(|filled| unsafe { *filled += 1 }),
            None => (0..count).for_each(|index| {
                self.store(
                    PhysAddr(first.0 + 8 * index as u64),
                    Descriptor(value.0.wrapping_add(stride * index as u64)),
                );
            }),
        }
    }
}

struct Frames(u64);

impl FrameSource for Frames {
    fn available(&self) -> u64 {
        100 - self.0
    }
    fn allocate(&mut self) -> Option<PhysAddr> {
        self.0 += 1;
        Some(FRAMES.offset(self.0 * 0x1000))
    }
    fn owns(&self, frame: PhysAddr) -> bool {
        frame > FRAMES && frame <= FRAMES.offset(self.0 * 0x1000)
    }
    fn free(&mut self, frame: PhysAddr) {
        unreachable!("{frame} given back");
    }
}

/// Barriers and invalidations are nothing to loom.
struct Quiet;

impl Cpu for Quiet {
    fn dsb_ishst(&self) {}
    fn dsb_ish(&self) {}
    fn dsb_nsh(&self) {}
    fn isb(&self) {}
    fn tlbi_vmalle1is(&self) {}
    fn tlbi_vmalle1(&self) {}
    fn repeat_tlbi_workaround(&self) {}
    fn set_ttbr0(&self, _root: PhysAddr) {}
}

fn replacement<'a>(layout: &'a Layout<'_>, view: View<'a>) -> ReplacementMap<'a, View<'a>, View<'a>> {
    ReplacementMap { layout, memory: view, roots: view, live: LIVE, replacement: REPLACEMENT }
}

struct World {
    layout: Layout<'static>,
    tables: Tables,
    fill: Fill<Loom>,
}

impl World {
    /// A painted map and the upper of its replacement.
    fn new() -> Self {
        let (base, none) = (VirtAddr(0xffff_0000_0000_0000), PhysRange::default());
        let layout = Layout::new(Geometry::K4_V48, base, 1 << 40, &REGIONS, none, Attributes::NORMAL).unwrap();
        let mut tables = Tables::new();
        let mut frames = Frames(0);
        let view = View(&tables);
        let stats = paint(&layout, LargestLeaf::Block, &view, &Quiet, &mut frames, LIVE).unwrap();
        let needed = stats.tables_to_split(Geometry::K4_V48) + stats.tables;
        let mut pool = Pool::reserve(&view, &mut frames, needed).unwrap();
        let first = frames.0 - needed + 1;
        UpperTables::build(&replacement(&layout, view), &mut pool);
        // The last two that were taken are those of the pages, wherever they are: those that nothing was copied to.
        let filled = |table: u64| tables.words.lock().unwrap().range(table..table + 0x1000).nth(1).is_some();
        let all = (first..=frames.0).map(|frame| FRAMES.0 + frame * 0x1000);
        let pages: Vec<u64> = all.filter(|&table| !filled(table)).collect();
        assert_eq!(pages.len(), 2, "two blocks are two tables of pages");
        tables.pages = pages.into_iter().map(|table| (table, UnsafeCell::new(0))).collect();
        Self { layout, tables, fill: Fill::default() }
    }

    fn work(&self, share: Share, mine: &mut u64) -> u64 {
        self.fill.work(&replacement(&self.layout, View(&self.tables)), &Quiet, share, mine)
    }

    /// Opens, helps, waits: what the leader of a repaint does. Returns false when it gives up.
    fn lead(&self, cpus: u64) -> bool {
        self.fill.open(&self.layout, &Quiet, cpus);
        let mut mine = 0;
        self.work(Share::Fair, &mut mine);
        self.work(Share::Everything, &mut mine);
        let complete = soon(|| self.fill.is_complete());
        if complete {
            self.fill.close();
        }
        complete
    }

    /// Returns the number of times that each table was filled.
    #[allow(unsafe_code, reason = "the cells are what the models watch")]
    fn filled(&self) -> Vec<u32> {
        // SAFETY: loom panics when another thread writes at the same time.
        self.tables.pages.values().map(|table| table.with(|filled| unsafe { *filled })).collect()
    }

    fn help(&self) {
        if self.fill.is_open() {
            self.work(Share::Fair, &mut 0);
        }
    }
}

/// Looks a few times. Without a bound a load that orders nothing could find an old value for ever, and the model would fail
/// by going round, not by what it looks for.
fn soon(done: impl Fn() -> bool) -> bool {
    (0..4).any(|_| {
        let done = done();
        if !done {
            yield_now();
        }
        done
    })
}

pub(crate) const ONCE: Model = Model { name: "filling", bound: Bound::None, scenario: once };

fn once() {
    let world = Arc::new(World::new());
    let helper = {
        let world = world.clone();
        thread::spawn(move || world.help())
    };
    if world.lead(2) {
        assert_eq!(world.filled(), [1, 1]);
    }
    helper.join().unwrap();
}

#[test]
fn every_table_is_filled_once_and_seen_by_the_leader() {
    ONCE.check();
}

pub(crate) const TWICE: Model = Model { name: "two fillings", bound: Bound::Preemptions(1), scenario: twice };

fn twice() {
    let world = Arc::new(World::new());
    let helper = {
        let world = world.clone();
        thread::spawn(move || {
            world.help();
            world.help();
        })
    };
    if world.lead(2) {
        assert_eq!(world.filled(), [1, 1]);
        if world.lead(2) {
            assert_eq!(world.filled(), [2, 2]);
        }
    }
    helper.join().unwrap();
}

/// A CPU that looks late, in an earlier filling or in the next, disturbs neither.
#[test]
fn a_second_filling_is_as_good_as_the_first() {
    TWICE.check();
}

pub(crate) const LEFT_BEHIND: Model =
    Model { name: "a filling that is given up", bound: Bound::Preemptions(2), scenario: left_behind };

fn left_behind() {
    let world = Arc::new(World::new());
    let helper = {
        let world = world.clone();
        thread::spawn(move || world.help())
    };
    world.fill.open(&world.layout, &Quiet, 2);
    world.work(Share::Everything, &mut 0);
    world.fill.close();
    // It is given up at once, and its tables are free again when no CPU writes to them any more.
    if soon(|| world.fill.is_idle()) {
        assert_eq!(world.filled(), [1, 1]);
    }
    helper.join().unwrap();
}

#[test]
fn a_filling_is_idle_when_no_cpu_writes_to_its_tables() {
    LEFT_BEHIND.check();
}

fn three_fillers() {
    let world = Arc::new(World::new());
    let helpers = [(); 2].map(|()| {
        let world = world.clone();
        thread::spawn(move || world.help())
    });
    if world.lead(3) {
        assert_eq!(world.filled(), [1, 1]);
    }
    helpers.into_iter().for_each(|helper| helper.join().unwrap());
}

#[test]
fn three_cpus_fill_together() {
    Model { name: "filling, three CPUs", bound: Bound::Preemptions(1), scenario: three_fillers }.check();
}
