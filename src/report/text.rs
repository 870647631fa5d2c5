// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as tables for people: at most 80 columns, labels at the left edge, the verdict last.
//!
//! Of many CPUs the first are shown and, further down, only those that have something to say.

use super::data::{
    Action, Clock, Conduit, Cpu, EntryLevel, Erratum, GicVersion, Leaves, Load, Memory, Method, Outcome, Probe, Report,
    Scope, Ticks, Verdict,
};
use super::wrap::{Elapsed, Grouped, INDENT, Maybe, wrapped};
use crate::options::{Bootargs, FillMode};
use core::fmt::{self, Write};

/// The number of rows of a table that are always shown.
const ROWS: usize = 16;

/// The destination of the text.
type Out<'a> = &'a mut dyn Write;

impl Report {
    /// Writes the report for people, and with its last line the verdict.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> fmt::Result {
        let out: Out = out;
        self.write_system(out)?;
        self.memory.write(out)?;
        write_cpus(out, &self.cpus)?;
        write_errata(out, &self.errata)?;
        self.write_decision(out)?;
        self.ticks.write(out, self.clock)?;
        self.write_timeline(out)?;
        self.write_checks(out)?;
        self.write_probe(out)?;
        for (index, error) in self.errors.iter().enumerate() {
            wrapped(out, if index == 0 { "errors" } else { "" }, error)?;
        }
        self.write_result(out)
    }

    /// Writes the verdict; of a pass also how many errors it has survived, and whether `linear=require` would have made it
    /// a failure: a repaint that is needed and not done is survived without it.
    fn write_result(&self, out: Out) -> fmt::Result {
        write!(out, "{:<INDENT$}", "result")?;
        match (self.result, self.errors.len()) {
            (Verdict::Fail, _) => writeln!(out, "fail"),
            (Verdict::Pass, 0) => writeln!(out, "pass"),
            (Verdict::Pass, errors) => {
                write!(out, "pass (with {errors} error{} survived", if errors == 1 { "" } else { "s" })?;
                let not_done = matches!(self.decision.outcome, Some(Outcome::OutOfMemory | Outcome::Aborted));
                writeln!(out, "{})", if not_done { "; linear=require makes it a failure" } else { "" })
            }
        }
    }

    fn write_system(&self, out: Out) -> fmt::Result {
        let (kernel, machine) = (&self.kernel, &self.machine);
        for (label, text) in [("cleave", &kernel.version), ("  commit", &kernel.commit), ("  profile", &kernel.profile)]
        {
            wrapped(out, label, text.as_deref().unwrap_or("-"))?;
        }
        wrapped(out, "bootargs", kernel.bootargs.as_deref().unwrap_or("-"))?;
        for word in &kernel.unknown_bootargs {
            wrapped(out, "  unknown", word)?;
        }
        wrapped(out, "machine", machine.model.as_deref().unwrap_or("-"))?;
        for compatible in &machine.compatible {
            wrapped(out, "", compatible)?;
        }
        let entry = match machine.entry_el {
            Some(EntryLevel::El1) => "EL1",
            Some(EntryLevel::El2) => "EL2",
            None => "-",
        };
        let conduit = match machine.conduit {
            Some(Conduit::Hvc) => "PSCI by HVC",
            Some(Conduit::Smc) => "PSCI by SMC",
            None => "no PSCI",
        };
        let gic = match machine.gic {
            Some(GicVersion::V2) => "GICv2",
            Some(GicVersion::V3) => "GICv3",
            None => "no GIC",
        };
        let granule = Maybe(machine.granule.map(|bytes| bytes >> 10));
        let va_bits = Maybe(machine.va_bits);
        writeln!(out, "{:INDENT$}entered at {entry}, {granule} KiB granule, {va_bits}-bit VA, {conduit}, {gic}", "")
    }

    fn write_decision(&self, out: Out) -> fmt::Result {
        let decision = &self.decision;
        let action = match decision.action {
            Some(Action::Split) => "split under the rendezvous",
            Some(Action::Keep) => "keep the blocks",
            Some(Action::Page) => "pages from the start",
            None => "none made",
        };
        let outcome = match decision.outcome {
            Some(Outcome::Done) => ": done",
            Some(Outcome::None) => ": nothing to do",
            Some(Outcome::OutOfMemory) => ": out of memory, nothing changed",
            Some(Outcome::Aborted) => ": aborted, nothing changed",
            None => "",
        };
        writeln!(out, "{:<INDENT$}{action}{outcome}", "decision")?;
        let [level, attempts] = [decision.level.map(u32::from), decision.attempts].map(Maybe);
        writeln!(out, "{:INDENT$}BBM level {level}, attempts {attempts}", "")?;
        if let Some(reason) = &decision.reason {
            wrapped(out, "", reason)?;
        }
        writeln!(out, "{:<INDENT$}{:>12}{:>12}{:>12}{:>12}{:>14}", "leaves", "1G", "cont2M", "2M", "cont4K", "4K")?;
        write_leaves(out, "  before", self.leaves_before)?;
        write_leaves(out, "  after", self.leaves_after)?;
        if let Some(tables) = self.tables {
            writeln!(out, "{:<INDENT$}{:>12}{:>12}{:>12}{:>12}", "tables", "census", "reserved", "used", "returned")?;
            write!(out, "{:INDENT$}{:>12}{:>12}", "", Grouped(tables.census), Grouped(tables.reserved))?;
            writeln!(out, "{:>12}{:>12}", Grouped(tables.used), Grouped(tables.returned))?;
        }
        Ok(())
    }

    /// Writes when each CPU came and left, counted from the kick: absolute counter values mean nothing to a reader.
    fn write_timeline(&self, out: Out) -> fmt::Result {
        let Some(start) = self.timeline.iter().filter_map(|moments| moments.kicked).min() else { return Ok(()) };
        let since = |moment: Option<u64>| Elapsed {
            ticks: moment.map(|moment| moment.saturating_sub(start)),
            frequency: self.ticks.frequency,
            clock: self.clock,
        };
        let unit = match self.clock {
            Clock::Real => "us from the kick",
            Clock::Counted => "ticks from the kick",
        };
        let filled = match Bootargs::parse(self.kernel.bootargs.as_deref().unwrap_or_default()).fill {
            FillMode::Ahead => "before it",
            FillMode::Window => "in the window",
        };
        writeln!(out, "{:<INDENT$}{unit:>42}{:>16}", "timeline", "tables filled")?;
        writeln!(out, "{:8}{:>4}{:>14}{:>14}{:>14}{filled:>16}", "", "cpu", "arrived", "masked", "released")?;
        let mut rows = Rows::default();
        for moments in &self.timeline {
            if rows.skips(moments.arrived.is_none() || moments.masked.is_none()) {
                continue;
            }
            write!(out, "{:8}{:>4}{:>14}", "", moments.cpu, since(moments.arrived))?;
            write!(out, "{:>14}{:>14}", since(moments.masked), since(moments.released))?;
            writeln!(out, "{:>16}", Grouped(moments.filled))?;
        }
        rows.finish(out)
    }

    fn write_checks(&self, out: Out) -> fmt::Result {
        if let Some(load) = &self.load {
            load.write(out, self.cpus.iter().filter(|cpu| cpu.online))?;
        }
        let Some(audit) = self.audit else { return writeln!(out, "{:<INDENT$}not made", "audit") };
        write!(out, "{:<INDENT$}writable and executable {}, ", "audit", Grouped(audit.wx))?;
        writeln!(out, "by two aliases {},", Grouped(audit.aliases))?;
        write!(out, "{:INDENT$}translations wrong {}, ", "", Grouped(audit.translation_mismatches))?;
        writeln!(out, "census wrong {}", Grouped(audit.census_mismatches))
    }

    fn write_probe(&self, out: Out) -> fmt::Result {
        let Some(probe) = self.probe else { return Ok(()) };
        let text = match probe {
            Probe::Passed => "a broken mapping faulted",
            Probe::Failed => "a broken mapping did not fault",
            Probe::NotRun => "not run: no rendezvous took place",
        };
        writeln!(out, "{:<INDENT$}{text}", "probe")
    }
}

