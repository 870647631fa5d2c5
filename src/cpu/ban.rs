// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ban between a CPU's arrival in a rendezvous and its release.
//!
//! From its own arrival until the release a CPU may not allocate, free, take a lock, log or touch the linear map:
//! the map is broken, and another CPU may be parked in the middle of the data that the lock protects. The broken map
//! traps its own accesses; this guard traps the other four. The code of each calls [`check`] first, which costs a
//! load and a branch and is therefore always compiled in.
//!
//! The state is a flag in each per-CPU block, which only its own CPU writes and reads, in program order: relaxed accesses are
//! enough. Before a CPU has its block there is no rendezvous it could be in.
//! The emergency path of the console does not call [`check`], so that a CPU can report from inside the window.

#![cfg(target_os = "none")]

use core::fmt;
use core::sync::atomic::Ordering;

use crate::cpu::percpu;

/// An act that is banned for a CPU between its arrival and its release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ban {
    /// Taking memory from the heap or the frame allocator.
    Allocation,
    /// Giving memory back.
    Free,
    /// Taking a lock, by trying as well.
    Lock,
    /// Writing a record to the log or a line to the console.
    Log,
    /// Touching the linear map through one of the kernel's own accessors.
    LinearMap,
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allocation => "allocation",
            Self::Free => "free",
            Self::Lock => "lock",
            Self::Log => "log",
            Self::LinearMap => "linear-map access",
        })
    }
}

/// Begins the ban for this CPU.
#[inline]
pub(crate) fn enter() {
    if let Some(cpu) = percpu::try_this_cpu() {
        cpu.in_rendezvous.store(true, Ordering::Relaxed);
    }
}

/// Ends the ban for this CPU.
#[inline]
pub(crate) fn leave() {
    if let Some(cpu) = percpu::try_this_cpu() {
        cpu.in_rendezvous.store(false, Ordering::Relaxed);
    }
}

/// Checks that this CPU may do what `ban` names, before it does.
///
/// # Panics
/// Inside the window: a broken invariant of the kernel, even where the access would have done no harm.
#[inline]
#[track_caller]
pub(crate) fn check(ban: Ban) {
    if let Some(cpu) = percpu::try_this_cpu()
        && cpu.in_rendezvous.load(Ordering::Relaxed)
    {
        // The panic's own path takes no lock and allocates nothing; leaving the ban lets the code that it calls in
        // passing do either.
        cpu.in_rendezvous.store(false, Ordering::Relaxed);
        violated(ban, cpu.id);
    }
}

/// Panics, out of line, so that the check itself stays small.
#[cold]
#[inline(never)]
#[track_caller]
fn violated(ban: Ban, cpu: usize) -> ! {
    panic!("{ban} inside the stop window on CPU {cpu}")
}
