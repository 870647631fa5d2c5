// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries that a CPU may still use although its TLB no longer holds them.
//!
//! With its DSB an invalidation is over for the explicit accesses of every CPU but the one that issued it. There it is
//! over with the context synchronisation behind the DSB.

use std::collections::BTreeSet;

use super::observer::{Cached, Waiting};

/// The entries that an explicit access may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pending {
    Surely,
    /// Also what another CPU's invalidation has taken away since.
    ByDeclaration,
}

/// The entries that a TLB may have held since its CPU's last context synchronisation, but for those that are over.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Without what another CPU's invalidation took from the TLB.
    declared: BTreeSet<Cached>,
    /// Without what another CPU's invalidation took, be it after one of its own.
    sure: BTreeSet<Cached>,
    /// The entries that each invalidation by another CPU found to take.
    found: Vec<(Waiting, BTreeSet<Cached>)>,
}

impl Recent {
    pub(super) fn hold(&mut self, held: &BTreeSet<Cached>) {
        self.declared.extend(held);
        self.sure.extend(held);
    }

    /// Another CPU's invalidation is on its way.
    pub(super) fn send(&mut self, waiting: Waiting, is_taken: impl Fn(&Cached) -> bool) {
        self.found.push((waiting, self.sure.iter().filter(|cached| is_taken(cached)).copied().collect()));
    }

    /// The CPU's own invalidation is complete, and what was held `before` and not `after` was taken by it.
    pub(super) fn take(&mut self, before: &BTreeSet<Cached>, after: &BTreeSet<Cached>) {
        for (_, found) in &mut self.found {
            found.retain(|cached| !before.contains(cached) || after.contains(cached));
        }
    }

    /// Invalidations by another CPU are complete.
    pub(super) fn complete(
        &mut self,
        before: &BTreeSet<Cached>,
        after: &BTreeSet<Cached>,
        is_complete: impl Fn(&Waiting) -> bool,
    ) {
        let stays = |cached: &Cached| !before.contains(cached) || after.contains(cached);
        self.declared.retain(stays);
        self.sure.retain(stays);
        let all = std::mem::take(&mut self.found);
        let (complete, open): (Vec<_>, Vec<_>) = all.into_iter().partition(|(waiting, _)| is_complete(waiting));
        self.found = open;
        for (_, found) in complete {
            self.sure.retain(|cached| after.contains(cached) || !found.contains(cached));
        }
    }

    pub(super) fn synchronise(&mut self, held: BTreeSet<Cached>) {
        self.declared.clone_from(&held);
        self.sure = held;
    }

    pub(super) fn pending(&self, which: Pending, held: &BTreeSet<Cached>) -> BTreeSet<Cached> {
        let all = match which {
            Pending::Surely => &self.sure,
            Pending::ByDeclaration => &self.declared,
        };
        all.difference(held).copied().collect()
    }
}
