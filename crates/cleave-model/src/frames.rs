// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frame ledger: which frames are free, allocated, reserved or hold data, and when a table may be given back.

use std::collections::{BTreeSet, HashSet};

use super::rule::RuleText;
use super::stale::StaleEntry;
use super::{Rule, State};
use cleave::tables::{Descriptor, Kind, PhysAddr, VirtAddr, slot};

/// The text of M12.
pub(super) const FRAME_REUSE: RuleText = RuleText {
    id: "M12",
    name: "reuse",
    sentence: "a frame freed, or a table rewritten, before the invalidation that retires it has completed; a frame used as a \
               table that is free or holds data",
    source: "Arm ARM D8.16 Translation Lookaside Buffers (caching of table entries); D8.17 TLB maintenance: Ordering and \
             completion of TLB maintenance instructions",
};

/// The text of M15.
pub(super) const RESERVATION: RuleText = RuleText {
    id: "M15",
    name: "reserve",
    sentence: "in the stop window a frame that is not allocated, that holds data, or that was not reserved is linked as a table, \
               or a frame is allocated or freed",
    source: "this library's own promise: a commit cannot fail, and the allocator may live in what is broken",
};

/// The frames the machine gives out. Tables outside of it, as a kernel image's, are not its concern.
#[derive(Debug, Default)]
pub(super) struct FrameLedger {
    pub(super) free: BTreeSet<PhysAddr>,
    pub(super) out: BTreeSet<PhysAddr>,
    /// The number that may still be given out; an allocator that fails earlier than it looks.
    pub(super) limit: Option<u64>,
    /// `Yes` while frames that are allocated are also set aside.
    pub(super) reserving: Reserving,
    /// Frames that may become tables in the next stop window; `None` where the machine was not told.
    pub(super) set_aside: Option<BTreeSet<PhysAddr>>,
    /// Tables that existed when the stop window began.
    before_window: Option<HashSet<u64>>,
    /// Frames that hold data.
    pub(super) data: BTreeSet<PhysAddr>,
}

/// Says whether a reservation is being made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Reserving {
    #[default]
    No,
    Yes,
}

impl State {
    pub(super) fn allocate(&mut self, cpu: usize) -> Option<PhysAddr> {
        if self.in_window() {
            let detail = "a frame is allocated in the stop window";
            self.violated(Rule::Reservation, cpu, None, PhysAddr(0), (Descriptor::EMPTY, Descriptor::EMPTY), detail);
        }
        match &mut self.frames.limit {
            Some(0) => return None,
            Some(limit) => *limit -= 1,
            None => {}
        }
        let frame = self.frames.free.pop_first()?;
        self.frames.out.insert(frame);
        if self.frames.reserving == Reserving::Yes {
            self.frames.set_aside.get_or_insert_default().insert(frame);
        }
        Some(frame)
    }

    /// Begins the stop window: the last CPU is parked.
    pub(super) fn open_window(&mut self) {
        if self.frames.set_aside.is_some() {
            // Makes the map of tables if there is none.
            self.places(PhysAddr(0));
            self.frames.before_window = Some(self.reach.iter().flatten().map(|(&table, _)| table).collect());
        }
    }

    /// Ends the stop window: the last CPU goes on. Frames reserved for this window are not for another.
    pub(super) fn close_window(&mut self) {
        if self.frames.before_window.take().is_some() {
            self.frames.set_aside = None;
        }
    }

