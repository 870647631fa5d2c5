// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sessions on docs/debugging.md: each is run again, and must still say what the page shows.
//!
//! A block that begins with "```console gdb" or "```console monitor BOOTARGS" is a session. Its lines behind a prompt are
//! typed, the others must come back in that order, one right behind the other where no `...` stands between them. Numbers
//! may differ: addresses and times are those of one build and one run.

use crate::{debugger::Session, image::ROOT, monitor::Typed, qemu::Boot};
use std::{fs, path::Path};

/// One session of the page.
struct Shown {
    kind: String,
    lines: Vec<String>,
}

fn sessions() -> Vec<Shown> {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/debugging.md")).expect("docs/debugging.md is there");
    let mut found = Vec::new();
    let mut open: Option<Shown> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let kind = info.strip_prefix("console ").unwrap_or_default().to_owned();
                open = Some(Shown { kind, lines: Vec::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(session), None) => session.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    found.retain(|session| !session.kind.is_empty());
    found
}

/// A line with every number replaced and every run of blanks made one.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != 'x').unwrap_or(rest.len());
            shape.push('#');
            rest = &rest[end..];
        } else {
            shape.push(if first.is_whitespace() { ' ' } else { first });
            rest = &rest[first.len_utf8()..];
        }
    }
    shape.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the first line of `shown` that is not in `text`.
fn missing(shown: &[String], text: &str) -> Option<String> {
    let lines: Vec<String> = text.lines().map(shape).filter(|line| !line.is_empty()).collect();
    let (mut at, mut anywhere) = (0, true);
    for line in shown.iter().map(|line| shape(line)).filter(|line| !line.is_empty()) {
        if line == "..." {
            anywhere = true;
            continue;
        }
        let rest = lines.get(at..).unwrap_or_default();
        let Some(step) = rest.iter().position(|found| *found == line).filter(|&step| anywhere || step == 0) else {
            return Some(format!("{line:?}, where there is {:?}", rest.first()));
        };
        at += step + 1;
        anywhere = false;
    }
    None
}

#[test]
fn every_session_on_the_page_still_runs_as_shown() {
    let sessions = sessions();
    assert!(sessions.len() >= 3, "docs/debugging.md has lost its sessions");
    for session in sessions {
        let typed = |prompt| session.lines.iter().filter_map(move |line| line.strip_prefix(prompt));
        let text = if session.kind == "gdb" {
            // A batch session shows no prompt: the commands echo themselves.
            let commands: Vec<String> =
                typed("(gdb) ").flat_map(|line| [format!("echo (gdb) {line}\\n"), line.to_owned()]).collect();
            Session::of(&Boot::on("cortex-a72"), &commands.iter().map(String::as_str).collect::<Vec<_>>()).text
        } else {
            let words = session.kind.strip_prefix("monitor").expect("gdb or monitor");
            let boot = Boot::on("cortex-a72").word(words.trim());
            Typed::lines(&boot, &typed("cleave> ").collect::<Vec<_>>()).text
        };
        let lacks = missing(&session.lines, &text);
        assert_eq!(lacks, None, "the session {:?} of docs/debugging.md shows what is not said:\n{text}", session.kind);
    }
}

/// A page that shows something else is found out.
#[test]
fn a_session_that_differs_is_noticed() {
    let shown = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    let text = "(gdb) a\none 0x12  line\ntwo 7\n\nthree\n";
    assert_eq!(missing(&shown(&["(gdb) a", "one 0xff line", "two 123"]), text), None);
    assert_eq!(missing(&shown(&["(gdb) a", "...", "three"]), text), None);
    assert!(missing(&shown(&["(gdb) a", "three"]), text).is_some());
    assert!(missing(&shown(&["(gdb) a", "one 0xff lane"]), text).is_some());
    assert!(missing(&shown(&["(gdb) a", "...", "four"]), text).is_some());
}
