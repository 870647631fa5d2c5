// SPDX-License-Identifier: MIT OR Apache-2.0
//! The oracle's eager caching against lazy caching, on programs so short that every state can be looked at.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::generate::programs;
use super::judge::Oracle;
use super::observer::Caching;
use super::program::{Doing, Program};
use super::world::{Beginning, PAGES};
use crate::Access;

/// The number of programs, each cut short.
const PROGRAMS: usize = 200;
const EVENTS: usize = 5;

/// Returns true when there are few enough states.
fn is_tiny(program: &Program) -> bool {
    let stores = program.events.iter().filter(|event| matches!(event.doing, Doing::Store(..))).count();
    program.beginning == Beginning::Sparse && program.events.len() == EVENTS && (1..=2).contains(&stores)
}

#[test]
fn eager_caching_finds_every_outcome_of_lazy_caching() {
    let mut runner = TestRunner::deterministic();
    let strategy = programs();
    let programs = std::iter::repeat_with(|| {
        let mut program = strategy.new_tree(&mut runner).expect("a program").current();
        program.events.truncate(EVENTS);
        program
    });
    for program in programs.filter(is_tiny).take(PROGRAMS) {
        let mut greedy = Oracle::new(&program, Caching::Greedy);
        let mut free = Oracle::new(&program, Caching::Free);
        for &event in &program.events {
            assert_eq!(greedy.step(event), free.step(event), "at {event:?} of {program:?}");
            for (cpu, page) in (0..program.levels.len()).flat_map(|cpu| PAGES.map(|page| (cpu, page))) {
                assert_eq!(greedy.stale(cpu, page), free.stale(cpu, page), "after {event:?} of {program:?}");
                for access in [Access::Load, Access::Store] {
                    let harms = [&greedy, &free].map(|oracle| oracle.access(cpu, page, access));
                    assert_eq!(harms[0], harms[1], "after {event:?} of {program:?}");
                }
            }
        }
    }
}
