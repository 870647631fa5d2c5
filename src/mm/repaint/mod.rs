// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repaint: the library's order of steps ([`cleave::linear_map::repaint`]) with this kernel's views, frames, CPUs and
//! boot arguments, and an account of it for the report.
//!
//! `docs/protocol.md` has each barrier and each failure.
#![cfg(target_os = "none")]

mod fill;
mod progress;
mod session;

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::options::{self, FillMode};
use cleave::aarch64::timer;
use cleave::linear_map::{self, ATTEMPTS, Form, Layout, LiveMap, MapLock, Roots, Tally};
use cleave::rendezvous::{Measured, Refused};
use cleave::tables::{Census, LeafCounts};

use crate::check::inject;
use crate::check::probe::Scratch;
use crate::check::stress;
use crate::cpu::patience;
use crate::cpu::percpu::this_cpu;
use crate::cpu::smp;
use crate::irq::ipi::{RENDEZVOUS, ThisCpu as Host};
use crate::mm::image::Table;
use crate::mm::memory;

pub(crate) use cleave::linear_map::Ending;
pub(crate) use fill::{help, wants_help};

/// Held from the reservation until the old tables are back.
static MAP_LOCK: MapLock = MapLock::new();

/// More frames than are reserved and filled in a second.
const MANY: u64 = 1 << 15;

/// The result of a repaint, with times in ticks of the counter; `None` where there was no such step.
#[derive(Default)]
pub(crate) struct Account {
    /// The frames taken and returned.
    pub(crate) tally: Tally,
    /// The errors on the way.
    pub(crate) errors: Vec<String>,
    /// Taking the frames.
    pub(crate) reserve: Option<u64>,
    /// Building and filling the tables.
    pub(crate) fill: Option<u64>,
    /// The last rendezvous, when it took place.
    pub(crate) measured: Option<Measured>,
    /// Everything.
    pub(crate) total: u64,
    /// The map afterwards, by what is known of it without a walk.
    pub(crate) after: LeafCounts,
}

/// Splits the whole linear map, whose census is `census`.
pub(crate) fn repaint(census: &Census) -> (Ending, Account) {
    let start = timer::count();
    let layout = memory::layout();
    let map = LiveMap { layout, census, roots: roots(), lock: &MAP_LOCK, fill: &fill::FILL };
    let form = match options::current().fill {
        FillMode::Ahead => Form::Ahead,
        FillMode::Window => Form::InWindow,
    };
    let mut session = session::Session::new();
    let (ending, tally) = linear_map::repaint(&mut session, &map, form);
    inject::leak_frame();
    let mut account = session.account;
    if tally.surplus != 0 {
        account.errors.push(format!("{} frames more reserved than used", tally.surplus));
    }
    if tally.lost != 0 {
        account.errors.push(format!("a CPU stopped while it filled tables: {} frames kept", tally.lost));
    }
    if form == Form::InWindow {
        fill::note_leader_filled(tally.used);
    }
    account.tally = tally;
    account.after = if ending == Ending::Done { split_counts(layout, census) } else { census.leaves };
    account.total = timer::count().wrapping_sub(start);
    (ending, account)
}

fn roots() -> Roots {
    Roots {
        live: Table::Root.phys(),
        shadow: Table::ShadowRoot.phys(),
        spare: Table::WindowRoot.phys(),
        empty: Table::EmptyRoot.phys(),
    }
}

/// The counts of a map whose every leaf but the alias's is a page.
pub(crate) fn split_counts(layout: &Layout<'_>, census: &Census) -> LeafCounts {
    use cleave::tables::{Hint, Level};
    let mut counts = census.alias;
    let bytes: u64 = layout.regions().iter().map(|region| region.bytes()).sum();
    let pages = (bytes - layout.alias().bytes()) >> layout.geometry().page_shift();
    counts.add(Level::L3, Hint::Single, pages);
    counts
}

mod marker {
    #![allow(unsafe_code, reason = "a name for debuggers, and no frame")]

    /// The first thing the leader does when every CPU is parked, in either form: a place for debuggers to stop at
    /// (`break cleave_window`), and nothing else, since the window is counted in instructions.
    // SAFETY: no other function has this name; returning is all it does.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub(super) extern "C" fn cleave_window() {
        core::arch::naked_asm!("ret")
    }
}

/// Begins the stop window.
#[inline(always)]
fn begin_window() {
    marker::cleave_window();
    // From "during" to "after": nobody works on the load here.
    stress::parked();
}

/// Returns how long CPUs have to come, in ticks.
fn deadline() -> u64 {
    patience::deadline(smp::online_count().into())
}

/// A rendezvous with nothing to do but to probe `scratch`, if there is one.
///
/// # Errors
/// As a rendezvous: when somebody did not come.
pub(crate) fn drill(scratch: Option<&Scratch>) -> Result<Measured, Refused> {
    let mut attempts = 1;
    let window = || {
        begin_window();
        if let Some(scratch) = scratch {
            scratch.probe();
        }
    };
    loop {
        match RENDEZVOUS.run(&Host, &this_cpu().state.slot, smp::online_count(), deadline(), |_| window()) {
            Ok(((), measured)) => return Ok(measured),
            Err(Refused::Deadline { .. }) if attempts < ATTEMPTS => attempts += 1,
            Err(refused) => return Err(refused),
        }
    }
}
