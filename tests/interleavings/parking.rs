//! The rendezvous: who comes in time, who does not, who comes late, who calls at the same time.
//!
//! In all of them the leader's function writes a cell that the others read before they arrive and after they leave. If one
//! of them could still be reading, or read too early, loom's cell would say so.

use crate::cpu::{Board, Clock, Cpu, DEADLINE, NEVER};
use crate::model::{Bound, check};
use cleave::rendezvous::{Phase, Refused, Rendezvous, Slot};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::{self, yield_now};

struct World {
    board: std::sync::Arc<Board>,
    rendezvous: Rendezvous,
    slots: Vec<Slot>,
    /// What stands for the linear map.
    map: UnsafeCell<u32>,
}

// SAFETY: loom checks each access of the cell; finding two at a time is what it is there for.
#[allow(unsafe_code, reason = "the cell is what the models watch")]
unsafe impl Sync for World {}

impl World {
    fn new(cpus: usize, clock: Clock) -> Arc<Self> {
        let slots = (0..cpus).map(|_| Slot::new()).collect();
        Arc::new(Self { board: Board::new(cpus, clock), rendezvous: Rendezvous::new(), slots, map: UnsafeCell::new(0) })
    }

    #[allow(unsafe_code, reason = "the cell is what the models watch")]
    fn read(&self) -> u32 {
        // SAFETY: loom panics when somebody writes at the same time.
        self.map.with(|value| unsafe { *value })
    }

    #[allow(unsafe_code, reason = "the cell is what the models watch")]
    fn write(&self) {
        // SAFETY: loom panics when somebody else is at it at the same time.
        self.map.with_mut(|value| unsafe { *value += 1 });
    }

    fn cpu(&self, me: usize) -> Cpu {
        Cpu::new(&self.board, me)
    }

    fn lead(&self, cpu: &Cpu, deadline: u64) -> Result<(), Refused> {
        let cpus = self.slots.len() as u32;
        let led = self.rendezvous.run(cpu, &self.slots[cpu.number()], cpus, deadline, |everyone| {
            assert_eq!(everyone.cpus(), cpus);
            self.write();
        });
        led.map(|_| ())
    }

    fn attend(&self, cpu: &Cpu) -> bool {
        self.rendezvous.attend(cpu, &self.slots[cpu.number()])
    }

    /// A follower of one rendezvous.
    fn follow(&self, me: usize) {
        let (cpu, before) = (self.cpu(me), self.read());
        cpu.await_kick();
        assert!(self.attend(&cpu));
        assert_eq!(self.read(), before + 1);
    }
}

fn in_thread(world: &Arc<World>, program: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || program(&world))
}

#[test]
fn everyone_stands_still_while_the_leader_acts() {
    check("two CPUs", Bound::None, || {
        let world = World::new(2, Clock::Stopped);
        let follower = in_thread(&world, |world| world.follow(1));
        world.lead(&world.cpu(0), NEVER).expect("everyone comes");
        assert_eq!(world.read(), 1);
        assert!(world.slots[1].arrived_in(0));
        follower.join().unwrap();
    });
}

#[test]
fn everyone_stands_still_with_three() {
    check("three CPUs", Bound::Preemptions(0), || {
        let world = World::new(3, Clock::Stopped);
        let followers = [1, 2].map(|me| in_thread(&world, move |world| world.follow(me)));
        world.lead(&world.cpu(0), NEVER).expect("everyone comes");
        assert_eq!(world.read(), 1);
        followers.into_iter().for_each(|follower| follower.join().unwrap());
    });
}

