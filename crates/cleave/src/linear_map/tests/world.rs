// SPDX-License-Identifier: MIT OR Apache-2.0
//! A world to test in: a painted map, and a record of what it translated.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Plan;
use crate::linear_map::{LargestLeaf, Layout, ReplacementMap, paint};
use crate::rendezvous::{Host, Leader, OnlineCpus, Parked, Rendezvous, Slot};
use crate::tables::fake::{FakeCpu, FakeFrames, FakeMemory, View};
use crate::tables::{Descriptor, Inherited, Kind, Level, MapStats, PhysAddr, TableMemory, TableTree, Visit};

/// The range of the root tables; nothing else is there, so a view can be told to reach them only.
const ROOTS: u64 = 0xe000_0000_0000;
pub(super) const LIVE: PhysAddr = PhysAddr(ROOTS);
pub(super) const REPLACEMENT: PhysAddr = PhysAddr(ROOTS + 0x1_0000);
pub(super) const SAVE: PhysAddr = PhysAddr(ROOTS + 0x2_0000);
pub(super) const TEMPORARY: PhysAddr = PhysAddr(ROOTS + 0x8_0000);
pub(super) const NOTHING: PhysAddr = PhysAddr(ROOTS + 0x9_0000);
/// The first frame for tables: so high that an address bit lost anywhere shows.
const FRAMES: u64 = 0xf000_0000_0000;

/// Returns a view that reaches the roots alone.
pub(super) fn roots(memory: &FakeMemory) -> View<'_> {
    View::new(memory, ROOTS..FRAMES)
}

/// Returns a view that reaches every table but the roots.
pub(super) fn tables(memory: &FakeMemory) -> View<'_> {
    View::new(memory, FRAMES..1 << 48)
}

/// Returns the map of `layout` and its replacement, as these views reach them.
pub(super) fn replacement<'a, M, R>(layout: &'a Layout<'a>, memory: M, roots: R) -> ReplacementMap<'a, M, R> {
    ReplacementMap { layout, memory, roots, live: LIVE, replacement: REPLACEMENT }
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) memory: FakeMemory,
    pub(super) cpu: FakeCpu,
    pub(super) frames: FakeFrames,
    pub(super) stats: MapStats,
}

/// One leaf of a map, with everything a split must keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) output: u64,
    pub(super) level: Level,
    pub(super) descriptor: Descriptor,
    pub(super) slot: PhysAddr,
    pub(super) inherited: Inherited,
}

impl World {
    /// Returns a painted world with plenty of frames.
    pub(super) fn painted(plan: Plan, largest: LargestLeaf) -> Self {
        let memory = FakeMemory::default();
        let geometry = plan.geometry;
        memory.zero_table(LIVE, geometry.entries(geometry.root_level()));
        let cpu = FakeCpu::default();
        let mut frames = FakeFrames::new(FRAMES, geometry.page_size(), 1 << 20);
        let stats = paint(&plan.layout(), largest, &memory, &cpu, &mut frames, LIVE).unwrap();
        cpu.take();
        Self { plan, memory, cpu, frames, stats }
    }

    pub(super) fn tree(&self, root: PhysAddr) -> TableTree<&FakeMemory> {
        TableTree { memory: &self.memory, geometry: self.plan.geometry, root }
    }

    pub(super) fn recount(&self) -> MapStats {
        let layout = self.plan.layout();
        let (base, entries) = (layout.root_base(), layout.root_entries());
        MapStats::of_tree(&self.tree(LIVE), base, entries, self.plan.alias)
    }

    pub(super) fn visits(&self, root: PhysAddr, each: impl FnMut(Visit)) {
        let layout = self.plan.layout();
        self.tree(root).walk(layout.root_base(), layout.root_entries(), each);
    }

    /// Calls `each` for every leaf below `root`, the invalid ones included, in the order of addresses.
    pub(super) fn leaves_each(&self, root: PhysAddr, mut each: impl FnMut(Leaf)) {
        self.visits(root, |visit| match visit.kind {
            Kind::Leaf(output) | Kind::InvalidLeaf(output) => each(Leaf {
                address: visit.address.0,
                bytes: self.plan.geometry.size(visit.level),
                output: output.0,
                level: visit.level,
                descriptor: visit.descriptor,
                slot: visit.slot,
                inherited: visit.inherited,
            }),
            Kind::Table(_) => {}
            Kind::Empty | Kind::Reserved => panic!("{visit:?}"),
        });
    }

