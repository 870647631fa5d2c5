// SPDX-License-Identifier: MIT OR Apache-2.0
//! Litmus tests for which Arm's own model has a verdict, and the machine gives the same.
//!
//! The tests are those of the release path, for herd7: P0 breaks x, invalidates, makes it anew for another address, and
//! sets a flag; P1 reads the flag and then x. The question in each is whether P1, having seen the flag, may still use
//! the old mapping, or fault.

use super::small::*;
use crate::*;
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Geometry, slot};

const FLAG: usize = 0x200;

/// The full sequence, each step replaceable.
#[derive(Clone, Copy)]
struct Path {
    before: Option<Dsb>,
    tlbi: Option<Tlbi>,
    after: Option<Dsb>,
    made: Option<Dsb>,
    isb0: bool,
    release: Flag,
    acquire: Flag,
    behind: Behind,
}

/// The steps of P1 behind its branch.
#[derive(Clone, Copy)]
enum Behind {
    Isb,
    Nothing,
    DsbSy,
    /// The ISB stands in front of the branch.
    IsbTooEarly,
}

fn full() -> Path {
    Path {
        before: Some(Dsb::Ishst),
        tlbi: Some(Tlbi::vaae1is(page(3))),
        after: Some(Dsb::Ish),
        made: Some(Dsb::Ishst),
        isb0: true,
        release: Flag::Ordered,
        acquire: Flag::Ordered,
        behind: Behind::Isb,
    }
}

fn run(path: Path, config: Config) -> Option<Rule> {
    let machine = machine_of(config);
    let (p0, p1) = (machine.cpu(0), machine.cpu(1));
    p0.store(slot(L3, 3), page_leaf(3).made_invalid());
    path.before.into_iter().for_each(|dsb| p0.dsb(dsb));
    path.tlbi.into_iter().for_each(|tlbi| p0.tlbi(tlbi));
    path.after.into_iter().for_each(|dsb| p0.dsb(dsb));
    p0.store(slot(L3, 3), Descriptor(page_leaf(4).0));
    path.made.into_iter().for_each(|dsb| p0.dsb(dsb));
    if path.isb0 {
        p0.isb();
    }
    p0.store_flag(FLAG, path.release);
    p1.load_flag(FLAG, path.acquire);
    match path.behind {
        Behind::Isb => {
            p1.branch();
            p1.isb();
        }
        Behind::Nothing => p1.branch(),
        Behind::DsbSy => {
            p1.branch();
            p1.dsb(Dsb::Sy);
        }
        Behind::IsbTooEarly => {
            p1.isb();
            p1.branch();
        }
    }
    p1.access(page(3), Access::Load);
    machine.so_far().err().map(|findings| findings.first.rule)
}

fn plain() -> Config {
    Config::new(Geometry::K4_V48, &[BbmLevel::Zero; 2])
}

#[test]
fn code_that_herd7_never_faults_keeps_every_rule() {
    let never = [
        ("good", full()),
        ("vmalle1is", Path { tlbi: Some(Tlbi::VMALLE1IS), ..full() }),
        ("nodsb3", Path { made: None, ..full() }),
        ("noisb-p0", Path { isb0: false, ..full() }),
        ("noacq", Path { acquire: Flag::Plain, ..full() }),
        ("norel", Path { release: Flag::Plain, ..full() }),
    ];
    for (name, path) in never {
        assert_eq!(run(path, plain()), None, "SM-{name}");
        assert_eq!(run(path, plain().with_ets2()), None, "SM-{name} with ETS2");
    }
}

#[test]
fn code_that_herd7_sometimes_faults_breaks_a_rule() {
    let local = Some(Tlbi::vaae1is(page(3)).local());
    let sometimes = [
        ("nodsb1", Path { before: None, ..full() }, Rule::StoreBeforeTlbi),
        ("dsb1ishld", Path { before: Some(Dsb::Ishld), ..full() }, Rule::StoreBeforeTlbi),
        ("notlbi", Path { tlbi: None, ..full() }, Rule::MakeWithoutTlbi),
        ("local", Path { tlbi: local, ..full() }, Rule::TlbiCoverage),
        ("nodsb2", Path { after: None, ..full() }, Rule::DsbAfterTlbi),
        ("dsb2ishst", Path { after: Some(Dsb::Ishst), ..full() }, Rule::DsbAfterTlbi),
        ("dsb2nsh", Path { after: Some(Dsb::Nsh), ..full() }, Rule::DsbAfterTlbi),
    ];
    for (name, path, rule) in sometimes {
        assert_eq!(run(path, plain()), Some(rule), "SM-{name}");
        assert_eq!(run(path, plain().with_ets2()), Some(rule), "SM-{name} with ETS2");
    }
}

#[test]
fn without_ets2_an_isb_behind_the_branch_prevents_stale_faults() {
    for (name, behind) in [("noisb-p1", Behind::Nothing), ("dsbp1", Behind::DsbSy), ("early", Behind::IsbTooEarly)] {
        let path = Path { behind, ..full() };
        assert_eq!(run(path, plain()), Some(Rule::ContextSynchronisation), "SM-{name}");
        assert_eq!(run(path, plain().with_ets2()), None, "SM-{name} with ETS2");
    }
}

