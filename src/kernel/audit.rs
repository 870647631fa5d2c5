//! The audit: what the MMU itself says of the linear map, and what a fresh walk finds in all of TTBR1.
//!
//! What is expected comes from the memory regions, never from the tables that were there before: a map that was painted
//! wrongly and split faithfully is wrong.
#![cfg(target_os = "none")]

use cleave::arch::timer;
use cleave::arch::translate::{self, Translation};
use cleave::linear_map::Layout;
use cleave::paging::{
    Attributes, Census, Descriptor, Kind, LeafCounts, Level, Part, PhysAddr, TlbiRepeat, VirtAddr, Visit, replace_leaf,
    translate as walk_to, walk,
};
use cleave::platform::MemoryRanges;
use cleave::platform::bootargs::Fault;

use crate::kernel::layout::KERNEL_L0_INDEX;
use crate::kernel::memory::{self, GEOMETRY};
use crate::kernel::views::{ThisCpu, View};
use crate::kernel::{console, dump, faults};

/// What the audit found; zero is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Leaves that are writable and executable.
    pub(crate) wx: u64,
    /// Writable leaves of memory that another leaf makes executable.
    pub(crate) aliases: u64,
    /// Addresses that translate otherwise than the regions say.
    pub(crate) translation_mismatches: u64,
    /// Counts that the walk contradicts.
    pub(crate) census_mismatches: u64,
    /// What the walk counted in the linear map.
    pub(crate) leaves: LeafCounts,
}

impl core::fmt::Display for Findings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { wx, aliases, translation_mismatches, census_mismatches, .. } = self;
        write!(f, "writable and executable {wx}, by two aliases {aliases}, ")?;
        write!(f, "translations wrong {translation_mismatches}, census wrong {census_mismatches}")
    }
}

impl Findings {
    /// True when nothing was found.
    pub(crate) const fn is_clean(&self) -> bool {
        self.wx == 0 && self.aliases == 0 && self.translation_mismatches == 0 && self.census_mismatches == 0
    }
}

/// Where pages are asked for one by one; above, one in each 2 MiB.
const DENSE: u64 = 4 << 30;
const PAGE: u64 = 4096;
const SPARSE_STEP: u64 = 2 << 20;

/// Audits everything. `expected`: the leaves the linear map should have.
pub(crate) fn audit(expected: &LeafCounts) -> Findings {
    plant_faults();
    let layout = memory::layout();
    let mut findings = Findings::default();
    let mut progress = Progress::new();
    for &region in layout.regions() {
        let mut at = region.start;
        while at < region.end {
            findings.translation_mismatches += u64::from(!translates(layout, at));
            at = at.offset(if at.0 < DENSE { PAGE } else { SPARSE_STEP - at.0 % SPARSE_STEP });
            progress.say(at);
        }
        // The page in front of a region and the one behind it: holes, unless another region or the alias is there.
        let edges = [region.start.0.checked_sub(PAGE), Some(region.end.0)];
        for edge in edges.into_iter().flatten().map(PhysAddr).filter(|&edge| layout.part(edge).is_none()) {
            let mapped = translate::read(memory::linear(edge)).address().is_some();
            findings.translation_mismatches += u64::from(mapped);
        }
    }
    walk_everything(layout, &mut findings, &mut progress);
    findings.census_mismatches = mismatches(&findings.leaves, expected);
    if !findings.is_clean() {
        // What there is, for whoever has to find out why. The console does not fail.
        let _ = dump::write_all(&mut console::Lines);
    }
    findings
}

fn mismatches(found: &LeafCounts, expected: &LeafCounts) -> u64 {
    Level::ALL
        .into_iter()
        .map(|level| {
            u64::from(found.plain(level) != expected.plain(level))
                + u64::from(found.contiguous(level) != expected.contiguous(level))
        })
        .sum()
}

