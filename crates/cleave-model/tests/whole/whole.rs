// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole runs that are always the same, and the same runs with a defect in them: a property that cannot fail is worth
//! nothing.

use crate::case::{Case, Step, Trouble, plain};
use crate::defect::{Defect, Since};
use crate::world::run;
use cleave::aarch64::BbmLevel;
use cleave::linear_map::{Change, Form};
use cleave::tables::{Level, Scope};

const FORMS: [Form; 2] = [Form::Ahead, Form::InWindow];

fn good(case: &Case) {
    run(case, None).unwrap_or_else(|failed| panic!("{:?}: {failed}", case.steps));
}

#[test]
fn both_forms_of_a_split_keep_every_rule() {
    for form in FORMS {
        for cpus in 1..5 {
            good(&plain(cpus, &[Step::Repaint(form, Trouble::None)]));
        }
    }
}

#[test]
fn a_failed_repaint_changes_nothing_and_the_next_one_works() {
    for form in FORMS {
        for trouble in [Trouble::OutOfMemory(500), Trouble::Absent, Trouble::Late, Trouble::Impatient] {
            good(&plain(3, &[Step::Repaint(form, trouble), Step::Repaint(form, Trouble::None)]));
        }
    }
}

/// A CPU that was left behind in the middle of filling tables harms neither this repaint nor the next, whenever that
/// was.
#[test]
fn a_cpu_left_behind_in_mid_fill_harms_no_repaint() {
    for seed in 0..100 {
        let [impatient, none] = [Trouble::Impatient, Trouble::None].map(|trouble| Step::Repaint(Form::Ahead, trouble));
        good(&Case { seed, ..plain(3, &[impatient, impatient, none]) });
    }
}

/// Each place at which a frame can be missing, of the reservation and of the temporary mapping.
#[test]
fn frames_may_run_out_at_any_allocation() {
    for form in FORMS {
        for part in 0..=100 {
            good(&plain(1, &[Step::Repaint(form, Trouble::OutOfMemory(part * 10))]));
        }
    }
}

#[test]
fn the_kernels_own_mappings_change_before_and_after_a_split() {
    let edits = [Step::Map(3, 100), Step::Replace, Step::Blocks];
    for form in FORMS {
        // The many pages are more than one table of them holds.
        let mut steps = vec![Step::Map(520, 600)];
        steps.extend(edits);
        steps.push(Step::Repaint(form, Trouble::None));
        steps.extend(edits);
        good(&plain(3, &steps));
    }
}

#[test]
fn a_cpu_that_comes_late_finds_the_map_whole() {
    for form in FORMS {
        let mut case = plain(4, &[Step::Repaint(form, Trouble::None)]);
        case.latecomers = 2;
        good(&case);
    }
}

/// Each rendezvous has the CPUs that are online by then: fails when one counts those of the one before.
#[test]
fn the_number_of_cpus_may_change_between_two_rendezvous() {
    for form in FORMS {
        for trouble in [Trouble::Absent, Trouble::Late] {
            let steps = [Step::Repaint(form, Trouble::Absent), Step::Admit, Step::Repaint(form, trouble), Step::Admit];
            let last = Step::Repaint(form, Trouble::None);
            good(&Case { latecomers: 2, ..plain(4, &[&steps[..], &[last]].concat()) });
        }
    }
}

/// Fails when the window's own tables are given back by the root entries of the linear map.
#[test]
fn a_linear_map_may_begin_at_any_root_entry() {
    for form in FORMS {
        for skipped in [1, 7, 256, 510] {
            good(&Case { skipped, ..plain(2, &[Step::Repaint(form, Trouble::None)]) });
        }
    }
}

/// A CPU that was left behind in the middle of filling tables reads those of the live map: no change frees one under it.
#[test]
fn a_cpu_left_behind_in_mid_fill_reads_no_table_that_a_change_freed() {
    // A block becomes pages and a block again.
    let block = 8 * (4 * 0x40_0000 + 8);
    let changes = [Change::Split(Level::L3), Change::Collapse].map(|change| Step::Change(change, block, Trouble::None));
    for level in [BbmLevel::Zero, BbmLevel::Two] {
        for seed in 0..20 {
            let steps = [&[Step::Repaint(Form::Ahead, Trouble::Impatient)], &changes[..]].concat();
            good(&Case { levels: vec![level; 3], seed, ..plain(3, &steps) });
        }
    }
}

