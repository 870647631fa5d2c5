// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of the linear map after boot: permissions, validity and sizes, range by range.
//!
//! A page that is not plain, which is to say valid and writable, is held: its frame is out of the allocator for as long. Memory
//! that an owner in the kernel has taken for itself ([`super::owned`]) is held in one piece, whatever its pages are.

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use cleave::aarch64::{BbmLevel, timer};
use cleave::linear_map::{Action, Change, ChangeError, Changed, MapLockGuard, MapPolicy, decide};
use cleave::tables::{FRAME_SIZE, FrameSource, PhysAddr, PhysRange};

use super::lock::wait_for_map;
use super::session::Session;
use super::{UNDER_WAY, Watch, leader};
use crate::cpu::lock::IrqLock;
use crate::cpu::retries::while_map_changes;
use crate::cpu::smp;
use crate::devicetree::{MEMORY_RANGES, RangeSet};
use crate::mm::memory;
use crate::mm::views::Reader;
use crate::options;

/// The level of FEAT_BBM that counts for changes, or [`OPEN`].
static LEVEL: AtomicU8 = AtomicU8::new(OPEN);

/// No change may be made: there is no map, or CPUs are starting and the decision is open.
const OPEN: u8 = u8::MAX;

/// The reason that a change was not made. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The library's.
    Change(ChangeError),
    /// The memory that is not plain would be in too many pieces.
    TooManyHeld,
    /// No run of adjacent free frames is long enough.
    NoRun {
        /// The frames that must be adjacent.
        needed: u64,
        /// The longest run of free frames.
        longest: u64,
    },
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        Self::Change(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(error) => error.fmt(f),
            Self::TooManyHeld => write!(f, "memory that is not plain is in {HELD_RANGES} pieces already"),
            Self::NoRun { needed, longest } => {
                write!(f, "{needed} adjacent frames are needed, and the longest run of free ones is {longest}")
            }
        }
    }
}

/// Lets changes begin, in place where every CPU that is online and the policy for FEAT_BBM allow it.
pub(crate) fn allow_changes() {
    // The question of the decision without a wish: may a live mapping change its size?
    let in_place = decide(smp::levels(), options::current().bbm_trust, MapPolicy::Auto);
    let level = if in_place.action == Action::Keep { in_place.level } else { BbmLevel::Zero };
    LEVEL.store(level.number(), Ordering::Relaxed);
}

/// Lets no change begin: CPUs are about to start, and none of them is counted yet.
pub(crate) fn forbid_changes() {
    LEVEL.store(OPEN, Ordering::Relaxed);
}

/// Returns the level of FEAT_BBM that counts, or `None` while no change may be made.
fn level() -> Option<BbmLevel> {
    let level = LEVEL.load(Ordering::Relaxed);
    (level != OPEN).then(|| BbmLevel::from_number(level.into()))
}

/// The right to change the map.
pub(super) struct Door {
    lock: MapLockGuard<'static>,
    /// The level of FEAT_BBM that counts.
    level: BbmLevel,
}

impl Door {
    /// Takes the right to change the map, at once.
    ///
    /// # Errors
    /// `Busy` while another change is under way, before there is a map, and from the start of the other CPUs to the decision.
    pub(super) fn open() -> Result<Self, Refusal> {
        let level = level().ok_or(ChangeError::Busy)?;
        let lock = memory::map().try_lock().map_err(|_| ChangeError::Busy)?;
        Ok(Self { lock, level })
    }

    /// Takes the right to change the map, and waits while another CPU has it.
    ///
    /// # Errors
    /// As [`Door::open`], and as [`wait_for_map`].
    fn open_when_free() -> Result<Self, Refusal> {
        let level = level().ok_or(ChangeError::Busy)?;
        Ok(Self { lock: wait_for_map()?, level })
    }

    /// Makes `change` in `ranges`; permissions and validity in `may_change` alone. Returns what was done and how many ticks it
    /// took.
    pub(super) fn make<W: Watch>(
        &mut self,
        change: Change,
        ranges: &[PhysRange],
        may_change: &[PhysRange],
        watch: &W,
    ) -> Result<(Changed, u64), Refusal> {
        let start = timer::count();
        let mut session = Session::new(watch);
        session.level = self.level;
        session.may_change = may_change;
        let online = smp::online_cpus();
        let leader = leader(&online);
        let made = || memory::map().change(&mut self.lock, &mut session, &leader, change, ranges);
        UNDER_WAY.begin(change, ranges);
        let done = while_map_changes(made);
        UNDER_WAY.end();
        let done = done?;
        if done.measured.is_some() {
            watch.after_stop();
        }
        Ok((done, timer::count().wrapping_sub(start)))
    }
}

/// Makes `change` in `ranges` of memory, and returns what was done and how many ticks it took. Frames of the ranges that are
/// free leave the allocator for as long as their pages are not plain. A collapse leaves out memory that has an owner.
///
/// # Errors
/// [`Refusal`]; `Busy` also while the decision is open.
pub(crate) fn change<W: Watch>(change: Change, ranges: &[PhysRange], watch: &W) -> Result<(Changed, u64), Refusal> {
    make(Door::open()?, change, ranges, watch)
}

/// Makes `change` as [`change`] does, and waits while another CPU changes the map. For callers that hold no lock.
///
/// # Errors
/// [`Refusal`]; `Busy` while the decision is open, `WouldWait` where it would have to wait with interrupts masked.
pub(crate) fn change_when_free<W: Watch>(
    change: Change,
    ranges: &[PhysRange],
    watch: &W,
) -> Result<(Changed, u64), Refusal> {
    make(Door::open_when_free()?, change, ranges, watch)
}