/// Asks the MMU for a load and a store.
fn translates(layout: &Layout<'_>, physical: PhysAddr) -> bool {
    use translate::Shareability;
    let address = memory::linear(physical);
    let writable = match layout.part(physical) {
        Some(Part::Memory) => true,
        Some(Part::Alias) => false,
        None => return true,
    };
    // Normal write-back memory, inner shareable, and the very byte asked for.
    let right = Translation::Mapped { address: physical, attributes: 0xff, shareability: Shareability::Inner };
    let store = translate::write(address);
    translate::read(address) == right && if writable { store == right } else { store.address().is_none() }
}

/// One walk over all of TTBR1: counts, W^X, and aliases of executable memory.
fn walk_everything(layout: &Layout<'_>, findings: &mut Findings, progress: &mut Progress) {
    let base = layout.root_base();
    let mut executable = MemoryRanges::new();
    let each = |entries: core::ops::Range<usize>, visit: &mut dyn FnMut(&Visit, PhysAddr)| {
        walk(&View::LINEAR, GEOMETRY, memory::root(), base, entries, &mut |found: Visit| {
            if let Kind::Leaf(output) = found.kind {
                visit(&found, output);
            }
        });
    };
    let all = 0..GEOMETRY.entries(GEOMETRY.root_level());
    each(KERNEL_L0_INDEX..all.end, &mut |found, output| {
        if found.is_executable() {
            let range = cleave::paging::PhysRange::new(output, output.offset(GEOMETRY.size(found.level)));
            // The kernel's text is one piece of memory; a set that overflows would be a finding of its own.
            findings.aliases += u64::from(executable.insert(range).is_err());
        }
    });
    let text = executable;
    let mut leaves = Census::default();
    each(all, &mut |found, output| {
        progress.say(output);
        let size = GEOMETRY.size(found.level);
        let linear = GEOMETRY.index(found.address, GEOMETRY.root_level()) < KERNEL_L0_INDEX;
        if linear {
            leaves.add_leaves(found.level, found.descriptor.into(), Part::Memory, 1);
        }
        if found.is_executable() && (found.is_writable() || linear) {
            findings.wx += 1;
        }
        if found.is_writable() && text.overlaps(cleave::paging::PhysRange::new(output, output.offset(size))) {
            findings.aliases += 1;
        }
    });
    findings.leaves = leaves.leaves;
}

/// Says where it is, once a second.
struct Progress {
    last: u64,
    steps: u32,
}

impl Progress {
    fn new() -> Self {
        Self { last: timer::count(), steps: 0 }
    }

    fn say(&mut self, at: PhysAddr) {
        self.steps += 1;
        // The counter is not looked at for every page.
        if self.steps.is_multiple_of(4096) && timer::count().wrapping_sub(self.last) > timer::frequency() {
            self.last = timer::count();
            log::info!("audit: at {at}");
        }
    }
}

/// The faults that the audit must find. They change one page: a leaf of a contiguous group cannot be changed alone, and
/// a block might map the very table it stands in.
///
/// # Panics
/// When the map has no page there.
fn plant_faults() {
    let last = memory::layout().regions()[0].end.0 - PAGE;
    let address = memory::linear(PhysAddr(last));
    if faults::args().injects(Fault::Wx) {
        // PXN off: what is writable becomes executable.
        replace(address, |leaf| Descriptor(leaf.0 & !(1 << 53)));
    }
    if faults::args().injects(Fault::AuditFlip) {
        // Another output address.
        replace(address, |_| Attributes::NORMAL.leaf(PhysAddr(last ^ 1 << 30), Level::L3));
    }
}

/// Replaces the page of `address` by break-before-make; nobody uses what it maps.
fn replace(address: VirtAddr, change: impl Fn(Descriptor) -> Descriptor) {
    let found = walk_to(&View::LINEAR, GEOMETRY, memory::root(), address);
    let page = found.map(|(leaf, _)| leaf).filter(|leaf| leaf.level == Level::L3 && !leaf.descriptor.is_contiguous());
    let leaf = page.unwrap_or_else(|| panic!("fault: {address} is not mapped by a page of its own"));
    replace_leaf(&View::LINEAR, &ThisCpu, leaf.slot, change(leaf.descriptor), TlbiRepeat::Twice);
}
