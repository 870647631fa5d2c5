// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of a map in use: what each page becomes, in either way, and that everything comes back.

use std::sync::Mutex;

use proptest::prelude::*;

use super::plan::{Plan, cases, plans, range};
use super::world::*;
use crate::aarch64::BbmLevel;
use crate::linear_map::{
    Busy, Change, ChangeError, Changed, Form, Kernel, LargestLeaf, LinearMap, MapCounts, MapLockGuard, OutOfMemory,
    Outcome, Roots, Switch,
};
use crate::rendezvous::{Host, Leader, OnlineCpus, Parked, Refused, Rendezvous, Slot};
use crate::tables::fake::{Event, FakeCpu, FakeFrames, FakeMemory, View};
use crate::tables::{
    Descriptor, FrameSource, Granule, Hint, Level, MapStats, PhysAddr, PhysRange, Scope, TableMemory, TableTree,
    TlbiLevels, TlbiRange, TlbiRepeat, VirtAddr, slot,
};

/// A kernel with one CPU of a FEAT_BBM level, and memory that it needs as it is.
struct OneCpu<'a> {
    memory: &'a FakeMemory,
    frames: &'a mut FakeFrames,
    cpu: FakeCpu,
    level: BbmLevel,
    range_tlbi: bool,
    in_use: PhysRange,
    may_allocate: bool,
}

impl<'a> Kernel for OneCpu<'a> {
    type Memory = View<'a>;
    type Roots = View<'a>;
    type Temporary = View<'a>;
    type Cpu = FakeCpu;
    type Stopped = FakeCpu;
    type Frames = FakeFrames;

    fn memory(&self) -> View<'a> {
        tables(self.memory)
    }
    fn roots(&self) -> View<'a> {
        roots(self.memory)
    }
    fn temporary(&self) -> View<'a> {
        tables(self.memory)
    }
    fn cpu(&self) -> FakeCpu {
        self.cpu.clone()
    }
    fn with_frames<T>(&mut self, work: impl FnOnce(&mut FakeFrames) -> T) -> T {
        work(self.frames)
    }
    fn bbm_level(&self) -> BbmLevel {
        self.level
    }
    fn may_allocate(&self) -> bool {
        self.may_allocate
    }
    fn is_in_use(&self, range: PhysRange) -> bool {
        self.in_use.overlaps(range)
    }
    fn repeat(&self) -> TlbiRepeat {
        TlbiRepeat::Once
    }
    fn has_range_tlbi(&self) -> bool {
        self.range_tlbi
    }
    fn before_stop(&mut self, _attempt: u32) -> u64 {
        1
    }
    fn stopped(&mut self, _parked: &Parked<'_>) -> FakeCpu {
        self.cpu.clone()
    }
    fn refused(&mut self, _attempt: u32, refused: &Refused) {
        assert_eq!(*refused, Refused::InterruptsMasked);
    }
}

/// Permissions and validity of every page of a plan's memory, by the changes alone.
struct Pages(Vec<(PhysRange, Vec<Page>)>);

/// The state of a page: writable, and valid.
type Page = (bool, bool);

impl Pages {
    fn of(plan: &Plan) -> Self {
        let page = plan.geometry.page_size();
        let pieces = plan.pieces().into_iter();
        // Writable and valid; the alias is not writable.
        Self(pieces.map(|(piece, alias)| (piece, vec![(!alias, true); (piece.bytes() / page) as usize])).collect())
    }

    fn change(&mut self, change: Change, ranges: &[PhysRange], page: u64) {
        for (piece, pages) in &mut self.0 {
            for part in ranges.iter().map(|range| range.intersection(*piece)).filter(|part| !part.is_empty()) {
                let index = |at: PhysAddr| ((at.0 - piece.start.0) / page) as usize;
                for (writable, valid) in &mut pages[index(part.start)..index(part.end)] {
                    match change {
                        Change::ReadOnly => *writable = false,
                        Change::ReadWrite => *writable = true,
                        Change::Unmap => *valid = false,
                        Change::Map => *valid = true,
                        Change::Split(_) | Change::Collapse | Change::Scope(_) => {}
                    }
                }
            }
        }
    }

