// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of the executing CPU.
//!
//! QEMU tells a plugin the number of the CPU that *translated* a block, and with all CPUs in one thread the others
//! execute that block too. So the CPU is known by a register. With EL2 there is VMPIDR_EL2, which QEMU resets to the
//! CPU's own affinity and which a kernel copies from there. Without it there is TPIDR_EL1, where a kernel keeps what is
//! each CPU's own: zero from reset until the kernel sets it, so that of the CPUs whose register is still zero the last
//! one that was started is meant. If two were on their way at once they could not be told apart; then the record is of
//! no use, and says so.

/// A CPU's number, by the order of their first instructions.
pub(crate) type Cpu = u8;

/// A register that tells CPUs apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// VMPIDR_EL2: right from the first instruction on.
    Affinity(u64),
    /// TPIDR_EL1: zero at first.
    Thread(u64),
}

/// A firmware call that starts a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Call {
    number: u32,
    entry: u64,
    context: u64,
}

/// The registers of the CPUs as they are known.
#[derive(Debug, Default)]
pub(crate) struct CpuIdentities {
    /// The mark of each CPU that has one.
    marks: Vec<Option<u64>>,
    /// Calls whose CPU has not come.
    calls: Vec<Call>,
    calls_made: u32,
    /// The CPU whose TPIDR_EL1 is still zero.
    unidentified: Option<Cpu>,
}

/// The answer to the question of the executing CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// A CPU that was there before.
    Known(Cpu),
    /// A CPU's first instruction, and the call that started it.
    New(Cpu, Option<u32>),
    /// Two CPUs without a mark, or one mark for two CPUs.
    Unclear,
}

impl CpuIdentities {
    /// A CPU_ON was called: some CPU will begin at `entry` with `context` in its x0.
    pub(crate) fn called(&mut self, entry: u64, context: u64) -> u32 {
        let number = self.calls_made;
        self.calls_made += 1;
        self.calls.push(Call { number, entry, context });
        number
    }

    /// Returns the number of CPUs.
    pub(crate) fn count(&self) -> usize {
        self.marks.len()
    }

    /// Finds the CPU that executes the block at `address`, with this in its x0 where a call expects it.
    pub(crate) fn executes(&mut self, mark: Mark, address: u64, x0: impl FnOnce() -> u64) -> Answer {
        match mark {
            Mark::Affinity(value) => match self.find(value) {
                Some(cpu) => Answer::Known(cpu),
                None => self.begin(Some(value), address, x0),
            },
            Mark::Thread(0) => {
                let expected = self.calls.iter().any(|call| call.entry == address);
                match self.unidentified {
                    Some(_) if expected => Answer::Unclear,
                    Some(cpu) => Answer::Known(cpu),
                    None if expected || self.marks.is_empty() => {
                        let answer = self.begin(None, address, x0);
                        if let Answer::New(cpu, _) = answer {
                            self.unidentified = Some(cpu);
                        }
                        answer
                    }
                    None => Answer::Unclear,
                }
            }
            Mark::Thread(value) => match (self.find(value), self.unidentified) {
                (Some(cpu), _) => Answer::Known(cpu),
                // It has just written its own.
                (None, Some(cpu)) => {
                    self.marks[usize::from(cpu)] = Some(value);
                    self.unidentified = None;
                    Answer::Known(cpu)
                }
                (None, None) => Answer::Unclear,
            },
        }
    }

    fn find(&self, value: u64) -> Option<Cpu> {
        self.marks.iter().position(|&mark| mark == Some(value)).map(|number| number as Cpu)
    }

    fn begin(&mut self, mark: Option<u64>, address: u64, x0: impl FnOnce() -> u64) -> Answer {
        let mut call = None;
        if self.calls.iter().any(|call| call.entry == address) {
            let context = x0();
            let found = self.calls.iter().position(|call| (call.entry, call.context) == (address, context));
            call = found.map(|index| self.calls.remove(index).number);
        }
        self.marks.push(mark);
        Answer::New((self.marks.len() - 1) as Cpu, call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zero() -> u64 {
        0
    }

    #[test]
    fn with_el2_a_cpu_is_known_from_its_first_instruction() {
        let mut identities = CpuIdentities::default();
        assert_eq!(identities.executes(Mark::Affinity(0x8000_0000), 0x1000, zero), Answer::New(0, None));
        let call = identities.called(0x2000, 7);
        assert_eq!(identities.executes(Mark::Affinity(0x8000_0001), 0x2000, || 7), Answer::New(1, Some(call)));
        assert_eq!(identities.executes(Mark::Affinity(0x8000_0000), 0x1000, zero), Answer::Known(0));
        assert_eq!(identities.count(), 2);
    }

    #[test]
    fn without_el2_a_cpu_is_known_once_tpidr_el1_is_set() {
        let mut identities = CpuIdentities::default();
        assert_eq!(identities.executes(Mark::Thread(0), 0x1000, zero), Answer::New(0, None));
        assert_eq!(identities.executes(Mark::Thread(0), 0x1010, zero), Answer::Known(0));
        assert_eq!(identities.executes(Mark::Thread(0xa), 0x1020, zero), Answer::Known(0));
        let (first, second) = (identities.called(0x2000, 1), identities.called(0x2000, 2));
        assert_eq!(identities.executes(Mark::Thread(0), 0x2000, || 2), Answer::New(1, Some(second)));
        assert_eq!(identities.executes(Mark::Thread(0xa), 0x1030, zero), Answer::Known(0));
        assert_eq!(identities.executes(Mark::Thread(0), 0x2010, zero), Answer::Known(1));
        assert_eq!(identities.executes(Mark::Thread(0xb), 0x2020, zero), Answer::Known(1));
        assert_eq!(identities.executes(Mark::Thread(0), 0x2000, || 1), Answer::New(2, Some(first)));
    }

    #[test]
    fn two_unidentified_cpus_are_not_taken_for_one() {
        let mut identities = CpuIdentities::default();
        identities.executes(Mark::Thread(0), 0x1000, zero);
        identities.called(0x2000, 1);
        assert_eq!(identities.executes(Mark::Thread(0), 0x2000, || 1), Answer::Unclear);
        let mut identities = CpuIdentities::default();
        identities.executes(Mark::Thread(0), 0x1000, zero);
        identities.executes(Mark::Thread(0xa), 0x1010, zero);
        assert_eq!(identities.executes(Mark::Thread(0xb), 0x1020, zero), Answer::Unclear);
        assert_eq!(identities.executes(Mark::Thread(0), 0x1030, zero), Answer::Unclear);
    }
}
