// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of code that is mapped at two addresses: QEMU translates it once, for the one that comes first.
//!
//! Each test fails if an instruction is taken to be executed where it was translated.

use cleave::tables::{Attributes, Descriptor, Level, PhysAddr, VirtAddr};
use cleave_model::{Access, Rule};

use super::*;
use crate::record::Event;

/// The page, and the two entries of the level 3 table that map it.
const CODE: PhysAddr = PhysAddr(DATA.0 + 0x5000);
const PAGES: [u64; 2] = [5, 6];

const fn address(page: u64) -> u64 {
    BASE + (page << 12)
}

impl Program {
    /// Entry `index` of the level 3 table becomes `leaf`, by break-before-make.
    fn remap(&mut self, index: u64, leaf: Descriptor) {
        let at = L3.offset(index * 8);
        let linked = TABLES + (at.0 - ROOT.0);
        self.store(linked, at, 0);
        self.execute(DSB_ISHST, 0);
        self.execute(TLBI_VMALLE1IS, 0);
        self.execute(DSB_ISH, 0);
        self.store(linked, at, leaf.0);
        self.execute(DSB_ISHST, 0);
        self.execute(ISB, 0);
    }

    /// A booted program whose code is mapped twice, and the block `NOP; STR` of it, translated at the first address.
    fn with_code() -> (Self, u32) {
        let mut program = Self::new(None);
        program.boot();
        let code = Attributes::NORMAL.with_permissions(Permissions::ReadExecute).leaf(CODE, Level::L3);
        PAGES.into_iter().for_each(|page| program.remap(page, code));
        let block = program.recorder.translated([(address(PAGES[0]) + 0x20, NOP), (address(PAGES[0]) + 0x24, STR)]);
        (program, block)
    }

    /// The block begins in this page.
    fn runs(&mut self, block: u32, page: u64) {
        self.recorder.block(block, address(page) + 0x20, Mark::Affinity(0), || 0);
    }

    fn fetches(&self) -> Vec<u64> {
        let entries = self.recorder.record.entries.iter();
        let fetch = entries.filter_map(|entry| match entry.event {
            Event::Accessed(Access::Fetch, VirtAddr(address), _) => Some(address),
            _ => None,
        });
        fetch.collect()
    }
}

#[test]
fn a_fetch_is_judged_at_the_address_of_execution() {
    let (mut program, block) = Program::with_code();
    program.runs(block, PAGES[0]);
    // The address of its translation maps nothing any more, and the block goes on at the other one.
    program.remap(PAGES[0], Descriptor::EMPTY);
    program.runs(block, PAGES[1]);
    assert_eq!(program.fetches(), PAGES.map(|page| address(page) + 0x20));
    let judged = program.judged();
    assert!(judged.violation.is_none() && judged.lost.is_none(), "{judged:?}");
    // And the other way about: there is nothing at the address of execution.
    program.runs(block, PAGES[0]);
    assert!(program.judged().lost.is_some());
}

#[test]
fn a_stale_fetch_shows_at_the_address_of_execution() {
    let (mut program, block) = Program::with_code();
    program.runs(block, PAGES[0]);
    let at = L3.offset(PAGES[1] * 8);
    program.store(TABLES + (at.0 - ROOT.0), at, 0);
    program.execute(DSB_ISHST, 0);
    program.runs(block, PAGES[1]);
    let (violation, instruction) = program.judged().violation.expect("a violation");
    assert_eq!(
        (violation.rule, violation.address),
        (Rule::AmbiguousTranslation, Some(VirtAddr(address(PAGES[1]) + 0x20)))
    );
    assert_eq!(instruction, Some(address(PAGES[1]) + 0x20));
}

#[test]
fn an_instruction_is_reported_at_the_address_of_execution() {
    for page in PAGES {
        let (mut program, block) = Program::with_code();
        program.runs(block, PAGES[0]);
        program.runs(block, page);
        // The second instruction changes the target of a live entry.
        let at = L3.offset(3 * 8);
        let leaf = Attributes::NORMAL.leaf(DATA.offset(0x7000), Level::L3);
        program.recorder.stored(block + 1, TABLES + (at.0 - ROOT.0), Some(at), 8, leaf.0);
        let (violation, instruction) = program.judged().violation.expect("a violation");
        assert_eq!((violation.rule, instruction), (Rule::LiveTargetChange, Some(address(page) + 0x24)));
    }
}

#[test]
fn a_pc_outside_its_block_gives_no_verdict() {
    let (mut program, block) = Program::with_code();
    program.recorder.block(block, address(PAGES[0]) + 0x24, Mark::Affinity(0), || 0);
    assert!(program.recorder.record.trouble.is_some());
}

#[test]
fn an_exception_vector_is_known_where_it_is_executed() {
    let mut program = Program::new(None);
    program.execute(MSR_VBAR, VECTORS);
    program.boot();
    let at = L3.offset(3 * 8);
    program.store(TABLES + (at.0 - ROOT.0), at, 0);
    program.execute(DSB_ISHST, 0);
    // Translated where the firmware's identity map had it.
    let block = program.recorder.translated([(0x4100_0200, NOP)]);
    program.recorder.block(block, VECTORS + 0x200, Mark::Affinity(0), || 0);
    program.recorder.excepts(block, || Syndrome { syndrome: 0x25 << 26, address: BASE + 0x3000 });
    let entries = &program.recorder.record.entries;
    assert!(entries.iter().any(|entry| matches!(entry.event, Event::Exception(_))));
}
