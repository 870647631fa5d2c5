// SPDX-License-Identifier: MIT OR Apache-2.0
//! Painting of given and random plans, against a second calculation of each leaf.

use proptest::prelude::*;

use super::plan::*;
use super::world::*;
use crate::linear_map::{LargestLeaf, LayoutError, PaintError, link, paint, tables_bound};
use crate::tables::fake::{Event, FakeCpu, FakeFrames, FakeMemory, View};
use crate::tables::{Descriptor, Geometry, Kind, Level, PhysAddr, PhysRange, TableMemory, TableTree, VirtAddr};

/// Returns the leaf that should map physical address `at` of `piece`: its level, and whether it has the Contiguous bit.
/// It is worked out for this one address, from the piece alone.
fn expected(plan: &Plan, piece: PhysRange, alias: bool, largest: LargestLeaf, at: u64) -> (Level, bool) {
    let geometry = plan.geometry;
    let blocks = alias || largest == LargestLeaf::Block;
    // Aligned both ways: where it is mapped and what it maps.
    let fits = |size: u64| {
        let start = at & !(size - 1);
        start >= piece.start.0 && start + size <= piece.end.0 && plan.base.0.wrapping_add(start) & (size - 1) == 0
    };
    let level = [Level::L1, Level::L2]
        .into_iter()
        .filter(|&level| level >= geometry.root_level() && geometry.leaf_allowed(level) && blocks)
        .find(|&level| fits(geometry.size(level)))
        .unwrap_or(Level::L3);
    let hint = blocks && geometry.contiguous(level).is_some_and(|group| fits(geometry.size(level) * group as u64));
    (level, hint)
}

fn check_paint(plan: Plan, largest: LargestLeaf) {
    let world = World::painted(plan, largest);
    let plan = &world.plan;
    let geometry = plan.geometry;
    let layout = plan.layout();
    let mut leaves = world.leaves(LIVE).into_iter();
    for (piece, alias) in plan.pieces() {
        let mut at = piece.start.0;
        while at < piece.end.0 {
            let leaf = leaves.next().unwrap_or_else(|| panic!("nothing maps {at:#x}"));
            let (level, hint) = expected(plan, piece, alias, largest, at);
            assert_eq!(leaf.output, at);
            assert_eq!(leaf.address, plan.base.0 + at);
            assert_eq!((leaf.level, leaf.descriptor.is_contiguous()), (level, hint), "at {at:#x} of {piece}");
            let whole = layout.attributes(crate::tables::Part::Memory).leaf(PhysAddr(at), level);
            if alias {
                assert!(!leaf.descriptor.is_writable() && !leaf.descriptor.is_executable(), "at {at:#x}");
            } else {
                assert_eq!(leaf.descriptor.attributes(), whole.attributes(), "at {at:#x}");
            }
            assert!(leaf.descriptor.is_valid() && leaf.descriptor.is_accessed());
            assert!(!leaf.descriptor.is_executable(), "at {at:#x}");
            at += leaf.bytes;
        }
        assert_eq!(at, piece.end.0, "a leaf reaches beyond {piece}");
    }
    assert_eq!(leaves.next(), None, "something outside the regions is mapped");

    check_groups(&world);
    check_edges(&world);
    assert_eq!(world.recount(), world.stats);
    assert_eq!(world.frames.out.len() as u64, world.stats.tables);
    let bound = tables_bound(&layout, largest);
    assert!(world.stats.tables <= bound, "{} tables, at most {bound} expected", world.stats.tables);
    // The bound as the kernel uses it: with so many frames and not one more, painting succeeds.
    let memory = FakeMemory::default();
    memory.zero_table(LIVE, geometry.entries(geometry.root_level()));
    let mut frames = FakeFrames::new(0x9000_0000_0000, geometry.page_size(), bound);
    let again = paint(&layout, largest, &memory, &FakeCpu::default(), &mut frames, LIVE);
    assert_eq!(again, Ok(world.stats));
}

