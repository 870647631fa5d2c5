// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the documentation pages: everything that they name exists.
//!
//! Links, files, make targets and variables, boot arguments and faults, tests. Each scanner is tried on text that
//! breaks its rule, in the last tests here.

#[path = "docs/symptoms.rs"]
mod symptoms;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[path = "../src/options/mod.rs"]
#[allow(dead_code, reason = "the pages are about a part of it")]
mod options;

use options::Bootargs;

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Folders that a path of ours on a page begins with.
const FOLDERS: [&str; 7] = ["boot/", "crates/", "docs/", "examples/", "scripts/", "src/", "tests/"];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// README, CHANGELOG, CONTRIBUTING and everything under docs/, by name.
fn pages() -> Vec<(String, String)> {
    let mut names = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned).to_vec();
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).expect("docs/ is there");
    let files = docs.map(|entry| entry.expect("a directory entry").file_name().to_string_lossy().into_owned());
    names.extend(files.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// Returns the text between backquotes, and whole lines of fenced blocks; `\|` in a table is `|`.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(|code| code.replace("\\|", "|")));
        }
    }
    found
}

/// The targets of a page's links that are no web addresses.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target: String = text[at + 2..].chars().take_while(|&c| c != ')' && !c.is_whitespace()).collect();
        if !target.contains("://") && !target.starts_with("mailto:") {
            found.push(target);
        }
    }
    found
}

/// The anchors of a page's headings, as a renderer makes them: lower case, hyphens for spaces, no punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// The files and folders of ours that a piece of code names.
fn paths(code: &str) -> Vec<String> {
    let words = code.split(|c: char| c.is_whitespace() || "\"'()<>=,;".contains(c));
    let ours = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
    // A pattern or a placeholder is no name.
    let names = ours.filter(|word| !word.contains(['*', '{', '$']) && !word.contains("..."));
    // `src/file.rs:12`, and a full stop behind.
    names.map(|word| word.split(':').next().unwrap_or(word).trim_end_matches('.').to_owned()).collect()
}

/// Targets and variables of the `make` commands in a piece of code.
fn make_words(code: &str) -> (Vec<String>, Vec<String>) {
    let (mut targets, mut variables) = (Vec::new(), Vec::new());
    let command = code.split(" # ").next().unwrap_or(code);
    let mut words = command.split_whitespace().skip_while(|&word| word != "make" && is_variable(word));
    if words.next() != Some("make") {
        return (targets, variables);
    }
    let mut quoted = false;
    for word in words {
        if !quoted {
            if word.starts_with(['#', '|', '>', '&', ';']) {
                break;
            }
            match word.split_once('=') {
                Some((name, _)) => variables.push(name.to_owned()),
                None if word.starts_with('-') || word == "TARGET" => {}
                None => targets.push(word.trim_end_matches([',', '.', ';']).to_owned()),
            }
        }
        quoted ^= word.matches(['"', '\'']).count() % 2 == 1;
    }
    (targets, variables)
}

fn is_variable(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    word.contains('=') && !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Returns the value of `BOOTARGS=` in a piece of code.
fn bootargs(code: &str) -> Option<String> {
    let value = code.split_once("BOOTARGS=")?.1;
    let quote = value.chars().next().filter(|c| "\"'".contains(*c));
    let value = match quote {
        Some(quote) => value[1..].split(quote).next()?,
        None => value.split_whitespace().next()?,
    };
    (!value.contains("...") && value != "WORDS").then(|| value.to_owned())
}

/// The rows of the table under the heading, each with the code of its first cell.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let section = page.split(&format!("## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap_or(section);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `"));
    cells
        .flat_map(|line| code(&format!("`{}", line.replace("\\|", "\u{1}").split(" |").next().unwrap_or(line))))
        .collect()
}

/// A form such as `cpuN.late:MS` or `fill=ahead|window` with everything filled in: one word for each alternative.
fn filled_in(form: &str) -> Vec<String> {
    let form = form.replace('\u{1}', "|");
    let filled = [
        ("cpuN", "cpu1"),
        (":MS", ":80"),
        ("=MS", "=80"),
        ("=BITS", "=40"),
        (":CODE", ":-2"),
        (":N", ":5"),
        ("=N@early|decided|late", "=5@early|5@decided|5@late"),
        ("FAULT,...", "panic"),
    ];
    let form = filled.iter().fold(form, |form, (name, value)| form.replace(name, value));
    match form.split_once('=') {
        Some((name, values)) => values.split('|').map(|value| format!("{name}={value}")).collect(),
        None => vec![form],
    }
}

