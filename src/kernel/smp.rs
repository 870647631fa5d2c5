//! The other CPUs: started one after the other, checked in under the holding root, admitted, and then at work.
//!
//! A secondary runs on the holding root, which has the kernel half and no linear map, until it is admitted: one that
//! comes late can do no harm, whatever the map is going through. One that does not come at all is named in the report.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a per-CPU block is installed, and TTBR1 changes")]

extern crate alloc;

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use cleave::arch::midr::Midr;
use cleave::arch::{barrier, cache, cpu, hint, interrupts, mmu, timer};
use cleave::linear_map::{BbmLevel, EntryLevel};
use cleave::paging::{PhysAddr, TlbiRepeat, VirtAddr};
use cleave::platform::{Affinity, Conduit, CpuError, EnableMethod};
use cleave::rendezvous::Slot as Timeline;
use spin::Once;

use crate::kernel::boot::{SecondaryBoot, secondary_entry};
use crate::kernel::firmware::{Firmware, PsciError};
use crate::kernel::image::Table;
use crate::kernel::interrupts::{Once as Flag, idle_unless};
use crate::kernel::layout::{Part, Slot};
use crate::kernel::percpu::{PerCpu, this_cpu};
use crate::kernel::{faults, gic, load, memory, repaint, spin_table};

/// Where a CPU stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// Not heard of yet.
    Absent = 0,
    /// In the kernel, under the holding root, its facts written down.
    CheckedIn = 1,
    /// May go over to the real root.
    Admitted = 2,
    /// At work.
    Online = 3,
    /// Came, and cannot be used.
    Unusable = 4,
}

/// The part of a per-CPU block that belongs to this room and the ones that work on every CPU. Written by its own CPU
/// unless said otherwise.
pub(crate) struct Own {
    state: AtomicU8,
    midr: AtomicU32,
    bbm: AtomicU8,
    entry_level: AtomicU8,
    /// Whether it takes part in hardware coherency, as a [`Coherency`].
    coherency: AtomicU8,
    /// Where its redistributor is (GICv3); written before it is started.
    pub(crate) redistributor: AtomicU64,
    /// Its part of the rendezvous' timeline.
    pub(crate) slot: Timeline,
    /// Its part of the load.
    pub(crate) load: load::Counters,
    /// Chunks it claimed in the filling under way; zeroed by the leader before.
    pub(crate) chunks: AtomicU64,
    /// Tables it filled.
    pub(crate) filled: AtomicU64,
    /// Locks it holds.
    pub(crate) locks: AtomicU64,
    /// Whether it has come late once already (fault injection).
    pub(crate) was_late: Flag,
    /// Why it is [`State::Unusable`]: the GIC's error.
    unusable: Once<gic::GicError>,
}

impl Own {
    /// A CPU nobody has heard of.
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(State::Absent as u8),
            midr: AtomicU32::new(0),
            bbm: AtomicU8::new(0),
            entry_level: AtomicU8::new(0),
            coherency: AtomicU8::new(Coherency::Unknown as u8),
            redistributor: AtomicU64::new(0),
            slot: Timeline::new(),
            load: load::Counters::new(),
            chunks: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            locks: AtomicU64::new(0),
            was_late: Flag::new(),
            unusable: Once::new(),
        }
    }

    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Absent,
            1 => State::CheckedIn,
            2 => State::Admitted,
            3 => State::Online,
            _ => State::Unusable,
        }
    }

    fn set_state(&self, state: State) {
        // Release: what was written before it is there for whoever sees it.
        self.state.store(state as u8, Ordering::Release);
        // The state is visible before the event that makes a waiting CPU look.
        barrier::dsb_ishst();
        hint::send_event();
    }

    fn write_facts(&self, id: usize, entry_level: u64) {
        let midr = cpu::midr();
        let features = cpu::features();
        let own = if midr.raises_no_conflict_aborts() { 3 } else { features.bbm };
        let level = faults::args().cpu_bbm(id).map_or(own, |most| own.min(most));
        self.midr.store(midr.0, Ordering::Relaxed);
        self.bbm.store(level, Ordering::Relaxed);
        self.entry_level.store(entry_level as u8, Ordering::Relaxed);
        // A hypervisor would trap the register.
        let smpen = if entry_level == 2 { cpu::takes_part_in_coherency() } else { None };
        let coherency = match smpen {
            None => Coherency::Unknown,
            Some(true) => Coherency::Enabled,
            Some(false) => Coherency::Disabled,
        };
        self.coherency.store(coherency as u8, Ordering::Relaxed);
    }
}

/// What CPUECTLR_EL1.SMPEN says of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Coherency {
    /// The core has no such bit, or may not be asked.
    Unknown = 0,
    /// Set: it takes part.
    Enabled = 1,
    /// Clear: firmware's omission, which nobody below EL3 can mend, or an emulator that has no such bit.
    Disabled = 2,
}

