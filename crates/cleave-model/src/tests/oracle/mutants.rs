// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that are wrong, and that the oracle must tell apart from the right one.
//!
//! None is built: each is the machine, told something else than what happens. A machine that completes a TLBI at a DSB
//! ISHST is the machine that is told DSB ISH for each of those. Half of them are too lax about the hardware, and
//! are silent where they should not be; the other half too much.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::compare::{Disagreement, compare};
use super::generate::programs;
use super::program::{Covering, Doing, Ets2, Event, Program};
use crate::{Dsb, Flag, LastLevel, Scope};
use cleave::aarch64::BbmLevel;

/// The version of an event that the machine is told.
type Retelling = fn(Doing) -> Vec<Doing>;

/// Programs that a mutant has to get one of wrong.
const PROGRAMS: usize = 3000;

/// The first disagreement among random programs, the machine told `tale` and built as `built` says.
fn caught(built: fn(Program) -> Program, tale: Retelling) -> Option<Disagreement> {
    let mut runner = TestRunner::deterministic();
    let strategy = programs();
    let mut programs = (0..PROGRAMS).map(|_| strategy.new_tree(&mut runner).expect("a program").current());
    programs.find_map(|program| {
        let machine = built(program.clone()).machine();
        let told = compare(&program, &machine, |machine, event| {
            // The last event told is the one that was done, or stands for it.
            tale(event.doing).into_iter().fold(None, |_, doing| Event { doing, ..event }.tell(machine))
        });
        told.err().map(|(_, disagreement)| disagreement)
    })
}

fn as_it_is(program: Program) -> Program {
    program
}

fn faithfully(doing: Doing) -> Vec<Doing> {
    vec![doing]
}

#[test]
fn the_oracle_agrees_with_the_unchanged_model() {
    let disagreement = caught(as_it_is, faithfully);
    assert!(disagreement.is_none(), "{disagreement:?}");
}

#[test]
fn the_oracle_catches_models_that_are_too_lax() {
    let mutants: [(&str, Retelling); 13] = [
        ("a TLBI is complete without a DSB", |doing| match doing {
            Doing::Invalidate(..) => vec![doing, Doing::Dsb(Dsb::Ish)],
            _ => vec![doing],
        }),
        ("DSB ISHST completes a TLBI", |doing| match doing {
            Doing::Dsb(Dsb::Ishst) => vec![Doing::Dsb(Dsb::Ish)],
            _ => vec![doing],
        }),
        ("DSB ISHLD waits for stores", |doing| match doing {
            Doing::Dsb(Dsb::Ishld) => vec![Doing::Dsb(Dsb::Ishst)],
            _ => vec![doing],
        }),
        ("DSB NSH reaches every CPU", |doing| match doing {
            Doing::Dsb(Dsb::Nsh) => vec![Doing::Dsb(Dsb::Ish)],
            _ => vec![doing],
        }),
        ("a local TLBI reaches the other CPUs", |doing| match doing {
            Doing::Invalidate(Scope::Local, covering) => vec![Doing::Invalidate(Scope::InnerShareable, covering)],
            _ => vec![doing],
        }),
        ("a TLBI of the last level takes table descriptors", |doing| match doing {
            Doing::Invalidate(scope, Covering::Page(page, _, hint)) => {
                vec![Doing::Invalidate(scope, Covering::Page(page, LastLevel::AllLevels, hint))]
            }
            _ => vec![doing],
        }),
        ("a TLBI of one address takes everything", |doing| match doing {
            Doing::Invalidate(scope, _) => vec![Doing::Invalidate(scope, Covering::All)],
            _ => vec![doing],
        }),
        ("a wrong hint does no harm", |doing| match doing {
            Doing::Invalidate(scope, Covering::Page(page, last, _)) => {
                vec![Doing::Invalidate(scope, Covering::Page(page, last, None))]
            }
            _ => vec![doing],
        }),
        ("a TLBI counts for stores that nothing has ordered", |doing| match doing {
            Doing::Invalidate(..) => vec![Doing::Dsb(Dsb::Ishst), doing],
            _ => vec![doing],
        }),
        ("stores are seen at once", |doing| match doing {
            Doing::Store(..) => vec![doing, Doing::Dsb(Dsb::Ishst)],
            _ => vec![doing],
        }),
        ("no ISB is needed", |doing| match doing {
            Doing::Access(..) => vec![Doing::Isb, doing],
            _ => vec![doing],
        }),
        ("an ISB needs no branch before it", |doing| match doing {
            Doing::Isb => vec![Doing::Branch, doing],
            _ => vec![doing],
        }),
        ("a plain load acquires", |doing| match doing {
            Doing::LoadFlag(_) => vec![Doing::LoadFlag(Flag::Ordered)],
            _ => vec![doing],
        }),
    ];
    for (name, tale) in mutants {
        match caught(as_it_is, tale) {
            Some(Disagreement::Silence(_) | Disagreement::Held { .. } | Disagreement::Access { .. }) => {}
            other => panic!("not caught: {name}: {other:?}"),
        }
    }
    let levels = |program: Program| Program { levels: vec![BbmLevel::Three; program.levels.len()], ..program };
    assert!(caught(levels, faithfully).is_some(), "not caught: every CPU has level 3");
    let ets2 = |program: Program| Program { ets2: Ets2::Present, ..program };
    assert!(caught(ets2, faithfully).is_some(), "not caught: every CPU has FEAT_ETS2");
}

#[test]
fn the_oracle_catches_models_that_are_too_strict() {
    let mutants: [(&str, Retelling); 7] = [
        ("no DSB completes a TLBI", |doing| match doing {
            Doing::Dsb(Dsb::Ish) => vec![Doing::Dsb(Dsb::Ishst)],
            _ => vec![doing],
        }),
        ("DSB ISHST waits for nothing", |doing| match doing {
            Doing::Dsb(Dsb::Ishst) => vec![Doing::Dsb(Dsb::Ishld)],
            _ => vec![doing],
        }),
        ("TLBIs do nothing", |doing| match doing {
            Doing::Invalidate(..) => vec![],
            _ => vec![doing],
        }),
        ("every TLBI is local", |doing| match doing {
            Doing::Invalidate(_, covering) => vec![Doing::Invalidate(Scope::Local, covering)],
            _ => vec![doing],
        }),
        ("a TLBI takes no table descriptors", |doing| match doing {
            Doing::Invalidate(scope, Covering::Page(page, _, hint)) => {
                vec![Doing::Invalidate(scope, Covering::Page(page, LastLevel::Only, hint))]
            }
            _ => vec![doing],
        }),
        ("an ISB does nothing", |doing| match doing {
            Doing::Isb => vec![],
            _ => vec![doing],
        }),
        ("a release conveys nothing", |doing| match doing {
            Doing::StoreFlag(_) => vec![],
            _ => vec![doing],
        }),
    ];
    for (name, tale) in mutants {
        assert!(caught(as_it_is, tale).is_some(), "not caught: {name}");
    }
    let none = |program: Program| Program { ets2: Ets2::Absent, ..program };
    assert!(caught(none, faithfully).is_some(), "not caught: no CPU has FEAT_ETS2");
}
