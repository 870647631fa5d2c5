//! Random machines, memories, schedules and troubles: whatever happens, the promises hold.

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use super::whole::*;
use crate::linear_map::{BbmLevel, LargestLeaf};
use crate::paging::{Attributes, Geometry, Granule, Level, MemoryType, PhysAddr, PhysRange, Scope, VaBits};

const GEOMETRIES: [(u32, Granule, VaBits); 6] = [
    (6, Granule::K4, VaBits::V48),
    (4, Granule::K4, VaBits::V39),
    (2, Granule::K16, VaBits::V48),
    (2, Granule::K16, VaBits::V39),
    (1, Granule::K64, VaBits::V48),
    (1, Granule::K64, VaBits::V39),
];

fn geometries() -> impl Strategy<Value = Geometry> {
    let weighted = GEOMETRIES.map(|(weight, granule, va_bits)| (weight, Just(Geometry { granule, va_bits })));
    proptest::strategy::Union::new_weighted(weighted.to_vec())
}

fn levels() -> impl Strategy<Value = Vec<BbmLevel>> {
    proptest::collection::vec((0..4u64).prop_map(BbmLevel::from_number), 1..5)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fill = prop_oneof![Just(How::Ahead), Just(How::InWindow)];
    let trouble = prop_oneof![
        3 => Just(Trouble::None),
        1 => (0..1001u64).prop_map(Trouble::OutOfMemory),
        1 => Just(Trouble::Absent),
        1 => Just(Trouble::Late),
    ];
    proptest::collection::vec((fill, trouble).prop_map(|(fill, trouble)| Step { fill, trouble }), 1..3)
}

/// A region in pages: a hole before it and its length, made of leaves of every size.
fn pieces(geometry: Geometry) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let page = geometry.page_size();
    let l2 = geometry.size(Level::L2) / page;
    let group = geometry.contiguous(Level::L3).unwrap_or(1) as u64;
    let most = if geometry.granule == Granule::K4 { 4u64 } else { 2 };
    let length = || {
        (prop_oneof![3 => Just(0), 1 => 0..most], prop_oneof![Just(0), 0..3u64], prop_oneof![Just(0), 0..40u64])
            .prop_map(move |(blocks, groups, pages)| blocks * l2 + groups * group + pages)
    };
    proptest::collection::vec((length(), length().prop_map(|pages| pages.max(1))), 1..4)
}

/// Where memory begins: low, or just below a boundary that tables of level 2 or root entries have.
fn place(geometry: Geometry) -> impl Strategy<Value = u64> {
    let root = geometry.size(geometry.root_level());
    let l2 = geometry.size(Level::L2);
    let page = geometry.page_size();
    let near = move |boundary: u64| (0..100u64).prop_map(move |pages| boundary - pages * page);
    // Room above it in every address size.
    let root = if root * 4 <= 1 << geometry.address_bits() { root } else { l2 * 4 };
    prop_oneof![2 => (0..100u64).prop_map(move |pages| pages * page), 1 => near(l2 * 2), 1 => near(root)]
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    geometries().prop_flat_map(|geometry| {
        let attributes = prop_oneof![
            2 => Just(Attributes::NORMAL),
            1 => Just(Attributes { memory: MemoryType::NonCacheable, scope: Scope::AddressSpace, ..Attributes::NORMAL }),
        ];
        let memory = (pieces(geometry), place(geometry), proptest::option::of((any::<u64>(), any::<u64>())));
        let machine = (levels(), proptest::bool::weighted(0.3), proptest::bool::weighted(0.3), any::<u64>());
        let largest = prop_oneof![5 => Just(LargestLeaf::Block), 1 => Just(LargestLeaf::Page)];
        (memory, attributes, largest, machine, proptest::option::of(any::<u64>()), steps()).prop_map(
            move |((pieces, start, alias), attributes, largest, machine, planted, steps)| {
                let (levels, ets2, erratum, seed) = machine;
                let page = geometry.page_size();
                let mut at = start;
                let mut regions = Vec::new();
                for (hole, length) in pieces {
                    let first = at + hole * page;
                    at = first + length * page;
                    regions.push(PhysRange::new(PhysAddr(first), PhysAddr(at)));
                }
                let alias = alias.map_or(PhysRange::default(), |(from, to)| {
                    let region = regions[from as usize % regions.len()];
                    let pages = region.bytes() / page;
                    let from = if from % 3 == 0 { 0 } else { from / 3 % pages };
                    let to = if to % 3 == 0 { pages } else { from + to / 3 % (pages - from + 1) };
                    PhysRange::new(region.start.offset(from * page), region.start.offset(to * page))
                });
                // Room for two maps, one of them in pages, and the window.
                let tables: u64 = regions.iter().map(|region| region.bytes() >> geometry.shift(Level::L2)).sum();
                let frames = 3 * tables + 8 * 6 * regions.len() as u64 + 64;
                let first = at + page;
                regions.push(PhysRange::new(PhysAddr(first), PhysAddr(first + frames * page)));
                Case { geometry, regions, alias, attributes, largest, levels, ets2, erratum, planted, steps, seed }
            },
        )
    })
}

/// How many cases `make test` runs; `make soak` sets another number.
const CASES: u32 = 10_000;

/// Runs cases on both cores' worth of threads, keeping what fails.
fn keep_their_promises(part: u32) {
    let cases: u32 = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let persistence = FileFailurePersistence::Direct("tests/regressions/machine.txt");
    let config = ProptestConfig {
        cases: cases / 2,
        failure_persistence: Some(Box::new(persistence)),
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&cases_of(part), |case| run(&case, None).map_err(TestCaseError::fail));
    result.unwrap_or_else(|failed| panic!("{failed}"));
}

fn cases_of(_part: u32) -> impl Strategy<Value = Case> {
    cases()
}

#[test]
fn repaints_keep_every_promise_whatever_happens() {
    keep_their_promises(0);
}

#[test]
fn repaints_keep_every_promise_on_other_machines_too() {
    keep_their_promises(1);
}