    /// Returns the leaves of the live map as a list.
    pub(super) fn leaves(&self, root: PhysAddr) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.leaves_each(root, |leaf| leaves.push(leaf));
        leaves
    }

    /// Plants what a map may have gathered since it was painted: leaves made invalid or read-only, and restrictions
    /// in table descriptors. `seed` says which. What is invalid is counted as such.
    pub(super) fn plant(&mut self, seed: u64) {
        let mut state = seed | 1;
        let mut random = move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state >> 33
        };
        const READ_ONLY: u64 = 1 << 7;
        let alias = self.plan.alias;
        self.visits(LIVE, |visit| {
            let planted = match visit.kind {
                Kind::Table(_) if random() % 2 == 0 => Descriptor(visit.descriptor.0 | (random() % 32) << 59),
                // Small leaves are many; some of them is enough.
                Kind::Leaf(output) if !alias.contains(output) => match random() % 6 {
                    0 => visit.descriptor.made_invalid(),
                    1 => Descriptor(visit.descriptor.0 | READ_ONLY),
                    2 => Descriptor(visit.descriptor.0 | READ_ONLY).made_invalid(),
                    _ => return,
                },
                _ => return,
            };
            self.memory.store(visit.slot, planted);
        });
        self.stats.unmapped = self.recount().unmapped;
    }
}

/// Returns every frame that is a table of the tree under `root`.
pub(super) fn linked_tables(world: &World, root: PhysAddr) -> BTreeSet<PhysAddr> {
    let mut linked = BTreeSet::new();
    world.visits(root, |visit| {
        if let Kind::Table(table) = visit.kind {
            assert!(linked.insert(table), "{table} is linked twice");
        }
    });
    linked
}

/// Returns the contents of every table of the live map, the root included.
pub(super) fn live_tables(world: &World) -> BTreeMap<u64, u64> {
    let size = world.plan.geometry.page_size();
    let mut pages: BTreeSet<u64> = linked_tables(world, LIVE).iter().map(|table| table.0 / size).collect();
    pages.extend((0..0x1_0000 / size).map(|page| LIVE.0 / size + page));
    world.memory.contents_of(|address| pages.contains(&(address / size)))
}

/// Checks that the map under `root` is what `before` was, in pages: every address has the same output, attributes,
/// validity and restrictions; the alias has the very same leaves; nothing else appeared.
pub(super) fn check_split(world: &World, before: &[Leaf], root: PhysAddr) {
    let mut old = before.iter();
    let mut current: Option<&Leaf> = None;
    let mut at = 0;
    world.leaves_each(root, |new| {
        if current.is_none_or(|leaf| at == leaf.address.wrapping_add(leaf.bytes)) {
            current = old.next();
            at = current.expect("more leaves than before").address;
        }
        let leaf = current.unwrap();
        assert_eq!(new.address, at, "a hole or an overlap");
        assert_eq!(new.output, leaf.output + (new.address - leaf.address), "at {at:#x}");
        assert_eq!(new.descriptor.attributes(), leaf.descriptor.attributes(), "at {at:#x}");
        assert_eq!(new.descriptor.is_valid(), leaf.descriptor.is_valid(), "at {at:#x}");
        assert_eq!(new.inherited, leaf.inherited, "at {at:#x}");
        if world.plan.alias.contains(PhysAddr(new.output)) {
            assert_eq!((new.level, new.descriptor), (leaf.level, leaf.descriptor), "at {at:#x}");
        } else {
            assert_eq!(new.level, Level::L3, "at {at:#x}");
            assert!(!new.descriptor.is_contiguous(), "at {at:#x}");
        }
        at = at.wrapping_add(new.bytes);
    });
    assert!(current.is_none_or(|leaf| at == leaf.address.wrapping_add(leaf.bytes)), "the last leaf is not whole");
    assert_eq!(old.next(), None, "leaves were lost");
}

/// A CPU that is alone.
pub(super) struct Alone;

impl Host for Alone {
    type Masked = ();

    fn send_ipi(&self) {}
    fn ticks(&self) -> u64 {
        0
    }
    fn pause(&self) {
        panic!("no other CPU to wait for");
    }
    fn wait(&self) {
        panic!("no other CPU to wait for");
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        true
    }
    fn mask_all(&self) {}
    fn isb(&self) {}
}

/// Runs `function` with every CPU of a machine of one standing still.
pub(super) fn parked<T>(function: impl FnOnce(&Parked<'_>) -> T) -> T {
    let (rendezvous, slot): (Rendezvous, Slot) = Default::default();
    // SAFETY: there is one CPU, and this is its slot.
    #[allow(unsafe_code, reason = "the one CPU is counted")]
    let online = unsafe { OnlineCpus::of([&slot]) };
    Leader { rendezvous: &rendezvous, host: &Alone, slot: &slot, online: &online }.stop(1, function).unwrap().0
}
