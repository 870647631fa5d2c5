// SPDX-License-Identifier: MIT OR Apache-2.0
//! The check of secret frames: a pattern that comes back through the temporary page, and loads through the linear map that fault.
#![cfg(target_os = "none")]

use cleave::tables::FRAME_SIZE;

use crate::check::{inject, watch};
use crate::irq::exceptions::probe_read;
use crate::mm::memory;
use crate::mm::secret::{SecretError, SecretFrame};
use crate::options::{self, Fault};

/// A property that a secret frame lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leak {
    /// It does not hold what was written to it.
    Changed,
    /// It holds something when it is taken.
    NotWiped,
    /// A load through the linear map goes through.
    Mapped,
}

impl core::fmt::Display for Leak {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Changed => "it does not hold what was written",
            Self::NotWiped => "it was not wiped",
            Self::Mapped => "a load through the linear map goes through",
        })
    }
}

/// Takes a frame that must hold zeros, writes a pattern of its own and reads it back, each by a mapping of its own; gives the
/// frame back and takes one that must hold zeros again. A load through the linear map must fault before, between and after.
///
/// # Errors
/// The first [`Leak`].
pub(crate) fn take() -> Result<Result<SecretFrame, Leak>, SecretError> {
    let mut used = SecretFrame::take(watch::change)?;
    if let Err(leak) = check(&mut used) {
        return Ok(Err(leak));
    }
    // The lowest frame of the first batch that has one: the same.
    drop(used);
    let mut frame = SecretFrame::take(watch::change)?;
    Ok(check(&mut frame).map(|()| frame))
}

fn check(frame: &mut SecretFrame) -> Result<(), Leak> {
    let seed = frame.physical().0 / FRAME_SIZE;
    let pattern = |place: usize| (seed ^ seed >> 8 ^ (place as u64).wrapping_mul(151)) as u8;
    is_out(frame)?;
    if frame.with(|bytes| bytes.iter().any(|&byte| byte != 0)) {
        return Err(Leak::NotWiped);
    }
    frame.with(|bytes| bytes.iter_mut().enumerate().for_each(|(place, byte)| *byte = pattern(place)));
    is_out(frame)?;
    if frame.with(|bytes| bytes.iter().enumerate().any(|(place, &byte)| byte != pattern(place))) {
        return Err(Leak::Changed);
    }
    is_out(frame)
}

fn is_out(frame: &SecretFrame) -> Result<(), Leak> {
    match probe_read(memory::linear(frame.physical()), &mut [0]) {
        Err(_) => Ok(()),
        Ok(()) => Err(Leak::Mapped),
    }
}

/// Loads from a secret frame through the linear map, which ends the run: `fault=secret.touch`.
pub(crate) fn touch() {
    if options::current().injects(Fault::SecretTouch) {
        let frame = SecretFrame::take(watch::change).unwrap_or_else(|error| panic!("fault: {error}"));
        inject::load(memory::linear(frame.physical()));
    }
}