    /// Checks that the leaves of `world` map each page as it should be, and that contiguous groups are whole and equal.
    fn check(&self, plan: &Plan, leaves: &[Leaf]) {
        let page = plan.geometry.page_size();
        let mut leaves_left = leaves.iter().peekable();
        let mut group: Vec<&Leaf> = Vec::new();
        for (piece, pages) in &self.0 {
            let mut at = piece.start.0;
            while at < piece.end.0 {
                let leaf = leaves_left.next().expect("memory that is not mapped");
                assert_eq!((leaf.output, leaf.address), (at, plan.base.0.wrapping_add(at)));
                for offset in 0..leaf.bytes / page {
                    let expected = pages[((at - piece.start.0) / page + offset) as usize];
                    let found = (leaf.descriptor.is_writable(), leaf.descriptor.is_valid());
                    assert_eq!(found, expected, "page {offset} of the leaf at {at:#x}");
                }
                assert!(!leaf.descriptor.is_marked(), "the leaf at {at:#x} keeps the mark of its group");
                if leaf.descriptor.is_contiguous() {
                    group.push(leaf);
                    let count = plan.geometry.contiguous(leaf.level).unwrap();
                    assert!(group[0].output.is_multiple_of(leaf.bytes * count as u64), "a group at {at:#x}");
                    assert_eq!(group[0].descriptor.attributes(), leaf.descriptor.attributes(), "a group at {at:#x}");
                    assert_eq!(group[0].descriptor.is_valid(), leaf.descriptor.is_valid(), "a group at {at:#x}");
                    if group.len() == count {
                        group.clear();
                    }
                } else {
                    assert!(group.is_empty(), "part of a group before {at:#x}");
                }
                at += leaf.bytes;
            }
            assert_eq!(at, piece.end.0, "a leaf reaches over the end of its piece");
        }
        assert!(group.is_empty() && leaves_left.next().is_none(), "more than there should be");
    }
}

/// Makes a change.
type Make<'a> = dyn FnMut(Change, &[PhysRange]) -> Result<Changed, ChangeError> + 'a;

/// A map with a machine of one CPU around it.
struct Machine {
    world: World,
    level: BbmLevel,
    range_tlbi: bool,
    in_use: PhysRange,
    may_allocate: bool,
}

impl Machine {
    fn new(plan: Plan, level: BbmLevel) -> Self {
        let world = World::painted(plan, LargestLeaf::Block);
        for table in [REPLACEMENT, SAVE] {
            world.memory.zero_table(table, world.plan.geometry.entries(world.plan.geometry.root_level()));
        }
        Self { world, level, range_tlbi: false, in_use: PhysRange::default(), may_allocate: true }
    }

    /// Gives `work` a way to make changes on a CPU that waits as `host` does. Returns the counts after them.
    fn run(&mut self, host: &impl Host, work: impl FnOnce(&mut Make<'_>)) -> MapCounts {
        self.with_map(host, |map, kernel, leader| {
            work(&mut |change, ranges| map.change(&mut map.try_lock().unwrap(), kernel, leader, change, ranges));
        })
    }

    /// Gives `work` the map and its one CPU, which waits as `host` does. Returns the counts after it.
    fn with_map<H: Host>(
        &mut self,
        host: &H,
        work: impl FnOnce(&LinearMap<'_>, &mut OneCpu<'_>, &Leader<'_, H>),
    ) -> MapCounts {
        let World { plan, memory, cpu, frames, stats } = &mut self.world;
        let map_roots = Roots { live: LIVE, replacement: REPLACEMENT, spare: SAVE, empty: NOTHING };
        let map = LinearMap::new(plan.layout(), map_roots, stats);
        let (rendezvous, slot): (Rendezvous, Slot) = Default::default();
        // SAFETY: there is one CPU, and this is its slot.
        #[allow(unsafe_code, reason = "the one CPU is counted")]
        let online = unsafe { OnlineCpus::of([&slot]) };
        let leader = Leader { rendezvous: &rendezvous, host, slot: &slot, online: &online };
        let Self { level, range_tlbi, in_use, may_allocate, .. } = *self;
        work(&map, &mut OneCpu { memory, frames, cpu: cpu.clone(), level, range_tlbi, in_use, may_allocate }, &leader);
        let counts = map.counts();
        let (splits, collapses) = (|level| counts.changes.splits(level), |level| counts.changes.collapses(level));
        let [made, gone] = [splits(Level::L1) + splits(Level::L2), collapses(Level::L1) + collapses(Level::L2)];
        assert_eq!(stats.tables + made, counts.stats.tables + gone, "{counts:?}");
        *stats = counts.stats;
        counts
    }

    fn change(&mut self, change: Change, ranges: &[PhysRange]) -> Result<Changed, ChangeError> {
        let mut done = None;
        self.run(&Alone, |make| done = Some(make(change, ranges)));
        done.unwrap()
    }

    /// Makes a change, and returns the TLBIs of it.
    fn tlbis(&mut self, change: Change, ranges: &[PhysRange]) -> Vec<Event> {
        self.world.cpu.take();
        self.change(change, ranges).unwrap();
        let barriers = [Event::DsbIshst, Event::DsbIsh, Event::Isb];
        self.world.cpu.take().into_iter().filter(|event| !barriers.contains(event)).collect()
    }

    /// Checks what every change keeps: counts, frames, and roots that are empty outside a change.
    fn check(&self) {
        let World { plan, memory, frames, stats, .. } = &self.world;
        assert_eq!(self.world.recount(), *stats);
        assert_eq!(linked_tables(&self.world, LIVE), frames.out);
        for entry in plan.layout().root_entries() {
            assert_eq!([REPLACEMENT, SAVE].map(|root| memory.load(slot(root, entry)).0), [0, 0]);
        }
    }

    /// Every leaf of the map: its address and its descriptor.
    fn leaves(&self) -> Vec<(u64, Descriptor)> {
        self.world.leaves(LIVE).iter().map(|leaf| (leaf.address, leaf.descriptor)).collect()
    }

    /// All memory but the alias.
    fn memory(&self) -> Vec<PhysRange> {
        let pieces = self.world.plan.pieces().into_iter();
        pieces.filter(|(piece, alias)| !alias && !piece.is_empty()).map(|(piece, _)| piece).collect()
    }
}

/// A change of a random part of memory.
fn changes() -> impl Strategy<Value = (Change, Vec<(prop::sample::Index, u64, u64)>)> {
    let change = prop_oneof![
        3 => Just(Change::ReadOnly),
        3 => Just(Change::ReadWrite),
        3 => Just(Change::Unmap),
        3 => Just(Change::Map),
        1 => prop_oneof![Just(Level::L1), Just(Level::L2), Just(Level::L3)].prop_map(Change::Split),
        2 => Just(Change::Collapse),
    ];
    (change, prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<u64>()), 1..4))
}

