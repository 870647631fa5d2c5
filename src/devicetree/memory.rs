// SPDX-License-Identifier: MIT OR Apache-2.0
//! RAM of the machine, memory that must not be mapped, and memory that is mapped but reserved.
//!
//! The difference matters: a CPU may speculate into all memory that is mapped cacheable, so `no-map` memory is a hole
//! in the linear map, while an initrd, the tree itself and a spin-table's page are ordinary memory that the allocator
//! does not get.

use core::fmt;

use super::cpus::EnableMethod;
use super::nodes::{self, BadProperty, PropertyFault};
use super::ranges::RangeSet;
use super::tree::Tree;
use cleave::tables::{PhysAddr, PhysRange};
use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;

/// The most separate ranges in each list of a [`MemoryMap`].
pub(crate) const MEMORY_RANGES: usize = 64;

/// The unit in which memory is mapped and given away, in bytes.
const PAGE: u64 = 4096;

/// A set of physical memory of the capacity that [`MemoryMap`] uses.
pub(crate) type MemoryRanges = RangeSet<MEMORY_RANGES>;

/// An error that makes the tree's memory unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryError<'a> {
    /// No memory node that is switched on gives a byte of memory.
    NoMemory,
    /// A property that says where memory is does not hold what it should.
    Property(BadProperty<'a>),
    /// An initrd that ends before it starts.
    BadInitrd {
        /// Its start.
        start: PhysAddr,
        /// Its end.
        end: PhysAddr,
    },
}

impl fmt::Display for MemoryError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("the device tree has no memory"),
            Self::Property(bad) => write!(f, "memory: {bad}"),
            Self::BadInitrd { start, end } => write!(f, "the initrd ends at {end}, before its start at {start}"),
        }
    }
}

impl core::error::Error for MemoryError<'_> {}

impl<'a> From<BadProperty<'a>> for MemoryError<'a> {
    fn from(bad: BadProperty<'a>) -> Self {
        Self::Property(bad)
    }
}

/// The machine's memory as the device tree gives it. Every list is to the byte; [`mapped`](Self::mapped) and
/// [`free`](Self::free) are in whole pages of 4 KiB.
///
/// A list that is full errs on the safe side: RAM is left out, the smallest pieces of it, and reservations grow over the
/// smallest gaps between them. [`crowded_out`](Self::crowded_out) says how much RAM that costs.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryMap {
    ram: MemoryRanges,
    no_map: MemoryRanges,
    reserved: MemoryRanges,
    beyond: u64,
    crowded_out: u64,
}

impl MemoryMap {
    /// Returns all RAM that can be used: every memory node that is switched on, with the reservations in it.
    #[must_use]
    pub(crate) fn ram(&self) -> &MemoryRanges {
        &self.ram
    }

    /// Returns the ranges that must never be mapped: `/reserved-memory` with `no-map`. They may lie outside the RAM.
    #[must_use]
    pub(crate) fn no_map(&self) -> &MemoryRanges {
        &self.no_map
    }

    /// Returns the ranges that may be mapped and are not given away: `/memreserve/`, `/reserved-memory` without `no-map`, the
    /// initrd, the spin-table's release words, and what [`reserve`](Self::reserve) added.
    #[must_use]
    pub(crate) fn reserved(&self) -> &MemoryRanges {
        &self.reserved
    }

    /// Reserves what the tree cannot know of: the kernel's image, the tree itself.
    pub(crate) fn reserve(&mut self, range: PhysRange) {
        let gap = self.reserved.insert_with_gap(range);
        self.crowded_out += self.ram.iter().map(|ram| ram.intersection(gap).bytes()).sum::<u64>();
    }

    /// Forbids to map `range`.
    fn forbid(&mut self, range: PhysRange) {
        let gap = self.no_map.insert_with_gap(range);
        self.crowded_out += self.ram.iter().map(|ram| ram.intersection(gap).bytes()).sum::<u64>();
    }

    /// Removes all RAM from `end` on, which cannot be reached.
    pub(crate) fn clip(&mut self, end: PhysAddr) {
        self.beyond += self.ram.truncate(end);
    }

    /// Returns how many bytes of RAM were left out by [`clip`](Self::clip).
    #[must_use]
    pub(crate) fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Returns how many bytes of RAM are not used, or not given away, because a list of ranges is full.
    #[must_use]
    pub(crate) fn crowded_out(&self) -> u64 {
        let (mapped, unmapped) = self.map();
        let (_, kept) = self.give(mapped);
        self.crowded_out + unmapped + kept
    }

    /// Returns the ranges of the linear map: the RAM without the ranges that must not be mapped, in whole pages. A page with one byte that
    /// is not RAM, or must not be mapped, is not in it.
    #[must_use]
    pub(crate) fn mapped(&self) -> MemoryRanges {
        self.map().0
    }

    /// Returns the ranges for the frame allocator: the mapped ones without every page that has a reserved byte.
    #[must_use]
    pub(crate) fn free(&self) -> MemoryRanges {
        self.give(self.mapped()).0
    }

    /// Returns the mapped ranges, and how many bytes are left out because there are too many pieces.
    fn map(&self) -> (MemoryRanges, u64) {
        let mut mapped = self.ram.clone();
        let left_out = mapped.subtract_all(&self.no_map);
        (mapped.shrink_to(PAGE), left_out)
    }

