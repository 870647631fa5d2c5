// SPDX-License-Identifier: MIT OR Apache-2.0
//! Painting: the first writing of the linear map, in the largest leaves that alignment allows.
//!
//! A leaf never reaches beyond its region, since a CPU may speculate into all memory that is mapped cacheable. The
//! tables that a full split would take are counted on the way ([`MapStats`]).

use core::fmt;

use super::layout::Layout;
use crate::tables::{
    Cpu, Descriptor, FrameSource, Geometry, Hint, Kind, Level, MapStats, Part, PhysAddr, TableMemory, slot,
};

/// The largest leaf a painter may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LargestLeaf {
    /// Blocks, contiguous groups and pages: whichever is largest by alignment.
    Block,
    /// Pages only (the alias keeps blocks and groups all the same, as it does through a split).
    Page,
}

/// An error in painting a map. The tables used so far stay in the unfinished tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PaintError {
    /// No frame for a table on the way to this physical address.
    OutOfFrames(PhysAddr),
    /// This physical address is mapped already.
    Occupied(PhysAddr),
}

impl fmt::Display for PaintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrames(address) => write!(f, "no frame for a table of the linear map, at {address}"),
            Self::Occupied(address) => write!(f, "the linear map has {address} already"),
        }
    }
}

/// Returns the most tables that painting `layout` takes: each segment has two edges that may need a table at each level,
/// and every further table is full of tables or pages.
#[must_use]
pub fn tables_bound(layout: &Layout<'_>, largest: LargestLeaf) -> u64 {
    let geometry = layout.geometry();
    let edges: u64 = layout.segments().map(|_| 2 * 3).sum();
    // A descriptor in the middle of a region names a full table where a leaf of its level may not be used.
    let needs_table = |level: Level| match largest {
        LargestLeaf::Block => !geometry.leaf_allowed(level),
        LargestLeaf::Page => level != Level::L3,
    };
    let full: u64 = layout
        .regions()
        .iter()
        .flat_map(|region| Level::ALL[geometry.root_level().number()..].iter().map(move |&level| (region, level)))
        .filter(|&(_, level)| needs_table(level))
        .map(|(region, level)| region.bytes() >> geometry.shift(level))
        .sum();
    edges + full
}

/// Paints `layout` into the tree under `root`, whose entries for it are empty, with tables from `frames`; returns the
/// count of what it wrote. Every table is visible to the walkers when it returns.
///
/// `root` should be one that no walker uses yet: a table that two regions share is linked when the first is painted, and
/// a walk in between could meet a group of contiguous leaves half written. [`link`] makes the finished map reachable.
///
/// # Errors
/// [`PaintError`].
pub fn paint<M: TableMemory, C: Cpu, F: FrameSource>(
    layout: &Layout<'_>,
    largest: LargestLeaf,
    memory: &M,
    cpu: &C,
    frames: &mut F,
    root: PhysAddr,
) -> Result<MapStats, PaintError> {
    let mut painter = Painter { layout, largest, memory, cpu, frames, stats: MapStats::default() };
    let geometry = layout.geometry();
    let base = layout.root_base();
    let top = Table { at: root, level: geometry.root_level(), covers: 0 };
    for (piece, part) in layout.segments() {
        let start = layout.base().0 - base.0 + piece.start.0;
        painter.paint(top, Piece { start, end: start + piece.bytes(), output: piece.start, part })?;
    }
    // Every table is visible to the walkers before a later store of a root entry, or a write of a TTBR, makes it
    // reachable.
    cpu.dsb_ishst();
    Ok(painter.stats)
}

/// Makes the map that was painted below the root `painted` reachable through `live`, whose entries for it are empty, and
/// clears those of `painted`. The map may be used on this CPU when it returns.
pub fn link<R: TableMemory, C: Cpu>(layout: &Layout<'_>, roots: &R, cpu: &C, painted: PhysAddr, live: PhysAddr) {
    // The tables are visible to the walkers already: the last thing `paint` sees to.
    for entry in layout.root_entries() {
        let from = slot(painted, entry);
        roots.store(slot(live, entry), roots.load(from));
        roots.store(from, Descriptor::EMPTY);
    }
    // Pairs these stores with the walks for the accesses that follow, ...
    cpu.dsb_ishst();
    // ... which are fetched after this.
    cpu.isb();
}

struct Painter<'a, M, C, F> {
    layout: &'a Layout<'a>,
    largest: LargestLeaf,
    memory: &'a M,
    cpu: &'a C,
    frames: &'a mut F,
    stats: MapStats,
}

