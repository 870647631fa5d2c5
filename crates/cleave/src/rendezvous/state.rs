// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of a rendezvous, in one word, so that every step is one compare-and-swap.
//!
//! Bits 63:32 generation, 31:28 phase, 27:14 CPUs that have not arrived, 13:0 CPUs that have not masked their interrupts (in
//! `Release`: CPUs that have not left). Both counts go down from the number of CPUs that the leader expects, so that
//! number is in the word as well, and nothing else has to be read to know which CPU is the last. A CPU that comes late
//! finds another generation or phase, and its step does not happen.

/// The phases, in their order. After `Release`, or after an abort, comes `Idle` of the next generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing under way.
    Idle = 0,
    /// CPUs are being called and arrive.
    Gather = 1,
    /// All have arrived; not all have masked their interrupts yet.
    Masked = 2,
    /// All stand still; the leader acts.
    Run = 3,
    /// CPUs may go and are leaving.
    Release = 4,
}

/// How many CPUs a rendezvous can hold: what 14 bits count.
pub const MAX_CPUS: u32 = (1 << 14) - 1;

/// The unpacked state word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) absent: u32,
    pub(super) unmasked: u32,
}

impl State {
    pub(super) const fn idle(generation: u32) -> Self {
        Self { generation, phase: Phase::Idle, absent: 0, unmasked: 0 }
    }

    /// Returns the state in which `cpus` CPUs are called.
    pub(super) const fn gather(generation: u32, cpus: u32) -> Self {
        Self { generation, phase: Phase::Gather, absent: cpus, unmasked: cpus }
    }

    /// Returns the state in which `cpus` CPUs may go.
    pub(super) const fn release(generation: u32, cpus: u32) -> Self {
        Self { generation, phase: Phase::Release, absent: 0, unmasked: cpus }
    }

    #[inline(always)]
    pub(super) const fn pack(self) -> u64 {
        (self.generation as u64) << 32 | (self.phase as u64) << 28 | (self.absent as u64) << 14 | self.unmasked as u64
    }

    #[inline(always)]
    pub(super) const fn unpack(word: u64) -> Self {
        let phase = match (word >> 28) & 0xf {
            0 => Phase::Idle,
            1 => Phase::Gather,
            2 => Phase::Masked,
            3 => Phase::Run,
            _ => Phase::Release,
        };
        let count = MAX_CPUS as u64;
        Self {
            generation: (word >> 32) as u32,
            phase,
            absent: ((word >> 14) & count) as u32,
            unmasked: (word & count) as u32,
        }
    }

    /// Returns the state after one more CPU has arrived; the last one ends the gathering. `None` when no arrival is expected.
    pub(super) fn arrive(self) -> Option<Self> {
        let absent = self.absent.checked_sub(1).filter(|_| self.phase == Phase::Gather)?;
        let phase = if absent == 0 { Phase::Masked } else { self.phase };
        Some(Self { absent, phase, ..self })
    }

    /// Returns the state after one more CPU has its interrupts masked; the last one lets the leader run. `None` when that is
    /// not expected.
    pub(super) fn mask(self) -> Option<Self> {
        let gathering = matches!(self.phase, Phase::Gather | Phase::Masked);
        let unmasked = self.unmasked.checked_sub(1).filter(|_| gathering)?;
        let phase = if unmasked == 0 { Phase::Run } else { self.phase };
        Some(Self { unmasked, phase, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_packing() {
        for phase in [Phase::Idle, Phase::Gather, Phase::Masked, Phase::Run, Phase::Release] {
            let state = State { generation: u32::MAX, phase, absent: MAX_CPUS, unmasked: MAX_CPUS - 1 };
            assert_eq!(State::unpack(state.pack()), state);
        }
    }

    #[test]
    fn the_last_arrival_and_the_last_mask_advance_the_phase() {
        let state = State::gather(7, 2).arrive().and_then(State::mask).unwrap();
        assert_eq!(state.phase, Phase::Gather);
        let state = state.arrive().unwrap();
        assert_eq!(state.phase, Phase::Masked);
        assert_eq!(state.mask(), Some(State { phase: Phase::Run, ..State::idle(7) }));
    }

    #[test]
    fn a_step_that_no_leader_waits_for_does_not_happen() {
        for phase in [Phase::Idle, Phase::Run, Phase::Release] {
            let state = State { phase, ..State::gather(7, 2) };
            assert_eq!((state.arrive(), state.mask()), (None, None));
        }
        // One CPU more than the leader counted.
        assert_eq!(State::gather(7, 1).arrive().and_then(State::arrive), None);
        assert_eq!(State::gather(7, 0).arrive(), None);
    }
}
