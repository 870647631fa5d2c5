// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TLBI instruction: how far it reaches, which entries it names, and what its operand says.
//!
//! What an operand does not name is not invalidated, and some operands name nothing: the architecture asks nothing of a
//! TLBI whose level hint is for another granule, or whose range is for another granule or is not aligned to its hint.
//! What a TLBI gets rid of, and when, is in `invalidate`.

use cleave::tables::{Geometry, Granule, Level, VirtAddr};

/// A TLB invalidation of stage 1 EL1&0 entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlbi {
    /// The CPUs it reaches.
    pub scope: Scope,
    /// The entries it covers.
    pub covers: Coverage,
}

/// The reach of an invalidation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The CPU that executes it.
    Local,
    /// Every CPU of the inner shareable domain (the `IS` forms, and the `OS` forms, which reach further).
    InnerShareable,
}

/// The entries that an invalidation covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coverage {
    /// VMALLE1: everything of the VMID.
    All,
    /// ASIDE1: what belongs to one ASID.
    Asid(u16),
    /// The entries on the way to one address: VAE1 (with an ASID) and VAAE1, VALE1 and VAALE1.
    Address {
        /// Any address the entry covers.
        address: VirtAddr,
        /// Leaves of this ASID, global leaves, and table entries walked under this ASID; none for all of them.
        asid: Option<u16>,
        /// Leaves only (the `L` forms), or table entries on the way as well.
        last: LastLevel,
        /// The TTL hint: the leaf is of this level.
        hint: Option<Level>,
    },
    /// The entries on the way to any address of a range: RVAE1, RVAAE1, RVALE1 and RVAALE1 (FEAT_TLBIRANGE).
    Range {
        /// The first address.
        start: VirtAddr,
        /// Its length; a range does not wrap at the top.
        bytes: u64,
        /// As for one address.
        asid: Option<u16>,
        /// As for one address.
        last: LastLevel,
        /// As for one address: all leaves of the range are of this level.
        hint: Option<Level>,
    },
    /// An operand for which the architecture requires nothing to be invalidated.
    Nothing,
}

/// Says whether table entries are covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastLevel {
    /// Every entry on the way.
    AllLevels,
    /// The leaf alone.
    Only,
}

/// The addresses an invalidation names, and which of their entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) start: VirtAddr,
    pub(super) bytes: u64,
    pub(super) asid: Option<u16>,
    pub(super) last: LastLevel,
    pub(super) hint: Option<Level>,
}

impl Coverage {
    /// Returns the addresses that the TLBI names, if any.
    pub(super) const fn named(self) -> Option<Named> {
        match self {
            Self::Address { address, asid, last, hint } => Some(Named { start: address, bytes: 1, asid, last, hint }),
            Self::Range { start, bytes, asid, last, hint } => Some(Named { start, bytes, asid, last, hint }),
            Self::All | Self::Asid(_) | Self::Nothing => None,
        }
    }
}

/// Returns the level of a hint, or `None` for a reserved value: levels without leaves, which count as no hint (Arm ARM
/// Tables "TTL field encodings").
const fn hinted(geometry: Geometry, level: u64) -> Option<Level> {
    let level = Level::ALL[(level & 3) as usize];
    if geometry.leaf_allowed(level) { Some(level) } else { None }
}

/// Returns the number that TTL\[3:2\] and TG have for a granule.
const fn granule_number(granule: Granule) -> u64 {
    match granule {
        Granule::K4 => 1,
        Granule::K16 => 2,
        Granule::K64 => 3,
    }
}

/// `value` with the bits from `bit` upwards copied from it.
const fn sign_extended(value: u64, bit: u32) -> u64 {
    let above = 63 - bit;
    ((value << above) as i64 >> above) as u64
}

impl Tlbi {
    /// TLBI VMALLE1IS.
    pub const VMALLE1IS: Self = Self { scope: Scope::InnerShareable, covers: Coverage::All };
    /// TLBI VMALLE1.
    pub const VMALLE1: Self = Self { scope: Scope::Local, covers: Coverage::All };

    /// Returns TLBI ASIDE1IS.
    #[must_use]
    pub const fn aside1is(asid: u16) -> Self {
        Self { scope: Scope::InnerShareable, covers: Coverage::Asid(asid) }
    }

