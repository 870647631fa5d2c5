// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dependencies of the packages: licences, sources and versions.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{ROOT, files, name};

/// Licences that a dependency may have, as SPDX identifiers; of alternatives one is enough.
const LICENCES: [&str; 3] = ["MIT", "Apache-2.0", "Unicode-3.0"];

/// The one source of dependencies.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that are there in several versions, how many, and why.
const DUPLICATES: &[(&str, usize, &str)] = &[
    ("syn", 3, "of procedural macros alone: ufmt-macros, zerocopy-derive and thiserror-impl each want their own"),
    ("windows-link", 2, "of hosts with Windows alone"),
];

/// Returns whether an SPDX expression of one level of parentheses can be met with the allowed licences. Before SPDX a slash
/// stood for `OR`.
fn is_allowed(expression: &str) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        let part = part.trim().trim_matches(['(', ')']);
        part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim()))
    })
}

/// Returns the packages of the workspace and what is built for this host and for the kernel's target.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().expect("a compiler");
    let version = String::from_utf8(version.stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1", "--manifest-path"];
    let platforms = ["--filter-platform", host, "--filter-platform", "aarch64-unknown-none-softfloat"];
    let found = Command::new(env!("CARGO"))
        .args(arguments)
        .arg(Path::new(ROOT).join("Cargo.toml"))
        .args(platforms)
        .output()
        .expect("cargo");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    found["packages"].as_array().expect("packages").clone()
}

/// Returns the versions of each crate that Cargo.lock has, for any target.
fn locked(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let mut name = "";
    for line in text.lines() {
        let value = |key: &str| line.strip_prefix(key).and_then(|rest| rest.strip_suffix('"'));
        name = value("name = \"").unwrap_or(name);
        if let Some(version) = value("version = \"") {
            found.entry(name.to_owned()).or_default().push(version.to_owned());
        }
    }
    found
}

/// A dependency under another licence, or under none that is named, fails this.
#[test]
fn dependencies_have_licences_that_the_project_allows() {
    let packages = packages();
    assert!(packages.len() > 20, "only {} packages", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none named");
        assert!(is_allowed(licence), "{} {}: {licence}", package["name"], package["version"]);
    }
}

/// A dependency from a repository or a private registry, and a setting of cargo's that puts one in place, fail this.
#[test]
fn dependencies_come_from_the_public_registry_alone() {
    let lock = fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).expect("Cargo.lock is kept");
    for source in lock.lines().filter_map(|line| line.strip_prefix("source = ")) {
        assert_eq!(source.trim_matches('"'), SOURCE);
    }
    let words = ["[source", "[registries", "sparse+http", "index-url", "replace-with"];
    for path in files(Path::new(ROOT)).iter().filter(|path| !path.ends_with("tests/shape/dependencies.rs")) {
        let Ok(text) = fs::read_to_string(path) else { continue };
        for word in words {
            assert!(!text.contains(word), "{}: {word}", name(path));
        }
    }
}

/// A second version of a crate fails this, and so does one of the list that is gone.
#[test]
fn no_crate_is_there_twice_but_those_of_the_list() {
    let locked = locked(&fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).expect("Cargo.lock is kept"));
    let found: Vec<_> =
        locked.iter().filter(|(_, versions)| versions.len() > 1).map(|(name, found)| (&**name, found.len())).collect();
    let known: Vec<_> = DUPLICATES.iter().map(|&(name, count, _)| (name, count)).collect();
    assert_eq!(found, known, "crates in several versions, found and known");
}

#[test]
fn licences_and_versions_are_read_rightly() {
    for allowed in ["MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0", "Unlicense OR MIT"] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for other in ["GPL-2.0-only", "MIT AND GPL-2.0-only", "(MIT OR Apache-2.0) AND MPL-2.0", "none named", ""] {
        assert!(!is_allowed(other), "{other}");
    }
    let text =
        "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0\"\n[[package]]\nname = \"a\"\nversion = \"2.0\"\n";
    assert_eq!(
        locked(text).into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), vec!["1.0".to_owned(), "2.0".to_owned()])]
    );
}