/// Picks ranges of `memory`: single pages, whole leaves and groups, and anything between, sorted and apart.
fn pick(memory: &[PhysRange], plan: &Plan, wanted: &[(prop::sample::Index, u64, u64)]) -> Vec<PhysRange> {
    let page = plan.geometry.page_size();
    let mut ranges: Vec<PhysRange> = Vec::new();
    for (index, from, count) in wanted {
        let piece = memory[index.index(memory.len())];
        let unit = match from % 4 {
            0 => plan.geometry.size(Level::L2),
            1 => page * plan.geometry.contiguous(Level::L3).unwrap() as u64,
            _ => page,
        };
        let start = (piece.start.0 + from / 4 % piece.bytes()) / unit * unit;
        let bytes = (count / 4 % 5 + 1) * if count % 4 == 0 { page } else { unit };
        let found = range(start, start + bytes).intersection(piece);
        if !found.is_empty() && ranges.iter().all(|other| !other.overlaps(found)) {
            ranges.push(found);
        }
    }
    ranges.sort_by_key(|range| range.start);
    ranges
}

proptest! {
    #![proptest_config(cases(200))]

    /// Random changes on CPUs of any level: each page is as the changes say, counts and frames are exact, and once
    /// everything is undone and collapsed the map has the leaves that it began with and not a table more.
    #[test]
    fn changes_do_what_they_say_and_leave_no_trace(
        plan in plans(0),
        level in prop_oneof![Just(BbmLevel::Zero), Just(BbmLevel::Two)],
        wanted in prop::collection::vec(changes(), 1..7),
    ) {
        let mut machine = Machine::new(plan.clone(), level);
        let memory = machine.memory();
        prop_assume!(!memory.is_empty());
        let before = machine.leaves();
        let mut pages = Pages::of(&plan);
        for (change, ranges) in &wanted {
            let ranges = pick(&memory, &plan, ranges);
            let free = machine.world.frames.available();
            let changed = machine.change(*change, &ranges).unwrap();
            pages.change(*change, &ranges, plan.geometry.page_size());
            pages.check(&plan, &machine.world.leaves(LIVE));
            machine.check();
            prop_assert_eq!(changed.frame_counts.surplus, 0);
            let counts = changed.frame_counts;
            prop_assert_eq!(machine.world.frames.available() + counts.used, free + counts.returned);
            if level == BbmLevel::Two {
                prop_assert_ne!(changed.switch, Switch::Stop);
            }
            if let Change::Split(to) = *change {
                let is_in = |leaf: &Leaf| ranges.iter().any(|range| range.contains(PhysAddr(leaf.output)));
                let smaller = |leaf: &Leaf| leaf.level > to || leaf.level == to && !leaf.descriptor.is_contiguous();
                prop_assert!(machine.world.leaves(LIVE).iter().filter(|leaf| is_in(leaf)).all(smaller));
            }
        }
        for undo in [Change::Map, Change::ReadWrite, Change::Collapse] {
            machine.change(undo, &memory).unwrap();
            machine.check();
        }
        prop_assert_eq!(machine.leaves(), before);
    }
}