/// Everything under boot/, crates/, scripts/, src/ and tests/ together, but for this file.
fn sources() -> String {
    fn gather(directory: &Path, all: &mut String) {
        for entry in fs::read_dir(directory).expect("a folder").map(|entry| entry.expect("a directory entry").path()) {
            if entry.is_dir() {
                gather(&entry, all);
            } else if !entry.ends_with("tests/docs.rs") {
                // What is no text names no test.
                all.push_str(&fs::read_to_string(&entry).unwrap_or_default());
            }
        }
    }
    let mut all = String::new();
    for folder in ["boot", "crates", "scripts", "src", "tests"] {
        gather(&Path::new(ROOT).join(folder), &mut all);
    }
    all
}

/// Returns true for what can only be a name of ours, most likely a test's: words with at least three underscores
/// between them.
fn is_name(code: &str) -> bool {
    let letters = code.starts_with(|c: char| c.is_ascii_lowercase());
    letters
        && code.matches('_').count() >= 3
        && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for (name, text) in pages() {
        let folder = Path::new(ROOT).join(&name).parent().map(PathBuf::from).unwrap_or_default();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { Path::new(ROOT).join(&name) } else { folder.join(file) };
            assert!(target.exists(), "{name}: a link to {link}");
            if !anchor.is_empty() {
                let found = anchors(&fs::read_to_string(&target).expect("a page"));
                assert!(found.contains(anchor), "{name}: {link} is none of {found:?}");
            }
        }
    }
}

#[test]
fn every_file_a_page_names_is_there() {
    for (name, text) in pages() {
        for path in code(&text).iter().flat_map(|code| paths(code)) {
            assert!(Path::new(ROOT).join(&path).exists(), "{name}: {path}");
        }
    }
}

#[test]
fn every_make_command_of_a_page_can_be_typed() {
    let (makefile, help, options) = (read("Makefile"), read("scripts/help.txt"), read("scripts/lib/options.py"));
    let listed = |name: &str, start: &str| {
        let lines = makefile.lines().filter(|line| line.starts_with(start));
        lines.flat_map(str::split_whitespace).any(|word| word == name)
    };
    for (name, text) in pages() {
        for piece in code(&text) {
            let (targets, variables) = make_words(&piece);
            for target in targets {
                assert!(listed(&target, ".PHONY:"), "{name}: `{piece}`: there is no target {target}");
            }
            for variable in variables {
                let known = help.split_whitespace().any(|word| word.split('=').next() == Some(&*variable))
                    || help.contains(&format!("({variable}="))
                    || options.contains(&format!("\"{variable}\""));
                assert!(known, "{name}: `{piece}`: there is no variable {variable}");
            }
        }
    }
}

#[test]
fn every_boot_argument_in_an_example_is_one() {
    for (name, text) in pages() {
        for words in code(&text).iter().filter_map(|code| bootargs(code)) {
            let args = Bootargs::parse(&words);
            assert_eq!(args.errors().next(), None, "{name}: {words}");
            assert_eq!(args.unknown().next(), None, "{name}: {words}");
        }
    }
}

/// Both ways: what the page lists is known, and what the kernel knows is on the page.
#[test]
fn the_tables_of_boot_arguments_and_faults_are_complete() {
    let page = read("docs/architecture.md");
    let words = rows(&page, "Boot arguments");
    for form in words.iter().flat_map(|form| filled_in(form)) {
        let args = Bootargs::parse(&form);
        assert_eq!((args.errors().next(), args.unknown().next()), (None, None), "{form}");
    }
    let faults = rows(&page, "Faults to inject");
    for form in faults.iter().flat_map(|form| filled_in(form)) {
        let text = format!("fault={form}");
        assert_eq!(Bootargs::parse(&text).errors().next(), None, "{form}");
        assert_eq!(Bootargs::parse(&text).faults().count(), 1, "{form}");
    }
    let known = known_faults(&read("src/options/fault.rs"));
    assert!(known.len() > 10, "{known:?}");
    for fault in known {
        assert!(faults.contains(&fault), "docs/architecture.md does not have the fault {fault}");
    }
    let known = known_words(&read("src/options/argument.rs"));
    assert!(known.len() > 5, "{known:?}");
    for word in known {
        let found = words.iter().any(|form| form.split('=').next() == Some(&*word));
        assert!(found, "docs/architecture.md does not have the boot argument {word}");
    }
}

