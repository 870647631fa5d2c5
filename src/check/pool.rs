// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guarded pool of the boot arguments: opened when `pool=` says, tried in every context with `selftest`, checked at the end,
//! and misused by the faults that are injected.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "objects are written to, and misused where a fault asks for it")]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use cleave::aarch64::{hint, interrupts, timer};
use cleave::deadline::Deadline;
use cleave::linear_map::{ChangeError, Switch};
use cleave::tables::{FrameSource, VirtAddr};

use crate::check::watch::Plain;
use crate::cpu::lock::IrqLock;
use crate::cpu::patience::patience;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::smp;
use crate::irq::ipi;
use crate::mm::guarded::{self, PoolError};
use crate::mm::memory;
use crate::mm::repaint::{Refusal, any_held};
use crate::options::{self, Fault, Pool, PoolTime, Task};

/// Opens the pool that the boot arguments ask for, if they do so for `time`, and returns the errors.
pub(crate) fn open(time: PoolTime) -> Vec<String> {
    let Some(asked) = options::current().pool.filter(|asked| asked.time == time) else { return Vec::new() };
    let me = this_cpu().id;
    // The others are busy with the stress test before, and not there yet at first.
    let other = smp::online().map(|cpu| cpu.id).filter(|&id| time == PoolTime::Late && id != me).last();
    match other {
        None => open_here(asked),
        Some(cpu) => open_on(cpu),
    }
}

/// The CPU, by its number and one more, that is to open the pool; 0 for none.
static OPENS: AtomicUsize = AtomicUsize::new(0);
/// The errors that it met, once it is done.
static OPENED: IrqLock<Option<Vec<String>>> = IrqLock::new("pool opened", None);

/// Opens the pool on another CPU.
fn open_on(cpu: usize) -> Vec<String> {
    OPENS.store(cpu + 1, Ordering::Release);
    ipi::wake_others();
    let mut deadline = Deadline::new(timer::count(), 10 * patience(smp::online_count().into()));
    loop {
        if let Some(errors) = OPENED.lock().take() {
            return errors;
        }
        if deadline.has_passed(timer::count()) {
            return Vec::from([format!("CPU {cpu} did not open the pool")]);
        }
        hint::wait_for_event();
    }
}

/// Returns true when `cpu` is to open the pool.
pub(crate) fn is_asked(cpu: &PerCpu) -> bool {
    OPENS.load(Ordering::Acquire) == cpu.id + 1
}

/// Opens the pool on this CPU, which [`is_asked`].
pub(crate) fn serve() {
    OPENS.store(0, Ordering::Relaxed);
    if let Some(asked) = options::current().pool {
        let errors = open_here(asked);
        *OPENED.lock() = Some(errors);
    }
}

fn open_here(asked: Pool) -> Vec<String> {
    let mut errors = Errors(Vec::new());
    let tries = options::current().asks_for(Task::Selftest);
    if tries {
        try_to_open(&mut errors);
    }
    match guarded::open(asked.objects, &Plain) {
        Ok((range, (done, _))) => {
            let how = match done.switch {
                Switch::Nothing | Switch::InPlace => "in place",
                Switch::Stop => "with every CPU stopped",
            };
            log::info!("guarded pool: {} objects in {range}, opened {how} on CPU {}", asked.objects, this_cpu().id);
        }
        Err(error) => {
            errors.add(format_args!("not opened: {error}"));
            return errors.0;
        }
    }
    if tries {
        try_objects(&mut errors);
        if let Err(error) = try_misuse(&mut errors, asked.objects) {
            errors.add(format_args!("{error}"));
        }
        let result = if errors.0.is_empty() { "passed" } else { "failed" };
        log::info!("guarded pool: self-test {result}");
    }
    errors.0
}

/// The errors that were met.
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, text: fmt::Arguments<'_>) {
        self.0.push(format!("guarded pool: {text}"));
    }

    fn require(&mut self, holds: bool, text: fmt::Arguments<'_>) {
        if !holds {
            self.add(text);
        }
    }
}

/// A context from which the pool is asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Thread,
    Masked,
    Interrupt,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "by a thread",
            Self::Masked => "with interrupts masked",
            Self::Interrupt => "in an interrupt",
        })
    }
}

/// A request of the pool, and its answer.
type Request = fn() -> Result<(), PoolError>;

/// The request that a CPU, by its number, is to make in an interrupt, and the answer.
static REQUEST: IrqLock<Option<(usize, Request)>> = IrqLock::new("pool request", None);
static ANSWER: IrqLock<Option<Result<(), PoolError>>> = IrqLock::new("pool answer", None);
static REQUESTS: AtomicUsize = AtomicUsize::new(0);

