// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first paint: a linear map for a machine that has none, and so no way yet to reach the tables it is made of.
//!
//! The tables come from one piece of free memory, which is reached through a temporary mapping in blocks; it goes as soon
//! as the map is linked. The three steps consume one another, so that none can be left out or come early.

use super::layout::Layout;
use super::paint::{LargestLeaf, PaintError, link, paint, tables_bound};
use crate::tables::{
    Attributes, Cpu, FrameSource, Geometry, Level, MapStats, PhysAddr, PhysRange, TableMemory, TlbiRepeat, TwoViews,
    map_blocks, unlink,
};

/// A piece of free memory with a temporary mapping of it, for the tables of a map to come.
#[derive(Debug)]
#[must_use = "the temporary mapping stays until `end`"]
pub struct FirstPaint<V> {
    view: V,
    entry: PhysAddr,
    tables: Row,
}

impl<V: TableMemory> FirstPaint<V> {
    /// Returns how much memory the tables of `layout` may take: whole blocks of level 2, adjacent and aligned to such a block.
    #[must_use]
    pub fn bytes(layout: &Layout<'_>, largest: LargestLeaf) -> u64 {
        let geometry = layout.geometry();
        (tables_bound(layout, largest) * geometry.page_size()).next_multiple_of(geometry.size(Level::L2))
    }

    /// Maps `piece`, free memory as [`FirstPaint::bytes`] asks for it, through the spare table `table`, which the empty
    /// descriptor of level 1 at `entry` will name; `view` is how tables in the piece are then reached, `roots` reaches the
    /// kernel's own static tables.
    ///
    /// # Panics
    /// When the piece has more blocks than a table has entries.
    pub fn begin<R: TableMemory, C: Cpu>(
        geometry: Geometry,
        roots: &R,
        cpu: &C,
        table: PhysAddr,
        entry: PhysAddr,
        piece: PhysRange,
        view: V,
    ) -> Self {
        map_blocks(roots, cpu, geometry, table, entry, piece, Attributes::NORMAL);
        Self { view, entry, tables: Row { next: piece.start, piece, bytes: geometry.page_size() } }
    }

    /// Paints `layout` below the root `apart`, which no walker uses, and links the finished map into `live`, which the
    /// kernel runs on. The map may be used on this CPU when it returns.
    ///
    /// # Errors
    /// As [`paint`]; nothing is linked then.
    pub fn paint<R: TableMemory, C: Cpu>(
        &mut self,
        layout: &Layout<'_>,
        largest: LargestLeaf,
        roots: &R,
        cpu: &C,
        apart: PhysAddr,
        live: PhysAddr,
    ) -> Result<MapStats, PaintError> {
        let memory = TwoViews { range: self.tables.piece, near: &self.view, far: roots };
        let stats = paint(layout, largest, &memory, cpu, &mut self.tables, apart)?;
        link(layout, roots, cpu, apart, live);
        Ok(stats)
    }

    /// Takes the temporary mapping away, on every CPU, and returns the memory that became tables.
    ///
    /// A repaint gives these tables to the frame allocator. So the allocator's memory must include them, as frames in use
    /// ([`BitmapFrames::claim`](crate::tables::BitmapFrames::claim)); otherwise the repaint is refused.
    pub fn end<R: TableMemory, C: Cpu>(self, roots: &R, cpu: &C, repeat: TlbiRepeat) -> PhysRange {
        unlink(roots, cpu, self.entry, repeat);
        PhysRange::new(self.tables.piece.start, self.tables.next)
    }
}

/// Frames one behind the other.
#[derive(Debug)]
struct Row {
    next: PhysAddr,
    piece: PhysRange,
    bytes: u64,
}

impl FrameSource for Row {
    fn available(&self) -> u64 {
        PhysRange::new(self.next, self.piece.end).bytes() / self.bytes
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        let frame = self.next;
        (frame < self.piece.end).then(|| {
            self.next = frame.offset(self.bytes);
            frame
        })
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        PhysRange::new(self.piece.start, self.next).contains(frame)
    }

    fn free(&mut self, frame: PhysAddr) {
        unreachable!("table {frame} given back while painting");
    }
}
