// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: every kind of node and reservation, alone and, against a bitmap, together.

use proptest::prelude::*;

use super::super::*;
use super::fixtures::*;
use cleave::tables::{PhysAddr, PhysRange};

/// Returns a root with this space and no memory.
fn bare() -> N {
    node("").space(2, 2)
}

/// Returns the memory map of a tree that has one.
fn map(root: N) -> MemoryMap {
    open(&dtb(root)).memory().unwrap()
}

/// Returns the text of a tree's error.
fn error(root: N) -> String {
    open(&dtb(root)).memory().unwrap_err().to_string()
}

/// Returns a child of `/reserved-memory`.
fn reserved(name: &str, start: u64, bytes: u64) -> N {
    node(name).cells("reg", &pairs(&[(start, bytes)]))
}

#[test]
fn memory_nodes_in_any_order_that_touch_or_overlap_are_one_range() {
    let map = map(bare()
        .with(memory(&[(0x8000_0000, 0x1000_0000), (0x4000_0000, 0x1000_0000)]))
        .with(memory(&[(0x5000_0000, 0x1000_0000)]))
        .with(memory(&[(0x5800_0000, 0x1000_0000), (0x1_0000_0000, 0)])));
    assert_eq!(map.ram().as_slice(), [range(0x4000_0000, 0x6800_0000), range(0x8000_0000, 0x9000_0000)]);
}

#[test]
fn memory_that_is_switched_off_or_of_another_kind_is_not_there() {
    let map = map(bare()
        .with(memory(&[(0, 0x1000)]))
        .with(memory(&[(0x1_0000, 0x1000)]).text("status", &["disabled"]))
        .with(memory(&[(0x2_0000, 0x1000)]).text("device_type", &["memory-controller"]))
        .with(node("memory").cells("reg", &pairs(&[(0x3_0000, 0x1000)])))
        .with(node("ram").cells("reg", &pairs(&[(0x4_0000, 0x1000)]))));
    assert_eq!(map.ram().as_slice(), [range(0, 0x1000), range(0x3_0000, 0x3_1000)]);
}

#[test]
fn cells_are_one_or_two_wide() {
    let tree = |address, size, reg: &[u32]| {
        node("").space(address, size).with(node("memory@0").text("device_type", &["memory"]).cells("reg", reg))
    };
    assert_eq!(map(tree(1, 1, &[0x4000_0000, 0x1000])).ram().as_slice(), [range(0x4000_0000, 0x4000_1000)]);
    assert_eq!(map(tree(2, 1, &[1, 0, 0x1000])).ram().as_slice(), [range(0x1_0000_0000, 0x1_0000_1000)]);
    assert_eq!(map(tree(1, 2, &[0, 1, 0])).ram().as_slice(), [range(0, 0x1_0000_0000)]);
    assert_eq!(error(tree(3, 1, &[0, 0, 0, 1])), "memory: reg of memory@0 has more than 64 bits");
    assert_eq!(
        error(tree(2, 2, &[0, 0, 0])),
        "memory: reg of memory@0 has a length of 12 bytes, which is no whole element"
    );
    assert_eq!(
        error(tree(u32::MAX, u32::MAX, &[0])),
        "memory: reg of memory@0 has a length of 4 bytes, which is no whole element"
    );
    let overflow = error(tree(2, 2, &[u32::MAX, u32::MAX, 0, 2]));
    assert_eq!(overflow, "memory: reg of memory@0 reaches beyond 64 bits: 0x2 bytes at 0xffffffffffffffff");
}

#[test]
fn a_tree_without_memory_is_an_error() {
    assert_eq!(error(bare()), "the device tree has no memory");
    assert_eq!(error(bare().with(memory(&[(0x1000, 0)]))), "the device tree has no memory");
    assert_eq!(error(bare().with(node("memory"))), "memory: reg of memory is missing");
}

#[test]
fn reservations_of_every_kind_are_kept_apart() {
    let children = node("reserved-memory")
        .space(2, 2)
        .flag("ranges")
        .with(reserved("secure@0", 0x4100_0000, 0x10_0000).flag("no-map"))
        .with(reserved("framebuffer@0", 0x4200_0800, 0x1000))
        .with(reserved("off@0", 0x4300_0000, 0x1000).flag("no-map").text("status", &["disabled"]))
        .with(node("cma").cells("size", &[0, 0x100_0000]).flag("reusable"));
    let chosen =
        node("chosen").cells("linux,initrd-start", &[0, 0x4800_0010]).cells("linux,initrd-end", &[0x4800_1010]);
    let dtb = reserving(root().with(children).with(chosen), &[(0x4000_0000, 0x80), (0x5000_0000, 0)]);
    let mut map = open(&dtb).memory().unwrap();
    assert_eq!(map.no_map().as_slice(), [range(0x4100_0000, 0x4110_0000)]);
    let initrd = range(0x4800_0010, 0x4800_1010);
    assert_eq!(map.reserved().as_slice(), [range(0x4000_0000, 0x4000_0080), range(0x4200_0800, 0x4200_1800), initrd]);
    map.reserve(range(0x7000_0000, 0x7001_2345));
    assert_eq!(map.mapped().as_slice(), [range(0x4000_0000, 0x4100_0000), range(0x4110_0000, 0x8000_0000)]);
    assert_eq!(
        map.free().as_slice(),
        [
            range(0x4000_1000, 0x4100_0000),
            range(0x4110_0000, 0x4200_0000),
            range(0x4200_2000, 0x4800_0000),
            range(0x4800_2000, 0x7000_0000),
            range(0x7001_3000, 0x8000_0000),
        ]
    );
}

