// SPDX-License-Identifier: MIT OR Apache-2.0
//! The return of tables to the frame allocator: the old ones after a commit, the replacement after an abort.
//!
//! The caller guarantees that the return is safe: the commit's invalidation is complete when the rendezvous is over,
//! and a replacement that was called off was never linked.

use core::ops::Range;

use crate::tables::{FrameSource, Kind, Level, PhysAddr, TableMemory, TableTree, slot};

/// Frees every table below the root entries `entries` of `tree` and returns how many there were. The entries
/// themselves are not touched. `roots` reaches the root, and the tree's memory every other table.
///
/// No walker may reach these tables, and no TLB may hold an entry of them: either they were never linked, or the
/// invalidation that retires them has completed (Arm ARM D8.16; the commit's DSB ISH).
pub fn free_tables<M: TableMemory, R: TableMemory, F: FrameSource>(
    tree: &TableTree<M>,
    roots: &R,
    entries: Range<usize>,
    frames: &mut F,
) -> u64 {
    let mut freed = 0;
    each_table(tree, roots, entries, |table| {
        frames.free(table);
        freed += 1;
    });
    freed
}

/// Returns a table below the root entries `entries` of `tree` that `frames` does not own, if there is one: [`free_tables`]
/// would panic at it.
pub(super) fn foreign_table<M: TableMemory, R: TableMemory, F: FrameSource>(
    tree: &TableTree<M>,
    roots: &R,
    entries: Range<usize>,
    frames: &F,
) -> Option<PhysAddr> {
    let mut foreign = None;
    each_table(tree, roots, entries, |table| {
        if !frames.owns(table) {
            foreign = Some(table);
        }
    });
    foreign
}

/// Calls `each` for every table below the root entries, a table after those below it.
fn each_table<M: TableMemory, R: TableMemory>(
    tree: &TableTree<M>,
    roots: &R,
    entries: Range<usize>,
    mut each: impl FnMut(PhysAddr),
) {
    let level = tree.geometry.root_level();
    for entry in entries {
        let root = roots.load(slot(tree.root, entry)).kind(tree.geometry, level);
        if let (Kind::Table(below), Some(next)) = (root, level.next()) {
            each_below(tree, below, next, &mut each);
        }
    }
}

/// Calls `each` for every table below `table`, a table of `level`, and then for the table itself.
fn each_below<M: TableMemory>(tree: &TableTree<M>, table: PhysAddr, level: Level, each: &mut impl FnMut(PhysAddr)) {
    if let Some(next) = level.next() {
        for index in 0..tree.geometry.entries(level) {
            if let Kind::Table(below) = tree.memory.load(slot(table, index)).kind(tree.geometry, level) {
                each_below(tree, below, next, each);
            }
        }
    }
    each(table);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::fake::{FakeFrames, FakeMemory};
    use crate::tables::{Attributes, Descriptor, Geometry};

    /// Only tables are given back, each once, and only those below the entries asked for; what the entries say stays.
    #[test]
    fn tables_are_freed_and_leaves_are_not() {
        let memory = FakeMemory::default();
        let root = PhysAddr(0x1000);
        memory.zero_table(root, 512);
        let mut frames = FakeFrames::new(0x4000_0000, 0x1000, 10);
        let [first, second, third, others] = [0; 4].map(|_| frames.allocate().unwrap());
        memory.zero_table(first, 512);
        memory.zero_table(second, 512);
        // A page table's contents are never looked at: an unfilled one has none.
        memory.store(slot(root, 0), Descriptor::table(first));
        memory.store(slot(first, 511), Descriptor::table(second));
        // Leaves whose output addresses are frames: they are not tables, at any address.
        memory.store(slot(first, 0), Attributes::NORMAL.leaf(PhysAddr(0x4000_0000), Level::L1));
        memory.store(slot(second, 0), Attributes::NORMAL.leaf(PhysAddr(0x4000_0000), Level::L2).made_invalid());
        memory.store(slot(second, 511), Descriptor::table(third));
        memory.store(slot(root, 1), Descriptor::table(others));
        let before = memory.contents();
        let tree = TableTree { memory: &memory, geometry: Geometry::K4_V48, root };
        assert_eq!(foreign_table(&tree, &memory, 0..1, &frames), None);
        for table in [first, second, third] {
            assert!(frames.out.remove(&table));
            assert_eq!(foreign_table(&tree, &memory, 0..1, &frames), Some(table));
            frames.out.insert(table);
        }
        assert_eq!(free_tables(&tree, &memory, 0..1, &mut frames), 3);
        assert_eq!(frames.out, [others].into());
        assert_eq!(frames.available(), 9);
        assert_eq!(memory.contents(), before);
    }
}