/// How a CPU is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    /// It was running already.
    Boot,
    /// PSCI CPU_ON.
    Psci,
    /// The release address of a spin-table.
    SpinTable,
}

/// One CPU of the device tree.
pub(crate) struct Cpu {
    /// Its number, by the order of the tree.
    pub(crate) id: usize,
    /// Its affinity.
    pub(crate) affinity: Affinity,
    /// How it is started; `None` when the tree names no way.
    pub(crate) method: Option<Method>,
    /// The release word that starts it; `None` for any other way.
    release: Option<PhysAddr>,
    /// Its block, when it got one.
    block: Option<&'static PerCpu>,
    /// What went wrong with it.
    pub(crate) error: Option<Cow<'static, str>>,
}

impl Cpu {
    /// Its block, if it is at work.
    pub(crate) fn online(&self) -> Option<&'static PerCpu> {
        self.block.filter(|block| block.own.state() == State::Online)
    }

    /// Its core, once it has checked in.
    pub(crate) fn midr(&self) -> Option<Midr> {
        self.online().map(|block| Midr(block.own.midr.load(Ordering::Relaxed)))
    }

    /// Whether it takes part in hardware coherency, once it has checked in.
    pub(crate) fn coherency(&self) -> Coherency {
        match self.online().map(|block| block.own.coherency.load(Ordering::Relaxed)) {
            Some(1) => Coherency::Enabled,
            Some(2) => Coherency::Disabled,
            _ => Coherency::Unknown,
        }
    }

    /// What it may be relied on for, once it has checked in.
    pub(crate) fn level(&self) -> Option<(BbmLevel, EntryLevel)> {
        let own = &self.online()?.own;
        let level = BbmLevel::from_number(own.bbm.load(Ordering::Relaxed).into());
        let entry = if own.entry_level.load(Ordering::Relaxed) == 2 { EntryLevel::El2 } else { EntryLevel::El1 };
        Some((level, entry))
    }
}

static CPUS: Once<Vec<Cpu>> = Once::new();

/// Every CPU of the device tree, once they are started.
pub(crate) fn cpus() -> &'static [Cpu] {
    CPUS.get().map_or(&[], Vec::as_slice)
}

/// Those at work.
pub(crate) fn online() -> impl Iterator<Item = &'static PerCpu> {
    cpus().iter().filter_map(Cpu::online)
}

/// How many are at work.
pub(crate) fn online_count() -> u32 {
    online().count() as u32
}

/// Whether some core of the system needs its broadcast invalidations done twice.
pub(crate) fn tlbi_repeat() -> TlbiRepeat {
    let needed = cpus().iter().filter_map(Cpu::midr).any(Midr::needs_tlbi_repeat);
    if needed { TlbiRepeat::Twice } else { TlbiRepeat::Once }
}

/// Where each CPU's redistributor is; empty with GICv2.
pub(crate) type Redistributors = Vec<(Affinity, VirtAddr)>;

/// A CPU as the device tree has it, or why it cannot be told.
pub(crate) type Found = Result<cleave::platform::Cpu<'static>, CpuError<'static>>;

/// Gives the boot CPU its block and its interrupts.
///
/// # Panics
/// When the tree does not have it, or its interrupts cannot be set up: nothing else would work.
pub(crate) fn init_boot_cpu(cpus: &[Found], entry_level: u64, redistributors: &Redistributors) {
    let mpidr = cpu::mpidr();
    let me = Affinity::from_mpidr(mpidr);
    let found = cpus.iter().flatten().find(|cpu| cpu.affinity == me);
    let id = found.unwrap_or_else(|| panic!("the device tree does not have the CPU this runs on, {me}")).id;
    let block = PerCpu::new(id, mpidr, crate::kernel::image::boot_slot());
    // SAFETY: the boot slot is part of the image and this CPU's alone; its block is written here, once.
    unsafe {
        let block = block.install();
        crate::kernel::percpu::set_this_cpu(block);
    }
    let own = &this_cpu().own;
    own.redistributor.store(redistributor(redistributors, mpidr), Ordering::Relaxed);
    own.write_facts(id, entry_level);
    init_interrupts(own).unwrap_or_else(|error| panic!("interrupt controller: {error}"));
    own.set_state(State::Online);
}

fn redistributor(redistributors: &Redistributors, mpidr: u64) -> u64 {
    let affinity = Affinity::from_mpidr(mpidr);
    redistributors.binary_search_by_key(&affinity, |entry| entry.0).map_or(0, |index| redistributors[index].1.0)
}

