// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errata of cores, and facts about cores that their ID registers do not hold: one table of each.
//!
//! The facts are from Arm's and the implementers' errata notices and the lists that Linux made of them, looked up in
//! 2026. Where no range of revisions could be confirmed, all revisions of a core count as affected by an erratum, and
//! none as free of conflict aborts; a core that was made from another one counts with it. `docs/hardware.md` has the
//! same table under "Errata", with what each erratum does and where its work-around stands.

use core::fmt;

use super::midr::*;
use Property::{NoConflictAborts, Smpen};
use Remedy::{BreakBeforeMake, CleanAndInvalidate, CompilerOption, DataBarriers, LinkerOption, ReadTwice, RepeatTlbi};

/// Revisions of a core, the first and the last, each as `0xNM` for `rNpM`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revisions(pub u8, pub u8);

const ALL: Revisions = Revisions(0x00, 0xff);

impl Revisions {
    const fn has(self, midr: Midr) -> bool {
        self.0 <= midr.release() && midr.release() <= self.1
    }
}

impl fmt::Display for Revisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = |at: u8| (at >> 4, at & 0xf);
        let ((variant, revision), (last_variant, last_revision)) = (release(self.0), release(self.1));
        match (*self, self.1) {
            (ALL, _) => f.write_str("all"),
            (_, 0xff) => write!(f, "from r{variant:x}p{revision:x}"),
            (_, last) if last == self.0 => write!(f, "r{variant:x}p{revision:x}"),
            _ => write!(f, "r{variant:x}p{revision:x} to r{last_variant:x}p{last_revision:x}"),
        }
    }
}

/// The treatment of an erratum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Remedy {
    /// A second TLBI; DSB follows each broadcast one: the first may complete before the accesses have that used the old
    /// translation. The invalidation itself is sound.
    RepeatTlbi,
    /// The core counts as level 0 of FEAT_BBM, regardless of its ID register: no live mapping changes its size.
    BreakBeforeMake,
    /// A barrier stands beside the instruction in question, on every core.
    DataBarriers,
    /// The register is read twice, on every core.
    ReadTwice,
    /// Lines are cleaned and invalidated where cleaning would do, on every core.
    CleanAndInvalidate,
    /// The linker avoids the sequence of instructions.
    LinkerOption,
    /// The compiler avoids the sequence of instructions, when it is asked to.
    CompilerOption,
    /// Nothing.
    None,
}

/// The reach of an erratum of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// On that CPU.
    Cpu,
    /// On every CPU of the system.
    System,
}

/// An erratum of a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Erratum {
    /// The core.
    pub core: Core,
    /// The revisions that have it.
    pub revisions: Revisions,
    /// Its number, or numbers where several have one remedy.
    pub number: &'static str,
    /// The treatment.
    pub remedy: Remedy,
}

impl Erratum {
    /// Returns where the erratum makes a difference.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self.remedy {
            Remedy::RepeatTlbi | Remedy::BreakBeforeMake => Scope::System,
            _ => Scope::Cpu,
        }
    }
}

const fn erratum(core: Core, revisions: Revisions, number: &'static str, remedy: Remedy) -> Erratum {
    Erratum { core, revisions, number, remedy }
}

/// Every erratum that this kernel has to do with.
#[rustfmt::skip]
pub const ERRATA: &[Erratum] = &[
    erratum(CORTEX_A55, ALL, "2441007", RepeatTlbi),
    erratum(KRYO_3XX_SILVER, ALL, "2441007", RepeatTlbi),
    erratum(KRYO_4XX_SILVER, ALL, "2441007", RepeatTlbi),
    erratum(CORTEX_A510, Revisions(0x00, 0x11), "2441009", RepeatTlbi),
    erratum(CORTEX_A76, Revisions(0x00, 0x30), "1286807", RepeatTlbi),
    // rcpe to rfpe are r0p0 to r3p0 of the Cortex-A76.
    erratum(KRYO_4XX_GOLD, Revisions(0xce, 0xfe), "1286807", RepeatTlbi),
    // From here to Azure Cobalt 100: CVE-2025-10263.
    erratum(CORTEX_A76, ALL, "4193800", RepeatTlbi),
    erratum(KRYO_4XX_GOLD, ALL, "4193800", RepeatTlbi),
    erratum(CORTEX_A76AE, ALL, "4193801", RepeatTlbi),
    erratum(CORTEX_A77, ALL, "4193798", RepeatTlbi),
    erratum(CORTEX_A78, ALL, "4193791", RepeatTlbi),
    erratum(CORTEX_A78AE, ALL, "4193793", RepeatTlbi),
    erratum(CORTEX_A78C, ALL, "4193794", RepeatTlbi),
    erratum(CORTEX_A710, ALL, "4193788", RepeatTlbi),
    erratum(CORTEX_X1, ALL, "4193791", RepeatTlbi),
    erratum(CORTEX_X1C, ALL, "4193792", RepeatTlbi),
    erratum(CORTEX_X2, ALL, "4193788", RepeatTlbi),
    erratum(CORTEX_X3, ALL, "4193786", RepeatTlbi),
    erratum(CORTEX_X4, ALL, "4118414", RepeatTlbi),
    erratum(CORTEX_X925, ALL, "4193781", RepeatTlbi),
    erratum(NEOVERSE_N1, ALL, "4193800", RepeatTlbi),
    erratum(NEOVERSE_N2, ALL, "4193789", RepeatTlbi),
    erratum(NEOVERSE_V1, ALL, "4193790", RepeatTlbi),
    erratum(NEOVERSE_V2, ALL, "4193787", RepeatTlbi),
    erratum(NEOVERSE_V3, ALL, "4193784", RepeatTlbi),
    erratum(NEOVERSE_V3AE, ALL, "4193784", RepeatTlbi),
    erratum(C1_ULTRA, ALL, "4193780", RepeatTlbi),
    erratum(C1_PREMIUM, ALL, "4193780", RepeatTlbi),
    erratum(OLYMPUS, ALL, "T410-OLY-1029", RepeatTlbi),
    erratum(AZURE_COBALT_100, ALL, "4193789", RepeatTlbi),
    erratum(FALKOR_V1, Revisions(0x00, 0x00), "1009", RepeatTlbi),
    erratum(KRYO, ALL, "1009", RepeatTlbi),
    // The notice has a number for it that is not known here.
    erratum(CORTEX_X4, Revisions(0x00, 0x02), "(fixed in r0p3)", BreakBeforeMake),
    erratum(NEOVERSE_V3, Revisions(0x00, 0x01), "3053180", BreakBeforeMake),
    erratum(NEOVERSE_V3AE, Revisions(0x00, 0x01), "3053180", BreakBeforeMake),
    erratum(C1_ULTRA, Revisions(0x00, 0x10), "3683289", BreakBeforeMake),
    erratum(C1_PREMIUM, Revisions(0x00, 0x10), "3683289", BreakBeforeMake),
    erratum(CORTEX_A77, Revisions(0x00, 0x10), "1508412", DataBarriers),
    erratum(AMPEREONE_A, ALL, "AC04_CPU_23", DataBarriers),
    erratum(CORTEX_A73, ALL, "858921", ReadTwice),
    erratum(CORTEX_A53, Revisions(0x00, 0x01), "819472", CleanAndInvalidate),
    erratum(CORTEX_A53, Revisions(0x00, 0x02), "824069, 826319, 827319", CleanAndInvalidate),
    erratum(CORTEX_A53, ALL, "855873", CleanAndInvalidate),
    erratum(CORTEX_A53, Revisions(0x00, 0x04), "843419", LinkerOption),
    erratum(CORTEX_A53, Revisions(0x00, 0x04), "835769", CompilerOption),
    erratum(CORTEX_A57, Revisions(0x00, 0x12), "832075", Remedy::None),
    erratum(OLYMPUS, ALL, "T410-OLY-1027", Remedy::None),
    erratum(THUNDERX, ALL, "23154", Remedy::None),
    erratum(THUNDERX_81XX, ALL, "23154", Remedy::None),
    erratum(THUNDERX_83XX, ALL, "23154", Remedy::None),
];