/// Either everyone came, or nothing happened; the follower goes on in both cases, and the next rendezvous works.
#[test]
fn a_deadline_that_passes_at_any_moment_does_all_or_nothing() {
    check("a deadline", Bound::Preemptions(2), || {
        let world = World::new(2, Clock::Running(AtomicBool::new(false)));
        let follower = in_thread(&world, |world| {
            let (cpu, before) = (world.cpu(1), world.read());
            cpu.await_kick();
            let attended = world.attend(&cpu);
            assert!(attended || world.read() == before);
        });
        let clock = in_thread(&world, |world| world.board.time_is_up());
        match world.lead(&world.cpu(0), DEADLINE) {
            Ok(()) => assert_eq!(world.read(), 1),
            Err(refused) => {
                assert!(matches!(refused, Refused::Deadline { expected: 2, generation: 0, .. }));
                // Nobody is in the middle of anything: the leader may write as if it were alone.
                assert_eq!(world.read(), 0);
            }
        }
        follower.join().unwrap();
        clock.join().unwrap();
    });
}

/// One who was called and comes when it is over finds nothing to attend, or the next rendezvous; never half of each.
#[test]
fn a_late_arrival_meets_no_rendezvous_or_a_whole_one() {
    check("a late arrival", Bound::Preemptions(2), || {
        let world = World::new(2, Clock::Late);
        let follower = in_thread(&world, |world| {
            let cpu = world.cpu(1);
            // It may arrive in the first, and leave again with it.
            while !(cpu.take_kick() && world.attend(&cpu) && world.read() == 1) {
                yield_now();
            }
        });
        // Called off at once, unless the follower is there already.
        if world.lead(&world.cpu(0), DEADLINE).is_err() {
            world.lead(&world.cpu(0), NEVER).expect("the second time it comes");
        }
        follower.join().unwrap();
        assert_eq!(world.read(), 1);
    });
}

#[test]
fn of_two_callers_one_leads_and_the_other_attends() {
    check("two callers", Bound::Preemptions(2), || {
        let world = World::new(2, Clock::Stopped);
        let done = Arc::new(AtomicUsize::new(0));
        let caller = |me: usize, done: Arc<AtomicUsize>| {
            move |world: &World| {
                // Whoever finds the other's under way is told so, and attends it.
                let cpu = world.cpu(me);
                let led = world.lead(&cpu, NEVER);
                assert!(matches!(led, Ok(()) | Err(Refused::Busy)), "{led:?}");
                done.fetch_add(1, Ordering::AcqRel);
                while done.load(Ordering::Acquire) != 2 {
                    if cpu.take_kick() && world.attend(&cpu) {
                        world.read();
                    }
                    yield_now();
                }
            }
        };
        let other = in_thread(&world, caller(1, done.clone()));
        caller(0, done)(&world);
        other.join().unwrap();
        assert!((1..=2).contains(&world.read()));
    });
}

/// A leader that a kick of an earlier rendezvous reaches at any point, and a follower that comes in time.
fn lead_beside_a_late_kick(leaky: bool) {
    let world = World::new(2, Clock::Stopped);
    let follower = in_thread(&world, |world| {
        world.board.kick(0);
        world.follow(1);
    });
    let cpu = world.cpu(0);
    let handler = world.clone();
    let handling = cpu.on_kick(move |cpu| {
        let (phase, _) = handler.rendezvous.phase();
        let mine = matches!(phase, Phase::Gather | Phase::Masked | Phase::Run);
        assert!(leaky || !mine, "the leader is interrupted in its own rendezvous, in {phase:?}");
        assert!(!handler.attend(cpu), "the leader attends its own rendezvous");
    });
    if leaky {
        cpu.leak_kicks();
    }
    world.lead(&cpu, NEVER).expect("everyone comes");
    assert_eq!(world.read(), 1);
    drop(handling);
    follower.join().unwrap();
}

/// Fails when the phase leaves Idle before interrupts are masked.
#[test]
fn a_late_kick_at_any_point_finds_no_rendezvous_of_the_leaders_own() {
    check("a late kick", Bound::Preemptions(1), || lead_beside_a_late_kick(false));
}

/// Fails when `attend` goes on in spite of the mark in the leader's slot.
#[test]
fn a_leader_whose_masks_leak_does_not_wait_for_itself() {
    check("a late kick, masks that leak", Bound::Preemptions(1), || lead_beside_a_late_kick(true));
}
