// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result of judging a record.

use cleave_model::Violation;

/// The counts of a CPU's actions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Stores to what a walker could reach at the time or later.
    pub(crate) table_stores: u64,
    pub(crate) broadcasts: u64,
    pub(crate) local_invalidations: u64,
    pub(crate) dsbs: u64,
    pub(crate) synchronisations: u64,
    /// Writes of TTBR0_EL1 and TTBR1_EL1.
    pub(crate) roots: u64,
    pub(crate) accesses: u64,
    pub(crate) acquires: u64,
}

/// The judgement of a run.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// The first rule that was broken, and the instruction at which it showed; none for what is left at the end.
    pub(crate) violation: Option<(Box<Violation>, Option<u64>)>,
    /// The machine and QEMU differ: the machine does not know what this run did.
    pub(crate) lost: Option<String>,
    pub(crate) settled: bool,
    pub(crate) counts: Vec<Counts>,
    /// Tables of the shared addresses, when an entry of them was first broken.
    pub(crate) tables_before: usize,
    /// Tables of the shared addresses at the end.
    pub(crate) tables_after: usize,
    /// Of those, how many had not been there before.
    pub(crate) tables_new: usize,
    /// Root entries that were broken.
    pub(crate) breaks: u64,
}

impl Judgement {
    /// Nothing so far, for this many CPUs.
    pub(crate) fn new(cpus: usize) -> Self {
        Self {
            violation: None,
            lost: None,
            settled: false,
            counts: vec![Counts::default(); cpus],
            tables_before: 0,
            tables_after: 0,
            tables_new: 0,
            breaks: 0,
        }
    }

    /// `ok`, the rule that was broken, or `lost` where machine and QEMU differ.
    pub(crate) fn verdict(&self) -> String {
        match (&self.violation, &self.lost) {
            (Some((violation, _)), _) => violation.rule.text().id.into(),
            (None, Some(_)) => "lost".into(),
            (None, None) => "ok".into(),
        }
    }
}
