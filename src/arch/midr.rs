//! MIDR_EL1: which core this is, and what is known of it beyond its ID registers.
//!
//! Two lists, both by implementer, part and revision range. Facts from Arm's and the implementers' notices (the SDENs
//! and the statements behind Linux's lists of the same cores), looked up in 2026. Where no range could be confirmed,
//! all revisions of a core count as affected by an erratum, and none as free of conflict aborts.

use core::fmt;

/// The value of a MIDR_EL1 (DDI 0487, MIDR_EL1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Midr(pub u32);

/// Revisions of a core, `rNpM` as `0xNM`, both ends included.
type Revisions = core::ops::RangeInclusive<u8>;

const ALL: Revisions = 0x00..=0xff;

/// Implementer and part number of a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Core(u8, u16);

const ARM: u8 = 0x41;
const FUJITSU: u8 = 0x46;
const NVIDIA: u8 = 0x4e;
const QUALCOMM: u8 = 0x51;
const MICROSOFT: u8 = 0x6d;
const AMPERE: u8 = 0xc0;

/// The cores that have a name here. Several Qualcomm cores call themselves by the Arm core they are made from.
#[rustfmt::skip]
const NAMES: &[(Core, &str)] = &[
    (Core(ARM, 0xd02), "Cortex-A34"), (Core(ARM, 0xd03), "Cortex-A53"), (Core(ARM, 0xd04), "Cortex-A35"),
    (Core(ARM, 0xd05), "Cortex-A55"), (Core(ARM, 0xd06), "Cortex-A65"), (Core(ARM, 0xd07), "Cortex-A57"),
    (Core(ARM, 0xd08), "Cortex-A72"), (Core(ARM, 0xd09), "Cortex-A73"), (Core(ARM, 0xd0a), "Cortex-A75"),
    (Core(ARM, 0xd0b), "Cortex-A76"), (Core(ARM, 0xd0c), "Neoverse-N1"), (Core(ARM, 0xd0d), "Cortex-A77"),
    (Core(ARM, 0xd0e), "Cortex-A76AE"), (Core(ARM, 0xd40), "Neoverse-V1"), (Core(ARM, 0xd41), "Cortex-A78"),
    (Core(ARM, 0xd42), "Cortex-A78AE"), (Core(ARM, 0xd43), "Cortex-A65AE"), (Core(ARM, 0xd44), "Cortex-X1"),
    (Core(ARM, 0xd46), "Cortex-A510"), (Core(ARM, 0xd47), "Cortex-A710"), (Core(ARM, 0xd48), "Cortex-X2"),
    (Core(ARM, 0xd49), "Neoverse-N2"), (Core(ARM, 0xd4a), "Neoverse-E1"), (Core(ARM, 0xd4b), "Cortex-A78C"),
    (Core(ARM, 0xd4c), "Cortex-X1C"), (Core(ARM, 0xd4d), "Cortex-A715"), (Core(ARM, 0xd4e), "Cortex-X3"),
    (Core(ARM, 0xd4f), "Neoverse-V2"), (Core(ARM, 0xd80), "Cortex-A520"), (Core(ARM, 0xd81), "Cortex-A720"),
    (Core(ARM, 0xd82), "Cortex-X4"), (Core(ARM, 0xd83), "Neoverse-V3AE"), (Core(ARM, 0xd84), "Neoverse-V3"),
    (Core(ARM, 0xd85), "Cortex-X925"), (Core(ARM, 0xd87), "Cortex-A725"), (Core(ARM, 0xd88), "Cortex-A520AE"),
    (Core(ARM, 0xd89), "Cortex-A720AE"), (Core(ARM, 0xd8a), "C1-Nano"), (Core(ARM, 0xd8b), "C1-Pro"),
    (Core(ARM, 0xd8c), "C1-Ultra"), (Core(ARM, 0xd8e), "Neoverse-N3"), (Core(ARM, 0xd90), "C1-Premium"),
    (Core(FUJITSU, 0x001), "A64FX"), (Core(NVIDIA, 0x010), "Olympus"), (Core(MICROSOFT, 0xd49), "Azure Cobalt 100"),
    (Core(AMPERE, 0xac3), "AmpereOne"), (Core(AMPERE, 0xac4), "AmpereOne A"),
    // What QEMU's `max` calls itself: an implementer reserved for software.
    (Core(0x00, 0x051), "QEMU max"),
];

