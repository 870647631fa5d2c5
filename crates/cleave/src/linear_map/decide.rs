// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision whether the CPUs allow a live mapping to change its size, or the whole map is split while they stand
//! still.
//!
//! The decision is a function of plain values: each CPU's level of FEAT_BBM, its exception level at entry, and the
//! user's policy. The kernel reads the registers and acts on the answer.

use core::fmt;

use crate::aarch64::{BbmLevel, EntryLevel};

/// The trust in level 2 (boot argument `bbml2=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BbmPolicy {
    /// Level 2 counts when every CPU entered at EL2, since the handler for conflict aborts then has the last word.
    #[default]
    Auto,
    /// Level 2 always counts.
    Always,
    /// Only level 3 counts.
    Strict,
    /// Nothing counts.
    Off,
}

/// The policy for the linear map (boot argument `linear=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MapPolicy {
    /// As the CPUs require.
    #[default]
    Auto,
    /// Leave the blocks.
    KeepBlocks,
    /// The map was painted in pages.
    Pages,
}

/// The action decided on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Split the whole map under the rendezvous.
    Split,
    /// Keep the blocks.
    Keep,
    /// Nothing to decide: painted in pages.
    Page,
}

/// Why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Some CPU has less than level 2.
    LevelTooLow,
    /// Level 2, but a CPU entered at EL1: a hypervisor below might have to clean up a conflict.
    EnteredAtEl1,
    /// Level 2, but only level 3 was to count.
    StrictlyTooLow,
    /// Level 2 was to count as missing.
    SwitchedOff,
    /// Level 2 and every CPU entered at EL2.
    LevelTwoAtEl2,
    /// Level 2, and it was to be trusted.
    LevelTwoTrusted,
    /// Level 3, by register or by the list.
    NoConflictAborts,
    /// `linear=block`.
    BlocksAskedFor,
    /// `linear=page`.
    PagesAskedFor,
}