    /// Returns the ranges of `mapped` for the frame allocator, and how many bytes are left out because there are too many pieces.
    fn give(&self, mut mapped: MemoryRanges) -> (MemoryRanges, u64) {
        let left_out = mapped.subtract_all(&self.reserved.grow_to(PAGE));
        (mapped, left_out)
    }
}

impl<'a> Tree<'a> {
    /// Reads the memory nodes and every kind of reservation.
    ///
    /// # Errors
    /// When there is no memory, and when a property is not what it should be. A reservation that cannot be read is an error:
    /// what it protects is not known.
    pub(crate) fn memory(&self) -> Result<MemoryMap, MemoryError<'a>> {
        let mut map = MemoryMap::default();
        for node in self.fdt.root().children().filter(is_memory) {
            for_each_reg(&node, |range| map.crowded_out += map.ram.insert_most(range))?;
        }
        if map.ram.is_empty() {
            return Err(MemoryError::NoMemory);
        }
        self.reservation_block(&mut map)?;
        self.reserved_memory(&mut map)?;
        self.release_words(&mut map)?;
        if let Some(initrd) = self.initrd()? {
            map.reserve(initrd);
        }
        Ok(map)
    }

    /// Reserves the ranges of `/memreserve/` (Devicetree Specification v0.4, section 5.3).
    fn reservation_block(&self, map: &mut MemoryMap) -> Result<(), MemoryError<'a>> {
        for entry in self.fdt.memory_reservations() {
            let range = nodes::range(entry.address(), entry.size());
            let bad = |fault| BadProperty { node: "the tree", property: "/memreserve/", fault };
            map.reserve(range.map_err(bad)?);
        }
        Ok(())
    }

    /// Reserves the children of `/reserved-memory` (Devicetree Specification v0.4, section 3.5).
    fn reserved_memory(&self, map: &mut MemoryMap) -> Result<(), MemoryError<'a>> {
        let Some(parent) = self.named.reserved_memory else {
            return Ok(());
        };
        for node in parent.children().filter(nodes::is_available) {
            // Without `reg` it asks for memory anywhere, for a device that this kernel does not drive.
            if node.property("reg").is_none() {
                continue;
            }
            if node.property("no-map").is_some() {
                for_each_reg(&node, |range| map.forbid(range))?;
            } else {
                for_each_reg(&node, |range| map.reserve(range))?;
            }
        }
        Ok(())
    }

    /// Reserves the pages of the words on which CPUs of a spin-table wait: firmware's code spins beside them, and not
    /// every firmware reserves the page.
    fn release_words(&self, map: &mut MemoryMap) -> Result<(), MemoryError<'a>> {
        for cpu in self.cpus().flatten() {
            if let EnableMethod::SpinTable { release } = cpu.enable_method {
                let word = nodes::range(release.0, 8).map_err(|fault| BadProperty {
                    node: cpu.node,
                    property: "cpu-release-addr",
                    fault,
                })?;
                map.reserve(word.grow_to(PAGE));
            }
        }
        Ok(())
    }

    /// Reserves the initrd of `linux,initrd-start` and `linux,initrd-end` in `/chosen`, each of one or two cells.
    fn initrd(&self) -> Result<Option<PhysRange>, MemoryError<'a>> {
        let Some(chosen) = self.named.chosen else {
            return Ok(None);
        };
        let address = |property| match nodes::bytes(&chosen, property) {
            None => Ok(None),
            Some(value) => match nodes::number(value) {
                Some(address) => Ok(Some(PhysAddr(address))),
                None => Err(nodes::bad(&chosen, property, PropertyFault::BadLength { bytes: value.len() })),
            },
        };
        let missing = |property| Err(nodes::bad(&chosen, property, PropertyFault::Missing).into());
        match (address("linux,initrd-start")?, address("linux,initrd-end")?) {
            (None, None) => Ok(None),
            (Some(_), None) => missing("linux,initrd-end"),
            (None, Some(_)) => missing("linux,initrd-start"),
            (Some(start), Some(end)) if start > end => Err(MemoryError::BadInitrd { start, end }),
            (Some(start), Some(end)) if start == end => Ok(None),
            (Some(start), Some(end)) => Ok(Some(PhysRange::new(start, end))),
        }
    }
}

/// Returns true for a memory node that is switched on (Devicetree Specification v0.4, section 3.4). One without a
/// `device_type` counts by its name.
fn is_memory(node: &FdtNode<'_>) -> bool {
    let named = match nodes::text(node, "device_type") {
        Some(kind) => kind == "memory",
        None => node.name_without_address() == "memory",
    };
    named && nodes::is_available(node)
}

/// Calls `found` with every entry of the node's `reg`.
fn for_each_reg<'a>(node: &FdtNode<'a>, mut found: impl FnMut(PhysRange)) -> Result<(), MemoryError<'a>> {
    for entry in nodes::regs(node)? {
        let (address, size) = entry?;
        found(nodes::range(address, size).map_err(|fault| nodes::bad(node, "reg", fault))?);
    }
    Ok(())
}