/// Cores that change the size of a live mapping without break-before-make and never raise a TLB conflict abort,
/// whatever ID_AA64MMFR2_EL1.BBM says; what Arm calls level 3 since 2026.
#[rustfmt::skip]
const NO_CONFLICT_ABORTS: &[(Core, Revisions)] = &[
    (Core(ARM, 0xd82), 0x03..=0x0f),    // Cortex-X4 from r0p3
    (Core(ARM, 0xd83), 0x02..=0x0f),    // Neoverse-V3AE from r0p2
    (Core(ARM, 0xd84), 0x02..=0x0f),    // Neoverse-V3 from r0p2
    (Core(NVIDIA, 0x010), ALL),         // Olympus
    (Core(AMPERE, 0xac3), ALL),         // AmpereOne
    (Core(AMPERE, 0xac4), ALL),         // AmpereOne A
    (Core(ARM, 0xd88), ALL),            // Cortex-A520AE
    (Core(ARM, 0xd4d), ALL),            // Cortex-A715
    (Core(ARM, 0xd89), ALL),            // Cortex-A720AE
    (Core(ARM, 0xd87), ALL),            // Cortex-A725
    (Core(ARM, 0xd8e), ALL),            // Neoverse-N3
    (Core(ARM, 0xd8a), ALL),            // C1-Nano
    (Core(ARM, 0xd8b), ALL),            // C1-Pro
    (Core(ARM, 0xd8c), 0x11..=0xff),    // C1-Ultra from r1p1: erratum 3683289 before
    (Core(ARM, 0xd90), 0x11..=0xff),    // C1-Premium from r1p1: the same
];

/// Cores on which a broadcast TLBI; DSB may complete before the accesses that used the old translation have.
/// The cure is a second TLBI; DSB. The invalidation itself is sound.
#[rustfmt::skip]
const REPEAT_TLBI: &[(Core, Revisions)] = &[
    (Core(ARM, 0xd05), ALL),            // Cortex-A55, 2441007
    (Core(ARM, 0xd46), 0x00..=0x11),    // Cortex-A510 up to r1p1, 2441009
    // CVE-2025-10263: no revision is known to be free of it. Covers Cortex-A76 up to r3p0, 1286807, too.
    (Core(ARM, 0xd0b), ALL),            // Cortex-A76, 4193800
    (Core(ARM, 0xd0e), ALL),            // Cortex-A76AE, 4193801
    (Core(ARM, 0xd0d), ALL),            // Cortex-A77, 4193798
    (Core(ARM, 0xd41), ALL),            // Cortex-A78
    (Core(ARM, 0xd42), ALL),            // Cortex-A78AE
    (Core(ARM, 0xd4b), ALL),            // Cortex-A78C
    (Core(ARM, 0xd47), ALL),            // Cortex-A710
    (Core(ARM, 0xd44), ALL),            // Cortex-X1
    (Core(ARM, 0xd4c), ALL),            // Cortex-X1C
    (Core(ARM, 0xd48), ALL),            // Cortex-X2, 4193788
    (Core(ARM, 0xd4e), ALL),            // Cortex-X3, 4193786
    (Core(ARM, 0xd82), ALL),            // Cortex-X4, 4118414
    (Core(ARM, 0xd85), ALL),            // Cortex-X925, 4193781
    (Core(ARM, 0xd0c), ALL),            // Neoverse-N1, 4193800
    (Core(ARM, 0xd49), ALL),            // Neoverse-N2, 4193789
    (Core(ARM, 0xd40), ALL),            // Neoverse-V1, 4193790
    (Core(ARM, 0xd4f), ALL),            // Neoverse-V2, 4193787
    (Core(ARM, 0xd84), ALL),            // Neoverse-V3, 4193784
    (Core(ARM, 0xd83), ALL),            // Neoverse-V3AE, 4193784
    (Core(ARM, 0xd8c), ALL),            // C1-Ultra
    (Core(ARM, 0xd90), ALL),            // C1-Premium
    (Core(NVIDIA, 0x010), ALL),         // Olympus, T410-OLY-1029
    (Core(MICROSOFT, 0xd49), ALL),      // Azure Cobalt 100, a Neoverse-N2, 4193789
    (Core(QUALCOMM, 0x800), 0x00..=0x00), // Falkor v1 r0p0, Qualcomm 1009
    (Core(QUALCOMM, 0x804), 0xce..=0xfe), // Kryo 4xx Gold, a Cortex-A76: its rcpe to rfpe are r0p0 to r3p0
];

