// SPDX-License-Identifier: MIT OR Apache-2.0
//! The records of a guarded pool's objects, and the account of an access to the pool that faults.
//!
//! The handler of that fault reads them, on any CPU, so everything here is atomic and takes no lock. A record that is being
//! changed meanwhile reads as a mixture of both; its fields are true of one or the other.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use cleave::tables::{PhysAddr, VirtAddr};

use super::pages::{self, Place};
use crate::cpu::percpu;
use crate::irq::exceptions::Backtrace;
use crate::mm::layout::LINEAR_BASE;

/// The most objects of a pool.
pub(crate) const MOST: u64 = 255;
/// The return addresses that are kept of a backtrace.
const KEPT: usize = 8;

/// The state of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// It was never allocated.
    Unused,
    /// It was freed.
    Freed,
    /// It is being allocated: the record is still that of the object before.
    Claimed,
    /// It is allocated.
    Live,
}

/// The place in the code that allocated or freed an object.
struct Trace {
    cpu: AtomicU32,
    addresses: [AtomicU64; KEPT],
}

impl Trace {
    const fn new() -> Self {
        Self { cpu: AtomicU32::new(0), addresses: [const { AtomicU64::new(0) }; KEPT] }
    }

    fn take(&self, backtrace: &Backtrace) {
        self.cpu.store(percpu::try_this_cpu().map_or(0, |cpu| cpu.id as u32), Ordering::Relaxed);
        self.addresses.iter().for_each(|kept| kept.store(0, Ordering::Relaxed));
        let mut kept = self.addresses.iter();
        backtrace.addresses(|address| {
            if let Some(place) = kept.next() {
                place.store(address, Ordering::Relaxed);
            }
        });
    }

    fn cpu(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(|kept| kept.load(Ordering::Relaxed));
        for (number, address) in addresses.take_while(|&address| address != 0).enumerate() {
            // As a backtrace has it: the runner puts names behind the addresses.
            writeln!(f, "  #{number:<2} {address:#018x}")?;
        }
        Ok(())
    }
}

/// The record of an object.
pub(super) struct Record {
    state: AtomicU8,
    bytes: AtomicU64,
    allocated: Trace,
    freed: Trace,
}

static RECORDS: [Record; MOST as usize] = [const { Record::new() }; MOST as usize];

/// The memory of the pool and its objects, while it is open: zero objects otherwise.
static START: AtomicU64 = AtomicU64::new(0);
static OBJECTS: AtomicU64 = AtomicU64::new(0);

/// Makes the records those of a pool of `objects` unused objects, whose memory is from `start` on.
pub(super) fn open(start: PhysAddr, objects: u64) {
    RECORDS.iter().for_each(|record| record.set_state(State::Unused));
    START.store(start.0, Ordering::Relaxed);
    // Release: with the number comes all of the above.
    OBJECTS.store(objects, Ordering::Release);
}

/// Makes them those of no pool.
pub(super) fn close() {
    OBJECTS.store(0, Ordering::Release);
}

/// Returns the record of an object of the pool.
pub(super) fn record(object: u64) -> &'static Record {
    &RECORDS[object as usize]
}

/// Iterates over the objects of the pool with their records.
pub(super) fn records() -> impl Iterator<Item = (u64, &'static Record)> {
    (0..OBJECTS.load(Ordering::Acquire)).map(|object| (object, record(object)))
}

/// Returns the address of the page of an object of the pool.
pub(super) fn page(object: u64) -> VirtAddr {
    VirtAddr(LINEAR_BASE + START.load(Ordering::Relaxed) + pages::page(object))
}

/// Returns the place of an address in the pool.
pub(super) fn place(address: VirtAddr) -> Option<Place> {
    let objects = OBJECTS.load(Ordering::Acquire);
    pages::place(address.0.checked_sub(LINEAR_BASE + START.load(Ordering::Relaxed))?, objects).filter(|_| objects != 0)
}

