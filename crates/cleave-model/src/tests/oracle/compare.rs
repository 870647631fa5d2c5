// SPDX-License-Identifier: MIT OR Apache-2.0
//! The oracle and the machine side by side, event by event.

use std::collections::BTreeSet;
use std::fmt;

use super::judge::{Found, Harm, Oracle};
use super::observer::{Caching, RESTRICTIONS};
use super::program::{Doing, Event, Program};
use super::world::{PAGES, address};
use crate::{Machine, Outcome, Rule, Violation};

/// In what the two differ.
#[derive(Debug)]
pub(super) enum Disagreement {
    /// Something can go wrong, and the machine says nothing.
    Silence(Harm),
    /// The machine says that a rule is broken, and nothing can go wrong.
    Alarm(Box<Violation>),
    /// The translations that a CPU may hold of an address.
    Held { cpu: usize, page: u64, machine: BTreeSet<Option<Found>>, oracle: BTreeSet<Option<Found>> },
    /// The result of an access, by memory alone.
    Outcome { machine: Option<Outcome>, oracle: Option<Found> },
    /// A CPU holds something old, and the machine calls it a good end.
    End { cpu: usize },
    /// The rules broken at an access, and the failures that are possible there.
    Access { machine: Vec<Rule>, oracle: Vec<Harm> },
}

/// The result of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Agreement {
    /// Nothing can go wrong, and no rule is broken.
    Good,
    /// Something can go wrong, and the machine says so.
    Bad(Rule),
    /// A rule is broken that is stricter than what can go wrong here.
    Strict(Rule),
}

/// Rules that forbid more than what goes wrong by itself, so that the oracle has no harm to show for each case.
const STRICT: [Rule; 9] = [
    // A live entry changes its size or its target: undefined by itself, regardless of what is cached.
    Rule::LiveSizeChange,
    Rule::LiveTargetChange,
    // A table's contents are not ordered before its link: also where they are what was there before.
    Rule::ChildBeforeParent,
    Rule::ContiguousGroup,
    Rule::BrokenEntryAccess,
    Rule::Rendezvous,
    Rule::Reservation,
    Rule::CpuContexts,
    Rule::HardwareUpdate,
];

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence(harm) => write!(f, "the machine is silent, and this can happen: {harm:?}"),
            Self::Alarm(violation) => write!(f, "a false alarm: {violation}"),
            Self::Held { cpu, page, machine, oracle } => {
                write!(f, "CPU {cpu}, page {page} may be taken for {machine:x?} (machine), {oracle:x?} (oracle)")
            }
            Self::End { cpu } => write!(f, "the verdict is good, and CPU {cpu} may hold something old"),
            Self::Outcome { machine, oracle } => write!(f, "the access ends in {machine:x?}, memory says {oracle:x?}"),
            Self::Access { machine, oracle } => write!(f, "the access breaks {machine:?}, and may come to {oracle:?}"),
        }
    }
}

/// Runs a program on both. The machine is told what `tell` says of each event.
pub(super) fn compare(
    program: &Program,
    machine: &Machine,
    tell: impl Fn(&Machine, Event) -> Option<Outcome>,
) -> Result<Agreement, (usize, Disagreement)> {
    let mut oracle = Oracle::new(program, Caching::Greedy);
    let mut agreement = Agreement::Good;
    let mut exact = true;
    for (number, &event) in program.events.iter().enumerate() {
        exact &= !oracle.is_loose(event);
        let harms = oracle.step(event);
        let outcome = tell(machine, event);
        let broken = machine.take_violations();
        match (broken.first(), harms.first()) {
            (None, Some(&harm)) if agreement == Agreement::Good => return Err((number, Disagreement::Silence(harm))),
            (Some(violation), _) if agreement == Agreement::Good => {
                let rule = violation.rule;
                agreement = if is_justified(rule, &harms, &oracle) {
                    Agreement::Bad(rule)
                } else if STRICT.contains(&rule) || !exact || is_declared(violation, event, &oracle) {
                    Agreement::Strict(rule)
                } else {
                    return Err((number, Disagreement::Alarm(Box::new(violation.clone()))));
                };
            }
            _ => {}
        }
        // From here on the machine no longer follows what a walker may find.
        if broken.iter().any(|violation| matches!(violation.rule, Rule::ChildBeforeParent | Rule::FrameReuse)) {
            break;
        }
        if exact {
            held_alike(machine, &oracle, program.levels.len()).map_err(|held| (number, held))?;
            access_alike(event, &harms, &broken, &oracle).map_err(|access| (number, access))?;
        }
        outcome_alike(event, outcome, &oracle).map_err(|outcome| (number, outcome))?;
    }
    Ok(agreement)
}

fn is_of_context(harm: &Harm) -> bool {
    matches!(harm, Harm::StaleFault | Harm::Register | Harm::PendingSync)
}