/// Changes of every kind, by every switch: in place, by live splits and collapses, and with every CPU stopped.
#[test]
fn changes_of_every_kind_keep_every_rule() {
    for (level, range_tlbi) in [(BbmLevel::Zero, false), (BbmLevel::Two, false), (BbmLevel::Two, true)] {
        for seed in 0..40 {
            // From one end of the first region to the other: pages, groups and blocks, whole and in part.
            let lot = 24 * 214_003 * seed;
            let change = |change| Step::Change(change, lot, Trouble::None);
            let steps = [
                change(Change::ReadOnly),
                change(Change::Unmap),
                change(Change::Split(Level::L3)),
                change(Change::Map),
                change(Change::ReadWrite),
                change(Change::Scope(Scope::AddressSpace)),
                change(Change::Collapse),
                change(Change::Scope(Scope::Global)),
            ];
            good(&Case { levels: vec![level; 3], range_tlbi, seed, ..plain(3, &steps) });
        }
    }
}

/// A kick that comes late may be taken by the leader anywhere in between. It never finds a rendezvous of the leader's own:
/// fails when the phase leaves Idle before interrupts are masked.
#[test]
fn a_late_ipi_finds_no_rendezvous_of_its_own_leader() {
    for seed in 0..50 {
        let steps = [Trouble::None, Trouble::Late].map(|trouble| Step::Repaint(Form::Ahead, trouble));
        good(&Case { seed, ..plain(3, &steps) });
    }
}

/// A leader that finds one, because its masks keep no kick out, does not wait for itself: fails when `attend` goes on
/// in spite of the mark in the leader's slot.
#[test]
fn a_leader_whose_masks_leak_does_not_wait_for_itself() {
    for seed in 0..50 {
        let steps = [Trouble::None, Trouble::Late].map(|trouble| Step::Repaint(Form::Ahead, trouble));
        good(&Case { seed, leaky: true, ..plain(3, &steps) });
    }
}