#[test]
fn a_reservation_that_cannot_be_read_is_an_error() {
    let children = |child: N| root().with(node("reserved-memory").space(2, 2).flag("ranges").with(child));
    let broken = children(node("secure@0").cells("reg", &[0, 0, 1]).flag("no-map"));
    assert_eq!(error(broken), "memory: reg of secure@0 has a length of 12 bytes, which is no whole element");
    let dtb = reserving(root(), &[(u64::MAX, 2)]);
    let error = open(&dtb).memory().unwrap_err().to_string();
    assert_eq!(error, "memory: /memreserve/ of the tree reaches beyond 64 bits: 0x2 bytes at 0xffffffffffffffff");
}

#[test]
fn an_initrd_has_a_start_and_an_end_in_that_order() {
    let chosen = |start: Option<u32>, end: Option<u32>| {
        let chosen = start.iter().fold(node("chosen"), |node, start| node.cells("linux,initrd-start", &[*start]));
        root().with(end.iter().fold(chosen, |node, end| node.cells("linux,initrd-end", &[*end])))
    };
    assert!(map(chosen(None, None)).reserved().as_slice().is_empty());
    assert!(map(chosen(Some(0x4000_0000), Some(0x4000_0000))).reserved().as_slice().is_empty());
    assert_eq!(map(chosen(Some(1), Some(2))).reserved().as_slice(), [range(1, 2)]);
    assert_eq!(error(chosen(Some(2), Some(1))), "the initrd ends at 0x1, before its start at 0x2");
    assert_eq!(error(chosen(Some(2), None)), "memory: linux,initrd-end of chosen is missing");
    assert_eq!(error(chosen(None, Some(2))), "memory: linux,initrd-start of chosen is missing");
    let wide = root().with(node("chosen").cells("linux,initrd-start", &[0, 0, 0]));
    assert_eq!(error(wide), "memory: linux,initrd-start of chosen has a length of 12 bytes, which is no whole element");
}

#[test]
fn the_page_of_a_spin_table_is_reserved_even_if_firmware_did_not() {
    let cpu = |name: &str, release: u32| {
        let cpu = node(name).text("device_type", &["cpu"]).cells("reg", &[0]);
        cpu.text("enable-method", &["spin-table"]).cells("cpu-release-addr", &[release])
    };
    let cpus = node("cpus").space(1, 0).with(cpu("cpu@0", 0x4000_00d8)).with(cpu("cpu@1", 0x4000_1ffc));
    assert_eq!(map(root().with(cpus)).reserved().as_slice(), [range(0x4000_0000, 0x4000_3000)]);
}

/// Pieces of memory, a MiB from one to the next, each a page larger than the one before.
fn pieces(count: u64) -> Vec<(u64, u64)> {
    (0..count).map(|n| (n * 0x10_0000, (n + 1) * 0x1000)).collect()
}

/// The smallest pieces go, wherever in the order they come. Memory that is an error, or of which more is left out, fails this.
#[test]
fn memory_in_too_many_pieces_loses_the_smallest_pieces() {
    let all = map(bare().with(memory(&pieces(64))));
    assert_eq!((all.ram().as_slice().len(), all.crowded_out()), (MEMORY_RANGES, 0));
    for reversed in [false, true] {
        let mut many = pieces(67);
        if reversed {
            many.reverse();
        }
        let map = map(bare().with(memory(&many)));
        assert_eq!(map.ram().as_slice().len(), MEMORY_RANGES);
        assert_eq!(map.ram().as_slice()[0], range(0x30_0000, 0x30_4000));
        assert_eq!(map.crowded_out(), 0x1000 + 0x2000 + 0x3000);
    }
}

/// A range that must not be mapped is never mapped, and a reserved one is never given away, however many pieces there are. The
/// memory that is lost for that is counted.
#[test]
fn reservations_beyond_the_capacity_close_the_smallest_gaps() {
    // The first two have a gap of 0x1_0000 bytes, and every later gap is two pages larger than the one before.
    let holes =
        |count: u64| (0..count).map(|n| (0x4010_0000 + n * 0x1_0000 + n * n * 0x1000, 0x1000)).collect::<Vec<_>>();
    let children = |flag: bool| {
        holes(66).into_iter().enumerate().fold(
            node("reserved-memory").space(2, 2).flag("ranges"),
            |parent, (n, (start, bytes))| {
                let child = reserved(&format!("hole@{n}"), start, bytes);
                parent.with(if flag { child.flag("no-map") } else { child })
            },
        )
    };
    for no_map in [true, false] {
        let map = map(root().with(children(no_map)));
        let open = if no_map { map.mapped() } else { map.free() };
        for (start, bytes) in holes(66) {
            assert!(!open.overlaps(range(start, start + bytes)), "{start:#x} is open");
        }
        let whole: u64 = map.ram().bytes() - 66 * 0x1000;
        assert_eq!(open.bytes() + map.crowded_out(), whole);
        // Two gaps, since two holes are too many; and a third, since 64 holes make 65 pieces.
        assert_eq!(map.crowded_out(), 0x1_0000 + 0x1_2000 + 0x1_4000);
    }
}

