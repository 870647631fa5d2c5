// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world that the models of the rendezvous share.
//!
//! In all of them the leader's function writes a cell that the others read before they arrive and after they leave. If one
//! of them could still be reading, or read too early, loom's cell would say so.

use crate::atomics::Loom;
use crate::cpu::{Board, Clock, Cpu};
use cleave::rendezvous::{Leader, OnlineCpus, Parked, Refused, Rendezvous, Slot};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

pub(crate) struct World {
    pub(crate) board: std::sync::Arc<Board>,
    pub(crate) rendezvous: Rendezvous<Loom>,
    pub(crate) slots: Vec<Slot<Loom>>,
    /// The stand-in of the linear map.
    map: UnsafeCell<u32>,
}

// SAFETY: loom checks each access of the cell; finding two at a time is what it is there for.
#[allow(unsafe_code, reason = "the cell is what the models watch")]
unsafe impl Sync for World {}

impl World {
    pub(crate) fn new(cpus: usize, clock: Clock) -> Arc<Self> {
        let slots = (0..cpus).map(|_| Slot::default()).collect();
        Arc::new(Self {
            board: Board::new(cpus, clock),
            rendezvous: Rendezvous::default(),
            slots,
            map: UnsafeCell::new(0),
        })
    }

    #[allow(unsafe_code, reason = "the cell is what the models watch")]
    pub(crate) fn read(&self) -> u32 {
        // SAFETY: loom panics when another thread writes at the same time.
        self.map.with(|value| unsafe { *value })
    }

    #[allow(unsafe_code, reason = "the cell is what the models watch")]
    fn write(&self) {
        // SAFETY: loom panics when another thread accesses the cell at the same time.
        self.map.with_mut(|value| unsafe { *value += 1 });
    }

    pub(crate) fn cpu(&self, me: usize) -> Cpu {
        Cpu::new(&self.board, me)
    }

    /// Leads all CPUs.
    pub(crate) fn lead(&self, cpu: &Cpu, deadline: u64) -> Result<(), Refused> {
        self.lead_so_many(cpu, self.slots.len() as u32, deadline)
    }

    /// Leads `cpus` CPUs.
    pub(crate) fn lead_so_many(&self, cpu: &Cpu, cpus: u32, deadline: u64) -> Result<(), Refused> {
        let function = |everyone: &Parked<'_>| {
            assert_eq!(everyone.cpus(), cpus);
            self.write();
        };
        // SAFETY: the models choose how many CPUs are counted; loom's cell notices one that does not stand still.
        #[allow(unsafe_code, reason = "the models choose how many CPUs are counted")]
        let online = unsafe { OnlineCpus::of(self.slots.iter().cycle().take(cpus as usize)) };
        let leader =
            Leader { rendezvous: &self.rendezvous, host: cpu, slot: &self.slots[cpu.number()], online: &online };
        leader.stop(deadline, function).map(|_| ())
    }

    pub(crate) fn attend(&self, cpu: &Cpu) -> bool {
        self.rendezvous.attend(cpu, &self.slots[cpu.number()])
    }

    /// A follower of one rendezvous.
    pub(crate) fn follow(&self, me: usize) {
        let (cpu, before) = (self.cpu(me), self.read());
        cpu.await_ipi();
        assert!(self.attend(&cpu));
        assert_eq!(self.read(), before + 1);
    }

    /// A CPU's slot after a rendezvous it has left says when it came and went.
    pub(crate) fn check_slot(&self, cpu: usize) {
        let times = self.slots[cpu].times();
        assert!(times.arrived != 0 && times.masked > times.arrived && times.released > times.masked, "{times:?}");
    }
}

pub(crate) fn in_thread(world: &Arc<World>, program: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || program(&world))
}