fn write_leaves(out: Out, label: &str, leaves: Option<Leaves>) -> fmt::Result {
    let of = |field: fn(Leaves) -> u64| Maybe(leaves.map(|leaves| Grouped(field(leaves))));
    write!(out, "{label:<INDENT$}{:>12}", of(|leaves| leaves.block_1g))?;
    write!(out, "{:>12}{:>12}", of(|leaves| leaves.contiguous_2m), of(|leaves| leaves.block_2m))?;
    writeln!(out, "{:>12}{:>14}", of(|leaves| leaves.contiguous_4k), of(|leaves| leaves.page_4k))
}

impl Memory {
    fn write(&self, out: Out) -> fmt::Result {
        writeln!(out, "{:<INDENT$}{} KiB", "memory", Maybe(self.bytes.map(|bytes| Grouped(bytes >> 10))))?;
        for (label, ranges) in [("  region", &self.regions), ("  reserved", &self.reserved)] {
            for range in ranges {
                let size = Grouped(range.end.saturating_sub(range.start) >> 10);
                writeln!(out, "{label:<INDENT$}{:#014x}..{:#014x}{size:>18} KiB", range.start, range.end)?;
            }
        }
        Ok(())
    }
}

fn write_cpus(out: Out, cpus: &[Cpu]) -> fmt::Result {
    writeln!(out, "{:<8}{:>4}  {:<14}{:<22}{:<5}{:<12}online", "cpus", "id", "mpidr", "core", "bbm", "started by")?;
    let mut rows = Rows::default();
    for cpu in cpus {
        if rows.skips(!cpu.online || cpu.error.is_some()) {
            continue;
        }
        let method = cpu.method.map(|method| match method {
            Method::Boot => "loader",
            Method::Psci => "PSCI",
            Method::SpinTable => "spin-table",
        });
        let core = cpu.core.as_deref().unwrap_or("-");
        write!(out, "{:8}{:>4}  {:<#14x}{core:<22.21}{:<5}", "", cpu.id, cpu.mpidr, Maybe(cpu.bbm))?;
        writeln!(out, "{:<12}{}", Maybe(method), if cpu.online { "yes" } else { "no" })?;
        if let Some(error) = &cpu.error {
            wrapped(out, "", error)?;
        }
    }
    rows.finish(out)
}