fn init_interrupts(own: &Own) -> Result<(), gic::GicError> {
    let Some(controller) = gic::get() else { return Ok(()) };
    let base = own.redistributor.load(Ordering::Relaxed);
    let base = (base != 0).then_some(VirtAddr(base));
    // SAFETY: zero or an address that the walk over the redistributors gave; they stay mapped.
    unsafe { controller.init_cpu(base) }.map(|_| ())
}

/// Starts every other CPU of the tree and waits until each is at work or its time is over.
pub(crate) fn start_others(cpus: Vec<Found>, conduit: Option<Conduit>, redistributors: &Redistributors) {
    let mut list = Vec::new();
    let me = Affinity::from_mpidr(cpu::mpidr());
    for found in cpus {
        list.push(match found {
            Ok(found) if found.affinity == me => {
                let method = Some(Method::Boot);
                Cpu { id: found.id, affinity: me, method, release: None, block: Some(this_cpu()), error: None }
            }
            Ok(found) => start(&found, conduit, redistributors),
            Err(error) => Cpu {
                id: error.id,
                affinity: Affinity::from_mpidr(0),
                method: None,
                release: None,
                block: None,
                error: Some(Cow::Owned(format!("{error}"))),
            },
        });
    }
    // Only when every record is in the chain: a tree may give several CPUs the same release word.
    for cpu in &mut list {
        if let (Some(word), Some(_)) = (cpu.release, cpu.block)
            && let Err(error) = spin_table::release(word)
        {
            cpu.block = None;
            cpu.error = Some(Cow::Owned(format!("{error}")));
        }
    }
    await_all(&mut list, conduit);
    CPUS.call_once(|| list);
}

fn start(found: &cleave::platform::Cpu<'static>, conduit: Option<Conduit>, redistributors: &Redistributors) -> Cpu {
    let mut cpu = Cpu { id: found.id, affinity: found.affinity, method: None, release: None, block: None, error: None };
    let started = match found.enable_method {
        EnableMethod::Psci => {
            cpu.method = Some(Method::Psci);
            match conduit {
                Some(conduit) => start_by_psci(&mut cpu, Firmware::behind(conduit), redistributors),
                None => Err(Cow::Borrowed("enable-method psci, but the device tree has no usable psci node")),
            }
        }
        EnableMethod::SpinTable { release } => {
            cpu.method = Some(Method::SpinTable);
            cpu.release = Some(release);
            prepare(&mut cpu, redistributors).map(spin_table::enlist)
        }
        EnableMethod::SpinTableWithoutAddress => {
            cpu.method = Some(Method::SpinTable);
            Err(Cow::Borrowed("enable-method spin-table, but no cpu-release-addr that can be read"))
        }
        EnableMethod::Missing => Err(Cow::Borrowed("no enable-method in the device tree")),
        EnableMethod::Unknown(method) => Err(Cow::Owned(format!("unknown enable-method {method}"))),
    };
    cpu.error = started.err();
    cpu
}

/// Where a CPU's record lies.
#[derive(Clone, Copy)]
pub(crate) struct RecordPlace {
    /// Where it is written.
    pub(crate) address: VirtAddr,
    /// Where the CPU reads it, its MMU off.
    pub(crate) physical: PhysAddr,
}

fn start_by_psci(cpu: &mut Cpu, firmware: Firmware, redistributors: &Redistributors) -> Result<(), Cow<'static, str>> {
    let record = prepare(cpu, redistributors)?;
    let result = match faults::args().fault_cpu_psci(cpu.id) {
        Some(code) => Err(PsciError::from_code(code.into())),
        None => firmware.cpu_on(cpu.affinity, secondary_entry(), record.physical.0),
    };
    result.map_err(|error| {
        cpu.block = None;
        Cow::Owned(format!("PSCI CPU_ON: {error}"))
    })
}