/// One region of memory from address 1G on, without an alias.
fn ram(bytes: u64) -> Plan {
    Plan::k4(&[range(1 << 30, (1 << 30) + bytes)], PhysRange::default())
}

/// The page `number` of such a region.
fn page(number: u64) -> PhysRange {
    range((1 << 30) + number * 0x1000, (1 << 30) + (number + 1) * 0x1000)
}

/// A page of a block costs the tables of its edge alone: one below a 2M block, two below a 1G block. Where the CPUs must stop,
/// the tables on the way are copied besides, and the old ones come back.
#[test]
fn one_page_costs_one_table_for_each_level_below_its_block() {
    for (bytes, split, on_the_way) in [(64 << 20, 1, 2), (1 << 30, 2, 1)] {
        for (level, switch) in [(BbmLevel::Zero, Switch::Stop), (BbmLevel::Two, Switch::InPlace)] {
            let mut machine = Machine::new(ram(bytes), level);
            let changed = machine.change(Change::ReadOnly, &[page(5)]).unwrap();
            let copies = if switch == Switch::Stop { on_the_way } else { 0 };
            assert_eq!(changed.switch, switch);
            assert_eq!((changed.frame_counts.used, changed.frame_counts.returned), (split + copies, copies));
            machine.check();
            // The page is a leaf of its own now, so the way back stops no CPU and takes no frame.
            let changed = machine.change(Change::ReadWrite, &[page(5)]).unwrap();
            assert_eq!((changed.switch, changed.frame_counts.needed), (Switch::InPlace, 0));
            // What is so already takes nothing at all.
            assert_eq!(machine.change(Change::ReadWrite, &[page(5)]).unwrap().switch, Switch::Nothing);
            machine.check();
        }
    }
}

/// Blocks that a change covers whole stay blocks, at either end of its range: they cost the one table of the block above them.
#[test]
fn whole_blocks_at_the_edges_of_a_range_do_not_split() {
    for (level, copies) in [(BbmLevel::Zero, 1), (BbmLevel::Two, 0)] {
        let mut machine = Machine::new(ram(1 << 30), level);
        let blocks = range((1 << 30) + (2 << 20), (1 << 30) + (6 << 20));
        for (change, used) in [(Change::ReadOnly, 1 + copies), (Change::Unmap, 0)] {
            assert_eq!(machine.change(change, &[blocks]).unwrap().frame_counts.used, used, "{change:?} on {level:?}");
            machine.check();
        }
    }
}

/// The leaves are the same by either switch, contiguous groups at the edges included: fails when a group of a new table that
/// the change covers whole is not joined in place.
#[test]
fn both_switches_leave_the_same_leaves() {
    let pages = |first: u64, count: u64| range(page(first).start.0, page(first + count).start.0);
    for changed in [page(5), pages(16, 16), pages(16, 40), pages(500, 20), pages(0, 512), pages(256, 5000)] {
        let [stopped, in_place] = [BbmLevel::Zero, BbmLevel::Two].map(|level| {
            let mut machine = Machine::new(ram(1 << 30), level);
            machine.change(Change::Unmap, &[changed]).unwrap();
            machine.check();
            machine.leaves()
        });
        assert!(stopped == in_place, "{changed}");
    }
}

