// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to stop the machine: a semihosting exit, if the boot arguments ask for one; PSCI SYSTEM_OFF, if there is PSCI; sleep
//! for ever with interrupts masked.
//!
//! Each way may fail by a fault of its own (an `hlt` where no debugger takes semihosting calls is an undefined instruction),
//! and the fault's handler ends here again. So each way is tried once: a CPU that comes back goes on to the next.
#![cfg(target_os = "none")]

use core::sync::atomic::{AtomicU8, Ordering};

use cleave::aarch64::semihosting;

use crate::boot::{self, Parked};
use crate::cpu::firmware::{Firmware, PsciError};
use crate::devicetree::Conduit;
use crate::options::ExitMode;

/// Ways that [`configure`] allowed and that were not tried yet, as bits.
static WAYS: AtomicU8 = AtomicU8::new(0);
const SEMIHOSTING: u8 = 1 << 0;
const PSCI_HVC: u8 = 1 << 1;
const PSCI_SMC: u8 = 1 << 2;

/// Says how the machine may stop; `conduit` is the way to PSCI, where there is one. Until then it can only sleep.
pub(crate) fn configure(exit: ExitMode, conduit: Option<Conduit>) {
    let semihosting = match exit {
        ExitMode::PowerOff => 0,
        ExitMode::Semihosting => SEMIHOSTING,
    };
    let psci = match conduit {
        Some(Conduit::Hvc) => PSCI_HVC,
        Some(Conduit::Smc) => PSCI_SMC,
        None => 0,
    };
    WAYS.store(semihosting | psci, Ordering::Relaxed);
}

/// Stops the machine by the first way that works; a debugger that takes semihosting calls gets `status`. Returns when no way
/// is left.
pub(crate) fn off(status: u64) {
    if take(SEMIHOSTING) {
        semihosting::exit(status);
    }
    if take(PSCI_HVC) {
        Firmware::behind(Conduit::Hvc).system_off();
    }
    if take(PSCI_SMC) {
        Firmware::behind(Conduit::Smc).system_off();
    }
}

/// Restarts the machine. Comes back with the reason when that does not work; `None` where there is no PSCI.
pub(crate) fn reset() -> Option<PsciError> {
    let ways = WAYS.load(Ordering::Relaxed);
    let conduit = match () {
        () if ways & PSCI_HVC != 0 => Conduit::Hvc,
        () if ways & PSCI_SMC != 0 => Conduit::Smc,
        () => return None,
    };
    Some(Firmware::behind(conduit).system_reset())
}

/// Stops this CPU for good, asleep with interrupts masked.
pub(crate) fn halt() -> ! {
    boot::park(Parked::Ended)
}

/// Takes `way` out of the ways that are left; false if it was not among them.
fn take(way: u8) -> bool {
    WAYS.fetch_and(!way, Ordering::Relaxed) & way != 0
}
