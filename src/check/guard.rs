//! The guard for the ban inside the rendezvous window.
//!
//! From its own arrival until the release a CPU may not allocate, free, take a lock, log or touch the linear map:
//! the map is broken, and another CPU may be parked in the middle of whatever the lock protects. The broken map traps
//! its own accesses; this guard traps the other four. Each of those rooms calls [`check`] first, which costs a load
//! and a branch and is therefore always compiled in.
//!
//! The state is one [`Window`] in each per-CPU block. Before a CPU has its block there is no window it could be in.
//! The emergency path of the console asks nobody, so that a CPU can report from inside the window.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "none")]
use crate::cpu::percpu;

/// What a CPU may not do between its arrival and the release.
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

/// Whether one CPU is between its arrival in a rendezvous and the release: a field of its per-CPU block.
///
/// Only its own CPU writes and reads it, in program order, so relaxed accesses are enough.
#[derive(Debug, Default)]
pub(crate) struct Window(AtomicBool);

impl Window {
    /// Outside.
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// True from [`Window::enter`] to [`Window::leave`].
    pub(crate) fn is_inside(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The CPU has arrived.
    pub(crate) fn enter(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The CPU has seen the release, or the abort.
    pub(crate) fn leave(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The ban holds for this CPU from here on.
#[cfg(target_os = "none")]
#[inline]
pub(crate) fn enter() {
    if let Some(cpu) = percpu::try_this_cpu() {
        cpu.window.enter();
    }
}

/// The ban ends for this CPU.
#[cfg(target_os = "none")]
#[inline]
pub(crate) fn leave() {
    if let Some(cpu) = percpu::try_this_cpu() {
        cpu.window.leave();
    }
}

/// Says that this CPU is about to do what `ban` names.
///
/// # Panics
/// Inside the window: a broken invariant of the kernel, whatever would have come of it.
#[cfg(target_os = "none")]
#[inline]
#[track_caller]
pub(crate) fn check(ban: Ban) {
    if let Some(cpu) = percpu::try_this_cpu()
        && cpu.window.is_inside()
    {
        // The panic's own path takes no lock and allocates nothing; leaving lets whatever it calls in passing be.
        cpu.window.leave();
        violated(ban, cpu.id);
    }
}

/// Out of line, so that the check itself stays small.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
#[track_caller]
fn violated(ban: Ban, cpu: usize) -> ! {
    panic!("{ban} inside the rendezvous window on CPU {cpu}")
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;

    #[test]
    fn a_window_is_inside_only_between_enter_and_leave() {
        let window = Window::new();
        assert!(!window.is_inside());
        window.enter();
        assert!(window.is_inside());
        window.leave();
        assert!(!window.is_inside());
    }

    #[test]
    fn the_text_of_a_ban_starts_the_sentence_the_tests_look_for() {
        let text = format!("{} inside the rendezvous window on CPU {}", Ban::Allocation, 3);
        assert_eq!(text, "allocation inside the rendezvous window on CPU 3");
    }
}
