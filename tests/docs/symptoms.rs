// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Raspberry Pi's page against the sources: every text it quotes is one that the board can print.

use super::{ROOT, code, read};
use std::{fs, path::Path};

/// A symptom of which a part is the value of a placeholder, and the text of the source that makes it.
const FILLED: [(&str, &str); 2] = [
    ("unsupported console: brcm,bcm2835-aux-uart", "unsupported console: {compatible}"),
    ("cleave: FAIL", "cleave: {verdict}"),
];

/// Everything that can be printed: the sources of the kernel, the boot code and the runner without comments and tests, with
/// strings over several lines joined.
fn printable() -> String {
    fn gather(path: &Path, all: &mut String) {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a folder").map(|entry| entry.expect("a directory entry").path());
            entries.filter(|path| !path.ends_with("tests")).for_each(|path| gather(&path, all));
        } else if !path.ends_with("tests.rs") {
            let text = fs::read_to_string(path).unwrap_or_default();
            all.extend(text.lines().flat_map(|line| [without_comment(line), "\n"]));
        }
    }
    let mut all = String::new();
    ["boot", "scripts", "src", "crates/cleave/src"]
        .iter()
        .for_each(|folder| gather(&Path::new(ROOT).join(folder), &mut all));
    let mut parts = all.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |joined, part| joined + part.trim_start())
}

/// A line without `//` and what follows it, unless that is inside a string.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|&(at, _)| line[..at].matches('"').count().is_multiple_of(2));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// The text with `#` for each number and for each placeholder of a format.
fn with_holes(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inner = |rest: &str| {
            let end = rest.find('}')?;
            (end <= 40 && !rest[1..end].contains(['{', ' ', '"', '\n'])).then_some(end + 1)
        };
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let hole = if first == '{' { inner(rest) } else { Some(digits).filter(|&digits| digits > 0) };
        found.push(if hole.is_some() { '#' } else { first });
        rest = &rest[hole.unwrap_or(first.len_utf8())..];
    }
    found
}

/// Returns whether one printable line has the quoted text: its parts between `...` in their order.
fn is_printed(printable: &str, quoted: &str) -> bool {
    let quoted = FILLED.iter().find(|(text, _)| *text == quoted).map_or(quoted, |(_, source)| source);
    let parts: Vec<String> = quoted.split("...").map(with_holes).collect();
    printable.lines().any(|line| {
        let mut rest = line;
        parts.iter().all(|part| {
            let at = rest.find(part.as_str());
            rest = at.map_or("", |at| &rest[at + part.len()..]);
            at.is_some()
        })
    })
}

/// Every text that the page quotes as something the board prints is one that can be printed: renamed texts leave a reader
/// with a symptom that never comes. And a row that says "the same" is lost when the row above it moves.
#[test]
fn every_symptom_of_the_raspberry_pi_is_a_text_of_the_sources() {
    let page = read("docs/raspberry-pi-4.md");
    let section = page.split("## Symptoms\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the symptoms");
    let printable = with_holes(&printable());
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut quoted = 0;
    for row in rows {
        assert!(!row.split('|').any(|cell| cell.trim().starts_with("the same")), "depends on another row: {row}");
        let seen = row.split(" |").next().unwrap_or(row);
        for text in code(seen).iter().filter(|text| !text.ends_with(".img")) {
            assert!(is_printed(&printable, text), "nothing prints {text:?}");
            quoted += 1;
        }
    }
    assert!(quoted > 15, "only {quoted} texts were found");
}

#[test]
fn a_symptom_that_nothing_prints_is_found() {
    let printable = with_holes("write!(f, \"CPU {cpu}: its place {place:#x} is at {} MHz\")\nif a { b } else { c }");
    assert!(is_printed(&printable, "CPU 2: its place ... is at 54 MHz"));
    assert!(is_printed(&printable, "its place ... is at ... MHz"));
    assert!(!is_printed(&printable, "is at ... its place"));
    assert!(!is_printed(&printable, "CPU two: its place"));
    assert!(printable.contains("if a { b } else"));
    assert_eq!(without_comment("a(\"http://b\") // c"), "a(\"http://b\") ");
}
