// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as data: the facts and the actions of one boot.
//!
//! [`Report`] holds exactly what `report=json` promises; [`Report::write_line`] writes it as one line of JSON for
//! programs, [`Report::write_text`] as tables for people. It only stores and writes: it measures nothing, decides
//! nothing, and neither writer allocates, so a report can be written after a panic at any point of the boot.
//!
//! A field that has no answer (yet) is `None`. A fresh report says `fail`: it must be told that the boot passed.

use alloc::{borrow::Cow, vec::Vec};
use core::ops::Range;

use super::panic::Panic;

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
    /// Errata of the CPUs that are worked around.
    pub(crate) errata: Vec<Erratum>,
    /// RAM, as the device tree gives it.
    pub(crate) memory: Memory,
    /// The decision about the linear map, and its outcome.
    pub(crate) decision: Decision,
    /// Translation tables of the repaint; `None` where none was tried.
    pub(crate) tables: Option<Tables>,
    /// The linear map as painted at boot.
    pub(crate) leaves_before: Option<Leaves>,
    /// The linear map as it is now.
    pub(crate) leaves_after: Option<Leaves>,
    /// The unit of the ticks.
    pub(crate) clock: Clock,
    /// The times of the steps.
    pub(crate) ticks: Ticks,
    /// The repaint's last rendezvous, one entry a CPU; empty where no repaint began one.
    pub(crate) timeline: Vec<Moments>,
    /// The stress test; `None` with `load=off`.
    pub(crate) load: Option<Load>,
    /// The result of a walk over every leaf; `None` if the boot did not get that far.
    pub(crate) audit: Option<Audit>,
    /// The panic or the fault that ended the run.
    pub(crate) panic: Option<&'static Panic>,
    /// The result of the self-test's probe; `None` without `selftest`.
    pub(crate) probe: Option<Probe>,
    /// Everything that went wrong, in order, whether it failed the boot or was survived.
    pub(crate) errors: Vec<Text>,
    /// The verdict.
    pub(crate) result: Verdict,
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
    pub(crate) entry_el: Option<EntryLevel>,
    /// Translation granule in bytes.
    pub(crate) granule: Option<u64>,
    /// Bits of virtual address in one half.
    pub(crate) va_bits: Option<u8>,
    /// The conduit of PSCI; `None` without PSCI.
    pub(crate) conduit: Option<Conduit>,
    /// Version of the interrupt controller.
    pub(crate) gic: Option<GicVersion>,
}

/// Exception level of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryLevel {
    /// EL1.
    El1,
    /// EL2.
    El2,
}

/// The instruction that calls the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduit {
    /// To EL2.
    Hvc,
    /// To EL3.
    Smc,
}

/// The interrupt controller's architecture version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GicVersion {
    /// `GICv2`.
    V2,
    /// `GICv3`.
    V3,
}

/// One CPU of the device tree.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    /// Position in the device tree.
    pub(crate) id: u32,
    /// Affinity, as in the tree's `reg`.
    pub(crate) mpidr: u64,
    /// `MIDR_EL1`, once the CPU has read it.
    pub(crate) midr: Option<u64>,
    /// Name of the core, for people: it is not in the JSON, which has the MIDR.
    pub(crate) core: Option<Text>,
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

/// The method by which a CPU comes to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The loader entered the image on it.
    Boot,
    /// PSCI `CPU_ON`.
    Psci,
    /// An address written to `cpu-release-addr`.
    SpinTable,
}

/// An erratum that is worked around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erratum {
    /// The core that has it, with its revision.
    pub(crate) core: Text,
    /// Its number, as its implementer gives it.
    pub(crate) number: Text,
    /// Its scope.
    pub(crate) scope: Scope,
}

/// The scope of an erratum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// On the CPU that has it.
    Cpu,
    /// On every CPU.
    System,
}

/// RAM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Sum of the regions.
    pub(crate) bytes: Option<u64>,
    /// Physical ranges that hold RAM.
    pub(crate) regions: Vec<Range<u64>>,
    /// Parts of them that are never allocated.
    pub(crate) reserved: Vec<Range<u64>>,
}

/// The decision on the linear map.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision {
    /// Minimum over the online CPUs, after `bbml2=` and `cpuN.bbm=`.
    pub(crate) level: Option<u8>,
    /// The action decided on.
    pub(crate) action: Option<Action>,
    /// Its outcome.
    pub(crate) outcome: Option<Outcome>,
    /// Rendezvous begun for it, the aborted ones included.
    pub(crate) attempts: Option<u32>,
    /// The reason, for people.
    pub(crate) reason: Option<Text>,
}

/// An action on the linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Repaint it in pages under the rendezvous.
    Split,
    /// Keep the blocks: they can be split live, or must not be split at boot.
    Keep,
    /// It was painted in pages from the start.
    Page,
}

/// The outcome of an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done,
    /// There was nothing to carry out: the map stays as it was painted.
    None,
    /// A frame was missing; nothing changed.
    OutOfMemory,
    /// Not every CPU came to the rendezvous, at any attempt; nothing changed.
    Aborted,
}

/// Table frames of a repaint. A temporary mapping's own tables are counted apart from these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Counted while painting.
    pub(crate) census: u64,
    /// Taken from the frame allocator.
    pub(crate) reserved: u64,
    /// Linked into the new map.
    pub(crate) used: u64,
    /// Old tables given back.
    pub(crate) returned: u64,
}

/// Leaf descriptors of the linear map by size; members of a contiguous group count singly and only there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaves {
    /// 1 GiB blocks.
    pub(crate) block_1g: u64,
    /// 2 MiB blocks with the contiguous hint.
    pub(crate) contiguous_2m: u64,
    /// 2 MiB blocks without.
    pub(crate) block_2m: u64,
    /// Pages with the contiguous hint.
    pub(crate) contiguous_4k: u64,
    /// Pages without.
    pub(crate) page_4k: u64,
}

/// The unit of the counter: the boot loader says it, no register does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Time.
    #[default]
    Real,
    /// The executed instructions of all CPUs together: no duration of it is a time.
    Counted,
}

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

/// Totals of the stress test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// CPUs that carried it.
    pub(crate) cpus: u64,
    /// Bytes read and compared.
    pub(crate) bytes_checked: u64,
    /// Lines that did not hold what was written.
    pub(crate) mismatches: u64,
    /// Faults taken on the linear map.
    pub(crate) faults: u64,
    /// Lines checked, by online CPU, in the order of [`Report::cpus`].
    pub(crate) per_cpu: Vec<Lines>,
}

/// Lines one CPU checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Before the kick.
    pub(crate) before: u64,
    /// Between the kick and its own arrival.
    pub(crate) during: u64,
    /// After the release.
    pub(crate) after: u64,
}

/// The counts of the audit; a good map has zero in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Leaves both writable and executable.
    pub(crate) wx: u64,
    /// Physical pages writable through one alias and executable through another.
    pub(crate) aliases: u64,
    /// Addresses the MMU translates otherwise than the memory regions demand.
    pub(crate) translation_mismatches: u64,
    /// Counters that a fresh census contradicts.
    pub(crate) census_mismatches: u64,
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

/// The kernel's own judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All that was asked for was done and every check holds.
    Pass,
    /// Something was not.
    #[default]
    Fail,
}
