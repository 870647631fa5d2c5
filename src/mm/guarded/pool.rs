// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pool's objects: allocated, freed and checked under one lock, which masks interrupts.
#![allow(unsafe_code, reason = "a page of the pool becomes its bytes")]

extern crate alloc;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::AtomicU8;

use cleave::linear_map::ChangeError;
use cleave::tables::{PhysRange, VirtAddr};

use super::pages::{self, PAGE, Place};
use super::record::{self, Allocation, Distance, MOST, State, record, records};
use crate::cpu::lock::IrqLock;
use crate::irq::exceptions::backtrace_here;
use crate::mm::repaint::{Owned, Refusal, TimedChange, Watch};

/// The state of the pool.
enum Stage {
    Closed,
    /// It is being opened or closed.
    Changing,
    Open(Open),
}

/// A pool that is open.
struct Open {
    owned: Owned,
    /// The objects that are not allocated, the one that was freed longest ago first: a use after free is noticed until then.
    free: VecDeque<u64>,
}

static POOL: IrqLock<Stage> = IrqLock::new("guarded pool", Stage::Closed);

/// The reason that the pool did not do what was asked for. Nothing has changed.
pub(crate) enum PoolError {
    /// A pool of so many objects cannot be.
    Objects(u64),
    /// It is open already.
    IsOpen,
    /// No pool is open.
    IsClosed,
    /// Some objects are allocated.
    Live,
    /// Every object is allocated.
    Full,
    /// An object of so many bytes cannot be.
    Bytes(u64),
    /// At this address no object is allocated.
    NotAnObject(VirtAddr),
    /// The object's slack was written to. The object stays allocated.
    Damaged(Damage),
    /// The linear map.
    Map(Refusal),
}

impl From<Refusal> for PoolError {
    fn from(refusal: Refusal) -> Self {
        Self::Map(refusal)
    }
}

impl PoolError {
    /// Returns true when another change of the map is under way, or changes may not begin yet.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Map(Refusal::Change(ChangeError::Busy)))
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Objects(objects) => write!(f, "a pool has 1 to {MOST} objects, and {objects} are asked for"),
            Self::IsOpen => f.write_str("the pool is open already"),
            Self::IsClosed => f.write_str("no pool is open"),
            Self::Live => {
                write!(f, "objects allocated: {}", live().count())?;
                live().take(NAMED).try_for_each(|object| write!(f, "; {}", Allocation(object)))
            }
            Self::Full => write!(f, "all {} objects of the pool are allocated", records().count()),
            Self::Bytes(bytes) => write!(f, "an object has 1 to {PAGE} bytes, and {bytes} are asked for"),
            Self::NotAnObject(address) => match record::place(*address) {
                Some(Place::Object(object, _)) if record(object).state() == State::Freed => {
                    write!(f, "{:#018x} is freed already", address.0)
                }
                _ => write!(f, "{:#018x} is no object of the pool", address.0),
            },
            Self::Damaged(damage) => damage.fmt(f),
            Self::Map(refusal) => refusal.fmt(f),
        }
    }
}

/// A byte of an object's slack that is not as it was filled.
#[derive(Clone, Copy)]
pub(crate) struct Damage {
    object: u64,
    byte: VirtAddr,
    value: u8,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, byte, value } = *self;
        let (distance, allocation) = (Distance { object, byte }, Allocation(object));
        write!(f, "{:#018x} was written to ({value:#04x}): {distance} {allocation}", byte.0)
    }
}

impl Damage {
    /// Returns the lines of the backtrace of the allocation.
    pub(crate) fn backtrace(&self) -> impl fmt::Display {
        Allocation(self.object).backtrace()
    }
}

/// The objects that an error names at most.
const NAMED: usize = 4;

/// Iterates over the objects that are allocated.
fn live() -> impl Iterator<Item = u64> {
    records().filter(|(_, record)| record.state() == State::Live).map(|(object, _)| object)
}

/// Returns the pool if it is open.
fn opened(stage: &mut Stage) -> Result<&mut Open, PoolError> {
    match stage {
        Stage::Open(open) => Ok(open),
        Stage::Closed => Err(PoolError::IsClosed),
        Stage::Changing => Err(Refusal::from(ChangeError::Busy).into()),
    }
}

/// Opens the pool with `objects` objects. Returns its memory, and how the map was changed.
///
/// # Errors
/// [`PoolError`]. `Busy` before there is an allocator, from the start of the other CPUs to the decision, and while another
/// change of the map is under way; `WouldWait` where CPUs must stop for it and interrupts are masked.
pub(crate) fn open<W: Watch>(objects: u64, watch: &W) -> Result<(PhysRange, TimedChange), PoolError> {
    if objects == 0 || objects > MOST {
        return Err(PoolError::Objects(objects));
    }
    {
        let mut stage = POOL.lock();
        match opened(&mut stage) {
            Ok(_) => return Err(PoolError::IsOpen),
            Err(PoolError::IsClosed) => *stage = Stage::Changing,
            Err(busy) => return Err(busy),
        }
    }
    // Without the lock: CPUs may have to stop for it.
    let (stage, done) = match Owned::take(pages::count(objects), watch) {
        Ok((owned, account)) => {
            let range = owned.range();
            record::open(range.start, objects);
            (Stage::Open(Open { owned, free: (0..objects).collect() }), Ok((range, account)))
        }
        Err(refusal) => (Stage::Closed, Err(refusal.into())),
    };
    *POOL.lock() = stage;
    done
}

