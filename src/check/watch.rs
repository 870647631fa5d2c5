// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repaints and rendezvous under check, with the stress test's phases, the self-test's probe and fault injection.
#![cfg(target_os = "none")]

use core::cell::Cell;

use cleave::linear_map::{Change, Changed, Share};
use cleave::rendezvous::{Measured, Refused};
use cleave::tables::PhysRange;

use crate::check::probe::{Plan, ProbingCpu, Scratch};
use crate::check::{inject, probe, stress};
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::mm::repaint::{self, Refusal, RepaintStats, Watch};
use crate::mm::views::ThisCpu;
use crate::options::{self, Fault, Task};

/// Splits the whole linear map.
pub(crate) fn repaint() -> RepaintStats {
    let args = options::current();
    let done = if args.asks_for(Task::Selftest) || args.injects(Fault::WindowTouch) {
        repaint::repaint(&Probed)
    } else if inject::any_in_window() {
        repaint::repaint(&Injected { second: Cell::new(None) })
    } else {
        repaint::repaint(&Plain)
    };
    inject::leak_frame();
    done
}

/// Makes `change` in `ranges` of memory, and returns what was done and how many ticks it took.
///
/// # Errors
/// As [`repaint::change`].
pub(crate) fn change(change: Change, ranges: &[PhysRange]) -> Result<(Changed, u64), Refusal> {
    repaint::change(change, ranges, &Plain)
}

/// Makes `change` in `ranges` of memory as [`change`] does, and waits while another CPU changes the map.
///
/// # Errors
/// As [`repaint::change_when_free`].
pub(crate) fn change_when_free(change: Change, ranges: &[PhysRange]) -> Result<(Changed, u64), Refusal> {
    repaint::change_when_free(change, ranges, &Plain)
}

/// Holds a rendezvous without a repaint; with a scratch page it breaks and probes that.
///
/// # Errors
/// As a rendezvous: when a CPU did not come.
pub(crate) fn empty_rendezvous(scratch: Option<&Scratch>) -> Result<Measured, Refused> {
    repaint::empty_rendezvous(|_| {
        stress::parked();
        if let Some(scratch) = scratch {
            scratch.probe();
        }
    })
}

/// Fills tables on `cpu`, this one, which a fault may stop in the middle.
pub(crate) fn fill(cpu: &PerCpu, share: Share) {
    match inject::stalls(cpu.id) {
        None => repaint::help(cpu, &ThisCpu, share),
        Some(ticks) => repaint::help(cpu, &inject::Stalling::new(ticks), share),
    }
}

/// A change with nothing but the stress test around it.
pub(crate) struct Plain;

/// A change that the self-test probes.
struct Probed;

/// A change with faults in the stop window.
struct Injected {
    /// The answer that a second caller got.
    second: Cell<Option<Refused>>,
}

/// The part that is common to every change.
macro_rules! common {
    () => {
        fn failing_frame(&self) -> Option<u64> {
            options::current().fault_reserve().map(|nth| nth as u64)
        }
        fn called_for_help(&self) {
            inject::let_stall();
        }
        fn fill(&self, share: Share) {
            fill(this_cpu(), share);
        }
    };
}

impl Watch for Plain {
    type Cpu = ThisCpu;

    common!();

    fn before_stop(&self) {}
    #[inline(always)]
    fn stopped(&self) -> ThisCpu {
        // From "during" to "after": no CPU works on the stress test here.
        stress::parked();
        ThisCpu
    }
    fn after_stop(&self) {}
}

impl Watch for Probed {
    type Cpu = ProbingCpu;

    common!();

    fn before_stop(&self) {
        probe::arm();
    }
    fn stopped(&self) -> ProbingCpu {
        stress::parked();
        ProbingCpu::new(Plan::chosen())
    }
    fn after_stop(&self) {}
}

impl Watch for Injected {
    type Cpu = ThisCpu;

    common!();

    fn before_stop(&self) {
        inject::before_window();
    }
    fn stopped(&self) -> ThisCpu {
        stress::parked();
        inject::in_window();
        let calls = options::current().injects(Fault::RendezvousSecond);
        self.second.set(calls.then(inject::second_caller).flatten());
        ThisCpu
    }
    fn after_stop(&self) {
        inject::after_window();
        if let Some(refused) = self.second.take() {
            log::info!("a second caller inside the window was refused: {refused}");
        }
    }
}
