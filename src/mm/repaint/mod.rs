// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repaint: the library's order of steps ([`cleave::linear_map::LinearMap::repaint`]) with this kernel's views, frames, CPUs and
//! boot arguments, and an account of it for the report.
//!
//! `docs/protocol.md` has each barrier and each failure.
#![cfg(target_os = "none")]

mod change;
mod fill;
mod lock;
mod owned;
mod progress;
mod session;
mod under_way;

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::options;
use cleave::aarch64::timer;
use cleave::linear_map::{ATTEMPTS, Change, Form, Outcome, Repainted, Share};
use cleave::rendezvous::{Leader, Measured, OnlineCpus, Parked, Refused};
use cleave::tables::{Cpu, Level};

use crate::cpu::patience;
use crate::cpu::percpu::this_cpu;
use crate::cpu::smp;
use crate::irq::ipi::{RENDEZVOUS, ThisCpu as Host};
use crate::mm::memory;

use under_way::UNDER_WAY;

pub(crate) use change::{Refusal, allow_changes, any_held, change, change_when_free, forbid_changes, is_held};
pub(crate) use fill::{help, wants_help};
pub(crate) use lock::wait_for_map;
pub(crate) use owned::{Owned, TimedChange};

/// More frames than are reserved and filled in a second.
const MANY: u64 = 1 << 15;

/// The result of a repaint, with times in ticks of the counter; `None` where there was no such step.
#[derive(Default)]
pub(crate) struct RepaintStats {
    /// The outcome, the frames, and the last rendezvous when it took place.
    pub(crate) repainted: Repainted,
    /// The errors on the way.
    pub(crate) errors: Vec<String>,
    /// Taking the frames.
    pub(crate) reserve: Option<u64>,
    /// Building and filling the tables.
    pub(crate) fill: Option<u64>,
    /// Everything.
    pub(crate) total: u64,
}

/// The surroundings of a change of a repaint: the stress test is told, and faults are injected. Passed from above.
pub(crate) trait Watch {
    /// The CPU that makes the change.
    type Cpu: Cpu;

    /// Returns the number of the frame at which the reservation is to fail.
    fn failing_frame(&self) -> Option<u64>;
    /// Runs on the leader when other CPUs have been called to fill tables.
    fn called_for_help(&self);
    /// Fills tables on this CPU.
    fn fill(&self, share: Share);
    /// Runs on the leader before each rendezvous.
    fn before_stop(&self);
    /// Runs on the leader when every CPU stands still: first in the stop window.
    fn stopped(&self) -> Self::Cpu;
    /// Runs on the leader after each rendezvous, held or refused.
    fn after_stop(&self);
}

/// The number of times that the whole map was split.
static FULL_SPLITS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of times that the whole map was split.
fn full_splits() -> u64 {
    FULL_SPLITS.load(Ordering::Relaxed)
}

/// Splits the whole linear map.
pub(crate) fn repaint<W: Watch>(watch: &W) -> RepaintStats {
    let start = timer::count();
    let map = memory::map();
    let form = options::current().fill;
    let mut session = session::Session::new(watch);
    let online = smp::online_cpus();
    let leader = leader(&online);
    UNDER_WAY.begin(Change::Split(Level::L3), map.layout().regions());
    let repainted = map.repaint(&mut session, &leader, form);
    UNDER_WAY.end();
    let Repainted { frame_counts, measured, .. } = repainted;
    if measured.is_some() {
        watch.after_stop();
    }
    let mut account = session.account;
    if frame_counts.surplus != 0 {
        account.errors.push(format!("{} frames more reserved than used", frame_counts.surplus));
    }
    if frame_counts.lost != 0 {
        account.errors.push(format!("a CPU stopped while it filled tables: {} frames kept", frame_counts.lost));
    }
    if form == Form::InWindow {
        fill::note_leader_filled(frame_counts.used);
    }
    if repainted.outcome == Outcome::Done {
        FULL_SPLITS.fetch_add(1, Ordering::Relaxed);
    }
    account.repainted = repainted;
    account.total = timer::count().wrapping_sub(start);
    account
}

mod marker {
    #![allow(unsafe_code, reason = "a name for debuggers, and no frame")]

    /// Marks the beginning of the stop window on the leader, in either form, for debuggers (`break cleave_window`). It
    /// does nothing else, since the window is counted in instructions.
    // SAFETY: no other function has this name; returning is all it does.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub(super) extern "C" fn cleave_window() {
        core::arch::naked_asm!("ret")
    }
}

/// Returns how long CPUs have to come, in ticks.
fn deadline() -> u64 {
    patience::deadline(smp::online_count().into())
}

/// Returns this CPU as the leader of the CPUs that are `online`.
fn leader(online: &OnlineCpus) -> Leader<'_, Host> {
    Leader { rendezvous: &RENDEZVOUS, host: &Host, slot: &this_cpu().state.slot, online }
}

/// Holds a rendezvous without a repaint, and calls `stopped` while every CPU stands still.
///
/// # Errors
/// As a rendezvous: when a CPU did not come.
pub(crate) fn empty_rendezvous(stopped: impl Fn(&Parked<'_>)) -> Result<Measured, Refused> {
    let (online, mut attempts) = (smp::online_cpus(), 1);
    loop {
        let stop = leader(&online).stop(deadline(), |parked| {
            marker::cleave_window();
            stopped(parked);
        });
        match stop {
            Ok(((), measured)) => return Ok(measured),
            Err(Refused::Deadline { .. }) if attempts < ATTEMPTS => attempts += 1,
            Err(refused) => return Err(refused),
        }
    }
}
