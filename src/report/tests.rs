// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties of a report's two forms, for any content.

use super::data::{Cpu, Kernel, Machine, Map, Memory, Moments, Probe, Report, Text, Ticks};
use super::members::LINE_PREFIX;
use super::verdict::Verdict;
use crate::check::audit::Findings;
use crate::check::totals::{Lines, Totals};
use crate::cpu::method::Method;
use crate::devicetree::Conduit;
use crate::options::ClockKind;
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use cleave::aarch64::{BbmLevel, errata::Erratum, midr::Midr};
use cleave::linear_map::{Action, Decision, MapCounts, OutOfMemory, Outcome, Reason, Repainted};
use cleave::tables::{Hint, LeafCounts, Level, PhysAddr, PhysRange};
use proptest::{collection::vec as list, option, prelude::*};
use schema::{REPORT, violations};
use serde_json::{Value, json};

/// Shared with the boots of the real image.
#[path = "../../tests/support/schema.rs"]
mod schema;

const OUT_OF_MEMORY: Outcome = Outcome::OutOfMemory(OutOfMemory { needed: 515, available: 5 });

fn json_of(report: &Report) -> Value {
    let mut text = String::new();
    report.write_json(&mut text).expect("a string takes everything");
    assert!(!text.contains('\n'), "one line: {text}");
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "printable ASCII: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text_of(report: &Report) -> String {
    let mut text = String::new();
    report.write_text(&mut text).expect("a string takes everything");
    text
}

fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr(start), PhysAddr(end))
}

/// Returns a repaint of this outcome, and the frames of one that was done.
fn repainted(outcome: Outcome) -> Repainted {
    let mut repainted = Repainted::default();
    repainted.outcome = outcome;
    repainted.frame_counts.attempts = 1;
    repainted.frame_counts.needed = 515;
    repainted.frame_counts.reserved = 516;
    repainted.frame_counts.used = 514;
    repainted.frame_counts.returned = 4;
    repainted
}

/// Returns the core of that MIDR with its erratum of that number.
fn erratum(midr: u32, number: &str) -> (Midr, &'static Erratum) {
    let mut errata = Midr(midr).errata();
    (Midr(midr), errata.find(|erratum| erratum.number == number).expect("the core has it"))
}

fn leaves(of: &[(Level, Hint, u64)]) -> LeafCounts {
    let mut counts = LeafCounts::default();
    of.iter().for_each(|&(level, hint, count)| counts.add(level, hint, count));
    counts
}

/// Returns the counts of a map in which leaves of each kind are valid, as many as the letters of its name and more, and two
/// pages unmapped.
fn changed_map() -> MapCounts {
    let mut counts = MapCounts::default();
    counts.stats.leaves = leaves(&[
        (Level::L1, Hint::Single, 3),
        (Level::L2, Hint::Contiguous, 32),
        (Level::L2, Hint::Single, 7),
        (Level::L3, Hint::Contiguous, 48),
        (Level::L3, Hint::Single, 11),
    ]);
    counts.stats.unmapped = leaves(&[(Level::L3, Hint::Single, 2)]);
    counts.stats.tables = 13;
    counts.changes.transactions = 17;
    counts
}

