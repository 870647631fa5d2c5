// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of permissions, validity and sizes as steps of a case, each with everything that has to hold after it.

use std::sync::atomic::Ordering;

use crate::case::*;
use crate::promises::{Failed, Run, Snapshot, check};
use crate::session::Session;
use crate::world::World;
use cleave::linear_map::{Change, ChangeError, Changed, Switch};
use cleave::rendezvous::{Leader, OnlineCpus};
use cleave::tables::{FrameSource, Level, PhysAddr, PhysRange};
use cleave_model::{self as model, Access, Scheduled};

impl World<'_> {
    /// Makes one change with what is to go wrong.
    pub(crate) fn change(
        &self,
        cpu: &Scheduled<'_>,
        change: Change,
        lot: u64,
        trouble: Trouble,
        before: &Snapshot,
    ) -> Result<Snapshot, Failed> {
        let ranges = match change {
            Change::Scope(_) => self.case.regions.clone(),
            _ => self.pick(change, lot).into_iter().collect(),
        };
        if ranges.is_empty() {
            return Ok(self.eye().snapshot());
        }
        let limit = match trouble {
            Trouble::OutOfMemory(part) => self.machine.frames(0).available().min(part / 100),
            _ => u64::MAX,
        };
        if change == Change::Unmap {
            // The kernel's part of the bargain: no CPU uses what it takes out of the map.
            let output = |at: &cleave::tables::VirtAddr| PhysAddr(at.0.wrapping_sub(self.layout.base().0));
            let is_gone = |at: &_| ranges.iter().any(|range| range.contains(output(at)));
            self.usable.lock().unwrap().retain(|at| !is_gone(at));
            cpu.step();
        }
        if self.live_sizes() {
            // A walk that is in a table when a live collapse gives it back may fault on what stands there later, as an
            // invalidation waits for no fault.
            self.machine.handle_stale_faults();
        }
        self.machine.limit_frames((limit != u64::MAX).then_some(limit));
        let mut session = Session { world: self, cpu, trouble, attempts: 0 };
        // SAFETY: every CPU that is online has a slot of its own.
        #[allow(unsafe_code, reason = "the machine's online CPUs are counted")]
        let online = unsafe { OnlineCpus::of(&self.slots[..self.online()]) };
        let leader = Leader { rendezvous: &self.rendezvous, host: cpu, slot: &self.slots[0], online: &online };
        let map = self.live_map();
        let mut held = map.try_lock().map_err(|busy| busy.to_string())?;
        let done = map.change(&mut held, &mut session, &leader, change, &ranges);
        drop(held);
        if (change, done.is_ok()) == (Change::Map, true) {
            // What is mapped can be used at once.
            let (address, there) = (self.layout.address(ranges[0].start), model::Outcome::Memory(ranges[0].start));
            check!(cpu.cpu().access(address, Access::Load) == there, "{address} is not mapped");
        }
        cpu.deafen(0);
        self.touch(cpu);
        self.machine.limit_frames(None);
        self.verdict()?;
        let after = self.eye().snapshot();
        check!(self.live_map().counts().stats == after.stats, "the counts are not what a walk finds");
        let runs = match done {
            Ok(Changed { switch, frame_counts, .. }) => {
                let live = self.live_sizes();
                check!(
                    switch != Switch::Stop || !live || matches!(change, Change::Scope(_)),
                    "the CPUs were stopped, and need not"
                );
                let (was, is) = (before.frames_out.len() as u64, after.frames_out.len() as u64);
                check!(
                    is + frame_counts.returned == was + frame_counts.used,
                    "{was} and {is} frames, {frame_counts:?}"
                );
                check!(frame_counts.surplus == 0, "the reservation was not exact");
                ranges.iter().fold(before.runs.clone(), |runs, &range| {
                    Run::folded(runs.into_iter().flat_map(|run| run.changed(change, range)))
                })
            }
            Err(error) => {
                check!(after.descriptors == before.descriptors, "a live descriptor changed");
                check!(after.frames_out == before.frames_out, "a frame is gone");
                match (error, trouble) {
                    (ChangeError::OutOfFrames(_), Trouble::OutOfMemory(_)) => {}
                    (ChangeError::Unanswered { .. }, Trouble::Absent) => {}
                    // A CPU that was left behind in a repaint still fills tables.
                    (ChangeError::Busy, _) if self.lost.load(Ordering::Relaxed) > 0 => {}
                    _ => return Err(format!("{error} with {trouble:?}")),
                }
                before.runs.clone()
            }
        };
        check!(after.runs == runs, "the map is not as the change says");
        self.eye().check_w_xor_x()?;
        self.machine.check_settled(0);
        self.verdict()?;
        Ok(after)
    }

    fn live_sizes(&self) -> bool {
        self.case.levels.iter().all(|level| *level >= cleave::aarch64::BbmLevel::Two)
    }

    /// Returns some memory that may change, in one region: pages, leaves and groups, and anything between.
    fn pick(&self, change: Change, lot: u64) -> Option<PhysRange> {
        let geometry = self.case.geometry;
        let kept = [self.case.first, self.case.frames, self.case.alias];
        let region = self.case.regions[lot as usize % self.case.regions.len()];
        let lot = lot / 8;
        let unit = match lot % 4 {
            0 => geometry.size(Level::L2),
            1 => geometry.page_size() * geometry.contiguous(Level::L3).unwrap_or(1) as u64,
            _ => geometry.page_size(),
        };
        let start = (region.start.0 + lot / 4 % region.bytes()) / unit * unit;
        let range = PhysRange::new(PhysAddr(start), PhysAddr(start + (lot / 64 % 20 + 1) * unit)).intersection(region);
        let is_kept = change.is_edit() && kept.iter().any(|kept| kept.overlaps(range));
        (!range.is_empty() && !is_kept).then_some(range)
    }
}
