// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as tables for people: at most 80 columns, labels at the left edge, the verdict last.
//!
//! Of many CPUs the first are shown and, further down, only those that have something to say.

use super::data::{COLLAPSES, Column, Cpu, LEAVES, Memory, Probe, Report, SPLITS, TABLES, Ticks};
use super::verdict::Verdict;
use super::wrap::{Elapsed, Grouped, INDENT, Maybe, Padded, wrapped};
use crate::check::totals::Totals;
use crate::cpu::method::Method;
use crate::devicetree::Conduit;
use crate::options::{Bootargs, ClockKind};
use core::fmt::{self, Write};

use cleave::aarch64::{
    errata::{Erratum, Scope},
    midr::Midr,
};
use cleave::linear_map::{Action, Form, Outcome};
use cleave::tables::{Geometry, LeafCounts};

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
        self.write_map(out)?;
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
            (Verdict::Fail | Verdict::Panic, _) => writeln!(out, "fail"),
            (Verdict::Pass, 0) => writeln!(out, "pass"),
            (Verdict::Pass, errors) => {
                write!(out, "pass (with {errors} error{} survived", if errors == 1 { "" } else { "s" })?;
                let not_done = self.repaint.is_some_and(|repaint| repaint.outcome != Outcome::Done);
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
        let conduit = match machine.conduit {
            Some(Conduit::Hvc) => "PSCI by HVC",
            Some(Conduit::Smc) => "PSCI by SMC",
            None => "no PSCI",
        };
        let granule = Maybe(machine.granule.map(|bytes| bytes >> 10));
        let va_bits = Maybe(machine.va_bits);
        match machine.entry_el {
            Some(level) => write!(out, "{:INDENT$}entered at EL{level}, ", "")?,
            None => write!(out, "{:INDENT$}entered at -, ", "")?,
        }
        write!(out, "{granule} KiB granule, {va_bits}-bit VA, {conduit}, ")?;
        match machine.gic {
            Some(version) => writeln!(out, "GICv{version}"),
            None => writeln!(out, "no GIC"),
        }
    }

    fn write_decision(&self, out: Out) -> fmt::Result {
        let action = match self.decision.map(|decision| decision.action) {
            Some(Action::Split) => "split under the rendezvous",
            Some(Action::Keep) => "keep the blocks",
            Some(Action::Page) => "pages from the start",
            None => "none made",
        };
        let outcome = match self.repaint.map(|repaint| repaint.outcome) {
            Some(Outcome::Done) => ": done",
            Some(Outcome::OutOfMemory(_)) => ": out of memory, nothing changed",
            Some(Outcome::ForeignTable(_) | Outcome::Aborted | Outcome::Busy) => ": aborted, nothing changed",
            None if self.decision.is_some() => ": nothing to do",
            None => "",
        };
        writeln!(out, "{:<INDENT$}{action}{outcome}", "decision")?;
        let level = Maybe(self.decision.map(|decision| decision.level.number()));
        writeln!(out, "{:INDENT$}BBM level {level}, attempts {}", "", Maybe(self.attempts()))?;
        if let Some(decision) = self.decision {
            wrapped(out, "", decision.reason.as_str())?;
        }
        write_leaves(out, "leaves", |(name, _)| name)?;
        let audited = self.audit.as_ref().map(|audit| &audit.leaves);
        for (label, counts) in [("  before", self.leaves_before.as_ref()), ("  after", audited)] {
            write_leaves(out, label, |(_, of)| Maybe(counts.map(|counts| Grouped(of(counts)))))?;
        }
        if let Some(repaint) = self.repaint {
            write!(out, "{:<INDENT$}", "tables")?;
            TABLES.iter().try_for_each(|(name, _)| write!(out, "{name:>12}"))?;
            write!(out, "\n{:INDENT$}", "")?;
            TABLES.iter().try_for_each(|(_, of)| write!(out, "{:>12}", Grouped(of(&repaint.frame_counts))))?;
            out.write_char('\n')?;
        }
        Ok(())
    }

    /// Writes what changes have made of the linear map.
    fn write_map(&self, out: Out) -> fmt::Result {
        let Some(map) = &self.map else { return Ok(()) };
        let (stats, changes) = (&map.counts.stats, &map.counts.changes);
        let unmapped = Grouped(stats.unmapped_bytes(Geometry::K4_V48) >> 10);
        write!(out, "{:<INDENT$}{} transactions, ", "map", Grouped(changes.transactions))?;
        writeln!(out, "{} tables, {unmapped} KiB unmapped", Grouped(stats.tables))?;
        for (what, columns) in [("split into tables", SPLITS), ("collapsed again", COLLAPSES)] {
            let [(first, firsts), (second, seconds)] = columns.map(|(name, of)| (name, Grouped(of(changes))));
            writeln!(out, "{:INDENT$}{firsts} leaves of {first} and {seconds} of {second} {what}", "")?;
        }
        let (spurious, conflicts) = (Grouped(map.spurious), Grouped(map.conflicts));
        writeln!(out, "{:INDENT$}{spurious} stale faults retried, {conflicts} TLB conflicts survived", "")
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
            ClockKind::Real => "us from the kick",
            ClockKind::Counted => "ticks from the kick",
        };
        let filled = match Bootargs::parse(self.kernel.bootargs.as_deref().unwrap_or_default()).fill {
            Form::Ahead => "before it",
            Form::InWindow => "in the window",
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
        let Some(audit) = &self.audit else { return writeln!(out, "{:<INDENT$}not made", "audit") };
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

/// Writes a row of the table of leaves.
fn write_leaves<T: fmt::Display>(out: Out, label: &str, cell: impl Fn(Column<LeafCounts>) -> T) -> fmt::Result {
    let [first @ .., last] = LEAVES.map(cell);
    write!(out, "{label:<INDENT$}")?;
    first.iter().try_for_each(|cell| write!(out, "{cell:>12}"))?;
    writeln!(out, "{last:>14}")
}

impl Memory {
    fn write(&self, out: Out) -> fmt::Result {
        writeln!(out, "{:<INDENT$}{} KiB", "memory", Maybe(self.bytes.map(|bytes| Grouped(bytes >> 10))))?;
        for (label, ranges) in [("  region", &self.regions), ("  reserved", &self.reserved)] {
            for range in ranges {
                let size = Grouped(range.bytes() >> 10);
                writeln!(out, "{label:<INDENT$}{:#014x}..{:#014x}{size:>18} KiB", range.start.0, range.end.0)?;
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
        let core = Padded(Maybe(cpu.midr));
        write!(out, "{:8}{:>4}  {:<#14x}{core:<22.21}{:<5}", "", cpu.id, cpu.mpidr, Maybe(cpu.bbm))?;
        writeln!(out, "{:<12}{}", Maybe(method), if cpu.online { "yes" } else { "no" })?;
        if let Some(error) = &cpu.error {
            wrapped(out, "", error)?;
        }
    }
    rows.finish(out)
}

fn write_errata(out: Out, errata: &[(Midr, &Erratum)]) -> fmt::Result {
    for (index, &(core, erratum)) in errata.iter().enumerate() {
        let on = match erratum.scope() {
            Scope::Cpu => "on this core",
            Scope::System => "on every CPU",
        };
        let label = if index == 0 { "errata" } else { "" };
        writeln!(out, "{label:<INDENT$}{:<22}{:<20}worked around {on}", Padded(core), erratum.number)?;
    }
    Ok(())
}

impl Ticks {
    fn write(&self, out: Out, clock: ClockKind) -> fmt::Result {
        let Some(frequency) = self.frequency else { return Ok(()) };
        write!(out, "{:<INDENT$}{:>18}", "times", "ticks")?;
        match clock {
            ClockKind::Real => writeln!(out, "{:>18}   at {} Hz", "us", Grouped(frequency))?,
            ClockKind::Counted => writeln!(out, "   counted: instructions of all CPUs, not time")?,
        }
        for (name, ticks) in self.all().into_iter().skip(1) {
            write!(out, "  {name:<10}{:>18}", Maybe(ticks.map(Grouped)))?;
            match clock {
                ClockKind::Real => writeln!(out, "{:>18}", Elapsed { ticks, frequency: self.frequency, clock })?,
                ClockKind::Counted => out.write_char('\n')?,
            }
        }
        Ok(())
    }
}

impl Totals {
    fn write<'a>(&self, out: Out, online: impl Iterator<Item = &'a Cpu>) -> fmt::Result {
        let (cpus, checked) = (Grouped(self.cpus), Grouped(self.bytes() >> 10));
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
