// SPDX-License-Identifier: MIT OR Apache-2.0
//! A readable dump of the tables under both TTBRs, folded to ranges, and the walk to one address.
#![cfg(target_os = "none")]

use core::fmt::{self, Write};

use cleave::aarch64::mmu;
use cleave::linear_map::MapLockGuard;
use cleave::tables::{MapStats, PhysAddr, TableTree, VirtAddr};

use crate::mm::address_class::Place;
use crate::mm::layout::{LINEAR_BASE, LINEAR_BYTES};
use crate::mm::memory::{self, GEOMETRY};
use crate::mm::views::{Careful, Reader};

/// One of the two halves of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// TTBR0_EL1, from address 0 up.
    Lower,
    /// TTBR1_EL1.
    Upper,
}

impl Half {
    /// Returns the half of `address`; `None` when its upper bits are not all equal.
    pub(crate) fn of(address: VirtAddr) -> Option<Self> {
        match address.0 >> 48 {
            0 => Some(Self::Lower),
            0xffff => Some(Self::Upper),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Lower => "TTBR0",
            Self::Upper => "TTBR1",
        }
    }

    /// Returns the root table of the half on this CPU.
    pub(crate) fn root(self) -> PhysAddr {
        match self {
            Self::Lower => mmu::ttbr0(),
            Self::Upper => mmu::ttbr1(),
        }
    }

    /// Returns the tables under that root, as `memory` reaches them.
    pub(crate) fn tree<M>(self, memory: M) -> TableTree<M> {
        TableTree { memory, geometry: GEOMETRY, root: self.root() }
    }

    const fn base(self) -> VirtAddr {
        match self {
            Self::Lower => VirtAddr(0),
            Self::Upper => VirtAddr(LINEAR_BASE),
        }
    }
}

/// Writes every range of `half` on a line of its own; returns how many are writable and executable.
///
/// Outside the stop window: the tables are read through the linear map, whose lock keeps changes away.
pub(crate) fn write_half(_held: &MapLockGuard<'_>, half: Half, out: &mut impl Write) -> Result<u64, fmt::Error> {
    let tree = half.tree(Reader);
    writeln!(out, "{}: root {} ({}_EL1)", half.name(), tree.root, half.name())?;
    let entries = 0..GEOMETRY.entries(GEOMETRY.root_level());
    let (mut result, mut runs, mut warnings) = (Ok(()), 0, 0);
    tree.dump(half.base(), entries, |run| {
        runs += 1;
        warnings += u64::from(run.is_writable_and_executable());
        // In the lower half there is nothing but the temporary mapping of the classic split.
        let line = match half {
            Half::Upper => writeln!(out, "  {run}  {}", Place::of(run.start)),
            Half::Lower => writeln!(out, "  {run}  the temporary mapping"),
        };
        if result.is_ok() {
            result = line;
        }
    });
    result?;
    if runs == 0 {
        writeln!(out, "  nothing is mapped")?;
    }
    Ok(warnings)
}

/// Writes everything.
pub(crate) fn write_all(held: &MapLockGuard<'_>, out: &mut impl Write) -> fmt::Result {
    let warnings = write_half(held, Half::Lower, out)? + write_half(held, Half::Upper, out)?;
    if warnings != 0 {
        writeln!(out, "WARNING: {warnings} ranges are writable and executable")?;
    }
    Ok(())
}

/// Writes the way from the root to `address`.
pub(crate) fn write_path(memory: &Careful, half: Half, address: VirtAddr, out: &mut impl Write) -> fmt::Result {
    let tree = half.tree(memory);
    writeln!(out, "{:#018x}: {}; root {} ({}_EL1)", address.0, Place::of(address), tree.root, half.name())?;
    let mut result = Ok(());
    tree.path(address, |index, at, found| {
        let line = writeln!(out, "  L{} [{index:3}] {at}: {:?}  {found}", found.level.number(), found.descriptor);
        if result.is_ok() {
            result = line;
        }
    });
    result?;
    match tree.translate(address) {
        Some((_, output)) => writeln!(out, "  -> {output}"),
        None => writeln!(out, "  not mapped"),
    }
}

/// Counts the linear map afresh. The map's lock keeps changes away.
pub(crate) fn linear_stats(_held: &MapLockGuard<'_>) -> MapStats {
    let layout = memory::layout();
    let entries = 0..(LINEAR_BYTES >> 39) as usize;
    MapStats::of_tree(&memory::tree(Reader), layout.root_base(), entries, layout.alias())
}
