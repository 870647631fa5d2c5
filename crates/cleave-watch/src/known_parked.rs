// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs that are known to be parked: the rendezvous as seen from outside.
//!
//! A rendezvous is a promise of CPUs not to use what is about to be broken. Its words in memory are the kernel's
//! business; what the promise comes to is order. When a CPU breaks an entry of what all use, every use by another CPU
//! must have happened before: that CPU released something after its last use, and the CPU that breaks acquired it. This
//! is kept by a vector clock, one count a CPU, which goes up with each of its releases.

use std::collections::HashMap;

use cleave::tables::PhysAddr;
use cleave_model::instruction::Modifies;
use cleave_model::{Flag, MAX_CPUS};

type Clock = [u64; MAX_CPUS];

/// The actions of each CPU, and what it knows of the others.
#[derive(Debug)]
pub(crate) struct KnownParked {
    clocks: Vec<Clock>,
    flags: HashMap<u64, Clock>,
    /// The last use of the shared addresses by each CPU, in its own count.
    used: Clock,
}

impl KnownParked {
    /// Returns the state in which no CPU has done anything.
    pub(crate) fn new(cpus: usize) -> Self {
        let mut clocks = vec![[0; MAX_CPUS]; cpus];
        clocks.iter_mut().enumerate().for_each(|(cpu, clock)| clock[cpu] = 1);
        Self { clocks, flags: HashMap::new(), used: [0; MAX_CPUS] }
    }

    /// A CPU uses what is shared.
    pub(crate) fn uses(&mut self, cpu: usize) {
        self.used[cpu] = self.clocks[cpu][cpu];
    }

    /// A CPU stores a flag. One that replaces what the flag held ends what that conveyed, one that modifies it does
    /// not.
    pub(crate) fn stores(&mut self, cpu: usize, flag: PhysAddr, kind: Flag, modifies: Modifies) {
        let before = self.flags.remove(&flag.0).filter(|_| modifies == Modifies::Yes).unwrap_or_default();
        let mut conveyed = before;
        if kind == Flag::Ordered {
            join(&mut conveyed, &self.clocks[cpu]);
            self.clocks[cpu][cpu] += 1;
        }
        self.flags.insert(flag.0, conveyed);
    }

    /// A CPU acquires what a flag conveys.
    pub(crate) fn acquires(&mut self, cpu: usize, flag: PhysAddr) {
        if let Some(clock) = self.flags.get(&flag.0).copied() {
            join(&mut self.clocks[cpu], &clock);
        }
    }

    /// Returns true when `cpu` knows that the last use of `other` is over.
    pub(crate) fn knows_parked(&self, cpu: usize, other: usize) -> bool {
        cpu == other || self.clocks[cpu][other] >= self.used[other]
    }
}

fn join(into: &mut Clock, other: &Clock) {
    for (mine, theirs) in into.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAG: PhysAddr = PhysAddr(0x1000);

    #[test]
    fn a_cpu_that_acquires_a_release_knows_the_other_is_parked() {
        let mut known_parked = KnownParked::new(2);
        known_parked.uses(1);
        assert!(!known_parked.knows_parked(0, 1));
        known_parked.stores(1, FLAG, Flag::Ordered, Modifies::No);
        assert!(!known_parked.knows_parked(0, 1));
        known_parked.acquires(0, FLAG);
        assert!(known_parked.knows_parked(0, 1));
        known_parked.uses(1);
        assert!(!known_parked.knows_parked(0, 1));
    }

    #[test]
    fn a_plain_store_ends_a_release_sequence() {
        let mut known_parked = KnownParked::new(2);
        known_parked.uses(1);
        known_parked.stores(1, FLAG, Flag::Plain, Modifies::No);
        known_parked.acquires(0, FLAG);
        assert!(!known_parked.knows_parked(0, 1));
        known_parked.stores(1, FLAG, Flag::Ordered, Modifies::No);
        known_parked.stores(1, FLAG, Flag::Plain, Modifies::No);
        known_parked.acquires(0, FLAG);
        assert!(!known_parked.knows_parked(0, 1));
    }

    #[test]
    fn an_atomic_modification_continues_a_release_sequence() {
        let mut known_parked = KnownParked::new(3);
        known_parked.uses(1);
        known_parked.stores(1, FLAG, Flag::Ordered, Modifies::Yes);
        known_parked.stores(2, FLAG, Flag::Ordered, Modifies::Yes);
        known_parked.acquires(0, FLAG);
        assert!(known_parked.knows_parked(0, 1) && known_parked.knows_parked(0, 2));
    }

    #[test]
    fn a_cpu_without_any_use_counts_as_parked() {
        assert!(KnownParked::new(2).knows_parked(0, 1));
    }
}
