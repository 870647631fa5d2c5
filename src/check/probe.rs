// SPDX-License-Identifier: MIT OR Apache-2.0
//! The self-test's probe: inside the window the leader and one follower load an address of the linear map that they
//! warmed before. The loads must fault. Where the linear map is not broken, a root entry of the probe's own is.
//!
//! An emulator forgives a missing TLB invalidation in everything but this: a translation that is still cached goes on
//! working, and the probe sees it.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "loads that are meant to fault")]

use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::options::{self, Fault};
use cleave::aarch64::{barrier, hint, timer};
use cleave::deadline::Deadline;
use cleave::linear_map::free_tables;
use cleave::tables::{
    Cpu, Level, MapError, PhysAddr, PhysRange, TableTree, TlbiRepeat, VirtAddr, clear_entries, copy_entries,
    invalidate_everywhere, slot, unlink,
};

use crate::check::inject;
use crate::cpu::percpu;
use crate::cpu::smp;
use crate::irq::exceptions::faulting_load;
use crate::mm::image::Table;
use crate::mm::layout::{PAGE, SCRATCH};
use crate::mm::memory;
use crate::mm::memory::GEOMETRY;
use crate::mm::views::{ThisCpu, View};

/// The value of [`FOLLOWER`] when no follower probes.
const NO_CPU: usize = usize::MAX;

static FOLLOWER: AtomicUsize = AtomicUsize::new(NO_CPU);
static STAGE: AtomicU8 = AtomicU8::new(IDLE);
static ADDRESS: AtomicU64 = AtomicU64::new(0);
static LEADER: AtomicU8 = AtomicU8::new(UNKNOWN);
static RESULT: AtomicU8 = AtomicU8::new(UNKNOWN);

const IDLE: u8 = 0;
const WARM: u8 = 1;
const WARMED: u8 = 2;
const GO: u8 = 3;
const DONE: u8 = 4;

const UNKNOWN: u8 = 0;
const FAULTED: u8 = 1;
const LOADED: u8 = 2;

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The load faulted, as it must.
    Faulted,
    /// The load went through: a stale translation.
    Loaded,
    /// There was no such CPU, or it did not get to it.
    Unknown,
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Faulted => "faulted, as it must",
            Self::Loaded => "went through a stale translation",
            Self::Unknown => "no answer",
        })
    }
}

fn outcome(of: &AtomicU8) -> Outcome {
    match of.load(Ordering::Acquire) {
        FAULTED => Outcome::Faulted,
        LOADED => Outcome::Loaded,
        _ => Outcome::Unknown,
    }
}

/// Returns the outcomes of the leader's probe and of the follower's; `None` where there was no follower.
pub(crate) fn outcomes() -> (Outcome, Option<Outcome>) {
    let follower = FOLLOWER.load(Ordering::Relaxed) != NO_CPU;
    (outcome(&LEADER), follower.then(|| outcome(&RESULT)))
}

/// Returns the probed page: the last one of the first region of memory.
fn page() -> PhysAddr {
    PhysAddr(memory::layout().regions()[0].end.0 - PAGE)
}

/// Chooses a follower, and an address of the linear map.
pub(crate) fn arm() {
    arm_for(memory::linear(page()));
}

fn arm_for(address: VirtAddr) {
    ADDRESS.store(address.0, Ordering::Relaxed);
    let me = percpu::this_cpu().id;
    let follower = smp::online().map(|cpu| cpu.id).find(|&id| id != me).unwrap_or(NO_CPU);
    FOLLOWER.store(follower, Ordering::Relaxed);
    STAGE.store(WARM, Ordering::Release);
}

fn load() -> u8 {
    match faulting_load(VirtAddr(ADDRESS.load(Ordering::Relaxed))) {
        Some(_) => LOADED,
        None => FAULTED,
    }
}

/// Polls on a parked follower: the chosen one warms its TLB and probes, and spins in between (true: do not sleep).
pub(crate) fn poll() -> bool {
    let stage = STAGE.load(Ordering::Acquire);
    if stage == IDLE || stage == DONE || percpu::this_cpu().id != FOLLOWER.load(Ordering::Relaxed) {
        return false;
    }
    match stage {
        WARM => {
            load();
            STAGE.store(WARMED, Ordering::Release);
        }
        GO => {
            RESULT.store(load(), Ordering::Release);
            STAGE.store(DONE, Ordering::Release);
        }
        _ => {}
    }
    // The stage is visible before the event for the leader's wait.
    barrier::dsb_ishst();
    hint::send_event();
    hint::yield_now();
    true
}

fn await_stage(stage: u8) {
    // Bounded: a probe that never answers must not hang the machine; its result then stays unknown, and the self-test
    // fails.
    let mut deadline = Deadline::new(timer::count(), timer::frequency());
    while STAGE.load(Ordering::Acquire) != stage && !deadline.has_passed(timer::count()) {
        hint::wait_for_event();
    }
}

/// A CPU that does something in the middle of break-before-make: at the ISB behind the invalidation, when the entry is
/// broken and everything should be gone.
pub(crate) struct ProbingCpu {
    plan: Plan,
    invalidated: core::cell::Cell<bool>,
}

/// The act of a [`ProbingCpu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Probes.
    Probe,
    /// Probes, the invalidation left out (`fault=probe.notlbi`): the self-test must fail.
    ProbeWithoutInvalidation,
    /// Probes, the invalidation done on this CPU alone (`fault=probe.local`): the follower's load must go through.
    ProbeWithLocalInvalidation,
    /// Touches the linear map as if by mistake (`fault=window.touch`): the run must end in a fault.
    Touch,
}

