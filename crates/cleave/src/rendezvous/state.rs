// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of a rendezvous, in one word, so that every step is one compare-and-swap.
//!
//! Bits 63:32 hold the generation, 31:28 the phase, 13:0 the CPUs that have not arrived (in `Release`: that have not left). The
//! count goes down from the number of CPUs that the leader stops, so nothing else has to be read to know which CPU is the
//! last. A CPU that comes late finds another generation or phase, and its step does not happen.

/// The phases, in their order. After `Release`, or after an abort, comes `Idle` of the next generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No rendezvous is under way.
    Idle = 0,
    /// CPUs are being called and arrive, each with its interrupts masked.
    Gather = 1,
    /// Every CPU stands still; the leader acts.
    Run = 2,
    /// CPUs may go and are leaving.
    Release = 3,
}

/// The most CPUs a rendezvous can stop: the largest count of 14 bits.
pub const MAX_CPUS: u32 = (1 << 14) - 1;

/// The unpacked state word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    /// CPUs that have not arrived; in `Release` those that have not left.
    pub(super) missing: u32,
}

impl State {
    pub(super) const fn idle(generation: u32) -> Self {
        Self { generation, phase: Phase::Idle, missing: 0 }
    }

    /// Returns the state in which `cpus` CPUs are called.
    pub(super) const fn gather(generation: u32, cpus: u32) -> Self {
        Self { generation, phase: Phase::Gather, missing: cpus }
    }

    /// Returns the state in which `cpus` CPUs may go.
    pub(super) const fn release(generation: u32, cpus: u32) -> Self {
        Self { generation, phase: Phase::Release, missing: cpus }
    }

    #[inline(always)]
    pub(super) const fn pack(self) -> u64 {
        (self.generation as u64) << 32 | (self.phase as u64) << 28 | self.missing as u64
    }

    #[inline(always)]
    pub(super) const fn unpack(word: u64) -> Self {
        let phase = match (word >> 28) & 0xf {
            0 => Phase::Idle,
            1 => Phase::Gather,
            2 => Phase::Run,
            _ => Phase::Release,
        };
        Self { generation: (word >> 32) as u32, phase, missing: (word & MAX_CPUS as u64) as u32 }
    }

    /// Returns the state after one more CPU has arrived; the last one lets the leader run. `None` when no arrival is expected.
    pub(super) fn arrive(self) -> Option<Self> {
        let missing = self.missing.checked_sub(1).filter(|_| self.phase == Phase::Gather)?;
        let phase = if missing == 0 { Phase::Run } else { self.phase };
        Some(Self { missing, phase, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_packing() {
        for phase in [Phase::Idle, Phase::Gather, Phase::Run, Phase::Release] {
            let state = State { generation: u32::MAX, phase, missing: MAX_CPUS };
            assert_eq!(State::unpack(state.pack()), state);
        }
    }

    #[test]
    fn the_last_arrival_lets_the_leader_run() {
        let state = State::gather(7, 2).arrive().unwrap();
        assert_eq!(state.phase, Phase::Gather);
        assert_eq!(state.arrive(), Some(State { phase: Phase::Run, ..State::idle(7) }));
    }

    #[test]
    fn a_step_that_no_leader_waits_for_does_not_happen() {
        for phase in [Phase::Idle, Phase::Run, Phase::Release] {
            assert_eq!(State { phase, ..State::gather(7, 2) }.arrive(), None);
        }
        // One CPU more than the leader counted.
        assert_eq!(State::gather(7, 1).arrive().and_then(State::arrive), None);
        assert_eq!(State::gather(7, 0).arrive(), None);
    }
}
