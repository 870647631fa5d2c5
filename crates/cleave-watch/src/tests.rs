// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs made by hand, recorded as QEMU would have them recorded, and judged.

mod alias;
mod two;

use std::ops::RangeInclusive;

use cleave::tables::{Attributes, Descriptor, Level, Permissions, PhysAddr, VirtAddr};
use cleave_model::Rule;

use crate::cpu_identity::Mark;
use crate::judge::judge;
use crate::judgement::Judgement;
use crate::record::Record;
use crate::recorder::{Recorder, Syndrome};
use crate::report::{Options, report};
use crate::survey::Survey;

const DC_IVAC: u32 = 0xd508_7620;
const DC_ZVA: u32 = 0xd50b_7420;
const DSB_SY: u32 = 0xd503_3f9f;
const DSB_NSH: u32 = 0xd503_379f;
const DSB_ISHST: u32 = 0xd503_3a9f;
const DSB_ISH: u32 = 0xd503_3b9f;
const ISB: u32 = 0xd503_3fdf;
const TLBI_VMALLE1: u32 = 0xd508_871f;
const TLBI_VMALLE1IS: u32 = 0xd508_831f;
const MSR_TTBR0: u32 = 0xd518_2000;
const MSR_TTBR1: u32 = 0xd518_2020;
const MSR_TCR: u32 = 0xd518_2040;
const MSR_SCTLR: u32 = 0xd518_1000;
const MSR_VBAR: u32 = 0xd518_c000;
const STR: u32 = 0xf900_0020;
const LDR: u32 = 0xf940_0020;
const NOP: u32 = 0xd503_201f;

/// 4 KiB granules, 48-bit addresses and write-back walks in both halves.
const TCR: u64 = 16 | 16 << 16 | 0b10 << 30 | 0b01 << 8 | 0b01 << 24;
const ROOT: PhysAddr = PhysAddr(0x4000_0000);
const L1: PhysAddr = PhysAddr(0x4000_1000);
const L2: PhysAddr = PhysAddr(0x4000_2000);
const L3: PhysAddr = PhysAddr(0x4000_3000);
const EMPTY: PhysAddr = PhysAddr(0x4000_4000);
/// The root of a CPU that is not admitted.
const HOLDING: PhysAddr = PhysAddr(0x4000_5000);
/// The address that the level 3 table maps.
const DATA: PhysAddr = PhysAddr(0x4800_0000);
const BASE: u64 = 0xffff_0000_0000_0000;
/// The tables, mapped by the second half of the level 3 table. Root entry 256 has the same as entry 0: it is the
/// kernel's, which stays.
const TABLES: u64 = 0xffff_8000_0010_0000;
const VECTORS: u64 = 0xffff_0000_0000_8000;

/// A program as it executes. The instruction of `without`, counted from 0, is left out.
struct Program {
    recorder: Recorder,
    left: Option<usize>,
    without: Option<u32>,
}

impl Program {
    fn new(without: Option<(u32, usize)>) -> Self {
        let mut recorder = Recorder::default();
        let site = recorder.translated([(0x4100_0000, NOP)]);
        recorder.block(site, 0x4100_0000, Mark::Affinity(0), || 0);
        Self { recorder, left: without.map(|(_, number)| number), without: without.map(|(word, _)| word) }
    }

    /// An instruction, in a block of its own.
    fn site(&mut self, address: u64, word: u32) -> u32 {
        self.recorder.translated([(address, word)])
    }

    fn execute(&mut self, word: u32, operand: u64) {
        if self.without == Some(word) {
            match self.left {
                Some(0) => return self.left = None,
                Some(left) => self.left = Some(left - 1),
                None => {}
            }
        }
        let site = self.site(0x4100_0000, word);
        self.recorder.executes(site, operand);
    }

    fn store(&mut self, address: u64, at: PhysAddr, value: u64) {
        let site = self.site(0x4100_0000, STR);
        self.recorder.stored(site, address, Some(at), 8, value);
    }

    fn load(&mut self, address: u64, at: PhysAddr) {
        let site = self.site(0x4100_0000, LDR);
        self.recorder.loaded(site, address, || Some(at), 0);
    }

