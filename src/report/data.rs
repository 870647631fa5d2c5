// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as data: the facts and the actions of one boot.
//!
//! [`Report`] holds exactly what `report=json` promises; [`Report::write_line`] writes it as one line of JSON for
//! programs, [`Report::write_text`] as tables for people. It only stores and writes: it measures nothing, decides
//! nothing, and neither writer allocates, so a report can be written after a panic at any point of the boot.
//!
//! A field that has no answer (yet) is `None`. A fresh report says `fail`: it must be told that the boot passed.

use alloc::{borrow::Cow, vec::Vec};

use cleave::aarch64::{errata::Erratum, midr::Midr};
use cleave::linear_map::{ChangeCounts, Decision, FrameCounts, MapCounts, Repainted};
use cleave::tables::{Geometry, Hint, LeafCounts, Level, PhysRange};

use super::panic::Panic;
use super::verdict::Verdict;
use crate::check::audit::Findings;
use crate::check::totals::Totals;
use crate::cpu::method::Method;
use crate::devicetree::Conduit;
use crate::options::ClockKind;

/// Text in a report: a literal costs no memory, a composed one is owned.
pub(crate) type Text = Cow<'static, str>;

/// All that is known about one boot. See the module's head for the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The image that runs and what it was asked to do.
    pub(crate) kernel: Kernel,
    /// The machine it was booted on.
    pub(crate) machine: Machine,
    /// Every CPU of the device tree, in the tree's order.
    pub(crate) cpus: Vec<Cpu>,
    /// Errata that are worked around, each with the core that has it.
    pub(crate) errata: Vec<(Midr, &'static Erratum)>,
    /// RAM, as the device tree gives it.
    pub(crate) memory: Memory,
    /// The decision about the linear map.
    pub(crate) decision: Option<Decision>,
    /// The repaint; `None` where none was tried.
    pub(crate) repaint: Option<Repainted>,
    /// The linear map as painted at boot. The audit has it as it is now.
    pub(crate) leaves_before: Option<LeafCounts>,
    /// The linear map as it is when the report is written; `None` before there is one.
    pub(crate) map: Option<Map>,
    /// The unit of the ticks.
    pub(crate) clock: ClockKind,
    /// The times of the steps.
    pub(crate) ticks: Ticks,
    /// The repaint's last rendezvous, one entry a CPU; empty where no repaint began one.
    pub(crate) timeline: Vec<Moments>,
    /// The stress test; `None` with `load=off`.
    pub(crate) load: Option<Totals>,
    /// The result of a walk over every leaf; `None` if the boot did not get that far.
    pub(crate) audit: Option<Findings>,
    /// The panic or the fault that ended the run.
    pub(crate) panic: Option<&'static Panic>,
    /// The result of the self-test's probe; `None` without `selftest`.
    pub(crate) probe: Option<Probe>,
    /// Everything that went wrong, in order, whether it failed the boot or was survived.
    pub(crate) errors: Vec<Text>,
    /// The verdict.
    pub(crate) result: Verdict,
}

impl Report {
    /// Returns the number of rendezvous begun for the repaint, the aborted ones included; 0 where none was decided on.
    pub(super) fn attempts(&self) -> Option<u32> {
        self.decision.map(|_| self.repaint.map_or(0, |repaint| repaint.frame_counts.attempts))
    }
}

/// The image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// The package's version.
    pub(crate) version: Option<Text>,
    /// The commit it was built from, `None` where the build did not know.
    pub(crate) commit: Option<Text>,
    /// `release` or `debug`.
    pub(crate) profile: Option<Text>,
    /// `/chosen/bootargs`, verbatim.
    pub(crate) bootargs: Option<Text>,
    /// Its words that mean nothing to this kernel, firmware's own among them.
    pub(crate) unknown_bootargs: Vec<Text>,
}

/// The machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// `/model` of the device tree.
    pub(crate) model: Option<Text>,
    /// `/compatible`, the most specific first.
    pub(crate) compatible: Vec<Text>,
    /// Exception level at which the image was entered.
    pub(crate) entry_el: Option<u64>,
    /// Translation granule in bytes.
    pub(crate) granule: Option<u64>,
    /// Bits of virtual address in one half.
    pub(crate) va_bits: Option<u8>,
    /// The conduit of PSCI; `None` without PSCI.
    pub(crate) conduit: Option<Conduit>,
    /// Version of the interrupt controller.
    pub(crate) gic: Option<u8>,
}

/// One CPU of the device tree.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    /// Position in the device tree.
    pub(crate) id: u32,
    /// Affinity, as in the tree's `reg`.
    pub(crate) mpidr: u64,
    /// `MIDR_EL1`, once the CPU has read it.
    pub(crate) midr: Option<Midr>,
    /// Level of `FEAT_BBM` that counted, after the list of cores and `cpuN.bbm`.
    pub(crate) bbm: Option<u8>,
    /// `CPUECTLR_EL1.SMPEN`, its part in hardware coherency, on cores that can be asked.
    pub(crate) smpen: Option<bool>,
    /// The method by which it is started.
    pub(crate) method: Option<Method>,
    /// True when it runs in the kernel.
    pub(crate) online: bool,
    /// The reason why it does not, or another error.
    pub(crate) error: Option<Text>,
}

