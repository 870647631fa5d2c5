// SPDX-License-Identifier: MIT OR Apache-2.0
//! MIDR_EL1, the identity of a core. The facts about a core beyond its ID registers are in [`super::errata`].

use core::fmt;

/// The value of a MIDR_EL1 (DDI 0487, MIDR_EL1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Midr(pub u32);

/// A core, or a family of cores: its implementer and the bits of its part number that every member has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core {
    implementer: u8,
    part: u16,
    mask: u16,
}

impl Core {
    const fn new(implementer: u8, part: u16) -> Self {
        Self { implementer, part, mask: 0xfff }
    }

    const fn family(implementer: u8, part: u16, mask: u16) -> Self {
        Self { implementer, part, mask }
    }

    const fn has(self, midr: Midr) -> bool {
        midr.implementer() == self.implementer && midr.part() & self.mask == self.part
    }

    /// Returns the core's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(core, _)| *core == self).map_or("a core without a name", |(_, name)| name)
    }
}

const ARM: u8 = 0x41;
const CAVIUM: u8 = 0x43;
const FUJITSU: u8 = 0x46;
const NVIDIA: u8 = 0x4e;
const QUALCOMM: u8 = 0x51;
const MICROSOFT: u8 = 0x6d;
const AMPERE: u8 = 0xc0;

/// Declares the cores and joins each with its name, so that a table of cores has no part numbers of its own.
macro_rules! cores {
    ($($core:ident = $value:expr, $name:literal;)*) => {
        $(pub(super) const $core: Core = $value;)*

        /// The cores that have a name here.
        const NAMES: &[(Core, &str)] = &[$(($core, $name),)*];
    };
}

cores! {
    CORTEX_A34 = Core::new(ARM, 0xd02), "Cortex-A34";
    CORTEX_A53 = Core::new(ARM, 0xd03), "Cortex-A53";
    CORTEX_A35 = Core::new(ARM, 0xd04), "Cortex-A35";
    CORTEX_A55 = Core::new(ARM, 0xd05), "Cortex-A55";
    CORTEX_A65 = Core::new(ARM, 0xd06), "Cortex-A65";
    CORTEX_A57 = Core::new(ARM, 0xd07), "Cortex-A57";
    CORTEX_A72 = Core::new(ARM, 0xd08), "Cortex-A72";
    CORTEX_A73 = Core::new(ARM, 0xd09), "Cortex-A73";
    CORTEX_A75 = Core::new(ARM, 0xd0a), "Cortex-A75";
    CORTEX_A76 = Core::new(ARM, 0xd0b), "Cortex-A76";
    NEOVERSE_N1 = Core::new(ARM, 0xd0c), "Neoverse-N1";
    CORTEX_A77 = Core::new(ARM, 0xd0d), "Cortex-A77";
    CORTEX_A76AE = Core::new(ARM, 0xd0e), "Cortex-A76AE";
    NEOVERSE_V1 = Core::new(ARM, 0xd40), "Neoverse-V1";
    CORTEX_A78 = Core::new(ARM, 0xd41), "Cortex-A78";
    CORTEX_A78AE = Core::new(ARM, 0xd42), "Cortex-A78AE";
    CORTEX_A65AE = Core::new(ARM, 0xd43), "Cortex-A65AE";
    CORTEX_X1 = Core::new(ARM, 0xd44), "Cortex-X1";
    CORTEX_A510 = Core::new(ARM, 0xd46), "Cortex-A510";
    CORTEX_A710 = Core::new(ARM, 0xd47), "Cortex-A710";
    CORTEX_X2 = Core::new(ARM, 0xd48), "Cortex-X2";
    NEOVERSE_N2 = Core::new(ARM, 0xd49), "Neoverse-N2";
    NEOVERSE_E1 = Core::new(ARM, 0xd4a), "Neoverse-E1";
    CORTEX_A78C = Core::new(ARM, 0xd4b), "Cortex-A78C";
    CORTEX_X1C = Core::new(ARM, 0xd4c), "Cortex-X1C";
    CORTEX_A715 = Core::new(ARM, 0xd4d), "Cortex-A715";
    CORTEX_X3 = Core::new(ARM, 0xd4e), "Cortex-X3";
    NEOVERSE_V2 = Core::new(ARM, 0xd4f), "Neoverse-V2";
    CORTEX_A520 = Core::new(ARM, 0xd80), "Cortex-A520";
    CORTEX_A720 = Core::new(ARM, 0xd81), "Cortex-A720";
    CORTEX_X4 = Core::new(ARM, 0xd82), "Cortex-X4";
    NEOVERSE_V3AE = Core::new(ARM, 0xd83), "Neoverse-V3AE";
    NEOVERSE_V3 = Core::new(ARM, 0xd84), "Neoverse-V3";
    CORTEX_X925 = Core::new(ARM, 0xd85), "Cortex-X925";
    CORTEX_A725 = Core::new(ARM, 0xd87), "Cortex-A725";
    CORTEX_A520AE = Core::new(ARM, 0xd88), "Cortex-A520AE";
    CORTEX_A720AE = Core::new(ARM, 0xd89), "Cortex-A720AE";
    C1_NANO = Core::new(ARM, 0xd8a), "C1-Nano";
    C1_PRO = Core::new(ARM, 0xd8b), "C1-Pro";
    C1_ULTRA = Core::new(ARM, 0xd8c), "C1-Ultra";
    NEOVERSE_N3 = Core::new(ARM, 0xd8e), "Neoverse-N3";
    C1_PREMIUM = Core::new(ARM, 0xd90), "C1-Premium";
    A64FX = Core::new(FUJITSU, 0x001), "A64FX";
    OLYMPUS = Core::new(NVIDIA, 0x010), "Olympus";
    AZURE_COBALT_100 = Core::new(MICROSOFT, 0xd49), "Azure Cobalt 100";
    AMPEREONE = Core::new(AMPERE, 0xac3), "AmpereOne";
    AMPEREONE_A = Core::new(AMPERE, 0xac4), "AmpereOne A";
    // Several later Qualcomm cores call themselves by the Arm core they are made from.
    KRYO = Core::family(QUALCOMM, 0x200, 0xf00), "Kryo";
    FALKOR_V1 = Core::new(QUALCOMM, 0x800), "Falkor or Kryo 2xx";
    KRYO_3XX_SILVER = Core::new(QUALCOMM, 0x803), "Kryo 3xx Silver";
    KRYO_4XX_GOLD = Core::new(QUALCOMM, 0x804), "Kryo 4xx Gold";
    KRYO_4XX_SILVER = Core::new(QUALCOMM, 0x805), "Kryo 4xx Silver";
    THUNDERX = Core::new(CAVIUM, 0x0a1), "ThunderX";
    THUNDERX_81XX = Core::new(CAVIUM, 0x0a2), "ThunderX 81xx";
    THUNDERX_83XX = Core::new(CAVIUM, 0x0a3), "ThunderX 83xx";
    // An implementer reserved for software.
    QEMU_MAX = Core::new(0x00, 0x051), "QEMU max";
}