/// Checks that every group with the hint is complete, aligned at both ends of the translation, and of one attribute.
fn check_groups(world: &World) {
    let geometry = world.plan.geometry;
    let mut group: Vec<super::world::Leaf> = Vec::new();
    for leaf in world.leaves(LIVE) {
        if group.is_empty() && !leaf.descriptor.is_contiguous() {
            continue;
        }
        assert!(leaf.descriptor.is_contiguous(), "a group ends early at {:#x}", leaf.address);
        group.push(leaf);
        let first = group[0];
        let members = geometry.contiguous(first.level).expect("no groups at this level");
        let index = group.len() as u64 - 1;
        assert_eq!(first.address % (first.bytes * members as u64), 0, "group at {:#x}", first.address);
        assert_eq!(first.output % (first.bytes * members as u64), 0, "group at {:#x}", first.address);
        assert_eq!(leaf.slot, first.slot.offset(8 * index), "a group in two tables");
        assert_eq!(leaf.output, first.output + index * first.bytes);
        assert_eq!(leaf.descriptor.attributes(), first.descriptor.attributes());
        if group.len() == members {
            group.clear();
        }
    }
    assert!(group.is_empty(), "the last group is not complete");
}

/// Checks a walker's view of the first and last byte of every region and of the bytes around it.
fn check_edges(world: &World) {
    let plan = &world.plan;
    let page = plan.geometry.page_size();
    let mapped = |physical: u64| plan.regions.iter().any(|region| region.contains(PhysAddr(physical)));
    for region in &plan.regions {
        let (start, end) = (region.start.0, region.end.0);
        let probes = [
            start.checked_sub(1),
            start.checked_sub(page),
            Some(start),
            Some(start + page - 1),
            Some(end - page),
            Some(end - 1),
            Some(end),
            Some(end + page - 1),
        ];
        // The root covers more than the plan only where the plan ends before the address space does.
        let inside = |&at: &u64| plan.base.0.checked_add(at).is_some();
        for at in probes.into_iter().flatten().filter(inside) {
            let found = world.tree(LIVE).translate(VirtAddr(plan.base.0 + at));
            assert_eq!(found.map(|(_, output)| output), mapped(at).then_some(PhysAddr(at)), "at {at:#x}");
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]
    #[test]
    fn every_byte_is_where_it_belongs_in_the_largest_leaf(plan in plans(3)) {
        check_paint(plan, LargestLeaf::Block);
    }
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn a_map_of_pages_has_blocks_in_the_alias_only(plan in plans(0)) {
        check_paint(plan, LargestLeaf::Page);
    }

    #[test]
    fn painting_over_something_is_refused_and_touches_nothing(
        plan in plans(0), page in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(),
    ) {
        let world = World::painted(plan.clone(), LargestLeaf::Page);
        let before = world.leaves(LIVE);
        // A second plan with one region, which holds some page of the first.
        let taken = before[page.index(before.len())];
        let shift = plan.geometry.page_shift();
        let reach = 1 + from.index(700) as u64;
        let start = (taken.output >> shift).saturating_sub(reach) << shift;
        let second = Plan { regions: vec![range(start, taken.output + taken.bytes)], alias: PhysRange::default(), ..plan };
        let mut frames = FakeFrames::new(0x9000_0000_0000, second.geometry.page_size(), 1 << 20);
        let layout = second.layout();
        let refused = paint(&layout, LargestLeaf::Block, &world.memory, &FakeCpu::default(), &mut frames, LIVE);
        prop_assert!(matches!(refused, Err(PaintError::Occupied(at)) if second.regions[0].contains(at)), "{refused:?}");
        for leaf in before {
            prop_assert_eq!(world.memory.load(leaf.slot), leaf.descriptor);
        }
    }
}

#[test]
fn the_last_page_of_the_address_space_can_be_mapped() {
    for geometry in GEOMETRIES {
        let root = geometry.size(geometry.root_level());
        let size = root * geometry.contiguous(geometry.root_level()).unwrap_or(1) as u64;
        let page = geometry.page_size();
        let base = VirtAddr(size.wrapping_neg());
        for bytes in [page, geometry.size(Level::L2), geometry.size(Level::L2) + page] {
            let regions = vec![range(size - bytes, size)];
            let alias = range(size - page, size);
            let plan = Plan { geometry, base, size, regions, alias, ..Plan::k4(&[], PhysRange::default()) };
            for largest in [LargestLeaf::Block, LargestLeaf::Page] {
                check_paint(plan.clone(), largest);
            }
        }
    }
}

#[test]
fn a_region_across_two_root_entries_is_whole() {
    let middle = 1 << 39;
    check_paint(Plan::k4(&[range(middle - (3 << 30), middle + (2 << 30))], PhysRange::default()), LargestLeaf::Block);
    let odd = range(middle - 0x5000, middle + 0x3000);
    check_paint(Plan::k4(&[odd], odd), LargestLeaf::Block);
}

/// One gibibyte at every alignment that makes a difference.
#[test]
fn alignment_decides_the_leaf() {
    for start in [0, 0x1000, 0xf000, 0x1_0000, 0x1f_f000, 0x20_0000, 0x1e0_0000, 0x200_0000, 0x3fff_f000, 0x4000_0000] {
        let region = range(start, start + 0x4000_0000);
        check_paint(Plan::k4(&[region], range(start + 0x3000, start + 0x45_6000)), LargestLeaf::Block);
    }
}

/// 64 KiB granule, 39 bits: the root is level 2, so its entries are the leaves, and a group is 32 of them. A base that
/// is aligned to one entry only would give groups whose output is not aligned.
#[test]
fn a_base_that_would_misalign_groups_in_the_root_is_refused() {
    let geometry = GEOMETRIES[5];
    let entry = geometry.size(Level::L2);
    let plan = Plan {
        geometry,
        base: VirtAddr((1u64 << 39).wrapping_neg() + 3 * entry),
        size: 128 * entry,
        regions: vec![range(0, 96 * entry)],
        ..Plan::k4(&[], PhysRange::default())
    };
    assert_eq!(plan.try_layout().unwrap_err(), LayoutError::Base(plan.base));
    let aligned = Plan { base: VirtAddr((1u64 << 39).wrapping_neg() + 32 * entry), ..plan };
    check_paint(aligned, LargestLeaf::Block);
}

#[test]
fn a_painter_without_frames_leaves_its_tables_in_the_tree() {
    let plan = Plan::k4(&[range(0x1000, 0x4060_3000), range(0x80_0000_0000, 0x80_0000_1000)], PhysRange::default());
    let geometry = plan.geometry;
    let layout = plan.layout();
    let enough = World::painted(plan.clone(), LargestLeaf::Block).stats.tables;
    assert_eq!(enough, 8);
    for limit in 0..enough {
        let memory = FakeMemory::default();
        memory.zero_table(LIVE, geometry.entries(geometry.root_level()));
        let mut frames = FakeFrames::new(0x9000_0000_0000, geometry.page_size(), limit);
        let failed = paint(&layout, LargestLeaf::Block, &memory, &FakeCpu::default(), &mut frames, LIVE);
        assert!(matches!(failed, Err(PaintError::OutOfFrames(at)) if layout.part(at).is_some()), "{failed:?}");
        let mut linked = 0;
        TableTree { memory: &memory, geometry, root: LIVE }.walk(layout.root_base(), layout.root_entries(), |visit| {
            linked += u64::from(matches!(visit.kind, Kind::Table(_)));
        });
        assert_eq!(linked, limit);
    }
}

#[test]
fn an_empty_plan_paints_nothing() {
    let plan = Plan::k4(&[], PhysRange::default());
    check_paint(plan.clone(), LargestLeaf::Block);
    assert_eq!(plan.layout().root_entries(), 0..0);
    assert_eq!(World::painted(plan, LargestLeaf::Block).stats.tables_to_split(Geometry::K4_V48), 0);
}

#[test]
fn a_block_in_the_way_is_something() {
    let blocks = Plan::k4(&[range(0x4000_0000, 0xc000_0000)], PhysRange::default());
    let page = Plan::k4(&[range(0x8012_3000, 0x8012_4000)], PhysRange::default());
    for invalid in [false, true] {
        let world = World::painted(blocks.clone(), LargestLeaf::Block);
        let block = world.leaves(LIVE)[1];
        if invalid {
            world.memory.store(block.slot, block.descriptor.made_invalid());
        }
        let mut none = FakeFrames::new(0x9000_0000_0000, 0x1000, 0);
        let cpu = FakeCpu::default();
        let refused = paint(&page.layout(), LargestLeaf::Block, &world.memory, &cpu, &mut none, LIVE);
        assert_eq!(refused, Err(PaintError::Occupied(PhysAddr(0x8012_3000))));
    }
}

/// Found by the property above: only the first descriptor of a run used to be looked at.
#[test]
fn something_in_the_middle_of_a_run_is_something() {
    let world = World::painted(Plan::k4(&[range(0x1d_5000, 0x1d_6000)], PhysRange::default()), LargestLeaf::Block);
    let over = Plan::k4(&[range(0xbb_000, 0x1d_6000)], PhysRange::default());
    let mut frames = FakeFrames::new(0x9000_0000_0000, 0x1000, 10);
    let refused = paint(&over.layout(), LargestLeaf::Block, &world.memory, &FakeCpu::default(), &mut frames, LIVE);
    assert_eq!(refused, Err(PaintError::Occupied(PhysAddr(0x1d_5000))));
}

/// The last step: the entries of the one root go to the other, whose walkers see them before this CPU goes on.
#[test]
fn a_painted_map_is_linked_and_visible_when_that_returns() {
    let plan = Plan::k4(&[range(0x3ff0_0000, 0x8030_3000)], PhysRange::default());
    let world = World::painted(plan.clone(), LargestLeaf::Block);
    world.memory.zero_table(REPLACEMENT, 512);
    let entry = world.memory.load(LIVE);
    world.cpu.take();
    let view = View::new(&world.memory, 0..1 << 48).logged(&world.cpu);
    link(&plan.layout(), &view, &world.cpu, LIVE, REPLACEMENT);
    let expected =
        [Event::Store(REPLACEMENT, entry), Event::Store(LIVE, Descriptor::EMPTY), Event::DsbIshst, Event::Isb];
    assert_eq!(world.cpu.take(), expected);
}

/// A table is complete and visible before anything names it; the whole map before the caller goes on.
#[test]
fn a_table_is_written_and_visible_before_it_is_linked() {
    let plan = Plan::k4(&[range(0x3ff0_0000, 0x8030_3000)], PhysRange::default());
    let geometry = plan.geometry;
    let (memory, cpu) = (FakeMemory::default(), FakeCpu::default());
    memory.zero_table(LIVE, 512);
    let mut frames = FakeFrames::new(0x9000_0000_0000, geometry.page_size(), 10);
    let view = View::new(&memory, 0..1 << 48).logged(&cpu);
    paint(&plan.layout(), LargestLeaf::Block, &view, &cpu, &mut frames, LIVE).unwrap();
    let events = cpu.take();
    assert_eq!(events.last(), Some(&Event::DsbIshst));
    let mut linked = 0;
    for (at, event) in events.iter().enumerate() {
        let Event::Store(_, link) = event else { continue };
        let table = PhysAddr(link.0 & 0x0000_ffff_ffff_f000);
        if !frames.out.contains(&table) || *link != Descriptor::table(table) {
            continue;
        }
        linked += 1;
        let is_inside = |event: &Event| matches!(event, Event::Store(slot, _) if slot.0 & !0xfff == table.0);
        assert!(events[..at].iter().any(is_inside));
        assert!(!events[at..].iter().any(is_inside), "{table} was written after it was linked");
        assert_eq!(events[at - 1], Event::DsbIshst);
    }
    assert_eq!(linked, frames.out.len());
}
