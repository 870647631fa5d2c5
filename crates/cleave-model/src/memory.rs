// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that holds translation tables: the value of each word, and the stores that are still under way.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use cleave::tables::{Descriptor, PhysAddr};

/// Stores of one CPU to adjacent words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    first: u16,
    end: u16,
    pub(super) writer: usize,
    /// The number of the last of them among the CPU's stores.
    pub(super) number: u64,
    /// The value that a walker may still find that has not seen the write.
    was: OldValue,
}

/// The kind of value that a store to an entry replaced, for a walker that could reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OldValue {
    /// Nothing to ask for: out of reach, or it is invalid now.
    Any,
    /// A leaf, or the same: no fault where there is none now.
    Valid,
    /// Something a walk may have faulted on: nothing, or a table.
    Faulting(Descriptor),
}

struct Page {
    words: [u64; 512],
    /// The words that were ever stored.
    stored: [u64; 8],
    writes: Vec<Write>,
}

impl Page {
    const fn new() -> Self {
        Self { words: [0; 512], stored: [0; 8], writes: Vec::new() }
    }
}

/// A map whose keys are numbers of pages, lines or tables. No input is chosen to make them collide.
pub(super) type ByNumber<V> = HashMap<u64, V, BuildHasherDefault<Spread>>;

/// Spreads a number over all bits, by Fibonacci hashing.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }
    fn write_u64(&mut self, number: u64) {
        let spread = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The words, by 4 KiB page.
#[derive(Default)]
pub(super) struct Memory {
    places: ByNumber<usize>,
    pages: Vec<Page>,
    /// The page found last.
    last: Cell<(u64, usize)>,
}

impl Memory {
    fn place(&self, slot: PhysAddr) -> Option<usize> {
        let number = slot.0 >> 12;
        let (last, place) = self.last.get();
        if last == number && place < self.pages.len() {
            return Some(place);
        }
        let place = *self.places.get(&number)?;
        self.last.set((number, place));
        Some(place)
    }

    fn place_mut(&mut self, slot: PhysAddr) -> &mut Page {
        let number = slot.0 >> 12;
        let place = self.place(slot).unwrap_or_else(|| {
            self.pages.push(Page::new());
            self.places.insert(number, self.pages.len() - 1);
            self.pages.len() - 1
        });
        self.last.set((number, place));
        &mut self.pages[place]
    }

    /// Returns the values of `count` slots from `table` on, where something was ever stored in their page.
    pub(super) fn entries(&self, table: PhysAddr, count: usize) -> impl Iterator<Item = (usize, Descriptor)> + '_ {
        let here = word(table);
        let pages = 0..(here + count).div_ceil(512);
        pages.flat_map(move |page| {
            // The part of the table that lies in this page, by the table's own numbers.
            let (first, end) = ((512 * page).max(here) - here, (512 * (page + 1) - here).min(count));
            let words = self.place(table.offset(8 * first as u64)).map(|place| &self.pages[place].words);
            words
                .into_iter()
                .flat_map(move |words| (first..end).map(move |index| (index, Descriptor(words[(here + index) % 512]))))
        })
    }

    /// Returns the value of the slot; zero where nothing was ever stored.
    pub(super) fn get(&self, slot: PhysAddr) -> Descriptor {
        Descriptor(self.place(slot).map_or(0, |place| self.pages[place].words[word(slot)]))
    }

    pub(super) fn is_stored(&self, slot: PhysAddr) -> bool {
        let word = word(slot);
        self.place(slot).is_some_and(|place| self.pages[place].stored[word / 64] >> (word % 64) & 1 == 1)
    }

    /// Sets a word without a store by any CPU.
    pub(super) fn set(&mut self, slot: PhysAddr, value: Descriptor) {
        let word = word(slot);
        let page = self.place_mut(slot);
        page.words[word] = value.0;
        page.stored[word / 64] |= 1 << (word % 64);
    }

    /// Notes that a CPU stored `count` words of one page from `slot` on; others may know of its stores
    /// up to `known`.
    pub(super) fn wrote(
        &mut self,
        slot: PhysAddr,
        count: usize,
        writer: usize,
        number: u64,
        was: OldValue,
        known: u64,
    ) {
        let (first, end) = (word(slot) as u16, (word(slot) + count) as u16);
        let writes = &mut self.place_mut(slot).writes;
        if let Some(last) = writes.last_mut()
            && (last.writer, last.was) == (writer, was)
            && last.end == first
            && last.number > known
        {
            last.end = end;
            last.number = number;
            return;
        }
        // What it covers is no longer there; but what a walk faulted on before a valid entry, it may still fault on.
        let from_valid = !matches!(was, OldValue::Any | OldValue::Faulting(Descriptor::EMPTY));
        let stays = |write: &Write| from_valid && matches!(write.was, OldValue::Faulting(_));
        writes.retain(|write| write.first < first || end < write.end || stays(write));
        writes.push(Write { first, end, writer, number, was });
    }

    /// Returns the stores to the words of `count` slots from `first` on.
    pub(super) fn writes(&self, first: PhysAddr, count: usize) -> impl Iterator<Item = (PhysAddr, Write)> + '_ {
        let pages = (first.0 >> 12)..=((first.0 + 8 * count as u64 - 1) >> 12);
        pages.flat_map(move |number| {
            let base = PhysAddr(number << 12);
            let writes = self.place(base).map_or(&[][..], |place| &self.pages[place].writes);
            writes.iter().map(move |&write| (base.offset(8 * u64::from(write.first)), write))
        })
    }

    /// Returns the stores to a slot that walkers could reach, the last one first, as far as a walk may have faulted
    /// before them: the CPU that stored, the number of its store, and the value before.
    pub(super) fn made_live(&self, slot: PhysAddr) -> impl Iterator<Item = (usize, u64, OldValue)> + '_ {
        let word = word(slot) as u16;
        let writes = self.place(slot).map_or(&[][..], |place| &self.pages[place].writes);
        let of_slot = writes.iter().rev().filter(move |write| write.first <= word && word < write.end);
        of_slot.map(|write| (write.writer, write.number, write.was))
    }

    /// Forgets the writers of `count` slots from `first` on: every CPU has seen the stores.
    pub(super) fn settle(&mut self) {
        self.pages.iter_mut().for_each(|page| page.writes.clear());
    }
}

const fn word(slot: PhysAddr) -> usize {
    (slot.0 as usize % 0x1000) / 8
}
