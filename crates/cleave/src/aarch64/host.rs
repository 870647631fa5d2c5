// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts of a rendezvous for kernels without interrupts: one CPU, or a few that poll.

use super::{barrier, hint, interrupts, timer};
use crate::rendezvous::Host;

/// The host of a kernel with one CPU: there is no other to call or to wait for.
///
/// With masked interrupts nothing can keep such a rendezvous from happening, so that it counts them as enabled.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneCpu;

impl Host for OneCpu {
    type Masked = interrupts::Masked;

    #[inline(always)]
    fn send_ipi(&self) {}
    #[inline(always)]
    fn ticks(&self) -> u64 {
        timer::count()
    }
    fn pause(&self) {
        hint::yield_now();
    }
    fn wait(&self) {
        hint::yield_now();
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        true
    }
    #[inline(always)]
    fn mask_all(&self) -> Self::Masked {
        interrupts::mask_all()
    }
    #[inline(always)]
    fn isb(&self) {
        barrier::isb();
    }
}

/// The host of a kernel whose other CPUs do nothing but wait for work: each calls
/// [`Rendezvous::attend`](crate::rendezvous::Rendezvous::attend) and then [`PollingCpus::idle`], in a loop. A kick is an event.
///
/// An event sets a flag on each CPU, which the CPU's next WFE clears instead of sleeping. So an event between the look at the
/// rendezvous and the WFE is not lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct PollingCpus;

impl PollingCpus {
    /// Waits for an event; returns early for no reason at times.
    pub fn idle(self) {
        hint::wait_for_event();
    }
}

impl Host for PollingCpus {
    type Masked = interrupts::Masked;

    #[inline(always)]
    fn send_ipi(&self) {
        // SEV is ordered against no access: the state of the rendezvous is visible before a CPU is made to look at it.
        barrier::dsb_ishst();
        hint::send_event();
    }
    #[inline(always)]
    fn ticks(&self) -> u64 {
        timer::count()
    }
    fn pause(&self) {
        // No WFE: without an event stream (CNTKCTL_EL1.EVNTEN) it might sleep past the leader's deadline.
        hint::yield_now();
    }
    fn wait(&self) {
        hint::wait_for_event();
    }
    fn wake(&self) {
        // A leader in `pause` does not sleep.
    }
    fn interrupts_enabled(&self) -> bool {
        // A CPU is called by an event, which no mask keeps away.
        true
    }
    #[inline(always)]
    fn mask_all(&self) -> Self::Masked {
        interrupts::mask_all()
    }
    #[inline(always)]
    fn isb(&self) {
        barrier::isb();
    }
}
