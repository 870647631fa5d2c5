// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dumps of trees made by hand.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::super::fake::FakeMemory;
use super::super::{Attributes, Permissions, slot};
use super::*;

const K4: Geometry = Geometry::K4_V48;
const ROOT: PhysAddr = PhysAddr(0x1_0000);
const TABLE1: PhysAddr = PhysAddr(0x2_0000);
const TABLE2: PhysAddr = PhysAddr(0x3_0000);
const TABLE3: PhysAddr = PhysAddr(0x4_0000);
const BASE: VirtAddr = VirtAddr(0xffff_0000_0000_0000);

fn tree() -> FakeMemory {
    let memory = FakeMemory::default();
    for table in [ROOT, TABLE1, TABLE2, TABLE3] {
        memory.zero_table(table, 512);
    }
    memory.store(slot(ROOT, 0), Descriptor::table(TABLE1));
    memory.store(slot(TABLE1, 1), Attributes::NORMAL.leaf(PhysAddr(0x4000_0000), Level::L1));
    memory.store(slot(TABLE1, 2), Descriptor::table(TABLE2));
    memory.store(slot(TABLE2, 0), Descriptor::table(TABLE3));
    memory
}

fn tree_of(memory: &FakeMemory) -> TableTree<&FakeMemory> {
    TableTree { memory, geometry: K4, root: ROOT }
}

fn lines(memory: &FakeMemory) -> Vec<String> {
    let mut lines = Vec::new();
    tree_of(memory).dump(BASE, 0..512, |run| lines.push(run.to_string()));
    lines
}

fn page(memory: &FakeMemory, index: usize, leaf: Descriptor) {
    memory.store(slot(TABLE3, index), leaf);
}

#[test]
fn a_dump_folds_adjacent_leaves_that_differ_in_address_only() {
    let memory = tree();
    let leaf = |output: u64| Attributes::NORMAL.leaf(PhysAddr(output), Level::L3);
    for index in 0..3 {
        page(&memory, index, leaf(0x8000_0000 + 0x1000 * index as u64));
    }
    // Goes on, with other permissions; then with the same ones at another place; then behind a hole.
    let only = Attributes::NORMAL.with_permissions(Permissions::ReadOnly);
    page(&memory, 3, only.leaf(PhysAddr(0x8000_3000), Level::L3));
    page(&memory, 4, only.leaf(PhysAddr(0x9000_0000), Level::L3));
    page(&memory, 6, leaf(0x8000_6000));
    page(&memory, 7, leaf(0x8000_7000).made_invalid());
    let found = lines(&memory);
    assert_eq!(
        found,
        [
            "0xffff000040000000..0xffff000080000000    1 GiB      1x1G      rw- normal        -> 0x0040000000",
            "0xffff000080000000..0xffff000080003000   12 KiB      3x4K      rw- normal        -> 0x0080000000",
            "0xffff000080003000..0xffff000080004000    4 KiB      1x4K      r-- normal        -> 0x0080003000",
            "0xffff000080004000..0xffff000080005000    4 KiB      1x4K      r-- normal        -> 0x0090000000",
            "0xffff000080006000..0xffff000080007000    4 KiB      1x4K      rw- normal        -> 0x0080006000",
            "0xffff000080007000..0xffff000080008000    4 KiB      1x4K      --- normal        -> 0x0080007000",
        ]
    );
}

#[test]
fn leaves_of_different_sizes_do_not_fold() {
    let memory = tree();
    for index in 0..512 {
        page(&memory, index, Attributes::NORMAL.leaf(PhysAddr(0x8000_0000 + 0x1000 * index as u64), Level::L3));
    }
    memory.store(slot(TABLE2, 1), Attributes::NORMAL.leaf(PhysAddr(0x8020_0000), Level::L2));
    for index in 16..32 {
        let leaf = Attributes::NORMAL.leaf(PhysAddr(0x8000_0000 + ((index as u64) << 21)), Level::L2);
        memory.store(slot(TABLE2, index), leaf.with_contiguous());
    }
    let found = lines(&memory);
    assert!(found[1].contains("2 MiB    512x4K "), "{found:#?}");
    assert!(found[2].contains("2 MiB      1x2M "), "{found:#?}");
    assert!(found[3].contains("32 MiB     16xcont2M "), "{found:#?}");
}

#[test]
fn a_dump_marks_leaves_that_el1_may_write_and_execute() {
    let memory = tree();
    let both = Descriptor(Attributes::NORMAL.leaf(PhysAddr(0x8000_0000), Level::L3).0 & !(1 << 53));
    page(&memory, 0, both);
    assert!(lines(&memory)[1].ends_with(" W+X!"));
    assert!(lines(&memory)[1].contains(" rwx "));
    memory.store(slot(TABLE2, 0), Descriptor(Descriptor::table(TABLE3).0 | 1 << 59));
    assert!(lines(&memory)[1].contains(" rw- "));
    memory.store(slot(TABLE2, 0), Descriptor(Descriptor::table(TABLE3).0 | 1 << 62));
    assert!(lines(&memory)[1].contains(" r-x "));
    memory.store(slot(TABLE2, 0), Descriptor::table(TABLE3));
    page(&memory, 0, both.made_invalid());
    assert!(!lines(&memory)[1].contains("W+X!"));
}

#[test]
fn the_last_page_there_is_ends_the_dump_without_an_overflow() {
    let memory = tree();
    memory.store(slot(ROOT, 511), Descriptor::table(TABLE1));
    memory.store(slot(TABLE1, 511), Descriptor::table(TABLE2));
    memory.store(slot(TABLE2, 511), Descriptor::table(TABLE3));
    page(&memory, 511, Attributes::NORMAL.leaf(PhysAddr(0x1000), Level::L3));
    let mut last = None;
    tree_of(&memory).dump(BASE, 511..512, |run| last = Some(*run));
    assert_eq!(last.map(|run| (run.start.0, run.bytes)), Some((0xffff_ffff_ffff_f000, 0x1000)));
}

#[test]
fn a_path_names_every_level_down_to_what_ends_it() {
    let memory = tree();
    page(&memory, 5, Attributes::NORMAL.leaf(PhysAddr(0x8000_5000), Level::L3));
    let way = |address| {
        let mut way = Vec::new();
        tree_of(&memory).path(VirtAddr(address), |index, at, found| {
            way.push(format!("L{} [{index}] {at}: {found}", found.level.number()));
        });
        way
    };
    assert_eq!(
        way(0xffff_0000_8000_5123),
        [
            "L0 [0] 0x10000: table 0x20000",
            "L1 [2] 0x20010: table 0x30000",
            "L2 [0] 0x30000: table 0x40000",
            "L3 [5] 0x40028: page 4K -> 0x80005000 normal rw PXN UXN AF inner",
        ]
    );
    assert_eq!(way(0xffff_0000_8000_6000)[3], "L3 [6] 0x40030: nothing");
    assert_eq!(way(0xffff_0000_4000_0000)[1], "L1 [1] 0x20008: block 1G -> 0x40000000 normal rw PXN UXN AF inner");
    assert_eq!(way(0xffff_8000_0000_0000), ["L0 [256] 0x10800: nothing"]);
}

#[test]
fn sizes_are_said_exactly() {
    let all =
        [(4 << 10, "4 KiB"), (1 << 30, "1 GiB"), ((1 << 30) + 4096, "1048580 KiB"), (1 << 40, "1 TiB"), (7, "7 B")];
    for (bytes, text) in all {
        assert_eq!(Size(bytes).to_string(), text);
    }
    assert_eq!(format!("[{:>9}]", Size(1 << 20)), "[    1 MiB]");
}