fn write_errata(out: Out, errata: &[Erratum]) -> fmt::Result {
    for (index, erratum) in errata.iter().enumerate() {
        let on = match erratum.scope {
            Scope::Cpu => "on this core",
            Scope::System => "on every CPU",
        };
        let label = if index == 0 { "errata" } else { "" };
        writeln!(out, "{label:<INDENT$}{:<22}{:<20}worked around {on}", erratum.core, erratum.number)?;
    }
    Ok(())
}

impl Ticks {
    fn write(&self, out: Out, clock: Clock) -> fmt::Result {
        let Some(frequency) = self.frequency else { return Ok(()) };
        write!(out, "{:<INDENT$}{:>18}", "times", "ticks")?;
        match clock {
            Clock::Real => writeln!(out, "{:>18}   at {} Hz", "us", Grouped(frequency))?,
            Clock::Counted => writeln!(out, "   counted: instructions of all CPUs, not time")?,
        }
        for (name, ticks) in [
            ("  paint", self.paint),
            ("  reserve", self.reserve),
            ("  fill", self.fill),
            ("  gather", self.gather),
            ("  window", self.window),
            ("  release", self.release),
            ("  repaint", self.repaint),
            ("  ready", self.ready),
        ] {
            write!(out, "{name:<INDENT$}{:>18}", Maybe(ticks.map(Grouped)))?;
            match clock {
                Clock::Real => writeln!(out, "{:>18}", Elapsed { ticks, frequency: self.frequency, clock })?,
                Clock::Counted => out.write_char('\n')?,
            }
        }
        Ok(())
    }
}

impl Load {
    fn write<'a>(&self, out: Out, online: impl Iterator<Item = &'a Cpu>) -> fmt::Result {
        let (cpus, checked) = (Grouped(self.cpus), Grouped(self.bytes_checked >> 10));
        write!(out, "{:<INDENT$}{cpus} CPUs checked {checked} KiB: ", "load")?;
        writeln!(out, "{} mismatches, {} faults", Grouped(self.mismatches), Grouped(self.faults))?;
        writeln!(out, "{:8}{:>4}{:>16}{:>16}{:>16}   lines checked", "", "cpu", "before", "during", "after")?;
        let mut rows = Rows::default();
        for (lines, cpu) in self.per_cpu.iter().zip(online) {
            if rows.skips(lines.before == 0 || lines.during == 0 || lines.after == 0) {
                continue;
            }
            write!(out, "{:8}{:>4}{:>16}", "", cpu.id, Grouped(lines.before))?;
            writeln!(out, "{:>16}{:>16}", Grouped(lines.during), Grouped(lines.after))?;
        }
        rows.finish(out)
    }
}

/// Returns true for the rows of a long table that are shown.
#[derive(Default)]
struct Rows {
    seen: usize,
    skipped: usize,
}

impl Rows {
    /// Counts a row in; whether it is to be left out.
    fn skips(&mut self, notable: bool) -> bool {
        self.seen += 1;
        let skip = self.seen > ROWS && !notable;
        self.skipped += usize::from(skip);
        skip
    }

    /// Says how many rows are missing from the table.
    fn finish(self, out: Out) -> fmt::Result {
        if self.skipped > 0 {
            writeln!(out, "{:8} and {} more like these", "", self.skipped)?;
        }
        Ok(())
    }
}