/// A change in place invalidates the addresses that changed, by range where the CPUs can, and everything where that takes too
/// many TLBIs. Fails when an address is left out or one too many is named, or when a table's entry stays.
#[test]
fn only_the_addresses_that_changed_are_invalidated() {
    use TlbiLevels::{All, Last};
    let pages = |first: u64, count: u64| range(page(first).start.0, page(first + count).start.0);
    let (plan, everything) = (ram(64 << 20), vec![Event::Vmalle1Is]);
    let at = |number: u64| VirtAddr(plan.base.0 + page(number).start.0);
    let address = |number: u64, levels| Event::TlbiAddress(at(number), levels);
    let by_range = |first: u64, number, scale, levels| {
        Event::TlbiRange(TlbiRange { start: at(first), granule: Granule::K4, number, scale }, levels)
    };
    for range_tlbi in [false, true] {
        let mut machine = Machine { range_tlbi, ..Machine::new(plan.clone(), BbmLevel::Two) };
        let all = machine.memory();
        // A live split names one address of the block, the leaves one each. Blocks are in groups of 16 here.
        let group: Vec<_> = (0..16).map(|block| address(block * 512, Last)).collect();
        let loosened = if range_tlbi { vec![by_range(0, 3, 2, Last)] } else { group };
        let split = machine.tlbis(Change::ReadOnly, &[page(5)]);
        assert_eq!(split, [&loosened[..], &[address(0, All), address(5, Last)]].concat());
        assert_eq!(machine.tlbis(Change::Unmap, &[page(5)]), [address(5, Last)]);
        // Nothing caches what was invalid.
        assert_eq!(machine.tlbis(Change::Map, &[page(5)]), []);
        assert_eq!(machine.tlbis(Change::ReadWrite, &[page(5)]), [address(5, Last)]);
        // A table that becomes a block is named by each page of it; the group is joined by its members.
        let joined = [if range_tlbi { vec![by_range(0, 7, 1, All)] } else { everything.clone() }, loosened].concat();
        assert_eq!(machine.tlbis(Change::Collapse, &all), joined);

        machine.change(Change::Split(Level::L3), &all).unwrap();
        let apart: Vec<_> = (0..16).map(|number| page(2 * number)).collect();
        let each: Vec<_> = (0..16).map(|number| address(2 * number, Last)).collect();
        assert_eq!(machine.tlbis(Change::Unmap, &apart), each);
        let apart: Vec<_> = (0..17).map(|number| page(64 + 2 * number)).collect();
        assert_eq!(machine.tlbis(Change::Unmap, &apart), everything, "in too many pieces");
        let most: Vec<_> = (512..576).map(|number| address(number, Last)).collect();
        let most = if range_tlbi { vec![by_range(512, 0, 1, Last)] } else { most };
        assert_eq!(machine.tlbis(Change::Unmap, &[pages(512, 64)]), most);
        let odd = if range_tlbi { vec![address(600, Last), by_range(601, 0, 1, Last)] } else { everything.clone() };
        assert_eq!(machine.tlbis(Change::Unmap, &[pages(600, 65)]), odd);
        machine.check();
    }
}

/// Pages that are ranges of their own become leaves of their own, in one change, whole groups and blocks of them included, so
/// that each changes in place afterwards on a CPU of any level. Fails when ranges that touch are looked at as one.
#[test]
fn pages_that_are_ranges_of_their_own_become_leaves_of_their_own() {
    for (level, switch) in [(BbmLevel::Zero, Switch::Stop), (BbmLevel::Two, Switch::InPlace)] {
        let mut machine = Machine::new(ram(64 << 20), level);
        let before = machine.leaves();
        // From the middle of a block over a whole block into a third one.
        let pages: Vec<PhysRange> = (0x1f3..0x40b).map(page).collect();
        assert_eq!(machine.change(Change::Unmap, &pages).unwrap().switch, switch);
        machine.check();
        let is_in = |leaf: &Leaf| pages.iter().any(|page| page.contains(PhysAddr(leaf.output)));
        let leaves: Vec<_> = machine.world.leaves(LIVE).into_iter().filter(is_in).collect();
        assert_eq!(leaves.len(), pages.len());
        assert!(leaves.iter().all(|leaf| !leaf.descriptor.is_valid() && !leaf.descriptor.is_contiguous()));
        for change in [Change::Map, Change::Unmap] {
            let changed = machine.change(change, &[page(0x210)]).unwrap();
            assert_eq!((changed.switch, changed.frame_counts.needed), (Switch::InPlace, 0));
            machine.check();
        }
        let all = range(pages[0].start.0, pages[pages.len() - 1].end.0);
        assert_eq!(machine.change(Change::Map, &[all]).unwrap().switch, Switch::InPlace);
        machine.change(Change::Collapse, &[range(1 << 30, (1 << 30) + (32 << 20))]).unwrap();
        machine.check();
        assert!(machine.leaves() == before);
    }
}

/// The threads that churn, each with memory of its own.
const THREADS: u64 = 4;
/// The pages of each.
const PAGES: u64 = 0x1000;

/// A map that threads change, and its memory and frames, which only the holder of the map lock may touch.
struct Churn<'a> {
    map: LinearMap<'a>,
    plan: &'a Plan,
    level: BbmLevel,
    memory: Mutex<(FakeMemory, FakeFrames)>,
    painted: MapStats,
}

