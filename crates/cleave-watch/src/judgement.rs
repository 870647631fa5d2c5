// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result of judging a record.

use cleave_model::{Coverage, LastLevel, Violation};

/// The counts of a CPU's actions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Stores to what a walker could reach at the time or later.
    pub(crate) table_stores: u64,
    pub(crate) broadcasts: u64,
    /// The broadcasts again, by form: see [`FORMS`].
    pub(crate) forms: [u64; FORMS.len()],
    pub(crate) local_invalidations: u64,
    pub(crate) dsbs: u64,
    pub(crate) synchronisations: u64,
    /// Writes of TTBR0_EL1 and TTBR1_EL1.
    pub(crate) roots: u64,
    pub(crate) accesses: u64,
    pub(crate) acquires: u64,
}

/// The forms of a TLBI, as the report names them: all entries or those of an ASID, and those of an address or a range, with the
/// entries of tables or without.
pub(crate) const FORMS: [&str; 5] = ["all", "address", "address-last-level", "range", "range-last-level"];

impl Counts {
    /// Counts a broadcast TLBI.
    pub(crate) fn broadcast(&mut self, covers: Coverage) {
        self.broadcasts += 1;
        let form = match covers {
            Coverage::All | Coverage::Asid(_) => 0,
            Coverage::Address { last: LastLevel::AllLevels, .. } => 1,
            Coverage::Address { last: LastLevel::Only, .. } => 2,
            Coverage::Range { last: LastLevel::AllLevels, .. } => 3,
            Coverage::Range { last: LastLevel::Only, .. } => 4,
            Coverage::Nothing => return,
        };
        self.forms[form] += 1;
    }
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
