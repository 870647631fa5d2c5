// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses that are allowed to fault: probes of memory that may not be mapped, the self-test's, a device that may not be there.
//!
//! The accesses stand between two labels, alone but for instructions that take no data abort. The handler puts ESR_EL1 into the
//! interrupted x1 and goes on behind the access. It takes no lock and allocates nothing, and a data abort is taken whether or
//! not interrupts are masked: so a probe may be made anywhere, in the stop window too. The emergency stack is the exception, on
//! which no fault is survived (`boot/vectors.S`).
#![allow(unsafe_code, reason = "accesses of their own, in assembly")]

use core::arch::global_asm;
use core::fmt;

use cleave::aarch64::interrupts;
use cleave::aarch64::syndrome::{Class, Syndrome};
use cleave::tables::VirtAddr;

use super::frame::Frame;
use crate::mm::layout::{AREA_BYTES, DEVICE_AREA};

global_asm!(
    "    .section .text.cleave_expected, \"ax\", %progbits",
    "    .balign 4",
    "    .global cleave_expected_begin",
    "cleave_expected_begin:",
    // x0: the address. Each returns the value in x0 and, in x1, zero, or ESR_EL1 from the handler.
    "    .type cleave_expected_load1, %function",
    "cleave_expected_load1:",
    "    mov     x1, xzr",
    "    ldrb    w0, [x0]",
    "    ret",
    "    .type cleave_expected_load2, %function",
    "cleave_expected_load2:",
    "    mov     x1, xzr",
    "    ldrh    w0, [x0]",
    "    ret",
    "    .type cleave_expected_load4, %function",
    "cleave_expected_load4:",
    "    mov     x1, xzr",
    "    ldr     w0, [x0]",
    "    ret",
    "    .type cleave_expected_load8, %function",
    "cleave_expected_load8:",
    "    mov     x1, xzr",
    "    ldr     x0, [x0]",
    "    ret",
    // x0: the address; x1: the value.
    "    .type cleave_expected_store1, %function",
    "cleave_expected_store1:",
    "    mov     x2, x1",
    "    mov     x1, xzr",
    "    strb    w2, [x0]",
    "    ret",
    "    .type cleave_expected_store2, %function",
    "cleave_expected_store2:",
    "    mov     x2, x1",
    "    mov     x1, xzr",
    "    strh    w2, [x0]",
    "    ret",
    "    .type cleave_expected_store4, %function",
    "cleave_expected_store4:",
    "    mov     x2, x1",
    "    mov     x1, xzr",
    "    str     w2, [x0]",
    "    ret",
    "    .type cleave_expected_store8, %function",
    "cleave_expected_store8:",
    "    mov     x2, x1",
    "    mov     x1, xzr",
    "    str     x2, [x0]",
    "    ret",
    // x0: the address of a device's 32-bit register.
    "    .type cleave_expected_read, %function",
    "cleave_expected_read:",
    "    mov     x1, xzr",
    "    ldr     w0, [x0]",
    // DSB SY: the device has answered; an abort that is not synchronous is on its way to this CPU as an SError.
    "    dsb     sy",
    // ISB: what follows, a look at ISR_EL1 say, comes behind the answer.
    "    isb",
    "    ret",
    "    .global cleave_expected_end",
    "cleave_expected_end:",
    "    .global cleave_expected_load1",
    "    .global cleave_expected_load2",
    "    .global cleave_expected_load4",
    "    .global cleave_expected_load8",
    "    .global cleave_expected_store1",
    "    .global cleave_expected_store2",
    "    .global cleave_expected_store4",
    "    .global cleave_expected_store8",
    "    .global cleave_expected_read",
    "    .text",
);

/// The two registers a pair comes back in (AAPCS64, 6.9).
#[repr(C)]
struct Answer {
    value: u64,
    syndrome: u64,
}

type Load = unsafe extern "C" fn(u64) -> Answer;
type Store = unsafe extern "C" fn(u64, u64) -> Answer;

unsafe extern "C" {
    fn cleave_expected_load1(address: u64) -> Answer;
    fn cleave_expected_load2(address: u64) -> Answer;
    fn cleave_expected_load4(address: u64) -> Answer;
    fn cleave_expected_load8(address: u64) -> Answer;
    fn cleave_expected_store1(address: u64, value: u64) -> Answer;
    fn cleave_expected_store2(address: u64, value: u64) -> Answer;
    fn cleave_expected_store4(address: u64, value: u64) -> Answer;
    fn cleave_expected_store8(address: u64, value: u64) -> Answer;
    fn cleave_expected_read(address: u64) -> Answer;
    fn cleave_expected_begin();
    fn cleave_expected_end();
}

impl Answer {
    fn value(self) -> Result<u64, Syndrome> {
        if self.syndrome == 0 { Ok(self.value) } else { Err(Syndrome(self.syndrome)) }
    }
}

