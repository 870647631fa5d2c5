//! The classic form of the split (`fill=window`): the leader splits the broken map while every CPU is parked, through a
//! map of physical memory under TTBR0 that exists for no other purpose.

use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering;

use cleave::arch::timer;
use cleave::linear_map::{
    LargestLeaf, Layout, OutOfMemory, PhysicalWindow, free_tables, paint, split_in_window, tables_bound,
};
use cleave::paging::{Attributes, FrameSource, PhysRange, Scope, VirtAddr, clear_entries};
use cleave::platform::MemoryRanges;
use cleave::rendezvous::Parked;

use super::{Commit, Ending, Repaint, Unused};
use crate::kernel::image::Table;
use crate::kernel::percpu::this_cpu;
use crate::kernel::probe::ProbingCpu;
use crate::kernel::views::{Split, ThisCpu, View};
use crate::kernel::{memory, smp};

impl Repaint<'_> {
    /// The classic form: the leader splits the broken map while everyone is parked.
    pub(super) fn in_window(&mut self) -> Ending {
        let layout = self.layout;
        let needed = self.census.tables_to_split(layout.geometry());
        let mut pool = match self.reserve(needed) {
            Ok(pool) => pool,
            Err(missing) => return Ending::OutOfMemory(missing),
        };
        if let Err(missing) = paint_window(layout) {
            self.give_back(pool, Unused::Expected);
            return Ending::OutOfMemory(missing);
        }
        let window =
            PhysicalWindow { view: View::PHYSICAL, root: Table::WindowRoot.phys(), empty: Table::EmptyRoot.phys() };
        let (roots, live, save) = (View::image(), Table::Root.phys(), Table::ShadowRoot.phys());
        let repeat = smp::tlbi_repeat();
        let pool_cell = RefCell::new(&mut pool);
        let (used, filled) = (Cell::new(0), Cell::new(None));
        let committed = self.gather(Commit {
            plain: |everyone: &Parked<'_>| {
                let pool = &mut **pool_cell.borrow_mut();
                let start = timer::count();
                used.set(split_in_window(layout, &roots, &ThisCpu, live, save, &window, pool, repeat, everyone));
                filled.set(Some(timer::count().wrapping_sub(start)));
            },
            probing: |cpu: &ProbingCpu, everyone: &Parked<'_>| {
                let pool = &mut **pool_cell.borrow_mut();
                let start = timer::count();
                used.set(split_in_window(layout, &roots, cpu, live, save, &window, pool, repeat, everyone));
                filled.set(Some(timer::count().wrapping_sub(start)));
            },
        });
        self.account.fill = filled.get();
        self.account.used = used.get();
        this_cpu().own.filled.store(used.get(), Ordering::Relaxed);
        self.give_back(pool, if committed { Unused::Defect } else { Unused::Expected });
        let entries = identity(layout).map_or(0..0, |plan| plan.root_entries());
        free_tables(layout.geometry(), &View::LINEAR, &roots, window.root, entries.clone(), &mut *memory::frames());
        clear_entries(&roots, window.root, entries);
        clear_entries(&roots, save, layout.root_entries());
        self.finish(committed, 0)
    }
}

/// The plan of the physical window: everything the linear map has but the kernel's text and read-only data, at its
/// physical address, for one address space (nG) and never executable.
fn identity(layout: &Layout<'static>) -> Option<Layout<'static>> {
    static REGIONS: spin::Once<MemoryRanges> = spin::Once::new();
    // A set that is too full for the hole must not be used: the kernel's text would be writable through it.
    let mut ranges = MemoryRanges::new();
    for &region in layout.regions() {
        ranges.insert(region).ok()?;
    }
    ranges.remove(layout.alias()).ok()?;
    let regions = REGIONS.call_once(|| ranges);
    let attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };
    Layout::new(layout.geometry(), VirtAddr(0), 1 << 47, regions.as_slice(), PhysRange::default(), attributes).ok()
}

/// Paints the physical window. Its tables are no part of the repaint's account: they come and go.
fn paint_window(layout: &Layout<'static>) -> Result<(), OutOfMemory> {
    let mut frames = memory::frames();
    let available = frames.available();
    let plan = identity(layout).ok_or(OutOfMemory { needed: 0, available })?;
    let needed = tables_bound(&plan, LargestLeaf::Block);
    if available < needed {
        return Err(OutOfMemory { needed, available });
    }
    let root = Table::WindowRoot.phys();
    let memory = Split { range: PhysRange::new(root, root.offset(4096)), near: View::image(), far: View::LINEAR };
    paint(&plan, LargestLeaf::Block, &memory, &ThisCpu, &mut *frames, root)
        .map(|_census| ())
        .map_err(|_| OutOfMemory { needed, available })
}
