// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of a case, each with everything that has to hold after it.

use std::sync::atomic::Ordering;

use crate::case::*;
use crate::defect::Defect;
use crate::promises::{Failed, Snapshot, check};
use crate::session::Session;
use crate::world::World;
use cleave::linear_map::{ATTEMPTS, Form, FrameCounts, Outcome, Repainted};
use cleave::rendezvous::{Leader, OnlineCpus};
use cleave::tables::{
    Attributes, FrameSource, Level, PhysAddr, PhysRange, TemporaryBlocks, VirtAddr, map_blocks, replace_leaf, unlink,
};
use cleave_model::{self as model, Access, Scheduled};

impl World<'_> {
    /// Takes one step from what was there `before`, and says what is there after it.
    pub(crate) fn take(&self, cpu: &Scheduled<'_>, step: Step, before: &Snapshot) -> Result<Snapshot, Failed> {
        let after = match step {
            Step::Repaint(form, trouble) => self.repaint(cpu, form, trouble, before)?,
            Step::Change(change, lot, trouble) => return self.change(cpu, change, lot, trouble, before),
            Step::Map(pages, frames) => self.edit(before, || self.map_some(cpu, pages, frames))?,
            Step::Replace => self.edit(before, || self.replace(cpu))?,
            Step::Blocks => self.edit(before, || self.blocks(cpu))?,
            Step::Admit => self.edit(before, || {
                self.admit(cpu, (self.online() + 1).min(self.machine.cpus()));
                Ok(())
            })?,
        };
        self.verdict()?;
        check!(after.runs == before.runs, "the map does not translate as before");
        self.eye().check_w_xor_x()?;
        Ok(after)
    }

    /// A step that leaves the linear map alone.
    fn edit(&self, before: &Snapshot, step: impl FnOnce() -> Result<(), Failed>) -> Result<Snapshot, Failed> {
        step()?;
        let after = self.eye().snapshot();
        check!(after.descriptors == before.descriptors, "the linear map was changed");
        Ok(after)
    }

    /// One repaint with what is to go wrong.
    fn repaint(
        &self,
        cpu: &Scheduled<'_>,
        form: Form,
        trouble: Trouble,
        before: &Snapshot,
    ) -> Result<Snapshot, Failed> {
        let grown = before.stats.tables_to_split(self.case.geometry);
        let (needed, more) = match form {
            Form::Ahead => (grown + before.stats.tables, 0),
            // Its window takes tables too.
            Form::InWindow => (grown, self.machine.frames(0).available().min(16)),
        };
        let limit = match trouble {
            Trouble::OutOfMemory(part) if needed + more > 0 => (needed + more - 1) * part / 1000,
            _ => u64::MAX,
        };
        self.machine.limit_frames((limit != u64::MAX).then_some(limit));
        let mut session = Session { world: self, cpu, trouble, attempts: 0 };
        // One too few is a defect to be found: that CPU does not come.
        let miscounted = usize::from(self.defect() == Some(Defect::Miscount));
        // SAFETY: every CPU that is online has a slot of its own; a seeded miscount is what the case is about.
        #[allow(unsafe_code, reason = "the machine's online CPUs are counted")]
        let online = unsafe { OnlineCpus::of(&self.slots[..self.online() - miscounted]) };
        let leader = Leader { rendezvous: &self.rendezvous, host: cpu, slot: &self.slots[0], online: &online };
        let Repainted { outcome, frame_counts, .. } = self.live_map().repaint(&mut session, &leader, form);
        let attempts = session.attempts;
        cpu.deafen(0);
        self.touch(cpu);
        self.machine.limit_frames(None);
        // A broken rule tells more than what came of it.
        self.verdict()?;
        match outcome {
            Outcome::Done => check!(limit >= needed, "frames out of nothing"),
            Outcome::OutOfMemory(missing) => check!(limit < needed + more, "{missing}"),
            Outcome::ForeignTable(table) => check!(false, "{table} is no frame of the machine"),
            // A CPU that does not arrive is called as often as the documentation says; one that does not finish its
            // tables stops the repaint before any rendezvous.
            Outcome::Aborted => match trouble {
                Trouble::Absent => check!(attempts == 3 && ATTEMPTS == 3, "aborted after {attempts} rendezvous"),
                Trouble::Impatient => check!(attempts == 0 && frame_counts.lost > 0, "a rendezvous without its tables"),
                _ => return Err("aborted".into()),
            },
            // A CPU that an earlier repaint gave up on was still filling that one's tables.
            Outcome::Busy => check!(self.lost.load(Ordering::Relaxed) > 0, "busy"),
        }
        check!(
            frame_counts.attempts == attempts,
            "{} rendezvous in the account, not {attempts}",
            frame_counts.attempts
        );
        check!(self.live_map().try_lock().is_ok(), "the lock is still held");
        let after = self.eye().snapshot();
        self.check_counts(form, outcome, &frame_counts, before, &after)?;
        Ok(after)
    }

    /// Checks the frames, by the counts of the repaint and by the tables.
    fn check_counts(
        &self,
        form: Form,
        outcome: Outcome,
        frame_counts: &FrameCounts,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Result<(), Failed> {
        let grown = before.stats.tables_to_split(self.case.geometry);
        if outcome == Outcome::Done {
            let old = if form == Form::Ahead { before.stats.tables } else { 0 };
            check!(
                (frame_counts.used, frame_counts.reserved) == (frame_counts.needed, frame_counts.needed),
                "the reservation was not exact"
            );
            check!((frame_counts.surplus, frame_counts.returned) == (0, old), "{frame_counts:?}");
            check!(after.stats.tables_to_split(self.case.geometry) == 0, "something was not split");
            let tables = before.stats.tables + grown;
            check!(after.stats.tables == tables, "{} tables, not {tables}", after.stats.tables);
        } else {
            check!((frame_counts.used, frame_counts.returned) == (0, 0), "{frame_counts:?}");
            check!(after.stats == before.stats, "the counts changed");
            check!(after.descriptors == before.descriptors, "a live descriptor changed");
            let lost = after.frames_out.difference(&before.frames_out).count() as u64;
            check!(lost == frame_counts.lost, "{lost} frames are gone, not {}", frame_counts.lost);
        }
        let (out_before, out_after) = (before.frames_out.len() as u64, after.frames_out.len() as u64);
        check!(
            Some(out_after) == out_before.checked_add_signed(frame_counts.kept()),
            "{out_after} frames are out, not {out_before} and {frame_counts:?}"
        );
        let lost = self.lost.fetch_add(frame_counts.lost, Ordering::Relaxed) + frame_counts.lost;
        let in_use = self.eye().in_use();
        let idle = after.frames_out.difference(&in_use).count() as u64;
        check!(idle == lost, "{idle} frames are out and in no use, {lost} of them lost");
        check!(in_use.is_subset(&after.frames_out), "a frame in use is free");
        for root in [REPLACEMENT, SPARE, NOTHING] {
            let entries = 0..self.case.geometry.entries(self.case.geometry.root_level());
            let mut left = entries.map(|entry| self.machine.peek(PhysAddr(root.0 + 8 * entry as u64)));
            check!(left.all(|entry| entry.0 == 0), "something is left in the root at {root}");
        }
        Ok(())
    }

    /// Maps pages until the frames run out, if they do: what is mapped then can be used.
    fn map_some(&self, cpu: &Scheduled<'_>, pages: u64, frames: u64) -> Result<(), Failed> {
        self.machine.limit_frames(Some(frames));
        let mapped = self.map(cpu, pages);
        self.machine.limit_frames(None);
        check!(mapped.is_ok() || frames < pages * 4, "{}", mapped.err().unwrap_or_default());
        for &address in &*self.area.lock().unwrap() {
            check!(
                matches!(cpu.cpu().access(address, Access::Load), model::Outcome::Memory(_)),
                "{address} is not mapped"
            );
        }
        Ok(())
    }

    /// Replaces one page of the kernel's own by another, by break-before-make; no CPU uses it meanwhile.
    fn replace(&self, cpu: &Scheduled<'_>) -> Result<(), Failed> {
        let tree = self.live(0);
        let Some(address) = self.area.lock().unwrap().last().copied() else { return Ok(()) };
        self.publish(cpu, |area| area.retain(|&other| other != address));
        cpu.step();
        let mut frames = self.machine.frames(0);
        let new = frames.allocate().ok_or("no frame for a page")?;
        let (visit, old) = tree.translate(address).ok_or("a page that is not mapped")?;
        replace_leaf(&tree.memory, &self.bent(0), visit.slot, Attributes::NORMAL.leaf(new, Level::L3), self.repeat());
        self.machine.check_settled(0);
        check!(
            cpu.cpu().access(address, Access::Store) == model::Outcome::Memory(new),
            "{address} is not the new page"
        );
        self.machine.hold_data(PhysRange::new(new, new.offset(tree.geometry.page_size())));
        frames.free(old);
        self.publish(cpu, |area| area.push(address));
        Ok(())
    }

    /// Maps memory in blocks, uses it, and takes it away again.
    fn blocks(&self, cpu: &Scheduled<'_>) -> Result<(), Failed> {
        let Some((address, entry)) = self.case.window() else { return Ok(()) };
        let (geometry, roots, on, piece) = (self.case.geometry, self.image(0), self.bent(0), self.case.first);
        map_blocks(&roots, &on, geometry, TemporaryBlocks { piece, table: TEMPORARY, entry }, self.case.attributes);
        let last = VirtAddr(address.0 + piece.bytes() - 8);
        let there = model::Outcome::Memory(PhysAddr(piece.end.0 - 8));
        check!(cpu.cpu().access(last, Access::Store) == there, "{last} is not the end of {piece}");
        cpu.step();
        unlink(&roots, &on, entry, self.repeat());
        self.machine.check_settled(0);
        check!(cpu.cpu().access(last, Access::Load) == model::Outcome::Fault, "{last} is still mapped");
        Ok(())
    }
}
