// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rendezvous with real threads as CPUs: followers that come, stay away or come late, and a second caller.

mod host;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use host::{World, until, with_followers};

#[test]
fn followers_stand_still_while_the_leader_runs() {
    let world = World::new(4);
    with_followers(&world, &[Duration::ZERO; 3], || {
        for round in 0..50 {
            let still = |parked: &Parked<'_>| {
                assert_eq!(parked.cpus(), 4);
                // Standing still is more than being counted: no interrupt may make a CPU go on.
                assert_eq!((0..4).find(|&cpu| !world.is_masked(cpu)), None, "this CPU has not masked its interrupts");
                let before: Vec<u64> = world.work.iter().map(|work| work.load(Ordering::Relaxed)).collect();
                std::thread::sleep(Duration::from_micros(200));
                let after: Vec<u64> = world.work.iter().map(|work| work.load(Ordering::Relaxed)).collect();
                assert_eq!(before, after);
            };
            let ((), measured) = world.run(still, 10_000).unwrap();
            assert_eq!(measured.generation, round);
            assert!(measured.kicked <= measured.began && measured.began <= measured.ended);
            for slot in &world.slots {
                assert!(slot.arrived_in(round));
                let times = slot.times();
                assert!(times.arrived <= times.masked && times.masked <= measured.began, "{times:?} {measured:?}");
                // Not after `ended`: a follower may look at its clock between the leader's store and the leader's own look.
                assert!(times.released >= measured.began, "{times:?} {measured:?}");
            }
            assert_eq!(world.rendezvous.phase(), (Phase::Idle, round + 1));
        }
    });
}

#[test]
fn a_cpu_that_does_not_come_is_named_and_the_others_go_on() {
    let world = World::new(3);
    let never = Duration::from_secs(3600);
    with_followers(&world, &[Duration::ZERO, never], || {
        let refused = world.run(|_| unreachable!("a CPU is missing"), 100).unwrap_err();
        assert_eq!(refused, Refused::Deadline { arrived: 2, expected: 3, generation: 0 });
        assert_eq!([0, 1, 2].map(|cpu| world.slots[cpu].arrived_in(0)), [true, true, false]);
        let before = world.work[1].load(Ordering::Relaxed);
        until("CPU 1 works again", || world.work[1].load(Ordering::Relaxed) != before);
        assert_eq!(world.rendezvous.phase(), (Phase::Idle, 1));
    });
}

#[test]
fn a_late_cpu_joins_the_next_rendezvous_unharmed() {
    let world = World::new(3);
    with_followers(&world, &[Duration::ZERO, Duration::from_millis(150)], || {
        assert!(matches!(world.run(|_| (), 30), Err(Refused::Deadline { generation: 0, .. })));
        let ((), measured) = world.run(|_| (), 10_000).unwrap();
        assert_eq!(measured.generation, 1);
    });
}

/// However late the last one was that came: fails when the time is counted from an arrival. In ticks of a clock that waits
/// for the threads.
#[test]
fn the_deadline_is_counted_from_the_ipi() {
    for (last, comes) in [(90, true), (110, false)] {
        let world = World::stepped(3);
        with_followers(&world, &[60, last].map(Duration::from_micros), || {
            let led = world.cpu(0).run(3, 100, |_| ());
            assert_eq!(led.is_ok(), comes, "{led:?}");
            if let Err(refused) = led {
                assert_eq!(refused, Refused::Deadline { arrived: 2, expected: 3, generation: 0 });
            }
        });
    }
}

/// Fails when one rendezvous counts the CPUs of another: those that are offline work on, the others stand still.
#[test]
fn the_number_of_cpus_may_change_between_two_rendezvous() {
    let world = World::new(4);
    with_followers(&world, &[Duration::ZERO; 3], || {
        for cpus in [4, 1, 3, 2, 4, 2] {
            world.set_online(cpus);
            let ((), _) = world
                .run(
                    |parked| {
                        assert_eq!(parked.cpus(), cpus as u32);
                        assert!((0..cpus).all(|cpu| world.is_masked(cpu)));
                        (cpus..4).for_each(|cpu| world.await_work(cpu));
                    },
                    10_000,
                )
                .unwrap();
        }
    });
}

#[test]
fn a_second_caller_is_told_busy_and_attends() {
    let world = World::new(2);
    let asked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let cpu = world.cpu(1);
            until("a rendezvous is under way", || world.rendezvous.phase().0 != Phase::Idle);
            // Its kick comes when it has its answer.
            cpu.own.deaf.set(true);
            assert_eq!(cpu.run(2, 1000, |_| ()).unwrap_err(), Refused::Busy);
            asked.store(true, Ordering::Release);
            cpu.attend()
        });
        world.run(|_| (), 10_000).unwrap();
        assert!(other.join().unwrap());
        assert!(asked.load(Ordering::Acquire));
    });
}

#[test]
fn a_caller_with_interrupts_masked_is_a_named_defect() {
    let world = World::new(1);
    let cpu = world.cpu(0);
    let masks = cpu.mask_all();
    assert_eq!(cpu.run(1, 1000, |_| ()).unwrap_err(), Refused::InterruptsMasked);
    drop(masks);
    assert!(cpu.run(1, 1000, |_| ()).is_ok());
}

#[test]
fn a_stray_ipi_is_harmless() {
    let world = World::new(2);
    assert!(!world.cpu(1).attend());
    assert_eq!(world.rendezvous.phase(), (Phase::Idle, 0));
}

/// Leads again and again beside a follower; each time a kick of an earlier rendezvous reaches the leader one point later.
fn lead_beside_a_late_ipi(leaky: bool) {
    let world = World::new(2);
    with_followers(&world, &[Duration::ZERO], || {
        for late in 0.. {
            let cpu = world.cpu(0);
            cpu.own.leaky.set(leaky);
            cpu.own.leads_alone.set(true);
            cpu.own.late.set(Some(late));
            cpu.run(2, 10_000_000, |_| ()).unwrap();
            if cpu.own.points.get() <= late {
                assert!(late > 0, "interrupts were never open");
                break;
            }
        }
    });
}

/// Fails when the phase leaves Idle before interrupts are masked.
#[test]
fn a_late_ipi_finds_no_rendezvous_of_its_own_leader() {
    lead_beside_a_late_ipi(false);
}

/// Fails when `attend` goes on in spite of the mark in the leader's slot.
#[test]
fn a_leader_whose_masks_leak_does_not_wait_for_itself() {
    lead_beside_a_late_ipi(true);
}
