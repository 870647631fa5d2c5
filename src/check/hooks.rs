// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hooks of the checks in the kernel: at points of every rendezvous and of bring-up, and as the CPUs' jobs.
#![cfg(target_os = "none")]

use cleave::linear_map::Share;

use crate::check::{churn, inject, patches, pool, probe, stress, watch};
use crate::cpu::smp::{self, Job};
use crate::irq::ipi;
use crate::mm::repaint;

/// Offered to every CPU that is at no rendezvous, in this order.
const JOBS: [Job; 6] = [
    Job { wants: repaint::wants_help, run: |cpu| watch::fill(cpu, Share::Fair) },
    Job { wants: pool::is_asked, run: |_| pool::serve() },
    Job { wants: inject::is_to_overflow, run: |_| inject::overflow_stack() },
    Job { wants: churn::wants, run: |cpu| churn::step(cpu) },
    Job { wants: |_| patches::is_on(), run: |cpu| patches::step(cpu) },
    Job { wants: |_| stress::is_on(), run: |cpu| stress::step(cpu) },
];

/// Installs the hooks. Called once, before any other CPU is started.
pub(crate) fn install() {
    ipi::install(ipi::Hooks { before_ipi: stress::called, before_arrival, while_parked, woken: pool::in_interrupt });
    smp::install(smp::Hooks {
        secondary_entered: inject::stay_absent,
        before_facts: inject::drop_wxn,
        cpu_on_answer: inject::cpu_on_answer,
        jobs: &JOBS,
    });
}

fn before_arrival() {
    stress::before_arrival();
    inject::come_late();
}

fn while_parked() -> bool {
    inject::while_parked();
    probe::poll()
}