/// A table and the first address it covers, counted from the first address of the root.
#[derive(Clone, Copy)]
struct Table {
    at: PhysAddr,
    level: Level,
    covers: u64,
}

/// A piece of one part: addresses counted from the first address of the root, and where it lies in memory.
#[derive(Clone, Copy)]
struct Piece {
    start: u64,
    end: u64,
    output: PhysAddr,
    part: Part,
}

impl Piece {
    fn output(&self, address: u64) -> PhysAddr {
        self.output.offset(address - self.start)
    }
}

impl<M: TableMemory, C: Cpu, F: FrameSource> Painter<'_, M, C, F> {
    fn geometry(&self) -> Geometry {
        self.layout.geometry()
    }

    fn leaf_allowed(&self, level: Level, part: Part) -> bool {
        let by_wish = level == Level::L3 || part == Part::Alias || self.largest == LargestLeaf::Block;
        by_wish && self.geometry().leaf_allowed(level)
    }

    fn hint_allowed(&self, part: Part) -> bool {
        part == Part::Alias || self.largest == LargestLeaf::Block
    }

    fn paint(&mut self, table: Table, piece: Piece) -> Result<(), PaintError> {
        let geometry = self.geometry();
        let size = geometry.size(table.level);
        let table_end = table.covers + size * geometry.entries(table.level) as u64;
        let end = piece.end.min(table_end);
        let mut at = piece.start.max(table.covers);
        while at < end {
            let whole = if at.is_multiple_of(size) { (end - at) / size } else { 0 };
            if whole > 0 && self.leaf_allowed(table.level, piece.part) {
                self.leaves(table, piece, at, whole)?;
                at += whole * size;
            } else {
                self.child(table, piece, at)?;
                at = (at / size + 1) * size;
            }
        }
        Ok(())
    }

    /// Paints the part of `piece` that one entry of `table` covers through a table of the next level.
    fn child(&mut self, table: Table, piece: Piece, at: u64) -> Result<(), PaintError> {
        let geometry = self.geometry();
        let size = geometry.size(table.level);
        let covers = at / size * size;
        let slot = slot(table.at, ((covers - table.covers) / size) as usize);
        let Some(level) = table.level.next() else { unreachable!("a page is never too large for its piece") };
        match self.memory.load(slot).kind(geometry, table.level) {
            Kind::Table(below) => self.paint(Table { at: below, level, covers }, piece),
            Kind::Empty => {
                let below = self.frames.allocate().ok_or(PaintError::OutOfFrames(piece.output(at)))?;
                self.stats.tables += 1;
                self.memory.store_run(below, Descriptor::EMPTY, 0, geometry.entries(level));
                let painted = self.paint(Table { at: below, level, covers }, piece);
                // The child's contents before the store that links it: a walker that sees the link sees the child.
                self.cpu.dsb_ishst();
                // Linked even when it is unfinished, or its frame would be lost.
                self.memory.store(slot, Descriptor::table(below));
                painted
            }
            Kind::Leaf(_) | Kind::InvalidLeaf(_) | Kind::Reserved => Err(PaintError::Occupied(piece.output(at))),
        }
    }

    /// Writes `count` leaves of one level from `at` on, the aligned groups among them with the Contiguous bit.
    fn leaves(&mut self, table: Table, piece: Piece, at: u64, count: u64) -> Result<(), PaintError> {
        let size = self.geometry().size(table.level);
        let index = (at - table.covers) / size;
        let (head, body) = match self.geometry().contiguous(table.level) {
            Some(group) if self.hint_allowed(piece.part) => {
                let group = group as u64;
                let head = (index.next_multiple_of(group) - index).min(count);
                (head, (count - head) / group * group)
            }
            _ => (count, 0),
        };
        let runs = [(head, Hint::Single), (body, Hint::Contiguous), (count - head - body, Hint::Single)];
        let mut done = 0;
        for (run, hint) in runs {
            if run == 0 {
                continue;
            }
            let first = slot(table.at, (index + done) as usize);
            let output = piece.output(at + done * size);
            let is_taken = |&index: &u64| self.memory.load(slot(first, index as usize)) != Descriptor::EMPTY;
            if let Some(taken) = (0..run).find(is_taken) {
                return Err(PaintError::Occupied(output.offset(taken * size)));
            }
            let mut leaf = self.layout.attributes(piece.part).leaf(output, table.level);
            if hint == Hint::Contiguous {
                leaf = leaf.with_contiguous();
            }
            self.memory.store_run(first, leaf, size, run as usize);
            self.stats.add_leaves(table.level, hint, piece.part, run);
            done += run;
        }
        Ok(())
    }
}
