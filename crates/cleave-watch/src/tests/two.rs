// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two CPUs: one starts the other, and breaks what both use.

use cleave::tables::{Descriptor, VirtAddr};
use cleave_model::Rule;

use super::*;

const MSR_MAIR: u32 = 0xd518_a200;
const HVC: u32 = 0xd400_0002;
const LDAR: u32 = 0xc8df_fc20;
const STLR: u32 = 0xc89f_fc20;
const CPU_ON: u64 = 0xc400_0003;
const ENTRY: u64 = 0x4100_1000;

/// Words by which the two know of each other.
const HERE: (u64, PhysAddr) = (TABLES + 0x8000, PhysAddr(ROOT.0 + 0x8000));
const GO: (u64, PhysAddr) = (TABLES + 0x9000, PhysAddr(ROOT.0 + 0x9000));

impl Program {
    /// The next block is one of this CPU.
    fn on(&mut self, cpu: u64) {
        // An ISB is fetched without being an access of its own: these programs' code is not mapped.
        let site = self.site(ENTRY, ISB);
        self.recorder.block(site, ENTRY, Mark::Affinity(cpu), || 7);
    }

    fn acquire(&mut self, (address, at): (u64, PhysAddr)) {
        let site = self.site(0x4100_0000, LDAR);
        self.recorder.loaded(site, address, || Some(at), 0);
        self.recorder.branches(site);
    }

    fn release(&mut self, (address, at): (u64, PhysAddr)) {
        let site = self.site(0x4100_0000, STLR);
        self.recorder.stored(site, address, Some(at), 8, 1);
    }

    /// CPU 1 comes up on this root, started by CPU 0.
    fn start_other(&mut self, root: PhysAddr) {
        let site = self.site(0x4100_0000, HVC);
        self.recorder.calls(site, [CPU_ON, 1, ENTRY, 7]);
        self.on(1);
        self.execute(MSR_TCR, TCR);
        self.execute(MSR_MAIR, 0);
        self.execute(TLBI_VMALLE1, 0);
        self.execute(DSB_NSH, 0);
        self.execute(MSR_TTBR0, EMPTY.0);
        self.execute(MSR_TTBR1, root.0);
        self.execute(ISB, 0);
        self.execute(MSR_SCTLR, 1);
        self.execute(ISB, 0);
        // A change of root is all that is seen of an admission.
        self.execute(MSR_TTBR1, ROOT.0);
        self.execute(ISB, 0);
    }
}

const SHARED: RangeInclusive<VirtAddr> = VirtAddr(BASE)..=VirtAddr(TABLES - 0x10_0001);

/// The step that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missing {
    Nothing,
    Arrival,
    Acquire,
    OtherIsb,
}

fn rendezvous(missing: Missing) -> Program {
    let mut program = Program::new(None);
    program.boot();
    program.start_other(HOLDING);
    program.load(BASE + 0x3000, DATA.offset(0x3000));
    if missing != Missing::Arrival {
        program.release(HERE);
    }
    program.on(0);
    if missing != Missing::Acquire {
        program.acquire(HERE);
    }
    program.store(TABLES, ROOT, 0);
    program.execute(DSB_ISHST, 0);
    program.execute(TLBI_VMALLE1IS, 0);
    program.execute(DSB_ISH, 0);
    program.execute(ISB, 0);
    program.store(TABLES, ROOT, Descriptor::table(L1).0);
    program.execute(DSB_ISHST, 0);
    program.execute(ISB, 0);
    program.release(GO);
    program.on(1);
    program.acquire(GO);
    if missing != Missing::OtherIsb {
        program.execute(ISB, 0);
    }
    program.load(BASE + 0x3000, DATA.offset(0x3000));
    program
}

#[test]
fn a_break_with_every_cpu_parked_is_clean() {
    let judged = rendezvous(Missing::Nothing).judged_sharing(SHARED);
    assert!(judged.violation.is_none() && judged.lost.is_none(), "{judged:?}");
    assert_eq!((judged.breaks, judged.settled), (1, true));
}

#[test]
fn a_break_while_the_other_cpu_may_run_is_named() {
    for (missing, rule) in [
        (Missing::Arrival, Rule::Rendezvous),
        (Missing::Acquire, Rule::Rendezvous),
        (Missing::OtherIsb, Rule::ContextSynchronisation),
    ] {
        let judged = rendezvous(missing).judged_sharing(SHARED);
        let found = judged.violation.map(|(violation, _)| violation.rule);
        assert_eq!(found, Some(rule), "{missing:?}: {:?}", judged.lost);
    }
}

#[test]
fn a_cpu_that_starts_on_the_linear_map_is_named() {
    let mut program = Program::new(None);
    program.boot();
    program.start_other(ROOT);
    let judged = program.judged_sharing(SHARED);
    assert_eq!(judged.violation.map(|(violation, _)| violation.rule), Some(Rule::CpuContexts));
}
