// SPDX-License-Identifier: MIT OR Apache-2.0
//! Monitor commands that only read.

use core::fmt::Write as _;
use core::sync::atomic::Ordering;

use cleave::aarch64::EntryLevel;
use cleave::aarch64::timer;
use cleave::tables::{FRAME_SIZE, FrameSource, Level, Size};

use super::commands::{self, Done, Wrong, needs_none};
use super::session::{Screen, Session};
use crate::check::stress;
use crate::cpu::method::Method;
use crate::cpu::smp;
use crate::mm::dump::{self, Half};
use crate::mm::heap;
use crate::mm::memory;
use crate::mm::repaint::wait_for_map;
use crate::mm::views::Careful;
use crate::report::data::LEAVES;

pub(super) fn cpus(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    for cpu in smp::cpus() {
        write!(Screen, "  CPU {:<3} affinity {:#x}", cpu.id, cpu.affinity.bits())?;
        match (cpu.midr(), cpu.level()) {
            (Some(midr), Some((level, entry))) => {
                let entry = if entry == EntryLevel::El2 { "EL2" } else { "EL1" };
                let method = match cpu.method {
                    Some(Method::Boot) => "the loader",
                    Some(Method::Psci) => "PSCI",
                    Some(Method::SpinTable) => "a spin-table",
                    None => "an unknown method",
                };
                let level = level.number();
                writeln!(Screen, "  online, {midr}, BBM level {level}, started by {method} at {entry}")?;
            }
            _ => writeln!(Screen, "  not online: {}", cpu.error.as_deref().unwrap_or("reason unknown"))?,
        }
    }
    Ok(())
}

pub(super) fn map(_: &mut Session, words: &[&str]) -> Done {
    let held = wait_for_map()?;
    match words {
        [] => dump::write_all(&held, &mut Screen)?,
        ["ttbr0"] => drop(dump::write_half(&held, Half::Lower, &mut Screen)?),
        ["ttbr1"] => drop(dump::write_half(&held, Half::Upper, &mut Screen)?),
        _ => return Err(Wrong::Usage),
    }
    Ok(())
}

pub(super) fn pt(_: &mut Session, words: &[&str]) -> Done {
    let [address] = words else { return Err(Wrong::Usage) };
    let address = commands::address(address)?;
    let half = Half::of(address).ok_or("that is in neither half: bits 63:48 must be all alike")?;
    Ok(dump::write_path(&Careful::default(), half, address, &mut Screen)?)
}

pub(super) fn leaves(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    let found = dump::linear_stats(&wait_for_map()?);
    for (name, count) in LEAVES {
        writeln!(Screen, "  {name:>7} {}", count(&found.leaves))?;
    }
    writeln!(
        Screen,
        "  in {} tables; a full split takes {} more",
        found.tables,
        found.tables_to_split(memory::GEOMETRY)
    )?;
    Ok(())
}

pub(super) fn frames(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    let free = memory::frames().available();
    writeln!(Screen, "  frames: {free} free ({})", Size(free * FRAME_SIZE))?;
    writeln!(Screen, "  heap: {}", heap::statistics())?;
    Ok(())
}

pub(super) fn stats(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    writeln!(Screen, "  counter {} at {} Hz", timer::count(), timer::frequency())?;
    let counts = memory::map().counts();
    let (changes, geometry) = (counts.changes, memory::GEOMETRY);
    for (name, level) in [("1G", Level::L1), ("2M", Level::L2)] {
        let (splits, collapses) = (changes.splits(level), changes.collapses(level));
        writeln!(Screen, "  {name} leaves: {splits} split into tables, {collapses} tables collapsed into them")?;
    }
    let (unmapped, spurious) = (Size(counts.stats.unmapped_bytes(geometry)), smp::retried(|cpu| &cpu.stale_faults));
    let (tables, transactions) = (counts.stats.tables, changes.transactions);
    writeln!(
        Screen,
        "  {tables} tables, {transactions} transactions, {unmapped} unmapped, {spurious} spurious faults"
    )?;
    for cpu in smp::online() {
        let lines = stress::lines(cpu.id);
        let (interrupts, conflicts, stale) = (&cpu.interrupts, &cpu.conflicts.total, &cpu.stale_faults.total);
        writeln!(
            Screen,
            "  CPU {:<3} {} interrupts, {} TLB conflicts, {} stale faults, lines checked {} before, {} during, {} after",
            cpu.id,
            interrupts.load(Ordering::Relaxed),
            conflicts.load(Ordering::Relaxed),
            stale.load(Ordering::Relaxed),
            lines.before,
            lines.during,
            lines.after
        )?;
    }
    Ok(())
}

pub(super) fn timeline(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    let kicked = smp::online().map(|cpu| cpu.state.slot.times().kicked).max().unwrap_or(0);
    if kicked == 0 {
        return Err("no rendezvous has taken place yet".into());
    }
    writeln!(Screen, "  called at {kicked}")?;
    writeln!(Screen, "  CPU      arrived       masked     released  tables")?;
    for cpu in smp::online() {
        let times = cpu.state.slot.times();
        let [arrived, masked, released] =
            [times.arrived, times.masked, times.released].map(|ticks| ticks.saturating_sub(kicked));
        let filled = cpu.state.filled.load(Ordering::Relaxed);
        writeln!(Screen, "  {:>3} {arrived:>12} {masked:>12} {released:>12} {filled:>7}", cpu.id)?;
    }
    Ok(())
}