impl Midr {
    /// Returns the implementer, bits 31:24.
    #[must_use]
    pub const fn implementer(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Returns the part number, bits 15:4.
    #[must_use]
    pub const fn part(self) -> u16 {
        (self.0 >> 4 & 0xfff) as u16
    }

    /// Returns the variant, bits 23:20: the `N` of `rNpM`.
    #[must_use]
    pub const fn variant(self) -> u8 {
        (self.0 >> 20 & 0xf) as u8
    }

    /// Returns the revision, bits 3:0: the `M` of `rNpM`.
    #[must_use]
    pub const fn revision(self) -> u8 {
        (self.0 & 0xf) as u8
    }

    /// Returns the core's name, where it is known here.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(core, _)| core.has(self)).map(|(_, name)| *name)
    }

    /// Returns true for a revision of `core`.
    #[must_use]
    pub const fn is(self, core: Core) -> bool {
        core.has(self)
    }

    /// Returns variant and revision as one number, `rNpM` as `0xNM`.
    pub(super) const fn release(self) -> u8 {
        self.variant() << 4 | self.revision()
    }

    /// Returns true for a Cortex-A72 of any revision, the core of the Raspberry Pi 4.
    #[must_use]
    pub fn is_cortex_a72(self) -> bool {
        self.is(CORTEX_A72)
    }
}

impl fmt::Display for Midr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "core {:#04x}:{:#05x}", self.implementer(), self.part())?,
        }
        // Qualcomm counts on from a: `rcpe`.
        write!(f, " r{:x}p{:x}", self.variant(), self.revision())
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

    #[test]
    fn a_core_is_called_by_name_variant_and_revision() {
        assert_eq!(Midr(0x410f_d083).to_string(), "Cortex-A72 r0p3");
        assert_eq!(Midr(0x51ff_804e).to_string(), "Kryo 4xx Gold rfpe");
        assert_eq!(Midr(0xff3f_1234).to_string(), "core 0xff:0x123 r3p4");
    }

    #[test]
    fn a_core_is_named_once() {
        for (index, (core, _)) in NAMES.iter().enumerate() {
            assert!(NAMES[..index].iter().all(|(other, _)| other != core), "{core:?}");
        }
    }
}
