// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fault injection: the faults that boot arguments ask for. Each shows that something the kernel claims to survive, or to
//! notice, is survived or noticed.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "some faults are made by doing what must not be done")]

extern crate alloc;

use alloc::boxed::Box;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::options::{self, Banned, Bootargs, Fault};
use cleave::aarch64::instruction::Instruction;
use cleave::aarch64::syndrome::Syndrome;
use cleave::aarch64::{hint, timer};
use cleave::rendezvous::{Host, Leader, OnlineCpus};
use cleave::tables::{Cpu, PhysAddr, VirtAddr};

use crate::cpu::lock::{self, IrqLock};
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::power;
use crate::cpu::smp;
use crate::irq::exceptions::errors;
use crate::irq::ipi::{self, RENDEZVOUS};
use crate::mm::image::Section;
use crate::mm::layout::MAX_SLOTS;
use crate::mm::memory;
use crate::mm::patch::{Others, patch};
use crate::mm::views::ThisCpu;

/// Arms the faults that `args` asks for and that are looked for often: looked up once, since the arguments are read anew at
/// every question.
pub(crate) fn arm(args: &Bootargs<'static>) {
    for fault in args.faults() {
        match fault {
            Fault::LockCall => HOOKS_LOCKS.store(true, Ordering::Relaxed),
            Fault::FrameLeak => LEAKS.store(true, Ordering::Relaxed),
            Fault::CpuWxn { .. } => DROPS_WXN.store(true, Ordering::Relaxed),
            Fault::CpuStall { cpu, milliseconds } => {
                STALL.store(milliseconds, Ordering::Relaxed);
                STALLS.store(cpu + 1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Makes every lock call [`at_lock`] from here on: `fault=lock.call`.
///
/// # Panics
/// When the lock's code cannot be changed.
pub(crate) fn hook_locks() {
    if !HOOKS_LOCKS.load(Ordering::Relaxed) {
        return;
    }
    let from = lock::hook_at_locks();
    let branch =
        Instruction::branch(from, VirtAddr(at_lock as *const () as u64)).expect("the image is smaller than 128 MiB");
    // SAFETY: `at_lock` returns to the lock, as the RET behind the NOP does.
    let patched = unsafe { patch(from, Instruction::NOP, branch, Others::Run) };
    patched.unwrap_or_else(|error| panic!("fault: {error}"));
}

/// The CPUs that have come late once already, a bit each.
static WAS_LATE: [AtomicU64; (MAX_SLOTS as usize).div_ceil(64)] =
    [const { AtomicU64::new(0) }; (MAX_SLOTS as usize).div_ceil(64)];

/// Keeps this CPU from the rendezvous for as long as `cpuN.late:MS` says, once.
pub(crate) fn come_late() {
    let cpu = this_cpu();
    let Some(late) = options::current().fault_cpu_late(cpu.id) else { return };
    let bit = 1 << (cpu.id % 64);
    if WAS_LATE[cpu.id / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        wait(ticks(late));
    }
}

fn ticks(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(timer::frequency()) / 1000
}

fn wait(ticks: u64) {
    let start = timer::count();
    while timer::count().wrapping_sub(start) < ticks {
        hint::wait_for_event();
    }
}

/// The CPU, by its number and one more, that is to stop while it fills tables, and for how many milliseconds; 0 for none.
static STALLS: AtomicUsize = AtomicUsize::new(0);
static STALL: AtomicU64 = AtomicU64::new(0);

/// Returns for how many ticks `cpuN.stall:MS` stops this CPU, which is about to fill tables; `None` once it has stopped.
pub(crate) fn stalls(cpu: usize) -> Option<u64> {
    let chosen = STALLS.load(Ordering::Relaxed) == cpu + 1;
    chosen.then(|| ticks(STALL.load(Ordering::Relaxed)))
}

/// Waits on the leader until the CPU that is to stop while it fills tables has filled some and has stopped. The
/// leader's share is left for it meanwhile, however late it comes; five seconds are for a host that is busy.
pub(crate) fn let_stall() {
    let start = timer::count();
    while STALLS.load(Ordering::Relaxed) != 0 && timer::count().wrapping_sub(start) < 5 * timer::frequency() {
        hint::wait_for_event();
    }
}

/// A CPU that stops at its first DSB ISHST: when it fills tables, after it has filled some and before it says so.
pub(crate) struct Stalling {
    ticks: Cell<u64>,
}

impl Stalling {
    /// Stops for `ticks`.
    pub(crate) const fn new(ticks: u64) -> Self {
        Self { ticks: Cell::new(ticks) }
    }
}

impl Cpu for Stalling {
    fn dsb_ishst(&self) {
        let ticks = self.ticks.take();
        if ticks != 0 {
            STALLS.store(0, Ordering::Relaxed);
        }
        wait(ticks);
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
    }
    fn tlbi_vmalle1is(&self) {
        ThisCpu.tlbi_vmalle1is();
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

/// The CPU, by its number and one more, whose stack is to overflow; 0 for none.
static OVERFLOWS: AtomicUsize = AtomicUsize::new(0);

/// Returns true when the stack of `cpu` is to overflow: `fault=stack.secondary`.
pub(crate) fn is_to_overflow(cpu: &PerCpu) -> bool {
    OVERFLOWS.load(Ordering::Relaxed) == cpu.id + 1
}

/// Calls made by [`at_lock`].
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Calls this CPU to the rendezvous while it holds a lock, at every lock: `fault=lock.call`. The call must not be taken
/// before the lock is released, which the interrupt's handler checks.
extern "C" fn at_lock() {
    CALLS.fetch_add(1, Ordering::Relaxed);
    ipi::send_ipi_to_self();
}

/// Says how often [`at_lock`] called.
pub(crate) fn record_calls() {
    if options::current().injects(Fault::LockCall) {
        log::info!("called at {} locks, and taken behind each", CALLS.load(Ordering::Relaxed));
    }
}

/// A lock that only the injected fault takes.
static PROBE_LOCK: IrqLock<()> = IrqLock::new("fault", ());

/// Returns true when a fault is to be injected inside the window.
pub(crate) fn any_in_window() -> bool {
    let made = |fault| matches!(fault, Fault::Ban { .. } | Fault::CpuBan { .. } | Fault::RendezvousSecond);
    options::current().faults().any(made)
}

/// Something to give back inside the window, from a box that was made outside; null once it is gone.
static HELD: AtomicPtr<u64> = AtomicPtr::new(core::ptr::null_mut());

/// Makes what [`in_window`] may have to give back.
pub(crate) fn before_window() {
    HELD.store(Box::into_raw(Box::new(core::hint::black_box(1))), Ordering::Relaxed);
}

/// Gives it back where it still is.
pub(crate) fn after_window() {
    drop(take_held());
}

fn take_held() -> Option<Box<u64>> {
    let held = HELD.swap(core::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: only `before_window` stores a pointer, from a box; the code that swaps it out is its one owner.
    (!held.is_null()).then(|| unsafe { Box::from_raw(held) })
}

/// The CPU, by its number and one more, that is to do while it is parked what is banned; 0 for none.
static BREAKS_BAN: AtomicUsize = AtomicUsize::new(0);

/// Makes the faults of the window, on the leader, every CPU parked.
pub(crate) fn in_window() {
    let me = this_cpu().id;
    for fault in options::current().faults() {
        match fault {
            Fault::Ban { act } => do_banned(act),
            Fault::CpuBan { cpu, act } if cpu == me => do_banned(act),
            Fault::CpuBan { cpu, .. } if smp::online().any(|online| online.id == cpu) => {
                BREAKS_BAN.store(cpu + 1, Ordering::Release);
                ipi::ThisCpu.send_ipi();
                // It ends the run. Should it not, this one goes on, and the run passes that must not.
                let start = timer::count();
                while BREAKS_BAN.load(Ordering::Acquire) != 0 && timer::count().wrapping_sub(start) < timer::frequency()
                {
                    hint::wait_for_event();
                }
            }
            _ => {}
        }
    }
}

/// Performs a banned operation on the chosen follower while it is parked.
pub(crate) fn while_parked() {
    let chosen = BREAKS_BAN.load(Ordering::Acquire);
    if chosen != 0 && chosen == this_cpu().id + 1 {
        for fault in options::current().faults() {
            if let Fault::CpuBan { cpu, act } = fault
                && cpu + 1 == chosen
            {
                do_banned(act);
            }
        }
        BREAKS_BAN.store(0, Ordering::Release);
    }
}

/// Performs the banned operation in the window. Its guard must stop it.
fn do_banned(act: Banned) {
    match act {
        Banned::Alloc => {
            core::hint::black_box(Box::new(core::hint::black_box(0u64)));
        }
        Banned::Free => drop(core::hint::black_box(take_held())),
        Banned::Lock => drop(PROBE_LOCK.lock()),
        Banned::Log => log::info!("this line must not appear"),
        Banned::Linear => {
            // Nothing of it is reached: the guard is the first to be asked.
            let _ = memory::map_new(VirtAddr(0), 0);
        }
    }
}

/// Touches the linear map, on the leader, while it is broken.
pub(crate) fn touch_linear_map() {
    let somewhere = memory::linear(memory::layout().regions()[0].end).0 - 8;
    // SAFETY: none: the map is broken here, and the access must fault.
    unsafe { (somewhere as *const u64).read_volatile() };
}

/// Injects the faults that end the run, and an error that does not: after boot, since they show nothing before.
///
/// # Panics
/// Always, for a fault that is a panic.
pub(crate) fn at_the_end() {
    for fault in options::current().faults() {
        match fault {
            Fault::SErrorCorrected => {
                // ESR_EL1 of an SError (DDI 0487, ESR_EL1): AET 0b110, DFSC 0b010001.
                let corrected = Syndrome(0x2f << 26 | 1 << 25 | 0b110 << 10 | 0b01_0001);
                assert!(errors::count_survivable(corrected), "a corrected error ends the run");
            }
            Fault::RodataWrite => store(Section::RoAfterInit.virt().start),
            Fault::RodataAlias => store(memory::linear(Section::RoAfterInit.phys().start)),
            Fault::Panic => panic!("injected by fault=panic"),
            Fault::WildBranch => wild_branch(),
            Fault::StackOverflow => overflow_stack(),
            Fault::StackSecondary => overflow_secondary(),
            _ => {}
        }
    }
}

/// Stores what `address` holds there once more, where the store must fault.
fn store(address: VirtAddr) {
    let byte = core::hint::black_box(address.0 as *mut u8);
    // SAFETY: none: nothing may be stored there, and the store must fault. Should it not, nothing has changed.
    unsafe { byte.write(core::hint::black_box(byte.read())) };
}

/// Loads from `address`, where the load must fault.
pub(crate) fn load(address: VirtAddr) {
    // SAFETY: none: nothing may be loaded there, and the load must fault.
    core::hint::black_box(unsafe { core::hint::black_box(address.0 as *const u64).read() });
}

/// Branches to where nothing is.
pub(crate) fn wild_branch() {
    // SAFETY: none: there is nothing at this address, and the fetch must fault.
    let nowhere: extern "C" fn() = unsafe { core::mem::transmute::<usize, extern "C" fn()>(0xffff_8000_dead_0000) };
    nowhere();
}

/// Lets another CPU's stack overflow, and waits for its report to end the run.
fn overflow_secondary() {
    let me = this_cpu().id;
    if let Some(last) = smp::online().map(|cpu| cpu.id).filter(|&id| id != me).last() {
        OVERFLOWS.store(last + 1, Ordering::Relaxed);
        ipi::wake_others();
        let start = timer::count();
        while timer::count().wrapping_sub(start) < 10 * timer::frequency() {
            hint::wait_for_event();
        }
    }
}

/// Recurses until the stack is full, and further.
pub(crate) fn overflow_stack() {
    core::hint::black_box(overflow(1));
}

/// Recurses without an end, and uses a little stack at a time.
#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn overflow(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 16]);
    overflow(frame[0] + 1) + frame[1]
}

/// True when some CPU is to clear SCTLR_EL1.WXN, when locks are to call, and when a frame is to be lost: looked up once.
static HOOKS_LOCKS: AtomicBool = AtomicBool::new(false);
static DROPS_WXN: AtomicBool = AtomicBool::new(false);
static LEAKS: AtomicBool = AtomicBool::new(false);

/// Stops this secondary for good before it checks in: `fault=cpuN.absent`.
pub(crate) fn stay_absent(cpu: &PerCpu) {
    if options::current().fault_cpu_absent(cpu.id) {
        power::halt();
    }
}

/// Returns the answer to inject for CPU_ON of `cpu`: `fault=cpuN.psci:CODE`.
pub(crate) fn cpu_on_answer(cpu: usize) -> Option<i32> {
    options::current().fault_cpu_psci(cpu)
}

/// Clears this CPU's SCTLR_EL1.WXN, so that it executes writable memory if a descriptor allows it: `fault=cpuN.wxn`.
pub(crate) fn drop_wxn() {
    use crate::cpu::registers::SCTLR_EL1;
    use tock_registers::interfaces::{Readable, Writeable};
    if DROPS_WXN.load(Ordering::Relaxed) && options::current().injects(Fault::CpuWxn { cpu: this_cpu().id }) {
        // No ISB: nothing that is writable is executable by its descriptor, so that it does not matter from when on.
        SCTLR_EL1.set(SCTLR_EL1.get() & !(1 << 19));
    }
}

/// Allocates a frame that is never freed: `fault=frame.leak`.
pub(crate) fn leak_frame() {
    use cleave::tables::FrameSource;
    if LEAKS.load(Ordering::Relaxed) {
        let _ = memory::frames().allocate();
    }
}

/// Calls a second rendezvous from inside the first, which must refuse it.
pub(crate) fn second_caller() -> Option<cleave::rendezvous::Refused> {
    let slot = &this_cpu().state.slot;
    // SAFETY: refused as busy, since every CPU stands still; nothing is done on the strength of the count.
    let online = unsafe { OnlineCpus::of([slot]) };
    Leader { rendezvous: &RENDEZVOUS, host: &ipi::ThisCpu, slot, online: &online }.stop(0, |_| ()).err()
}