/// Returns the report of a good boot on four CPUs.
fn good() -> Report {
    let cpu = |id| Cpu {
        id,
        mpidr: u64::from(id),
        midr: Some(Midr(0x410f_d083)),
        bbm: Some(0),
        smpen: (id != 3).then_some(true),
        method: Some(if id == 0 { Method::Boot } else { Method::Psci }),
        online: id != 3,
        error: (id == 3).then(|| "CPU_ON answered -2, INVALID_PARAMETERS".into()),
    };
    let moments = |cpu| Moments {
        cpu,
        kicked: Some(1_000_000),
        arrived: Some(1_000_100 + u64::from(cpu)),
        masked: Some(1_000_200 + u64::from(cpu)),
        released: Some(1_000_300),
        filled: 128,
    };
    Report {
        kernel: Kernel {
            version: Some("0.1.0".into()),
            commit: None,
            profile: Some("release".into()),
            bootargs: Some("report=json frobnicate=1 \"quoted\"".into()),
            unknown_bootargs: vec!["frobnicate=1".into()],
        },
        machine: Machine {
            model: Some("linux,dummy-virt".into()),
            compatible: vec!["linux,dummy-virt".into()],
            entry_el: Some(1),
            granule: Some(4096),
            va_bits: Some(48),
            conduit: Some(Conduit::Hvc),
            gic: Some(3),
        },
        cpus: (0..4).map(cpu).collect(),
        errata: vec![erratum(0x412f_d050, "2441007"), erratum(0x411f_d0d0, "1508412")],
        memory: Memory {
            bytes: Some(1 << 30),
            regions: vec![range(0x4000_0000, 0x8000_0000)],
            reserved: vec![range(0x4800_0000, 0x4810_0000)],
        },
        decision: Some(Decision { level: BbmLevel::Zero, action: Action::Split, reason: Reason::LevelTooLow }),
        repaint: Some(repainted(Outcome::Done)),
        leaves_before: Some(leaves(&[
            (Level::L1, Hint::Single, 7),
            (Level::L2, Hint::Contiguous, 480),
            (Level::L2, Hint::Single, 31),
            (Level::L3, Hint::Contiguous, 496),
            (Level::L3, Hint::Single, 16),
        ])),
        map: Some(Map { counts: changed_map(), spurious: 4, conflicts: 5 }),
        clock: ClockKind::Real,
        ticks: Ticks {
            frequency: Some(62_500_000),
            paint: Some(22_643),
            window: Some(30),
            ready: Some(730_000),
            ..Ticks::default()
        },
        timeline: (0..3).map(moments).collect(),
        load: Some(Totals {
            cpus: 3,
            lines: 1 << 18,
            mismatches: 0,
            faults: 0,
            per_cpu: vec![Lines { before: 1000, during: 3, after: 999 }; 3],
        }),
        audit: Some(Findings { leaves: leaves(&[(Level::L3, Hint::Single, 262_144)]), ..Findings::default() }),
        panic: None,
        probe: Some(Probe::Passed),
        errors: vec!["CPU 3 did not start: CPU_ON answered -2, INVALID_PARAMETERS".into()],
        result: Verdict::Pass,
    }
}

#[test]
fn an_empty_report_has_every_key_and_says_fail() {
    let value = json_of(&Report::default());
    assert_eq!(violations(&REPORT, &value), Vec::<String>::new());
    assert_eq!(value["result"], "fail");
    assert_eq!(value["leaves"]["before"]["cont2M"], Value::Null);
    assert_eq!(value["tables"]["census"], Value::Null);
    assert_eq!(value["load"]["per_cpu"], json!([]));
    assert_eq!(value["panic"], Value::Null);
    assert_eq!(value["map"]["bytes"]["unmapped"], Value::Null);
    assert_eq!(value["map"]["splits"], json!({ "1G": null, "2M": null }));
}

#[test]
fn a_full_report_says_what_it_was_told() {
    let value = json_of(&good());
    assert_eq!(violations(&REPORT, &value), Vec::<String>::new());
    assert_eq!(value["version"], 1);
    assert_eq!(value["kernel"]["bootargs"], "report=json frobnicate=1 \"quoted\"");
    assert_eq!(value["machine"]["entry_el"], 1);
    assert_eq!(value["machine"]["conduit"], "hvc");
    assert_eq!(value["machine"]["gic"], 3);
    assert_eq!(value["memory"]["regions"], json!([[0x4000_0000, 0x8000_0000_u64]]));
    assert_eq!(value["cpus"][0]["method"], "boot");
    assert_eq!(value["cpus"][1]["method"], "psci");
    assert_eq!(value["cpus"][3]["online"], false);
    assert_eq!(value["errata"][0], json!({ "core": "Cortex-A55 r2p0", "number": "2441007", "scope": "system" }));
    assert_eq!(value["errata"][1]["scope"], "cpu");
    assert_eq!(value["decision"]["action"], "split");
    assert_eq!(value["decision"]["outcome"], "done");
    assert_eq!(value["tables"], json!({ "census": 515, "reserved": 516, "used": 514, "returned": 4 }));
    assert_eq!(value["leaves"]["before"], json!({ "1G": 7, "cont2M": 480, "2M": 31, "cont4K": 496, "4K": 16 }));
    assert_eq!(value["leaves"]["after"]["4K"], 262_144);
    assert_eq!(
        value["map"],
        json!({
            "bytes": {
                "1G": 3_u64 << 30, "cont2M": 32 << 21, "2M": 7 << 21, "cont4K": 48 << 12, "4K": 9 << 12, "unmapped": 2 << 12,
            },
            "splits": { "1G": 0, "2M": 0 },
            "collapses": { "1G": 0, "2M": 0 },
            "tables": 13,
            "transactions": 17,
            "spurious": 4,
            "conflicts": 5,
        })
    );
    assert_eq!((&value["decision"]["level"], &value["decision"]["attempts"]), (&json!(0), &json!(1)));
    assert_eq!(value["ticks"]["window"], 30);
    assert_eq!(value["ticks"]["fill"], Value::Null);
    assert_eq!(value["timeline"][2]["masked"], 1_000_202);
    assert_eq!(value["load"]["bytes_checked"], 1 << 24);
    assert_eq!(value["load"]["per_cpu"][1], json!({ "before": 1000, "during": 3, "after": 999 }));
    assert_eq!(value["audit"]["wx"], 0);
    assert_eq!(value["result"], "pass");
}

