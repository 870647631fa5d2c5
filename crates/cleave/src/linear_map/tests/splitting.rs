// SPDX-License-Identifier: MIT OR Apache-2.0
//! Splits in both forms: every translation is kept, and exactly the counted frames are used.

use proptest::prelude::*;

use super::plan::*;
use super::world::*;
use crate::linear_map::{Fill, LargestLeaf, Pool, RootSpan, Share, TemporaryMapping, UpperTables};
use crate::linear_map::{InPlace, exchange, free_tables, paint};
use crate::tables::fake::{FakeCpu, FakeMemory};
use crate::tables::{
    BitmapFrames, FrameSource, Hint, LeafCounts, Level, MapStats, PhysAddr, PhysRange, TableMemory, TableTree,
    TlbiRepeat, VirtAddr, slot,
};

/// Returns how many tables more a map has when `leaves` are pages: counted leaf by leaf.
fn growth(world: &World, leaves: &[Leaf]) -> u64 {
    let per_table = world.plan.geometry.page_size() / 8;
    let split = leaves.iter().filter(|leaf| !world.plan.alias.contains(PhysAddr(leaf.output)));
    split
        .map(|leaf| match leaf.level {
            Level::L0 | Level::L3 => 0,
            Level::L1 => 1 + per_table,
            Level::L2 => 1,
        })
        .sum()
}

/// Returns the counts of the map once it is split.
fn stats_after(world: &World, leaves: &[Leaf]) -> MapStats {
    let geometry = world.plan.geometry;
    let (mut pages, mut unmapped) = (LeafCounts::default(), LeafCounts::default());
    for leaf in leaves {
        if world.plan.alias.contains(PhysAddr(leaf.output)) {
            pages.add(leaf.level, leaf.descriptor.into(), 1);
        } else {
            let count = leaf.bytes / geometry.page_size();
            pages.add(Level::L3, Hint::Single, count);
            unmapped.add(Level::L3, Hint::Single, if leaf.descriptor.is_valid() { 0 } else { count });
        }
    }
    MapStats { leaves: pages, unmapped, tables: world.stats.tables + growth(world, leaves), ..world.stats }
}

/// Splits through a replacement, checking the books on the way.
fn split_ahead(world: &mut World, before: &[Leaf]) {
    let (plan, geometry) = (world.plan.clone(), world.plan.geometry);
    let layout = plan.layout();
    let free = world.frames.available();
    let needed = world.stats.tables_to_split(geometry) + world.stats.tables;
    let mut pool = Pool::reserve(&tables(&world.memory), &mut world.frames, needed).unwrap();
    let live_before = live_tables(world);
    let map = replacement(&layout, tables(&world.memory), roots(&world.memory));
    let upper = UpperTables::build(&map, &mut pool);
    assert_eq!((upper.tables, pool.frames()), (needed, 0));
    let fill = Fill::new();
    fill.open(&layout, &world.cpu, 1);
    let filled = fill.work(&map, &world.cpu, Share::Everything, &mut 0);
    fill.close();
    assert!(fill.is_complete());
    assert_eq!(upper.complete + filled, upper.tables);
    check_split(world, before, REPLACEMENT);
    // Until here nothing live has changed.
    assert_eq!(live_tables(world), live_before);

    for entry in layout.root_entries() {
        world.memory.store(slot(SAVE, entry), world.memory.load(slot(LIVE, entry)));
    }
    let entries = layout.root_entries();
    parked(|everyone| {
        exchange(
            &roots(&world.memory),
            &world.cpu,
            RootSpan::of(&layout, LIVE, REPLACEMENT),
            TlbiRepeat::Once,
            everyone,
        );
    });
    let tree = TableTree { memory: map.memory, geometry, root: SAVE };
    let old = free_tables(&tree, &map.roots, entries, &mut world.frames);
    assert_eq!(old, world.stats.tables);
    assert_eq!(upper.tables - old, growth(world, before));
    assert_eq!(world.frames.available(), free - growth(world, before));
    check_split(world, before, LIVE);
    assert_eq!(world.recount(), stats_after(world, before));
    // Every frame that is out is a table of the map, and nothing else is.
    assert_eq!(world.frames.out, linked_tables(world, LIVE));
}

