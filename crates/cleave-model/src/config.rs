// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of a machine, and the operands of its CPUs' actions.

use super::MAX_CPUS;
use cleave::aarch64::BbmLevel;
use cleave::tables::Geometry;

/// The configuration of a machine.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) geometry: Geometry,
    pub(super) levels: Vec<BbmLevel>,
    pub(super) ets2: bool,
    pub(super) repeats: bool,
    pub(super) cache_line: u64,
}

impl Config {
    /// Returns the configuration of one CPU for each level: no FEAT_ETS2, no erratum.
    ///
    /// # Panics
    /// With no CPU or more than [`MAX_CPUS`].
    #[must_use]
    pub fn new(geometry: Geometry, levels: &[BbmLevel]) -> Self {
        assert!((1..=MAX_CPUS).contains(&levels.len()), "{} CPUs", levels.len());
        Self { geometry, levels: levels.to_vec(), ets2: false, repeats: false, cache_line: 64 }
    }

    /// Adds FEAT_ETS2 on every CPU: translation faults are ordered as the accesses are.
    #[must_use]
    pub fn with_ets2(self) -> Self {
        Self { ets2: true, ..self }
    }

    /// Adds a core whose broadcast invalidations complete too early, so that each is needed twice.
    #[must_use]
    pub fn with_repeat_erratum(self) -> Self {
        Self { repeats: true, ..self }
    }

    /// Sets data cache lines of this many bytes (CTR_EL0.DminLine) instead of 64.
    ///
    /// # Panics
    /// When no cache has such lines: a power of two from 16 to 2048.
    #[must_use]
    pub fn with_cache_line(self, bytes: u64) -> Self {
        assert!(bytes.is_power_of_two() && (16..=2048).contains(&bytes), "lines of {bytes} bytes");
        Self { cache_line: bytes, ..self }
    }
}

/// A data synchronisation barrier: which accesses it waits for, and how far they have to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the architecture's own names")]
pub enum Dsb {
    Ish,
    Ishst,
    Ishld,
    Osh,
    Oshst,
    Oshld,
    Nsh,
    Nshst,
    Nshld,
    Sy,
    St,
    Ld,
}

impl Dsb {
    /// Returns true when it reaches the inner shareable domain, or further.
    pub(super) const fn is_inner_shareable(self) -> bool {
        !matches!(self, Self::Nsh | Self::Nshst | Self::Nshld)
    }

    pub(super) const fn waits_for_stores(self) -> bool {
        !matches!(self, Self::Ishld | Self::Oshld | Self::Nshld | Self::Ld)
    }

    pub(super) const fn waits_for_loads(self) -> bool {
        !matches!(self, Self::Ishst | Self::Oshst | Self::Nshst | Self::St)
    }

    pub(super) const fn waits_for_everything(self) -> bool {
        self.waits_for_stores() && self.waits_for_loads()
    }
}

/// The ordering of an access to a flag between CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flag {
    /// An ordinary load or store.
    Plain,
    /// A load-acquire or store-release.
    Ordered,
}