#[test]
fn every_word_of_the_schema_is_written_as_it_stands_there() {
    let mut report = good();
    for (outcome, word) in [
        (Outcome::Done, "done"),
        (OUT_OF_MEMORY, "out-of-memory"),
        (Outcome::Aborted, "aborted"),
        (Outcome::Busy, "aborted"),
        (Outcome::ForeignTable(PhysAddr(0)), "aborted"),
    ] {
        report.repaint = Some(repainted(outcome));
        assert_eq!(json_of(&report)["decision"]["outcome"], word);
    }
    report.repaint = None;
    for (action, word) in [(Action::Split, "split"), (Action::Keep, "keep"), (Action::Page, "page")] {
        report.decision = report.decision.map(|decision| Decision { action, ..decision });
        let decision = &json_of(&report)["decision"];
        assert_eq!((&decision["action"], &decision["outcome"]), (&json!(word), &json!("none")));
        assert_eq!(decision["attempts"], 0);
    }
    for (result, word) in [(Verdict::Pass, "pass"), (Verdict::Fail, "fail"), (Verdict::Panic, "fail")] {
        report.result = result;
        assert_eq!(json_of(&report)["result"], word);
    }
    for (probe, word) in [(Probe::Passed, "passed"), (Probe::Failed, "failed"), (Probe::NotRun, "not run")] {
        report.probe = Some(probe);
        assert_eq!(json_of(&report)["probe"], word);
    }
    report.cpus[0].method = Some(Method::SpinTable);
    report.machine.entry_el = Some(2);
    report.machine.conduit = Some(Conduit::Smc);
    report.machine.gic = Some(2);
    let value = json_of(&report);
    assert_eq!(value["cpus"][0]["method"], "spin-table");
    assert_eq!((&value["machine"]["entry_el"], &value["machine"]["gic"]), (&json!(2), &json!(2)));
    assert_eq!(value["machine"]["conduit"], "smc");
}

#[test]
fn an_integer_too_large_for_javascript_is_clamped() {
    let mut report = good();
    report.memory.bytes = Some(u64::MAX);
    report.memory.regions = vec![range(0, u64::MAX)];
    let value = json_of(&report);
    assert_eq!(value["memory"]["bytes"], (1_u64 << 53) - 1);
    assert_eq!(value["memory"]["regions"], json!([[0, (1_u64 << 53) - 1]]));
}

#[test]
fn the_console_gets_one_line_with_the_prefix() {
    let mut line = String::new();
    good().write_line(&mut line).expect("a string takes everything");
    let object = line.strip_prefix(LINE_PREFIX).and_then(|rest| rest.strip_suffix('\n')).expect("prefix and newline");
    assert!(!object.contains('\n'));
    assert!(serde_json::from_str::<Value>(object).is_ok());
}