/// Gives the CPU its stacks, its block, and the record it starts from, which is at the point of coherency after this.
fn prepare(cpu: &mut Cpu, redistributors: &Redistributors) -> Result<RecordPlace, Cow<'static, str>> {
    let slot = Slot::of_cpu(cpu.id as u64).ok_or("no room in the kernel area for its stacks")?;
    for range in slot.mapped() {
        memory::map_new(range.start, range.end.0 - range.start.0)
            .map_err(|error| Cow::Owned(format!("its stacks: {error}")))?;
    }
    let mpidr = cpu.affinity.bits();
    // SAFETY: the slot was mapped just now, for good, and no CPU runs on it.
    let address = unsafe { PerCpu::new(cpu.id, mpidr, slot).install() };
    // SAFETY: installed just now; from here on it is only ever shared.
    let block: &'static PerCpu = unsafe { &*(address.0 as *const PerCpu) };
    block.own.redistributor.store(redistributor(redistributors, mpidr), Ordering::Relaxed);
    if gic::get().is_some_and(|controller| controller.version() == 3)
        && block.own.redistributor.load(Ordering::Relaxed) == 0
    {
        return Err("no GICv3 redistributor has its affinity".into());
    }
    let record = SecondaryBoot {
        ttbr1: Table::HoldingRoot.phys().0,
        stack: slot.top(Part::Thread).0,
        exception_stack: slot.top(Part::Exception).0,
        per_cpu: address.0,
        entry: secondary as *const () as u64,
        argument: address.0,
        mpidr,
        next: 0,
    };
    // At the far end of the block's page: read once, with the MMU off, while nothing else is in that line.
    let at = slot.range(Part::Block).end.0 - size_of::<SecondaryBoot>() as u64;
    // SAFETY: inside the page mapped above, behind the block (asserted in `percpu`), aligned to 64 bytes.
    unsafe { (at as *mut SecondaryBoot).write(record) };
    // The CPU reads it past the caches.
    cache::clean(VirtAddr(at)..slot.range(Part::Block).end);
    cpu.block = Some(block);
    Ok(RecordPlace { address: VirtAddr(at), physical: PhysAddr(physical_of(VirtAddr(at))) })
}

/// The physical address of something in the kernel half, by asking the tables.
fn physical_of(address: VirtAddr) -> u64 {
    cleave::paging::translate(&crate::kernel::views::View::LINEAR, memory::GEOMETRY, memory::root(), address)
        .unwrap_or_else(|| panic!("{address} was mapped just now"))
        .1
        .0
}

/// Waits for the CPUs that were started and admits each as it checks in.
fn await_all(list: &mut [Cpu], conduit: Option<Conduit>) {
    let waiting = list.iter().filter(|cpu| cpu.block.is_some()).count() as u64;
    let patience = repaint::patience(waiting);
    let start = timer::count();
    let mut expired = false;
    loop {
        let mut open = false;
        for cpu in list.iter_mut() {
            let Some(block) = cpu.block else { continue };
            match block.own.state() {
                State::CheckedIn if !expired => {
                    block.own.set_state(State::Admitted);
                    open = true;
                }
                State::Absent | State::CheckedIn if expired => {
                    cpu.block = None;
                    cpu.error = Some(did_not_come(cpu.affinity, conduit));
                }
                State::Unusable => {
                    cpu.error = Some(match block.own.unusable.get() {
                        Some(error) => Cow::Owned(format!("{error}")),
                        None => Cow::Borrowed("not usable"),
                    });
                    cpu.block = None;
                }
                State::Absent | State::CheckedIn | State::Admitted => open = true,
                State::Online => {}
            }
        }
        if !open {
            return;
        }
        expired = timer::count().wrapping_sub(start) > patience;
        hint::wait_for_event();
    }
}

/// What is known of a CPU that was started and has not checked in.
fn did_not_come(affinity: Affinity, conduit: Option<Conduit>) -> Cow<'static, str> {
    match conduit.map(|conduit| Firmware::behind(conduit).affinity_info(affinity)) {
        Some(Ok(power)) => Cow::Owned(format!("started, did not check in in time; firmware says it is {power}")),
        Some(Err(error)) => Cow::Owned(format!("started, did not check in in time; AFFINITY_INFO: {error}")),
        None => Cow::Borrowed("started, did not check in in time"),
    }
}

/// Where a secondary enters Rust: MMU and caches on, the holding root, interrupts masked.
extern "C" fn secondary(_block: u64, entry_level: u64) -> ! {
    let cpu = this_cpu();
    if faults::args().fault_cpu_absent(cpu.id) {
        crate::kernel::power::halt();
    }
    cpu.own.write_facts(cpu.id, entry_level);
    if let Err(error) = init_interrupts(&cpu.own) {
        cpu.own.unusable.call_once(|| error);
        cpu.own.set_state(State::Unusable);
        crate::kernel::power::halt();
    }
    cpu.own.set_state(State::CheckedIn);
    while cpu.own.state() != State::Admitted {
        hint::wait_for_event();
    }
    // SAFETY: the real root has all the holding root has, and the linear map, which nobody is changing: a CPU is
    // admitted before the decision, while the map is as it was painted.
    unsafe { mmu::switch_ttbr1(memory::root()) };
    cpu.own.set_state(State::Online);
    interrupts::unmask();
    work(cpu)
}

/// What a CPU does when nobody calls it.
fn work(cpu: &'static PerCpu) -> ! {
    loop {
        repaint::help(cpu);
        if load::is_on() {
            load::step(cpu);
            // Other CPUs of an emulator that runs them all in one thread get their turn.
            hint::yield_now();
        } else {
            idle_unless(|| load::is_on() || repaint::wants_help());
        }
    }
}
