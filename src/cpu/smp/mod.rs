// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bring-up of the secondary CPUs: started one after the other, checked in under the holding root, admitted, and
//! online.
//!
//! A secondary runs on the holding root, which has the kernel half and no linear map, until it is admitted: a late CPU
//! does no harm in any state of the map. A CPU that does not come at all is named in the report.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a per-CPU block is installed")]

extern crate alloc;

mod secondary;
mod start;

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use crate::devicetree::{Affinity, CpuError};
use crate::options;
use cleave::aarch64::cpu;
use cleave::aarch64::midr::Midr;
use cleave::aarch64::tlbi_repeat as repeat_for;
use cleave::aarch64::{BbmLevel, CpuFacts, EntryLevel};
use cleave::rendezvous::OnlineCpus;
use cleave::tables::{PhysAddr, TlbiRepeat, VirtAddr};
use spin::Once;

use crate::cpu::method::Method;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::retries::Retries;
use crate::cpu::state::{CpuState, Stage};
use crate::irq::gic;
use crate::mm::init_data::ro_after_init;

pub(crate) use start::{RecordPlace, start_others};

/// One CPU of the device tree.
pub(crate) struct Cpu {
    /// Its number, by the order of the tree.
    pub(crate) id: usize,
    /// Its affinity.
    pub(crate) affinity: Affinity,
    /// The method by which it is started; `None` when the tree names none.
    pub(crate) method: Option<Method>,
    /// The release word that starts it; `None` for any other way.
    release: Option<PhysAddr>,
    /// Its block, when it got one.
    block: Option<&'static PerCpu>,
    /// Its error.
    pub(crate) error: Option<Cow<'static, str>>,
}

impl Cpu {
    /// Returns the per-CPU block, if the CPU is online.
    pub(crate) fn online(&self) -> Option<&'static PerCpu> {
        self.block.filter(|block| block.state.stage() == Stage::Online)
    }

    /// Returns the CPU's MIDR_EL1, once it has checked in.
    pub(crate) fn midr(&self) -> Option<Midr> {
        self.online().map(|block| Midr(block.state.midr.load(Ordering::Relaxed)))
    }

    /// Returns its CPUECTLR_EL1.SMPEN, once it has checked in, if its core has one that may be read.
    pub(crate) fn smpen(&self) -> Option<bool> {
        self.online()?.state.smpen.get().copied()
    }

    /// Returns the CPU's CNTFRQ_EL0, in Hz, once it has checked in.
    pub(crate) fn counter_frequency(&self) -> Option<u64> {
        self.online().map(|block| block.state.counter_frequency.load(Ordering::Relaxed))
    }

    /// Returns the level of FEAT_BBM it counts as and its exception level at entry, once it has checked in.
    pub(crate) fn level(&self) -> Option<(BbmLevel, EntryLevel)> {
        self.online().map(level)
    }
}

/// Returns what the registers of a CPU that is online say.
fn facts(cpu: &PerCpu) -> CpuFacts {
    let own = &cpu.state;
    let entry = if own.entry_level.load(Ordering::Relaxed) == 2 { EntryLevel::El2 } else { EntryLevel::El1 };
    CpuFacts { midr: Midr(own.midr.load(Ordering::Relaxed)), bbm: own.bbm.load(Ordering::Relaxed), entry }
}

/// Returns the level of FEAT_BBM that a CPU which is online counts as, and its exception level at entry.
fn level(cpu: &PerCpu) -> (BbmLevel, EntryLevel) {
    let facts = facts(cpu);
    let at_most = options::current().cpu_bbm(cpu.id).map(|level| BbmLevel::from_number(level.into()));
    (facts.level(at_most), facts.entry)
}

ro_after_init! {
    static CPUS: Once<Vec<Cpu>> = Once::new();

    /// The boot CPU's block, once it has one.
    static BOOT_CPU: Once<&'static PerCpu> = Once::new();
}

/// Returns every CPU of the device tree, once they are started.
pub(crate) fn cpus() -> &'static [Cpu] {
    CPUS.get().map_or(&[], Vec::as_slice)
}

/// Iterates over the per-CPU blocks of the online CPUs: of the boot CPU alone until all the others are started.
pub(crate) fn online() -> impl Iterator<Item = &'static PerCpu> {
    let alone = if CPUS.get().is_none() { BOOT_CPU.get().copied() } else { None };
    alone.into_iter().chain(cpus().iter().filter_map(Cpu::online))
}

/// Returns the level of FEAT_BBM and the exception level at entry of each online CPU.
pub(crate) fn levels() -> impl Iterator<Item = (BbmLevel, EntryLevel)> {
    online().map(level)
}

/// Returns the number of faults of one kind that the online CPUs have retried.
pub(crate) fn retried(of: impl Fn(&PerCpu) -> &Retries) -> u64 {
    online().map(|cpu| of(cpu).total.load(Ordering::Relaxed)).sum()
}

/// Returns the number of CPUs at work.
pub(crate) fn online_count() -> u32 {
    online().count() as u32
}

