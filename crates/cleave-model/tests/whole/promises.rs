// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties of a map before and after each step: counts, frames, translations, permissions.

use std::collections::BTreeSet;

use crate::case::{Case, LIVE};
use cleave::linear_map::{Change, Layout};
use cleave::tables::{Descriptor, Kind, MapStats, PhysAddr, PhysRange, TableTree, Visit};
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

impl Run {
    /// Returns the runs of a map whose leaves are `runs`, in order of addresses: with neighbours that are alike as one.
    pub(crate) fn folded(runs: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut folded: Vec<Self> = Vec::new();
        for run in runs {
            match folded.last_mut() {
                Some(last)
                    if last.address.wrapping_add(last.bytes) == run.address
                        && last.output + last.bytes == run.output
                        && last.attributes == run.attributes =>
                {
                    last.bytes += run.bytes;
                }
                _ => folded.push(run),
            }
        }
        folded
    }

    /// Returns this run with `change` made in `range`, in up to three pieces.
    pub(crate) fn changed(self, change: Change, range: PhysRange) -> impl Iterator<Item = Self> {
        let (start, end) = (self.output, self.output + self.bytes);
        let cuts = [start, range.start.0.clamp(start, end), range.end.0.clamp(start, end), end];
        let edit = |attributes: u64| match change {
            Change::ReadOnly => Descriptor(attributes).made_read_only().0,
            Change::ReadWrite => Descriptor(attributes).made_writable().0,
            Change::Unmap => Descriptor(attributes).made_invalid().0,
            Change::Map => Descriptor(attributes).made_valid().0,
            Change::Scope(scope) => Descriptor(attributes).with_scope(scope).0,
            Change::Split(_) | Change::Collapse => attributes,
        };
        let attributes = [self.attributes, edit(self.attributes), self.attributes];
        (0..3).filter(move |&piece| cuts[piece] < cuts[piece + 1]).map(move |piece| Self {
            address: self.address + (cuts[piece] - start),
            output: cuts[piece],
            bytes: cuts[piece + 1] - cuts[piece],
            attributes: attributes[piece],
        })
    }
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
        let mut runs = Vec::new();
        self.visit(|visit| {
            let (Kind::Leaf(output) | Kind::InvalidLeaf(output)) = visit.kind else { return };
            let (address, output, bytes) = (visit.address.0, output.0, self.case.geometry.size(visit.level));
            runs.push(Run { address, output, bytes, attributes: visit.descriptor.attributes() });
        });
        Run::folded(runs)
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
