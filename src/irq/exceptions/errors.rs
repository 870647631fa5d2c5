// SPDX-License-Identifier: MIT OR Apache-2.0
//! SErrors: those that were pending when firmware handed over, those that the kernel survives, and all others.
//!
//! No SError is unmasked before there is a console, or the report of one that ends the run would be lost. What is pending at
//! entry is a failed access of firmware's: a boot loader that probes a bus is the usual one. With FEAT_RAS an ESB takes it;
//! without, it is taken as an exception, at one known place.
#![allow(unsafe_code, reason = "a place where an SError is expected, in assembly")]

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use cleave::aarch64::interrupts;
use cleave::aarch64::syndrome::{ErrorState, Syndrome};

use super::frame::Frame;

global_asm!(
    "    .section .text.cleave_pending_error, \"ax\", %progbits",
    "    .balign 4",
    "    .type cleave_take_pending_error, %function",
    "cleave_take_pending_error:",
    "    msr     daifclr, #0b0100",
    // ISB: a pending SError that is not masked is taken before what follows it (DDI 0487, "Asynchronous exception types",
    // on context synchronization events). ELR_EL1 is the ISB's address or the next one.
    "    isb",
    "    ret",
    "    .size cleave_take_pending_error, . - cleave_take_pending_error",
    "    .global cleave_take_pending_error",
    "    .text",
);

unsafe extern "C" {
    fn cleave_take_pending_error();
}

/// Errors of one kind.
struct Errors {
    count: AtomicU64,
    /// ESR_EL1 of the last one.
    last: AtomicU64,
}

impl Errors {
    const fn new() -> Self {
        Self { count: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    fn add(&self, syndrome: Syndrome) {
        self.last.store(syndrome.0, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many there were, and the last one; `None` if there was none.
    fn all(&self) -> Option<(u64, Syndrome)> {
        let count = self.count.load(Ordering::Relaxed);
        (count != 0).then(|| (count, Syndrome(self.last.load(Ordering::Relaxed))))
    }
}

static LEFT: Errors = Errors::new();
static SURVIVED: Errors = Errors::new();

/// Looks for an SError that firmware left pending on this CPU: before the kernel accesses a device, SError masked. Returns
/// whether there is one for [`unmask`] to take.
pub(crate) fn left_by_firmware() -> bool {
    if let Some(syndrome) = interrupts::take_deferred_error() {
        LEFT.add(syndrome);
    }
    interrupts::error_is_pending()
}

/// Unmasks SError on this CPU; first takes the one that firmware `left`.
pub(crate) fn unmask(left: bool) {
    if left {
        // SAFETY: unmasks SError, as below; `survives` knows the place.
        unsafe { cleave_take_pending_error() };
    }
    interrupts::unmask_errors();
}

/// Counts the SError of `frame` if the kernel can go on; false for one that ends the run, and for other exceptions.
pub(super) fn survives(frame: &Frame) -> bool {
    let start = cleave_take_pending_error as *const () as u64;
    let syndrome = frame.syndrome();
    match syndrome.as_error() {
        // The program whose state it speaks of was firmware. What may have spread may be anywhere.
        Some(state) if state != ErrorState::Uncontainable && frame.elr.wrapping_sub(start) <= 8 => {
            LEFT.add(syndrome);
            true
        }
        Some(_) => count_survivable(syndrome),
        None => false,
    }
}

/// Counts an SError with this syndrome if the kernel can go on. Fault injection makes errors too.
pub(crate) fn count_survivable(syndrome: Syndrome) -> bool {
    let survivable = syndrome.as_error().is_some_and(ErrorState::is_survivable);
    if survivable {
        SURVIVED.add(syndrome);
    }
    survivable
}

/// Says what there was.
pub(crate) fn for_each(mut say: impl FnMut(core::fmt::Arguments<'_>)) {
    if let Some((count, last)) = LEFT.all() {
        say(format_args!("left by firmware: {count} SError(s) pending at entry, the last one {last:?}"));
    }
    if let Some((count, last)) = SURVIVED.all() {
        say(format_args!("{count} SError(s) survived, the last one {last:?}"));
    }
}
