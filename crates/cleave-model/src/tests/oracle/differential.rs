// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random programs on both.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRng, TestRunner};

use super::compare::{Agreement, Disagreement, compare};
use super::generate::programs;
use super::program::{Event, Program};
use crate::{Machine, Outcome, Rule};

fn faithfully(machine: &Machine, event: Event) -> Option<Outcome> {
    event.tell(machine)
}

fn run(program: &Program) -> Result<Agreement, (usize, Disagreement)> {
    compare(program, &program.machine(), faithfully)
}

/// The program without any event that the disagreement can do without.
fn least(program: &Program, fails: impl Fn(&Program) -> bool) -> Program {
    let mut program = program.clone();
    let mut at = 0;
    while at < program.events.len() {
        let mut shorter = program.clone();
        shorter.events.remove(at);
        if fails(&shorter) {
            program = shorter;
            at = 0;
        } else {
            at += 1;
        }
    }
    program
}

/// The number of programs that `cargo test` runs, always the same; ORACLE_CASES has so many drawn anew.
const CASES: u32 = 5000;

#[test]
fn the_model_agrees_with_the_oracle_on_random_programs() {
    let asked = std::env::var("ORACLE_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(CASES);
    let config = ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/oracle.txt"))),
        // What is found is made small event by event, below.
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let seed = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, seed),
    };
    let counts = RefCell::new(BTreeMap::new());
    let result = runner.run(&programs(), |program| match run(&program) {
        Ok(agreement) => {
            *counts.borrow_mut().entry(agreement).or_insert(0) += 1;
            Ok(())
        }
        Err(_) => {
            let least = least(&program, |program| run(program).is_err());
            let Err((at, disagreement)) = run(&least) else { unreachable!("it disagreed") };
            Err(TestCaseError::fail(format!("at event {at} of {least:#?}\n{disagreement}")))
        }
    });
    println!("{cases} programs: {:?}", counts.borrow());
    result.unwrap_or_else(|failed| panic!("{failed}"));
    // Not all of one kind: what agrees about nothing shows nothing.
    let good = counts.borrow().get(&Agreement::Good).copied().unwrap_or(0);
    assert!((cases / 4..cases).contains(&good), "{good} of {cases} are good");
    for rule in [
        Rule::LiveTargetChange,
        Rule::MakeWithoutTlbi,
        Rule::StoreBeforeTlbi,
        Rule::TlbiCoverage,
        Rule::DsbAfterTlbi,
        Rule::ChildBeforeParent,
        Rule::AmbiguousTranslation,
        Rule::ContextSynchronisation,
        Rule::FrameReuse,
    ] {
        assert!(counts.borrow().contains_key(&Agreement::Bad(rule)), "{rule} was never broken");
    }
}