/// Returns true when something that can go wrong justifies that the rule is called broken.
fn is_justified(rule: Rule, harms: &[Harm], oracle: &Oracle) -> bool {
    match rule {
        // Something that is made while the old is there: an access that comes next goes wrong.
        Rule::LiveSizeChange
        | Rule::LiveTargetChange
        | Rule::MakeWithoutTlbi
        | Rule::StoreBeforeTlbi
        | Rule::TlbiCoverage
        | Rule::DsbAfterTlbi => oracle.can_some_access_go_wrong(),
        Rule::ChildBeforeParent => harms.contains(&Harm::Unordered),
        Rule::MultiHit => harms.contains(&Harm::MultiHit),
        Rule::AmbiguousTranslation => harms.contains(&Harm::Stale),
        Rule::ContextSynchronisation => harms.iter().any(is_of_context),
        Rule::FrameReuse => harms.contains(&Harm::Reuse),
        _ => false,
    }
}

/// Returns true when a rule that is otherwise exact forbids more here, as docs/abstract-machine.md says.
fn is_declared(violation: &Violation, event: Event, oracle: &Oracle) -> bool {
    match violation.rule {
        // What is held may come to the same: it is read-only either way, the very same leaf from another table, or the
        // same table with a restriction that one above it has as well.
        Rule::MakeWithoutTlbi | Rule::StoreBeforeTlbi | Rule::TlbiCoverage | Rule::DsbAfterTlbi => {
            let differ = (violation.old.0 ^ violation.new.0) & !RESTRICTIONS != 0;
            oracle.is_something_held() || oracle.says(violation.old) || !differ
        }
        Rule::ContextSynchronisation => oracle.is_linked_again() || oracle.is_pending_by_declaration(event),
        _ => false,
    }
}

/// Checks that both say the same of what each CPU may hold of each page, other than what memory says; where that is
/// anything, a run that ended here has no good end.
fn held_alike(machine: &Machine, oracle: &Oracle, cpus: usize) -> Result<(), Disagreement> {
    let mut holder = None;
    let state = machine.state();
    for cpu in (0..cpus).filter(|&cpu| !oracle.is_switching(cpu)) {
        for page in PAGES {
            let held = state.may_be_cached(cpu, address(page)).into_iter().map(|held| {
                held.map(|held| Found {
                    output: held.output,
                    leaf: held.leaf.0,
                    restrictions: held.restrictions,
                    bytes: held.bytes,
                })
            });
            let mut machine: BTreeSet<Option<Found>> = held.collect();
            machine.remove(&oracle.now(cpu, page));
            let oracle = oracle.stale(cpu, page);
            if machine != oracle {
                return Err(Disagreement::Held { cpu, page, machine, oracle });
            }
            if !oracle.is_empty() {
                holder = Some(cpu);
            }
        }
    }
    drop(state);
    match holder {
        Some(cpu) if machine.verdict().is_ok() => Err(Disagreement::End { cpu }),
        _ => Ok(()),
    }
}

/// Checks that each access breaks the rules that it should, for any rules broken before.
fn access_alike(event: Event, harms: &[Harm], broken: &[Violation], oracle: &Oracle) -> Result<(), Disagreement> {
    if !matches!(event.doing, Doing::Access(..)) {
        return Ok(());
    }
    let rules: Vec<Rule> = broken.iter().map(|violation| violation.rule).collect();
    let context = rules.contains(&Rule::ContextSynchronisation) == harms.iter().any(is_of_context);
    let others = rules.contains(&Rule::AmbiguousTranslation) == harms.contains(&Harm::Stale)
        && (!rules.contains(&Rule::MultiHit) || harms.contains(&Harm::MultiHit));
    // Under two roots at once nothing more is to be said.
    let pending = oracle.is_pending_by_declaration(event) && !harms.contains(&Harm::PendingSync);
    let is_free = oracle.is_linked_again() || pending;
    let alike = (context || is_free) && (others || harms.contains(&Harm::Register));
    if alike { Ok(()) } else { Err(Disagreement::Access { machine: rules, oracle: harms.to_vec() }) }
}

fn outcome_alike(event: Event, outcome: Option<Outcome>, oracle: &Oracle) -> Result<(), Disagreement> {
    let Doing::Access(page, access) = event.doing else { return Ok(()) };
    if oracle.is_switching(event.cpu) {
        return Ok(());
    }
    let now = oracle.now(event.cpu, page);
    let alike = match (outcome, now) {
        (Some(Outcome::Memory(output) | Outcome::Conflict(output)), Some(now)) => {
            now.output == output && now.allows(access)
        }
        (Some(Outcome::Fault), now) => now.is_none_or(|now| !now.allows(access)),
        _ => false,
    };
    if alike { Ok(()) } else { Err(Disagreement::Outcome { machine: outcome, oracle: now }) }
}
