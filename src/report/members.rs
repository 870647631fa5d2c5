// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as one line of JSON: the key of each member.
//!
//! Every key of the interface is written always. Objects stay objects and lists stay lists; only a scalar can be null.

use super::data::{
    Action, Audit, Clock, Conduit, Cpu, EntryLevel, Erratum, GicVersion, Leaves, Lines, Load, Method, Moments, Outcome,
    Probe, Report, Scope, Tables, Ticks, Verdict,
};
use super::json::{Json, Object, Out, object};
use alloc::vec::Vec;
use core::fmt;

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

/// Enums that are words or small numbers in JSON.
macro_rules! json_enum {
    ($type:ident { $($variant:ident => $value:expr),+ $(,)? }) => {
        impl Json for $type {
            fn json(&self, out: Out) -> fmt::Result {
                match self {
                    $(Self::$variant => $value.json(out),)+
                }
            }
        }
    };
}

json_enum!(EntryLevel { El1 => 1_u64, El2 => 2_u64 });
json_enum!(GicVersion { V2 => 2_u64, V3 => 3_u64 });
json_enum!(Conduit { Hvc => "hvc", Smc => "smc" });
json_enum!(Method { Boot => "boot", Psci => "psci", SpinTable => "spin-table" });
json_enum!(Action { Split => "split", Keep => "keep", Page => "page" });
json_enum!(Outcome { Done => "done", None => "none", OutOfMemory => "out-of-memory", Aborted => "aborted" });
json_enum!(Clock { Real => "real", Counted => "counted" });
json_enum!(Scope { Cpu => "cpu", System => "system" });
json_enum!(Probe { Passed => "passed", Failed => "failed", NotRun => "not run" });
json_enum!(Verdict { Pass => "pass", Fail => "fail" });

impl Json for Report {
    fn json(&self, out: Out) -> fmt::Result {
        let (kernel, machine, memory, decision) = (&self.kernel, &self.machine, &self.memory, &self.decision);
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
                        ("conduit", &machine.conduit),
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
                        ("level", &decision.level),
                        ("action", &decision.action),
                        ("outcome", &decision.outcome),
                        ("attempts", &decision.attempts),
                        ("reason", &decision.reason),
                    ]),
                ),
                ("tables", &Members(self.tables)),
                (
                    "leaves",
                    &Object(&[("before", &Members(self.leaves_before)), ("after", &Members(self.leaves_after))]),
                ),
                ("clock", &self.clock),
                ("ticks", &self.ticks),
                ("timeline", &self.timeline),
                ("load", &Members(self.load.as_ref())),
                ("audit", &Members(self.audit)),
                ("panic", &self.panic),
                ("probe", &self.probe),
                ("errors", &self.errors),
                ("result", &self.result),
            ],
        )
    }
}

/// An object that may not apply as a whole: its keys stay, their values are null.
struct Members<T>(Option<T>);

impl Json for Members<Tables> {
    fn json(&self, out: Out) -> fmt::Result {
        let of = |field: fn(Tables) -> u64| self.0.map(field);
        object(
            out,
            &[
                ("census", &of(|tables| tables.census)),
                ("reserved", &of(|tables| tables.reserved)),
                ("used", &of(|tables| tables.used)),
                ("returned", &of(|tables| tables.returned)),
            ],
        )
    }
}

impl Json for Members<Leaves> {
    fn json(&self, out: Out) -> fmt::Result {
        let of = |field: fn(Leaves) -> u64| self.0.map(field);
        object(
            out,
            &[
                ("1G", &of(|leaves| leaves.block_1g)),
                ("cont2M", &of(|leaves| leaves.contiguous_2m)),
                ("2M", &of(|leaves| leaves.block_2m)),
                ("cont4K", &of(|leaves| leaves.contiguous_4k)),
                ("4K", &of(|leaves| leaves.page_4k)),
            ],
        )
    }
}

impl Json for Members<Audit> {
    fn json(&self, out: Out) -> fmt::Result {
        let of = |field: fn(Audit) -> u64| self.0.map(field);
        object(
            out,
            &[
                ("wx", &of(|audit| audit.wx)),
                ("aliases", &of(|audit| audit.aliases)),
                ("translation_mismatches", &of(|audit| audit.translation_mismatches)),
                ("census_mismatches", &of(|audit| audit.census_mismatches)),
            ],
        )
    }
}

impl Json for Members<&Load> {
    fn json(&self, out: Out) -> fmt::Result {
        let of = |field: fn(&Load) -> u64| self.0.map(field);
        let none: Vec<Lines> = Vec::new();
        object(
            out,
            &[
                ("cpus", &of(|load| load.cpus)),
                ("bytes_checked", &of(|load| load.bytes_checked)),
                ("mismatches", &of(|load| load.mismatches)),
                ("faults", &of(|load| load.faults)),
                ("per_cpu", self.0.map_or(&none, |load| &load.per_cpu)),
            ],
        )
    }
}

impl Json for Ticks {
    fn json(&self, out: Out) -> fmt::Result {
        object(
            out,
            &[
                ("frequency", &self.frequency),
                ("paint", &self.paint),
                ("reserve", &self.reserve),
                ("fill", &self.fill),
                ("gather", &self.gather),
                ("window", &self.window),
                ("release", &self.release),
                ("repaint", &self.repaint),
                ("ready", &self.ready),
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
                ("midr", &self.midr),
                ("bbm", &self.bbm),
                ("smpen", &self.smpen),
                ("method", &self.method),
                ("online", &self.online),
                ("error", &self.error),
            ],
        )
    }
}

impl Json for Erratum {
    fn json(&self, out: Out) -> fmt::Result {
        object(out, &[("core", &self.core), ("number", &self.number), ("scope", &self.scope)])
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
