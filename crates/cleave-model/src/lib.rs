// SPDX-License-Identifier: MIT OR Apache-2.0
//! The abstract machine: a model of N CPUs over translation tables that over-approximates the architecture.
//!
//! An emulator that boots a kernel proves little about its page-table code: it raises no TLB conflict aborts and keeps
//! no stale translations. This machine does. A CPU of it may hold any translation that it could have walked at any time
//! since its last completed, covering invalidation, and a store may be seen by walkers early, late, or not at all until
//! a barrier orders it. Code that is right on it does not depend on what some TLB happens to do.
//!
//! It runs real code: [`OnCpu`] is a [`cleave::tables::Cpu`], [`View`] a [`cleave::tables::TableMemory`], [`Frames`] a
//! [`cleave::tables::FrameSource`], and under [`Schedule`] a CPU is a [`cleave::rendezvous::Host`]. What the traits
//! have no word for (accesses, other registers and barriers, flags between CPUs, cache maintenance) are methods of
//! [`OnCpu`]. Broken [`Rule`]s are collected: [`Machine::verdict`] judges a run, [`Machine::so_far`] the steps up to
//! here.
//!
//! To learn the architecture from it, read the rules in this order: `change`, `link` and `contiguous` (what may be
//! stored into a live entry), `stale`, `tlbi`, `invalidate` and `expand` (how an old translation is removed),
//! `order` and `pending_sync` (which stores each CPU sees when), `access`, `frames`, `parking`, `context`, `caches`.
//! Each rule's sentence and source stand beside its code.
//!
//! ```
//! use cleave::aarch64::BbmLevel;
//! use cleave_model::{Config, Machine, Rule, Through};
//! use cleave::tables::{Descriptor, Geometry, PhysAddr, TableMemory};
//!
//! let machine = Machine::new(Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2]));
//! let root = PhysAddr(0x10_0000);
//! machine.boot_all(root);
//! let tables = machine.view(0, Through::Physical);
//! tables.store(root, Descriptor::table(PhysAddr(0x20_0000)));
//! // The table was never written, let alone ordered before the store that links it.
//! assert_eq!(machine.verdict().unwrap_err().first.rule, Rule::ChildBeforeParent);
//! ```

mod access;
mod atomics;
mod caches;
mod change;
mod completion;
mod config;
mod context;
mod contiguous;
mod cpu;
mod event;
mod expand;
mod findings;
mod frames;
pub mod instruction;
mod interrupt;
mod invalidate;
mod link;
mod memory;
mod order;
mod parking;
mod pending_sync;
mod reach;
mod rule;
mod schedule;
mod seam;
mod stale;
mod state;
mod table_place;
mod texts;
mod tlbi;

#[cfg(test)]
mod tests;

use core::ops::RangeInclusive;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use access::{Access, Outcome};
pub use atomics::{Watch, Watched};
pub use caches::Maintenance;
pub use config::{Config, Dsb, Flag};
pub use cpu::OnCpu;
pub use event::{Action, EVENTS_KEPT, Event};
pub use findings::Findings;
pub use rule::{Rule, RuleText, Violation};
pub use schedule::{Schedule, Scheduled};
pub use seam::{Frames, Through, View};
pub use tlbi::{Coverage, LastLevel, Scope, Tlbi};

use frames::Reserving;
use state::{CpuState, Outdated, Presence, Registers, State};

use cleave::tables::{Descriptor, PhysAddr, PhysRange, VirtAddr, slot};

/// The most CPUs that a machine has.
pub const MAX_CPUS: usize = 16;

/// The machine. It is shared: the handles it gives out act on it.
pub struct Machine {
    state: Arc<Mutex<State>>,
}

impl Machine {
    /// Makes a machine whose CPUs are all off but CPU 0, which is online with its MMU off.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut cpus: Vec<_> = config.levels.iter().map(|&level| CpuState::new(level)).collect();
        cpus[0].presence = Presence::Online;
        Self {
            state: Arc::new(Mutex::new(State {
                geometry: config.geometry,
                ets2: config.ets2,
                repeats: config.repeats,
                cpus,
                memory: memory::Memory::default(),
                reach: None,
                stale_entries: Vec::new(),
                stale_number: 0,
                pending_sync: Vec::new(),
                groups_touched: Vec::new(),
                unfinished_groups: Vec::new(),
                flags: HashMap::new(),
                frames: frames::FrameLedger::default(),
                handles_stale_faults: false,
                shared: Vec::new(),
                broken: Vec::new(),
                transiently_invalid: Vec::new(),
                caches: caches::Caches::new(config.cache_line),
                log: event::Log::default(),
                noted: findings::Noted::default(),
                ticks: 0,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed on one thread is no reason to fail differently on another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared_state(&self) -> Arc<Mutex<State>> {
        self.state.clone()
    }

    /// Lets time pass, and returns the time.
    fn tick(&self, ticks: u64) -> u64 {
        let mut state = self.state();
        state.ticks += ticks;
        state.ticks
    }

    /// Returns one of its CPUs.
    ///
    /// # Panics
    /// When there is no such CPU.
    #[must_use]
    pub fn cpu(&self, number: usize) -> OnCpu<'_> {
        assert!(number < self.state().cpus.len(), "there is no CPU {number}");
        OnCpu::new(self, number)
    }

    /// Returns the number of its CPUs.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.state().cpus.len()
    }

    /// Returns a view of its tables, for CPU `cpu`.
    #[must_use]
    pub fn view(&self, cpu: usize, through: Through) -> View<'_> {
        View::new(self, cpu, through)
    }

    /// Returns the frames it gives out, for CPU `cpu`.
    #[must_use]
    pub fn frames(&self, cpu: usize) -> Frames<'_> {
        Frames::new(self, cpu)
    }