/// A pool that was closed.
pub(crate) struct Closed {
    /// The memory that it had.
    pub(crate) range: PhysRange,
    /// The change that brought the leaves of before back, or the reason that they stay small.
    pub(crate) collapsed: Result<TimedChange, Refusal>,
}

/// Closes the pool: its memory is mapped again by the leaves of before, and given back to the allocator.
///
/// # Errors
/// [`PoolError`]; `Live` names objects that are allocated.
pub(crate) fn close<W: Watch>(watch: &W) -> Result<Closed, PoolError> {
    let Open { owned, free } = {
        let mut stage = POOL.lock();
        opened(&mut stage)?;
        if live().next().is_some() {
            return Err(PoolError::Live);
        }
        match core::mem::replace(&mut *stage, Stage::Changing) {
            Stage::Open(open) => open,
            Stage::Closed | Stage::Changing => unreachable!("it is open, and locked"),
        }
    };
    let range = owned.range();
    // Without the lock, as above. The records stay until the end: an access to the pool meanwhile is a defect.
    let (stage, done) = match owned.give_back(watch) {
        Ok(collapsed) => {
            record::close();
            (Stage::Closed, Ok(Closed { range, collapsed }))
        }
        Err((owned, refusal)) => (Stage::Open(Open { owned, free }), Err(refusal.into())),
    };
    *POOL.lock() = stage;
    done
}

/// Allocates an object of `bytes` bytes, whose contents are undefined. From any context but the stop window.
///
/// # Errors
/// [`PoolError`]; `Busy` while another change of the map is under way. The caller must not wait for that: its CPU may be this
/// one, interrupted.
#[inline(never)]
pub(crate) fn allocate(bytes: u64) -> Result<VirtAddr, PoolError> {
    let backtrace = backtrace_here();
    let offset = pages::offset(bytes).ok_or(PoolError::Bytes(bytes))?;
    let mut stage = POOL.lock();
    let open = opened(&mut stage)?;
    let object = open.free.pop_front().ok_or(PoolError::Full)?;
    let (record, before) = (record(object), record(object).state());
    record.set_state(State::Claimed);
    if let Err(refusal) = open.owned.map(open.page(object)) {
        record.set_state(before);
        open.free.push_front(object);
        return Err(refusal.into());
    }
    pages::fill(bytes_of(object), range(offset, bytes));
    record.allocate(bytes, &backtrace);
    Ok(record::address(object))
}

/// Frees the object at `address`. From any context but the stop window.
///
/// # Errors
/// [`PoolError`], as [`allocate`]: the object stays allocated then, one whose slack was written to as well.
#[inline(never)]
pub(crate) fn free(address: VirtAddr) -> Result<(), PoolError> {
    let backtrace = backtrace_here();
    let mut stage = POOL.lock();
    let open = opened(&mut stage)?;
    let object = match record::place(address) {
        Some(Place::Object(object, _)) => object,
        _ => return Err(PoolError::NotAnObject(address)),
    };
    let record = record(object);
    if record.state() != State::Live || record::address(object) != address {
        return Err(PoolError::NotAnObject(address));
    }
    if let Some(damage) = damage(object) {
        return Err(PoolError::Damaged(damage));
    }
    // Before the page is gone, so that an access that faults finds it freed.
    record.free(&backtrace);
    if let Err(refusal) = open.owned.unmap(open.page(object)) {
        record.set_state(State::Live);
        return Err(refusal.into());
    }
    open.free.push_back(object);
    Ok(())
}

/// The result of a look at every object.
pub(crate) struct Checked {
    /// The objects that are allocated.
    pub(crate) live: usize,
    /// The objects that are not.
    pub(crate) free: usize,
    /// The first byte, of each object with some, that was written to and belongs to none.
    pub(crate) damage: Vec<Damage>,
}

/// Looks at the slack of every object that is allocated.
///
/// # Errors
/// When no pool is open.
pub(crate) fn check() -> Result<Checked, PoolError> {
    let mut stage = POOL.lock();
    let free = opened(&mut stage)?.free.len();
    Ok(Checked { live: live().count(), free, damage: live().filter_map(damage).collect() })
}

/// Returns true while a pool is open.
pub(crate) fn is_open() -> bool {
    matches!(*POOL.lock(), Stage::Open(_))
}

impl Open {
    /// Returns the page of an object.
    fn page(&self, object: u64) -> PhysRange {
        let start = self.owned.range().start.offset(pages::page(object));
        PhysRange::new(start, start.offset(PAGE))
    }
}

/// Returns the bytes of an object's page, which is mapped for as long as the caller holds the pool's lock.
fn bytes_of(object: u64) -> &'static [AtomicU8] {
    // SAFETY: a page of the pool, which has it alone, mapped as the caller knows. A plain store to it meanwhile is to the
    // object, of which no byte is loaded here, or is the defect that is looked for.
    unsafe { core::slice::from_raw_parts(record::page(object).0 as *const AtomicU8, PAGE as usize) }
}

/// Returns the bytes of its page that are an object's of `bytes` bytes at `offset`.
fn range(offset: u64, bytes: u64) -> Range<usize> {
    offset as usize..(offset + bytes) as usize
}

/// Looks at the slack of an object that is allocated.
fn damage(object: u64) -> Option<Damage> {
    let bytes = record(object).bytes();
    let (offset, value) = pages::damage(bytes_of(object), range(pages::offset(bytes)?, bytes))?;
    Some(Damage { object, byte: record::page(object).offset(offset as u64), value })
}
