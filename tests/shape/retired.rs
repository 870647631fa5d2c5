// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that were given up, and must not come back: docs/glossary.md has the ones in use.

use std::{fs, path::Path};

use crate::{ROOT, files, name};

/// Retired identifiers, names of modules and phrases, each with what to use instead. A word that is also plain English is
/// not listed alone, but with what makes it a name (`mod word`, `word::`). What begins and ends with a letter is found as a
/// whole word only.
const RETIRED: &[(&str, &str)] = &[
    ("src/kernel/", "a folder by subject: src/mm/, src/cpu/, src/irq/, src/io/, src/check/"),
    ("src/paging/", "crates/cleave/src/tables/"),
    ("src/machine/", "crates/cleave-model/src/"),
    ("src/platform/", "src/devicetree/"),
    ("tests/machine/", "crates/cleave-model/tests/"),
    ("tests/watcher/", "crates/cleave-watch/"),
    ("machine::instruction", "cleave_model::instruction"),
    ("cleave-watcher", "cleave-watch"),
    ("cleave_watcher", "cleave_watch"),
    ("crate::kernel::", "the module by its subject"),
    ("cleave::paging", "cleave::tables"),
    ("mod paging", "mod tables"),
    ("paging::", "tables::"),
    ("cleave::platform", "src/devicetree/"),
    ("mod platform", "mod devicetree"),
    ("platform::bootargs", "options"),
    ("mod bootargs", "mod options"),
    ("faults::args", "options"),
    ("feature = \"machine\"", "the crate cleave-model"),
    ("IRQ_HANDLER", "a direct call of irq::ipi"),
    ("mod landmarks", "irq::symbols"),
    ("mod load", "check::stress"),
    ("ShadowMap", "ReplacementMap"),
    ("Skeleton", "UpperTables"),
    ("Census", "MapStats"),
    ("linear_map::Trust", "linear_map::BbmPolicy"),
    ("linear_map::Wish", "linear_map::MapPolicy"),
    ("Tally", "FrameCounts"),
    ("PhysicalWindow", "TemporaryMapping"),
    ("split_in_window", "InPlace::run"),
    ("LiveMap", "LinearMap"),
    ("tlbi_vale1is_any", "repeat_tlbi_workaround"),
    ("mod look", "monitor::inspect"),
    ("mod own", "cpu::state"),
    ("mod place", "mm::address_class"),
    ("mod story", "report::builder"),
    ("mod telling", "mm::repaint::progress"),
    ("mod touch", "monitor::poke"),
    ("struct Residue", "StaleEntry"),
    ("mod lingering", "pending_sync"),
    ("struct Lingering", "PendingSync"),
    ("struct Dimmed", "TransientlyInvalid"),
    ("struct Book", "FrameLedger"),
    ("mod who", "cpu_identity"),
    ("struct Who", "CpuIdentities"),
    ("mod standing", "known_parked"),
    ("cleave_model::What", "cleave_model::Coverage"),
    ("cleave_model::Text", "cleave_model::RuleText"),
    ("enum Ending", "linear_map::Outcome"),
    ("Ending::", "linear_map::Outcome"),
    ("repaint::Account", "mm::repaint::RepaintStats"),
    ("stress::Account", "check::stress::Totals"),
    ("tell_repaint", "record_repaint"),
    ("tell_cpus", "record_cpus"),
    ("kick_others", "rendezvous::Host::send_ipi"),
    ("on_kick", "on_ipi"),
    ("ipi::CALL", "irq::ipi::IPI"),
    ("WindowRoot", "Table::TemporaryRoot"),
    ("PAINT_WINDOW", "PAINT_MAPPING"),
    ("physical window", "temporary mapping"),
    ("rendezvous window", "stop window"),
    ("let census", "MapStats, in a variable `stats`"),
    ("census: &MapStats", "MapStats, in a variable `stats`"),
    ("the load found", "the stress test found"),
    ("cpu_word", "cpu_argument"),
    ("Word::Bad", "options::argument::Argument::Bad"),
    ("believes the worst", "over-approximates"),
    ("Rule::M1", "a rule by its name: Rule::LiveSizeChange"),
    ("Rule::M7", "a rule by its name: Rule::ChildBeforeParent"),
    ("Rule::M10", "a rule by its name: Rule::ContextSynchronisation"),
];

/// Files in which old names may stand: the list itself, and the record of changes.
const RECORDS: [&str; 2] = ["tests/shape/retired.rs", "CHANGELOG.md"];

/// Returns whether a text has a retired name: as a whole word on each side where it has a letter there.
fn has(text: &str, retired: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(retired).any(|(at, found)| {
        let longer_before = found.starts_with(part) && text[..at].ends_with(|c| part(c) || c == '/');
        let longer_after = found.ends_with(part) && text[at + found.len()..].starts_with(part);
        !longer_before && !longer_after
    })
}

/// A name of the list in any text of the repository fails this.
#[test]
fn no_retired_name_comes_back() {
    let mut found = Vec::new();
    for path in files(Path::new(ROOT)).iter().filter(|path| !RECORDS.contains(&name(path).as_str())) {
        // What is not text has no names for people.
        let Ok(text) = fs::read_to_string(path) else { continue };
        for (at, line) in text.lines().enumerate() {
            let retired = RETIRED.iter().filter(|(retired, _)| has(line, retired));
            found.extend(retired.map(|(retired, now)| format!("{}:{}: {retired}, now {now}", name(path), at + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_retired_name_is_found_as_a_whole_word() {
    assert!(has("use cleave::paging;", "cleave::paging") && has("(mod platform)", "mod platform"));
    assert!(!has("cleave::paging_unit", "cleave::paging") && !has("in my_mod platform", "mod platform"));
    assert!(has("see `src/kernel/lock.rs`", "src/kernel/") && !has("other/src/kernel/lock.rs", "src/kernel/"));
}
