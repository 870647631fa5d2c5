// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run: stress test, decision, repaint, checks and verdict, on a kernel whose CPUs work.

use alloc::format;
use alloc::vec::Vec;

use cleave::aarch64::midr::Midr;
use cleave::aarch64::timer;
use cleave::linear_map::{Action, Decision, Form, MapPolicy, Outcome, Repainted, decide};
use cleave::tables::{FrameSource, TlbiRepeat};

use crate::check::stale::{self, Transient};
use crate::check::{audit, inject, pool, probe, stress, watch};
use crate::cpu::smp;
use crate::irq::exceptions::errors;
use crate::mm::repaint::allow_changes;
use crate::mm::{heap, memory};
use crate::monitor;
use crate::options::{self, Bootargs, Fault, LinearMode, Load, PoolTime, Task};
use crate::report::builder;
use crate::report::data::Probe;
use crate::report::ending;
use crate::report::verdict::Verdict;

/// Lines that every CPU checks before the decision, and once more at the end.
const LINES: u64 = 64;

/// One run, and what is known of it so far.
pub(crate) struct Run<'a> {
    args: &'a Bootargs<'static>,
    /// Frames that were free before the repaint.
    free_before: u64,
    /// True until something is not as it must be.
    good: bool,
    /// True when a rendezvous was tried for the repaint.
    gathered: bool,
    /// True when the self-test's probe was made.
    probed: bool,
}

impl<'a> Run<'a> {
    /// Begins the run on the map that was painted.
    pub(crate) const fn new(args: &'a Bootargs<'static>) -> Self {
        Self { args, free_before: 0, good: true, gathered: false, probed: false }
    }

    fn has_stress_test(&self) -> bool {
        self.args.load == Load::On
    }

    fn has_selftest(&self) -> bool {
        self.args.asks_for(Task::Selftest)
    }

    /// Opens the guarded pool, if the boot arguments ask for one at `time`.
    pub(crate) fn open_pool(&mut self, time: PoolTime) {
        let errors = match self.args.pool {
            // The leader would map the pool's pages for itself in the middle of the repaint.
            Some(asked) if time == PoolTime::Early && asked.time == time && self.splits_in_window() => {
                Vec::from(["guarded pool: not opened: fill=window maps all memory for itself".into()])
            }
            _ => pool::open(time),
        };
        self.good &= errors.is_empty();
        errors.into_iter().for_each(builder::error);
    }

    /// Returns true when the map may be split at boot in the stop window.
    fn splits_in_window(&self) -> bool {
        self.args.fill == Form::InWindow && matches!(self.args.linear, LinearMode::Auto | LinearMode::Require)
    }

    /// Lets every CPU read and write memory from here on, with `load=on`.
    pub(crate) fn start_stress_test(&self) {
        if self.has_stress_test() {
            stress::start();
            stress::let_run(LINES);
        }
    }

    /// Decides what happens to the linear map, and says so.
    pub(crate) fn decide(&mut self) -> Decision {
        self.free_before = memory::frames().available();
        let decision = decide(smp::levels(), self.args.bbm_trust, wish(self.args));
        builder::tell(|report| report.decision = Some(decision));
        log::info!("linear map: {:?}, {}", decision.action, decision.reason);
        allow_changes();
        if smp::tlbi_repeat() == TlbiRepeat::Twice {
            let known = smp::cpus().iter().filter_map(smp::Cpu::midr).any(Midr::needs_tlbi_repeat);
            let why = if known { "a core's may complete early" } else { "at EL1 the cores are what a hypervisor says" };
            log::info!("broadcast invalidations are done twice: {why}");
        }
        self.good &= arguments_are_good(self.args);
        decision
    }

    /// Splits the linear map where that was decided.
    pub(crate) fn repaint(&mut self, decision: &Decision) {
        if decision.action != Action::Split {
            return;
        }
        let account = watch::repaint();
        builder::record_repaint(&account);
        let Repainted { outcome, frame_counts, .. } = account.repainted;
        self.good &= outcome == Outcome::Done || self.args.linear != LinearMode::Require;
        self.good &= frames_add_up(self.free_before, frame_counts.kept());
        // An aborted repaint means that a CPU did not respond: another rendezvous would time out as well.
        self.gathered = frame_counts.attempts > 0 || outcome == Outcome::Aborted;
        if frame_counts.attempts > 0 {
            builder::record_timeline();
        }
        self.probed = self.has_selftest() && outcome == Outcome::Done;
    }