impl Reason {
    /// Returns the reason as a text for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LevelTooLow => "some CPU cannot change the size of a live mapping (no FEAT_BBM level 2)",
            Self::EnteredAtEl1 => "FEAT_BBM level 2, but entered at EL1: conflict aborts might go to a hypervisor",
            Self::StrictlyTooLow => "FEAT_BBM level 2, and bbml2=strict wants no conflict aborts at all",
            Self::SwitchedOff => "bbml2=off",
            Self::LevelTwoAtEl2 => "FEAT_BBM level 2 on every CPU, all entered at EL2",
            Self::LevelTwoTrusted => "FEAT_BBM level 2 on every CPU, and bbml2=trust",
            Self::NoConflictAborts => "no CPU raises TLB conflict aborts (level 3 or a listed core)",
            Self::BlocksAskedFor => "linear=block",
            Self::PagesAskedFor => "linear=page",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The decision and what it rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The lowest level of any CPU; 0 with [`BbmPolicy::Off`].
    pub level: BbmLevel,
    /// The action.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// Decides for the CPUs that are online, each with its level and the exception level it entered at.
///
/// No CPU at all counts as level 0.
pub fn decide(cpus: impl Iterator<Item = (BbmLevel, EntryLevel)>, trust: BbmPolicy, wish: MapPolicy) -> Decision {
    let mut level = None;
    let mut all_at_el2 = true;
    for (cpu, entry) in cpus {
        level = Some(level.map_or(cpu, |least: BbmLevel| least.min(cpu)));
        all_at_el2 &= entry == EntryLevel::El2;
    }
    let level = match (level.unwrap_or(BbmLevel::Zero), trust) {
        // As if no CPU had it.
        (_, BbmPolicy::Off) => BbmLevel::Zero,
        (level, _) => level,
    };
    let (action, reason) = match (wish, level, trust) {
        (MapPolicy::KeepBlocks, ..) => (Action::Keep, Reason::BlocksAskedFor),
        (MapPolicy::Pages, ..) => (Action::Page, Reason::PagesAskedFor),
        (_, _, BbmPolicy::Off) => (Action::Split, Reason::SwitchedOff),
        (_, BbmLevel::Zero | BbmLevel::One, _) => (Action::Split, Reason::LevelTooLow),
        (_, BbmLevel::Three, _) => (Action::Keep, Reason::NoConflictAborts),
        (_, BbmLevel::Two, BbmPolicy::Always) => (Action::Keep, Reason::LevelTwoTrusted),
        (_, BbmLevel::Two, BbmPolicy::Strict) => (Action::Split, Reason::StrictlyTooLow),
        (_, BbmLevel::Two, BbmPolicy::Auto) if all_at_el2 => (Action::Keep, Reason::LevelTwoAtEl2),
        (_, BbmLevel::Two, BbmPolicy::Auto) => (Action::Split, Reason::EnteredAtEl1),
    };
    Decision { level, action, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(cpus: &[(u64, EntryLevel)], trust: BbmPolicy) -> (u8, Action, Reason) {
        let cpus = cpus.iter().map(|&(level, entry)| (BbmLevel::from_number(level), entry));
        let decision = decide(cpus, trust, MapPolicy::Auto);
        (decision.level.number(), decision.action, decision.reason)
    }

    #[test]
    fn one_cpu_of_a_low_level_decides_for_all() {
        use EntryLevel::El2;
        for trust in [BbmPolicy::Auto, BbmPolicy::Always, BbmPolicy::Strict] {
            let mixed = [(3, El2), (2, El2), (1, El2), (3, El2)];
            assert_eq!(decided(&mixed, trust), (1, Action::Split, Reason::LevelTooLow));
        }
    }

    #[test]
    fn level_two_is_trusted_at_el2_only_unless_told_otherwise() {
        use EntryLevel::{El1, El2};
        assert_eq!(decided(&[(2, El2), (3, El2)], BbmPolicy::Auto), (2, Action::Keep, Reason::LevelTwoAtEl2));
        // In any order of the CPUs: a hypervisor below one CPU is below all.
        let split = (2, Action::Split, Reason::EnteredAtEl1);
        for mixed in [[El2, El1, El2], [El1, El2, El2], [El2, El2, El1], [El1, El1, El2], [El1, El1, El1]] {
            assert_eq!(decided(&mixed.map(|entry| (2, entry)), BbmPolicy::Auto), split, "{mixed:?}");
        }
        assert_eq!(decided(&[(3, El1), (2, El2)], BbmPolicy::Auto), split);
        assert_eq!(decided(&[(2, El1)], BbmPolicy::Always), (2, Action::Keep, Reason::LevelTwoTrusted));
        assert_eq!(decided(&[(2, El2)], BbmPolicy::Strict), (2, Action::Split, Reason::StrictlyTooLow));
        assert_eq!(decided(&[(2, El2)], BbmPolicy::Off), (0, Action::Split, Reason::SwitchedOff));
    }

    #[test]
    fn level_three_keeps_wherever_it_was_entered() {
        use EntryLevel::El1;
        for trust in [BbmPolicy::Auto, BbmPolicy::Always, BbmPolicy::Strict] {
            assert_eq!(decided(&[(3, El1), (7, El1)], trust), (3, Action::Keep, Reason::NoConflictAborts));
        }
        assert_eq!(decided(&[(3, El1)], BbmPolicy::Off), (0, Action::Split, Reason::SwitchedOff));
    }

    #[test]
    fn no_cpu_at_all_counts_as_level_zero() {
        assert_eq!(decided(&[], BbmPolicy::Always), (0, Action::Split, Reason::LevelTooLow));
    }

    #[test]
    fn a_wish_goes_before_the_levels() {
        let cpus = || [(BbmLevel::Zero, EntryLevel::El1)].into_iter();
        assert_eq!(decide(cpus(), BbmPolicy::Auto, MapPolicy::KeepBlocks).action, Action::Keep);
        assert_eq!(decide(cpus(), BbmPolicy::Auto, MapPolicy::Pages).action, Action::Page);
    }
}
