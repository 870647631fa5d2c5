// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small edits of tables that walkers reach, each whole in itself, with its barriers: a temporary mapping in blocks and
//! its end, one leaf replaced; and the copying of entries that no walker reaches.
//!
//! A kernel that uses these, [`super::TableTree::map_pages`] and the linear map's own ways stores no descriptor itself.

use core::ops::Range;

use super::address::{PhysAddr, PhysRange};
use super::attributes::Attributes;
use super::descriptor::Descriptor;
use super::geometry::{Geometry, Level};
use super::traits::{Cpu, TableMemory, TlbiRepeat, invalidate_everywhere, slot};

/// Memory that is mapped for a while, in blocks of level 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TemporaryBlocks {
    /// The memory: whole blocks.
    pub piece: PhysRange,
    /// A spare table, for the blocks.
    pub table: PhysAddr,
    /// The empty descriptor of level 1 that will name the table.
    pub entry: PhysAddr,
}

/// Maps `blocks`. The mapping may be used on this CPU when it returns; [`unlink`] of the entry ends it.
///
/// # Panics
/// When the piece has more blocks than a table has entries.
pub fn map_blocks<M: TableMemory, C: Cpu>(
    memory: &M,
    cpu: &C,
    geometry: Geometry,
    blocks: TemporaryBlocks,
    attributes: Attributes,
) {
    let TemporaryBlocks { piece, table, entry } = blocks;
    let size = geometry.size(Level::L2);
    let (blocks, entries) = ((piece.bytes() / size) as usize, geometry.entries(Level::L2));
    assert!(blocks <= entries, "{blocks} blocks do not fit a table of {entries}");
    memory.store_run(table, attributes.leaf(piece.start, Level::L2), size, blocks);
    memory.store_run(slot(table, blocks), Descriptor::EMPTY, 0, entries - blocks);
    // The blocks are visible to the walkers before the entry that makes them reachable, ...
    cpu.dsb_ishst();
    memory.store(entry, Descriptor::table(table));
    // ... and that entry before the accesses that use it, ...
    cpu.dsb_ishst();
    // ... which are fetched after this.
    cpu.isb();
}

/// Empties `entry` for good. No CPU may use its mapping during the call, and no CPU of this VMID can use it afterwards.
pub fn unlink<M: TableMemory, C: Cpu>(memory: &M, cpu: &C, entry: PhysAddr, repeat: TlbiRepeat) {
    memory.store(entry, Descriptor::EMPTY);
    invalidate_everywhere(cpu, repeat);
}

/// Replaces the leaf at `at`, which is of no contiguous group, by break-before-make. No CPU may use its mapping
/// meanwhile.
pub fn replace_leaf<M: TableMemory, C: Cpu>(memory: &M, cpu: &C, at: PhysAddr, new: Descriptor, repeat: TlbiRepeat) {
    memory.store(at, Descriptor::EMPTY);
    invalidate_everywhere(cpu, repeat);
    memory.store(at, new);
    // Visible to walks before the accesses that use it, ...
    cpu.dsb_ishst();
    // ... which are fetched after this.
    cpu.isb();
}

/// Changes the permissions of the leaf at `at`, which is of no contiguous group and may be in use. When it returns no
/// CPU of this VMID uses the old permissions.
///
/// Permissions are not among the fields that ask for break-before-make (DDI 0487, D8.16.1): until the invalidation is
/// complete an access meets the old descriptor or the new one, and both translate alike.
///
/// # Panics
/// When `new` differs from the present leaf in other fields than AP, PXN and UXN.
pub fn change_permissions<M: TableMemory, C: Cpu>(
    memory: &M,
    cpu: &C,
    at: PhysAddr,
    new: Descriptor,
    repeat: TlbiRepeat,
) {
    const PERMISSIONS: u64 = 0b11 << 6 | 1 << 53 | 1 << 54;
    let old = memory.load(at);
    assert!((old.0 ^ new.0) & !PERMISSIONS == 0, "{old:?} and {new:?} differ in more than permissions");
    memory.store(at, new);
    invalidate_everywhere(cpu, repeat);
}

/// Copies `entries` of the table `from` to the same places of `to`, which no walker reaches.
pub fn copy_entries<M: TableMemory>(memory: &M, from: PhysAddr, to: PhysAddr, entries: Range<usize>) {
    for entry in entries {
        memory.store(slot(to, entry), memory.load(slot(from, entry)));
    }
}

/// Empties `entries` of `table`, which no walker reaches.
pub fn clear_entries<M: TableMemory>(memory: &M, table: PhysAddr, entries: Range<usize>) {
    for entry in entries {
        memory.store(slot(table, entry), Descriptor::EMPTY);
    }
}
