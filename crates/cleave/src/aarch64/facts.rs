// SPDX-License-Identifier: MIT OR Apache-2.0
//! The properties of a CPU that the decision relies on, from its ID registers, the table of cores, and its exception
//! level at entry.
//!
//! MIDR_EL1 of a CPU that was entered at EL1 is what a hypervisor wrote to VPIDR_EL2. It may name another core than the
//! one that runs, and a guest may be moved to a third. So it is believed where it asks for care, and not where it
//! promises something.

use super::bbm::{BbmLevel, EntryLevel};
use super::midr::Midr;
use crate::tables::TlbiRepeat;

/// The facts of one CPU that decide how its level and its invalidations count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuFacts {
    /// Its MIDR_EL1.
    pub midr: Midr,
    /// Its ID_AA64MMFR2_EL1.BBM.
    pub bbm: u8,
    /// The exception level it was entered at.
    pub entry: EntryLevel,
}

impl CpuFacts {
    /// Returns the level of FEAT_BBM that the CPU counts as, and `at_most` that one.
    ///
    /// A core that is known to raise no conflict aborts counts as level 3 when it was entered at EL2, regardless of its
    /// ID register. Entered at EL1 it counts as level 2, since only its MIDR speaks for it, unless the register says 3:
    /// that is a promise of the architecture, which a hypervisor gives for every core the guest may run on. A core
    /// whose level 2 has an erratum counts as level 0.
    #[must_use]
    pub fn level(&self, at_most: Option<BbmLevel>) -> BbmLevel {
        let register = BbmLevel::from_number(self.bbm.into());
        let level = match self.entry {
            _ if self.midr.needs_break_before_make() => BbmLevel::Zero,
            EntryLevel::El2 if self.midr.raises_no_conflict_aborts() => BbmLevel::Three,
            EntryLevel::El1 if self.midr.raises_no_conflict_aborts() => register.max(BbmLevel::Two),
            EntryLevel::El1 | EntryLevel::El2 => register,
        };
        at_most.map_or(level, |most| level.min(most))
    }
}

/// Returns whether broadcast invalidations have to be done twice on a system of these CPUs: where one of them is known to
/// complete them early, and where one was entered at EL1, so that its core is not known.
#[must_use]
pub fn tlbi_repeat(cpus: impl IntoIterator<Item = CpuFacts>) -> TlbiRepeat {
    let mut cpus = cpus.into_iter();
    let needed = cpus.any(|cpu| cpu.entry == EntryLevel::El1 || cpu.midr.needs_tlbi_repeat());
    if needed { TlbiRepeat::Twice } else { TlbiRepeat::Once }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use EntryLevel::{El1, El2};

    const CORTEX_A72_R0P3: Midr = Midr(0x410f_d083);
    const CORTEX_A55_R2P0: Midr = Midr(0x412f_d050);
    const CORTEX_X4_R0P3: Midr = Midr(0x410f_d823);
    const AMPEREONE: Midr = Midr(0xc00f_ac30);
    const NEOVERSE_V3_R0P1: Midr = Midr(0x410f_d841);

    fn level(midr: Midr, bbm: u8, entry: EntryLevel) -> u8 {
        CpuFacts { midr, bbm, entry }.level(None).number()
    }

    #[test]
    fn an_unlisted_core_counts_as_its_register_says() {
        for entry in [El1, El2] {
            for bbm in 0..=3 {
                assert_eq!(level(CORTEX_A72_R0P3, bbm, entry), bbm);
            }
        }
    }

    /// A name that is believed at EL1 fails this, and so does a register that is not.
    #[test]
    fn a_listed_core_gains_level_three_at_el2_only() {
        for core in [CORTEX_X4_R0P3, AMPEREONE] {
            for bbm in 0..=3 {
                assert_eq!(level(core, bbm, El2), 3);
            }
            assert_eq!([0, 1, 2, 3].map(|bbm| level(core, bbm, El1)), [2, 2, 2, 3]);
        }
    }

    #[test]
    fn a_core_whose_level_two_has_an_erratum_counts_as_level_zero() {
        for entry in [El1, El2] {
            for bbm in 0..=3 {
                assert_eq!(level(NEOVERSE_V3_R0P1, bbm, entry), 0);
            }
        }
    }

    /// A limit that raises the level fails this, and one that is not looked at.
    #[test]
    fn a_limit_lowers_the_level_and_never_raises_it() {
        for (midr, own) in [(CORTEX_A72_R0P3, 0), (CORTEX_A72_R0P3, 2), (CORTEX_X4_R0P3, 3)] {
            let cpu = CpuFacts { midr, bbm: own, entry: El2 };
            for most in 0..=3 {
                assert_eq!(cpu.level(Some(BbmLevel::from_number(most.into()))).number(), own.min(most));
            }
        }
    }

    /// At EL2, with the one core that needs it first, in the middle and last. "Every core" for "any core" fails this.
    #[test]
    fn invalidations_are_repeated_when_any_core_needs_it() {
        let at_el2 = |midr| CpuFacts { midr, bbm: 0, entry: El2 };
        let (good, bad) = (at_el2(CORTEX_A72_R0P3), at_el2(CORTEX_A55_R2P0));
        for mixed in [[bad, good, good], [good, bad, good], [good, good, bad], [bad, bad, bad]] {
            assert_eq!(tlbi_repeat(mixed), TlbiRepeat::Twice);
        }
        assert_eq!(tlbi_repeat([good, good, good]), TlbiRepeat::Once);
    }

    #[test]
    fn invalidations_are_repeated_when_any_cpu_was_entered_at_el1() {
        let cpu = |entry| CpuFacts { midr: CORTEX_A72_R0P3, bbm: 0, entry };
        for mixed in [[El1, El2], [El2, El1], [El1, El1]] {
            assert_eq!(tlbi_repeat(mixed.map(cpu)), TlbiRepeat::Twice);
        }
        assert_eq!(tlbi_repeat([El2, El2].map(cpu)), TlbiRepeat::Once);
    }
}
