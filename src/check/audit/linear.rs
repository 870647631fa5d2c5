// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit of the linear map, and of all leaves under TTBR1.

use alloc::format;
use core::fmt;

use crate::devicetree::MemoryRanges;
use cleave::aarch64::timer;
use cleave::aarch64::translate::{self, Translation};
use cleave::linear_map::Layout;
use cleave::tables::{Hint, Kind, Level, MapStats, Part, PhysAddr, PhysRange, Visit};

use super::expected::Ordinary;
use super::{Findings, plant, sections};
use crate::io::console;
use crate::mm::dump;
use crate::mm::image::Section;
use crate::mm::layout::KERNEL_L0_INDEX;
use crate::mm::memory::{self, GEOMETRY};
use crate::mm::repaint::{is_held, wait_for_map};
use crate::mm::temporary_page;
use crate::mm::views::Reader;

/// The end of the addresses whose pages are checked one by one; above it, one in each 2 MiB.
const DENSE: u64 = 4 << 30;
const PAGE: u64 = 4096;
const SPARSE_STEP: u64 = 2 << 20;

/// Audits everything. No other CPU changes the linear map meanwhile.
///
/// # Panics
/// When another CPU changes it and interrupts are masked here.
pub(crate) fn audit() -> Findings {
    let held = wait_for_map().unwrap_or_else(|error| panic!("audit: {error}"));
    let expected = plant::faults(memory::map().counts().stats);
    let layout = memory::layout();
    let mut findings = Findings::default();
    let mut progress = Progress::new();
    sections::audit(&mut findings);
    let ordinary = calibrate();
    for &region in layout.regions() {
        let mut at = region.start;
        while at < region.end {
            translates(layout, ordinary, at, &mut findings);
            at = at.offset(if at.0 < DENSE { PAGE } else { SPARSE_STEP - at.0 % SPARSE_STEP });
            progress.say(at);
        }
        // The page in front of a region and the one behind it: holes, unless another region or the alias is there.
        let edges = [region.start.0.checked_sub(PAGE), Some(region.end.0)];
        for edge in edges.into_iter().flatten().map(PhysAddr).filter(|&edge| layout.part(edge).is_none()) {
            let answer = translate::read(memory::linear(edge));
            if answer.address().is_some() {
                findings.translation_mismatches += 1;
                findings.name(|| format!("a hole in memory, {edge}, is mapped: {answer}"));
            }
        }
    }
    let found = walk_everything(layout, &mut findings, &mut progress);
    compare_counts(&expected, &found, &mut findings);
    if !findings.is_clean() {
        // The tables as they are, for the reader who looks for the cause. The console does not fail.
        let _ = dump::write_all(&held, &mut console::Lines);
    }
    findings
}

/// Asks the MMU what it makes of the attributes of the kernel's own data, which are those of the linear map.
///
/// # Panics
/// When the kernel's data is not mapped: this CPU would not be here.
fn calibrate() -> Ordinary {
    let answer = translate::read(Section::Data.virt().start);
    let ordinary = Ordinary::of(answer).unwrap_or_else(|| panic!("the kernel's data is not mapped: {answer}"));
    if ordinary.attributes != 0xff {
        log::info!("audit: the MMU calls Normal write-back memory {:#04x}", ordinary.attributes);
    }
    ordinary
}

/// Compares the counts that were kept with those of a walk.
fn compare_counts(expected: &MapStats, found: &MapStats, findings: &mut Findings) {
    let mut compare = |found: u64, expected: u64, what: fmt::Arguments<'_>| {
        if found != expected {
            findings.census_mismatches += 1;
            findings.name(|| format!("{found} {what} and not {expected}"));
        }
    };
    for (state, found, expected) in
        [("", &found.leaves, &expected.leaves), (" unmapped", &found.unmapped, &expected.unmapped)]
    {
        for level in Level::ALL {
            for (kind, hint) in [("single", Hint::Single), ("contiguous", Hint::Contiguous)] {
                let what = format_args!("{kind}{state} leaves of level {}", level.number());
                compare(found.of(level, hint), expected.of(level, hint), what);
            }
        }
    }
    compare(found.tables, expected.tables, format_args!("tables"));
}

/// Asks the MMU for a load and a store.
fn translates(layout: &Layout<'_>, ordinary: Ordinary, physical: PhysAddr, findings: &mut Findings) {
    let address = memory::linear(physical);
    let writable = match layout.part(physical) {
        Some(Part::Memory) => true,
        Some(Part::Alias) => false,
        None => return,
    };
    let (load, store) = (translate::read(address), translate::write(address));
    let wrong = if !ordinary.maps(load, physical) {
        Some("")
    } else if writable && store != load {
        Some(", and cannot be written")
    } else if !writable && store.address().is_some() {
        Some(", and can be written")
    } else {
        None
    };
    if let Some(wrong) = wrong.filter(|_| !is_changed(ordinary, physical, load, store)) {
        findings.translation_mismatches += 1;
        findings.name(|| format!("{physical} in the linear map: {load}{wrong}"));
    }
}

/// Returns true when `physical` is in a page that a change has made read-only or unmapped, and the MMU answers as its tables
/// say.
fn is_changed(ordinary: Ordinary, physical: PhysAddr, load: Translation, store: Translation) -> bool {
    let page = physical.align_down(PAGE);
    is_held(page)
        && match memory::tree(Reader).translate(memory::linear(physical)) {
            None => load.address().is_none(),
            Some((leaf, output)) => {
                output == physical && ordinary.maps(load, physical) && leaf.is_writable() == (store == load)
            }
        }
}

/// Walks all tables under TTBR1: checks W^X and aliases of executable memory, and returns the counts of the linear map.
fn walk_everything(layout: &Layout<'_>, findings: &mut Findings, progress: &mut Progress) -> MapStats {
    let base = layout.root_base();
    let mut executable = MemoryRanges::new();
    let each = |entries: core::ops::Range<usize>, visit: &mut dyn FnMut(&Visit)| {
        memory::tree(Reader).walk(base, entries, |found| visit(&found));
    };
    let all = 0..GEOMETRY.entries(GEOMETRY.root_level());
    each(KERNEL_L0_INDEX..all.end, &mut |found| {
        if let Kind::Leaf(output) = found.kind
            && found.is_executable()
        {
            let range = PhysRange::new(output, output.offset(GEOMETRY.size(found.level)));
            // The kernel's text is one piece of memory; a set that overflows would be a finding of its own.
            findings.aliases += u64::from(executable.insert(range).is_err());
        }
    });
    let text = executable;
    // No other memory is below TTBR0 but that of a page of code which is changed.
    if temporary_page::is_mapped() {
        findings.aliases += 1;
        findings.name(|| "a temporary page is mapped below TTBR0".into());
    }
    let mut stats = MapStats::default();
    each(all, &mut |found| {
        let linear = GEOMETRY.index(found.address, GEOMETRY.root_level()) < KERNEL_L0_INDEX;
        if linear {
            stats.count(found, layout.alias());
        }
        // What a change has unmapped is counted, and translates nothing.
        let Kind::Leaf(output) = found.kind else { return };
        progress.say(output);
        let size = GEOMETRY.size(found.level);
        if found.is_executable() && (found.is_writable() || linear) {
            findings.wx += 1;
            findings.name(|| format!("{} can be written or is in the linear map, and is executable", found.address));
        }
        if found.is_writable() && text.overlaps(PhysRange::new(output, output.offset(size))) {
            findings.aliases += 1;
            findings.name(|| format!("{} is a writable alias of code at {output}", found.address));
        }
    });
    findings.leaves = stats.leaves;
    stats
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
