// SPDX-License-Identifier: MIT OR Apache-2.0
//! A readable dump of tables: a tree folded to ranges, and the text of one descriptor.
//!
//! Nothing here allocates: a dump is made while memory is short, or in the middle of a fault. The caller names the
//! purpose of a range; this module only knows tables.

use core::fmt;
use core::ops::Range;

use super::address::{PhysAddr, VirtAddr};
use super::attributes::MemoryType;
use super::descriptor::{Descriptor, Kind};
use super::geometry::{Geometry, Level};
use super::traits::{TableMemory, slot};
use super::tree::TableTree;
use super::walk::{Inherited, Visit};

/// Adjacent leaves that differ in nothing but their addresses, which go up together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Run {
    /// The first virtual address.
    pub start: VirtAddr,
    /// The length in bytes.
    pub bytes: u64,
    /// The physical address of the first one.
    pub output: PhysAddr,
    /// The level of every leaf in it.
    pub level: Level,
    /// The first leaf; the others have the same bits but for the output address.
    pub leaf: Descriptor,
    /// The restrictions of the tables above.
    pub inherited: Inherited,
    /// The kind of the first leaf: a leaf, an invalid one, or a pattern that is reserved.
    pub kind: Kind,
    /// Bytes of one leaf.
    pub size: u64,
}

impl Run {
    fn of(geometry: Geometry, visit: &Visit) -> Option<Self> {
        let output = match visit.kind {
            Kind::Leaf(output) | Kind::InvalidLeaf(output) => output,
            Kind::Reserved => PhysAddr(0),
            Kind::Empty | Kind::Table(_) => return None,
        };
        let size = geometry.size(visit.level);
        let (level, leaf, inherited, kind) = (visit.level, visit.descriptor, visit.inherited, visit.kind);
        Some(Self { start: visit.address, bytes: size, output, level, leaf, inherited, kind, size })
    }

    /// Takes `next` in, if it goes on where this one ends; gives it back otherwise.
    fn join(&mut self, next: Self) -> Result<(), Self> {
        let same_kind = core::mem::discriminant(&self.kind) == core::mem::discriminant(&next.kind);
        let alike = same_kind
            && self.kind != Kind::Reserved
            && self.level == next.level
            && self.leaf.attributes() == next.leaf.attributes()
            && self.leaf.is_contiguous() == next.leaf.is_contiguous()
            && self.inherited == next.inherited;
        // The last byte of the address space has no address behind it: the sums wrap, and nothing follows.
        let adjacent = self.start.0.wrapping_add(self.bytes) == next.start.0
            && self.output.0.wrapping_add(self.bytes) == next.output.0;
        if !alike || !adjacent {
            return Err(next);
        }
        self.bytes += next.bytes;
        Ok(())
    }

    /// Returns true for a run of valid leaves that EL1 may both write and execute.
    #[must_use]
    pub fn is_writable_and_executable(&self) -> bool {
        matches!(self.kind, Kind::Leaf(_)) && self.writable() && self.executable()
    }

    fn writable(&self) -> bool {
        self.leaf.is_writable() && self.inherited.allows_write()
    }

    fn executable(&self) -> bool {
        self.leaf.is_executable() && self.inherited.allows_execute()
    }
}

/// One line without the region's name: range, size, leaves, permissions, memory, output. A run that may be written and
/// executed ends in `W+X!`.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.start.0.wrapping_add(self.bytes);
        let group = if self.leaf.is_contiguous() { "cont" } else { "" };
        write!(f, "{:#018x}..{last:#018x} {:>8} ", self.start.0, Size(self.bytes))?;
        let (number, _) = Size(self.size).parts();
        let blank = 7_usize.saturating_sub(group.len() + number.checked_ilog10().map_or(1, |log| log as usize + 1) + 1);
        write!(f, "{:>6}x{group}{}{:blank$}", self.bytes / self.size, Short(self.size), "")?;
        match self.kind {
            Kind::Reserved => return write!(f, " reserved descriptor {:?}", self.leaf),
            Kind::InvalidLeaf(_) => f.write_str(" ---")?,
            _ => {
                let (write, execute) = (self.writable(), self.executable());
                write!(f, " r{}{}", if write { 'w' } else { '-' }, if execute { 'x' } else { '-' })?;
            }
        }
        write!(f, " {:<13} -> {:#012x}", memory(self.leaf), self.output.0)?;
        f.write_str(if self.is_writable_and_executable() { " W+X!" } else { "" })
    }
}

