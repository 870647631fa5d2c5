// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's only lock: a spin lock behind a guard that masks interrupts.
//!
//! A CPU that takes the rendezvous interrupt must hold no lock, or the others could wait for it for ever while it is
//! parked. So interrupts are masked before the lock is tried and come back after it is released. A CPU that waits
//! waits with the interrupts its caller had, so that it answers a rendezvous from there too.
//!
//! Only IRQ and FIQ are masked (DAIF.I and DAIF.F): an SError taken while a lock is held ends in a panic at once,
//! which is better than one reported late and somewhere else.
#![cfg(target_os = "none")]

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};

use cleave::aarch64::interrupts::{self, Masked};
use cleave::aarch64::{cpu, hint};
use cleave::tables::VirtAddr;
use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::cpu::ban::{self, Ban};
use crate::cpu::percpu::{self, PerCpu};

/// The value of [`IrqLock::owner`] while the lock is free: no CPU.
const NO_OWNER: u64 = 0;

/// Runs when a CPU has just taken a lock, interrupts masked. It does nothing, until the first instruction becomes a branch
/// ([`crate::mm::patch`]).
// SAFETY: it has no frame, and changes nothing.
#[unsafe(naked)]
#[allow(unsafe_code, reason = "a function of two instructions")]
extern "C" fn at_lock() {
    core::arch::naked_asm!("nop", "ret")
}

/// Returns the address of a NOP that each CPU executes when it has taken a lock: a branch in its place goes to a function that
/// returns to the lock.
pub(crate) fn hook_at_locks() -> VirtAddr {
    VirtAddr(at_lock as *const () as u64)
}

/// Returns a value that differs on every CPU and is never [`NO_OWNER`]. It comes from MPIDR_EL1, which is there from
/// the first instruction on, before any per-CPU block is.
fn this_cpu() -> u64 {
    cpu::mpidr() | 1 << 63
}

/// A value of type `T` that one CPU at a time can reach, with interrupts masked.
pub(crate) struct IrqLock<T> {
    name: &'static str,
    /// The CPU that holds it, for the diagnosis of a second lock by the same CPU. Only ever compared with the caller's own value, so
    /// relaxed accesses are enough.
    owner: AtomicU64,
    inner: SpinMutex<T>,
}

impl<T> IrqLock<T> {
    /// Returns a free lock; `name` is for diagnostics.
    pub(crate) const fn new(name: &'static str, value: T) -> Self {
        Self { name, owner: AtomicU64::new(NO_OWNER), inner: SpinMutex::new(value) }
    }

    /// Takes the lock, waiting for as long as it takes.
    ///
    /// # Panics
    /// When this CPU holds it already, and inside the stop window.
    #[track_caller]
    pub(crate) fn lock(&self) -> IrqGuard<'_, T> {
        ban::check(Ban::Lock);
        loop {
            if let Some(guard) = self.attempt() {
                return guard;
            }
            assert!(!self.is_mine(), "CPU {:#x} takes the lock \"{}\" twice", cpu::mpidr(), self.name);
            // Here the caller's interrupts are back: a waiting CPU takes the rendezvous interrupt. YIELD, and not the ISB
            // of `core::hint::spin_loop`: an emulator that runs all CPUs in one thread goes on to the next one at a
            // YIELD, and would otherwise spend its whole time slice here.
            while self.inner.is_locked() {
                hint::yield_now();
            }
        }
    }

    /// Takes the lock on the path of a panic or a fault: tries until `give_up` returns true, does not check the ban,
    /// never panics, and gives up at once if this CPU itself holds the lock.
    pub(crate) fn emergency_lock(&self, mut give_up: impl FnMut() -> bool) -> Option<IrqGuard<'_, T>> {
        loop {
            if let Some(guard) = self.attempt() {
                return Some(guard);
            }
            if self.is_mine() || give_up() {
                return None;
            }
            hint::yield_now();
        }
    }

    /// Masks interrupts and tries to take the lock once; restores the mask if another CPU holds it.
    #[inline]
    fn attempt(&self) -> Option<IrqGuard<'_, T>> {
        let masked = interrupts::mask();
        let inner = self.inner.try_lock()?;
        self.owner.store(this_cpu(), Ordering::Relaxed);
        let held = Held::count();
        if held.by.is_some() {
            at_lock();
        }
        Some(IrqGuard { owner: &self.owner, inner, _held: held, _masked: masked })
    }

    /// Returns true when this CPU holds the lock.
    fn is_mine(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == this_cpu()
    }
}

impl<T> fmt::Debug for IrqLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IrqLock({:?}, {})", self.name, if self.inner.is_locked() { "held" } else { "free" })
    }
}

/// The lock, held. Dropping it releases the lock first and gives the interrupts back after that.
pub(crate) struct IrqGuard<'a, T> {
    owner: &'a AtomicU64,
    // Fields are dropped in this order: the lock, the count of held locks, the interrupts. An interrupt taken before the
    // release therefore finds the lock counted, and `handle_irq` says so.
    inner: SpinMutexGuard<'a, T>,
    _held: Held,
    _masked: Masked,
}

impl<T> Drop for IrqGuard<'_, T> {
    fn drop(&mut self) {
        // Before the release, or the next owner's name could be wiped out.
        self.owner.store(NO_OWNER, Ordering::Relaxed);
    }
}

/// One lock in the count of those that a CPU holds; dropping it takes the lock out of the count.
struct Held {
    /// The CPU that counted it; `None` before that CPU has a per-CPU block.
    by: Option<&'static PerCpu>,
}

impl Held {
    /// Counts a lock that this CPU has just taken, interrupts masked: the guard stays on this CPU.
    fn count() -> Self {
        let by = percpu::try_this_cpu();
        if let Some(cpu) = by {
            cpu.state.locks.fetch_add(1, Ordering::Relaxed);
        }
        Self { by }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(cpu) = self.by {
            cpu.state.locks.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<T> Deref for IrqGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for IrqGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