/// The reason that a probe ended before its last byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProbeError {
    /// The access faulted.
    Fault(Syndrome),
    /// The address is a device's, whose registers an access may change.
    Device,
}

/// A probe that did not get to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProbeFailed {
    /// The bytes that were copied before it.
    pub(crate) done: usize,
    /// The address of the access that failed.
    pub(crate) address: VirtAddr,
    /// The reason.
    pub(crate) error: ProbeError,
}

impl fmt::Display for ProbeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            ProbeError::Fault(syndrome) => match syndrome.as_abort() {
                Some(abort) => write!(f, "{}", abort.status)?,
                None => write!(f, "{syndrome}")?,
            },
            ProbeError::Device => f.write_str("a device, which is not probed,")?,
        }
        write!(f, " at {}", self.address)
    }
}

/// Copies the bytes from `from` on into `to`. Each access is aligned and of one to eight bytes, so that none crosses a page, and
/// a word that is aligned and whole is read at once.
///
/// # Errors
/// [`ProbeFailed`], with the bytes before it in `to`.
pub(crate) fn probe_read(from: VirtAddr, to: &mut [u8]) -> Result<(), ProbeFailed> {
    each_access(from, to.len(), |address, bytes| {
        let load: Load = match bytes.len() {
            1 => cleave_expected_load1,
            2 => cleave_expected_load2,
            4 => cleave_expected_load4,
            _ => cleave_expected_load8,
        };
        // SAFETY: an aligned load of what is no device changes nothing; where it faults, `skips` goes on behind it.
        let value = unsafe { load(address) }.value()?.to_le_bytes();
        to[bytes.clone()].copy_from_slice(&value[..bytes.len()]);
        Ok(())
    })
}

/// Copies `from` to the bytes from `to` on, as [`probe_read`] reads them.
///
/// # Errors
/// [`ProbeFailed`], with the bytes before it written.
///
/// # Safety
/// Those bytes that can be written may be: no code relies on what they held.
pub(crate) unsafe fn probe_write(to: VirtAddr, from: &[u8]) -> Result<(), ProbeFailed> {
    each_access(to, from.len(), |address, bytes| {
        let store: Store = match bytes.len() {
            1 => cleave_expected_store1,
            2 => cleave_expected_store2,
            4 => cleave_expected_store4,
            _ => cleave_expected_store8,
        };
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(&from[bytes]);
        // SAFETY: an aligned store to what the caller may overwrite; where it faults, `skips` goes on behind it.
        unsafe { store(address, u64::from_le_bytes(value)) }.value().map(drop)
    })
}

/// Calls `access` for each aligned piece of the `length` bytes from `start` on: its address, and the bytes it is.
fn each_access(
    start: VirtAddr,
    length: usize,
    mut access: impl FnMut(u64, core::ops::Range<usize>) -> Result<(), Syndrome>,
) -> Result<(), ProbeFailed> {
    let mut done = 0;
    while done < length {
        let address = VirtAddr(start.0.wrapping_add(done as u64));
        // The largest power of two up to 8 by which the address is aligned and that is left.
        let bytes = 1 << address.0.trailing_zeros().min((length - done).ilog2()).min(3);
        let failed = |error| ProbeFailed { done, address, error };
        if address.0.wrapping_sub(DEVICE_AREA) < AREA_BYTES {
            return Err(failed(ProbeError::Device));
        }
        access(address.0, done..done + bytes).map_err(|syndrome| failed(ProbeError::Fault(syndrome)))?;
        done += bytes;
    }
    Ok(())
}

/// Loads the 64-bit word at `address`; `None` if the load faulted.
pub(crate) fn faulting_load(address: VirtAddr) -> Option<u64> {
    // SAFETY: an aligned load changes nothing; where it faults, `skips` goes on behind it.
    unsafe { cleave_expected_load8(address.0) }.value().ok()
}

/// Reads the 32-bit register of a device that may not be there; `None` if nothing answered. An interconnect may report
/// the read by SError: it is masked meanwhile, and stays pending.
pub(crate) fn faulting_read(address: VirtAddr) -> Option<u32> {
    let _masked = interrupts::mask_all();
    let before = interrupts::error_is_pending();
    // SAFETY: the caller's device is mapped as such, or the read faults, and `skips` goes on behind it.
    let found = unsafe { cleave_expected_read(address.0) }.value().ok();
    // One that was pending before says nothing of this read, and hides what this read has to say.
    let failed = !before && interrupts::error_is_pending();
    found.filter(|_| !failed).map(|value| value as u32)
}

/// Lets an access of this module go on when `frame` is its data abort; false for any other exception.
pub(super) fn skips(frame: &mut Frame) -> bool {
    let accesses = cleave_expected_begin as *const () as u64..cleave_expected_end as *const () as u64;
    if !accesses.contains(&frame.elr) || !matches!(frame.syndrome().class(), Class::DataAbort(_)) {
        return false;
    }
    frame.registers[1] = frame.esr;
    frame.elr += 4;
    true
}