/// Returns the memory type by its index into MAIR_EL1.
fn memory(leaf: Descriptor) -> &'static str {
    const NAMES: [(MemoryType, &str); 3] =
        [(MemoryType::Normal, "normal"), (MemoryType::Device, "device"), (MemoryType::NonCacheable, "non-cacheable")];
    NAMES.into_iter().find(|(kind, _)| *kind as u8 == leaf.attr_index()).map_or("unknown type", |(_, name)| name)
}

/// Bytes in the largest unit that says them exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl Size {
    fn parts(self) -> (u64, &'static str) {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let exact = |(shift, _): &(u32, &str)| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        UNITS.into_iter().find(exact).map_or((self.0, "B"), |(shift, unit)| (self.0 >> shift, unit))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = self.parts();
        // Padded as a whole, by the width of the whole.
        let width = f.width().unwrap_or(0).saturating_sub(unit.len() + 1);
        write!(f, "{number:>width$} {unit}")
    }
}

/// The same as leaves are called: `4K`, `2M`, `1G`.
struct Short(u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = Size(self.0).parts();
        write!(f, "{number}{}", &unit[..1])
    }
}

impl<M: TableMemory> TableTree<M> {
    /// Folds everything below the root entries `entries` and hands each run to `each`, in the order of addresses. `base`
    /// is the virtual address that root entry 0 covers.
    pub fn dump(&self, base: VirtAddr, entries: Range<usize>, mut each: impl FnMut(&Run)) {
        let mut open: Option<Run> = None;
        self.walk(base, entries, |visit| {
            let Some(run) = Run::of(self.geometry, &visit) else { return };
            match open.as_mut().map(|open| open.join(run)) {
                Some(Ok(())) => {}
                Some(Err(next)) => {
                    if let Some(done) = open.replace(next) {
                        each(&done);
                    }
                }
                None => open = Some(run),
            }
        });
        if let Some(last) = open {
            each(&last);
        }
    }

    /// Calls `each` for the descriptor of every level on the way to `address`: its level, where it stands, and what it
    /// is. The last one is what ends the walk.
    pub fn path(&self, address: VirtAddr, mut each: impl FnMut(usize, PhysAddr, &Decoded)) {
        let geometry = self.geometry;
        let (mut table, mut level) = (self.root, geometry.root_level());
        loop {
            let index = geometry.index(address, level);
            let at = slot(table, index);
            let descriptor = self.memory.load(at);
            each(index, at, &Decoded { geometry, level, descriptor });
            match (descriptor.kind(geometry, level), level.next()) {
                (Kind::Table(next), Some(below)) => (table, level) = (next, below),
                _ => return,
            }
        }
    }
}

/// A descriptor of a given level in words.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Decoded {
    /// The shape of the tree it stands in.
    pub geometry: Geometry,
    /// The level of its table.
    pub level: Level,
    /// The descriptor.
    pub descriptor: Descriptor,
}

impl Decoded {
    fn leaf(&self, f: &mut fmt::Formatter<'_>, output: PhysAddr) -> fmt::Result {
        let leaf = self.descriptor;
        let kind = if self.level == Level::L3 { "page" } else { "block" };
        let size = Short(self.geometry.size(self.level));
        write!(f, "{kind} {size} -> {output} {}", memory(leaf))?;
        f.write_str(if leaf.is_writable() { " rw" } else { " ro" })?;
        f.write_str(if leaf.is_executable() { "" } else { " PXN" })?;
        let bit = |bit: u32| leaf.0 >> bit & 1 == 1;
        let sharing = ["non-shareable", "reserved-SH", "outer", "inner"][(leaf.0 >> 8 & 0b11) as usize];
        for (name, set) in [("UXN", bit(54)), ("AF", bit(10)), ("EL0", bit(6)), ("nG", bit(11))] {
            f.write_str(if set { " " } else { "" })?;
            f.write_str(if set { name } else { "" })?;
        }
        write!(f, " {sharing}")?;
        f.write_str(if leaf.is_contiguous() { " contiguous" } else { "" })
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.descriptor.kind(self.geometry, self.level) {
            Kind::Empty => f.write_str("nothing"),
            Kind::Reserved => f.write_str("reserved"),
            Kind::Leaf(output) => self.leaf(f, output),
            Kind::InvalidLeaf(output) => {
                f.write_str("invalid ")?;
                self.leaf(f, output)
            }
            Kind::Table(table) => {
                write!(f, "table {table}")?;
                let bits =
                    [(63, "NSTable"), (62, "APTable[1]"), (61, "APTable[0]"), (60, "UXNTable"), (59, "PXNTable")];
                for (bit, name) in bits {
                    if self.descriptor.0 >> bit & 1 == 1 {
                        write!(f, " {name}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
