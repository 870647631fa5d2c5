// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plans of linear maps: given, and random ones.

use proptest::prelude::*;

use crate::linear_map::{Layout, LayoutError};
use crate::tables::{Attributes, Geometry, Granule, Level, MemoryType, PhysAddr, PhysRange, Scope, VaBits, VirtAddr};

pub(super) const GEOMETRIES: [Geometry; 6] = [
    Geometry::K4_V48,
    Geometry { granule: Granule::K4, va_bits: VaBits::V39 },
    Geometry { granule: Granule::K16, va_bits: VaBits::V48 },
    Geometry { granule: Granule::K16, va_bits: VaBits::V39 },
    Geometry { granule: Granule::K64, va_bits: VaBits::V48 },
    Geometry { granule: Granule::K64, va_bits: VaBits::V39 },
];

/// The parts of a [`Layout`].
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) geometry: Geometry,
    pub(super) base: VirtAddr,
    pub(super) size: u64,
    pub(super) regions: Vec<PhysRange>,
    pub(super) alias: PhysRange,
    pub(super) attributes: Attributes,
}

pub(super) fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr(start), PhysAddr(end))
}

impl Plan {
    /// Returns a plan at the bottom of the kernel's half, 4 KiB granule and 48-bit addresses.
    pub(super) fn k4(regions: &[PhysRange], alias: PhysRange) -> Self {
        Self {
            geometry: Geometry::K4_V48,
            base: VirtAddr(0xffff_0000_0000_0000),
            size: 4 << 39,
            regions: regions.to_vec(),
            alias,
            attributes: Attributes::NORMAL,
        }
    }

    pub(super) fn try_layout(&self) -> Result<Layout<'_>, LayoutError> {
        Layout::new(self.geometry, self.base, self.size, &self.regions, self.alias, self.attributes)
    }

    pub(super) fn layout(&self) -> Layout<'_> {
        self.try_layout().unwrap()
    }

    /// Returns the pieces of memory with equal attributes, and whether each is the alias, by a second calculation.
    pub(super) fn pieces(&self) -> Vec<(PhysRange, bool)> {
        let mut pieces = Vec::new();
        for region in &self.regions {
            let mut cuts = vec![region.start, region.end];
            for cut in [self.alias.start, self.alias.end] {
                if !self.alias.is_empty() && region.start < cut && cut < region.end {
                    cuts.push(cut);
                }
            }
            cuts.sort();
            for pair in cuts.windows(2) {
                pieces.push((PhysRange::new(pair[0], pair[1]), self.alias.contains(pair[0])));
            }
        }
        pieces
    }
}

/// Returns the sizes of a region: a number of each unit.
fn bytes(geometry: Geometry, large: std::ops::Range<u64>) -> impl Strategy<Value = u64> {
    let page = geometry.page_size();
    let l2 = geometry.size(Level::L2);
    let group3 = page * geometry.contiguous(Level::L3).unwrap_or(1) as u64;
    let small = prop_oneof![Just(0), 0..4u64, 0..40u64];
    let most = if geometry.granule == Granule::K4 { 20u64 } else { 4 };
    let medium = prop_oneof![Just(0), Just(0), 0..most];
    (large, medium, prop_oneof![Just(0), 0..4u64], small).prop_map(move |(large, l2s, groups, pages)| {
        large_unit(geometry) * large + l2s * l2 + groups * group3 + pages * page
    })
}

/// Returns the size of a large leaf: a block of level 1, or a contiguous group of level 2.
fn large_unit(geometry: Geometry) -> u64 {
    match geometry.granule {
        Granule::K4 => geometry.size(Level::L1),
        Granule::K16 | Granule::K64 => {
            geometry.size(Level::L2) * geometry.contiguous(Level::L2).unwrap_or(1) as u64 / 2
        }
    }
}

/// The place of the map: at the bottom of its root entries, around a boundary, or up to the very last page.
#[derive(Clone, Copy, Debug)]
enum Place {
    Bottom(u64),
    Boundary(u64),
    Top,
}

/// Returns a random plan with at most `large` blocks of level 1 (or the like) in each region.
pub(super) fn plans(large: u64) -> impl Strategy<Value = Plan> {
    proptest::sample::select(GEOMETRIES.to_vec()).prop_flat_map(move |geometry| plans_of(geometry, large))
}

pub(super) fn plans_of(geometry: Geometry, large: u64) -> impl Strategy<Value = Plan> {
    let page = geometry.page_size();
    let root = geometry.size(geometry.root_level());
    // Large pieces are slow to check as pages: one region in five has them.
    let length = prop_oneof![4 => bytes(geometry, 0..1), 1 => bytes(geometry, 0..large + 1)];
    let regions = proptest::collection::vec((bytes(geometry, 0..1), length), 1..5);
    let place = prop_oneof![
        (0..600u64).prop_map(Place::Bottom),
        (0..600u64).prop_map(Place::Boundary),
        Just(Place::Top),
        Just(Place::Top),
    ];
    // The space, in units that keep every leaf and group aligned, and at which of them it begins.
    let unit = root * geometry.contiguous(geometry.root_level()).unwrap_or(1) as u64;
    let space = 1u64 << geometry.address_bits();
    let units = ((128u64 << 30).div_ceil(unit)).max(1);
    let first = prop_oneof![Just(0), Just(space / unit - units), 0..=space / unit - units];
    let alias = prop_oneof![Just(None), (any::<prop::sample::Index>(), 0..1u64 << 32, 0..1u64 << 32).prop_map(Some)];
    let attributes = prop_oneof![
        Just(Attributes::NORMAL),
        Just(Attributes { memory: MemoryType::NonCacheable, scope: Scope::AddressSpace, ..Attributes::NORMAL }),
    ];
    (regions, place, first, alias, attributes).prop_map(move |(pieces, place, first, alias, attributes)| {
        let size = units * unit;
        let mut regions = Vec::new();
        let mut end = 0;
        for (gap, length) in pieces {
            // Regions may touch, but none is empty.
            let start = end + gap;
            end = start + length.max(page);
            regions.push((start, end));
        }
        let boundary = large_unit(geometry) * 2;
        let shift = match place {
            Place::Bottom(pages) => pages * page,
            Place::Boundary(pages) => boundary - (pages * page).min(boundary),
            Place::Top => size - end,
        }
        .min(size - end);
        let regions: Vec<_> = regions.into_iter().map(|(start, end)| range(start + shift, end + shift)).collect();
        let alias = alias.map_or(PhysRange::default(), |(index, from, to)| {
            let region = regions[index.index(regions.len())];
            let pages = region.bytes() / page;
            // Small numbers as often as large ones, whole leaves as often as not.
            let from = if from % 2 == 0 { from / 2 % pages } else { 0 };
            let left = pages - from;
            let count = match to % 4 {
                0 => left,
                1 => to / 4 % 64,
                2 => (geometry.size(Level::L2) / page * (to / 4 % 4)).min(left),
                _ => to / 4 % (left + 1),
            };
            let start = region.start.offset(from * page);
            PhysRange::new(start, start.offset(count.min(left) * page))
        });
        let base = VirtAddr((!0u64 << geometry.address_bits()) + first * unit);
        Plan { geometry, base, size, regions, alias, attributes }
    })
}

/// Returns the settings of every property here: `cases` of them, no files written beside the sources.
pub(super) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