    /// Returns TLBI VAAE1IS: leaf and table entries for the address, of any ASID.
    #[must_use]
    pub const fn vaae1is(address: VirtAddr) -> Self {
        let covers = Coverage::Address { address, asid: None, last: LastLevel::AllLevels, hint: None };
        Self { scope: Scope::InnerShareable, covers }
    }

    /// Returns TLBI VAALE1IS: the leaf alone.
    #[must_use]
    pub const fn vaale1is(address: VirtAddr) -> Self {
        let covers = Coverage::Address { address, asid: None, last: LastLevel::Only, hint: None };
        Self { scope: Scope::InnerShareable, covers }
    }

    /// Decodes the operand of TLBI VAE1IS or VALE1IS: VA\[55:12\] in bits 43:0 for any granule, the TTL hint in
    /// bits 47:44, the ASID in bits 63:48. See [`Tlbi::for_every_asid`] for VAAE1IS and VAALE1IS.
    #[must_use]
    pub const fn from_operand(operand: u64, last: LastLevel, geometry: Geometry) -> Self {
        // Bit 55 says which half it is, and is copied upwards.
        let address = VirtAddr(sign_extended(operand << 12, 55) & !(geometry.page_size() - 1));
        let (granule, level) = ((operand >> 46) & 3, (operand >> 44) & 3);
        let hint = if granule == 0 { None } else { hinted(geometry, level) };
        let asid = Some((operand >> 48) as u16);
        // A hint for another granule is an incorrect one, for which nothing need be invalidated.
        let covers = if granule != 0 && granule != granule_number(geometry.granule) {
            Coverage::Nothing
        } else {
            Coverage::Address { address, asid, last, hint }
        };
        Self { scope: Scope::InnerShareable, covers }
    }

    /// Decodes the operand of TLBI RVAE1IS or RVALE1IS: BaseADDR in pages in bits 36:0, the TTL hint in bits 38:37, NUM
    /// in bits 43:39, SCALE in bits 45:44, TG in bits 47:46, the ASID in bits 63:48. It names (NUM + 1) << (5 * SCALE +
    /// 1) pages. See [`Tlbi::for_every_asid`] for RVAAE1IS and RVAALE1IS.
    #[must_use]
    pub const fn from_range_operand(operand: u64, last: LastLevel, geometry: Geometry) -> Self {
        let start = VirtAddr(sign_extended(operand, 36) << geometry.page_shift());
        let (number, scale) = ((operand >> 39) & 0x1f, (operand >> 44) & 3);
        let bytes = (number + 1) << (5 * scale + 1) << geometry.page_shift();
        let (granule, level) = ((operand >> 46) & 3, (operand >> 37) & 3);
        let hint = if level == 0 { None } else { hinted(geometry, level) };
        let aligned = match hint {
            Some(level) => start.0.is_multiple_of(geometry.size(level)),
            None => true,
        };
        let asid = Some((operand >> 48) as u16);
        // Another granule is required to invalidate nothing; a start that its hint does not allow invalidates no entry
        // that is knows what.
        let covers = if granule == granule_number(geometry.granule) && aligned {
            Coverage::Range { start, bytes, asid, last, hint }
        } else {
            Coverage::Nothing
        };
        Self { scope: Scope::InnerShareable, covers }
    }

    /// Returns the local form: it reaches the CPU that executes it only.
    #[must_use]
    pub const fn local(self) -> Self {
        Self { scope: Scope::Local, ..self }
    }

    /// Returns the form for every ASID: VAAE1 where it was VAE1, RVAALE1 where it was RVALE1.
    #[must_use]
    pub const fn for_every_asid(self) -> Self {
        let covers = match self.covers {
            Coverage::Address { address, last, hint, .. } => Coverage::Address { address, asid: None, last, hint },
            Coverage::Range { start, bytes, last, hint, .. } => {
                Coverage::Range { start, bytes, asid: None, last, hint }
            }
            other => other,
        };
        Self { covers, ..self }
    }

    /// Returns the form with a TTL hint.
    #[must_use]
    pub const fn at_level(self, level: Level) -> Self {
        let hint = Some(level);
        let covers = match self.covers {
            Coverage::Address { address, asid, last, .. } => Coverage::Address { address, asid, last, hint },
            Coverage::Range { start, bytes, asid, last, .. } => Coverage::Range { start, bytes, asid, last, hint },
            other => other,
        };
        Self { covers, ..self }
    }
}
