// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first paint: a linear map for a machine that has none, and therefore no mapping yet to reach its tables by.
//!
//! The tables come from one piece of free memory, which is reached through a temporary mapping in blocks; it goes as soon
//! as the map is linked. The three steps consume one another, so that none can be left out or come early.

use super::layout::Layout;
use super::map::Roots;
use super::paint::{LargestLeaf, PaintError, link, paint, tables_bound};
use crate::tables::{
    Attributes, Cpu, Level, MapStats, PhysRange, RangeFrames, TableMemory, TemporaryBlocks, TlbiRepeat, TwoViews,
    map_blocks, unlink,
};

/// Returns the most memory that the tables of `layout` can take: whole blocks of level 2, adjacent and aligned to such
/// a block.
#[must_use]
pub fn first_paint_bytes(layout: &Layout<'_>, largest: LargestLeaf) -> u64 {
    let geometry = layout.geometry();
    (tables_bound(layout, largest) * geometry.page_size()).next_multiple_of(geometry.size(Level::L2))
}

/// A piece of free memory with a temporary mapping of it, for the tables of a map to come.
#[derive(Debug)]
#[must_use = "the temporary mapping stays until `end`"]
pub struct FirstPaint<'a, R, C, V> {
    layout: &'a Layout<'a>,
    roots: &'a R,
    cpu: &'a C,
    blocks: TemporaryBlocks,
    view: V,
    tables: RangeFrames<V>,
}

impl<'a, R: TableMemory, C: Cpu, V: TableMemory + Copy> FirstPaint<'a, R, C, V> {
    /// Maps `blocks`, free memory as [`first_paint_bytes`] asks for it, for the tables of `layout`; `view` is how tables in it
    /// are then reached, `roots` reaches the kernel's own static tables.
    ///
    /// # Panics
    /// When the piece has more blocks than a table has entries.
    pub fn begin(layout: &'a Layout<'a>, roots: &'a R, cpu: &'a C, blocks: TemporaryBlocks, view: V) -> Self {
        let geometry = layout.geometry();
        map_blocks(roots, cpu, geometry, blocks, Attributes::NORMAL);
        Self { layout, roots, cpu, blocks, view, tables: RangeFrames::new(view, blocks.piece, geometry) }
    }

    /// Paints the map below the root of the replacement, which no walker uses, and links the finished map into the live
    /// root, which the kernel runs on. The map may be used on this CPU when it returns.
    ///
    /// # Errors
    /// As [`paint`]; nothing is linked then.
    pub fn paint(&mut self, largest: LargestLeaf, roots: Roots) -> Result<MapStats, PaintError> {
        let memory = TwoViews { range: self.blocks.piece, near: self.view, far: self.roots };
        let stats = paint(self.layout, largest, &memory, self.cpu, &mut self.tables, roots.replacement)?;
        link(self.layout, self.roots, self.cpu, roots.replacement, roots.live);
        Ok(stats)
    }

    /// Takes the temporary mapping away, on every CPU, and returns the memory that became tables.
    ///
    /// A repaint gives these tables to the frame allocator. So the allocator's memory must include them, as frames in use
    /// ([`BitmapFrames::claim`](crate::tables::BitmapFrames::claim)); otherwise the repaint is refused.
    pub fn end(self, repeat: TlbiRepeat) -> PhysRange {
        unlink(self.roots, self.cpu, self.blocks.entry, repeat);
        self.tables.used()
    }
}