/// Splits in place, checking the books on the way.
fn split_classic(world: &mut World, before: &[Leaf]) {
    let (plan, geometry) = (world.plan.clone(), world.plan.geometry);
    let layout = plan.layout();
    let free = world.frames.available();
    let needed = world.stats.tables_to_split(geometry);
    let mut pool = Pool::reserve(&tables(&world.memory), &mut world.frames, needed).unwrap();
    let temporary = TemporaryMapping { view: tables(&world.memory), root: TEMPORARY, empty: NOTHING };
    let roots = roots(&world.memory);
    let used = parked(|everyone| {
        let repeat = TlbiRepeat::Once;
        let split = InPlace { layout: &layout, roots: &roots, live: LIVE, save: SAVE, temporary: &temporary };
        split.run(&world.cpu, &mut pool, repeat, everyone)
    });
    assert_eq!((used, pool.frames()), (needed, 0));
    assert_eq!(used, growth(world, before));
    assert_eq!(world.frames.available(), free - used);
    check_split(world, before, LIVE);
    assert_eq!(world.recount(), stats_after(world, before));
    assert_eq!(world.frames.out, linked_tables(world, LIVE));
}

fn check_both(plan: Plan, largest: LargestLeaf, seed: Option<u64>) {
    for split in [split_ahead, split_classic] {
        let mut world = World::painted(plan.clone(), largest);
        if let Some(seed) = seed {
            world.plant(seed);
        }
        assert_eq!(world.recount(), world.stats);
        let before = world.leaves(LIVE);
        split(&mut world, &before);
        // Splitting what is split already finds nothing to split, and changes nothing.
        world.stats = world.recount();
        assert_eq!(world.stats.tables_to_split(plan.geometry), 0);
    }
}

proptest! {
    #![proptest_config(cases(40))]
    #[test]
    fn every_address_translates_as_before(plan in plans(1), seed in proptest::option::weighted(0.8, any::<u64>())) {
        check_both(plan, LargestLeaf::Block, seed);
    }
}

proptest! {
    #![proptest_config(cases(12))]
    #[test]
    fn a_second_split_is_the_identity(plan in plans(0), seed: u64) {
        let mut world = World::painted(plan, LargestLeaf::Block);
        world.plant(seed);
        for split in [split_ahead, split_classic, split_ahead] {
            let before = world.leaves(LIVE);
            split(&mut world, &before);
            world.stats = world.recount();
        }
    }

    #[test]
    fn a_map_of_pages_is_split_without_new_tables(plan in plans(0)) {
        check_both(plan, LargestLeaf::Page, None);
    }
}

#[test]
fn the_figures_are_513_a_gibibyte_and_1_for_two_mebibytes() {
    let gibibyte = Plan::k4(&[range(1 << 30, 2 << 30)], PhysRange::default());
    let world = World::painted(gibibyte.clone(), LargestLeaf::Block);
    assert_eq!((world.stats.tables, world.stats.tables_to_split(gibibyte.geometry)), (1, 513));
    check_both(gibibyte, LargestLeaf::Block, None);
    let small = Plan::k4(&[range(0x20_0000, 0x40_0000)], PhysRange::default());
    let world = World::painted(small.clone(), LargestLeaf::Block);
    assert_eq!((world.stats.tables, world.stats.tables_to_split(small.geometry)), (2, 1));
    check_both(small, LargestLeaf::Block, None);
}

/// Linux turned an invalid block into valid pages.
#[test]
fn invalid_blocks_of_both_sizes_stay_invalid() {
    let plan = Plan::k4(&[range(0, (1 << 30) + 0x40_0000)], PhysRange::default());
    for split in [split_ahead, split_classic] {
        let mut world = World::painted(plan.clone(), LargestLeaf::Block);
        let leaves = world.leaves(LIVE);
        assert_eq!([leaves[0].level, leaves[1].level], [Level::L1, Level::L2]);
        for leaf in [leaves[0], leaves[1]] {
            world.memory.store(leaf.slot, leaf.descriptor.made_invalid());
        }
        world.stats = world.recount();
        let before = world.leaves(LIVE);
        split(&mut world, &before);
        let invalid = world.leaves(LIVE).iter().filter(|leaf| !leaf.descriptor.is_valid()).count();
        assert_eq!(invalid, (1 << 18) + 512);
    }
}

/// The alias keeps blocks, groups and pages, wherever it lies in its region.
#[test]
fn the_alias_keeps_its_leaves_at_every_alignment() {
    let region = range(0x3e00_0000, 0x4420_0000);
    for alias in [
        region,
        range(0x4000_0000, 0x4200_0000),
        range(0x4020_0000, 0x4060_0000),
        range(0x4008_0000, 0x4123_4000),
        range(0x3fff_f000, 0x4000_1000),
        range(0x3e00_0000, 0x3e00_1000),
        range(0x441f_f000, 0x4420_0000),
    ] {
        check_both(Plan::k4(&[region], alias), LargestLeaf::Block, Some(7));
    }
    let gibibytes = [range(0x4000_0000, 0x8020_0000)];
    check_both(Plan::k4(&gibibytes, range(0x4000_0000, 0x8000_0000)), LargestLeaf::Block, Some(7));
}

