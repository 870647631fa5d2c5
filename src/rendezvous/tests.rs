//! The rendezvous with real threads as CPUs: who comes, who does not, who comes late, who calls twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// A CPU that is a thread; a kick is a flag the thread polls.
struct Thread<'a> {
    kicks: &'a [AtomicBool],
    me: usize,
    start: Instant,
    enabled: bool,
}

impl Host for Thread<'_> {
    type Masked = ();

    fn kick_others(&self) {
        for (cpu, kick) in self.kicks.iter().enumerate() {
            if cpu != self.me {
                kick.store(true, Ordering::Release);
            }
        }
    }
    fn ticks(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
    fn pause(&self) {
        std::thread::yield_now();
    }
    fn wait(&self) {
        // Leaves the kick pending, as WFI with interrupts masked does.
        std::thread::yield_now();
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        self.enabled
    }
    fn mask_all(&self) {}
    fn isb(&self) {}
}

struct World {
    rendezvous: Rendezvous,
    kicks: Vec<AtomicBool>,
    slots: Vec<Slot>,
    work: Vec<AtomicU64>,
    stop: AtomicBool,
    start: Instant,
}

impl World {
    fn new(cpus: usize) -> Self {
        Self {
            rendezvous: Rendezvous::new(),
            kicks: (0..cpus).map(|_| AtomicBool::new(false)).collect(),
            slots: (0..cpus).map(|_| Slot::new()).collect(),
            work: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
            start: Instant::now(),
        }
    }

    fn host(&self, me: usize) -> Thread<'_> {
        Thread { kicks: &self.kicks, me, start: self.start, enabled: true }
    }

    /// A follower: works, and attends when kicked, but not before `deaf` has passed.
    fn follow(&self, me: usize, deaf: Duration) {
        let host = self.host(me);
        while !self.stop.load(Ordering::Relaxed) {
            self.work[me].fetch_add(1, Ordering::Relaxed);
            if self.start.elapsed() >= deaf && self.kicks[me].swap(false, Ordering::AcqRel) {
                self.rendezvous.attend(&host, &self.slots[me]);
            }
            std::thread::yield_now();
        }
    }

    fn run<T>(&self, function: impl FnOnce(&Parked<'_>) -> T, deadline_ms: u64) -> Result<(T, Measured), Refused> {
        self.rendezvous.run(&self.host(0), &self.slots[0], self.kicks.len() as u32, deadline_ms * 1000, function)
    }
}

/// Stops the followers, also when the leader fails: the test is to fail then, not to hang.
struct Stop<'a>(&'a World);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

fn with_followers(world: &World, deaf: &[Duration], leader: impl FnOnce()) {
    std::thread::scope(|scope| {
        let _stop = Stop(world);
        for (index, &deaf) in deaf.iter().enumerate() {
            scope.spawn(move || world.follow(index + 1, deaf));
        }
        leader();
    });
}

#[test]
fn nobody_works_while_the_leader_runs() {
    let world = World::new(4);
    with_followers(&world, &[Duration::ZERO; 3], || {
        for round in 0..50 {
            let still = |parked: &Parked<'_>| {
                assert_eq!(parked.cpus(), 4);
                let before: Vec<u64> = world.work.iter().map(|work| work.load(Ordering::Relaxed)).collect();
                std::thread::sleep(Duration::from_micros(200));
                let after: Vec<u64> = world.work.iter().map(|work| work.load(Ordering::Relaxed)).collect();
                assert_eq!(before, after);
            };
            let ((), measured) = world.run(still, 60_000).unwrap();
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
        let refused = world.run(|_| unreachable!("not everyone is here"), 100).unwrap_err();
        assert_eq!(refused, Refused::Deadline { arrived: 2, expected: 3, generation: 0 });
        assert_eq!([0, 1, 2].map(|cpu| world.slots[cpu].arrived_in(0)), [true, true, false]);
        let before = world.work[1].load(Ordering::Relaxed);
        while world.work[1].load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
        assert_eq!(world.rendezvous.phase(), (Phase::Idle, 1));
    });
}

#[test]
fn a_cpu_that_comes_late_spoils_nothing_and_is_there_the_next_time() {
    let world = World::new(3);
    with_followers(&world, &[Duration::ZERO, Duration::from_millis(150)], || {
        assert!(matches!(world.run(|_| (), 30), Err(Refused::Deadline { generation: 0, .. })));
        let ((), measured) = world.run(|_| (), 60_000).unwrap();
        assert_eq!(measured.generation, 1);
    });
}

#[test]
fn a_second_caller_is_told_busy_and_attends() {
    let world = World::new(2);
    let asked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let host = world.host(1);
            loop {
                if world.rendezvous.phase().0 != Phase::Idle {
                    let mine = world.rendezvous.run(&host, &world.slots[1], 2, 1000, |_| ());
                    assert_eq!(mine.unwrap_err(), Refused::Busy);
                    asked.store(true, Ordering::Release);
                    return world.rendezvous.attend(&host, &world.slots[1]);
                }
                std::thread::yield_now();
            }
        });
        world.run(|_| assert!(asked.load(Ordering::Acquire)), 60_000).unwrap();
        assert!(other.join().unwrap());
    });
}

#[test]
fn a_caller_with_interrupts_masked_is_a_named_defect() {
    let world = World::new(1);
    let host = Thread { enabled: false, ..world.host(0) };
    assert_eq!(world.rendezvous.run(&host, &world.slots[0], 1, 1000, |_| ()).unwrap_err(), Refused::InterruptsMasked);
    assert!(world.run(|_| (), 1000).is_ok());
}

#[test]
fn a_stray_kick_is_harmless() {
    let world = World::new(2);
    assert!(!world.rendezvous.attend(&world.host(1), &world.slots[1]));
    assert_eq!(world.rendezvous.phase(), (Phase::Idle, 0));
}
