// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random programs: a few recipes of page-table code, done well, and then spoilt.
//!
//! Events drawn at random break a rule in the first three steps and show nothing of the rest. What is almost right
//! shows more: each recipe is a correct change as kernels do it, and an edit leaves a step out, swaps two, or puts
//! another in.

use proptest::prelude::*;

use super::program::{Covering, Doing, Ets2, Event, Program};
use super::world::{
    Beginning, FIRST, NAMED, NEW_NEXT_PAGE, NEW_PAGE, NEXT_PAGE, OTHER_ROOT, PAGE, PAGES, ROOT, SECOND, STORED, Slot,
    Table, Value,
};
use crate::{Access, Dsb, Flag, LastLevel, Scope};
use cleave::aarch64::BbmLevel;
use cleave::tables::Level;

fn dsbs() -> BoxedStrategy<Dsb> {
    use Dsb::{Ish, Ishld, Ishst, Ld, Nsh, Nshst, St, Sy};
    prop_oneof![
        6 => Just(Ishst), 6 => Just(Ish), 1 => Just(Ishld), 1 => Just(Nsh), 1 => Just(Nshst), 1 => Just(Sy),
        1 => Just(St), 1 => Just(Ld)
    ]
    .boxed()
}

fn values() -> BoxedStrategy<Value> {
    use Value::{Empty, Leaf, Linked, NewLinked, Other, ReadOnly, Restricted};
    prop_oneof![
        4 => Just(Empty), 3 => Just(Leaf), 2 => Just(ReadOnly), 2 => Just(Other), 2 => Just(Linked),
        3 => Just(NewLinked), 1 => Just(Restricted)
    ]
    .boxed()
}

fn slots() -> BoxedStrategy<Slot> {
    prop_oneof![
        6 => prop_oneof![Just(FIRST), Just(SECOND)],
        6 => prop_oneof![Just(PAGE), Just(NEXT_PAGE)],
        2 => prop_oneof![Just(NEW_PAGE), Just(NEW_NEXT_PAGE)],
        1 => prop_oneof![Just(ROOT), Just(OTHER_ROOT)],
    ]
    .boxed()
}

fn invalidations() -> BoxedStrategy<Doing> {
    let last = prop_oneof![Just(LastLevel::AllLevels), Just(LastLevel::Only)];
    let hint = prop_oneof![4 => Just(None), 1 => Just(Some(Level::L2)), 1 => Just(Some(Level::L3))];
    let by_page = (proptest::sample::select(&NAMED[..]), last, hint)
        .prop_map(|(page, last, hint)| Covering::Page(page, last, hint));
    let scopes = prop_oneof![4 => Just(Scope::InnerShareable), 1 => Just(Scope::Local)];
    (scopes, prop_oneof![1 => Just(Covering::All), 1 => by_page])
        .prop_map(|(scope, covering)| Doing::Invalidate(scope, covering))
        .boxed()
}

fn accesses() -> BoxedStrategy<Doing> {
    let kinds = prop_oneof![Just(Access::Load), Just(Access::Store)];
    (proptest::sample::select(&PAGES[..]), kinds).prop_map(|(page, access)| Doing::Access(page, access)).boxed()
}

fn flags() -> BoxedStrategy<Flag> {
    prop_oneof![2 => Just(Flag::Ordered), 1 => Just(Flag::Plain)].boxed()
}

/// Anything at all.
fn doings() -> BoxedStrategy<Doing> {
    prop_oneof![
        4 => (slots(), values()).prop_map(|(slot, value)| Doing::Store(slot, value)),
        4 => dsbs().prop_map(Doing::Dsb),
        2 => Just(Doing::Isb),
        4 => invalidations(),
        4 => accesses(),
        1 => flags().prop_map(Doing::StoreFlag),
        1 => flags().prop_map(Doing::LoadFlag),
        1 => Just(Doing::Branch),
        1 => prop_oneof![Just(Table::Root), Just(Table::OtherRoot)].prop_map(Doing::SetTtbr1),
    ]
    .boxed()
}