    pub(super) fn free(&mut self, cpu: usize, frame: PhysAddr) {
        let value = Descriptor::EMPTY;
        if self.in_window() {
            let detail = "a frame is given back in the stop window";
            self.violated(Rule::Reservation, cpu, None, frame, (value, value), detail);
        }
        if let Some(place) = self.places(frame).first().copied() {
            let detail = "a table is given back that a walker or a walk cache may still reach";
            self.violated(Rule::FrameReuse, cpu, Some(place.base), frame, (value, value), detail);
        }
        if !self.frames.out.remove(&frame) {
            let detail = "a frame is given back that is not allocated";
            self.violated(Rule::FrameReuse, cpu, None, frame, (value, value), detail);
        }
        if let Some(stale) = self.still_leads_to(frame) {
            let detail = "a frame is given back that a TLB may still map where memory does not";
            self.violated(Rule::FrameReuse, cpu, Some(stale.address), frame, (stale.old, value), detail);
        }
        if let Some(set_aside) = &mut self.frames.set_aside {
            set_aside.remove(&frame);
        }
        self.frames.data.remove(&frame);
        self.frames.free.insert(frame);
        if let Some(limit) = &mut self.frames.limit {
            *limit += 1;
        }
    }

    /// Returns a stale entry that leads to a frame from an address that does not lead there now.
    fn still_leads_to(&self, frame: PhysAddr) -> Option<StaleEntry> {
        self.stale_entries.iter().find(|stale| self.leads_to(stale, stale, frame)).copied()
    }

    /// Returns true when one stale entry of `holder`, or an entry below it, leads to a frame.
    fn leads_to(&self, holder: &StaleEntry, stale: &StaleEntry, frame: PhysAddr) -> bool {
        if let Some((table, place)) = self.below(stale) {
            let mut entries = self.valid_in(table, place.level);
            return entries.any(|(index, entry)| {
                let below = StaleEntry::new(slot(table, index), entry, place, self.address_in(place, index));
                self.leads_to(holder, &below, frame)
            });
        }
        let kind = stale.level.map(|level| (level, stale.old.kind(self.geometry, level)));
        let Some((level, Kind::Leaf(output))) = kind else { return false };
        let distance = frame.0.wrapping_sub(output.0);
        let address = VirtAddr(stale.address.0.wrapping_add(distance));
        let cpu = holder.holders.trailing_zeros() as usize;
        distance < self.geometry.size(level) && self.now(cpu, address) != Some(frame)
    }

    /// M12: a store to a frame that is free, or that holds data.
    pub(super) fn check_owned(&mut self, cpu: usize, slot: PhysAddr, value: Descriptor) {
        let frame = self.table_of(slot);
        let detail = if self.frames.free.contains(&frame) {
            "a frame is written that was given back"
        } else if self.frames.data.contains(&frame) {
            "a descriptor is written into a frame that holds data"
        } else {
            return;
        };
        let now = self.memory.get(slot);
        self.violated(Rule::FrameReuse, cpu, None, slot, (now, value), detail);
    }

    /// M12: a load of a descriptor from a frame that is free.
    pub(super) fn check_read(&mut self, cpu: usize, slot: PhysAddr) {
        if self.frames.free.contains(&self.table_of(slot)) {
            let now = self.memory.get(slot);
            let detail = "a frame is read as a table that was given back";
            self.violated(Rule::FrameReuse, cpu, None, slot, (now, now), detail);
        }
    }

    /// M12 and M15: `table` is linked by the store to `link`.
    pub(super) fn check_becomes_table(&mut self, cpu: usize, link: PhysAddr, table: PhysAddr, address: VirtAddr) {
        let FrameLedger { free, out, set_aside, before_window, data, .. } = &self.frames;
        let is_new = |tables: &HashSet<u64>| !tables.contains(&table.0);
        let detail = if free.contains(&table) {
            "a frame becomes a table that is not allocated"
        } else if data.contains(&table) {
            "a frame becomes a table that holds data"
        } else if let (Some(set_aside), true) = (set_aside, before_window.as_ref().is_some_and(is_new))
            && out.contains(&table)
            && !set_aside.contains(&table)
        {
            "a frame becomes a table that was not reserved for this stop window"
        } else {
            return;
        };
        let rule = if self.in_window() { Rule::Reservation } else { Rule::FrameReuse };
        let entry = self.memory.get(link);
        self.violated(rule, cpu, Some(address), link, (Descriptor::EMPTY, entry), detail);
    }
}