#[test]
fn memory_that_cannot_be_reached_is_left_out_and_counted() {
    let mut map =
        map(bare().with(memory(&[(0x4000_0000, 0x4000_0000), (0xc000_0000, 0x1000), (0x1_0000_0000, 0x2000)])));
    map.clip(PhysAddr(0x1_0000_0000));
    assert_eq!(map.beyond(), 0x2000);
    assert_eq!(map.ram().as_slice(), [range(0x4000_0000, 0x8000_0000), range(0xc000_0000, 0xc000_1000)]);
    map.clip(PhysAddr(0x6000_0000));
    assert_eq!((map.beyond(), map.crowded_out()), (0x2000 + 0x1000 + 0x2000_0000, 0));
    assert_eq!(map.mapped().as_slice(), [range(0x4000_0000, 0x6000_0000)]);
}

/// The unit of the model's bitmap: a quarter of a page.
const UNIT: u64 = 0x400;
/// Units of the model: 64 pages.
const UNITS: usize = 256;

/// Returns ranges of the model, as starts and lengths in units.
fn some_ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0..200u64, 0..40u64).prop_map(|(start, units)| (start * UNIT, units * UNIT)), 0..5)
}

/// Marks the units of `ranges`.
fn marked(ranges: &[(u64, u64)]) -> [bool; UNITS] {
    core::array::from_fn(|unit| {
        let address = unit as u64 * UNIT;
        ranges.iter().any(|(start, bytes)| (*start..start + bytes).contains(&address))
    })
}

/// Marks every unit of the pages for which `whole` holds.
fn pages(whole: impl Fn(core::ops::Range<usize>) -> bool) -> [bool; UNITS] {
    core::array::from_fn(|unit| whole(unit / 4 * 4..unit / 4 * 4 + 4))
}

/// Returns the ranges of a list, in units.
fn units(set: &MemoryRanges) -> [bool; UNITS] {
    core::array::from_fn(|unit| set.iter().any(|range| range.contains(PhysAddr(unit as u64 * UNIT))))
}

proptest! {
    #[test]
    fn the_lists_are_what_a_bitmap_of_the_tree_says(
        ram in some_ranges(), more_ram in some_ranges(), disabled in some_ranges(),
        no_map in some_ranges(), kept in some_ranges(), memreserve in some_ranges(),
        initrd in (0..200u64, 1..9u64),
    ) {
        let children = |list: &[(u64, u64)], kind: &str| list.iter().enumerate()
            .map(|(number, &(start, bytes))| reserved(&format!("{kind}{number}@{start:x}"), start, bytes)).collect::<Vec<_>>();
        let mut reservations = node("reserved-memory").space(2, 2).flag("ranges");
        for child in children(&no_map, "secure") { reservations = reservations.with(child.flag("no-map")); }
        for child in children(&kept, "kept") { reservations = reservations.with(child); }
        let (start, end) = (initrd.0 * UNIT, (initrd.0 + initrd.1) * UNIT);
        let chosen = node("chosen").cells("linux,initrd-start", &[start as u32]).cells("linux,initrd-end", &[end as u32]);
        let nodes = [("memory@1", &ram), ("memory@2", &more_ram), ("memory@3", &disabled)];
        let mut root = bare().with(reservations).with(chosen);
        for (name, entries) in nodes {
            let memory = node(name).text("device_type", &["memory"]).cells("reg", &pairs(entries));
            root = root.with(if name == "memory@3" { memory.text("status", &["disabled"]) } else { memory });
        }
        let dtb = reserving(root, &memreserve.iter().copied().filter(|entry| *entry != (0, 0)).collect::<Vec<_>>());
        let ram = marked(&[ram, more_ram].concat());
        let Ok(map) = open(&dtb).memory() else {
            prop_assert!(!ram.contains(&true));
            return Ok(());
        };
        let no_map = marked(&no_map);
        let held = marked(&[kept, memreserve, vec![(start, end - start)]].concat());
        let mapped = pages(|page| page.clone().all(|unit| ram[unit] && !no_map[unit]));
        let free = pages(|page| page.clone().all(|unit| mapped[unit] && !held[unit]));
        prop_assert_eq!(units(map.ram()), ram);
        prop_assert_eq!(units(map.no_map()), no_map);
        prop_assert_eq!(units(map.reserved()), held);
        prop_assert_eq!(units(&map.mapped()), mapped);
        prop_assert_eq!(units(&map.free()), free);
        prop_assert!(map.free().iter().all(|range: PhysRange| range.start.is_aligned(4096) && range.end.is_aligned(4096)));
    }
}
