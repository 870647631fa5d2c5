// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as one line of JSON: the key of each member.
//!
//! Every key of the interface is written always. Objects stay objects and lists stay lists; only a scalar can be null.

use super::data::{BYTES, COLLAPSES, Column, Cpu, LEAVES, Map, Moments, Probe, Report, SPLITS, TABLES};
use super::json::{Json, Numbers, Object, Out, Shown, object};
use super::verdict::Verdict;
use crate::check::totals::{Lines, Totals};
use crate::cpu::method::Method;
use crate::options::ClockKind;
use alloc::vec::Vec;
use core::fmt;

use cleave::aarch64::{
    errata::{Erratum, Scope},
    midr::Midr,
};
use cleave::linear_map::{Action, ChangeCounts, Outcome};
use cleave::tables::LeafCounts;

/// The prefix of the report's line on the console.
pub(crate) const LINE_PREFIX: &str = "CLEAVE-REPORT ";

/// Version of the schema.
const SCHEMA_VERSION: u64 = 1;

/// A report as its line of JSON, for a writer that takes one text.
pub(crate) struct Line<'a>(pub(crate) &'a Report);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_line(f)
    }
}

impl Report {
    /// Writes the prefix, the object and a newline: the console's one line for programs.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(crate) fn write_line(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(LINE_PREFIX)?;
        self.write_json(out)?;
        out.write_str("\n")
    }

    /// Writes the object alone, without a line break anywhere.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(crate) fn write_json(&self, out: &mut impl fmt::Write) -> fmt::Result {
        self.json(out)
    }
}

/// Writes the word of each variant of an enum.
macro_rules! words {
    ($type:ident { $($variant:pat => $word:literal),+ $(,)? }) => {
        impl Json for $type {
            fn json(&self, out: Out) -> fmt::Result {
                match self {
                    $($variant => $word,)+
                }
                .json(out)
            }
        }
    };
}

words!(Method { Self::Boot => "boot", Self::Psci => "psci", Self::SpinTable => "spin-table" });
words!(Action { Self::Split => "split", Self::Keep => "keep", Self::Page => "page" });
words!(Outcome {
    Self::Done => "done",
    Self::OutOfMemory(_) => "out-of-memory",
    Self::ForeignTable(_) | Self::Aborted | Self::Busy => "aborted",
});
words!(ClockKind { Self::Real => "real", Self::Counted => "counted" });
words!(Scope { Self::Cpu => "cpu", Self::System => "system" });
words!(Probe { Self::Passed => "passed", Self::Failed => "failed", Self::NotRun => "not run" });
// A panic has failed; the report has the panic itself beside it.
words!(Verdict { Self::Pass => "pass", Self::Fail | Self::Panic => "fail" });

