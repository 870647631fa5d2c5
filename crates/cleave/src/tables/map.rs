// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings of pages at free addresses: the kernel area, devices, temporary aliases.
//!
//! Descriptors only change from invalid to valid, so no TLB holds a stale entry (Arm ARM D8.16.1); the stores are
//! visible to the walkers before the call returns.

use core::fmt;

use super::address::{PhysAddr, PhysRange, VirtAddr};
use super::attributes::Attributes;
use super::descriptor::{Descriptor, Kind};
use super::frames::FrameSource;
use super::geometry::Level;
use super::traits::{Cpu, TableMemory, slot};
use super::tree::TableTree;

/// The reason that pages could not be mapped. Some of the range may be mapped already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MapError {
    /// This address is mapped already.
    Occupied(VirtAddr),
    /// No frame for a table on the way to this address.
    OutOfFrames(VirtAddr),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(address) => write!(f, "{address} is mapped already"),
            Self::OutOfFrames(address) => write!(f, "no frame for a table on the way to {address}"),
        }
    }
}

impl<M: TableMemory> TableTree<M> {
    /// Maps `output`, whole pages, from `address` on, page for page, with tables from `frames` where they are
    /// missing. New mappings may be used on this CPU when it returns, and on others after a context synchronisation
    /// event of theirs.
    ///
    /// # Errors
    /// [`MapError`]; nothing that was mapped before is touched.
    pub fn map_pages<C: Cpu, F: FrameSource>(
        &self,
        cpu: &C,
        frames: &mut F,
        address: VirtAddr,
        output: PhysRange,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let geometry = self.geometry;
        let pages = output.bytes() >> geometry.page_shift();
        let mut done = 0;
        while done < pages {
            let at = address.offset(done << geometry.page_shift());
            let first = self.page_slot(cpu, frames, at)?;
            // As many as the table has room for.
            let run = (pages - done).min((geometry.entries(Level::L3) - geometry.index(at, Level::L3)) as u64);
            for page in 0..run {
                if self.memory.load(slot(first, page as usize)) != Descriptor::EMPTY {
                    return Err(MapError::Occupied(at.offset(page << geometry.page_shift())));
                }
            }
            let leaf = attributes.leaf(output.start.offset(done << geometry.page_shift()), Level::L3);
            self.memory.store_run(first, leaf, geometry.page_size(), run as usize);
            done += run;
        }
        // The stores above are seen by every walker before this CPU goes on, ...
        cpu.dsb_ishst();
        // ... and by the instructions after this one, which may use the mapping.
        cpu.isb();
        Ok(())
    }

