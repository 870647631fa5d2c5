// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's shape: promises about the sources that no compiler checks.
//!
//! Each test knows how it is made to fail: the scanner is tried on text that breaks the rule, in the last tests here.

#[path = "shape/dependencies.rs"]
mod dependencies;
#[path = "shape/imports.rs"]
mod imports;
#[path = "shape/openings.rs"]
mod openings;
#[path = "shape/retired.rs"]
mod retired;
#[path = "shape/tooling.rs"]
mod tooling;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Files and folders that are not ours, not kept, or wrong on purpose.
const SKIPPED: [&str; 5] = ["target", ".cache", ".git", "__pycache__", "seeds"];

/// Crates the kernel is built on, by their names in paths.
const CRATES: [&str; 6] = ["aarch64_cpu", "tock_registers", "spin", "linked_list_allocator", "safe_mmio", "smccc"];

/// Code that may stand in these places only (a file, or a folder with a slash at its end).
///
/// Views of tables are made by unsafe constructors, so that the compiler keeps other code from storing descriptors. Volatile
/// accesses are to memory: for a device the compiler might choose an instruction that a hypervisor cannot emulate, so devices
/// are reached through `src/io/mmio.rs`.
const CONFINED: [(&str, &[&str]); 5] = [
    ("global_asm!", &["crates/cleave/src/aarch64/", "src/boot.rs", "src/irq/exceptions/", "src/irq/exceptions/mod.rs"]),
    ("asm!", &["crates/cleave/src/aarch64/", "src/"]),
    ("write_run", &["crates/cleave/src/aarch64/"]),
    ("write_volatile", &["crates/cleave/src/aarch64/", "src/cpu/spin_table.rs", "src/check/stress.rs"]),
    (
        "read_volatile",
        &[
            "crates/cleave/src/aarch64/offset_view.rs",
            "src/check/stress.rs",
            "src/check/inject.rs",
            "src/irq/exceptions/backtrace.rs",
        ],
    ),
];

/// Every file under `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("a directory entry").path();
        let skipped = path.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped));
        // `.git` is a file in a worktree of its own.
        if skipped {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Rust files under these folders, by their names in the repository, with their text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let all = folders.iter().flat_map(|folder| files(&Path::new(ROOT).join(folder))).filter(rust);
    all.map(|path| (name(&path), fs::read_to_string(&path).expect("UTF-8"))).collect()
}

/// A file's name in the repository.
fn name(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap_or(path).to_string_lossy().into_owned()
}