    /// Holds an empty rendezvous where the repaint held none: what the stress test counts before, during and after it then
    /// means the same in every run. With the self-test it breaks a page of its own, and the probe's outcome is checked.
    pub(crate) fn check_stopping(&mut self) {
        if (self.has_stress_test() || self.has_selftest()) && !self.gathered {
            let scratch = if self.has_selftest() { map_scratch() } else { None };
            let met = rendezvous(scratch.as_ref());
            self.probed = met && scratch.is_some();
            self.good &= met;
        }
        if self.has_selftest() {
            self.good &= probes_faulted(self.probed);
        }
    }

    /// Reports how long the kernel took since it was entered, at the counter's value `entered`.
    pub(crate) fn note_ready(&self, entered: u64) {
        let ready = timer::count().wrapping_sub(entered);
        builder::tell(|report| report.ticks.ready = Some(ready));
    }

    /// Stops the stress test, and checks every line once more.
    pub(crate) fn stop_stress_test(&mut self) {
        if !self.has_stress_test() {
            return;
        }
        stress::settled();
        stress::let_run(LINES);
        let totals = stress::stop();
        let mismatches = totals.mismatches;
        builder::tell(|report| report.load = Some(totals));
        if mismatches != 0 {
            builder::error(format!("the stress test found {mismatches} lines that did not hold what was written"));
            self.good = false;
        }
    }

    /// Audits the map, the kernel's sections and every CPU's registers.
    pub(crate) fn audit(&mut self) {
        for (fault, transient) in [(Fault::Stale, Transient::Translation), (Fault::Conflict, Transient::Conflict)] {
            self.good &= !options::current().injects(fault) || stale::take(transient);
        }
        let damage = pool::check();
        self.good &= damage.is_empty();
        damage.into_iter().for_each(builder::error);
        let findings = audit::audit();
        self.good &= findings.is_clean();
        builder::record_audit(findings);
        log::info!("heap: {}", heap::statistics());
        inject::record_calls();
    }

    /// Publishes the report, runs the monitor where it is asked for, and ends.
    pub(crate) fn end(self) -> ! {
        errors::for_each(|said| builder::error(format!("{said}")));
        let mut verdict = if self.good { Verdict::Pass } else { Verdict::Fail };
        builder::publish(verdict);
        if self.args.asks_for(Task::Monitor) {
            verdict = monitor::run(verdict);
        }
        builder::publish_line(verdict);
        ending::end(verdict)
    }
}

fn arguments_are_good(args: &Bootargs<'static>) -> bool {
    for error in args.errors() {
        builder::error(format!("{error}"));
    }
    let strangers = || args.strangers(smp::cpus().len());
    for (argument, cpu) in strangers() {
        builder::error(format!("boot argument {argument}: there is no CPU {cpu}"));
    }
    args.errors().next().is_none() && strangers().next().is_none()
}

/// Holds a rendezvous with nothing to do, where the repaint held none: so that what the stress test counted before, during
/// and after it means the same in every run. The report has no timeline of it: no repaint has stopped the CPUs.
/// With the self-test it breaks and probes `scratch`.
fn rendezvous(scratch: Option<&probe::Scratch>) -> bool {
    let refused = watch::empty_rendezvous(scratch).err();
    if let Some(refused) = &refused {
        builder::error(format!("rendezvous without a repaint: {refused}"));
    }
    refused.is_none()
}

/// Maps what the self-test breaks where the linear map stays whole.
fn map_scratch() -> Option<probe::Scratch> {
    probe::Scratch::map().map_err(|error| builder::error(format!("self-test: {error}"))).ok()
}

fn wish(args: &Bootargs<'_>) -> MapPolicy {
    match args.linear {
        LinearMode::Auto | LinearMode::Require => MapPolicy::Auto,
        LinearMode::Block => MapPolicy::KeepBlocks,
        LinearMode::Page => MapPolicy::Pages,
    }
}

fn frames_add_up(before: u64, kept: i64) -> bool {
    let after = memory::frames().available();
    let right = after.checked_add_signed(kept) == Some(before);
    if !right {
        builder::error(format!("{before} frames were free, {after} are, and {kept} became tables"));
    }
    right
}

/// Says what became of the self-test's probes, if there was a rendezvous to make them in; false when one went through.
fn probes_faulted(probed: bool) -> bool {
    if !probed {
        log::warn!("probe: not run, for no rendezvous took place");
        builder::tell(|report| report.probe = Some(Probe::NotRun));
        return true;
    }
    let (leader, follower) = probe::outcomes();
    log::info!("probe on the leader: {leader}");
    if let Some(follower) = follower {
        log::info!("probe on a follower: {follower}");
    }
    let good = leader == probe::Outcome::Faulted && follower.is_none_or(|follower| follower == probe::Outcome::Faulted);
    let probe = if good { Probe::Passed } else { Probe::Failed };
    builder::tell(|report| report.probe = Some(probe));
    if !good {
        builder::error("self-test: a probe of the broken map went through".into());
    }
    good
}