impl Json for Report {
    fn json(&self, out: Out) -> fmt::Result {
        let (kernel, machine, memory, decision) = (&self.kernel, &self.machine, &self.memory, self.decision);
        let (load, audit) = (self.load.as_ref(), self.audit.as_ref());
        // Of a map that was decided on and not repainted, the outcome is a word of its own.
        let outcome: &dyn Json = if self.repaint.is_none() && decision.is_some() {
            &"none"
        } else {
            &self.repaint.map(|repaint| repaint.outcome)
        };
        let frames = self.repaint.map(|repaint| repaint.frame_counts);
        let no_lines = Vec::<Lines>::new();
        object(
            out,
            &[
                ("version", &SCHEMA_VERSION),
                (
                    "kernel",
                    &Object(&[
                        ("version", &kernel.version),
                        ("commit", &kernel.commit),
                        ("profile", &kernel.profile),
                        ("bootargs", &kernel.bootargs),
                        ("unknown_bootargs", &kernel.unknown_bootargs),
                    ]),
                ),
                (
                    "machine",
                    &Object(&[
                        ("model", &machine.model),
                        ("compatible", &machine.compatible),
                        ("entry_el", &machine.entry_el),
                        ("granule", &machine.granule),
                        ("va_bits", &machine.va_bits),
                        ("conduit", &machine.conduit.map(Shown)),
                        ("gic", &machine.gic),
                    ]),
                ),
                ("cpus", &self.cpus),
                ("errata", &self.errata),
                (
                    "memory",
                    &Object(&[("bytes", &memory.bytes), ("regions", &memory.regions), ("reserved", &memory.reserved)]),
                ),
                (
                    "decision",
                    &Object(&[
                        ("level", &decision.map(|decision| decision.level.number())),
                        ("action", &decision.map(|decision| decision.action)),
                        ("outcome", outcome),
                        ("attempts", &self.attempts()),
                        ("reason", &decision.map(|decision| decision.reason.as_str())),
                    ]),
                ),
                ("tables", &Numbers(TABLES.map(|(key, of)| (key, frames.as_ref().map(of))))),
                (
                    "leaves",
                    &Object(&[
                        ("before", &leaves(self.leaves_before.as_ref())),
                        ("after", &leaves(audit.map(|audit| &audit.leaves))),
                    ]),
                ),
                ("map", &self.map),
                ("clock", &self.clock),
                ("ticks", &Numbers(self.ticks.all())),
                ("timeline", &self.timeline),
                (
                    "load",
                    &Object(&[
                        ("cpus", &load.map(|load| load.cpus)),
                        ("bytes_checked", &load.map(Totals::bytes)),
                        ("mismatches", &load.map(|load| load.mismatches)),
                        ("faults", &load.map(|load| load.faults)),
                        ("per_cpu", load.map_or(&no_lines, |load| &load.per_cpu)),
                    ]),
                ),
                (
                    "audit",
                    &Numbers([
                        ("wx", audit.map(|audit| audit.wx)),
                        ("aliases", audit.map(|audit| audit.aliases)),
                        ("translation_mismatches", audit.map(|audit| audit.translation_mismatches)),
                        ("census_mismatches", audit.map(|audit| audit.census_mismatches)),
                    ]),
                ),
                ("panic", &self.panic),
                ("probe", &self.probe),
                ("errors", &self.errors),
                ("result", &self.result),
            ],
        )
    }
}

/// Returns the leaves of a linear map, by size.
fn leaves(counts: Option<&LeafCounts>) -> Numbers<5> {
    Numbers(LEAVES.map(|(key, of)| (key, counts.map(of))))
}

impl Json for Option<Map> {
    fn json(&self, out: Out) -> fmt::Result {
        let counts = self.map(|map| map.counts);
        let changes = counts.map(|counts| counts.changes);
        let changed =
            |columns: [Column<ChangeCounts>; 2]| Numbers(columns.map(|(key, of)| (key, changes.as_ref().map(of))));
        object(
            out,
            &[
                ("bytes", &Numbers(BYTES.map(|(key, of)| (key, self.as_ref().map(of))))),
                ("splits", &changed(SPLITS)),
                ("collapses", &changed(COLLAPSES)),
                ("tables", &counts.map(|counts| counts.stats.tables)),
                ("transactions", &changes.map(|changes| changes.transactions)),
                ("spurious", &self.map(|map| map.spurious)),
                ("conflicts", &self.map(|map| map.conflicts)),
            ],
        )
    }
}

impl Json for Cpu {
    fn json(&self, out: Out) -> fmt::Result {
        object(
            out,
            &[
                ("id", &self.id),
                ("mpidr", &self.mpidr),
                ("midr", &self.midr.map(|midr| midr.0)),
                ("bbm", &self.bbm),
                ("smpen", &self.smpen),
                ("method", &self.method),
                ("online", &self.online),
                ("error", &self.error),
            ],
        )
    }
}

impl Json for (Midr, &Erratum) {
    fn json(&self, out: Out) -> fmt::Result {
        let (core, erratum) = self;
        object(out, &[("core", &Shown(core)), ("number", &erratum.number), ("scope", &erratum.scope())])
    }
}

impl Json for Moments {
    fn json(&self, out: Out) -> fmt::Result {
        object(
            out,
            &[
                ("cpu", &self.cpu),
                ("kicked", &self.kicked),
                ("arrived", &self.arrived),
                ("masked", &self.masked),
                ("released", &self.released),
                ("filled", &self.filled),
            ],
        )
    }
}

impl Json for Lines {
    fn json(&self, out: Out) -> fmt::Result {
        object(out, &[("before", &self.before), ("during", &self.during), ("after", &self.after)])
    }
}