impl Plan {
    /// Chooses by the faults that are injected.
    pub(crate) fn chosen() -> Self {
        let injects = |fault| options::current().injects(fault);
        match () {
            () if injects(Fault::WindowTouch) => Self::Touch,
            () if injects(Fault::ProbeNoTlbi) => Self::ProbeWithoutInvalidation,
            () if injects(Fault::ProbeLocal) => Self::ProbeWithLocalInvalidation,
            () => Self::Probe,
        }
    }

    /// Returns true for a fault that leaves stale translations somewhere.
    const fn leaves_some(self) -> bool {
        matches!(self, Self::ProbeWithoutInvalidation | Self::ProbeWithLocalInvalidation)
    }
}

/// A page mapped below a root entry of its own, to be broken in a rendezvous instead of the linear map. Dropping it gives
/// its tables back.
pub(crate) struct Scratch;

/// Returns a view of the roots.
fn roots() -> View {
    // SAFETY: the scratch page's root entry and the spare root are the probe's while no repaint is under way.
    unsafe { View::image() }
}

impl Scratch {
    /// Maps it, and chooses a follower.
    ///
    /// # Errors
    /// When there is no frame for a table.
    pub(crate) fn map() -> Result<Self, MapError> {
        let (scratch, page) = (Self, page());
        let mapped = memory::map_again(VirtAddr(SCRATCH), PhysRange::new(page, page.offset(PAGE)));
        // Remembered for `drop`: the probe empties the entry.
        copy_entries(&roots(), Table::Root.phys(), Table::TemporaryRoot.phys(), Self::entries());
        mapped?;
        arm_for(VirtAddr(SCRATCH));
        Ok(scratch)
    }

    fn entries() -> core::ops::Range<usize> {
        let entry = GEOMETRY.index(VirtAddr(SCRATCH), Level::L0);
        entry..entry + 1
    }

    /// Removes the entry on the leader while every CPU is parked, as a repaint does with those of the linear map, and
    /// probes.
    pub(crate) fn probe(&self) {
        Self::unlink(&ProbingCpu::new(Plan::chosen()));
    }

    fn unlink(cpu: &impl Cpu) {
        unlink(&roots(), cpu, slot(Table::Root.phys(), Self::entries().start), smp::tlbi_repeat());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // When the rendezvous was refused, no CPU has probed it.
        Self::unlink(&ThisCpu);
        let (roots, spare, entries) = (roots(), Table::TemporaryRoot.phys(), Self::entries());
        // SAFETY: the map is whole, and the scratch page's tables are unlinked: no other code has them.
        let tables = unsafe { View::linear() };
        let tree = TableTree { memory: tables, geometry: GEOMETRY, root: spare };
        free_tables(&tree, &roots, entries.clone(), &mut *memory::frames());
        clear_entries(&roots, spare, entries);
    }
}

impl ProbingCpu {
    /// Warms the TLBs of the leader and the follower, while every CPU is parked and the map is still whole.
    pub(crate) fn new(plan: Plan) -> Self {
        load();
        if FOLLOWER.load(Ordering::Relaxed) != NO_CPU {
            wake_follower();
            await_stage(WARMED);
        }
        Self { plan, invalidated: core::cell::Cell::new(false) }
    }

    fn probe(&self) {
        if self.plan == Plan::Touch {
            inject::touch_linear_map();
        }
        LEADER.store(load(), Ordering::Release);
        if FOLLOWER.load(Ordering::Relaxed) != NO_CPU {
            STAGE.store(GO, Ordering::Release);
            wake_follower();
            await_stage(DONE);
        }
        STAGE.store(IDLE, Ordering::Release);
        if self.plan.leaves_some() {
            // The defect has been seen; the commit itself is to stay sound, on a board too.
            invalidate_everywhere(&ThisCpu, TlbiRepeat::Twice);
        }
    }
}

/// Wakes the follower, which sleeps in WFI until a call is pending.
fn wake_follower() {
    use cleave::rendezvous::Host;
    crate::irq::ipi::ThisCpu.send_ipi();
}

impl Cpu for ProbingCpu {
    fn dsb_ishst(&self) {
        ThisCpu.dsb_ishst();
    }
    fn dsb_ish(&self) {
        ThisCpu.dsb_ish();
    }
    fn dsb_nsh(&self) {
        ThisCpu.dsb_nsh();
    }
    fn isb(&self) {
        ThisCpu.isb();
        if self.invalidated.take() {
            self.probe();
        }
    }
    fn tlbi_vmalle1is(&self) {
        self.invalidated.set(true);
        match self.plan {
            Plan::Probe | Plan::Touch => ThisCpu.tlbi_vmalle1is(),
            Plan::ProbeWithLocalInvalidation => ThisCpu.tlbi_vmalle1(),
            Plan::ProbeWithoutInvalidation => {}
        }
    }
    fn tlbi_vmalle1(&self) {
        ThisCpu.tlbi_vmalle1();
    }
    fn repeat_tlbi_workaround(&self) {
        ThisCpu.repeat_tlbi_workaround();
    }
    fn set_ttbr0(&self, root: PhysAddr) {
        ThisCpu.set_ttbr0(root);
    }
}