/// Barrier, invalidation, barrier.
fn retire() -> BoxedStrategy<Vec<Doing>> {
    let before = prop_oneof![4 => Just(Dsb::Ishst), 1 => dsbs()];
    let after = prop_oneof![4 => Just(Dsb::Ish), 1 => dsbs()];
    let tlbi = prop_oneof![1 => Just(Doing::Invalidate(Scope::InnerShareable, Covering::All)), 1 => invalidations()];
    (before, tlbi, after).prop_map(|(before, tlbi, after)| vec![Doing::Dsb(before), tlbi, Doing::Dsb(after)]).boxed()
}

/// A change as kernels do it, all on one CPU.
fn changes() -> BoxedStrategy<Vec<Doing>> {
    let store = || (slots(), values()).prop_map(|(slot, value)| Doing::Store(slot, value));
    let finish = || vec![Doing::Dsb(Dsb::Ishst), Doing::Isb];
    let contents = (values(), values()).prop_map(|(first, second)| {
        vec![Doing::Store(NEW_PAGE, first), Doing::Store(NEW_NEXT_PAGE, second), Doing::Dsb(Dsb::Ishst)]
    });
    // Break, retire, make, with what is to be linked stored first or not.
    let broken = (proptest::option::of(contents), slots(), retire(), values()).prop_map(
        move |(contents, slot, retire, value)| {
            let mut all = contents.unwrap_or_default();
            all.push(Doing::Store(slot, Value::Empty));
            all.extend(retire);
            all.push(Doing::Store(slot, value));
            all.extend(finish());
            all
        },
    );
    // In place, and then retire.
    let in_place = (store(), retire()).prop_map(|(store, retire)| [vec![store], retire].concat());
    // Something fresh.
    let fresh = (store(), dsbs()).prop_map(|(store, dsb)| vec![store, Doing::Dsb(dsb), Doing::Isb]);
    // A table is taken out, and used for something else.
    let reused = (retire(), store()).prop_map(|(retire, store)| {
        [vec![Doing::Store(FIRST, Value::Empty)], retire, vec![store, Doing::Dsb(Dsb::Ishst)]].concat()
    });
    // Another root.
    let switched = (proptest::option::of(retire()), prop_oneof![Just(Table::Root), Just(Table::OtherRoot)])
        .prop_map(|(retire, root)| [vec![Doing::SetTtbr1(root), Doing::Isb], retire.unwrap_or_default()].concat());
    prop_oneof![5 => broken, 4 => in_place, 2 => fresh, 2 => reused, 1 => switched].boxed()
}

/// Draws the way in which one CPU tells another, and the steps of the other.
fn handovers() -> BoxedStrategy<Vec<Event>> {
    let after =
        prop_oneof![4 => Just(vec![Doing::Branch, Doing::Isb]), 1 => Just(vec![Doing::Branch]), 1 => Just(vec![])];
    (flags(), flags(), after)
        .prop_map(|(store, load, after)| {
            let mut all =
                vec![Event { cpu: 0, doing: Doing::StoreFlag(store) }, Event { cpu: 1, doing: Doing::LoadFlag(load) }];
            all.extend(after.into_iter().map(|doing| Event { cpu: 1, doing }));
            all
        })
        .boxed()
}

/// Something fresh on one CPU, and its use on another that was told of it.
fn told() -> BoxedStrategy<Vec<Event>> {
    let barrier = prop_oneof![3 => Just(Some(Dsb::Ishst)), 1 => dsbs().prop_map(Some), 1 => Just(None)];
    (slots(), values(), barrier, handovers())
        .prop_map(|(slot, value, barrier, handover)| {
            let page = match slot {
                NEXT_PAGE | NEW_NEXT_PAGE => 1,
                SECOND => 512,
                _ => 0,
            };
            let mut all = vec![Event { cpu: 0, doing: Doing::Store(slot, value) }];
            all.extend(barrier.map(|dsb| Event { cpu: 0, doing: Doing::Dsb(dsb) }));
            all.extend(handover);
            all.push(Event { cpu: 1, doing: Doing::Access(page, Access::Load) });
            all
        })
        .boxed()
}