/// Rust without comments and without what is in strings; lines stay lines.
fn code(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| characters.get(at + i) == Some(&c));
    let mut at = 0;
    while at < characters.len() {
        let begin = at;
        if starts(at, "//") {
            while at < characters.len() && characters[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            at += 2;
            while at < characters.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if let Some(hashes) = raw_string(&characters[at..]) {
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while at < characters.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if characters[at] == '"' {
            at += 1;
            while at < characters.len() && characters[at] != '"' {
                at += if characters[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if starts(at, "'\"'") || starts(at, "'\\\"'") {
            // The one character literal that would look like a string.
            at += if starts(at, "'\"'") { 3 } else { 4 };
        } else {
            code.push(characters[at]);
            at += 1;
            continue;
        }
        let end = at.min(characters.len());
        code.extend(characters[begin..end].iter().filter(|&&character| character == '\n'));
    }
    code
}

/// Returns the number of hashes of a raw string that begins here.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.strip_prefix(&['r'])?.iter().take_while(|&&character| character == '#').count();
    (rest.get(hashes + 1) == Some(&'"')).then_some(hashes)
}

/// Returns whether a word stands in the code followed by `suffix`, not as the end of a longer word.
fn has(code: &str, word: &str, suffix: &str) -> bool {
    let wanted = format!("{word}{suffix}");
    let alone = |at: usize| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    code.match_indices(&wanted).any(|(at, _)| alone(at))
}

/// Returns the absolute paths of a developer's machine in a text.
fn machine_paths(text: &str) -> Vec<String> {
    let follows = |folder: &str, next: Option<char>| match folder {
        "work" => !next.is_some_and(|next| next.is_alphanumeric() || "_-".contains(next)),
        _ => next == Some('/'),
    };
    let mut found = Vec::new();
    for folder in ["work", "root", "home", "Users"] {
        for (at, path) in text.match_indices(&format!("/{folder}")) {
            let inner = text[..at].ends_with(|before: char| before.is_alphanumeric() || "_-./}*)>$".contains(before));
            if !inner && follows(folder, text[at + path.len()..].chars().next()) {
                found.push(text[at..].chars().take_while(|c| !c.is_whitespace()).take(40).collect());
            }
        }
    }
    found
}

#[test]
fn every_required_crate_is_used() {
    let sources: Vec<String> = sources(&["src", "crates/cleave/src"]).iter().map(|(_, text)| code(text)).collect();
    for name in CRATES {
        assert!(sources.iter().any(|code| has(code, name, "::")), "{name} is a dependency without a use in src/");
    }
}

#[test]
fn no_file_holds_a_path_of_a_developers_machine() {
    for path in files(Path::new(ROOT)) {
        // What is not text has no paths for people.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let found = machine_paths(&text);
        assert!(found.is_empty(), "{}: {found:?}", name(&path));
    }
}

#[test]
fn what_a_reader_looks_for_first_is_there() {
    for file in ["Cargo.lock", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        let size = fs::metadata(Path::new(ROOT).join(file)).map(|file| file.len()).unwrap_or(0);
        assert!(size > 0, "{file} is missing or empty");
    }
}

#[test]
fn code_for_one_room_stays_in_it() {
    for (name, text) in sources(&["src", "crates/cleave/src"]) {
        let code = code(&text);
        for (word, places) in CONFINED {
            let allowed = places.iter().any(|place| name == *place || place.ends_with('/') && name.starts_with(place));
            assert!(allowed || !has(&code, word, ""), "{name}: {word} belongs in {places:?}");
        }
    }
}

/// LLVM takes the size of inline assembly from its lines, and places branches by it. Files of assembly are no matter: LLVM
/// assembles them whole.
#[test]
fn inline_assembly_is_as_long_as_it_looks() {
    let expands = |line: &str| {
        let first = line.trim_start().trim_start_matches('"').trim_start();
        [".rept ", ".irp ", ".fill ", ".skip ", ".space "].iter().any(|word| first.starts_with(word))
    };
    for (name, text) in sources(&["src", "crates/cleave/src"]) {
        let found: Vec<_> = text.lines().filter(|line| expands(line)).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    assert!(expands("            \".rept 16\",") && !expands("(\"fill\", &self.fill),"));
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text = "a /* b\nb */ c // d\n\"e \\\" e\" f r#\"g \" g\"# h '\"' i";
    assert_eq!(code(text).split_whitespace().collect::<String>(), "acfhi");
    assert_eq!(code(text).lines().count(), text.lines().count());
    assert!(!has(&code("// use spin::Mutex;\nlet a = \"spin::\";"), "spin", "::"));
    assert!(!has("let a = my_spin::b;", "spin", "::"));
    assert!(has("use spin::Mutex;", "spin", "::"));
}

#[test]
fn a_machine_path_is_found_and_a_relative_one_is_none() {
    // Composed, or this file would be the first one found.
    let [work, home, root] = ["work", "home", "root"].map(|folder| format!("/{folder}"));
    assert_eq!(machine_paths(&format!("see {work}/a and {home}/me")), [format!("{work}/a"), format!("{home}/me")]);
    assert_eq!(machine_paths(&format!("`{work}`, ({root}/x)")), [format!("{work}`,"), format!("{root}/x)")]);
    assert_eq!(machine_paths("src/a/work/mod.rs, $HOME/work, network/work, /workspace"), Vec::<String>::new());
}

#[test]
fn a_volatile_access_outside_its_places_is_found() {
    let misplaced = |name: &str, text: &str| {
        let allowed = |places: &[&str]| places.iter().any(|place| name == *place || name.starts_with(place));
        CONFINED.iter().any(|(word, places)| has(&code(text), word, "") && !allowed(places))
    };
    assert!(misplaced("src/check/audit/mod.rs", "unsafe { pointer.write_volatile(7) }"));
    assert!(misplaced("src/io/serial.rs", "unsafe { (base as *mut u32).read_volatile() }"));
    assert!(misplaced("src/io/console/mod.rs", "unsafe { core::ptr::write_volatile(register, 0) }"));
    assert!(!misplaced("src/check/stress.rs", "unsafe { pointer.write_volatile(7) }"));
}