impl Churn<'_> {
    /// Makes `changes`, one after the other, as the one CPU of a rendezvous: the map lock alone keeps the threads apart.
    fn make(&self, changes: &[(Change, &[PhysRange])]) {
        let (rendezvous, slot): (Rendezvous, Slot) = Default::default();
        // SAFETY: there is one CPU in this rendezvous, and this is its slot.
        #[allow(unsafe_code, reason = "the one CPU is counted")]
        let online = unsafe { OnlineCpus::of([&slot]) };
        let leader = Leader { rendezvous: &rendezvous, host: &Alone, slot: &slot, online: &online };
        for (change, ranges) in changes {
            let mut held = self.lock();
            let mut memory = self.memory.try_lock().expect("two threads change the map");
            let (memory, frames) = &mut *memory;
            let (level, cpu, in_use) = (self.level, FakeCpu::default(), PhysRange::default());
            let mut kernel = OneCpu { memory, frames, cpu, level, range_tlbi: false, in_use, may_allocate: true };
            self.map.change(&mut held, &mut kernel, &leader, *change, ranges).unwrap();
        }
    }

    /// Waits for the map lock. A reader without it finds the counts of whole changes meanwhile.
    fn lock(&self) -> MapLockGuard<'_> {
        loop {
            let (counts, geometry) = (self.map.counts(), self.plan.geometry);
            let sizes = [1, 2, 3].map(|level| Level::ALL[level]);
            let of =
                |level| [Hint::Single, Hint::Contiguous].map(|hint| counts.stats.mapped_bytes(geometry, level, hint));
            let mapped: u64 = sizes.map(of).as_flattened().iter().sum();
            assert_eq!(mapped + counts.stats.unmapped_bytes(geometry), THREADS * PAGES * geometry.page_size());
            let sum = |count: &dyn Fn(Level) -> u64| sizes.into_iter().map(count).sum::<u64>();
            let [splits, collapses] =
                [sum(&|level| counts.changes.splits(level)), sum(&|level| counts.changes.collapses(level))];
            assert_eq!(self.painted.tables + splits, counts.stats.tables + collapses);
            match self.map.try_lock() {
                Ok(held) => return held,
                Err(Busy) => std::thread::yield_now(),
            }
        }
    }

    /// Compares the counts with a walk, under the lock.
    fn compare(&self) {
        let _held = self.lock();
        let memory = self.memory.try_lock().expect("two threads change the map");
        let tree = TableTree { memory: &memory.0, geometry: self.plan.geometry, root: LIVE };
        let layout = self.map.layout();
        let found = MapStats::of_tree(&tree, layout.root_base(), layout.root_entries(), layout.alias());
        assert_eq!(self.map.counts().stats, found);
    }
}

/// Twenty thousand changes from four threads at once, each undone and collapsed, end with the leaves and the frames of the
/// beginning: fails when anything ratchets, a table that is not freed or a group that is not joined again. Also fails when the
/// counts are not those of a walk under the lock, or when a reader without it finds half a change. `CHURN=N` makes N
/// changes: `make soak` a million.
#[test]
fn churn_ends_where_it_began() {
    use Change::{Collapse, Map, ReadOnly, ReadWrite, Unmap};
    let wanted: u64 = std::env::var("CHURN").map_or(20_000, |calls| calls.parse().expect("CHURN is a number"));
    for level in [BbmLevel::Zero, BbmLevel::Two] {
        let mut machine = Machine::new(ram(THREADS * PAGES * 0x1000), level);
        let (plan, all) = (machine.world.plan.clone(), machine.memory());
        let (before, painted, free) = (machine.leaves(), machine.world.stats, machine.world.frames.available());
        let map_roots = Roots { live: LIVE, replacement: REPLACEMENT, spare: SAVE, empty: NOTHING };
        let map = LinearMap::new(plan.layout(), map_roots, &painted);
        let World { memory, frames, .. } = machine.world;
        let churn = Churn { map, plan: &plan, level, memory: Mutex::new((memory, frames)), painted };
        let rounds = wanted / (2 * THREADS * 5);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let churn = &churn;
                scope.spawn(move || {
                    let own = [range(page(thread * PAGES).start.0, page((thread + 1) * PAGES).start.0)];
                    let mut lot = thread + 1;
                    for round in 0..rounds {
                        lot = lot.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                        let first = thread * PAGES + (lot >> 33) % (PAGES - 40);
                        let some = [range(page(first).start.0, page(first + (lot >> 20) % 40 + 1).start.0)];
                        let edits = [Unmap, ReadOnly, Map, ReadWrite].map(|change| (change, &some[..]));
                        churn.make(&edits);
                        churn.make(&[(Collapse, &own)]);
                        if round % 16 == 0 {
                            churn.compare();
                        }
                    }
                });
            }
        });
        // A contiguous group of blocks may lie in the memory of two threads.
        churn.make(&[(Collapse, &all)]);
        churn.compare();
        let Churn { map, memory, .. } = churn;
        let (memory, frames) = memory.into_inner().unwrap();
        machine.world =
            World { plan: plan.clone(), memory, cpu: FakeCpu::default(), frames, stats: map.counts().stats };
        machine.check();
        assert_eq!(machine.world.frames.available(), free);
        assert!(machine.leaves() == before);
    }
}