/// The catch of a case with a defect: a rule, or the promise that was broken.
fn caught(defect: Defect, since: Since, steps: &[Step], change: impl FnOnce(&mut Case)) -> String {
    let mut case = plain(3, steps);
    change(&mut case);
    match run(&case, Some((defect, since))) {
        Ok(()) => panic!("{defect:?} since {since:?} was not noticed"),
        Err(failed) => failed.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// The change covers contiguous groups of pages: on level 0 they change with every CPU stopped, on level 2 they are loosened
/// first.
#[test]
fn a_change_with_a_missing_step_is_caught() {
    // Of whole groups of pages, and of five pages of a block.
    let (groups, pages) = (96, 8 * (4 * 0x40_0000 + 2));
    for (defect, level, lot, rule) in [
        (Defect::NoTlbi, BbmLevel::Zero, groups, "M3"),
        (Defect::LocalTlbi, BbmLevel::Zero, groups, "M5"),
        (Defect::DsbIsh, BbmLevel::Zero, groups, "M6"),
        (Defect::DsbIshst, BbmLevel::Zero, groups, "M4"),
        (Defect::NoTlbi, BbmLevel::Two, groups, "M1"),
        (Defect::LocalTlbi, BbmLevel::Two, groups, "M1"),
        (Defect::DsbIsh, BbmLevel::Two, groups, "M1"),
        (Defect::DsbIshst, BbmLevel::Two, groups, "M1"),
        (Defect::WrongTlbi, BbmLevel::Two, pages, "M5"),
    ] {
        let step = Step::Change(Change::ReadOnly, lot, Trouble::None);
        for range_tlbi in [false, true] {
            let found = caught(defect, Since::Online, &[step], |case| {
                (case.levels, case.range_tlbi) = (vec![level; 3], range_tlbi);
            });
            assert_eq!(found, rule, "{defect:?} on {level:?}");
        }
    }
    // By address a collapse takes so many invalidations that one of everything is made; by range it takes one.
    let block = 8 * (4 * 0x40_0000 + 8);
    let steps = [Change::Split(Level::L3), Change::Collapse].map(|change| Step::Change(change, block, Trouble::None));
    let found = caught(Defect::LastLevelTlbi, Since::Online, &steps, |case| {
        (case.levels, case.range_tlbi) = (vec![BbmLevel::Two; 3], true);
    });
    assert_eq!(found, "M12");
}

#[test]
fn a_repaint_with_a_missing_step_is_caught() {
    for (defect, form, rule) in [
        (Defect::NoTlbi, Form::Ahead, "M3"),
        (Defect::NoTlbi, Form::InWindow, "M12"),
        (Defect::LocalTlbi, Form::Ahead, "M5"),
        (Defect::LocalTlbi, Form::InWindow, "M12"),
        (Defect::DsbIsh, Form::Ahead, "M6"),
        (Defect::DsbIsh, Form::InWindow, "M12"),
        (Defect::DsbIshst, Form::Ahead, "M4"),
        // The register names a root whose contents no walker need see.
        (Defect::DsbIshst, Form::InWindow, "M7"),
        (Defect::HostIsb, Form::Ahead, "M10"),
        (Defect::HostIsb, Form::InWindow, "M10"),
        (Defect::NoLocalTlbi, Form::InWindow, "M12"),
        (Defect::DsbNsh, Form::InWindow, "M12"),
        (Defect::Isb, Form::InWindow, "M10"),
        (Defect::EarlyFree, Form::Ahead, "M12"),
        (Defect::NoFill, Form::Ahead, "M7"),
        (Defect::ThroughLinear, Form::InWindow, "M13"),
        (Defect::Allocation, Form::Ahead, "M15"),
        (Defect::NotReserved, Form::Ahead, "M15"),
        (Defect::NotReserved, Form::InWindow, "M15"),
        (Defect::NoMake, Form::Ahead, "M14"),
        (Defect::Miscount, Form::Ahead, "M14"),
        (Defect::Miscount, Form::InWindow, "M14"),
    ] {
        let steps = [Step::Repaint(form, Trouble::None)];
        // The followers' code is as it is from the beginning.
        let since = if defect == Defect::HostIsb { Since::Painted } else { Since::Online };
        assert_eq!(caught(defect, since, &steps, |_| ()), rule, "{defect:?}, {form:?}");
    }
    let steps = [Step::Repaint(Form::Ahead, Trouble::None)];
    let erratum = |case: &mut Case| case.erratum = true;
    assert_eq!(caught(Defect::SecondTlbi, Since::Online, &steps, erratum), "M6");
}

#[test]
fn a_boot_with_a_missing_step_is_caught() {
    for (defect, since, rule) in [
        // The temporary mapping of the first paint, and the pages for the other CPUs.
        (Defect::DsbIshst, Since::Start, "M7"),
        (Defect::Isb, Since::Start, "M10"),
        // The second half of the careful form is done, and covers nothing.
        (Defect::NoTlbi, Since::Start, "M5"),
        (Defect::DsbIshst, Since::Painted, "M7"),
        (Defect::Isb, Since::Painted, "M10"),
        (Defect::EarlyRoot, Since::Painted, "M17"),
    ] {
        assert_eq!(caught(defect, since, &[], |_| ()), rule, "{defect:?} since {since:?}");
    }
}

#[test]
fn an_edit_with_a_missing_step_is_caught() {
    for (defect, step, rule) in [
        (Defect::DsbIshst, Step::Map(1, 1000), "M10"),
        (Defect::Isb, Step::Map(1, 1000), "M10"),
        (Defect::NoTlbi, Step::Replace, "M3"),
        (Defect::LocalTlbi, Step::Replace, "M5"),
        (Defect::DsbIsh, Step::Replace, "M6"),
        (Defect::DsbIshst, Step::Replace, "M4"),
        (Defect::Isb, Step::Replace, "M10"),
        (Defect::NoTlbi, Step::Blocks, "M3"),
        (Defect::LocalTlbi, Step::Blocks, "M5"),
        (Defect::DsbIsh, Step::Blocks, "M6"),
        (Defect::DsbIshst, Step::Blocks, "M7"),
        (Defect::Isb, Step::Blocks, "M10"),
    ] {
        assert_eq!(caught(defect, Since::Online, &[step], |_| ()), rule, "{defect:?}, {step:?}");
    }
}
