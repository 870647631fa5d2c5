//! The state of a rendezvous, in one word, so that every step is one compare-and-swap.
//!
//! Bits 63:32 generation, 31:28 phase, 27:14 CPUs arrived, 13:0 CPUs masked (in `Release`: CPUs not yet gone). A CPU
//! that comes late finds another generation or phase and its step simply does not happen.

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
    pub(super) arrived: u32,
    pub(super) masked: u32,
}

impl State {
    pub(super) const fn idle(generation: u32) -> Self {
        Self { generation, phase: Phase::Idle, arrived: 0, masked: 0 }
    }

    #[inline(always)]
    pub(super) const fn pack(self) -> u64 {
        (self.generation as u64) << 32 | (self.phase as u64) << 28 | (self.arrived as u64) << 14 | self.masked as u64
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
            arrived: ((word >> 14) & count) as u32,
            masked: (word & count) as u32,
        }
    }

    /// One more CPU has arrived; the last of `expected` ends the gathering.
    pub(super) const fn arrive(self, expected: u32) -> Self {
        let arrived = self.arrived + 1;
        let phase = if arrived == expected { Phase::Masked } else { self.phase };
        Self { arrived, phase, ..self }
    }

    /// One more CPU has its interrupts masked; the last of `expected` lets the leader run.
    pub(super) const fn mask(self, expected: u32) -> Self {
        let masked = self.masked + 1;
        let phase = if masked == expected { Phase::Run } else { self.phase };
        Self { masked, phase, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_packing() {
        for phase in [Phase::Idle, Phase::Gather, Phase::Masked, Phase::Run, Phase::Release] {
            let state = State { generation: u32::MAX, phase, arrived: MAX_CPUS, masked: MAX_CPUS - 1 };
            assert_eq!(State::unpack(state.pack()), state);
        }
    }

    #[test]
    fn the_last_arrival_and_the_last_mask_advance_the_phase() {
        let mut state = State { phase: Phase::Gather, ..State::idle(7) };
        state = state.arrive(2).mask(2);
        assert_eq!(state.phase, Phase::Gather);
        state = state.arrive(2);
        assert_eq!(state.phase, Phase::Masked);
        assert_eq!(state.mask(2).phase, Phase::Run);
    }
}