/// The counts of known changes, by either switch: fails when a split, a collapse, an unmapped leaf or a transaction is counted
/// once too often or too rarely.
#[test]
fn splits_collapses_and_unmapped_bytes_are_counted() {
    for level in [BbmLevel::Zero, BbmLevel::Two] {
        let mut machine = Machine::new(ram(1 << 30), level);
        let all = machine.memory();
        let page_in_second = page(3 * 512 + 7);
        let counts = machine.run(&Alone, |make| {
            // Both pages are in the one 1G block: it splits, and two of its 2M blocks.
            make(Change::Unmap, &[page(5), page_in_second]).unwrap();
            // Nothing to do, and no transaction.
            make(Change::Unmap, &[page(5)]).unwrap();
        });
        let of = |counts: &MapCounts| {
            let changes = counts.changes;
            let [splits, collapses] =
                [Level::L1, Level::L2].map(|level| (changes.splits(level), changes.collapses(level)));
            (splits, collapses, changes.transactions)
        };
        assert_eq!(of(&counts), ((1, 0), (2, 0), 1), "{level:?}");
        let geometry = machine.world.plan.geometry;
        assert_eq!(counts.stats.unmapped_bytes(geometry), 2 << 12);
        assert_eq!(counts.stats.mapped_bytes(geometry, Level::L3, Hint::Single), 30 << 12);
        assert_eq!(counts.stats.mapped_bytes(geometry, Level::L3, Hint::Contiguous), 992 << 12);
        assert_eq!(counts.stats.mapped_bytes(geometry, Level::L2, Hint::Contiguous), 496 << 21);
        assert_eq!(counts.stats.mapped_bytes(geometry, Level::L2, Hint::Single), 14 << 21);
        machine.check();
        let counts = machine.run(&Alone, |make| {
            make(Change::Map, &[page(5)]).unwrap();
            // One 2M block comes back; the other page is in the way of the 1G block.
            make(Change::Collapse, &all).unwrap();
            make(Change::Map, &[page_in_second]).unwrap();
            make(Change::Collapse, &all).unwrap();
        });
        assert_eq!(of(&counts), ((0, 1), (0, 2), 4), "{level:?}");
        assert_eq!(counts.stats.mapped_bytes(geometry, Level::L1, Hint::Single), 1 << 30);
        machine.check();
        // All the pages of a table are alike.
        let counts = machine.run(&Alone, |make| {
            make(Change::Split(Level::L3), &[range(1 << 30, (1 << 30) + (2 << 20))]).unwrap();
            make(Change::Collapse, &all).unwrap();
        });
        assert_eq!(of(&counts), ((1, 1), (1, 1), 2), "{level:?}");
        assert_eq!(counts.stats.mapped_bytes(geometry, Level::L1, Hint::Single), 1 << 30);
        machine.check();
    }
}

/// A change that takes tables is refused when the caller may take no frames, and one that takes none is made.
#[test]
fn a_caller_that_may_not_allocate_gets_no_tables() {
    for level in [BbmLevel::Zero, BbmLevel::Two] {
        let mut machine = Machine::new(ram(64 << 20), level);
        machine.change(Change::Split(Level::L3), &[page(5)]).unwrap();
        machine.may_allocate = false;
        let needed = if level == BbmLevel::Two { 1 } else { 3 };
        let refused = Err(ChangeError::WouldAllocate { needed });
        assert_eq!(machine.change(Change::Unmap, &[page(0x1000)]), refused);
        assert_eq!(machine.change(Change::Unmap, &[page(5)]).unwrap().switch, Switch::InPlace);
        machine.check();
    }
}

/// The repaint is one transaction, and counts each block that becomes a table: fails when it splits unmapped blocks into pages
/// that count as mapped.
#[test]
fn a_repaint_counts_its_splits() {
    for form in [Form::Ahead, Form::InWindow] {
        let mut machine = Machine::new(ram((2 << 30) + (6 << 20)), BbmLevel::Two);
        let block = range(2 << 30, (2 << 30) + (2 << 20));
        let counts = machine.with_map(&Alone, |map, kernel, leader| {
            map.change(&mut map.try_lock().unwrap(), kernel, leader, Change::Unmap, &[block]).unwrap();
            assert_eq!(map.repaint(kernel, leader, form).outcome, Outcome::Done);
        });
        let (changes, unmapped) = (counts.changes, counts.stats.unmapped_bytes(machine.world.plan.geometry));
        // The change has split one 1G block, of whose 2M blocks it unmaps the first.
        assert_eq!((changes.splits(Level::L1), changes.splits(Level::L2)), (2, 1024 + 3), "{form:?}");
        assert_eq!((changes.transactions, unmapped), (2, 2 << 20));
        machine.check();
    }
}

