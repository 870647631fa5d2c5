// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties of a map before and after each step: counts, frames, translations, permissions.

use std::collections::BTreeSet;

use crate::case::{Case, LIVE};
use cleave::linear_map::Layout;
use cleave::tables::{Descriptor, Kind, MapStats, PhysAddr, TableTree, Visit};
use cleave_model::{Machine, Through, View};

/// Ends a case; the text says why.
pub(crate) type Failed = String;

macro_rules! check {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
pub(crate) use check;

/// The contents of a map, size apart: runs of adjacent memory with equal attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    address: u64,
    output: u64,
    bytes: u64,
    attributes: u64,
}

/// A map at one moment.
pub(crate) struct Snapshot {
    pub(crate) stats: MapStats,
    pub(crate) runs: Vec<Run>,
    pub(crate) descriptors: Vec<(PhysAddr, Descriptor)>,
    pub(crate) frames_out: BTreeSet<PhysAddr>,
}

/// A view of a machine's tables from outside, which no CPU of the machine has.
#[derive(Clone, Copy)]
pub(crate) struct Eye<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) layout: &'a Layout<'a>,
    pub(crate) case: &'a Case,
}

impl Eye<'_> {
    fn live(&self) -> TableTree<View<'_>> {
        let memory = self.machine.view(0, Through::Physical);
        TableTree { memory, geometry: self.case.geometry, root: LIVE }
    }

    /// Every entry of the linear map.
    pub(crate) fn visit(&self, each: impl FnMut(Visit)) {
        let (base, entries) = (self.layout.root_base(), self.layout.root_entries());
        self.live().walk(base, entries, each);
    }

    /// Returns the present contents.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut descriptors = Vec::new();
        self.visit(|visit| descriptors.push((visit.slot, visit.descriptor)));
        let frames_out = self.machine.frames_out().into_iter().collect();
        Snapshot { stats: self.stats(), runs: self.runs(), descriptors, frames_out }
    }

    /// A count of what is there, by a walk.
    pub(crate) fn stats(&self) -> MapStats {
        let (base, entries) = (self.layout.root_base(), self.layout.root_entries());
        MapStats::of_tree(&self.live(), base, entries, self.case.alias)
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        self.visit(|visit| {
            let (Kind::Leaf(output) | Kind::InvalidLeaf(output)) = visit.kind else { return };
            let (address, output, bytes) = (visit.address.0, output.0, self.case.geometry.size(visit.level));
            let attributes = visit.descriptor.attributes();
            match runs.last_mut() {
                Some(last)
                    if last.address.wrapping_add(last.bytes) == address
                        && last.output + last.bytes == output
                        && last.attributes == attributes =>
                {
                    last.bytes += bytes;
                }
                _ => runs.push(Run { address, output, bytes, attributes }),
            }
        });
        runs
    }

    /// Every frame that is a table of the live root, or that one of its pages outside the linear map maps.
    pub(crate) fn in_use(&self) -> BTreeSet<PhysAddr> {
        let mut found = BTreeSet::new();
        let (geometry, ours) = (self.case.geometry, self.layout.root_entries());
        for entry in 0..geometry.entries(geometry.root_level()) {
            self.live().walk(self.case.upper_half(), entry..entry + 1, |visit| match visit.kind {
                Kind::Table(table) => drop(found.insert(table)),
                Kind::Leaf(page) if !ours.contains(&entry) => drop(found.insert(page)),
                _ => {}
            });
        }
        found.retain(|frame| !crate::case::IMAGE.contains(*frame));
        found
    }

    /// Nothing writable is executable, by one way or by two.
    pub(crate) fn check_w_xor_x(&self) -> Result<(), Failed> {
        let mut both = None;
        self.visit(|visit| {
            let Kind::Leaf(output) = visit.kind else { return };
            if visit.is_executable() || self.case.alias.contains(output) && visit.is_writable() {
                both = Some(visit);
            }
        });
        check!(both.is_none(), "writable and executable: {both:?}");
        Ok(())
    }
}
