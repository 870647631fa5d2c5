// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel around a repaint: its views, its frames, and how its CPUs are called and wait.

use super::fill::Share;
use super::map::LinearMap;
use super::pool::{OutOfMemory, Pool};
use super::replacement::UpperTables;
use crate::aarch64::BbmLevel;
use crate::atomics::Atomics;
use crate::rendezvous::{Parked, Refused};
use crate::tables::{Cpu, FrameSource, PhysRange, TableMemory, TlbiRepeat};

/// A step of a repaint whose length is of interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Setting the frames aside.
    Reserve,
    /// Building the replacement and filling it.
    Fill,
}

/// The kernel around a repaint.
pub trait Kernel {
    /// Reaches every table below the roots while the map is whole: through the map itself.
    type Memory: TableMemory;
    /// Reaches the roots, always.
    type Roots: TableMemory;
    /// Reaches every table of the map through the temporary mapping while TTBR0 names its root.
    type Temporary: TableMemory;
    /// The CPU this runs on.
    type Cpu: Cpu;
    /// The CPU this runs on, while every CPU stands still: the same, unless a test watches it.
    type Stopped: Cpu;
    /// The frame allocator.
    type Frames: FrameSource;

    /// Returns the [`Kernel::Memory`].
    fn memory(&self) -> Self::Memory;
    /// Returns the [`Kernel::Roots`].
    fn roots(&self) -> Self::Roots;
    /// Returns the [`Kernel::Temporary`].
    fn temporary(&self) -> Self::Temporary;
    /// Returns the [`Kernel::Cpu`].
    fn cpu(&self) -> Self::Cpu;
    /// Lends the frame allocator, locked. Never called with every CPU parked. It owns every table of the map below the
    /// roots, as the old tables become its free frames: [`Outcome::ForeignTable`](super::Outcome::ForeignTable) otherwise.
    fn with_frames<T>(&mut self, work: impl FnOnce(&mut Self::Frames) -> T) -> T;
    /// Sets frames aside for tables.
    ///
    /// # Errors
    /// As [`Pool::reserve`].
    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        let memory = self.memory();
        self.with_frames(|frames| Pool::reserve(&memory, frames, needed))
    }

    /// Returns true when the caller may take frames from the allocator: false in an interrupt that may have interrupted the
    /// allocator, say. A change that takes tables is refused then.
    fn may_allocate(&self) -> bool {
        true
    }

    /// Returns the level of FEAT_BBM that every CPU has: from level 2 on the sizes of live leaves change in place. Level 0, which
    /// is always right, unless the kernel says otherwise.
    ///
    /// A kernel that says otherwise has a fault handler that retries stale translation faults. A walk that is in a table when a
    /// collapse gives it back may fault on what stands there later, as no rule makes an invalidation wait for it: the handler asks
    /// the MMU (AT, ISB), and returns when the address translates by now. [`Change::Map`](super::Change::Map) needs the same on
    /// CPUs without FEAT_ETS2 that use the memory without a context synchronisation in between.
    fn bbm_level(&self) -> BbmLevel {
        BbmLevel::Zero
    }
    /// Returns true when the kernel needs some of `range` as it is: tables, stacks, free frames of the allocator. Asked before
    /// permissions or validity change.
    fn is_in_use(&self, range: PhysRange) -> bool;

    /// Returns whether broadcast invalidations are needed twice.
    fn repeat(&self) -> TlbiRepeat;
    /// Returns true when every CPU has FEAT_TLBIRANGE, so that a change in place may invalidate by range.
    fn has_range_tlbi(&self) -> bool {
        false
    }

    /// Runs on the leader after the upper tables are built and before any CPU fills leaf tables.
    fn before_fill(&mut self, _built: &UpperTables) {}
    /// Wakes the CPUs that may help to fill tables ([`LinearMap::wants_help`]).
    fn call_for_help(&mut self) {}
    /// Fills tables on this CPU, by [`LinearMap::fill`].
    fn work<A: Atomics>(&mut self, map: &LinearMap<'_, A>, share: Share) {
        map.fill(self.memory(), self.roots(), &self.cpu(), share, &mut 0);
    }
    /// Waits until `done` returns true, but not for ever: for CPUs that have claimed a few tables. A kernel with one CPU has
    /// nothing to wait for.
    fn wait_until(&mut self, _done: impl Fn() -> bool) {}

    /// Prepares the rendezvous of this number, from 1 on, and returns the time that CPUs have to come to it, in ticks.
    fn before_stop(&mut self, attempt: u32) -> u64;
    /// Runs on the leader when every CPU stands still, before anything is changed. Returns the CPU that makes the
    /// change.
    fn stopped(&mut self, parked: &Parked<'_>) -> Self::Stopped;
    /// Runs when a CPU did not come to the rendezvous of this number, and nothing has happened.
    fn refused(&mut self, _attempt: u32, _refused: &Refused) {}

    /// Performs a step of the work, which a kernel may time.
    fn timed<T>(&mut self, _step: Step, work: impl FnOnce(&mut Self) -> T) -> T {
        work(self)
    }
}
