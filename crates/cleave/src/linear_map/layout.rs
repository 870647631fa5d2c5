// SPDX-License-Identifier: MIT OR Apache-2.0
//! The layout of the linear map: its memory regions, its virtual base, and the kernel's alias in it.
//!
//! The plan is checked once, here; code that has a [`Layout`] may rely on sorted, aligned regions that fit. It says
//! nothing of leaf sizes: those are the painter's, and the only thing about the map that changes later.

use core::fmt;
use core::ops::Range;

use crate::tables::{Attributes, Geometry, Part, Permissions, PhysAddr, PhysRange, Scope, VirtAddr};

/// The plan of a linear map: physical address `p` of any of the regions is mapped at `base + p`.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    geometry: Geometry,
    base: VirtAddr,
    regions: &'a [PhysRange],
    alias: PhysRange,
    alias_is: AliasIs,
    attributes: Attributes,
}

/// The plan's treatment of the alias.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AliasIs {
    /// Mapped, read-only: in a linear map.
    Mapped,
    /// A hole: in a temporary mapping, where no code uses the alias.
    LeftOut,
}

/// An error in a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LayoutError {
    /// The regions are not sorted, not apart from each other, or empty.
    Unsorted(PhysRange),
    /// A region or the alias does not begin and end at a page.
    Unaligned(PhysRange),
    /// A region reaches behind the last address the linear map has room for.
    OutOfRange {
        /// The region.
        region: PhysRange,
        /// The first physical address behind the linear map.
        limit: PhysAddr,
    },
    /// The alias is not inside one region.
    AliasOutside(PhysRange),
    /// The base is not a multiple of what a root entry (or a contiguous group of them, where they are leaves) covers, so
    /// that blocks would not be aligned.
    Base(VirtAddr),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsorted(region) => write!(f, "memory region {region} is empty, out of order or overlaps another"),
            Self::Unaligned(region) => write!(f, "memory region {region} does not begin and end at a page"),
            Self::OutOfRange { region, limit } => {
                write!(f, "memory region {region} reaches beyond {limit}, where the linear map ends")
            }
            Self::AliasOutside(alias) => write!(f, "the kernel image at {alias} is not inside one region of memory"),
            Self::Base(base) => write!(f, "the linear map cannot begin at {base}: not aligned to a root entry"),
        }
    }
}

impl<'a> Layout<'a> {
    /// Returns a plan that maps `regions` at `base` with `attributes`, and `alias` (the kernel's text and read-only
    /// data, inside one of the regions; empty for none) read-only. It uses at most `size` bytes of address space.
    ///
    /// # Errors
    /// [`LayoutError`], which names the region.
    pub fn new(
        geometry: Geometry,
        base: VirtAddr,
        size: u64,
        regions: &'a [PhysRange],
        alias: PhysRange,
        attributes: Attributes,
    ) -> Result<Self, LayoutError> {
        let root = geometry.root_level();
        // Blocks and contiguous groups must be aligned in virtual addresses as they are in physical ones. With 64 KiB
        // pages and 39 bits the root itself has groups.
        let unit = geometry.size(root) * geometry.contiguous(root).unwrap_or(1) as u64;
        if !base.is_aligned(unit) {
            return Err(LayoutError::Base(base));
        }
        // At most the addresses from the base to the end of the range, even if the caller asked for more.
        let space = 1 << geometry.address_bits();
        let size = size.min(space - (base.0 & (space - 1)));
        let page = geometry.page_size();
        let aligned = |range: PhysRange| range.start.is_aligned(page) && range.end.is_aligned(page);
        let mut before = PhysAddr(0);
        for &region in regions {
            if region.is_empty() || region.start < before {
                return Err(LayoutError::Unsorted(region));
            }
            if !aligned(region) {
                return Err(LayoutError::Unaligned(region));
            }
            if region.end.0 > size {
                return Err(LayoutError::OutOfRange { region, limit: PhysAddr(size) });
            }
            before = region.end;
        }
        if !alias.is_empty() && !aligned(alias) {
            return Err(LayoutError::Unaligned(alias));
        }
        if !alias.is_empty() && !regions.iter().any(|region| region.contains_range(alias)) {
            return Err(LayoutError::AliasOutside(alias));
        }
        Ok(Self { geometry, base, regions, alias, alias_is: AliasIs::Mapped, attributes })
    }

    /// Returns the plan of a temporary mapping on the same memory: every byte of it at its physical address, in the
    /// lower half and for one address space (nG), with the memory type it has here, so that the two mappings agree. The
    /// alias is left out, since executable memory must not be writable through another mapping.
    #[must_use]
    pub const fn temporary_mapping(&self) -> Self {
        let attributes = Attributes { scope: Scope::AddressSpace, ..self.attributes };
        Self { base: VirtAddr(0), alias_is: AliasIs::LeftOut, attributes, ..*self }
    }

