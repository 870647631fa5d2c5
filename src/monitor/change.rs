// SPDX-License-Identifier: MIT OR Apache-2.0
//! Monitor commands that change permissions, validity and sizes of the linear map.

extern crate alloc;

use alloc::format;
use core::fmt::Write as _;

use cleave::linear_map::{Change, Switch};
use cleave::tables::{Level, PhysAddr, PhysRange};

use super::commands::{self, Done, Wrong, size};
use super::session::{Screen, Session};
use super::{inspect, poke};
use crate::check::churn::{self, Churned};
use crate::check::watch;
use crate::mm::layout::{LINEAR_BASE, LINEAR_BYTES};
use crate::mm::repaint::TimedChange;
use crate::mm::{memory, secret};
use crate::report::verdict::Verdict;

pub(super) fn protect(_: &mut Session, words: &[&str]) -> Done {
    match words {
        [address, bytes, "ro"] => change(Change::ReadOnly, &[range(address, bytes)?]),
        [address, bytes, "rw"] => change(Change::ReadWrite, &[range(address, bytes)?]),
        _ => Err(Wrong::Usage),
    }
}

pub(super) fn unmap(_: &mut Session, words: &[&str]) -> Done {
    let [address, bytes] = words else { return Err(Wrong::Usage) };
    change(Change::Unmap, &[range(address, bytes)?])
}

/// Shows what is mapped, or maps what was unmapped.
pub(super) fn map(session: &mut Session, words: &[&str]) -> Done {
    match words {
        [address, bytes] => change(Change::Map, &[range(address, bytes)?]),
        _ => inspect::map(session, words),
    }
}

/// Splits the whole map as at boot, or a range to leaves of a size.
pub(super) fn split(_: &mut Session, words: &[&str]) -> Done {
    let (address, bytes, level) = match words {
        [] => return poke::split(words),
        [address, bytes] | [address, bytes, "4K"] => (address, bytes, Level::L3),
        [address, bytes, "2M"] => (address, bytes, Level::L2),
        [address, bytes, "1G"] => (address, bytes, Level::L1),
        _ => return Err(Wrong::Usage),
    };
    change(Change::Split(level), &[range(address, bytes)?])
}

pub(super) fn collapse(_: &mut Session, words: &[&str]) -> Done {
    match words {
        [] => change(Change::Collapse, memory::layout().regions()),
        [address, bytes] => change(Change::Collapse, &[range(address, bytes)?]),
        _ => Err(Wrong::Usage),
    }
}

/// Returns the memory at an address of the linear map.
fn range(address: &str, bytes: &str) -> Result<PhysRange, Wrong> {
    let start = commands::linear_address(address)?.0.wrapping_sub(LINEAR_BASE);
    let end = start.checked_add(size(bytes)?).filter(|&end| start < LINEAR_BYTES && end <= LINEAR_BYTES);
    let end = end.ok_or_else(|| Wrong::from(format!("{address} is not in the linear map, or its end is not")))?;
    Ok(PhysRange::new(PhysAddr(start), PhysAddr(end)))
}

fn change(change: Change, ranges: &[PhysRange]) -> Done {
    if let Some(range) = ranges.iter().find(|&&range| change.is_edit() && secret::overlaps(range)) {
        return Err(format!("nothing has changed: {range} is in use: secret frames").into());
    }
    let made = watch::change_when_free(change, ranges);
    tell(made.map_err(|error| format!("nothing has changed: {error}"))?)
}

/// Tells how the map was changed.
pub(super) fn tell((done, ticks): TimedChange) -> Done {
    let switch = match done.switch {
        Switch::Nothing => "it was so already",
        Switch::InPlace => "changed in place",
        Switch::Stop => "changed with every CPU stopped",
    };
    let counts = done.frame_counts;
    writeln!(Screen, "  {switch}: {} tables used, {} given back, {ticks} ticks", counts.used, counts.returned)?;
    if let Some(measured) = done.measured {
        writeln!(Screen, "  {} of them in the stop window", measured.ended.wrapping_sub(measured.began))?;
    }
    Ok(())
}

/// Changes the map from all CPUs at once: everything is as before then, or the run has failed.
pub(super) fn churn(session: &mut Session, words: &[&str]) -> Done {
    let [calls] = words else { return Err(Wrong::Usage) };
    let cpus = churn::run(churn::memory()?, size(calls)?).inspect_err(|_| session.verdict = Verdict::Fail)?;
    for (cpu, did) in cpus {
        let Churned { calls, in_place, stopped, refused, comparisons } = did;
        writeln!(
            Screen,
            "  CPU {cpu:<3} {calls} calls: {in_place} in place, {stopped} with every CPU stopped, {refused} refused; counts compared {comparisons} times"
        )?;
    }
    writeln!(Screen, "  leaves, tables and free frames are those of the beginning")?;
    Ok(())
}
