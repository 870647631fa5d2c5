// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stress test: every CPU reads and writes checksummed patterns in frames spread over all of RAM, before, during and after
//! the repaint. If a translation were wrong for a moment, or an access lost, a line would not hold what was written.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "lines are read and written through the linear map")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering};

use crate::options::{self, Fault};
use cleave::aarch64::{hint, timer};
use cleave::deadline::Deadline;
use cleave::tables::{FRAME_SIZE, FrameSource, PhysAddr};
use spin::Once;

use crate::check::totals::{Lines, Totals};
use crate::cpu::patience::patience;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::smp;
use crate::mm::memory;

/// A line: 64 bytes, eight words.
const WORDS: usize = 8;
const LINES: u64 = FRAME_SIZE / 64;
/// Frames in all, at most, and for each CPU at least and at most.
const TOTAL: u64 = 1024;
const LEAST: u64 = 4;
const MOST: u64 = 64;

/// The lines that a CPU has checked. Written by that CPU.
struct Counters {
    before: AtomicU64,
    during: AtomicU64,
    after: AtomicU64,
    mismatches: AtomicU64,
    cursor: AtomicU64,
    busy: AtomicBool,
}

impl Counters {
    /// Returns counters of zero.
    const fn new() -> Self {
        Self {
            before: AtomicU64::new(0),
            during: AtomicU64::new(0),
            after: AtomicU64::new(0),
            mismatches: AtomicU64::new(0),
            cursor: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        }
    }

    /// Returns the number of checked lines.
    fn lines(&self) -> Lines {
        Lines {
            before: self.before.load(Ordering::Relaxed),
            during: self.during.load(Ordering::Relaxed),
            after: self.after.load(Ordering::Relaxed),
        }
    }

