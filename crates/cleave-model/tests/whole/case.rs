// SPDX-License-Identifier: MIT OR Apache-2.0
//! A case: a machine, what memory it has, and what happens on it.

use cleave::aarch64::BbmLevel;
use cleave::linear_map::{Change, Form, LargestLeaf};
use cleave::tables::{Attributes, Geometry, Level, PhysAddr, PhysRange, VirtAddr};

/// The address of the static tables: the kernel image's, so to say.
pub(crate) const IMAGE: PhysRange = PhysRange::new(PhysAddr(0xe000_0000_0000), PhysAddr(0xe000_0008_0000));
pub(crate) const LIVE: PhysAddr = PhysAddr(IMAGE.start.0);
pub(crate) const REPLACEMENT: PhysAddr = PhysAddr(IMAGE.start.0 + 0x1_0000);
pub(crate) const SPARE: PhysAddr = PhysAddr(IMAGE.start.0 + 0x2_0000);
pub(crate) const NOTHING: PhysAddr = PhysAddr(IMAGE.start.0 + 0x3_0000);
pub(crate) const HOLDING: PhysAddr = PhysAddr(IMAGE.start.0 + 0x4_0000);
/// The table below the kernel's own root entry, where the root is of level 0.
pub(crate) const KERNEL: PhysAddr = PhysAddr(IMAGE.start.0 + 0x5_0000);
/// A table for temporary mappings in blocks.
pub(crate) const TEMPORARY: PhysAddr = PhysAddr(IMAGE.start.0 + 0x6_0000);

/// A machine, what memory it has, and what happens on it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) geometry: Geometry,
    /// All RAM.
    pub(crate) regions: Vec<PhysRange>,
    /// The number of root entries of the upper half that stay empty below the linear map.
    pub(crate) skipped: usize,
    /// The part of it whose tables are the first paint's: whole blocks of level 2.
    pub(crate) first: PhysRange,
    /// The part of it that the allocator gives out.
    pub(crate) frames: PhysRange,
    pub(crate) alias: PhysRange,
    pub(crate) attributes: Attributes,
    pub(crate) largest: LargestLeaf,
    pub(crate) levels: Vec<BbmLevel>,
    /// The number of CPUs that come up and are not admitted before the first step.
    pub(crate) latecomers: usize,
    /// The leader's masks keep no kick out.
    pub(crate) leaky: bool,
    pub(crate) ets2: bool,
    pub(crate) erratum: bool,
    /// Every CPU has FEAT_TLBIRANGE.
    pub(crate) range_tlbi: bool,
    /// Changes to single leaves before the first step: which, by lot.
    pub(crate) planted: Option<u64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) seed: u64,
}

/// One change of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The linear map is split, or is found to be split already.
    Repaint(Form, Trouble),
    /// So many pages of the kernel half are mapped, for every CPU to use; of frames for tables there are only so many.
    Map(u64, u64),
    /// A page of the kernel half is replaced by another.
    Replace,
    /// Memory is mapped in blocks for a moment.
    Blocks,
    /// Permissions, validity or sizes of some memory change: which, by lot.
    Change(Change, u64, Trouble),
    /// One of the latecomers is admitted, if there is one: the next rendezvous has one CPU more.
    Admit,
}

/// An injected failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    /// The allocator fails at the n-th frame of what may be needed, in thousandths.
    OutOfMemory(u64),
    /// A CPU does not come, and it is called off.
    Absent,
    /// A CPU does not come the first time.
    Late,
    /// The leader does not wait for followers that still fill tables.
    Impatient,
}

impl Case {
    /// Returns how many CPUs are online before the first step.
    pub(crate) fn online(&self) -> usize {
        self.levels.len() - self.latecomers
    }

    /// Returns true when the leader once waits for no filler. The others are slow then.
    pub(crate) fn has_impatience(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Repaint(_, Trouble::Impatient)))
    }

    /// Returns where the linear map begins.
    pub(crate) fn base(&self) -> VirtAddr {
        self.root_entry(self.skipped as isize)
    }

    /// The first address of the upper half.
    pub(crate) fn upper_half(&self) -> VirtAddr {
        VirtAddr(!0 << self.geometry.address_bits())
    }

    /// The first address that a root entry covers; negative ones count from behind.
    fn root_entry(&self, index: isize) -> VirtAddr {
        let level = self.geometry.root_level();
        let index = index.rem_euclid(self.geometry.entries(level) as isize);
        self.upper_half().offset(index as u64 * self.geometry.size(level))
    }

    /// Returns the addresses at which the kernel maps pages of its own.
    pub(crate) fn area(&self) -> VirtAddr {
        if self.geometry.root_level() == Level::L0 { self.root_entry(-1) } else { self.root_entry(-2) }
    }

    /// Returns the address of its temporary blocks: the last entry of level 1. A map whose root is of level 2 has none.
    pub(crate) fn window(&self) -> Option<(VirtAddr, PhysAddr)> {
        let table = match self.geometry.root_level() {
            Level::L0 => KERNEL,
            Level::L1 => LIVE,
            Level::L2 | Level::L3 => return None,
        };
        let (size, last) = (self.geometry.size(Level::L1), self.geometry.entries(Level::L1) - 1);
        Some((VirtAddr(size.wrapping_neg()), PhysAddr(table.0 + 8 * last as u64)))
    }
}

/// Plain RAM with 4 KiB pages, a little of everything in it.
pub(crate) fn plain(cpus: usize, steps: &[Step]) -> Case {
    let range = |start, end| PhysRange::new(PhysAddr(start), PhysAddr(end));
    let (first, frames) = (range(0x80_0000, 0xa0_0000), range(0x4000_0000, 0x4040_0000));
    Case {
        geometry: Geometry::K4_V48,
        regions: vec![range(0x1000, 0x62_3000), first, frames],
        skipped: 0,
        first,
        frames,
        alias: range(0x20_0000, 0x30_0000),
        attributes: Attributes::NORMAL,
        largest: LargestLeaf::Block,
        levels: vec![BbmLevel::Zero; cpus],
        latecomers: 0,
        leaky: false,
        ets2: false,
        erratum: false,
        range_tlbi: false,
        planted: None,
        steps: steps.to_vec(),
        seed: 1,
    }
}
