// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random machines, memories, schedules and failures, under all of which the promises hold.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::case::{Case, Step, Trouble};
use crate::world::run;
use cleave::aarch64::BbmLevel;
use cleave::linear_map::{Change, Form, LargestLeaf};
use cleave::tables::{Attributes, Geometry, Granule, Level, MemoryType, PhysAddr, PhysRange, Scope, VaBits};

/// The kernel's own granule.
const SMALL_PAGES: [(u32, Granule, VaBits); 2] = [(3, Granule::K4, VaBits::V48), (2, Granule::K4, VaBits::V39)];

const LARGE_PAGES: [(u32, Granule, VaBits); 4] = [
    (2, Granule::K16, VaBits::V48),
    (2, Granule::K16, VaBits::V39),
    (1, Granule::K64, VaBits::V48),
    (1, Granule::K64, VaBits::V39),
];

fn geometries(weighted: &[(u32, Granule, VaBits)]) -> impl Strategy<Value = Geometry> + use<> {
    let weighted = weighted.iter().map(|&(weight, granule, va_bits)| (weight, Just(Geometry { granule, va_bits })));
    proptest::strategy::Union::new_weighted(weighted.collect())
}

fn levels() -> impl Strategy<Value = Vec<BbmLevel>> {
    proptest::collection::vec((0..4u64).prop_map(BbmLevel::from_number), 1..5)
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        6 => Just(Trouble::None),
        2 => (0..1001u64).prop_map(Trouble::OutOfMemory),
        2 => Just(Trouble::Absent),
        2 => Just(Trouble::Late),
        1 => Just(Trouble::Impatient),
    ]
}