/// RAM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Sum of the regions.
    pub(crate) bytes: Option<u64>,
    /// Physical ranges that hold RAM.
    pub(crate) regions: Vec<PhysRange>,
    /// Parts of them that are never allocated.
    pub(crate) reserved: Vec<PhysRange>,
}

/// The linear map: its counts, and the faults that CPUs have taken for its changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    /// Leaves, tables and changes.
    pub(crate) counts: MapCounts,
    /// Stale translation faults retried.
    pub(crate) spurious: u64,
    /// TLB conflict aborts survived.
    pub(crate) conflicts: u64,
}

/// A number of one value, with its name.
pub(super) type Column<T> = (&'static str, fn(&T) -> u64);

/// The leaves of the linear map by size. Members of a contiguous group count singly and only there.
pub(crate) const LEAVES: [Column<LeafCounts>; 5] = [
    ("1G", |leaves| leaves.at(Level::L1)),
    ("cont2M", |leaves| leaves.contiguous(Level::L2)),
    ("2M", |leaves| leaves.plain(Level::L2)),
    ("cont4K", |leaves| leaves.contiguous(Level::L3)),
    ("4K", |leaves| leaves.plain(Level::L3)),
];

/// The bytes of the linear map by the size of the leaves that map them, and those that no leaf maps any more.
pub(super) const BYTES: [Column<Map>; 6] = [
    ("1G", |map| map.bytes(Level::L1, Hint::Single)),
    ("cont2M", |map| map.bytes(Level::L2, Hint::Contiguous)),
    ("2M", |map| map.bytes(Level::L2, Hint::Single)),
    ("cont4K", |map| map.bytes(Level::L3, Hint::Contiguous)),
    ("4K", |map| map.bytes(Level::L3, Hint::Single)),
    ("unmapped", |map| map.counts.stats.unmapped_bytes(Geometry::K4_V48)),
];

impl Map {
    fn bytes(&self, level: Level, hint: Hint) -> u64 {
        self.counts.stats.mapped_bytes(Geometry::K4_V48, level, hint)
    }
}

/// Leaves that became tables, by their size.
pub(crate) const SPLITS: [Column<ChangeCounts>; 2] =
    [("1G", |changes| changes.splits(Level::L1)), ("2M", |changes| changes.splits(Level::L2))];

/// Tables that became leaves again, by the size of those.
pub(crate) const COLLAPSES: [Column<ChangeCounts>; 2] =
    [("1G", |changes| changes.collapses(Level::L1)), ("2M", |changes| changes.collapses(Level::L2))];

/// The table frames of a repaint. A temporary mapping's own tables are counted apart from these.
pub(super) const TABLES: [Column<FrameCounts>; 4] = [
    ("census", |frames| frames.needed),
    ("reserved", |frames| frames.reserved),
    ("used", |frames| frames.used),
    ("returned", |frames| frames.returned),
];

/// Durations, in ticks of `CNTVCT_EL0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// Ticks in a second, `CNTFRQ_EL0`.
    pub(crate) frequency: Option<u64>,
    /// Painting the linear map.
    pub(crate) paint: Option<u64>,
    /// Taking the frames.
    pub(crate) reserve: Option<u64>,
    /// Filling the tables.
    pub(crate) fill: Option<u64>,
    /// First kick to last CPU masked.
    pub(crate) gather: Option<u64>,
    /// Last CPU masked to the release store.
    pub(crate) window: Option<u64>,
    /// The release store to the last CPU gone.
    pub(crate) release: Option<u64>,
    /// Start of the reservation to the old tables returned.
    pub(crate) repaint: Option<u64>,
    /// Kernel entry to the end of the repaint.
    pub(crate) ready: Option<u64>,
}

impl Ticks {
    /// Returns all of them with their names, the frequency first.
    pub(super) const fn all(&self) -> [(&'static str, Option<u64>); 9] {
        [
            ("frequency", self.frequency),
            ("paint", self.paint),
            ("reserve", self.reserve),
            ("fill", self.fill),
            ("gather", self.gather),
            ("window", self.window),
            ("release", self.release),
            ("repaint", self.repaint),
            ("ready", self.ready),
        ]
    }
}

/// One CPU's way through the last rendezvous, as absolute values of `CNTVCT_EL0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moments {
    /// The CPU's [`Cpu::id`].
    pub(crate) cpu: u32,
    /// The leader sent the interrupt.
    pub(crate) kicked: Option<u64>,
    /// The CPU took it.
    pub(crate) arrived: Option<u64>,
    /// The CPU said that it stands still.
    pub(crate) masked: Option<u64>,
    /// The CPU saw the release, or the abort.
    pub(crate) released: Option<u64>,
    /// Tables it filled before.
    pub(crate) filled: u64,
}

/// The self-test's probe of a broken mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Every load of it faulted.
    Passed,
    /// One went through.
    Failed,
    /// There was no rendezvous to break anything in.
    NotRun,
}