/// Counts the CPUs at work, for a rendezvous.
pub(crate) fn online_cpus() -> OnlineCpus {
    // SAFETY: each CPU has a slot in its own block and attends with it. CPUs come to work in `start_others` alone: the boot CPU
    // leads none while it is in there, and may lead one of itself alone before; none leaves, but to stop for good when the run
    // ends.
    unsafe { OnlineCpus::of(online().map(|cpu| &cpu.state.slot)) }
}

/// Returns whether broadcast invalidations have to be done twice on the CPUs that are at work.
pub(crate) fn tlbi_repeat() -> TlbiRepeat {
    repeat_for(online().map(facts))
}

/// Returns true when every CPU at work has FEAT_TLBIRANGE.
pub(crate) fn have_range_tlbi() -> bool {
    online().all(|cpu| cpu.state.range_tlbi.load(Ordering::Relaxed))
}

/// Work for CPUs that are at no rendezvous.
pub(crate) struct Job {
    /// Returns true when there is work for this CPU.
    pub(crate) wants: fn(&PerCpu) -> bool,
    /// Does some of it.
    pub(crate) run: fn(&'static PerCpu),
}

/// Calls at points of a CPU's life. Installed from above: nothing here depends on it.
pub(crate) struct Hooks {
    /// A secondary has entered Rust, and has not checked in.
    pub(crate) secondary_entered: fn(&PerCpu),
    /// A CPU is about to write down what its registers hold.
    pub(crate) before_facts: fn(),
    /// Returns the answer of CPU_ON for the CPU of that number, in place of firmware's.
    pub(crate) cpu_on_answer: fn(usize) -> Option<i32>,
    /// The work of CPUs that are at no rendezvous, in the order in which it is offered.
    pub(crate) jobs: &'static [Job],
}

ro_after_init! {
    static HOOKS: Once<Hooks> = Once::new();
}

/// Installs the hooks of bring-up and the jobs of every CPU. The first call counts; before it CPUs only sleep.
pub(crate) fn install(hooks: Hooks) {
    HOOKS.call_once(|| hooks);
}

fn hooks(call: impl FnOnce(&Hooks)) {
    if let Some(hooks) = HOOKS.get() {
        call(hooks);
    }
}

/// The address of each CPU's redistributor; empty with GICv2.
pub(crate) type Redistributors = Vec<(Affinity, VirtAddr)>;

/// A CPU as the device tree has it, or why it cannot be told.
pub(crate) type Found = Result<crate::devicetree::Cpu<'static>, CpuError<'static>>;

/// Gives the boot CPU its block and its interrupts.
///
/// # Panics
/// When the tree does not have it, or its interrupts cannot be set up: nothing else would work.
pub(crate) fn init_boot_cpu(cpus: &[Found], entry_level: u64, redistributors: &Redistributors) {
    let mpidr = cpu::mpidr();
    let me = Affinity::from_mpidr(mpidr);
    let found = cpus.iter().flatten().find(|cpu| cpu.affinity == me);
    let id = found.unwrap_or_else(|| panic!("the device tree does not have the CPU this runs on, {me}")).id;
    let block = PerCpu::new(id, mpidr, crate::mm::image::boot_slot());
    // SAFETY: the boot slot is part of the image and this CPU's alone; its block is written here, once.
    unsafe {
        let block = block.install();
        crate::cpu::percpu::set_this_cpu(block);
    }
    let own = &this_cpu().state;
    own.redistributor.store(redistributor(redistributors, mpidr), Ordering::Relaxed);
    hooks(|hooks| (hooks.before_facts)());
    own.write_facts(entry_level);
    init_interrupts(own).unwrap_or_else(|error| panic!("interrupt controller: {error}"));
    own.set_stage(Stage::Online);
    BOOT_CPU.call_once(this_cpu);
}

fn redistributor(redistributors: &Redistributors, mpidr: u64) -> u64 {
    let affinity = Affinity::from_mpidr(mpidr);
    redistributors.binary_search_by_key(&affinity, |entry| entry.0).map_or(0, |index| redistributors[index].1.0)
}

fn init_interrupts(own: &CpuState) -> Result<(), gic::GicError> {
    let Some(controller) = gic::get() else { return Ok(()) };
    let base = own.redistributor.load(Ordering::Relaxed);
    let base = (base != 0).then_some(VirtAddr(base));
    // SAFETY: zero or an address that the walk over the redistributors gave; they stay mapped.
    unsafe { controller.init_cpu(base) }.map(|_| ())
}

/// Returns the work of CPUs that are at no rendezvous.
fn jobs() -> &'static [Job] {
    HOOKS.get().map_or(&[], |hooks| hooks.jobs)
}

/// Performs a step of each job that is pending for `cpu`, this one, and returns true when there was one.
pub(crate) fn work_once(cpu: &'static PerCpu) -> bool {
    let mut worked = false;
    for job in jobs().iter().filter(|job| (job.wants)(cpu)) {
        (job.run)(cpu);
        worked = true;
    }
    worked
}
