// SPDX-License-Identifier: MIT OR Apache-2.0
//! The check of changed code: a function that every CPU calls again and again while its instructions change.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "code is changed")]

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use cleave::aarch64::instruction::Instruction;
use cleave::aarch64::{hint, timer};
use cleave::deadline::Deadline;
use cleave::tables::VirtAddr;
use spin::Once;

use crate::cpu::patience::patience;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::smp;
use crate::irq::ipi;
use crate::mm::image::Section;
use crate::mm::patch::{Others, PatchError, patch};

/// Returns 2; 1 with a branch over the third instruction in place of the second; and 3 with another third one.
// SAFETY: it has no frame, and changes x0 alone.
#[unsafe(naked)]
extern "C" fn answer() -> u64 {
    core::arch::naked_asm!("mov x0, #1", "nop", "mov x0, #2", "ret")
}

/// MOV x0, #2 and MOV x0, #3 (MOVZ; DDI 0487, C6.2).
const MOV_2: Instruction = Instruction(0xd280_0040);
const MOV_3: Instruction = Instruction(0xd280_0060);

/// One round of calls before the first change, and one after each.
const ROUNDS: usize = 5;
/// The answer of each round, after the change that begins it.
const ANSWERS: [u64; ROUNDS] = [2, 1, 2, 3, 2];
/// The calls that each CPU makes in a round, at least.
const CALLS: u64 = 64;

/// One CPU's calls of each round, and the answers it got, a bit each.
struct Answers([(AtomicU64, AtomicU64); ROUNDS]);

static ANSWERED: Once<Vec<Answers>> = Once::new();
static ON: AtomicBool = AtomicBool::new(false);
static ROUND: AtomicUsize = AtomicUsize::new(0);

/// Returns true while CPUs are to call the function.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Acquire)
}

/// Calls the function once on `cpu`, this one.
pub(crate) fn step(cpu: &PerCpu) {
    let Some(answers) = ANSWERED.get().and_then(|all| all.get(cpu.id)) else { return };
    // Acquire: the change that begins the round is complete before the call.
    let (calls, seen) = &answers.0[ROUND.load(Ordering::Acquire)];
    seen.fetch_or(1 << core::hint::black_box(answer as extern "C" fn() -> u64)(), Ordering::Relaxed);
    // Release: whoever counts the call has its answer.
    calls.fetch_add(1, Ordering::Release);
}

/// A failure of the check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PatchFailed {
    /// A change was refused.
    Refused(PatchError),
    /// A change was not refused by this error.
    NotRefused(PatchError),
    /// A CPU got these answers, a bit each, in this round.
    Answers { cpu: usize, round: usize, seen: u64 },
}

impl core::fmt::Display for PatchFailed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::NotRefused(error) => write!(f, "not refused: {error}"),
            Self::Answers { cpu, round, seen } => write!(f, "CPU {cpu} got the answers {seen:#b} in round {round}"),
        }
    }
}

impl From<PatchError> for PatchFailed {
    fn from(error: PatchError) -> Self {
        Self::Refused(error)
    }
}

/// Changes the function's instructions while every CPU calls it: two that may change live, and one that may not. After each change
/// no CPU may get an old answer. Returns the number of calls.
///
/// # Errors
/// [`PatchFailed`].
pub(crate) fn check() -> Result<u64, PatchFailed> {
    let cpus = smp::cpus().iter().map(|cpu| cpu.id).max().unwrap_or(0) + 1;
    let all = ANSWERED.call_once(|| {
        let none = || Answers([const { (AtomicU64::new(0), AtomicU64::new(0)) }; ROUNDS]);
        (0..cpus).map(|_| none()).collect()
    });
    for (calls, seen) in all.iter().flat_map(|answers| &answers.0) {
        calls.store(0, Ordering::Relaxed);
        seen.store(0, Ordering::Relaxed);
    }
    ROUND.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Release);
    ipi::wake_others();
    let done = change_and_count(all);
    ON.store(false, Ordering::Release);
    done
}

fn change_and_count(all: &[Answers]) -> Result<u64, PatchFailed> {
    let start = VirtAddr(answer as *const () as u64);
    let [second, third, last] = [4, 8, 12].map(|offset| start.offset(offset));
    let branch = Instruction::branch(second, last).expect("eight bytes are no distance");
    let changes = [
        (second, Instruction::NOP, branch, Others::Run),
        (second, branch, Instruction::NOP, Others::Run),
        (third, MOV_2, MOV_3, Others::Stop),
        (third, MOV_3, MOV_2, Others::Stop),
    ];
    must_refuse(third)?;
    let_call(all, 0);
    for (round, (address, old, new, others)) in (1..ROUNDS).zip(changes) {
        // SAFETY: the function is right with either, and no CPU waits in it.
        unsafe { patch(address, old, new, others)? };
        ROUND.store(round, Ordering::Release);
        let_call(all, round);
    }
    let mut total = 0;
    for (cpu, answers) in smp::online().filter_map(|cpu| Some((cpu.id, all.get(cpu.id)?))) {
        for (round, (calls, seen)) in answers.0.iter().enumerate() {
            let calls = calls.load(Ordering::Acquire);
            let seen = seen.load(Ordering::Relaxed);
            // While the next change is made a CPU may get its answer already.
            let (own, next) = (1 << ANSWERS[round], ANSWERS.get(round + 1).map_or(0, |answer| 1 << answer));
            if calls < CALLS || seen & own == 0 || seen & !(own | next) != 0 {
                return Err(PatchFailed::Answers { cpu, round, seen });
            }
            total += calls;
        }
    }
    Ok(total)
}

/// Checks that no change is made of an instruction that may not change live, of memory that is no text, of an address between
/// two instructions, and of an instruction that is not the expected one.
fn must_refuse(third: VirtAddr) -> Result<(), PatchFailed> {
    let data = Section::Rodata.virt().start;
    let boot = Section::Text.virt().start;
    let (nop, half) = (Instruction::NOP, third.offset(2));
    let refusals = [
        (third, MOV_2, MOV_3, Others::Run, PatchError::NotLive(MOV_2)),
        (third, nop, MOV_3, Others::Run, PatchError::NotLive(MOV_3)),
        (data, nop, nop, Others::Stop, PatchError::NotText(data)),
        (boot, nop, nop, Others::Stop, PatchError::NotText(boot)),
        (half, nop, nop, Others::Run, PatchError::NotText(half)),
        (third, nop, nop, Others::Run, PatchError::Unexpected(MOV_2)),
    ];
    for (address, old, new, others, error) in refusals {
        // SAFETY: it is refused; should it not be, the run fails.
        if unsafe { patch(address, old, new, others) } != Err(error) {
            return Err(PatchFailed::NotRefused(error));
        }
    }
    Ok(())
}

/// Lets every CPU call the function in `round`, this one too, for as long as CPUs are waited for elsewhere.
fn let_call(all: &[Answers], round: usize) {
    let has_called = |cpu: &PerCpu| all[cpu.id].0[round].0.load(Ordering::Acquire) >= CALLS;
    let mut deadline = Deadline::new(timer::count(), patience(smp::online_count().into()));
    while !smp::online().all(has_called) && !deadline.has_passed(timer::count()) {
        step(this_cpu());
        hint::yield_now();
    }
}
