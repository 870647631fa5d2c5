// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures at any step of a repaint, after which the map and the frames are as before.

use proptest::prelude::*;

use super::plan::*;
use super::world::*;
use crate::linear_map::{Fill, LargestLeaf, OutOfMemory, Pool, Share, UpperTables, free_tables};
use crate::tables::{FrameSource, PhysRange, TableTree};

/// Builds a replacement, fills as many CPUs' shares of it as `fillers` of four, and calls it off.
fn call_off(plan: Plan, seed: u64, fillers: u64) {
    let mut world = World::painted(plan.clone(), LargestLeaf::Block);
    world.plant(seed);
    let geometry = plan.geometry;
    let layout = plan.layout();
    let (live, leaves) = (live_tables(&world), world.leaves(LIVE));
    let (free, out) = (world.frames.available(), world.frames.out.clone());

    let needed = world.stats.tables_to_split(geometry) + world.stats.tables;
    let mut pool = Pool::reserve(&tables(&world.memory), &mut world.frames, needed).unwrap();
    let map = replacement(&layout, tables(&world.memory), roots(&world.memory));
    let upper = UpperTables::build(&map, &mut pool);
    let fill = Fill::new();
    fill.open(&layout, &world.cpu, 4);
    for _ in 0..fillers {
        fill.work(&map, &world.cpu, Share::Fair, &mut 0);
    }
    fill.close();
    let entries = layout.root_entries();
    let tree = TableTree { memory: map.memory, geometry, root: REPLACEMENT };
    let freed = free_tables(&tree, &map.roots, entries, &mut world.frames);

    assert_eq!((freed, upper.tables), (needed, needed));
    assert_eq!((world.frames.available(), &world.frames.out), (free, &out));
    assert_eq!(live_tables(&world), live);
    assert_eq!(world.leaves(LIVE), leaves);
    assert_eq!(world.recount(), world.stats);
}

proptest! {
    #![proptest_config(cases(20))]
    #[test]
    fn a_split_called_off_has_changed_nothing(plan in plans(1), seed: u64, fillers in 0..5u64) {
        call_off(plan, seed, fillers);
    }
}

#[test]
fn out_of_memory_at_every_frame_changes_nothing() {
    let regions = [range(0x1000, 0x80_3000), range(0x4000_0000, 0x4080_0000)];
    let plan = Plan::k4(&regions, range(0x20_0000, 0x40_0000));
    let mut world = World::painted(plan.clone(), LargestLeaf::Block);
    let (live, out) = (live_tables(&world), world.frames.out.clone());
    let to_split = world.stats.tables_to_split(plan.geometry);
    assert!(to_split >= 6);
    for needed in [to_split, to_split + world.stats.tables] {
        for limit in 0..needed {
            // The honest answer, and the one that runs out on the way.
            for claims in [0, needed] {
                world.frames.limit_to(limit);
                world.frames.claims = claims;
                let refused = Pool::reserve(&tables(&world.memory), &mut world.frames, needed).unwrap_err();
                assert_eq!(refused, OutOfMemory { needed, available: limit });
                assert_eq!(world.frames.available(), limit + claims);
                assert_eq!(world.frames.out, out);
                assert_eq!(live_tables(&world), live);
            }
        }
        world.frames.claims = 0;
        world.frames.limit_to(needed);
        let pool = Pool::reserve(&tables(&world.memory), &mut world.frames, needed).unwrap();
        pool.release(&tables(&world.memory), &mut world.frames);
        assert_eq!((world.frames.available(), &world.frames.out), (needed, &out));
        assert_eq!(live_tables(&world), live);
    }
}

#[test]
#[should_panic(expected = "counts gave too few")]
fn a_pool_one_frame_short_is_noticed_before_anything_live_changes() {
    let mut world = World::painted(Plan::k4(&[range(0, 0x80_0000)], PhysRange::default()), LargestLeaf::Block);
    let plan = world.plan.clone();
    let needed = world.stats.tables_to_split(plan.geometry) + world.stats.tables;
    let mut pool = Pool::reserve(&world.memory, &mut world.frames, needed - 1).unwrap();
    UpperTables::build(&replacement(&plan.layout(), tables(&world.memory), roots(&world.memory)), &mut pool);
}
