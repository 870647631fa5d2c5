// SPDX-License-Identifier: MIT OR Apache-2.0
//! The level of FEAT_BBM, the support for changes of block size, and the exception level at entry, on which the trust
//! in it depends.

/// The promise of a CPU about a live change of block size.
///
/// Levels 0 to 2 are ID_AA64MMFR2_EL1.BBM (Arm ARM D24.2.88); 3 adds the promise of no TLB conflict aborts, by
/// that field or by being a core that is documented to raise none ([`CpuFacts::level`](super::CpuFacts::level)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum BbmLevel {
    /// Break-before-make for every change of size.
    Zero,
    /// The nT bit; no use for a whole map.
    One,
    /// A live change of size is allowed, and may raise a TLB conflict abort.
    Two,
    /// A live change of size is allowed, and raises none.
    Three,
}

impl BbmLevel {
    /// Returns the level of number `number`; numbers above 3 promise at least as much as 3.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Zero,
            1 => Self::One,
            2 => Self::Two,
            _ => Self::Three,
        }
    }

    /// Returns the number of the level, 0 to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// The exception level a CPU was started at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryLevel {
    /// EL1: there may be a hypervisor below.
    El1,
    /// EL2: there is none.
    El2,
}