    /// Sets up a machine whose kernel is running: memory holds the tables of `image`, and every CPU is online on
    /// `root`.
    ///
    /// Each piece of the image is a physical address and the words from there on. Page tables that exist before the
    /// code under test begins come in here, or by [`Machine::poke`]. A store told to a CPU that is not booted is one
    /// with the MMU off, and judged as one (M16).
    pub fn adopt(&self, image: &[(PhysAddr, &[u64])], root: PhysAddr) {
        for &(at, words) in image {
            for (index, &word) in words.iter().enumerate() {
                self.poke(slot(at, index), Descriptor(word));
            }
        }
        self.boot_all(root);
    }

    /// Puts every CPU online with its MMU on, TTBR1 at `root` and no TTBR0, the way a correct boot would have: for
    /// tests that begin there. Everything stored so far is visible to every CPU.
    pub fn boot_all(&self, root: PhysAddr) {
        (0..self.cpus()).for_each(|cpu| self.boot(cpu, root));
    }

    /// Puts one CPU online in the way of [`Machine::boot_all`].
    pub fn boot(&self, cpu: usize, root: PhysAddr) {
        let mut state = self.state();
        state.memory.settle();
        state.settle_caches();
        state.groups_touched.clear();
        state.reach = None;
        let cpu = &mut state.cpus[cpu];
        cpu.presence = Presence::Online;
        cpu.mmu = true;
        cpu.local_tlb_clean = true;
        cpu.registers.ttbr1 = Some(root);
        cpu.pending = cpu.registers;
    }

    /// Says that from now on the code's fault handler asks the MMU (AT, ISB), and retries the access when the address
    /// translates by now: as [`OnCpu::access_retrying`], for every access of every CPU, those of views included.
    pub fn handle_stale_faults(&self) {
        self.state().handles_stale_faults = true;
    }

    /// Names addresses that every CPU uses at any time: the linear map. What maps them may be broken only while all
    /// CPUs are parked.
    pub fn share(&self, addresses: RangeInclusive<VirtAddr>) {
        self.state().shared.push(addresses);
    }

    /// Adds the frames of `range` to what the machine's allocator may give out.
    pub fn add_frames(&self, range: PhysRange) {
        let mut state = self.state();
        let page = state.geometry.page_size();
        let whole = range.shrink_to(page);
        state.frames.free.extend((0..whole.bytes() / page).map(|n| whole.start.offset(n * page)));
    }

    /// Marks the frames of `range` as allocated: they were given out before this allocator existed.
    pub fn claim_frames(&self, range: PhysRange) {
        let mut state = self.state();
        let page = state.geometry.page_size();
        state.frames.out.extend((0..range.bytes() / page).map(|n| range.start.offset(n * page)));
    }

    /// Runs `reserve`, and sets aside for the next window every frame that it allocates and keeps. From then on, until
    /// the CPUs have left that window, a frame of the allocator that becomes a table there has to be one of these, or
    /// to have been a table before. Without it the machine takes any frame that is allocated.
    pub fn set_aside<T>(&self, reserve: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        state.frames.set_aside.get_or_insert_default();
        state.frames.reserving = Reserving::Yes;
        drop(state);
        let reserved = reserve();
        self.state().frames.reserving = Reserving::No;
        reserved
    }

    /// Marks the frames of `range` as data until they are given back: none of them may become a table,
    /// or be written as one.
    pub fn hold_data(&self, range: PhysRange) {
        let mut state = self.state();
        let page = state.geometry.page_size();
        let whole = range.shrink_to(page);
        state.frames.data.extend((0..whole.bytes() / page).map(|n| whole.start.offset(n * page)));
    }

    /// Makes the allocator fail after `frames` more, regardless of the number it reports; `None` for no such limit.
    pub fn limit_frames(&self, frames: Option<u64>) {
        self.state().frames.limit = frames;
    }

    /// Returns the frames that are allocated, in order.
    #[must_use]
    pub fn frames_out(&self) -> Vec<PhysAddr> {
        self.state().frames.out.iter().copied().collect()
    }

    /// Returns the value of a slot, for tests: no CPU's access.
    #[must_use]
    pub fn peek(&self, slot: PhysAddr) -> Descriptor {
        self.state().memory.get(slot)
    }

    /// Changes what a slot holds, for tests that begin with it: no CPU's store. Nothing may have been cached of it.
    pub fn poke(&self, slot: PhysAddr, value: Descriptor) {
        let mut state = self.state();
        state.memory.set(slot, value);
        state.reach = None;
    }
}