    /// Returns the geometry of the map's tables.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Returns the virtual address of physical address 0.
    #[must_use]
    pub const fn base(&self) -> VirtAddr {
        self.base
    }

    /// Returns the mapped memory: sorted, and no two regions overlap.
    #[must_use]
    pub const fn regions(&self) -> &'a [PhysRange] {
        self.regions
    }

    /// Returns the alias of the kernel's text and read-only data.
    #[must_use]
    pub const fn alias(&self) -> PhysRange {
        self.alias
    }

    /// Returns the attributes of a part of the map.
    #[must_use]
    pub const fn attributes(&self, part: Part) -> Attributes {
        match part {
            Part::Memory => self.attributes,
            Part::Alias => self.attributes.with_permissions(Permissions::ReadOnly),
        }
    }

    /// Returns the address at which `physical` is mapped, if it is.
    #[must_use]
    pub fn address(&self, physical: PhysAddr) -> VirtAddr {
        self.base.offset(physical.0)
    }

    /// Returns the part that `physical` belongs to, or `None` where there is a hole.
    #[must_use]
    pub fn part(&self, physical: PhysAddr) -> Option<Part> {
        if self.alias.contains(physical) {
            return (self.alias_is == AliasIs::Mapped).then_some(Part::Alias);
        }
        self.regions.iter().any(|region| region.contains(physical)).then_some(Part::Memory)
    }

    /// Returns the range of root entries in use, from the first to the last; some in between may be empty.
    #[must_use]
    pub fn root_entries(&self) -> Range<usize> {
        let (Some(first), Some(last)) = (self.regions.first(), self.regions.last()) else { return 0..0 };
        let level = self.geometry.root_level();
        let index = |physical: u64| self.geometry.index(self.base.offset(physical), level);
        index(first.start.0)..index(last.end.0 - 1) + 1
    }

    /// Returns the virtual address that root entry 0 covers.
    #[must_use]
    pub fn root_base(&self) -> VirtAddr {
        self.base.align_down(1 << self.geometry.address_bits())
    }

    /// Returns the regions, cut where the alias begins and ends, each with its part.
    pub fn segments(&self) -> impl Iterator<Item = (PhysRange, Part)> + use<'a> {
        let (alias, alias_is) = (self.alias, self.alias_is);
        self.regions.iter().flat_map(move |&region| {
            let cut = region.intersection(alias);
            let pieces = if cut.is_empty() {
                [(region, Part::Memory), (PhysRange::default(), Part::Alias), (PhysRange::default(), Part::Memory)]
            } else {
                [
                    (PhysRange::new(region.start, cut.start), Part::Memory),
                    (cut, Part::Alias),
                    (PhysRange::new(cut.end, region.end), Part::Memory),
                ]
            };
            let is_mapped = move |part| part == Part::Memory || alias_is == AliasIs::Mapped;
            pieces.into_iter().filter(move |&(piece, part)| !piece.is_empty() && is_mapped(part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Granule, VaBits};

    const BASE: VirtAddr = VirtAddr(0xffff_0000_0000_0000);
    const NONE: PhysRange = PhysRange::new(PhysAddr(0), PhysAddr(0));

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), PhysAddr(end))
    }

    fn plan<'a>(
        base: VirtAddr,
        size: u64,
        regions: &'a [PhysRange],
        alias: PhysRange,
    ) -> Result<Layout<'a>, LayoutError> {
        Layout::new(Geometry::K4_V48, base, size, regions, alias, Attributes::NORMAL)
    }

    #[test]
    fn a_plan_that_cannot_be_names_the_region() {
        let error = |regions: &[PhysRange], alias| plan(BASE, 1 << 40, regions, alias).unwrap_err();
        let good = range(0x1000, 0x8000);
        let empty = range(0x9000, 0x9000);
        assert_eq!(error(&[good, empty], NONE), LayoutError::Unsorted(empty));
        assert_eq!(error(&[good, range(0x7000, 0x9000)], NONE), LayoutError::Unsorted(range(0x7000, 0x9000)));
        assert_eq!(error(&[range(0x9000, 0xa000), good], NONE), LayoutError::Unsorted(good));
        for odd in [range(0x1800, 0x3000), range(0x1000, 0x2800)] {
            assert_eq!(error(&[odd], NONE), LayoutError::Unaligned(odd));
            assert_eq!(error(&[good], odd), LayoutError::Unaligned(odd));
        }
        let far = range(0xff_ffff_f000, 0x100_0000_1000);
        assert_eq!(error(&[far], NONE), LayoutError::OutOfRange { region: far, limit: PhysAddr(1 << 40) });
        // An alias across two regions that touch is not inside one.
        let alias = range(0x7000, 0x9000);
        assert_eq!(error(&[good, range(0x8000, 0xa000)], alias), LayoutError::AliasOutside(alias));
        for base in [VirtAddr(BASE.0 + 0x1000), VirtAddr(BASE.0 + (1 << 30))] {
            assert_eq!(plan(base, 1 << 40, &[good], NONE).unwrap_err(), LayoutError::Base(base));
        }
    }

    #[test]
    fn a_plan_never_reaches_behind_the_address_space() {
        let last = VirtAddr(0xffff_ff80_0000_0000);
        let room = 1 << 39;
        let fits = [range(room - 0x1000, room)];
        let layout = plan(last, u64::MAX, &fits, NONE).unwrap();
        assert_eq!(layout.root_entries(), 511..512);
        assert_eq!(layout.address(PhysAddr(room - 1)), VirtAddr(u64::MAX));
        let beyond = range(room - 0x1000, room + 0x1000);
        let refused = plan(last, u64::MAX, &[beyond], NONE).unwrap_err();
        assert_eq!(refused, LayoutError::OutOfRange { region: beyond, limit: PhysAddr(room) });
    }

    #[test]
    fn groups_in_the_root_want_an_aligned_base() {
        let geometry = Geometry { granule: Granule::K64, va_bits: VaBits::V39 };
        let bottom = 0xffff_ff80_0000_0000;
        let new = |base| Layout::new(geometry, VirtAddr(base), 1 << 38, &[], NONE, Attributes::NORMAL).map(|_| ());
        assert_eq!(new(bottom), Ok(()));
        assert_eq!(new(bottom + (16 << 30)), Ok(()));
        assert_eq!(new(bottom + (512 << 20)), Err(LayoutError::Base(VirtAddr(bottom + (512 << 20)))));
    }

    #[test]
    fn root_entries_and_parts_are_those_of_the_regions() {
        let entry = 1 << 39;
        let regions = [range(0x1000, 0x9000), range(0x9000, 0xb000), range(2 * entry - 0x1000, 2 * entry)];
        let base = VirtAddr(BASE.0 + 3 * entry);
        let layout = plan(base, 1 << 41, &regions, range(0x3000, 0x5000)).unwrap();
        assert_eq!(layout.root_base(), BASE);
        assert_eq!(layout.root_entries(), 3..5);
        let segments: Vec<_> = layout.segments().collect();
        assert_eq!(
            segments,
            [
                (range(0x1000, 0x3000), Part::Memory),
                (range(0x3000, 0x5000), Part::Alias),
                (range(0x5000, 0x9000), Part::Memory),
                (regions[1], Part::Memory),
                (regions[2], Part::Memory),
            ]
        );
        let part = |physical| layout.part(PhysAddr(physical));
        assert_eq!(
            [0xfff, 0x1000, 0x2fff, 0x3000].map(part),
            [None, Some(Part::Memory), Some(Part::Memory), Some(Part::Alias)]
        );
        assert_eq!(
            [0x4fff, 0x5000, 0xafff, 0xb000].map(part),
            [Some(Part::Alias), Some(Part::Memory), Some(Part::Memory), None]
        );
        assert_eq!(layout.attributes(Part::Alias).permissions, Permissions::ReadOnly);
        assert_eq!(layout.attributes(Part::Memory), Attributes::NORMAL);
    }

    #[test]
    fn a_temporary_mapping_identity_maps_all_memory_but_the_alias() {
        let regions = [range(0x1000, 0x9000), range(0x9000, 0xb000)];
        let noncacheable = Attributes { memory: crate::tables::MemoryType::NonCacheable, ..Attributes::NORMAL };
        let alias = range(0x3000, 0x5000);
        let layout = Layout::new(Geometry::K4_V48, BASE, 1 << 40, &regions, alias, noncacheable).unwrap();
        let temporary = layout.temporary_mapping();
        assert_eq!(
            (temporary.base(), temporary.root_base(), temporary.root_entries()),
            (VirtAddr(0), VirtAddr(0), 0..1)
        );
        assert_eq!(temporary.address(PhysAddr(0x1234)), VirtAddr(0x1234));
        let segments: Vec<_> = temporary.segments().collect();
        let pieces = [range(0x1000, 0x3000), range(0x5000, 0x9000), regions[1]];
        assert_eq!(segments, pieces.map(|piece| (piece, Part::Memory)));
        assert_eq!(
            [0x2fff, 0x3000, 0x5000].map(|at| temporary.part(PhysAddr(at))),
            [Some(Part::Memory), None, Some(Part::Memory)]
        );
        // The same memory type, or the two mappings would not agree; and nothing global, since it comes and goes.
        assert_eq!(temporary.attributes(Part::Memory), Attributes { scope: Scope::AddressSpace, ..noncacheable });
    }
}