/// Makes the request that waits for an interrupt of this CPU. Runs in the interrupt.
pub(crate) fn in_interrupt() {
    if REQUESTS.load(Ordering::Relaxed) == 0 {
        return;
    }
    let request = REQUEST.lock().take_if(|(cpu, _)| *cpu == this_cpu().id);
    if let Some((_, request)) = request {
        let answer = request();
        *ANSWER.lock() = Some(answer);
    }
}

impl Context {
    /// Makes `request` from here, a thread with its interrupts open.
    fn make(self, request: Request) -> Result<(), PoolError> {
        match self {
            Self::Thread => request(),
            Self::Masked => {
                let _masked = interrupts::mask();
                request()
            }
            Self::Interrupt => {
                *REQUEST.lock() = Some((this_cpu().id, request));
                REQUESTS.fetch_add(1, Ordering::Relaxed);
                ipi::wake_self();
                let mut deadline = Deadline::new(timer::count(), patience(1));
                loop {
                    if let Some(answer) = ANSWER.lock().take() {
                        REQUESTS.fetch_sub(1, Ordering::Relaxed);
                        return answer;
                    }
                    assert!(!deadline.has_passed(timer::count()), "an interrupt to this CPU itself was not taken");
                    hint::wait_for_event();
                }
            }
        }
    }
}

/// Opens a pool, and closes it.
fn open_and_close() -> Result<(), PoolError> {
    guarded::open(1, &Plain)?;
    guarded::close(&Plain)?.collapsed?;
    Ok(())
}

/// Allocates an object, uses it, and frees it.
fn use_object() -> Result<(), PoolError> {
    let object = guarded::allocate(OBJECT)?;
    // SAFETY: the object is this function's, and has so many bytes.
    unsafe { core::ptr::write_bytes(object.0 as *mut u8, 0x5a, OBJECT as usize) };
    guarded::free(object)
}

/// The size of an object that the self-test uses.
const OBJECT: u64 = 100;

/// Asks for a pool where that may not be had: each answer is an error that says why, and nothing changes.
fn try_to_open(errors: &mut Errors) {
    let [asked, busy] = [&ASKED_TOO_EARLY, &BUSY_TOO_EARLY].map(|count| count.load(Ordering::Relaxed));
    log::info!("guarded pool: {busy} of {asked} requests before this time were answered Busy");
    errors.require(asked == busy, format_args!("{} requests at a wrong time were not answered Busy", asked - busy));
    let free = memory::frames().available();
    for context in [Context::Masked, Context::Interrupt] {
        let answer = context.make(open_and_close);
        match &answer {
            Ok(()) => log::info!("guarded pool: opened and closed {context}"),
            Err(error) => log::info!("guarded pool: not opened {context}: {error}"),
        }
        let right = matches!(answer, Ok(()) | Err(PoolError::Map(Refusal::Change(ChangeError::WouldWait))));
        errors.require(right, format_args!("the wrong answer {context}"));
    }
    busy_while_locked(errors, open_and_close);
    let after = memory::frames().available();
    errors.require(after == free, format_args!("{free} frames were free before, {after} are now"));
    errors.require(!any_held(), format_args!("memory is still held"));
}

/// Uses the pool from every context.
fn try_objects(errors: &mut Errors) {
    for context in [Context::Thread, Context::Masked, Context::Interrupt] {
        match context.make(use_object) {
            Ok(()) => log::info!("guarded pool: an object was used {context}"),
            Err(error) => errors.add(format_args!("no object {context}: {error}")),
        }
    }
    busy_while_locked(errors, use_object);
    match guarded::check() {
        Ok(found) => errors.require(found.live == 0 && found.damage.is_empty(), format_args!("an object is left")),
        Err(error) => errors.add(format_args!("{error}")),
    }
}