fn changes() -> impl Strategy<Value = Change> {
    let levels = prop_oneof![Just(Level::L1), Just(Level::L2), Just(Level::L3)];
    prop_oneof![
        Just(Change::ReadOnly),
        Just(Change::ReadWrite),
        Just(Change::Unmap),
        Just(Change::Map),
        levels.prop_map(Change::Split),
        Just(Change::Collapse),
        prop_oneof![Just(Scope::Global), Just(Scope::AddressSpace)].prop_map(Change::Scope),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let form = prop_oneof![Just(Form::Ahead), Just(Form::InWindow)];
    let step = prop_oneof![
        5 => (form, trouble()).prop_map(|(form, trouble)| Step::Repaint(form, trouble)),
        6 => (changes(), any::<u64>(), trouble()).prop_map(|(change, lot, trouble)| Step::Change(change, lot, trouble)),
        1 => (1..5u64, 0..20u64).prop_map(|(pages, frames)| Step::Map(pages, frames)),
        1 => Just(Step::Replace),
        1 => Just(Step::Blocks),
        1 => Just(Step::Admit),
    ];
    proptest::collection::vec(step, 1..7)
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

/// The start of memory: low, or just below a boundary that tables of level 2 or root entries have.
fn place(geometry: Geometry) -> impl Strategy<Value = u64> {
    let root = geometry.size(geometry.root_level());
    let l2 = geometry.size(Level::L2);
    let page = geometry.page_size();
    let near = move |boundary: u64| (0..100u64).prop_map(move |pages| boundary - pages * page);
    // Room above it in every address size.
    let root = if root * 4 <= 1 << geometry.address_bits() { root } else { l2 * 4 };
    prop_oneof![2 => (0..100u64).prop_map(move |pages| pages * page), 1 => near(l2 * 2), 1 => near(root)]
}

/// A root entry for a linear map that ends at physical `end` to begin at: the first of a group of contiguous ones, and
/// below those of the kernel.
fn first_entry(geometry: Geometry, end: PhysAddr, lot: usize) -> usize {
    let root = geometry.root_level();
    let needed = end.0.div_ceil(geometry.size(root)) as usize;
    let choices = (geometry.entries(root) - 2).saturating_sub(needed) + 1;
    lot % choices / geometry.contiguous(root).unwrap_or(1) * geometry.contiguous(root).unwrap_or(1)
}

fn cases(of: &[(u32, Granule, VaBits)]) -> impl Strategy<Value = Case> + use<> {
    geometries(of).prop_flat_map(|geometry| {
        let attributes = prop_oneof![
            2 => Just(Attributes::NORMAL),
            1 => Just(Attributes { memory: MemoryType::NonCacheable, scope: Scope::AddressSpace, ..Attributes::NORMAL }),
        ];
        let alias = proptest::option::of((any::<u64>(), any::<u64>()));
        let memory = (pieces(geometry), place(geometry), prop_oneof![1 => Just(0), 2 => any::<usize>()], alias);
        let flags = (proptest::bool::weighted(0.3), proptest::bool::weighted(0.3), any::<bool>(), any::<u64>());
        let machine = (levels(), prop_oneof![3 => Just(0), 1 => 1..4usize], flags);
        let largest = prop_oneof![5 => Just(LargestLeaf::Block), 1 => Just(LargestLeaf::Page)];
        (memory, attributes, largest, machine, proptest::option::of(any::<u64>()), steps()).prop_map(
            move |((pieces, start, skipped, alias), attributes, largest, machine, planted, steps)| {
                let (levels, latecomers, (ets2, erratum, range_tlbi, seed)) = machine;
                let latecomers = latecomers.min(levels.len() - 1);
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
                // Blocks for the tables of the first paint, where there is a way to reach them.
                let block = geometry.size(Level::L2);
                let first = PhysAddr(at.next_multiple_of(block));
                let first = PhysRange::new(first, first.offset(block));
                if geometry.root_level() != Level::L2 {
                    regions.push(first);
                    at = first.end.0;
                }
                // Room for two maps, one of them in pages, the window, and the kernel's own.
                let tables: u64 = regions.iter().map(|region| region.bytes() >> geometry.shift(Level::L2)).sum();
                let frames = 3 * tables + 8 * 6 * regions.len() as u64 + 128;
                let start = PhysAddr(at + page);
                let frames = PhysRange::new(start, start.offset(frames * page));
                regions.push(frames);
                Case {
                    geometry,
                    skipped: first_entry(geometry, frames.end, skipped),
                    regions,
                    first,
                    frames,
                    alias,
                    attributes,
                    largest,
                    levels,
                    latecomers,
                    leaky: false,
                    ets2,
                    erratum,
                    range_tlbi,
                    planted,
                    steps,
                    seed,
                }
            },
        )
    })
}

/// The number of cases that `make test` runs; PROPTEST_CASES says another number.
const CASES: u32 = 10_000;

/// The number that an environment variable holds.
fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs `count` cases, or with SOAK_SECONDS as many as there is time for; what fails is shrunk and kept.
fn keep_their_promises(of: &[(u32, Granule, VaBits)], count: u32) {
    let start = Instant::now();
    let deadline = number("SOAK_SECONDS").map(|seconds| start + Duration::from_secs(seconds.into()));
    let mut done = 0;
    loop {
        let cases = if deadline.is_some() { 200 } else { count };
        let config = ProptestConfig {
            cases,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/machine.txt"))),
            max_shrink_iters: 2000,
            // A case in which no CPU makes progress takes long.
            max_shrink_time: 120_000,
            ..ProptestConfig::default()
        };
        let strategy = self::cases(of);
        let result = TestRunner::new(config).run(&strategy, |case| run(&case, None).map_err(TestCaseError::fail));
        result.unwrap_or_else(|failed| panic!("after {done} cases: {failed}"));
        done += cases;
        if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{done} cases in {seconds:.1} s, {:.0} a second", f64::from(done) / seconds);
}

#[test]
fn repaints_keep_every_promise_with_4_kib_pages() {
    let cases = number("PROPTEST_CASES").unwrap_or(CASES);
    keep_their_promises(&SMALL_PAGES, cases - cases / 4);
}

#[test]
fn repaints_keep_every_promise_with_16_and_64_kib_pages() {
    keep_their_promises(&LARGE_PAGES, number("PROPTEST_CASES").unwrap_or(CASES) / 4);
}
