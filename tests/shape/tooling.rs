// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files around the sources: the compiler's version, CI, the hook, the editor's files.

use std::{fs, path::Path};

use crate::{ROOT, files, name};

/// The licence line that stands first in a source file, or behind the line that names its interpreter.
const LICENCE: &str = "SPDX-License-Identifier: MIT OR Apache-2.0";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the text between the first place of `before` and the next place of `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// Cargo.toml names the compiler that is tested and measured. A page, the figures or CI with another one fail this.
#[test]
fn everything_that_names_the_compiler_names_the_tested_one() {
    let manifest = read("Cargo.toml");
    let tested = between(&manifest, "\ntested = \"", "\"").expect("the tested compiler");
    let oldest = between(&manifest, "\nrust-version = \"", "\"").expect("the oldest compiler");
    assert!(tested == oldest || tested.starts_with(&format!("{oldest}.")), "{oldest} is tested with {tested}");
    for (file, before, after) in [
        ("CONTRIBUTING.md", "tested and measured with Rust ", ":"),
        ("docs/figures.md", " build by Rust ", ","),
        (".github/workflows/ci.yml", "container: rust:", "-"),
        (".github/workflows/ci.yml", "RUSTUP_TOOLCHAIN: \"", "\""),
    ] {
        assert_eq!(between(&read(file), before, after), Some(tested), "{file}: {before}");
    }
    // Elsewhere a machine that may fetch nothing would need a channel of that very name.
    assert!(read("rust-toolchain.toml").contains("channel = \"stable\""));
}

/// A version that is raised without a section of the changelog fails this: it could not be tagged.
#[test]
fn the_changelog_has_a_section_for_the_version() {
    let (manifest, changelog) = (read("Cargo.toml"), read("CHANGELOG.md"));
    let version = between(&manifest, "\nversion = \"", "\"").expect("the version of the workspace");
    assert!(changelog.lines().any(|line| line == format!("## {version}")), "no section {version}");
}

/// CI, its provider's file and the hook run the same script. A check that only one of them has would stop no push.
#[test]
fn ci_and_the_hook_run_the_checks_that_make_runs() {
    let runs =
        |file: &str, command: &str| read(file).lines().any(|line| line.trim_start_matches("- run:").trim() == command);
    assert!(read(".github/workflows/ci.yml").lines().any(|line| line.trim() == "- run: .ci/run"));
    assert!(runs(".ci/run", "exec make check"));
    assert!(read("Makefile").contains("@scripts/check all"));
    assert!(read("scripts/pre-push").contains("/scripts/check\" quick"));
    let check = read("scripts/check");
    let all = between(&check, "\nall)", ";;").expect("what check does for all");
    let quick = between(&check, "\nquick)", ";;").expect("what check does for quick");
    assert!(all.contains("lints") && quick.contains("lints") && quick.contains("quick_tests"));
    assert!(check.lines().any(|line| line == "quick_tests"), "the rest begins with the quick tests");
}

/// Files for an editor that cannot be read, or that no page explains, fail this.
#[test]
fn the_files_for_an_editor_are_json_and_a_page_names_each() {
    let pages = read("docs/development.md") + &read("docs/debugging.md");
    let mut count = 0;
    for entry in fs::read_dir(Path::new(ROOT).join("docs/editor")).expect("docs/editor/") {
        let name = format!("docs/editor/{}", entry.expect("an entry").file_name().to_string_lossy());
        let value: serde_json::Value =
            serde_json::from_str(&read(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(value.is_object() && pages.contains(&format!("`{name}`")), "{name} is on no page");
        count += 1;
    }
    assert_eq!(count, 3);
    let launch: serde_json::Value = serde_json::from_str(&read("docs/editor/launch.json")).expect("JSON");
    let server = &launch["configurations"][0]["miDebuggerServerAddress"];
    assert!(
        read("Makefile")
            .contains(&format!("GDB_PORT ?= {}", server.as_str().expect("text").trim_start_matches("localhost:")))
    );
}

/// Returns whether a text is a source file that is to name its licence: by its name, or by its interpreter.
fn is_source(name: &str, text: &str) -> bool {
    let endings = [".rs", ".S", ".ld", ".py", ".dts", ".yml"];
    endings.iter().any(|ending| name.ends_with(ending)) || name.ends_with("Makefile") || text.starts_with("#!")
}

/// Returns whether the licence line is one of the first two, and a comment of its own.
fn has_licence(text: &str) -> bool {
    let head = text.lines().find(|line| !line.starts_with("#!/")).unwrap_or_default();
    head.trim_start_matches(['/', '#', '*', ' ']).trim_end_matches([' ', '*', '/']) == LICENCE
}

/// A source file without the line fails this.
#[test]
fn every_source_file_names_its_licence() {
    let mut count = 0;
    for path in files(Path::new(ROOT)) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if is_source(&name(&path), &text) {
            assert!(has_licence(&text), "{}: no line {LICENCE}", name(&path));
            count += 1;
        }
    }
    assert!(count > 300, "only {count} source files");
    assert!(read("Cargo.toml").contains(&format!("license = \"{}\"", &LICENCE[LICENCE.len() - 17..])));
}

#[test]
fn a_file_without_its_licence_is_found() {
    assert!(
        is_source("src/main.rs", "") && is_source("scripts/qemu", "#!/bin/sh\n") && !is_source("README.md", "# cleave")
    );
    assert!(has_licence(&format!("// {LICENCE}\n//! A module.")) && has_licence(&format!("#!/bin/sh\n# {LICENCE}\n")));
    assert!(has_licence(&format!("/* {LICENCE} */\n")));
    assert!(
        !has_licence(&format!("//! A module.\n// {LICENCE}")) && !has_licence(&format!("// {LICENCE} WITH more\n"))
    );
}
