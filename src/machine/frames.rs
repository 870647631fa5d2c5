//! Page frames: who has them, and when a table may be given back.

use std::collections::BTreeSet;

use super::rule::Text;
use super::{Rule, State};
use crate::paging::{Descriptor, PhysAddr, VirtAddr};

/// M12.
pub(super) const M12: Text = Text {
    name: "reuse",
    sentence: "a table frame freed or rewritten before the invalidation that retires it has completed",
    source: "Arm ARM D8.15 Translation Lookaside Buffers (caching of table entries); D8.16 TLB maintenance: Ordering and \
             completion of TLB maintenance instructions",
};

/// M15.
pub(super) const M15: Text = Text {
    name: "reserve",
    sentence: "in the window a frame that was not set aside becomes a table, or anything is allocated or freed",
    source: "this library's own promise: a commit cannot fail, and the allocator may live in what is broken",
};

/// The frames the machine gives out. Tables outside of it, as a kernel image's, are nobody's business here.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) free: BTreeSet<PhysAddr>,
    pub(super) out: BTreeSet<PhysAddr>,
    /// How many may still be given out; an allocator that fails earlier than it looks.
    pub(super) limit: Option<u64>,
}

impl State {
    pub(super) fn allocate(&mut self, cpu: usize) -> Option<PhysAddr> {
        if self.in_window() {
            let detail = "a frame is allocated while every CPU stands still";
            self.violated(Rule::M15, cpu, None, PhysAddr(0), Descriptor::EMPTY, Descriptor::EMPTY, detail);
        }
        match &mut self.frames.limit {
            Some(0) => return None,
            Some(limit) => *limit -= 1,
            None => {}
        }
        let frame = self.frames.free.pop_first()?;
        self.frames.out.insert(frame);
        Some(frame)
    }

    pub(super) fn free(&mut self, cpu: usize, frame: PhysAddr) {
        let value = Descriptor::EMPTY;
        if self.in_window() {
            let detail = "a frame is given back while every CPU stands still";
            self.violated(Rule::M15, cpu, None, frame, value, value, detail);
        }
        if let Some(place) = self.places(frame).first().copied() {
            let detail = "a table is given back that a walker or a walk cache may still reach";
            self.violated(Rule::M12, cpu, Some(place.base), frame, value, value, detail);
        }
        if !self.frames.out.remove(&frame) {
            let detail = "a frame is given back that nobody has";
            self.violated(Rule::M12, cpu, None, frame, value, value, detail);
        }
        self.frames.free.insert(frame);
        if let Some(limit) = &mut self.frames.limit {
            *limit += 1;
        }
    }

    /// M12: a store to a frame that is nobody's.
    pub(super) fn check_owned(&mut self, cpu: usize, slot: PhysAddr, value: Descriptor) {
        if self.frames.free.contains(&self.table_of(slot)) {
            let now = self.memory.get(slot);
            self.violated(Rule::M12, cpu, None, slot, now, value, "a frame is written that was given back");
        }
    }

    /// M12 and M15: `table` is linked by the store to `link`.
    pub(super) fn check_becomes_table(&mut self, cpu: usize, link: PhysAddr, table: PhysAddr, address: VirtAddr) {
        if self.frames.free.contains(&table) {
            let entry = self.memory.get(link);
            let rule = if self.in_window() { Rule::M15 } else { Rule::M12 };
            let detail = "a frame becomes a table that nobody has allocated";
            self.violated(rule, cpu, Some(address), link, Descriptor::EMPTY, entry, detail);
        }
    }
}