/// P0 uses x itself after the make: "Leader-own".
fn leader_own(made: Option<Dsb>, isb: Option<()>, access: Access, config: Config) -> Option<Rule> {
    let machine = machine_of(config);
    let p0 = machine.cpu(0);
    p0.store(slot(L3, 3), page_leaf(3).made_invalid());
    p0.dsb(Dsb::Ishst);
    p0.tlbi(Tlbi::vaae1is(page(3)));
    p0.dsb(Dsb::Ish);
    p0.store(slot(L3, 3), page_leaf(4));
    made.into_iter().for_each(|dsb| p0.dsb(dsb));
    isb.into_iter().for_each(|()| p0.isb());
    p0.access(page(3), access);
    machine.so_far().err().map(|findings| findings.first.rule)
}

#[test]
fn the_writer_of_an_entry_needs_dsb_and_isb_or_ets2() {
    let barriers = [(Some(Dsb::Ishst), Some(())), (None, Some(())), (Some(Dsb::Ishst), None), (None, None)];
    for (made, isb) in barriers {
        let both = made.is_some() && isb.is_some();
        for access in [Access::Load, Access::Store] {
            assert_eq!(
                leader_own(made, isb, access, plain()),
                (!both).then_some(Rule::ContextSynchronisation),
                "{made:?}, {isb:?}"
            );
            assert_eq!(leader_own(made, isb, access, plain().with_ets2()), None, "{made:?}, {isb:?} with ETS2");
        }
    }
}

/// P1 fills a table, P0 links it.
fn filler(release: Flag, acquire: Flag, leader: Option<Dsb>) -> Option<Rule> {
    let machine = machine_of(plain());
    let (p0, p1) = (machine.cpu(0), machine.cpu(1));
    fill(p1, NEW, page_leaf(0));
    p1.store_flag(FLAG, release);
    p0.load_flag(FLAG, acquire);
    p0.branch();
    leader.into_iter().for_each(|dsb| p0.dsb(dsb));
    p0.store(slot(L2, 5), Descriptor::table(NEW));
    machine.so_far().err().map(|findings| findings.first.rule)
}

#[test]
fn a_follower_hands_its_stores_over_by_release_and_acquire() {
    assert_eq!(filler(Flag::Ordered, Flag::Ordered, None), None);
    for leader in [None, Some(Dsb::Ishst), Some(Dsb::Sy)] {
        assert_eq!(filler(Flag::Plain, Flag::Ordered, leader), Some(Rule::ChildBeforeParent), "{leader:?}");
    }
    // On the leader's side a barrier that waits for the load is as good as an acquire, and one for stores is not.
    assert_eq!(filler(Flag::Ordered, Flag::Plain, Some(Dsb::Ish)), None);
    assert_eq!(filler(Flag::Ordered, Flag::Plain, Some(Dsb::Ishld)), None);
    assert_eq!(filler(Flag::Ordered, Flag::Plain, Some(Dsb::Ishst)), Some(Rule::ChildBeforeParent));
}

/// P0 makes an entry valid that never was, P1 uses it having seen the flag.
fn fresh(acquire: Flag, behind: &[Step], access: Access, config: Config) -> Option<Rule> {
    let machine = machine_of(config);
    machine.poke(slot(L3, 3), Descriptor::EMPTY);
    machine.boot_all(ROOT);
    let (p0, p1) = (machine.cpu(0), machine.cpu(1));
    p0.store(slot(L3, 3), page_leaf(3));
    p0.dsb(Dsb::Ishst);
    p0.store_flag(FLAG, Flag::Ordered);
    p1.load_flag(FLAG, acquire);
    behind.iter().for_each(|step| step(p1));
    p1.access(page(3), access);
    machine.so_far().err().map(|findings| findings.first.rule)
}

#[test]
fn another_cpu_sees_a_new_entry_after_an_isb_or_with_ets2() {
    for acquire in [Flag::Ordered, Flag::Plain] {
        // A branch and an ISB, or a DSB and an ISB: herd7's two ways to a context synchronisation that comes after a
        // load.
        for behind in [&[BRANCH, ISB][..], &[DSB_ISH, ISB]] {
            assert_eq!(fresh(acquire, behind, Access::Load, plain()), None);
            assert_eq!(fresh(acquire, behind, Access::Fetch, plain().with_ets2()), None);
        }
        for behind in [&[][..], &[BRANCH], &[DSB_ISH], &[ISB], &[DSB_ISHST, ISB], &[ISB, DSB_ISH]] {
            assert_eq!(
                fresh(acquire, behind, Access::Load, plain()),
                Some(Rule::ContextSynchronisation),
                "{}",
                behind.len()
            );
            // With ETS2 the load of the flag is enough, acquire or not; a fetch is not what it is about.
            assert_eq!(fresh(acquire, behind, Access::Load, plain().with_ets2()), None);
            assert_eq!(fresh(acquire, behind, Access::Fetch, plain().with_ets2()), Some(Rule::ContextSynchronisation));
        }
    }
}
