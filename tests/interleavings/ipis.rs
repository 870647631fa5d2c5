// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kicks at the wrong time, and callers that get in each other's way.

use crate::cpu::{Clock, Cpu, DEADLINE, NEVER};
use crate::model::{Bound, Model};
use crate::world::{World, in_thread};
use cleave::rendezvous::{Phase, Refused};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::yield_now;

/// A leader that a kick of an earlier rendezvous reaches at any point, and a follower that comes in time.
fn lead_beside_a_late_ipi(leaky: bool) {
    let world = World::new(2, Clock::Stopped);
    let follower = in_thread(&world, |world| {
        world.board.send_ipi_to(0);
        world.follow(1);
    });
    let cpu = world.cpu(0);
    let handler = world.clone();
    let handling = cpu.on_ipi(move |cpu| {
        let (phase, _) = handler.rendezvous.phase();
        let mine = matches!(phase, Phase::Gather | Phase::Run);
        assert!(leaky || !mine, "the leader is interrupted in its own rendezvous, in {phase:?}");
        assert!(!handler.attend(cpu), "the leader attends its own rendezvous");
    });
    if leaky {
        cpu.leak_ipis();
    }
    world.lead(&cpu, NEVER).expect("every CPU comes");
    assert_eq!(world.read(), 1);
    drop(handling);
    follower.join().unwrap();
}

pub(crate) const A_LATE_IPI: Model =
    Model { name: "a late kick", bound: Bound::Preemptions(1), scenario: || lead_beside_a_late_ipi(false) };

/// Fails when the phase leaves Idle before interrupts are masked.
#[test]
fn a_late_ipi_finds_no_rendezvous_of_its_own_leader() {
    A_LATE_IPI.check();
}

/// Fails when `attend` goes on in spite of the mark in the leader's slot.
#[test]
fn a_leader_whose_masks_leak_does_not_wait_for_itself() {
    let scenario = || lead_beside_a_late_ipi(true);
    Model { name: "a late kick, masks that leak", bound: Bound::Preemptions(1), scenario }.check();
}

pub(crate) const A_STRAY_IPI: Model =
    Model { name: "a stray kick", bound: Bound::Preemptions(2), scenario: a_stray_ipi };

fn a_stray_ipi() {
    let world = World::new(2, Clock::Counting);
    let follower = in_thread(&world, |world| {
        let (cpu, before) = (world.cpu(1), world.read());
        // Nothing orders this after what the leader did before it called.
        if !world.attend(&cpu) {
            cpu.await_ipi();
            assert!(world.attend(&cpu));
        }
        assert_eq!(world.read(), before + 1);
    });
    world.lead(&world.cpu(0), NEVER).expect("every CPU comes");
    world.check_slot(1);
    follower.join().unwrap();
}

/// A follower that no kick of this rendezvous called knows all the same how many are expected: fails when that is not there
/// before the phase is, which the kick hides from the followers that wait for it.
#[test]
fn a_stray_ipi_joins_a_fresh_rendezvous_whole_or_not_at_all() {
    A_STRAY_IPI.check();
}

/// One of two callers; it attends the other's rendezvous wherever it can be interrupted.
fn call(world: &Arc<World>, me: usize, done: &AtomicUsize, lead: impl FnOnce(&World, &Cpu)) {
    let (cpu, handler) = (world.cpu(me), world.clone());
    let handling = cpu.on_ipi(move |cpu| {
        if handler.attend(cpu) {
            handler.read();
        }
    });
    lead(world, &cpu);
    done.fetch_add(1, Ordering::AcqRel);
    while done.load(Ordering::Acquire) != 2 {
        cpu.interrupt_point();
        yield_now();
    }
    drop(handling);
}

fn two(first: fn(&World, &Cpu), second: fn(&World, &Cpu)) -> u32 {
    let world = World::new(2, Clock::Counting);
    let done = Arc::new(AtomicUsize::new(0));
    let (here, its) = (world.clone(), done.clone());
    let other = loom::thread::spawn(move || call(&here, 1, &its, second));
    call(&world, 0, &done, first);
    other.join().unwrap();
    world.read()
}

pub(crate) const TWO_CALLERS: Model =
    Model { name: "two callers", bound: Bound::Preemptions(1), scenario: two_callers };

fn two_callers() {
    // A caller that finds the other's rendezvous under way gets `Busy`, and attends it.
    let lead = |world: &World, cpu: &Cpu| {
        let led = world.lead(cpu, NEVER);
        assert!(matches!(led, Ok(()) | Err(Refused::Busy)), "{led:?}");
    };
    assert!((1..=2).contains(&two(lead, lead)));
}

#[test]
fn of_two_callers_one_leads_and_the_other_attends() {
    TWO_CALLERS.check();
}

fn two_numbers() {
    let right = |world: &World, cpu: &Cpu| {
        // The other one's is called off, for there is no third CPU.
        while let Err(refused) = world.lead(cpu, NEVER) {
            assert_eq!(refused, Refused::Busy);
            yield_now();
        }
    };
    let wrong = |world: &World, cpu: &Cpu| {
        let led = world.lead_so_many(cpu, 3, DEADLINE);
        assert!(matches!(led, Err(Refused::Busy | Refused::Deadline { expected: 3, .. })), "{led:?}");
    };
    assert_eq!(two(right, wrong), 1);
}

/// Fails when a caller that is told Busy has changed the number of CPUs that the other's rendezvous waits for.
#[test]
fn a_caller_that_is_refused_leaves_the_number_of_cpus_alone() {
    Model { name: "two callers, two numbers", bound: Bound::Preemptions(1), scenario: two_numbers }.check();
}