    /// Tables written with the MMU off, as the boot code does it.
    fn boot(&mut self) {
        let tables = [ROOT, L1, L2, L3, EMPTY, HOLDING];
        let discard = |program: &mut Self| {
            for table in tables {
                (0..64).for_each(|line| program.execute(DC_IVAC, table.0 + line * 64));
            }
            program.execute(DSB_SY, 0);
        };
        self.execute(MSR_TCR, TCR);
        discard(self);
        for table in tables {
            (0..512).for_each(|index| self.store(table.0 + index * 8, table.offset(index * 8), 0));
        }
        let page = |at: PhysAddr| Attributes::NORMAL.leaf(at, Level::L3).0;
        for (slot, entry) in [(ROOT, L1), (ROOT.offset(2048), L1), (HOLDING.offset(2048), L1), (L1, L2), (L2, L3)] {
            self.store(slot.0, slot, Descriptor::table(entry).0);
        }
        for index in 0..256 {
            let at = L3.offset(index * 8);
            self.store(at.0, at, page(DATA.offset(index << 12)));
            self.store(at.0 + 256 * 8, at.offset(256 * 8), page(ROOT.offset(index << 12)));
        }
        self.execute(DSB_SY, 0);
        discard(self);
        self.execute(TLBI_VMALLE1, 0);
        self.execute(DSB_NSH, 0);
        self.execute(ISB, 0);
        self.execute(MSR_TTBR0, EMPTY.0);
        self.execute(MSR_TTBR1, ROOT.0);
        self.execute(ISB, 0);
        self.execute(MSR_SCTLR, 1);
        self.execute(ISB, 0);
    }

    /// Page 3 goes somewhere else, by break-before-make.
    fn change(&mut self) {
        let at = L3.offset(3 * 8);
        let address = TABLES + (at.0 - ROOT.0);
        self.load(BASE + 0x3000, DATA.offset(0x3000));
        self.store(address, at, 0);
        self.execute(DSB_ISHST, 0);
        self.execute(TLBI_VMALLE1IS, 0);
        self.execute(DSB_ISH, 0);
        self.store(address, at, Attributes::NORMAL.leaf(DATA.offset(0x7000), Level::L3).0);
        self.execute(DSB_ISHST, 0);
        self.execute(ISB, 0);
        self.load(BASE + 0x3000, DATA.offset(0x7000));
    }

    fn judged(&self) -> Judgement {
        // There is no other CPU to share anything with.
        self.judged_sharing(VirtAddr(0)..=VirtAddr(0))
    }

    fn judged_sharing(&self, shared: RangeInclusive<VirtAddr>) -> Judgement {
        let record = &self.recorder.record;
        judge(record, &Survey::of(record).expect("a machine for it"), &shared, None)
    }

    fn rule(&self) -> Option<Rule> {
        let judged = self.judged();
        assert_eq!(judged.lost, None);
        judged.violation.map(|(violation, _)| violation.rule)
    }
}

#[test]
fn a_program_that_keeps_every_rule_is_clean() {
    let mut program = Program::new(None);
    program.boot();
    program.change();
    let judged = program.judged();
    assert!(judged.violation.is_none() && judged.lost.is_none() && judged.settled, "{judged:?}");
    assert_eq!((judged.counts[0].broadcasts, judged.counts[0].local_invalidations, judged.counts[0].roots), (1, 1, 2));
}

