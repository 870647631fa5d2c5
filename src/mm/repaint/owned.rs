// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of an owner in the kernel: its pages are leaves of their own, so that each is mapped and unmapped in place, from any
//! context.

extern crate alloc;

use alloc::vec::Vec;

use cleave::aarch64::translate;
use cleave::linear_map::{Change, ChangeError, Changed, Share};
use cleave::tables::{FRAME_SIZE, FrameSource, PhysAddr, PhysRange, VirtAddr};

use super::change::{Door, Refusal, disown, own, pages};
use super::{Watch, full_splits};
use crate::mm::memory::{self, GEOMETRY};
use crate::mm::views::{Reader, ThisCpu};

/// Memory that is out of the allocator and whose pages only its owner maps and unmaps. Dropping it leaves it so for ever.
pub(crate) struct Owned {
    range: PhysRange,
    /// The blocks and contiguous groups that mapped it before, each whole.
    leaves: Vec<PhysRange>,
    /// The number of full splits of the map at that time: after another one those leaves are the map's no longer.
    full_splits: u64,
}

/// The account of a change for a person: what was done, and how many ticks it took.
pub(crate) type TimedChange = (Changed, u64);

impl Owned {
    /// Takes `count` adjacent frames out of the allocator and unmaps them, each page a leaf of its own then.
    ///
    /// # Errors
    /// [`Refusal`]: nothing has changed. `Busy` also before there is an allocator.
    pub(crate) fn take<W: Watch>(count: u64, watch: &W) -> Result<(Self, TimedChange), Refusal> {
        let mut door = Door::open()?;
        let range = {
            let mut frames = memory::frames();
            let run = frames.allocate_adjacent(count);
            run.ok_or_else(|| Refusal::NoRun { needed: count, longest: frames.longest_run() })?
        };
        let owned = Self { range, leaves: leaves(range), full_splits: full_splits() };
        // Each page a range of its own: one change, and one switch, for both the sizes and the validity.
        let single: Vec<PhysRange> = pages(range).collect();
        let done = own(range).and_then(|()| {
            let done = door.make(Change::Unmap, &single, &[range], watch);
            done.inspect_err(|_| disown(range))
        });
        match done {
            Ok(account) => Ok((owned, account)),
            Err(refusal) => {
                free(range);
                Err(refusal)
            }
        }
    }

    /// Returns the memory.
    pub(crate) const fn range(&self) -> PhysRange {
        self.range
    }

    /// Maps `page` of it. In place, from any context.
    ///
    /// # Errors
    /// `Busy` while another change is under way, whose CPU may be this one, interrupted: the caller must not wait for it.
    pub(crate) fn map(&self, page: PhysRange) -> Result<(), Refusal> {
        Door::open()?.make(Change::Map, &[page], &[self.range], &NoStop).map(drop)
    }

    /// Unmaps `page` of it. In place, from any context.
    ///
    /// # Errors
    /// As [`Owned::map`].
    pub(crate) fn unmap(&self, page: PhysRange) -> Result<(), Refusal> {
        Door::open()?.make(Change::Unmap, &[page], &[self.range], &NoStop).map(drop)
    }

    /// Maps all of it, brings back the leaves that it was mapped by, and gives the frames back to the allocator. Where the
    /// collapse cannot be made, which no access notices, its refusal is returned beside, and the map stays in smaller leaves.
    ///
    /// # Errors
    /// The memory with [`Refusal`]: nothing has changed.
    ///
    /// # Panics
    /// When a page does not translate to its frame afterwards: a defect of the map.
    pub(crate) fn give_back<W: Watch>(self, watch: &W) -> Result<Result<TimedChange, Refusal>, (Self, Refusal)> {
        let mapped = Door::open().and_then(|mut door| {
            door.make(Change::Map, &[self.range], &[self.range], watch)?;
            Ok(door)
        });
        let mut door = match mapped {
            Ok(door) => door,
            Err(refusal) => return Err((self, refusal)),
        };
        let leaves = if full_splits() == self.full_splits { &self.leaves[..] } else { &[] };
        let collapsed = door.make(Change::Collapse, leaves, &[], watch);
        for page in pages(self.range) {
            let answer = translate::write(memory::linear(page.start));
            assert!(answer.address() == Some(page.start), "{} is given back, and {answer}", page.start);
        }
        disown(self.range);
        free(self.range);
        Ok(collapsed)
    }
}

fn free(range: PhysRange) {
    let mut frames = memory::frames();
    pages(range).for_each(|page| frames.free(page.start));
}

/// Returns the blocks and contiguous groups that map some of `range`. The caller holds the map's lock.
fn leaves(range: PhysRange) -> Vec<PhysRange> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let leaf = leaf(memory::linear(at));
        let start = PhysAddr(at.0 & !(leaf - 1));
        if leaf > FRAME_SIZE {
            found.push(PhysRange::new(start, start.offset(leaf)));
        }
        at = start.offset(leaf);
    }
    found
}

/// Returns the number of bytes that the leaf at `address` maps, the rest of its contiguous group included.
fn leaf(address: VirtAddr) -> u64 {
    let Some((leaf, _)) = memory::tree(Reader).translate(address) else { return FRAME_SIZE };
    let group = if leaf.descriptor.is_contiguous() { GEOMETRY.contiguous(leaf.level) } else { None };
    GEOMETRY.size(leaf.level) * group.unwrap_or(1) as u64
}

/// The surroundings of a change that is in place on every CPU.
struct NoStop;

impl Watch for NoStop {
    type Cpu = ThisCpu;

    fn failing_frame(&self) -> Option<u64> {
        None
    }
    fn called_for_help(&self) {}
    fn fill(&self, _share: Share) {}
    fn before_stop(&self) {}
    fn stopped(&self) -> ThisCpu {
        unreachable!("{}", ChangeError::WouldWait)
    }
    fn after_stop(&self) {}
}