    fn page_slot<C: Cpu, F: FrameSource>(
        &self,
        cpu: &C,
        frames: &mut F,
        address: VirtAddr,
    ) -> Result<PhysAddr, MapError> {
        let geometry = self.geometry;
        let mut table = self.root;
        let mut level = geometry.root_level();
        while let Some(next) = level.next() {
            let at = slot(table, geometry.index(address, level));
            table = match self.memory.load(at).kind(geometry, level) {
                Kind::Table(below) => below,
                Kind::Empty => {
                    let new = frames.allocate().ok_or(MapError::OutOfFrames(address))?;
                    self.memory.store_run(new, Descriptor::EMPTY, 0, geometry.entries(next));
                    // The new table is empty for every walker before the store that links it.
                    cpu.dsb_ishst();
                    self.memory.store(at, Descriptor::table(new));
                    new
                }
                Kind::Leaf(_) | Kind::InvalidLeaf(_) | Kind::Reserved => return Err(MapError::Occupied(address)),
            };
            level = next;
        }
        Ok(slot(table, geometry.index(address, level)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Event, FakeCpu, FakeFrames, FakeMemory, View};
    use super::super::{Geometry, Granule, VaBits, Visit};
    use super::*;

    const ROOT: PhysAddr = PhysAddr(0x10_0000);
    const FRAMES: u64 = 0xf000_0000_0000;

    struct World {
        geometry: Geometry,
        memory: FakeMemory,
        cpu: FakeCpu,
        frames: FakeFrames,
    }

    impl World {
        fn new(geometry: Geometry, limit: u64) -> Self {
            let memory = FakeMemory::default();
            memory.zero_table(ROOT, geometry.entries(geometry.root_level()));
            let frames = FakeFrames::new(FRAMES, geometry.page_size(), limit);
            Self { geometry, memory, cpu: FakeCpu::default(), frames }
        }

        fn map(&mut self, address: u64, output: u64, pages: u64) -> Result<(), MapError> {
            let view = View::new(&self.memory, 0..1 << 48).logged(&self.cpu);
            let tree = TableTree { memory: &view, geometry: self.geometry, root: ROOT };
            let output = PhysRange::new(PhysAddr(output), PhysAddr(output + pages * self.geometry.page_size()));
            tree.map_pages(&self.cpu, &mut self.frames, VirtAddr(address), output, Attributes::NORMAL)
        }

        fn translate(&self, address: u64) -> Option<(Visit, PhysAddr)> {
            let tree = TableTree { memory: &self.memory, geometry: self.geometry, root: ROOT };
            tree.translate(VirtAddr(address))
        }

        fn output(&self, address: u64) -> Option<u64> {
            self.translate(address).map(|(_, output)| output.0)
        }
    }

    fn geometries() -> impl Iterator<Item = Geometry> {
        let granules = [Granule::K4, Granule::K16, Granule::K64].into_iter();
        granules.flat_map(|granule| [VaBits::V39, VaBits::V48].map(|va_bits| Geometry { granule, va_bits }))
    }

    #[test]
    fn pages_at_the_end_of_the_address_space_get_all_their_tables() {
        for geometry in geometries() {
            let mut world = World::new(geometry, 100);
            let page = geometry.page_size();
            let below_root = 3 - geometry.root_level().number() as u64;
            let start = (3 * page).wrapping_neg();
            world.map(start, 0x8000_0000, 3).unwrap();
            assert_eq!(world.frames.out.len() as u64, below_root, "{geometry:?}");
            assert_eq!(world.output(start), Some(0x8000_0000));
            assert_eq!(world.output(u64::MAX), Some(0x8000_0000 + 3 * page - 1));
            assert_eq!(world.output(start - 1), None);
            // A neighbour needs no table, ...
            world.map(start - page, 0x4000_0000, 1).unwrap();
            assert_eq!(world.frames.out.len() as u64, below_root);
            // ... and a range across two tables of pages one more.
            let edge = (2 * geometry.size(Level::L2)).wrapping_neg();
            world.map(edge - page, 0x6000_0000, 2).unwrap();
            assert_eq!(world.frames.out.len() as u64, below_root + 2);
            assert_eq!([world.output(edge - page), world.output(edge)], [Some(0x6000_0000), Some(0x6000_0000 + page)]);
        }
    }

    #[test]
    fn what_was_mapped_is_refused_and_stays() {
        for geometry in geometries() {
            let mut world = World::new(geometry, 100);
            let page = geometry.page_size();
            let base = !0 << geometry.address_bits();
            world.map(base + page, 0x8000_0000, 1).unwrap();
            assert_eq!(world.map(base, 0x4000_0000, 2), Err(MapError::Occupied(VirtAddr(base + page))));
            assert_eq!(world.output(base + page), Some(0x8000_0000));
        }
    }

    #[test]
    fn invalid_leaves_and_blocks_are_occupied_too() {
        let geometry = Geometry::K4_V48;
        let mut world = World::new(geometry, 100);
        let base = 0xffff_8000_0000_0000;
        world.map(base, 0x8000_0000, 1).unwrap();
        let (visit, _) = world.translate(base).unwrap();
        world.memory.store(visit.slot, visit.descriptor.made_invalid());
        assert_eq!(world.map(base, 0x4000_0000, 1), Err(MapError::Occupied(VirtAddr(base))));
        // The table of level 2 is the second frame taken; its next entry gets a block, valid and not.
        let block = Attributes::NORMAL.leaf(PhysAddr(0x4020_0000), Level::L2);
        for descriptor in [block, block.made_invalid()] {
            let at = slot(PhysAddr(FRAMES + 0x1000), 1);
            world.memory.store(at, descriptor);
            let address = base + 0x20_3000;
            assert_eq!(world.map(address, 0x4000_0000, 1), Err(MapError::Occupied(VirtAddr(address))));
            assert_eq!(world.memory.load(at), descriptor);
        }
    }

    #[test]
    fn a_mapping_without_frames_is_an_error_and_maps_no_wrong_page() {
        for geometry in geometries() {
            let needed = 4 - geometry.root_level().number() as u64;
            let edge = (geometry.size(Level::L2)).wrapping_neg();
            let page = geometry.page_size();
            for limit in 0..needed {
                let mut world = World::new(geometry, limit);
                // Two pages in two tables: the second may be the one that fails.
                let failed = world.map(edge - page, 0x8000_0000, 2);
                let at = if limit + 1 == needed { edge } else { edge - page };
                assert_eq!(failed, Err(MapError::OutOfFrames(VirtAddr(at))), "{geometry:?} with {limit}");
                assert_eq!(world.output(edge - page), (at == edge).then_some(0x8000_0000));
                assert_eq!(world.output(edge), None);
                // Every frame taken is linked: with more of them the same call goes on from there.
                assert_eq!(world.frames.out.len() as u64, limit);
                world.frames.limit_to(needed - limit);
                let first = if at == edge { 1 } else { 0 };
                world.map(edge - page + first * page, 0x8000_0000 + first * page, 2 - first).unwrap();
                assert_eq!(world.frames.out.len() as u64, needed);
            }
            World::new(geometry, needed).map(edge - page, 0x8000_0000, 2).unwrap();
        }
    }

    #[test]
    fn a_table_is_zeroed_and_visible_before_it_is_linked() {
        let mut world = World::new(Geometry::K4_V48, 100);
        world.map(0xffff_8000_0000_0000, 0x8000_0000, 2).unwrap();
        let mut events = Vec::new();
        let mut above = slot(ROOT, 256);
        for number in 0..3 {
            let table = PhysAddr(FRAMES + number * 0x1000);
            events.extend((0..512).map(|index| Event::Store(slot(table, index), Descriptor::EMPTY)));
            events.extend([Event::DsbIshst, Event::Store(above, Descriptor::table(table))]);
            above = slot(table, 0);
        }
        let leaf = |page: u64| Attributes::NORMAL.leaf(PhysAddr(0x8000_0000 + page * 0x1000), Level::L3);
        events.extend([0, 1].map(|page| Event::Store(above.offset(8 * page), leaf(page))));
        events.extend([Event::DsbIshst, Event::Isb]);
        assert_eq!(world.cpu.take(), events);
    }
}