impl Midr {
    /// Bits 31:24: who made it.
    #[must_use]
    pub const fn implementer(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Bits 15:4: which core it is.
    #[must_use]
    pub const fn part(self) -> u16 {
        (self.0 >> 4 & 0xfff) as u16
    }

    /// Bits 23:20: the `N` of `rNpM`.
    #[must_use]
    pub const fn variant(self) -> u8 {
        (self.0 >> 20 & 0xf) as u8
    }

    /// Bits 3:0: the `M` of `rNpM`.
    #[must_use]
    pub const fn revision(self) -> u8 {
        (self.0 & 0xf) as u8
    }

    /// The core's name, where it is known here.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(core, _)| *core == self.core()).map(|(_, name)| *name)
    }

    /// True for cores known to change the size of live mappings without ever raising a TLB conflict abort: they count
    /// as level 3 whatever their BBM field says.
    #[must_use]
    pub fn raises_no_conflict_aborts(self) -> bool {
        self.is_in(NO_CONFLICT_ABORTS)
    }

    /// True for cores whose broadcast TLBI; DSB must be followed by a second one, on every CPU of the system.
    #[must_use]
    pub fn needs_tlbi_repeat(self) -> bool {
        // Kryo: every part number 0x2nn of Qualcomm's, erratum 1009 as in the Falkor.
        self.is_in(REPEAT_TLBI) || self.implementer() == QUALCOMM && self.part() & 0xf00 == 0x200
    }

    /// True for the Cortex-A53 up to r0p4, on which a 64-bit multiply-accumulate right behind a memory access may go wrong
    /// (erratum 835769). Only the compiler can avoid it, and rustc has no stable switch for that: docs/hardware.md, under "Errata in code".
    #[must_use]
    pub fn may_miscompute_multiply_accumulate(self) -> bool {
        self.is_in(&[(Core(ARM, 0xd03), 0x00..=0x04)])
    }

    /// True for the cores whose CPUECTLR_EL1 has SMPEN in bit 6.
    #[must_use]
    pub fn has_smpen(self) -> bool {
        matches!(self.core(), Core(ARM, 0xd03 | 0xd07 | 0xd08))
    }

    /// True for a Cortex-A72 of any revision: what the Raspberry Pi 4 has.
    #[must_use]
    pub fn is_cortex_a72(self) -> bool {
        self.core() == Core(ARM, 0xd08)
    }

    const fn core(self) -> Core {
        Core(self.implementer(), self.part())
    }

    fn is_in(self, list: &[(Core, Revisions)]) -> bool {
        let revision = self.variant() << 4 | self.revision();
        list.iter().any(|(core, revisions)| *core == self.core() && revisions.contains(&revision))
    }
}