/// Properties of a core that no ID register has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Property {
    /// It changes the size of a live mapping without break-before-make and never raises a TLB conflict abort: what Arm
    /// calls level 3 of FEAT_BBM since 2026.
    NoConflictAborts,
    /// CPUECTLR_EL1 has SMPEN in bit 6.
    Smpen,
}

#[rustfmt::skip]
const PROPERTIES: &[(Core, Revisions, Property)] = &[
    (CORTEX_X4, Revisions(0x03, 0x0f), NoConflictAborts),
    (NEOVERSE_V3AE, Revisions(0x02, 0x0f), NoConflictAborts),
    (NEOVERSE_V3, Revisions(0x02, 0x0f), NoConflictAborts),
    (OLYMPUS, ALL, NoConflictAborts),
    (AMPEREONE, ALL, NoConflictAborts),
    (AMPEREONE_A, ALL, NoConflictAborts),
    (CORTEX_A520AE, ALL, NoConflictAborts),
    (CORTEX_A715, ALL, NoConflictAborts),
    (CORTEX_A720AE, ALL, NoConflictAborts),
    (CORTEX_A725, ALL, NoConflictAborts),
    (NEOVERSE_N3, ALL, NoConflictAborts),
    (C1_NANO, ALL, NoConflictAborts),
    (C1_PRO, ALL, NoConflictAborts),
    (C1_ULTRA, Revisions(0x11, 0xff), NoConflictAborts),
    (C1_PREMIUM, Revisions(0x11, 0xff), NoConflictAborts),
    (CORTEX_A53, ALL, Smpen),
    (CORTEX_A57, ALL, Smpen),
    (CORTEX_A72, ALL, Smpen),
];

impl Midr {
    /// Returns the errata of this revision of the core, in the order of [`ERRATA`].
    pub fn errata(self) -> impl Iterator<Item = &'static Erratum> {
        ERRATA.iter().filter(move |erratum| self.is(erratum.core) && erratum.revisions.has(self))
    }

    /// Returns true for cores whose broadcast TLBI; DSB must be followed by a second one, on every CPU of the system.
    #[must_use]
    pub fn needs_tlbi_repeat(self) -> bool {
        self.errata().any(|erratum| erratum.remedy == RepeatTlbi)
    }

    /// Returns true for cores that must not change the size of a live mapping although their ID register says level 2
    /// of FEAT_BBM.
    #[must_use]
    pub fn needs_break_before_make(self) -> bool {
        self.errata().any(|erratum| erratum.remedy == BreakBeforeMake)
    }

    /// Returns true for cores known to change the size of live mappings without ever raising a TLB conflict abort,
    /// regardless of their ID register.
    #[must_use]
    pub fn raises_no_conflict_aborts(self) -> bool {
        self.has(NoConflictAborts)
    }

    /// Returns true for the cores whose CPUECTLR_EL1 has SMPEN in bit 6.
    #[must_use]
    pub fn has_smpen(self) -> bool {
        self.has(Smpen)
    }

    fn has(self, property: Property) -> bool {
        let row = |&(core, revisions, own): &(Core, Revisions, Property)| {
            own == property && self.is(core) && revisions.has(self)
        };
        PROPERTIES.iter().any(row)
    }
}

#[cfg(test)]
mod tests;