#[test]
fn the_text_report_names_decision_reason_errors_and_verdict() {
    let text = text_of(&good());
    for part in [
        "split under the rendezvous: done\n            BBM level 0, attempts 1\n",
        "some CPU cannot change the size of a live mapping (no FEAT_BBM level\n            2)\n",
        "entered at EL1, 4 KiB granule, 48-bit VA, PSCI by HVC, GICv3\n",
        "leaves                1G      cont2M          2M      cont4K            4K\n",
        "  before               7         480          31         496            16\n",
        "tables            census    reserved        used    returned\n",
        "                     515         516         514           4\n",
        "map         17 transactions, 13 tables, 8 KiB unmapped\n",
        "            0 leaves of 1G and 0 of 2M split into tables\n",
        "            4 stale faults retried, 5 TLB conflicts survived\n",
        "262,144",
        "Cortex-A72 r0p3",
        "errata      Cortex-A55 r2p0       2441007             worked around on every CPU",
        "Cortex-A77 r1p0       1508412             worked around on this core",
        "errors      CPU 3 did not start",
        "362.2", // 22,643 ticks of 62.5 MHz in microseconds
        "11,680.0",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.ends_with("result      pass (with 1 error survived)\n"), "{text}");
}

/// A pass in spite of errors says so, and names `linear=require` where that word would have changed the verdict: only
/// where the split was needed and was not done.
#[test]
fn a_pass_says_what_it_has_survived() {
    let mut report = good();
    let mut ends = |outcome: Option<Outcome>, errors: &[&'static str], result, line: &str| {
        report.repaint = outcome.map(repainted);
        report.errors = errors.iter().map(|&error| error.into()).collect();
        report.result = result;
        let text = text_of(&report);
        assert!(text.ends_with(&format!("\nresult      {line}\n")), "{text}");
    };
    ends(Some(Outcome::Done), &[], Verdict::Pass, "pass");
    ends(Some(Outcome::Done), &["a", "b"], Verdict::Pass, "pass (with 2 errors survived)");
    ends(None, &["a"], Verdict::Pass, "pass (with 1 error survived)");
    let required = "; linear=require makes it a failure)";
    ends(Some(OUT_OF_MEMORY), &["a"], Verdict::Pass, &format!("pass (with 1 error survived{required}"));
    ends(Some(Outcome::Aborted), &["a", "b"], Verdict::Pass, &format!("pass (with 2 errors survived{required}"));
    ends(Some(Outcome::Aborted), &["a"], Verdict::Fail, "fail");
}

/// Microseconds printed in spite of a counted clock fail this, and so does the word left out of the JSON.
#[test]
fn a_counted_clock_is_called_so_and_has_ticks_only() {
    assert_eq!(json_of(&good())["clock"], "real");
    let mut report = good();
    report.clock = ClockKind::Counted;
    assert_eq!(json_of(&report)["clock"], "counted");
    let text = text_of(&report);
    assert!(text.contains("times                    ticks   counted: instructions of all CPUs, not time\n"), "{text}");
    assert!(text.contains("  window                    30\n"), "{text}");
    assert!(text.contains("ticks from the kick"), "{text}");
    assert!(text.contains("\n           1           101           201           300             128\n"), "{text}");
    assert!(!text.split_whitespace().any(|word| word == "us" || word == "Hz"), "{text}");
}

/// A header that lets the tables be taken for microseconds, or that says nothing of when they were filled, fails this.
#[test]
fn the_timeline_says_what_its_columns_are() {
    let mut report = good();
    let text = text_of(&report);
    let rows = [
        "timeline                              us from the kick   tables filled\n",
        "         cpu       arrived        masked      released       before it\n",
        "           0           1.6           3.2           4.8             128\n",
    ];
    assert!(text.contains(&rows.concat()), "{text}");
    report.kernel.bootargs = Some("fill=window".into());
    assert!(text_of(&report).contains("released   in the window\n"), "{}", text_of(&report));
    report.timeline.clear();
    assert!(!text_of(&report).contains("timeline"), "{}", text_of(&report));
}

#[test]
fn a_long_table_is_cut_but_troubled_cpus_are_shown() {
    let mut report = good();
    let healthy = report.cpus[0].clone();
    report.cpus = (0..512).map(|id| Cpu { id, ..healthy.clone() }).collect();
    report.cpus[400].online = false;
    report.cpus[400].error = Some("never checked in".into());
    let text = text_of(&report);
    assert!(text.contains(" 400  ") && text.contains("never checked in"), "{text}");
    assert!(text.contains("and 495 more like these"), "{text}");
}

