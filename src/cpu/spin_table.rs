// SPDX-License-Identifier: MIT OR Apache-2.0
//! The spin-table enable method, for CPUs that wait on a release word in memory (Devicetree Specification v0.4, section
//! 3.8.1; Linux's arm64 booting document): each CPU's record joins a chain, then its word gets the entry point.
//!
//! A waiting CPU has its MMU and caches off, so all it reads was cleaned to the point of coherency first: its record, the
//! chain it is found by, and the release word. Nothing is left behind that it would have to read later.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "the release word is named by its address")]

use core::fmt;
use core::sync::atomic::Ordering;

use cleave::aarch64::{cache, hint};
use cleave::tables::{PhysAddr, PhysRange, VirtAddr};

use crate::boot::{SPIN_TABLE_RECORDS, SecondaryBoot, spin_table_entry};
use crate::cpu::smp::RecordPlace;
use crate::mm::image;
use crate::mm::memory;

/// Bytes of a release word: the specification's are 64 bits on every 64-bit machine.
const WORD: u64 = 8;

/// An error that keeps a CPU from being released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReleaseError {
    /// The word is no multiple of 8.
    Misaligned(PhysAddr),
    /// The word is not in memory that the linear map has.
    NotMapped(PhysAddr),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misaligned(word) => write!(f, "its release address {word} is no multiple of {WORD}"),
            Self::NotMapped(word) => write!(f, "its release address {word} is not in memory that may be mapped"),
        }
    }
}

impl core::error::Error for ReleaseError {}

/// Puts the record at the head of the chain.
pub(crate) fn enlist(record: RecordPlace) {
    let head = SPIN_TABLE_RECORDS.load(Ordering::Relaxed);
    let at = record.address.0 as *mut SecondaryBoot;
    // SAFETY: written just now by `smp::prepare`, mapped for good; its CPU was not released yet.
    unsafe { (&raw mut (*at).next).write(head) };
    // The record is whole in memory before the chain leads to it: the clean ends with a DSB.
    cache::clean(record.address..record.address.offset(size_of::<SecondaryBoot>() as u64));
    // Only the boot CPU starts others: a plain load and store do.
    SPIN_TABLE_RECORDS.store(record.physical.0, Ordering::Relaxed);
    let word = VirtAddr(SPIN_TABLE_RECORDS.as_ptr() as u64);
    cache::clean(word..word.offset(WORD));
}

/// Writes the entry point into the release word at `word`, and wakes the CPU that waits on it.
///
/// # Errors
/// [`ReleaseError`].
pub(crate) fn release(word: PhysAddr) -> Result<(), ReleaseError> {
    if !word.0.is_multiple_of(WORD) {
        return Err(ReleaseError::Misaligned(word));
    }
    let range = PhysRange::new(word, PhysAddr(word.0.saturating_add(WORD)));
    if !memory::layout().regions().iter().any(|region| region.contains_range(range)) {
        return Err(ReleaseError::NotMapped(word));
    }
    let address = memory::linear(word);
    // SAFETY: in the linear map, as checked, which no CPU changes while CPUs start; aligned; its page is reserved, so
    // that nothing of ours is there. Volatile: a CPU that the compiler does not know reads it.
    unsafe { (address.0 as *mut u64).write_volatile(image::physical(spin_table_entry()).0) };
    // To the point of coherency, where a CPU with its caches off reads. The DSB SY that ends it completes the clean, and
    // so the store, before the event: a CPU that wakes sees the address or sleeps on and is woken by this one.
    cache::clean(address..address.offset(WORD));
    hint::send_event();
    Ok(())
}
