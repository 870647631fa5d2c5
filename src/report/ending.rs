// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of the run: the verdict, and the stop of the machine.
//!
//! The console's last line is `cleave: PASS` or `cleave: FAIL`; after a panic it is what the panic handler wrote, with
//! a line that begins `cleave: PANIC`. Then the machine stops ([`crate::cpu::power`]).
#![cfg(target_os = "none")]

use core::fmt::{self, Write as _};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use cleave::aarch64::{cpu, interrupts};

use crate::boot::{self, Parked};
use crate::cpu::ban;
use crate::cpu::percpu;
use crate::cpu::power;
use crate::cpu::stop;
use crate::io::console;
use crate::irq::exceptions;
use crate::report::verdict::Verdict;
use crate::report::{builder, stopped};

/// The CPU that ends the run, and the one that panics: its MPIDR with bit 63 set; 0 for none.
static ENDING: AtomicU64 = AtomicU64::new(0);

/// The result of [`begin_panic`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PanicEntry {
    /// The first: report it, then [`end`].
    First,
    /// A panic while reporting one, or while ending: report nothing that could panic again, only [`end`].
    Again,
}

/// Claims the end of the run for this CPU; false if it has it already. A CPU that finds another one at it sleeps
/// for ever, so that there is one report and one verdict.
fn claim() -> bool {
    interrupts::mask().keep();
    let me = cpu::mpidr() | 1 << 63;
    match ENDING.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => true,
        Err(other) if other == me => false,
        Err(_) => power::halt(),
    }
}

/// Claims the report of a panic or a fault for this CPU, before its first word. Masks its interrupts for good. Any
/// other CPU that comes later sleeps for ever.
pub(crate) fn enter_panic() -> PanicEntry {
    // This CPU does not return to the code that it was in the middle of, so its report may do what the ban forbids.
    ban::leave();
    if !claim() {
        return PanicEntry::Again;
    }
    stop::ask_others();
    PanicEntry::First
}

/// Begins the report of a panic: calls [`enter_panic`], and prints one line, past all locks, that begins `cleave: PANIC`.
/// The text of a panic inside the report of another is left out, since its formatting may be the cause.
fn begin_panic(info: &PanicInfo<'_>) -> PanicEntry {
    let entry = enter_panic();
    match entry {
        PanicEntry::First => console::emergency_print(format_args!("{}\n", PanicLine(info))),
        PanicEntry::Again => console::emergency_print(format_args!("cleave: PANIC again, in the first one's report\n")),
    }
    entry
}

/// Reports a panic with its backtrace and where the other CPUs were, and ends the run.
pub(crate) fn report_panic(info: &PanicInfo<'_>) -> ! {
    if begin_panic(info) == PanicEntry::First {
        let backtrace = exceptions::backtrace_here();
        builder::record_backtrace(&[], &backtrace);
        console::emergency_print(format_args!("  backtrace:\n{backtrace}{}", stopped::Others));
    }
    end(Verdict::Panic)
}

/// Writes a panic on one line, as far as its message is one.
struct PanicLine<'a>(&'a PanicInfo<'a>);

impl fmt::Display for PanicLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match percpu::try_this_cpu() {
            Some(cpu) => write!(f, "cleave: PANIC on CPU {}: ", cpu.id)?,
            None => write!(f, "cleave: PANIC on the boot CPU: ")?,
        }
        let mut message = builder::record_panic(f);
        write!(message, "{}", self.0.message())?;
        message.end();
        match self.0.location() {
            Some(place) => write!(f, ", at {place}"),
            None => Ok(()),
        }
    }
}

/// Ends the run with `verdict`. The calling CPU's interrupts are masked for good; other CPUs run on until the
/// machine stops, but their output is dropped.
pub(crate) fn end(verdict: Verdict) -> ! {
    if claim() {
        // No CPU has panicked.
        match verdict {
            Verdict::Pass | Verdict::Fail => console::close(Some(format_args!("cleave: {verdict}\n"))),
            Verdict::Panic => console::close(None),
        }
    } else {
        // This CPU has panicked, and reported it.
        builder::publish_after_panic();
        console::close(None);
    }
    power::off(verdict.status());
    match verdict {
        Verdict::Panic => boot::park(Parked::Panicked),
        Verdict::Pass | Verdict::Fail => power::halt(),
    }
}