#[test]
fn the_schema_check_can_fail() {
    let mut value = json_of(&good());
    value["ticks"]["window"] = json!(-1);
    value["decision"]["action"] = json!("explode");
    value["memory"]["regions"][0] = json!([2, 1]);
    value["audit"].as_object_mut().expect("an object").remove("wx");
    value["surprise"] = Value::Null;
    assert_eq!(
        violations(&REPORT, &value),
        [
            "report.memory.regions[0] is [2,1]",
            "report.decision.action is \"explode\"",
            "report.ticks.window is -1",
            "report.audit.wx is missing",
            "report.surprise is not in the schema",
        ]
    );
}

/// Returns any text, often with characters that JSON or a terminal must escape.
fn any_text() -> impl Strategy<Value = Text> {
    let awkward = prop::sample::select(vec!['"', '\\', '\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{2028}', '😀']);
    list(prop_oneof![any::<char>(), awkward], 0..200).prop_map(|text| text.into_iter().collect::<String>().into())
}

fn any_range() -> impl Strategy<Value = PhysRange> {
    (0..1_u64 << 52, 1..1_u64 << 30).prop_map(|(start, size)| range(start, start + size))
}

prop_compose! {
    /// Returns a report with any strings, and each optional part there or not.
    fn any_report()(
        strings in list(any_text(), 8),
        words in list(any_text(), 0..4),
        ranges in list(any_range(), 0..4),
        present in list(any::<bool>(), 8),
        number in option::of(0..1_u64 << 40),
        outcome in option::of(prop::sample::select(vec![Outcome::Done, OUT_OF_MEMORY, Outcome::Aborted])),
        midr in any::<u32>(),
    ) -> Report {
        let mut report = good();
        let text = |index: usize| present[index].then(|| strings[index].clone());
        report.kernel.bootargs = text(0);
        report.kernel.unknown_bootargs = words.clone();
        report.machine.model = text(1);
        report.machine.compatible = words.clone();
        report.decision = report.decision.filter(|_| present[0]);
        report.repaint = outcome.map(repainted);
        report.cpus[2].midr = Some(Midr(midr));
        report.cpus[1].error = text(4);
        report.kernel.commit = text(5);
        report.errors = words;
        report.memory.regions = ranges.clone();
        report.memory.reserved = ranges;
        report.ticks.window = number;
        report.ticks.frequency = number;
        report.leaves_before = report.leaves_before.filter(|_| present[1]);
        report.load = report.load.filter(|_| present[2]);
        report.audit = report.audit.filter(|_| present[3]);
        report.map = report.map.filter(|_| present[4]);
        report
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_report_is_one_line_of_json_that_gives_every_string_back(report in any_report()) {
        let value = json_of(&report);
        prop_assert_eq!(violations(&REPORT, &value), Vec::<String>::new());
        let same = |value: &Value, text: &Option<Text>| value.as_str() == text.as_deref();
        prop_assert!(same(&value["kernel"]["bootargs"], &report.kernel.bootargs));
        prop_assert!(same(&value["machine"]["model"], &report.machine.model));
        prop_assert!(same(&value["cpus"][1]["error"], &report.cpus[1].error));
        let errors: Vec<Value> = report.errors.iter().map(|text| Value::from(text.to_string())).collect();
        prop_assert_eq!(&value["errors"], &Value::from(errors));
    }

    #[test]
    fn any_report_fits_the_console(report in any_report()) {
        let text = text_of(&report);
        for line in text.lines() {
            let columns = line.chars().count();
            prop_assert!(columns <= 80, "{} columns: {}", columns, line);
            prop_assert!(!line.contains(char::is_control), "control character: {:?}", line);
        }
        let trailing = text.lines().find(|line| line.trim_end() != *line);
        prop_assert!(trailing.is_none(), "trailing blanks: {:?}", trailing);
    }

    #[test]
    fn ticks_become_microseconds_whatever_the_frequency(ticks in 0..u64::MAX, frequency in 1..u64::MAX) {
        let elapsed = super::wrap::Elapsed { ticks: Some(ticks), frequency: Some(frequency), clock: ClockKind::Real };
        let shown = format!("{elapsed}").replace(',', "");
        let tenths = u128::from(ticks) * 10_000_000 / u128::from(frequency);
        if tenths / 10 <= u128::from(u64::MAX) {
            prop_assert_eq!(shown, format!("{}.{}", tenths / 10, tenths % 10));
        }
    }
}
