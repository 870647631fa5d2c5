// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second kernel, examples/minimal-kernel, which has nothing but the library.

use std::{fs, path::Path, process::Command};

use crate::image::ROOT;

/// Fails when the library stops being enough for another kernel: when the split is not done, when an address leads elsewhere
/// after it, or when the second CPU does not attend.
#[test]
fn a_second_kernel_splits_its_map_with_the_library_alone() {
    let made = Command::new("make")
        .arg("minimal")
        .current_dir(ROOT)
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make");
    let [out, error] = [&made.stdout, &made.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(made.status.success() && out.ends_with("\nminimal: PASS\n"), "{out}{error}");
    for part in ["decision: Split", "Some(L2)) before", "Some(L3)) after"] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
}

/// Comments are not counted. A library that asks for more glue makes this grow.
#[test]
fn a_second_kernel_takes_at_most_150_lines_of_rust() {
    let folder = Path::new(ROOT).join("examples/minimal-kernel/src");
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let rust = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let text: String = rust.map(|path| fs::read_to_string(path).expect("text")).collect();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!((50..=150).contains(&lines), "{lines} lines");
}