fn make<W: Watch>(mut door: Door, change: Change, ranges: &[PhysRange], watch: &W) -> Result<(Changed, u64), Refusal> {
    memory::map().check_change(change, ranges)?;
    if change.is_edit() {
        take_frames(ranges)?;
        let done = door.make(change, ranges, ranges, watch);
        match done {
            Ok(_) => ranges.iter().for_each(|&range| hold(change, range)),
            Err(_) => give_back(ranges),
        }
        done
    } else if change == Change::Collapse {
        door.make(change, without_owned(ranges)?.as_slice(), &[], watch)
    } else {
        // The pages of owned memory are small enough for every split.
        door.make(change, ranges, &[], watch)
    }
}

/// The memory that has an owner in the kernel.
static OWNED: IrqLock<RangeSet<OWNED_RANGES>> = IrqLock::new("owned", RangeSet::new());

/// The most pieces of it.
const OWNED_RANGES: usize = 4;

/// Notes that `range`, which its owner has from the allocator, has an owner. The caller holds the map's lock.
pub(super) fn own(range: PhysRange) -> Result<(), Refusal> {
    OWNED.lock().insert(range).map_err(|_| Refusal::TooManyHeld)
}

/// Undoes [`own`]. The caller holds the map's lock.
pub(super) fn disown(range: PhysRange) {
    let removed = OWNED.lock().remove(range);
    removed.unwrap_or_else(|full| panic!("owned memory: {full}"));
}

/// Returns `ranges` without owned memory.
fn without_owned(ranges: &[PhysRange]) -> Result<RangeSet<{ MEMORY_RANGES + OWNED_RANGES }>, Refusal> {
    let mut rest = RangeSet::new();
    ranges.iter().try_for_each(|&range| rest.insert(range)).map_err(|_| Refusal::TooManyHeld)?;
    let owned = OWNED.lock().clone();
    owned.iter().try_for_each(|range| rest.remove(range)).map_err(|_| Refusal::TooManyHeld)?;
    Ok(rest)
}

/// The memory that is out of the allocator because its pages are not plain.
static HELD: IrqLock<Held> = IrqLock::new("held", RangeSet::new());

type Held = RangeSet<HELD_RANGES>;

/// The most pieces of it.
const HELD_RANGES: usize = 64;

/// Returns true when some memory is read-only or unmapped.
pub(crate) fn any_held() -> bool {
    !HELD.lock().is_empty() || !OWNED.lock().is_empty()
}

/// Returns true when `page` is held.
pub(crate) fn is_held(page: PhysAddr) -> bool {
    let page = PhysRange::new(page, page.offset(FRAME_SIZE));
    HELD.lock().overlaps(page) || OWNED.lock().overlaps(page)
}

/// Returns true when `page` of the linear map is valid and writable, by its tables. The caller holds the map's lock.
fn is_plain(page: PhysAddr) -> bool {
    memory::tree(Reader).translate(memory::linear(page)).is_some_and(|(leaf, _)| leaf.is_writable())
}

/// Iterates over the pages of `range`.
pub(super) fn pages(range: PhysRange) -> impl Iterator<Item = PhysRange> {
    let starts = (range.start.0..range.end.0).step_by(FRAME_SIZE as usize).map(PhysAddr);
    starts.map(|page| PhysRange::new(page, page.offset(FRAME_SIZE)))
}

/// Takes the frames of the pages of `ranges` that are not held out of the allocator. The caller holds the map's lock, under which
/// alone it becomes another memory that is held.
fn take_frames(ranges: &[PhysRange]) -> Result<(), Refusal> {
    let held = HELD.lock();
    let more = ranges.iter().filter(|range| !held.contains_range(**range)).count();
    if held.iter().len() + more > HELD_RANGES {
        return Err(Refusal::TooManyHeld);
    }
    let mut frames = memory::frames();
    let mut taken = 0;
    let used = new_pages(ranges, &held).find(|page| {
        let is_free = frames.allocate_at(page.start);
        taken += usize::from(is_free);
        !is_free
    });
    let Some(used) = used else { return Ok(()) };
    new_pages(ranges, &held).take(taken).for_each(|page| frames.free(page.start));
    Err(ChangeError::InUse(used).into())
}

/// Undoes [`take_frames`]: no page has changed.
fn give_back(ranges: &[PhysRange]) {
    let (held, mut frames) = (HELD.lock(), memory::frames());
    new_pages(ranges, &held).for_each(|page| frames.free(page.start));
}

/// Iterates over the pages of `ranges` that are not held.
fn new_pages(ranges: &[PhysRange], held: &Held) -> impl Iterator<Item = PhysRange> {
    ranges.iter().flat_map(|&range| pages(range)).filter(|page| !held.overlaps(*page))
}

/// Holds `range`, whose frames are out of the allocator, after `change`; but for its plain pages.
fn hold(change: Change, range: PhysRange) {
    let held = HELD.lock().insert(range);
    held.unwrap_or_else(|full| panic!("held memory: {full}"));
    if !matches!(change, Change::ReadOnly | Change::Unmap) {
        let_go(range);
    }
}

/// Gives the frames of the plain pages of `range`, all of which are held, back to the allocator.
fn let_go(range: PhysRange) {
    let mut at = range.start;
    while at < range.end {
        let from = at;
        let mut run = pages(PhysRange::new(from, range.end)).take_while(|page| is_plain(page.start));
        at = run.by_ref().last().map_or(from, |page| page.end);
        let run = PhysRange::new(from, at);
        // A hole in the middle of a piece needs room for one more.
        if !run.is_empty() && HELD.lock().remove(run).is_err() {
            log::warn!("{run} stays out of the allocator: held memory is in {HELD_RANGES} pieces");
        } else {
            let mut frames = memory::frames();
            pages(run).for_each(|page| frames.free(page.start));
        }
        at = at.offset(FRAME_SIZE);
    }
}
