// SPDX-License-Identifier: MIT OR Apache-2.0
//! The findings of a run: every kind of broken rule, so that none hides behind the first one.

use core::fmt;

use super::rule::Violation;

/// The broken rules of a run, in the order in which each kind was first noticed.
///
/// Violations of one rule with one [`Violation::detail`] are one kind. Of each kind the first is kept, and how often
/// the kind was noticed.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The first violation of the run.
    pub first: Violation,
    /// The first violation of every other kind.
    pub others: Vec<Violation>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if !self.others.is_empty() {
            writeln!(f, "  and later:")?;
        }
        self.others.iter().try_for_each(|other| {
            write!(f, "    ")?;
            other.write_headline(f)
        })
    }
}

impl core::error::Error for Findings {}

/// The collection of a machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    kinds: Vec<Violation>,
    /// The number of violations, of all kinds.
    pub(super) total: u64,
}

impl Noted {
    /// Adds one of a kind. `make` describes it where it is the first of its kind.
    pub(super) fn add(&mut self, is_kind: impl Fn(&Violation) -> bool, make: impl FnOnce() -> Violation) {
        self.total += 1;
        match self.kinds.iter_mut().find(|known| is_kind(known)) {
            Some(known) => known.times += 1,
            None => self.kinds.push(make()),
        }
    }

    /// Adds what was collected after these.
    pub(super) fn append(&mut self, later: Vec<Violation>) {
        for violation in later {
            self.total += violation.times;
            match self.kinds.iter_mut().find(|known| known.is_kind_of(&violation)) {
                Some(known) => known.times += violation.times,
                None => self.kinds.push(violation),
            }
        }
    }

    /// Returns each kind, with its first violation.
    pub(super) fn kinds(&self) -> &[Violation] {
        &self.kinds
    }

    /// Returns each kind, to be changed.
    pub(super) fn kinds_mut(&mut self) -> &mut [Violation] {
        &mut self.kinds
    }

    /// Gives the violations away.
    pub(super) fn into_kinds(self) -> Vec<Violation> {
        self.kinds
    }

    /// Returns what was found, if anything was.
    pub(super) fn verdict(&self) -> Result<(), Box<Findings>> {
        match self.kinds.split_first() {
            None => Ok(()),
            Some((first, others)) => Err(Box::new(Findings { first: first.clone(), others: others.to_vec() })),
        }
    }
}
