// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each ordering in the source by itself: some model fails without it, or there is a reason why nothing is missed.

use std::path::Path;

use crate::atomics::{Part, Site, Weakened, seen};
use crate::model::{Bound, Model};
use crate::{filling, ipis, lock, parking, snapshot};

/// Tried in this order, each within few preemptions: the first to fail is enough.
const MODELS: [(&Model, usize); 10] = [
    (&parking::TWO_CPUS, 1),
    (&ipis::A_STRAY_IPI, 1),
    (&parking::A_LATE_ARRIVAL, 1),
    (&lock::MODEL, 1),
    (&snapshot::MODEL, 1),
    (&filling::LEFT_BEHIND, 1),
    (&filling::ONCE, 1),
    (&filling::TWICE, 1),
    (&ipis::TWO_CALLERS, 1),
    (&parking::THREE_CPUS, 0),
];

const COVERED_BY_NEXT: &str =
    "`open` says whether a look is worth it; what there is to do is ordered by the claim of `next`";
const COVERED_BY_OPEN: &str = "the work is ordered by `open` as well, and by the other half of this update";
const COVERED_BY_SWAP: &str =
    "what is read is exchanged before anything hangs on it, and no value of the word comes twice";
const COVERED_BY_LOAD: &str =
    "an acquiring load has read the value that is exchanged, and no value of the word comes twice";
const SAME_CHUNKS: &str =
    "without it a late CPU may read an earlier filling's `chunks`: harm only where a smaller one follows";
const FOR_PEOPLE: &str =
    "a moment for the timeline: that of a rendezvous that was called off may be one of an earlier one";

/// Orderings without which no model fails: function, line, part, and the reason. Most are ordered twice, and either would be enough. Two kinds
/// are not: `chunks` is the same in every filling of these models, and of a kernel whose memory does not change; and a moment
/// of the timeline does no harm. Those orderings are needed, and argued beside them in the source.
const REDUNDANT: [(&str, &str, Part, &str); 13] = [
    ("open", "self.open.store(true, Ordering::Release);", Part::Release, COVERED_BY_NEXT),
    ("is_open", "self.open.load(Ordering::Acquire)", Part::Acquire, COVERED_BY_NEXT),
    ("close", "self.open.store(false, Ordering::Release);", Part::Release, COVERED_BY_NEXT),
    ("work", "while self.open.load(Ordering::Acquire) {", Part::Acquire, COVERED_BY_NEXT),
    ("claim", CLAIM, Part::Acquire, COVERED_BY_OPEN),
    ("claim", CLAIM, Part::FailureAcquire, SAME_CHUNKS),
    ("swap", SWAP, Part::Acquire, COVERED_BY_LOAD),
    ("swap", SWAP, Part::FailureAcquire, COVERED_BY_SWAP),
    ("begin", "let state = State::unpack(self.state.load(Ordering::Acquire));", Part::Acquire, COVERED_BY_SWAP),
    ("step", "let mut state = State::unpack(self.state.load(Ordering::Acquire));", Part::Acquire, COVERED_BY_SWAP),
    ("attend", "let state = State::unpack(self.state.load(Ordering::Acquire));", Part::Acquire, COVERED_BY_SWAP),
    ("arrived_in", "self.generation.load(Ordering::Acquire) == generation", Part::Acquire, FOR_PEOPLE),
    ("arrived_in_generation", "self.generation.store(generation, Ordering::Release);", Part::Release, FOR_PEOPLE),
];
const CLAIM: &str = "self.next.fetch_update(Ordering::Acquire, Ordering::Acquire, step).ok()";
const SWAP: &str = ".compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)";

/// The files whose orderings these are.
const SOURCES: [&str; 5] = [
    "crates/cleave/src/rendezvous/mod.rs",
    "crates/cleave/src/rendezvous/timeline.rs",
    "crates/cleave/src/linear_map/lock.rs",
    "crates/cleave/src/linear_map/fill.rs",
    "crates/cleave/src/snapshot.rs",
];

fn read(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a source");
    text.lines().map(str::to_owned).collect()
}

/// The function that a site is in, and the text of its line.
fn place(site: Site) -> (String, String) {
    let lines = read(site.file);
    let line = site.line as usize - 1;
    let named = |line: &String| {
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split(['(', '<']).next()?.to_owned())
    };
    let function = lines[..=line].iter().rev().find_map(named).unwrap_or_default();
    (function, lines[line].trim().to_owned())
}

/// Fails when an ordering is left out that no model misses, or when no model comes by one. With `INTERLEAVINGS=long`
/// (`make soak`) also when one that is listed as redundant is missed.
#[test]
fn each_ordering_is_missed_by_a_model_or_redundant_for_a_reason() {
    for (model, preemptions) in MODELS {
        model.explore(Bound::Preemptions(preemptions));
    }
    let long = std::env::var("INTERLEAVINGS").is_ok_and(|how| how == "long");
    let (mut unmissed, mut listed, mut sites) = (Vec::new(), 0, 0);
    for site in seen() {
        sites += 1;
        let (function, text) = place(site);
        let entry = (function.as_str(), text.as_str(), site.part);
        let redundant = REDUNDANT.iter().any(|&(function, text, part, _)| (function, text, part) == entry);
        listed += usize::from(redundant);
        if redundant && !long {
            continue;
        }
        let missed = MODELS.iter().find(|(model, most)| model.misses(Weakened::One(site), Bound::Preemptions(*most)));
        match missed {
            Some((model, _)) => println!("{function}, {text} {:?}: {}", site.part, model.name),
            None => println!("{function}, {text} {:?}: no model", site.part),
        }
        if missed.is_some() == redundant {
            unmissed.push((function, text, site.part));
        }
    }
    assert!(unmissed.is_empty(), "listed as redundant and missed, or the other way round: {unmissed:#?}");
    assert_eq!(listed, REDUNDANT.len(), "an entry of the list names no ordering of the source");
    for file in SOURCES {
        for (index, line) in read(file).iter().enumerate() {
            let orders = ["Ordering::Acquire", "Ordering::Release", "Ordering::AcqRel"];
            let line_number = index as u32 + 1;
            let near = |site: &Site| site.file == file && (site.line..site.line + 3).contains(&line_number);
            let used = orders.iter().any(|order| line.contains(order)) && !line.trim().starts_with("//");
            assert!(!used || seen().iter().any(near), "{file}:{line_number}: no model comes by it");
        }
    }
    println!("{sites} orderings, {} of them redundant", REDUNDANT.len());
}