/// Asks for what must be refused: too many objects, or too large ones, a second free, and a free behind an underflow.
fn try_misuse(errors: &mut Errors, objects: u64) -> Result<(), PoolError> {
    for bytes in [0, 4097] {
        let answer = guarded::allocate(bytes);
        errors.require(matches!(answer, Err(PoolError::Bytes(_))), format_args!("an object of {bytes} bytes"));
    }
    let all = (0..objects).map(|_| guarded::allocate(OBJECT)).collect::<Result<Vec<VirtAddr>, _>>()?;
    errors.require(matches!(guarded::allocate(1), Err(PoolError::Full)), format_args!("more objects than there are"));
    errors.require(matches!(guarded::close(&Plain), Err(PoolError::Live)), format_args!("closed with its objects"));
    for &object in &all {
        // SAFETY: none: the byte is not the object's. It lies in the same page, and no other code uses it.
        let before = unsafe { &*((object.0 - 1) as *const AtomicU8) };
        before.fetch_xor(1, Ordering::Relaxed);
        let answer = guarded::free(object);
        errors.require(matches!(answer, Err(PoolError::Damaged(_))), format_args!("an underflow was not noticed"));
        before.fetch_xor(1, Ordering::Relaxed);
        guarded::free(object)?;
        let answer = guarded::free(object);
        errors.require(matches!(answer, Err(PoolError::NotAnObject(_))), format_args!("an object was freed twice"));
    }
    // The one that was freed first comes first.
    for &object in &all {
        let next = guarded::allocate(OBJECT)?;
        errors.require(next == object, format_args!("an object that was freed later is used again before {object}"));
        guarded::free(next)?;
    }
    Ok(())
}

/// Makes `request` while another change of the map is under way, which must be answered at once.
fn busy_while_locked(errors: &mut Errors, request: Request) {
    match memory::map().try_lock() {
        Ok(_lock) => {
            let is_busy = request().is_err_and(|error| error.is_busy());
            errors.require(is_busy, format_args!("a request during another change was not answered Busy"));
        }
        Err(_) => errors.add(format_args!("the map is locked")),
    }
}

static ASKED_TOO_EARLY: AtomicUsize = AtomicUsize::new(0);
static BUSY_TOO_EARLY: AtomicUsize = AtomicUsize::new(0);

/// Asks for something at a time at which the answer must be `Busy`: before there is a linear map, or from the start of the other
/// CPUs to the decision. [`open`] says whether it was.
pub(crate) fn ask_too_early() {
    let args = options::current();
    if args.pool.is_some() && args.asks_for(Task::Selftest) {
        let request = if guarded::is_open() { use_object } else { open_and_close };
        let is_busy = request().is_err_and(|error| error.is_busy());
        ASKED_TOO_EARLY.fetch_add(1, Ordering::Relaxed);
        BUSY_TOO_EARLY.fetch_add(usize::from(is_busy), Ordering::Relaxed);
    }
}

/// Checks the pool, if one is open, and returns what is wrong.
pub(crate) fn check() -> Vec<String> {
    let mut errors = Errors(Vec::new());
    if guarded::is_open() {
        if options::current().injects(Fault::PoolSlack) {
            write_beside_object();
        }
        match guarded::check() {
            Ok(found) => found.damage.iter().for_each(|damage| errors.add(format_args!("{damage}"))),
            Err(error) => errors.add(format_args!("{error}")),
        }
    }
    errors.0
}

/// Misuses an object of the pool where a fault asks for it, which ends the run.
pub(crate) fn inject() {
    for fault in options::current().faults() {
        match fault {
            Fault::PoolOverflow => overflow(),
            Fault::PoolFreed => use_after_free(),
            _ => {}
        }
    }
}

/// Allocates the object that a fault misuses.
#[inline(never)]
fn allocate_for_fault(bytes: u64) -> VirtAddr {
    guarded::allocate(bytes).unwrap_or_else(|error| panic!("fault: {error}"))
}

#[inline(never)]
fn free_for_fault(object: VirtAddr) {
    guarded::free(object).unwrap_or_else(|error| panic!("fault: {error}"));
}

/// Allocates every object that is free, and writes 8 bytes behind the last one.
#[inline(never)]
pub(crate) fn overflow() {
    let free = guarded::check().map_or(0, |found| found.free);
    let mut object = allocate_for_fault(96);
    for _ in 1..free {
        object = allocate_for_fault(96);
    }
    // SAFETY: none: the object has 96 bytes, and the store must fault.
    unsafe { core::hint::black_box(object.offset(104).0 as *mut u64).write(0) };
}

/// Reads an object that is freed.
#[inline(never)]
fn use_after_free() {
    let object = allocate_for_fault(96);
    free_for_fault(object);
    // SAFETY: none: the object is freed, and the load must fault.
    core::hint::black_box(unsafe { core::hint::black_box(object.offset(24).0 as *const u64).read() });
}

/// Writes to the byte in front of an object, which belongs to none.
fn write_beside_object() {
    let object = allocate_for_fault(96);
    // SAFETY: none: the byte is not the object's. It lies in the same page, so the store does not fault.
    unsafe { core::hint::black_box((object.0 - 1) as *mut u8).write(0) };
}
