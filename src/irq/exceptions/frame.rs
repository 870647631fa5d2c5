// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state that an exception interrupts, and where the exception came from.

use core::fmt;
use core::mem::offset_of;

use cleave::aarch64::syndrome::Syndrome;

/// The interrupted state, as the vectors store it. An interrupt's frame holds only what a function call may change:
/// x19 to x28, SP, ESR and FAR in it are leftovers.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct Frame {
    /// x0 to x30.
    pub(crate) registers: [u64; 31],
    /// The interrupted stack pointer.
    pub(crate) sp: u64,
    /// The address at which it was taken, and to which it returns.
    pub(crate) elr: u64,
    /// The interrupted PSTATE.
    pub(crate) spsr: u64,
    /// The syndrome.
    pub(crate) esr: u64,
    /// The faulting address, where ESR says there is one.
    pub(crate) far: u64,
    /// A frame record, x29 and ELR, by which a backtrace walks through the exception.
    pub(super) record: [u64; 2],
}

const _: () = assert!(size_of::<Frame>().is_multiple_of(16), "SP stays aligned");
const _: () = assert!(offset_of!(Frame, spsr) == offset_of!(Frame, elr) + 8, "stored as a pair");
const _: () = assert!(offset_of!(Frame, far) == offset_of!(Frame, esr) + 8, "stored as a pair");
const _: () = assert!(offset_of!(Frame, sp) == 31 * 8, "stored as a pair with x30");

impl Frame {
    /// Returns the syndrome.
    pub(crate) fn syndrome(&self) -> Syndrome {
        Syndrome(self.esr)
    }
}

/// The source of an exception, with the number of its vector among the 16.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// A thread, or what claims to be EL0.
    Thread(u64),
    /// An exception handler.
    Handler(u64),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Thread(vector) | Self::Handler(vector)) = *self;
        let kind = ["synchronous exception", "IRQ", "FIQ", "SError"][(vector & 3) as usize];
        let from = match vector {
            0..4 => "",
            4..8 => " in an exception handler",
            8..12 => " from EL0",
            _ => " from EL0, AArch32",
        };
        write!(f, "{kind}{from}")
    }
}
