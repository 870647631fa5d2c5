// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of each rule, from the file that checks the rule.

use super::rule::{Rule, RuleText};
use super::{access, caches, change, context, contiguous, frames, invalidate, order, parking};

impl Rule {
    /// Returns the rule's text.
    #[must_use]
    pub const fn text(self) -> RuleText {
        match self {
            Self::LiveSizeChange => change::LIVE_SIZE_CHANGE,
            Self::LiveTargetChange => change::LIVE_TARGET_CHANGE,
            Self::MakeWithoutTlbi => change::MAKE_WITHOUT_TLBI,
            Self::StoreBeforeTlbi => invalidate::STORE_BEFORE_TLBI,
            Self::TlbiCoverage => invalidate::TLBI_COVERAGE,
            Self::DsbAfterTlbi => invalidate::DSB_AFTER_TLBI,
            Self::ChildBeforeParent => order::CHILD_BEFORE_PARENT,
            Self::MultiHit => access::MULTI_HIT,
            Self::AmbiguousTranslation => access::AMBIGUOUS_TRANSLATION,
            Self::ContextSynchronisation => order::CONTEXT_SYNCHRONISATION,
            Self::ContiguousGroup => contiguous::CONTIGUOUS_GROUP,
            Self::FrameReuse => frames::FRAME_REUSE,
            Self::BrokenEntryAccess => access::BROKEN_ENTRY_ACCESS,
            Self::Rendezvous => parking::RENDEZVOUS,
            Self::Reservation => frames::RESERVATION,
            Self::CacheMaintenance => caches::CACHE_MAINTENANCE,
            Self::CpuContexts => context::CPU_CONTEXTS,
            Self::HardwareUpdate => context::HARDWARE_UPDATE,
        }
    }
}
