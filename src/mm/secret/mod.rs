// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secret frames: memory that no CPU reaches through the linear map, not by speculation either.
//!
//! Frames leave the map in batches of adjacent ones, by one change of the map each. A frame is taken out of a batch that has
//! left already and put back into it, and neither takes an invalidation. What a frame holds is reached through a temporary page,
//! and wiped before the frame is put back.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a temporary page becomes a slice")]

mod batch;

use core::fmt;

use cleave::linear_map::{Change, ChangeError, Changed};
use cleave::tables::{FRAME_SIZE, FrameSource, PhysAddr, PhysRange, VirtAddr};

use crate::mm::memory;
use crate::mm::repaint::Refusal;
use crate::mm::temporary_page;

pub(crate) use batch::overlaps;

/// Makes a change of the linear map. Passed from above.
pub(crate) type MakeChange = fn(Change, &[PhysRange]) -> Result<(Changed, u64), Refusal>;

/// The reason that there is no secret frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SecretError {
    /// The map did not change.
    Refused(Refusal),
    /// There are not enough adjacent free frames.
    NoFrames,
    /// There are as many as there may be.
    TooMany,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NoFrames => write!(f, "there are no {} adjacent free frames", batch::FRAMES),
            Self::TooMany => write!(f, "all of {} secret frames are in use", batch::FRAMES * batch::BATCHES as u64),
        }
    }
}

/// A frame that is out of the linear map, this owner's alone. Dropping it wipes it and puts it back into its batch.
#[derive(Debug)]
pub(crate) struct SecretFrame(PhysAddr);

impl SecretFrame {
    /// Takes a frame. When no batch has one, another batch leaves the linear map first.
    ///
    /// # Errors
    /// [`SecretError`]; nothing has changed then.
    pub(crate) fn take(change: MakeChange) -> Result<Self, SecretError> {
        loop {
            if let Some(frame) = batch::take() {
                return Ok(Self(frame));
            }
            add_batch(change)?;
        }
    }

    /// Returns its physical address.
    pub(crate) fn physical(&self) -> PhysAddr {
        self.0
    }

    /// Calls `work` with what the frame holds, everything masked: it should be short, and panic nowhere.
    pub(crate) fn with<T>(&mut self, work: impl FnOnce(&mut [u8; FRAME_SIZE as usize]) -> T) -> T {
        // SAFETY: the frame is this owner's, borrowed as mutable.
        unsafe { with(self.0, work) }
    }
}

/// Calls `work` with what `frame` holds.
///
/// # Safety
/// No other code has a reference to it meanwhile.
unsafe fn with<T>(frame: PhysAddr, work: impl FnOnce(&mut [u8; FRAME_SIZE as usize]) -> T) -> T {
    temporary_page::with(frame, |page: VirtAddr| {
        // SAFETY: the frame is mapped there, readable and writable, for as long as this runs; the rest is the caller's promise.
        work(unsafe { &mut *(page.0 as *mut [u8; FRAME_SIZE as usize]) })
    })
}

impl Drop for SecretFrame {
    fn drop(&mut self) {
        self.with(wipe);
        batch::put(self.0);
    }
}

/// Zeroes what a frame holds. The black box keeps stores that no code reads again.
fn wipe(bytes: &mut [u8; FRAME_SIZE as usize]) {
    bytes.fill(0);
    core::hint::black_box(bytes);
}

/// Takes a batch of free frames out of the linear map.
fn add_batch(change: MakeChange) -> Result<(), SecretError> {
    /// The number of ranges that are tried, should another CPU take frames of one in between.
    const ATTEMPTS: u32 = 3;
    let batch = batch::claim_room().ok_or(SecretError::TooMany)?;
    let mut attempts = 1;
    let range = loop {
        let Some(range) = free_range() else { break Err(SecretError::NoFrames) };
        match change(Change::Unmap, &[range]) {
            Ok(_) => break Ok(range),
            Err(Refusal::Change(ChangeError::InUse(_))) if attempts < ATTEMPTS => attempts += 1,
            Err(refusal) => break Err(SecretError::Refused(refusal)),
        }
    };
    let range = range.inspect_err(|_| batch.empty())?;
    // A secret frame holds zeros when it is taken.
    // SAFETY: the frames are out of the allocator and of the map, and in no batch yet.
    each_frame(range).for_each(|frame| unsafe { with(frame, wipe) });
    batch.fill(range);
    Ok(())
}

/// Returns adjacent frames that are free at the moment: a change of the map takes frames out of the allocator itself.
fn free_range() -> Option<PhysRange> {
    let mut frames = memory::frames();
    let range = frames.allocate_adjacent(batch::FRAMES)?;
    each_frame(range).for_each(|frame| frames.free(frame));
    Some(range)
}

fn each_frame(range: PhysRange) -> impl Iterator<Item = PhysAddr> {
    (range.start.0..range.end.0).step_by(FRAME_SIZE as usize).map(PhysAddr)
}

/// Puts each batch without a frame in use back into the linear map, and returns how many there were.
///
/// # Errors
/// As a change of the map: that batch and those behind it stay as they are.
pub(crate) fn return_batches(change: MakeChange) -> Result<u64, Refusal> {
    let mut returned = 0;
    for batch in batch::all() {
        let Some(range) = batch.claim() else { continue };
        if let Err(refusal) = change(Change::Map, &[range]) {
            batch.fill(range);
            return Err(refusal);
        }
        batch.empty();
        returned += 1;
    }
    Ok(returned)
}
