// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plain machine for unit tests: table memory that knows what was written, a CPU that records what it was told, and
//! one log for both where the order between them matters.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Mutex;

use super::{Cpu, Descriptor, FrameSource, PhysAddr, TableMemory, TlbiLevels, TlbiRange, VirtAddr};

/// 512 words and which of them were ever stored.
struct Page {
    number: u64,
    words: [u64; 512],
    stored: [u64; 8],
}

impl Page {
    fn is_stored(&self, word: usize) -> bool {
        self.stored[word / 64] >> (word % 64) & 1 == 1
    }
}

/// Table memory that panics on a read of what was never written, so that no test relies on zeroed frames.
#[derive(Default)]
pub(crate) struct FakeMemory {
    pages: RefCell<Vec<Page>>,
    /// The index of a page in `pages`, by its number.
    places: RefCell<HashMap<u64, usize>>,
    /// The place found last: walks stay in a table for a while.
    last: Cell<usize>,
}

impl FakeMemory {
    pub(crate) fn zero_table(&self, table: PhysAddr, entries: usize) {
        self.store_run(table, Descriptor::EMPTY, 0, entries);
    }

    /// Returns everything stored so far, for comparing before and after.
    pub(crate) fn contents(&self) -> BTreeMap<u64, u64> {
        self.contents_of(|_| true)
    }

    /// Returns the stores to those 4 KiB pages that `of` picks by their address.
    pub(crate) fn contents_of(&self, of: impl Fn(u64) -> bool) -> BTreeMap<u64, u64> {
        let pages = self.pages.borrow();
        let words = pages.iter().filter(|page| of(page.number * 0x1000)).flat_map(|page| {
            let stored = (0..512).filter(|&word| page.is_stored(word));
            stored.map(|word| (page.number * 0x1000 + 8 * word as u64, page.words[word]))
        });
        words.collect()
    }

    fn place(&self, number: u64) -> Option<usize> {
        let last = self.last.get();
        if self.pages.borrow().get(last).is_some_and(|page| page.number == number) {
            return Some(last);
        }
        let place = *self.places.borrow().get(&number)?;
        self.last.set(place);
        Some(place)
    }

    fn make_place(&self, number: u64) -> usize {
        self.place(number).unwrap_or_else(|| {
            let mut pages = self.pages.borrow_mut();
            pages.push(Page { number, words: [0; 512], stored: [0; 8] });
            self.places.borrow_mut().insert(number, pages.len() - 1);
            pages.len() - 1
        })
    }
}

impl TableMemory for FakeMemory {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        let word = (slot.0 % 0x1000 / 8) as usize;
        let pages = self.pages.borrow();
        match self.place(slot.0 / 0x1000).map(|place| &pages[place]) {
            Some(page) if page.is_stored(word) => Descriptor(page.words[word]),
            _ => panic!("load of {slot}, which was never stored"),
        }
    }

    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.store_run(slot, value, 0, 1);
    }

    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        assert!(first.is_aligned(8));
        let mut value = value.0;
        let mut done = 0;
        while done < count {
            let at = first.0 + 8 * done as u64;
            let place = self.make_place(at / 0x1000);
            let page = &mut self.pages.borrow_mut()[place];
            let word = (at % 0x1000 / 8) as usize;
            let here = (512 - word).min(count - done);
            for (slot, index) in page.words[word..word + here].iter_mut().zip(word..) {
                *slot = value;
                page.stored[index / 64] |= 1 << (index % 64);
                value = value.wrapping_add(stride);
            }
            done += here;
        }
    }
}

/// A view of a memory that reaches only some of it, and may log its stores together with what a CPU is told.
pub(crate) struct View<'a> {
    memory: &'a FakeMemory,
    reaches: Range<u64>,
    log: Option<&'a FakeCpu>,
}

impl<'a> View<'a> {
    pub(crate) fn new(memory: &'a FakeMemory, reaches: Range<u64>) -> Self {
        Self { memory, reaches, log: None }
    }

    /// Returns the same view with every store in the log of `cpu`.
    pub(crate) fn logged(self, cpu: &'a FakeCpu) -> Self {
        Self { log: Some(cpu), ..self }
    }

    fn check(&self, slot: PhysAddr) {
        assert!(self.reaches.contains(&slot.0), "{slot} reached through the wrong view");
    }
}