impl Record {
    const fn new() -> Self {
        Self {
            state: AtomicU8::new(State::Unused as u8),
            bytes: AtomicU64::new(0),
            allocated: Trace::new(),
            freed: Trace::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        let state = self.state.load(Ordering::Acquire);
        let all = [State::Unused, State::Freed, State::Claimed];
        all.into_iter().find(|known| *known as u8 == state).unwrap_or(State::Live)
    }

    /// Sets the state. A CPU that sees it sees all that was recorded before.
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records an allocation by the code of `backtrace` on this CPU.
    pub(super) fn allocate(&self, bytes: u64, backtrace: &Backtrace) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.allocated.take(backtrace);
        self.set_state(State::Live);
    }

    /// Records that the code of `backtrace` on this CPU freed it.
    pub(super) fn free(&self, backtrace: &Backtrace) {
        self.freed.take(backtrace);
        self.set_state(State::Freed);
    }
}

/// Returns the address of an object that is or was allocated.
pub(super) fn address(object: u64) -> VirtAddr {
    page(object).offset(pages::offset(record(object).bytes()).unwrap_or(0))
}

/// An object by its size, its address and the CPU that allocated it.
#[derive(Clone, Copy)]
pub(super) struct Allocation(pub(super) u64);

impl Allocation {
    /// Returns the lines of the backtrace of its allocation.
    pub(super) fn backtrace(self) -> impl fmt::Display {
        &record(self.0).allocated
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (record, address) = (record(self.0), address(self.0).0);
        let (bytes, cpu) = (record.bytes(), record.allocated.cpu());
        write!(f, "the object of {bytes} bytes at {address:#018x}, allocated on CPU {cpu}")
    }
}

/// A number of bytes.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} byte{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// The distance of a byte from an object.
pub(super) struct Distance {
    pub(super) object: u64,
    pub(super) byte: VirtAddr,
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (byte, start, bytes) = (self.byte.0, address(self.object).0, record(self.object).bytes());
        match byte.checked_sub(start) {
            None => write!(f, "{} before", Bytes(start - byte)),
            Some(offset) if offset < bytes => write!(f, "byte {offset} of"),
            Some(offset) => write!(f, "{} past the end of", Bytes(offset - bytes)),
        }
    }
}

/// An access to the pool that faulted.
pub(crate) struct Fault {
    address: VirtAddr,
    place: Place,
}

/// Returns the account of an access to `address`, if that is in the pool. Takes no lock.
pub(crate) fn fault(address: VirtAddr) -> Option<Fault> {
    Some(Fault { address, place: place(address)? })
}

impl Fault {
    /// Returns the object that the access was probably meant for, if one was ever allocated there: of two beside a guard page the
    /// nearer one, and one that is allocated before one that was freed.
    fn object(&self) -> Option<u64> {
        match self.place {
            Place::Object(object, _) => Some(object).filter(|&object| record(object).state() != State::Unused),
            Place::Guard(sides) => {
                let with = |state| sides.into_iter().flatten().find(|&object| record(object).state() == state);
                with(State::Live).or_else(|| with(State::Freed))
            }
        }
    }

    fn is_use_after_free(&self, object: u64) -> bool {
        matches!(self.place, Place::Object(..)) && record(object).state() != State::Live
    }

    /// Writes the account on one line.
    pub(crate) fn summary(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            let Some(object) = self.object() else { return f.write_str("no object of the guarded pool") };
            let distance = Distance { object, byte: self.address };
            let freed = if self.is_use_after_free(object) { "use after free: " } else { "" };
            write!(f, "{freed}{distance} an object of the guarded pool")
        })
    }
}

/// Lines of a report.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(object) = self.object() else {
            let what = if matches!(self.place, Place::Guard(_)) { "a guard page" } else { "the page of an object" };
            return writeln!(f, "  guarded pool: {what}, and no object was ever allocated there");
        };
        let (distance, allocation) = (Distance { object, byte: self.address }, Allocation(object));
        let freed = if self.is_use_after_free(object) { "use after free: " } else { "" };
        write!(f, "  guarded pool: {freed}{distance} {allocation} by:\n{}", allocation.backtrace())?;
        if self.is_use_after_free(object) {
            let by = &record(object).freed;
            write!(f, "  and freed on CPU {} by:\n{by}", by.cpu())?;
        }
        Ok(())
    }
}
