// SPDX-License-Identifier: MIT OR Apache-2.0
//! The places of the other CPUs when one of them ended the run.
#![cfg(target_os = "none")]

use core::fmt;
use core::sync::atomic::Ordering;

use cleave::aarch64::{hint, timer};
use cleave::deadline::Deadline;

use crate::cpu::percpu;
use crate::cpu::smp;

/// The longest wait for the others, in milliseconds.
const PATIENCE: u64 = 100;

/// The others' states, a line each. Waits until all have stopped, or for [`PATIENCE`].
pub(crate) struct Others;

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let me = percpu::try_this_cpu().map(|cpu| cpu.id);
        let others = || smp::online().filter(|cpu| Some(cpu.id) != me);
        let stopped = |cpu: &percpu::PerCpu| cpu.state.stopped_at.load(Ordering::SeqCst);
        let mut deadline = Deadline::new(timer::count(), timer::frequency() / 1000 * PATIENCE);
        while others().any(|cpu| stopped(cpu) == 0 && !cpu.in_rendezvous.load(Ordering::Relaxed))
            && !deadline.has_passed(timer::count())
        {
            hint::wait_for_event();
        }
        for cpu in others() {
            match stopped(cpu) {
                0 if cpu.in_rendezvous.load(Ordering::Relaxed) => {
                    writeln!(f, "  CPU {}: parked in the rendezvous", cpu.id)?
                }
                0 => writeln!(f, "  CPU {}: did not answer: its interrupts are masked", cpu.id)?,
                at => writeln!(f, "  CPU {}: stopped at\n  #0  {at:#018x}", cpu.id)?,
            }
        }
        Ok(())
    }
}