#[test]
fn a_report_has_the_counts_and_a_verdict_for_each_defect() {
    let mut program = Program::new(None);
    program.boot();
    program.change();
    let arguments = ["report=a.json", "shared=0x0-0x0", "defects=all"].map(str::to_owned);
    let text = report(&program.recorder.record, &Options::parse(&arguments).expect("arguments"));
    for part in [
        "\"verdict\":\"ok\"",
        "\"broadcast_tlbis\":1",
        "\"broadcast_forms\":{\"all\":1,\"address\":0,",
        "\"no-broadcast-tlbi\":\"M3\"",
        "\"no-dc-ivac\":\"M16\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // The legend of `make watch`: each verdict that can stand in its table.
    for (index, rule) in Rule::ALL.into_iter().enumerate() {
        let part = format!("\"M{}\":\"{}: {}\"", index + 1, rule.text().name, rule.text().sentence);
        assert!(text.contains(&part), "{part} in {text}");
    }
    assert!(report(&Record::default(), &Options::parse(&[]).expect("none")).contains("TCR_EL1 was never written"));
    for wrong in ["defects=none", "shared=1", "shared=x-y", "what"] {
        assert!(Options::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
    }
}

#[test]
fn each_missing_instruction_is_named_by_its_rule() {
    let cases = [
        ((DC_IVAC, 3), Rule::CacheMaintenance),
        ((DC_IVAC, 6 * 64 + 3), Rule::CacheMaintenance),
        ((TLBI_VMALLE1, 0), Rule::CpuContexts),
        ((DSB_NSH, 0), Rule::CpuContexts),
        ((ISB, 2), Rule::ContextSynchronisation),
        ((DSB_ISHST, 0), Rule::StoreBeforeTlbi),
        ((TLBI_VMALLE1IS, 0), Rule::MakeWithoutTlbi),
        ((DSB_ISH, 0), Rule::DsbAfterTlbi),
        ((DSB_ISHST, 1), Rule::ContextSynchronisation),
        ((ISB, 3), Rule::ContextSynchronisation),
    ];
    for (without, rule) in cases {
        let mut program = Program::new(Some(without));
        program.boot();
        program.change();
        assert_eq!(program.rule(), Some(rule), "without {without:x?}");
    }
}

#[test]
fn a_translation_that_the_model_lacks_gives_no_verdict() {
    let mut program = Program::new(None);
    program.boot();
    program.load(BASE + 0x3000, DATA.offset(0x4000));
    assert!(program.judged().lost.is_some());
    let mut program = Program::new(None);
    program.boot();
    program.load(BASE + 0x20_0000, DATA);
    assert!(program.judged().lost.is_some());
}

/// Fails if the judge asks for broken steps alone: here every step is right, and the last ones are missing.
#[test]
fn a_run_that_ends_with_a_stale_entry_is_not_ok() {
    let mut program = Program::new(None);
    program.boot();
    let at = L3.offset(3 * 8);
    program.store(TABLES + (at.0 - ROOT.0), at, 0);
    program.execute(DSB_ISHST, 0);
    let (violation, instruction) = program.judged().violation.expect("a violation");
    assert_eq!(
        (violation.rule, violation.address, instruction),
        (Rule::MakeWithoutTlbi, Some(VirtAddr(BASE + 0x3000)), None)
    );
    program.execute(TLBI_VMALLE1IS, 0);
    program.execute(DSB_ISH, 0);
    assert!(program.judged().violation.is_none());
}

#[test]
fn a_store_of_half_a_descriptor_keeps_the_other_half() {
    let mut program = Program::new(None);
    program.boot();
    let (at, site) = (L3.offset(3 * 8), program.site(0x4100_0000, STR));
    // Its upper half alone: UXN and PXN stay as they are, and the low half with the address does.
    let upper = Attributes::NORMAL.leaf(DATA, Level::L3).0 >> 32;
    program.recorder.stored(site, TABLES + (at.0 - ROOT.0) + 4, Some(at.offset(4)), 4, upper);
    program.load(BASE + 0x3000, DATA.offset(0x3000));
    assert_eq!(program.rule(), None);
}

#[test]
fn dc_zva_is_eight_stores() {
    let mut program = Program::new(None);
    program.boot();
    // The entries of pages 8 to 15, by DC ZVA through the window.
    program.execute(DC_ZVA, TABLES + (L3.0 - ROOT.0) + 64);
    program.load(BASE + 0x9000, DATA.offset(0x9000));
    assert_eq!(program.judged().violation.map(|(violation, _)| violation.rule), Some(Rule::AmbiguousTranslation));
}

#[test]
fn an_access_that_faults_is_judged_by_the_address_in_far() {
    // What is no vector is no exception: that run ends with what is left in the TLB.
    for (vector, rule) in [(VECTORS + 0x200, Rule::AmbiguousTranslation), (VECTORS + 0x800, Rule::MakeWithoutTlbi)] {
        let mut program = Program::new(None);
        program.execute(MSR_VBAR, VECTORS);
        program.boot();
        let at = L3.offset(3 * 8);
        program.store(TABLES + (at.0 - ROOT.0), at, 0);
        program.execute(DSB_ISHST, 0);
        let site = program.site(vector, NOP);
        // A data abort from EL1, at the address whose entry is gone and not yet out of the TLB.
        program.recorder.excepts(site, || Syndrome { syndrome: 0x25 << 26, address: BASE + 0x3000 });
        assert_eq!(program.rule(), Some(rule));
    }
}

/// Both stores are counted, and the one that writes back is listed.
#[test]
fn a_store_to_a_device_that_writes_back_is_listed() {
    const STR_POST_INDEX: u32 = 0xb800_4528;
    let mut recorder = Recorder::default();
    for (address, word) in [(0x4100_0000, STR), (0x4100_0004, STR_POST_INDEX)] {
        let site = recorder.translated([(address, word)]);
        recorder.reached_device(site, true);
    }
    assert_eq!(recorder.record.devices.stores, 2);
    assert!(recorder.record.devices.without_syndrome.iter().eq(&[0x4100_0004]));
}