impl fmt::Display for Midr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "core {:#04x}:{:#05x}", self.implementer(), self.part())?,
        }
        write!(f, " r{}p{}", self.variant(), self.revision())
    }
}

impl fmt::Debug for Midr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x} ({self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    const A72_R0P3: Midr = Midr(0x410f_d083);
    const X4_R0P2: Midr = Midr(0x410f_d822);
    const X4_R0P3: Midr = Midr(0x410f_d823);

    /// The MIDR of an Arm core, `revision` as in `0xNM`.
    fn arm(part: u32, revision: u32) -> Midr {
        Midr(0x410f_0000 | part << 4 | (revision & 0xf0) << 16 | revision & 0xf)
    }

    #[test]
    fn only_early_cortex_a53_may_miscompute() {
        assert!(Midr(0x410f_d034).may_miscompute_multiply_accumulate());
        assert!(!Midr(0x410f_d041).may_miscompute_multiply_accumulate());
        assert!(!Midr(0x411f_d030).may_miscompute_multiply_accumulate());
    }

    #[test]
    fn a_core_is_called_by_name_variant_and_revision() {
        assert_eq!(A72_R0P3.to_string(), "Cortex-A72 r0p3");
        assert_eq!(X4_R0P3.to_string(), "Cortex-X4 r0p3");
        assert_eq!(Midr(0xff3f_1234).to_string(), "core 0xff:0x123 r3p4");
    }

    #[test]
    fn only_listed_revisions_raise_no_conflict_aborts() {
        assert!(X4_R0P3.raises_no_conflict_aborts());
        assert!(!X4_R0P2.raises_no_conflict_aborts());
        assert!(!A72_R0P3.raises_no_conflict_aborts());
        for (part, before, from) in [(0xd84, 0x01, 0x02), (0xd83, 0x01, 0x02), (0xd8c, 0x10, 0x11), (0xd90, 0x10, 0x11)]
        {
            assert!(!arm(part, before).raises_no_conflict_aborts());
            assert!(arm(part, from).raises_no_conflict_aborts());
        }
        for midr in [0x4e0f_0100, 0xc00f_ac30, 0xc00f_ac41, 0x410f_d4d0, 0x411f_d870] {
            assert!(Midr(midr).raises_no_conflict_aborts(), "{midr:#x}");
        }
    }

    #[test]
    fn a53_and_a72_need_no_second_tlbi() {
        assert!(!A72_R0P3.needs_tlbi_repeat());
        assert!(!Midr(0x410f_d034).needs_tlbi_repeat());
    }

    #[test]
    fn cores_with_early_completing_broadcasts_need_a_second_tlbi() {
        for part in [0xd05, 0xd0b, 0xd0c, 0xd40, 0xd41, 0xd47, 0xd49, 0xd4f, 0xd82, 0xd85, 0xd8c] {
            assert!(arm(part, 0x00).needs_tlbi_repeat() && arm(part, 0x41).needs_tlbi_repeat(), "{part:#x}");
        }
        assert!(arm(0xd46, 0x11).needs_tlbi_repeat());
        assert!(!arm(0xd46, 0x12).needs_tlbi_repeat(), "fixed in r1p2");
        assert!(Midr(0x510f_2110).needs_tlbi_repeat(), "a Kryo");
        assert!(Midr(0x510f_8000).needs_tlbi_repeat() && !Midr(0x510f_8001).needs_tlbi_repeat(), "Falkor");
    }

    #[test]
    fn a_core_is_named_and_listed_once() {
        for (index, (core, _)) in NAMES.iter().enumerate() {
            assert!(NAMES[..index].iter().all(|(other, _)| other != core), "{core:?}");
        }
        for list in [NO_CONFLICT_ABORTS, REPEAT_TLBI] {
            for (index, (core, _)) in list.iter().enumerate() {
                assert!(list[..index].iter().all(|(other, _)| other != core), "{core:?}");
            }
        }
    }
}