#[test]
fn a_plan_up_to_the_last_page_of_the_address_space_splits() {
    for geometry in GEOMETRIES {
        let root = geometry.root_level();
        let size = geometry.size(root) * geometry.contiguous(root).unwrap_or(1) as u64;
        let regions = vec![range(size - geometry.size(Level::L2) - geometry.page_size(), size)];
        let base = VirtAddr(size.wrapping_neg());
        check_both(
            Plan { geometry, base, size, regions, ..Plan::k4(&[], PhysRange::default()) },
            LargestLeaf::Block,
            None,
        );
    }
}

/// A repaint leaves the root entries of other owners alone, between and behind those of the map.
#[test]
fn root_entries_outside_the_plan_are_not_touched() {
    for geometry in GEOMETRIES {
        let level = geometry.root_level();
        let entries = geometry.entries(level);
        let base = VirtAddr(!0 << geometry.address_bits());
        let regions = vec![range(0, geometry.size(Level::L2))];
        let plan = Plan { geometry, base, size: geometry.size(level), regions, ..Plan::k4(&[], PhysRange::default()) };
        let mut world = World::painted(plan.clone(), LargestLeaf::Block);
        let used = plan.layout().root_entries();
        // Others' entries of every kind; the replacement's and the saved root there were never written at all.
        let others: Vec<_> = (0..entries).filter(|entry| !used.contains(entry)).collect();
        for &entry in &others {
            let output = PhysAddr(entry as u64 * geometry.size(level));
            let leaf = plan.attributes.leaf(output, level);
            let theirs = if geometry.leaf_allowed(level) {
                leaf
            } else {
                crate::tables::Descriptor::table(PhysAddr(0x1234_0000))
            };
            world.memory.store(slot(LIVE, entry), theirs);
        }
        let theirs =
            |world: &World| others.iter().map(|&entry| world.memory.load(slot(LIVE, entry))).collect::<Vec<_>>();
        let before = (theirs(&world), world.leaves(LIVE));
        split_ahead(&mut world, &before.1);
        assert_eq!(theirs(&world), before.0);
    }
}

/// With the kernel's allocator, whose frames lie in the very memory that is mapped.
#[test]
fn the_frame_allocator_has_all_but_the_growth_afterwards() {
    let ram = range(0x4000_0000, 0x9000_0000);
    let plan = Plan::k4(&[ram], range(0x4020_0000, 0x4040_0000));
    let (geometry, layout) = (plan.geometry, plan.layout());
    let free = [range(0x4000_0000, 0x4020_0000), range(0x4040_0000, 0x9000_0000)];
    let mut bitmap = vec![0; BitmapFrames::words(free.into_iter())];
    let mut frames = BitmapFrames::new(free.into_iter(), &mut bitmap).unwrap();
    let (memory, cpu) = (FakeMemory::default(), FakeCpu::default());
    for root in [LIVE, REPLACEMENT, SAVE] {
        memory.zero_table(root, 512);
    }
    let stats = paint(&layout, LargestLeaf::Block, &memory, &cpu, &mut frames, LIVE).unwrap();
    let before = frames.available();

    let needed = stats.tables_to_split(geometry) + stats.tables;
    let mut pool = Pool::reserve(&memory, &mut frames, needed).unwrap();
    assert_eq!(frames.available(), before - needed);
    let map = replacement(&layout, &memory, &memory);
    UpperTables::build(&map, &mut pool);
    let fill = Fill::new();
    fill.open(&layout, &cpu, 1);
    fill.work(&map, &cpu, Share::Everything, &mut 0);
    let entries = layout.root_entries();
    for entry in entries.clone() {
        memory.store(slot(SAVE, entry), memory.load(slot(LIVE, entry)));
    }
    parked(|everyone| exchange(&memory, &cpu, RootSpan::of(&layout, LIVE, REPLACEMENT), TlbiRepeat::Twice, everyone));
    let tree = |root| TableTree { memory: &memory, geometry, root };
    let returned = free_tables(&tree(SAVE), &memory, entries, &mut frames);
    assert_eq!(returned, stats.tables);
    // The alias keeps the only gibibyte from being one block.
    let split = stats.leaves.at(Level::L2) - stats.alias.at(Level::L2);
    assert_eq!((stats.leaves.at(Level::L1), stats.alias.at(Level::L2)), (0, 1));
    assert_eq!(before - frames.available(), split);
    for physical in [0x4000_0000, 0x401f_ffff, 0x4020_0000, 0x8fff_ffff] {
        let found = tree(LIVE).translate(layout.address(PhysAddr(physical)));
        assert_eq!(found.map(|(_, output)| output.0), Some(physical));
    }
}
