// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events of the stop window in order: stores, barriers and invalidations in one log.

use super::plan::*;
use super::world::*;
use crate::linear_map::{Fill, LargestLeaf, Pool, RootSpan, Share, TemporaryMapping, UpperTables};
use crate::linear_map::{InPlace, exchange};
use crate::tables::fake::{Event, FakeCpu};
use crate::tables::{Descriptor, PhysAddr, PhysRange, TableMemory, TlbiRepeat, slot};

use Event::{DsbIsh, DsbIshst, DsbNsh, Isb, SetTtbr0, Store, Vale1Is, Vmalle1, Vmalle1Is};

/// Returns a layout of two root entries, with some leaves to split below each.
fn plan() -> Plan {
    let middle = 1 << 39;
    Plan::k4(&[range(middle - 0x60_0000, middle + 0x40_0000)], PhysRange::default())
}

/// Returns the invalidation between break and make.
fn invalidation(repeat: TlbiRepeat) -> Vec<Event> {
    match repeat {
        TlbiRepeat::Once => vec![DsbIshst, Vmalle1Is, DsbIsh, Isb],
        TlbiRepeat::Twice => vec![DsbIshst, Vmalle1Is, DsbIsh, Vale1Is, DsbIsh, Isb],
    }
}

fn exchanged(plan: &Plan, repeat: TlbiRepeat) -> (Vec<Event>, [Descriptor; 2]) {
    let mut world = World::painted(plan.clone(), LargestLeaf::Block);
    let layout = plan.layout();
    let needed = world.stats.tables_to_split(plan.geometry) + world.stats.tables;
    let mut pool = Pool::reserve(&world.memory, &mut world.frames, needed).unwrap();
    let map = replacement(&layout, tables(&world.memory), roots(&world.memory));
    UpperTables::build(&map, &mut pool);
    let fill = Fill::new();
    fill.open(&layout, &world.cpu, 1);
    fill.work(&map, &world.cpu, Share::Everything, &mut 0);
    world.cpu.take();
    let view = roots(&world.memory).logged(&world.cpu);
    parked(|everyone| exchange(&view, &world.cpu, RootSpan::of(&layout, LIVE, REPLACEMENT), repeat, everyone));
    (world.cpu.take(), [0, 1].map(|entry| world.memory.load(slot(REPLACEMENT, entry))))
}

#[test]
fn an_exchange_is_break_invalidate_make() {
    for repeat in [TlbiRepeat::Once, TlbiRepeat::Twice] {
        let (events, new) = exchanged(&plan(), repeat);
        assert!(new.iter().all(|entry| entry.is_valid()));
        let mut expected = vec![Store(slot(LIVE, 0), Descriptor::EMPTY), Store(slot(LIVE, 1), Descriptor::EMPTY)];
        expected.extend(invalidation(repeat));
        expected.extend([Store(slot(LIVE, 0), new[0]), Store(slot(LIVE, 1), new[1]), DsbIshst, Isb]);
        assert_eq!(events, expected);
    }
}

/// The window does not grow with memory.
#[test]
fn an_exchange_takes_the_same_steps_for_any_size_of_memory() {
    let middle = 1 << 39;
    let large = Plan::k4(&[range(middle - (1 << 30), middle + (1 << 30))], PhysRange::default());
    let steps = |plan| exchanged(&plan, TlbiRepeat::Once).0.len();
    assert_eq!(steps(plan()), steps(large));
}

fn split_log(plan: &Plan, repeat: TlbiRepeat) -> (Vec<Event>, Vec<Descriptor>, World) {
    let mut world = World::painted(plan.clone(), LargestLeaf::Block);
    let layout = plan.layout();
    let old = layout.root_entries().map(|entry| world.memory.load(slot(LIVE, entry))).collect();
    let needed = world.stats.tables_to_split(plan.geometry);
    let mut pool = Pool::reserve(&world.memory, &mut world.frames, needed).unwrap();
    let cpu = FakeCpu::default();
    let view = tables(&world.memory).logged(&cpu);
    let temporary = TemporaryMapping { view, root: TEMPORARY, empty: NOTHING };
    let reach_roots = roots(&world.memory).logged(&cpu);
    parked(|everyone| {
        InPlace { layout: &layout, roots: &reach_roots, live: LIVE, save: SAVE, temporary: &temporary }
            .run(&cpu, &mut pool, repeat, everyone)
    });
    (cpu.take(), old, world)
}

#[test]
fn a_classic_split_breaks_the_map_edits_it_and_makes_it() {
    for repeat in [TlbiRepeat::Once, TlbiRepeat::Twice] {
        let (events, old, _world) = split_log(&plan(), repeat);
        let is_root = |event: &Event| matches!(event, Store(at, _) if at.0 < SAVE.0 + 0x1_0000);
        let is_edit = |event: &Event| matches!(event, Store(..)) && !is_root(event);

        // The window comes first, then the break, each entry saved before it is lost.
        let mut opening = vec![SetTtbr0(TEMPORARY), Isb];
        for (entry, &descriptor) in old.iter().enumerate() {
            opening.push(Store(slot(SAVE, entry), descriptor));
            opening.push(Store(slot(LIVE, entry), Descriptor::EMPTY));
        }
        opening.extend(invalidation(repeat));
        assert_eq!(events[..opening.len()], opening);

        // Then only edits of tables, and the new root entries noted beside the live ones.
        let rest = &events[opening.len()..];
        let edits = rest.iter().position(|event| !matches!(event, Store(..))).unwrap();
        let to_live = |event: &Event| matches!(event, Store(at, _) if at.0 < LIVE.0 + 0x1_0000 && is_root(event));
        assert!(!rest[..edits].iter().any(to_live), "a live entry was made during the edits");
        assert!(rest[..edits].iter().filter(|event| is_edit(event)).count() >= 5 * 512);

        // The edits are visible before the make, the make before the release, and the window leaves no trace.
        let make: Vec<_> = old.iter().enumerate().map(|(entry, &table)| Store(slot(LIVE, entry), table)).collect();
        let mut closing = vec![DsbIshst];
        closing.extend(make);
        closing.extend([DsbIshst, Isb, SetTtbr0(NOTHING), Isb, Vmalle1, DsbNsh, Isb]);
        assert_eq!(rest[edits..], closing);
    }
}

/// A child's contents are stored before its parent names it, and a table is written only while nothing reaches it.
#[test]
fn a_split_in_the_window_writes_a_child_before_its_parent() {
    let plan = Plan::k4(&[range(1 << 30, (2 << 30) + 0x20_0000)], PhysRange::default());
    let (events, _, world) = split_log(&plan, TlbiRepeat::Once);
    let mut written = std::collections::BTreeMap::new();
    for event in &events {
        let Store(at, value) = *event else { continue };
        let named = PhysAddr(value.0 & 0x0000_ffff_ffff_f000);
        let is_new_table = value.0 & 3 == 3 && world.frames.out.contains(&named);
        if is_new_table && at.0 >= 0xf000_0000_0000 && !written.is_empty() {
            assert_eq!(written.get(&named.0), Some(&512), "{at} names {named} too early");
        }
        *written.entry(at.0 & !0xfff).or_insert(0) += 1;
    }
    assert_eq!(written.values().filter(|&&words| words == 512).count(), 514);
}