/// The faults of the enums: each variant's comment begins with its form. What is banned is done by the leader or CPU N.
fn known_faults(source: &str) -> Vec<String> {
    let forms = |name: &str| {
        let rest = source.split(&format!("enum {name} {{")).nth(1).unwrap_or_default();
        let variants = rest.split("\n}\n").next().unwrap_or_default();
        let comments = variants.lines().filter_map(|line| line.strip_prefix("    /// `"));
        comments.filter_map(|comment| comment.split('`').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let banned = forms("Banned").into_iter().flat_map(|act| [format!("ban.{act}"), format!("cpuN.ban.{act}")]);
    forms("Fault").into_iter().chain(banned).collect()
}

/// The names that the reader of words matches.
fn known_words(source: &str) -> BTreeSet<String> {
    let arms = source.lines().filter_map(|line| line.strip_prefix("        \""));
    arms.filter_map(|arm| arm.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn every_test_a_page_names_is_there() {
    let sources = sources();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    for (name, text) in pages() {
        for test in code(&text).iter().filter(|code| is_name(code)) {
            let whole = |(at, found): (usize, &str)| {
                !sources[..at].ends_with(is_part) && !sources[at + found.len()..].starts_with(is_part)
            };
            assert!(sources.match_indices(test.as_str()).any(whole), "{name}: there is no {test}");
        }
    }
}

/// Both ways, in the table's order; and what is done stands in the files that the page names, with the erratum's number. A row
/// left out, a bound that differs, or a work-around that is gone fails this.
#[test]
fn the_page_of_errata_is_complete_and_names_the_right_files() {
    use cleave::aarch64::errata::{ERRATA, Remedy};
    let page = read("docs/hardware.md");
    let section = page.split("\n## Errata\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a heading");
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let table = |head: &str| {
        let rows = section.split(head).nth(1).expect("a table").lines().skip(2);
        rows.take_while(|line| line.starts_with('|')).map(cells).collect::<Vec<_>>()
    };
    let (rows, done) = (
        table("| core | revisions | erratum | done |"),
        table("| done | work-around, and the effect without it | on | where |"),
    );
    assert_eq!(rows.len(), ERRATA.len(), "a row for each erratum");
    for (row, erratum) in rows.iter().zip(ERRATA) {
        let (core, revisions) = (erratum.core.name(), erratum.revisions.to_string());
        assert_eq!(row[..3], [core, &revisions, erratum.number], "{erratum:?}");
        let done = done.iter().find(|done| done[0] == row[3]).unwrap_or_else(|| panic!("{} is not explained", row[3]));
        if matches!(erratum.remedy, Remedy::RepeatTlbi | Remedy::BreakBeforeMake | Remedy::None) {
            continue;
        }
        let files: String = done[3].split('`').skip(1).step_by(2).map(read).collect();
        for number in erratum.number.split(", ") {
            assert!(files.contains(number), "{number} is not in {}", done[3]);
        }
    }
}

#[test]
fn the_commands_that_readme_promises_are_explained_by_make() {
    let help = read("scripts/help.txt");
    for target in ["run", "test", "check", "debug", "image", "rpi4", "figures", "doc", "setup", "clean"] {
        let found = help.lines().any(|line| line.split_whitespace().next() == Some(target));
        assert!(found, "scripts/help.txt does not have {target}");
    }
}

#[test]
fn the_scanners_find_what_is_there() {
    let page = "a `b c` d [e](f.md#g) [h](https://i)\n```\nmake run X=1\n```\n| `j=k\\|l` |\n";
    assert_eq!(code(page), ["b c", "make run X=1", "j=k|l"]);
    assert_eq!(links(page), ["f.md#g"]);
    assert!(anchors("## A b, c's `d`\n```\n# no\n```").iter().eq(["a-b-cs-d"]));
    assert_eq!(paths("see src/a.rs:12, (tests/b/) and src/*.rs or other/c."), ["src/a.rs", "tests/b/"]);
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(make_words("A=1 make run B=\"x y=z\" C=2   # make tea"), (strings(&["run"]), strings(&["B", "C"])));
    assert_eq!(make_words("cmake run"), (vec![], vec![]));
    assert_eq!(bootargs("make run BOOTARGS=\"a b=c\" D=1").as_deref(), Some("a b=c"));
    assert_eq!(bootargs("make run BOOTARGS=a D=1").as_deref(), Some("a"));
    assert_eq!(filled_in("cpuN.late:MS"), ["cpu1.late:80"]);
    assert_eq!(filled_in("fill=ahead|window"), ["fill=ahead", "fill=window"]);
    let table = "# T\n## A\n| `a=b\\|c`, `d` | `e` |\n## B\n| `f` | |\n";
    assert_eq!(rows(table, "A"), ["a=b\u{1}c", "d"]);
    assert!(is_name("a_b_c_d") && !is_name("a_b_c") && !is_name("A_B_C_D") && !is_name("0x0_0_0_0"));
}