/// Every leaf of the map becomes one of an address space and global again, the alias and invalid leaves included, with every CPU
/// stopped on any level. Fails when a leaf is left out, or when sizes change.
#[test]
fn the_scope_of_the_whole_map_changes_and_comes_back() {
    for level in [BbmLevel::Zero, BbmLevel::Two] {
        let alias = range((1 << 30) + 0x20_0000, (1 << 30) + 0x30_0000);
        let mut machine = Machine::new(Plan { alias, ..ram(64 << 20) }, level);
        let all = machine.world.plan.regions.clone();
        machine.change(Change::Unmap, &[page(5)]).unwrap();
        let before = machine.leaves();
        for (scope, switch) in [(Scope::AddressSpace, Switch::Stop), (Scope::AddressSpace, Switch::Nothing)] {
            assert_eq!(machine.change(Change::Scope(scope), &all).unwrap().switch, switch);
            let is_as_before = |(now, before): (&(u64, Descriptor), &(u64, Descriptor))| {
                (now.0, now.1) == (before.0, before.1.with_scope(Scope::AddressSpace))
            };
            assert!(machine.leaves().iter().zip(&before).all(is_as_before));
            machine.check();
        }
        machine.change(Change::Scope(Scope::Global), &all).unwrap();
        assert!(machine.leaves() == before);
        machine.check();
    }
}

/// Each error leaves map, frames and counts as they were.
#[test]
fn a_change_that_cannot_be_made_changes_nothing() {
    let alias = range((1 << 30) + 0x20_0000, (1 << 30) + 0x30_0000);
    let plan = Plan { alias, ..ram(64 << 20) };
    let end = PhysAddr((1 << 30) + (64 << 20));
    let mut machine = Machine::new(plan, BbmLevel::Zero);
    machine.in_use = page(9);
    machine.world.frames.limit_to(2);
    let before = machine.world.memory.contents();
    let short = OutOfMemory { needed: 3, available: 2 };
    let odd = range((1 << 30) + 0x800, (1 << 30) + 0x1800);
    let behind = PhysRange::new(PhysAddr(end.0 - 0x1000), end.offset(0x1000));
    for (change, ranges, error) in [
        (Change::ReadOnly, &[page(5)][..], ChangeError::OutOfFrames(short)),
        (Change::ReadOnly, &[odd], ChangeError::BadRange(odd)),
        (Change::ReadOnly, &[PhysRange::default()], ChangeError::BadRange(PhysRange::default())),
        (Change::ReadOnly, &[page(6), page(5)], ChangeError::BadRange(page(5))),
        (Change::Unmap, &[behind], ChangeError::NotMapped(end)),
        (Change::Unmap, &[range(0x1000, 0x2000)], ChangeError::NotMapped(PhysAddr(0x1000))),
        (Change::ReadWrite, &[page(0x1ff), page(0x210)], ChangeError::KernelAlias(page(0x210))),
        (Change::Unmap, &[page(8), page(9)], ChangeError::InUse(page(9))),
        (Change::Scope(Scope::AddressSpace), &[page(8)], ChangeError::NotWhole),
    ] {
        assert_eq!(machine.change(change, ranges), Err(error), "{change:?} of {ranges:?}");
        assert_eq!(machine.world.memory.contents(), before, "{error}");
        machine.check();
    }
    // A collapse of everything, and a split of the alias alone, find nothing to do.
    let all = machine.world.plan.regions.clone();
    assert_eq!(machine.change(Change::Collapse, &all).unwrap().switch, Switch::Nothing);
    assert_eq!(machine.change(Change::Split(Level::L3), &[alias]).unwrap().switch, Switch::Nothing);
}

/// A CPU that has its interrupts masked.
struct Masked;

impl Host for Masked {
    type Masked = ();

    fn send_ipi(&self) {}
    fn ticks(&self) -> u64 {
        0
    }
    fn pause(&self) {}
    fn wait(&self) {}
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        false
    }
    fn mask_all(&self) {}
    fn isb(&self) {}
}

/// A change that has to stop every CPU is refused where interrupts are masked; one in place is made anywhere.
#[test]
fn with_interrupts_masked_only_changes_in_place_are_made() {
    let mut machine = Machine::new(ram(64 << 20), BbmLevel::Zero);
    machine.change(Change::Split(Level::L3), &[page(5)]).unwrap();
    machine.run(&Masked, |make| {
        assert_eq!(make(Change::Unmap, &[page(0x1000)]), Err(ChangeError::WouldWait));
        assert_eq!(make(Change::Unmap, &[page(5)]).unwrap().switch, Switch::InPlace);
    });
    machine.check();
}
