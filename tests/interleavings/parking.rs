// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rendezvous with followers in time, absent or late, and with the next leader.

use crate::cpu::{Clock, DEADLINE, NEVER};
use crate::model::{Bound, Model};
use crate::world::{World, in_thread};
use cleave::rendezvous::{Phase, Refused};
use loom::sync::atomic::AtomicBool;
use loom::thread::yield_now;

pub(crate) const TWO_CPUS: Model = Model { name: "two CPUs", bound: Bound::None, scenario: two_cpus };

fn two_cpus() {
    let world = World::new(2, Clock::Counting);
    let follower = in_thread(&world, |world| world.follow(1));
    world.lead(&world.cpu(0), NEVER).expect("every CPU comes");
    assert_eq!(world.read(), 1);
    assert!(world.slots[1].arrived_in(0));
    // It has left, and with it all that it wrote.
    world.check_slot(1);
    follower.join().unwrap();
}

#[test]
fn followers_stand_still_while_the_leader_acts() {
    TWO_CPUS.check();
}

pub(crate) const THREE_CPUS: Model = Model { name: "three CPUs", bound: Bound::Preemptions(0), scenario: three_cpus };

fn three_cpus() {
    let world = World::new(3, Clock::Counting);
    let next = in_thread(&world, |world| {
        world.follow(1);
        // The next rendezvous is led by a follower of this one, and the others are offline by then.
        while world.rendezvous.phase() != (Phase::Idle, 1) {
            yield_now();
        }
        world.lead_so_many(&world.cpu(1), 1, NEVER).expect("it is alone");
        world.check_slot(2);
    });
    let follower = in_thread(&world, |world| {
        let cpu = world.cpu(2);
        assert_eq!(world.read(), 0);
        cpu.await_ipi();
        // Once it has left it uses the map no more: the next rendezvous does not count it.
        assert!(world.attend(&cpu));
    });
    world.lead(&world.cpu(0), NEVER).expect("every CPU comes");
    assert_eq!(world.slots[1].arrived_in(0) as u32 + world.slots[2].arrived_in(0) as u32, 2);
    follower.join().unwrap();
    next.join().unwrap();
    assert_eq!(world.read(), 2);
}

#[test]
fn three_cpus_stand_still_and_another_one_leads_next() {
    THREE_CPUS.check();
}

pub(crate) const A_DEADLINE: Model = Model { name: "a deadline", bound: Bound::Preemptions(2), scenario: a_deadline };

fn a_deadline() {
    let world = World::new(2, Clock::Running(AtomicBool::new(false)));
    let follower = in_thread(&world, |world| {
        let (cpu, before) = (world.cpu(1), world.read());
        cpu.await_ipi();
        let attended = world.attend(&cpu);
        assert!(attended || world.read() == before);
    });
    let clock = in_thread(&world, |world| world.board.time_is_up());
    match world.lead(&world.cpu(0), DEADLINE) {
        Ok(()) => assert_eq!(world.read(), 1),
        Err(refused) => {
            assert!(matches!(refused, Refused::Deadline { expected: 2, generation: 0, .. }));
            // No follower is inside the rendezvous: the leader may write as if it were alone.
            assert_eq!(world.read(), 0);
        }
    }
    follower.join().unwrap();
    clock.join().unwrap();
}

/// Either every CPU came, or nothing happened; the follower goes on in both cases, and the next rendezvous works.
#[test]
fn a_deadline_that_passes_at_any_moment_does_all_or_nothing() {
    A_DEADLINE.check();
}

pub(crate) const A_LATE_ARRIVAL: Model =
    Model { name: "a late arrival", bound: Bound::Preemptions(2), scenario: a_late_arrival };

fn a_late_arrival() {
    let world = World::new(2, Clock::Counting);
    let follower = in_thread(&world, |world| {
        let cpu = world.cpu(1);
        // It may arrive in the first, and leave again with it.
        while !(cpu.take_ipi() && world.attend(&cpu) && world.read() == 1) {
            yield_now();
        }
    });
    // Called off at once, unless the follower is there already.
    let cpu = world.cpu(0);
    if world.lead(&cpu, DEADLINE).is_err() {
        // A CPU that is listed as arrived has a time of arrival.
        assert!(!world.slots[1].arrived_in(0) || world.slots[1].times().arrived != 0);
        world.lead(&cpu, NEVER).expect("the second time it comes");
    }
    follower.join().unwrap();
    assert_eq!(world.read(), 1);
}

/// A CPU that was called and comes when the rendezvous is over finds nothing to attend, or the next one; never half of
/// each.
#[test]
fn a_late_arrival_meets_no_rendezvous_or_a_whole_one() {
    A_LATE_ARRIVAL.check();
}
