// SPDX-License-Identifier: MIT OR Apache-2.0
#![allow(unsafe_code, reason = "views of tables are made by promises")]
//! One repaint's implementation of the library's kernel traits: views, frames, CPUs, the rendezvous.

use alloc::format;
use core::sync::atomic::Ordering;

use cleave::aarch64::{BbmLevel, timer};
use cleave::atomics::Atomics;
use cleave::linear_map::{Kernel, LinearMap, OutOfMemory, Pool, Share, Step, UpperTables};
use cleave::rendezvous::{Parked, Refused};
use cleave::tables::{BitmapFrames, PhysRange, TlbiRepeat};

use super::progress::{Failing, WithProgress};
use super::{MANY, RepaintStats, UNDER_WAY, Watch, deadline, fill, marker};
use crate::cpu::percpu::this_cpu;
use crate::cpu::smp;
use crate::irq::ipi::wake_others;
use crate::mm::memory;
use crate::mm::views::{ThisCpu, View};

/// A repaint under way, and what it has to tell.
pub(super) struct Session<'w, W> {
    watch: &'w W,
    pub(super) account: RepaintStats,
    /// The level of FEAT_BBM that counts.
    pub(super) level: BbmLevel,
    /// The memory that the change may take from the kernel: its frames are held for it.
    pub(super) may_change: &'w [PhysRange],
}

impl<'w, W> Session<'w, W> {
    pub(super) fn new(watch: &'w W) -> Self {
        Self { watch, account: RepaintStats::default(), level: BbmLevel::Zero, may_change: &[] }
    }

    fn took(&mut self, step: Step, since: u64) {
        let ticks = Some(timer::count().wrapping_sub(since));
        match step {
            Step::Reserve => self.account.reserve = ticks,
            Step::Fill => self.account.fill = ticks,
        }
    }
}

impl<W: Watch> Kernel for Session<'_, W> {
    type Memory = View;
    type Roots = View;
    type Temporary = View;
    type Cpu = ThisCpu;
    type Stopped = W::Cpu;
    type Frames = BitmapFrames<'static>;

    fn memory(&self) -> View {
        // SAFETY: the library uses it outside the stop window, and holds the map's lock.
        unsafe { View::linear() }
    }
    fn roots(&self) -> View {
        // SAFETY: the roots are the library's while it holds the map's lock.
        unsafe { View::image() }
    }
    fn temporary(&self) -> View {
        // SAFETY: the library uses it while TTBR0 holds the temporary mapping's root, on the leader.
        unsafe { View::identity() }
    }
    fn cpu(&self) -> ThisCpu {
        ThisCpu
    }

    fn with_frames<T>(&mut self, work: impl FnOnce(&mut Self::Frames) -> T) -> T {
        work(&mut memory::frames())
    }

    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        if needed == 0 {
            UNDER_WAY.reserved(0);
            return Ok(Pool::EMPTY);
        }
        if needed > MANY {
            log::info!("reserving {needed} frames for tables");
        }
        let view = self.memory();
        let mut frames = memory::frames();
        let pool = match self.watch.failing_frame() {
            None if needed > MANY => Pool::reserve(&view, &mut WithProgress::new(&mut *frames), needed),
            None => Pool::reserve(&view, &mut *frames, needed),
            Some(nth) => {
                let mut frames = Failing { frames: &mut *frames, left: nth.saturating_sub(1) };
                Pool::reserve(&view, &mut frames, needed)
            }
        }?;
        drop(frames);
        UNDER_WAY.reserved(pool.frames());
        Ok(pool)
    }

    /// A caller that holds a lock may hold the allocator's, or have interrupted the holder: an exception handler.
    fn may_allocate(&self) -> bool {
        this_cpu().state.locks.load(Ordering::Relaxed) == 0
    }

    fn bbm_level(&self) -> BbmLevel {
        self.level
    }

    fn is_in_use(&self, range: PhysRange) -> bool {
        !self.may_change.iter().any(|held| held.contains_range(range))
    }

    fn repeat(&self) -> TlbiRepeat {
        smp::tlbi_repeat()
    }

    fn has_range_tlbi(&self) -> bool {
        smp::have_range_tlbi()
    }

    fn before_fill(&mut self, built: &UpperTables) {
        fill::begin(built);
    }

    fn call_for_help(&mut self) {
        wake_others();
        self.watch.called_for_help();
    }

    fn work<A: Atomics>(&mut self, _map: &LinearMap<'_, A>, share: Share) {
        self.watch.fill(share);
    }

    fn wait_until(&mut self, done: impl Fn() -> bool) {
        fill::wait_until(done);
    }

    fn before_stop(&mut self, attempt: u32) -> u64 {
        UNDER_WAY.gathers(attempt);
        self.watch.before_stop();
        deadline()
    }

    #[inline(always)]
    fn stopped(&mut self, _parked: &Parked<'_>) -> W::Cpu {
        marker::cleave_window();
        self.watch.stopped()
    }

    /// Names the CPUs that did not come.
    fn refused(&mut self, attempt: u32, refused: &Refused) {
        self.watch.after_stop();
        let mut text = format!("attempt {attempt}: {refused}");
        if let Refused::Deadline { generation, .. } = refused {
            text.push_str(", missing:");
            for cpu in smp::online().filter(|cpu| !cpu.state.slot.arrived_in(*generation)) {
                text.push_str(&format!(" CPU {}", cpu.id));
            }
        }
        log::warn!("rendezvous: {text}");
        self.account.errors.push(text);
    }

    fn timed<T>(&mut self, step: Step, work: impl FnOnce(&mut Self) -> T) -> T {
        let start = timer::count();
        let done = work(self);
        self.took(step, start);
        done
    }
}