    fn count(&self, matched: bool) {
        let bucket = match PHASE.load(Ordering::Relaxed) {
            BEFORE => &self.before,
            CALLED => &self.during,
            _ => &self.after,
        };
        bucket.fetch_add(1, Ordering::Relaxed);
        if !matched {
            self.mismatches.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One CPU's frames.
struct Area {
    frames: Vec<PhysAddr>,
    /// For the lines checked in the interrupt of the call: apart, since the step that was interrupted may be in the
    /// middle of a line.
    interrupt: PhysAddr,
}

/// The counters of each CPU, by its number; made by the first [`start`].
static COUNTERS: Once<Vec<Counters>> = Once::new();

fn counters(cpu: usize) -> Option<&'static Counters> {
    COUNTERS.get()?.get(cpu)
}

/// Returns the lines that a CPU has checked.
pub(crate) fn lines(cpu: usize) -> Lines {
    counters(cpu).map_or(Lines::default(), Counters::lines)
}

/// The areas by the CPUs' numbers, while there are any: null until [`start`], and after [`stop`].
static AREAS: AtomicPtr<Vec<Option<Area>>> = AtomicPtr::new(core::ptr::null_mut());
static ON: AtomicBool = AtomicBool::new(false);
static PHASE: AtomicU8 = AtomicU8::new(BEFORE);
const BEFORE: u8 = 0;
const CALLED: u8 = 1;
const RELEASED: u8 = 2;

/// Returns true while the stress test is on.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::SeqCst)
}

/// Counts further checks as `during`. Called when the leader is about to call the others; a rendezvous before the stress test is none
/// of its own.
#[inline]
pub(crate) fn called() {
    if is_on() && PHASE.load(Ordering::Relaxed) == BEFORE {
        PHASE.store(CALLED, Ordering::Relaxed);
    }
}

/// Counts further checks as `after`. Called when every CPU is parked, so the next check comes after the release.
#[inline(always)]
pub(crate) fn parked() {
    PHASE.store(RELEASED, Ordering::Relaxed);
}

/// Counts further checks as `after`. Called after the repaint, which may have been abandoned without a release.
pub(crate) fn settled() {
    PHASE.store(RELEASED, Ordering::Relaxed);
}

/// Takes frames all over memory for every CPU at work, writes the patterns and lets the CPUs loose on them. Without
/// enough memory there is a smaller stress test, named in the log.
pub(crate) fn start() {
    let online: Vec<_> = smp::online().map(|cpu| cpu.id).collect();
    let each = (TOTAL / online.len() as u64).clamp(LEAST, MOST);
    let layout = memory::layout();
    let bytes: u64 = layout.regions().iter().map(|region| region.bytes()).sum();
    let step = bytes / (each * online.len() as u64);
    let mut spread = Spread { regions: layout.regions(), position: 0 };
    let cpus = smp::cpus().iter().map(|cpu| cpu.id).max().unwrap_or(0) + 1;
    COUNTERS.call_once(|| {
        // The CPUs may have stood still before, for a change of the map that no line was checked around.
        PHASE.store(BEFORE, Ordering::Relaxed);
        (0..cpus).map(|_| Counters::new()).collect()
    });
    let mut areas: Vec<Option<Area>> = (0..cpus).map(|_| None).collect();
    for _ in 0..each {
        // CPU by CPU within each round, so that every CPU has frames everywhere.
        for &id in &online {
            let frame = memory::frames().allocate_behind(spread.advance(step));
            let Some(frame) = frame.or_else(|| memory::frames().allocate()) else { continue };
            let area = areas[id].get_or_insert_with(|| Area { frames: Vec::new(), interrupt: frame });
            if area.interrupt != frame {
                area.frames.push(frame);
            }
        }
    }
    for area in areas.iter().flatten() {
        for &frame in area.frames.iter().chain([&area.interrupt]) {
            for line in 0..LINES {
                write(frame.offset(line * 64), line);
            }
        }
    }
    if options::current().injects(Fault::LoadFlip) {
        // Found by the CPU's own first check, which writes the line anew.
        flip(areas.iter().flatten().find_map(|area| area.frames.first()));
    }
    if options::current().injects(Fault::LoadSwap) {
        exchange(areas.iter().flatten().find_map(|area| area.frames.get(1..3)));
    }
    // Release: a CPU that sees the areas sees their contents.
    AREAS.store(Box::into_raw(Box::new(areas)), Ordering::Release);
    ON.store(true, Ordering::SeqCst);
    crate::irq::ipi::wake_others();
}

/// Changes a bit of the first line of a frame that no CPU works on at the moment.
fn flip(frame: Option<&PhysAddr>) {
    if let Some(&frame) = frame {
        // SAFETY: a frame of the stress test, mapped in the linear map.
        unsafe { *pointer(frame) ^= 1 << 17 };
    }
}

/// Exchanges the first lines of two frames that no CPU works on at the moment: what is met where a translation leads to the
/// wrong frame. Each is whole in itself.
fn exchange(frames: Option<&[PhysAddr]>) {
    if let Some(&[one, other]) = frames {
        // SAFETY: two frames of the stress test, mapped in the linear map.
        unsafe { core::ptr::swap_nonoverlapping(pointer(one), pointer(other), WORDS) };
    }
}

/// Goes over memory in steps, holes left out.
struct Spread<'a> {
    regions: &'a [cleave::tables::PhysRange],
    position: u64,
}

impl Spread<'_> {
    fn advance(&mut self, step: u64) -> PhysAddr {
        let mut left = self.position;
        self.position += step;
        for region in self.regions {
            if left < region.bytes() {
                return region.start.offset(left);
            }
            left -= region.bytes();
        }
        self.regions[0].start
    }
}

/// Checks the next line of this CPU and writes it anew.
pub(crate) fn step(cpu: &PerCpu) {
    let Some(counters) = counters(cpu.id) else { return };
    counters.busy.store(true, Ordering::SeqCst);
    // Looked at after `busy` was set: a CPU that switched the stress test off and then sees this CPU not busy knows that it does
    // not touch a line again.
    if is_on()
        && let Some(area) = area(cpu.id)
        && !area.frames.is_empty()
    {
        let cursor = counters.cursor.fetch_add(1, Ordering::Relaxed);
        let frames = area.frames.len() as u64;
        let frame = area.frames[(cursor % frames) as usize];
        check(counters, frame.offset(cursor / frames % LINES * 64), cursor);
    }
    counters.busy.store(false, Ordering::SeqCst);
}

/// Checks a line in the interrupt of the call, so that every CPU has one between the call and its arrival.
pub(crate) fn before_arrival() {
    let cpu = this_cpu();
    if is_on()
        && let (Some(counters), Some(area)) = (counters(cpu.id), area(cpu.id))
    {
        check(counters, area.interrupt, timer::count_unordered());
    }
}