/// A table that one CPU fills and another links.
fn filled() -> BoxedStrategy<Vec<Event>> {
    let links = prop_oneof![Just(Doing::Store(FIRST, Value::NewLinked)), Just(Doing::Store(SECOND, Value::NewLinked))];
    let barrier = prop_oneof![1 => dsbs().prop_map(Some), 3 => Just(None)];
    (values(), barrier, handovers(), links)
        .prop_map(|(value, barrier, handover, link)| {
            let mut all = vec![Event { cpu: 0, doing: Doing::Store(NEW_PAGE, value) }];
            all.extend(barrier.map(|dsb| Event { cpu: 0, doing: Doing::Dsb(dsb) }));
            all.extend(handover);
            all.push(Event { cpu: 1, doing: link });
            all
        })
        .boxed()
}

/// A way to spoil it.
#[derive(Clone, Copy, Debug)]
enum Edit {
    LeaveOut,
    Swap,
    PutIn(Event),
    OnAnother,
}

fn edits() -> BoxedStrategy<Vec<(usize, Edit)>> {
    let other = (0..2usize, doings()).prop_map(|(cpu, doing)| Edit::PutIn(Event { cpu, doing }));
    let edit = prop_oneof![2 => Just(Edit::LeaveOut), 1 => Just(Edit::Swap), 3 => other, 1 => Just(Edit::OnAnother)];
    proptest::collection::vec((any::<usize>(), edit), 0..4).boxed()
}

fn spoil(mut events: Vec<Event>, edits: Vec<(usize, Edit)>) -> Vec<Event> {
    for (at, edit) in edits {
        let at = at % (events.len() + 1);
        match edit {
            Edit::PutIn(event) => events.insert(at, event),
            Edit::LeaveOut if at < events.len() => drop(events.remove(at)),
            Edit::Swap if at + 1 < events.len() => events.swap(at, at + 1),
            Edit::OnAnother if at < events.len() => events[at].cpu = 1 - events[at].cpu,
            _ => {}
        }
    }
    events
}

/// Random programs.
pub(super) fn programs() -> BoxedStrategy<Program> {
    let levels = proptest::collection::vec((0..4u64).prop_map(BbmLevel::from_number), 2);
    let ets2 = prop_oneof![2 => Just(Ets2::Absent), 1 => Just(Ets2::Present)];
    let beginnings =
        prop_oneof![3 => Just(Beginning::Mixed), 2 => Just(Beginning::Blocks), 2 => Just(Beginning::Sparse)];
    let by_one = |doings: Vec<Doing>| doings.into_iter().map(|doing| Event { cpu: 0, doing }).collect::<Vec<_>>();
    let first = prop_oneof![6 => changes().prop_map(by_one), 1 => told(), 1 => filled()];
    let use_it = proptest::collection::vec((0..2usize, accesses()), 0..3);
    let events = (
        first,
        proptest::option::weighted(0.4, handovers()),
        proptest::option::weighted(0.5, changes().prop_map(by_one)),
        use_it,
        edits(),
    )
        .prop_map(|(first, handover, second, used, edits)| {
            let mut events = [first, handover.unwrap_or_default(), second.unwrap_or_default()].concat();
            events.extend(used.into_iter().map(|(cpu, doing)| Event { cpu, doing }));
            spoil(events, edits)
        });
    (levels, ets2, beginnings, events)
        .prop_map(|(levels, ets2, beginning, events)| {
            debug_assert!(events.iter().all(|event| !matches!(event.doing, Doing::Store(slot, _) if slot >= STORED)));
            Program { levels, ets2, beginning, events }
        })
        .boxed()
}