impl TableMemory for View<'_> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.check(slot);
        self.memory.load(slot)
    }

    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.store_run(slot, value, 0, 1);
    }

    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        self.check(first);
        if let Some(cpu) = self.log {
            for index in 0..count as u64 {
                let word = value.0.wrapping_add(stride.wrapping_mul(index));
                cpu.did(Event::Store(first.offset(8 * index), Descriptor(word)));
            }
        }
        self.memory.store_run(first, value, stride, count);
    }
}

/// A memory that threads share, and that counts how often a run was stored at each address.
#[derive(Default)]
pub(crate) struct SharedMemory {
    pub(crate) memory: Mutex<FakeMemory>,
    pub(crate) runs: Mutex<BTreeMap<PhysAddr, u64>>,
}

impl TableMemory for SharedMemory {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.memory.lock().unwrap().load(slot)
    }

    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.memory.lock().unwrap().store(slot, value);
    }

    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        *self.runs.lock().unwrap().entry(first).or_default() += 1;
        self.memory.lock().unwrap().store_run(first, value, stride, count);
    }
}

/// An action of a CPU, or a store through a logged view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    DsbIshst,
    DsbIsh,
    DsbNsh,
    Isb,
    Vmalle1Is,
    TlbiAddress(VirtAddr, TlbiLevels),
    TlbiRange(TlbiRange, TlbiLevels),
    Vmalle1,
    Vale1Is,
    SetTtbr0(PhysAddr),
    Store(PhysAddr, Descriptor),
}

/// A CPU that records its actions, in one log for all of its clones.
#[derive(Clone, Default)]
pub(crate) struct FakeCpu {
    pub(crate) events: Rc<RefCell<Vec<Event>>>,
}

impl FakeCpu {
    fn did(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    /// Takes the events so far; the log is empty afterwards.
    pub(crate) fn take(&self) -> Vec<Event> {
        self.events.take()
    }
}

impl Cpu for FakeCpu {
    fn dsb_ishst(&self) {
        self.did(Event::DsbIshst);
    }
    fn dsb_ish(&self) {
        self.did(Event::DsbIsh);
    }
    fn dsb_nsh(&self) {
        self.did(Event::DsbNsh);
    }
    fn isb(&self) {
        self.did(Event::Isb);
    }
    fn tlbi_vmalle1is(&self) {
        self.did(Event::Vmalle1Is);
    }
    fn tlbi_address(&self, address: VirtAddr, levels: TlbiLevels) {
        self.did(Event::TlbiAddress(address, levels));
    }
    fn tlbi_range(&self, range: TlbiRange, levels: TlbiLevels) {
        self.did(Event::TlbiRange(range, levels));
    }
    fn tlbi_vmalle1(&self) {
        self.did(Event::Vmalle1);
    }
    fn repeat_tlbi_workaround(&self) {
        self.did(Event::Vale1Is);
    }
    fn set_ttbr0(&self, root: PhysAddr) {
        self.did(Event::SetTtbr0(root));
    }
}

/// Frames from a counter, with a limit, so that out-of-memory can be had at every n-th frame.
pub(crate) struct FakeFrames {
    next: u64,
    size: u64,
    limit: Cell<u64>,
    pub(crate) out: BTreeSet<PhysAddr>,
    /// The frames that [`FrameSource::available`] adds to the truth, to reach the failure of a single frame.
    pub(crate) claims: u64,
}

impl FakeFrames {
    pub(crate) fn new(start: u64, size: u64, limit: u64) -> Self {
        Self { next: start, size, limit: Cell::new(limit), out: Default::default(), claims: 0 }
    }

    /// Sets the number of free frames to `limit`, regardless of the number before.
    pub(crate) fn limit_to(&self, limit: u64) {
        self.limit.set(limit);
    }
}

impl FrameSource for FakeFrames {
    fn available(&self) -> u64 {
        self.limit.get() + self.claims
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        let left = self.limit.get().checked_sub(1)?;
        self.limit.set(left);
        let frame = PhysAddr(self.next);
        self.next += self.size;
        self.out.insert(frame);
        Some(frame)
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        self.out.contains(&frame)
    }

    fn free(&mut self, frame: PhysAddr) {
        assert!(self.out.remove(&frame), "{frame} was not allocated");
        self.limit.set(self.limit.get() + 1);
    }
}