/// Returns the areas, which live until [`stop`] has seen every CPU out of them.
fn areas() -> Option<&'static Vec<Option<Area>>> {
    // SAFETY: null or what `start` made. `stop` takes it away when no CPU is at a line any more, and none begins one while
    // the stress test is off; an interrupt of the rendezvous, which looks too, comes from the CPU that stops it.
    unsafe { AREAS.load(Ordering::Acquire).as_ref() }
}

fn area(cpu: usize) -> Option<&'static Area> {
    areas()?.get(cpu)?.as_ref()
}

fn check(counters: &Counters, line: PhysAddr, generation: u64) {
    counters.count(holds(line));
    write(line, generation);
}

/// Mixes the bits of a word (the finaliser of SplitMix64).
const fn mix(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

/// Returns the words of a line: its own address, the generation, five words made of both, and a checksum.
fn words(line: PhysAddr, generation: u64) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = !line.0;
    words[1] = generation;
    let mut sum = mix(words[0]) ^ mix(generation);
    for (index, word) in words[2..7].iter_mut().enumerate() {
        *word = mix(line.0 ^ generation.rotate_left(17 + index as u32));
        sum = mix(sum ^ *word);
    }
    words[7] = sum;
    words
}

fn pointer(line: PhysAddr) -> *mut u64 {
    memory::linear(line).0 as *mut u64
}

fn write(line: PhysAddr, generation: u64) {
    let to = pointer(line);
    for (index, word) in words(line, generation).into_iter().enumerate() {
        // SAFETY: a frame of the stress test, mapped in the linear map, this CPU's alone; volatile so that each word is stored.
        unsafe { to.add(index).write_volatile(word) };
    }
}

fn holds(line: PhysAddr) -> bool {
    let from = pointer(line);
    let mut found = [0; WORDS];
    for (index, word) in found.iter_mut().enumerate() {
        // SAFETY: as in `write`.
        *word = unsafe { from.add(index).read_volatile() };
    }
    found == words(line, found[1])
}

/// Lets this CPU work until every CPU has checked at least `least` lines in the present phase, or for as long as CPUs are
/// waited for elsewhere.
pub(crate) fn let_run(least: u64) {
    let counted = |cpu: &PerCpu| {
        let lines = lines(cpu.id);
        if PHASE.load(Ordering::Relaxed) == BEFORE { lines.before } else { lines.after }
    };
    let mut deadline = Deadline::new(timer::count(), patience(smp::online_count().into()));
    while smp::online().any(|cpu| counted(cpu) < least) && !deadline.has_passed(timer::count()) {
        step(this_cpu());
        hint::wait_for_event();
    }
}

/// Stops the stress test, checks every line once more, gives the frames back.
pub(crate) fn stop() -> Totals {
    ON.store(false, Ordering::SeqCst);
    for counters in smp::online().filter_map(|cpu| counters(cpu.id)) {
        while counters.busy.load(Ordering::SeqCst) {
            hint::wait_for_event();
        }
    }
    let mut totals = Totals::default();
    for cpu in smp::online() {
        let lines = lines(cpu.id);
        totals.lines += lines.before + lines.during + lines.after;
        totals.mismatches += counters(cpu.id).map_or(0, |counters| counters.mismatches.load(Ordering::Relaxed));
        totals.cpus += u64::from(area(cpu.id).is_some());
        totals.per_cpu.push(lines);
    }
    let areas = || areas().into_iter().flatten().flatten();
    if options::current().injects(Fault::LoadFlip) {
        flip(areas().find_map(|area| area.frames.last()));
    }
    if options::current().injects(Fault::LoadSwap) {
        exchange(areas().find_map(|area| area.frames.get(..2)));
    }
    for area in areas() {
        for &frame in area.frames.iter().chain([&area.interrupt]) {
            for line in 0..LINES {
                totals.lines += 1;
                totals.mismatches += u64::from(!holds(frame.offset(line * 64)));
            }
            memory::frames().free(frame);
        }
    }
    totals.faults = smp::retried(|cpu| &cpu.conflicts);
    let gone = AREAS.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if !gone.is_null() {
        // SAFETY: it came from a box, and no CPU uses it any more: see `areas`.
        drop(unsafe { Box::from_raw(gone) });
    }
    totals
}
