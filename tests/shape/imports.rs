// SPDX-License-Identifier: MIT OR Apache-2.0
//! No cycle of imports among the files of a crate.
//!
//! Reads `use`, `crate::` and `super::` as text. A `pub use` is a front door of a folder and no dependency; a test module
//! is none either. A path into a child (`child::name`) is not seen: what a parent asks of its children is their purpose.

use std::collections::{BTreeMap, BTreeSet};

use crate::{code, sources};

/// The source folder of each crate.
const CRATES: [&str; 4] = ["src", "crates/cleave/src", "crates/cleave-model/src", "crates/cleave-watch/src"];

/// A module's path within its crate.
type Module = Vec<String>;

/// Returns the module that a file is, such as `["tables", "walk"]` of `tables/walk.rs`.
fn module(file: &str) -> Module {
    let mut parts: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Returns the text before a test module that stands in the file itself.
fn without_tests(text: &str) -> &str {
    let starts = ["#[cfg(test", "#[cfg(all(test"].into_iter().filter_map(|start| text.find(start));
    let Some(at) = starts.min() else { return text };
    let head: String = text[at..].chars().take(200).collect();
    if head.contains("mod tests") && !head.contains("mod tests;") { &text[..at] } else { text }
}

/// Returns whether the text ends in something that a word could go on from.
fn in_word(before: &str) -> bool {
    before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
}

/// Splits code into its `use` statements (without `use` and `;`) and everything else. Re-exports are left out of both.
fn statements(code: &str) -> (Vec<&str>, String) {
    let (mut uses, mut other, mut from) = (Vec::new(), String::new(), 0);
    while let Some(at) = code[from..].find("use ").map(|at| from + at) {
        let end = code[at..].find(';').map_or(code.len(), |end| at + end);
        if in_word(&code[..at]) || end == code.len() {
            other.push_str(&code[from..at + 4]);
            from = at + 4;
            continue;
        }
        let before = code[from..at].trim_end();
        let line = before.rsplit(['\n', ';', '}', '{', ']']).next().unwrap_or_default().trim();
        other.push_str(&code[from..at]);
        if line != "pub" && !(line.starts_with("pub(") && line.ends_with(')')) {
            uses.push(&code[at + 4..end]);
        }
        from = end;
    }
    other.push_str(&code[from..]);
    (uses, other)
}

/// Returns the paths of a tree of imports such as `crate::{a, b::{c, d as e}}`.
fn expanded(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(brace) = tree.find('{') else {
        return vec![format!("{prefix}{}", tree.split(" as ").next().unwrap_or(tree).trim())];
    };
    let (head, body) = (&tree[..brace], &tree[brace + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut found, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in body.char_indices().chain([(body.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                if !body[start..at].trim().is_empty() {
                    found.extend(expanded(&format!("{prefix}{head}"), &body[start..at]));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// Returns the paths from `crate`, `super` or `self` that a file's text names outside its tests.
fn paths(text: &str) -> Vec<String> {
    let code = code(without_tests(text));
    let (uses, other) = statements(&code);
    let own = |path: &str| ["crate::", "super::", "self::"].iter().any(|start| path.starts_with(start));
    let mut found: Vec<_> = uses.iter().filter(|path| own(path)).flat_map(|path| expanded("", path)).collect();
    for start in ["crate::", "super::"] {
        for (at, _) in other.match_indices(start) {
            if in_word(&other[..at]) || other[..at].ends_with("::") {
                continue;
            }
            let path = other[at..].chars().take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':');
            found.push(path.collect::<String>().trim_end_matches(':').to_owned());
        }
    }
    found
}

/// Returns the module that a path names from a module: the longest one that is a file. The crate's root is none.
fn target<'a>(files: &'a BTreeMap<Module, String>, here: &Module, path: &str) -> Option<&'a String> {
    let mut at = here.clone();
    let mut parts = path.split("::").map(str::trim).peekable();
    while let Some(first) = parts.next_if(|part| ["crate", "super", "self"].contains(part)) {
        match first {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            _ => {}
        }
    }
    at.extend(parts.map(str::to_owned));
    while !at.is_empty() && !files.contains_key(&at) {
        at.pop();
    }
    files.get(&at).filter(|_| !at.is_empty())
}

/// Returns the cycles of a crate whose files are given by their names below its source folder, with their texts: the sets of
/// files of which each reaches each other.
fn cycles(sources: &[(String, String)]) -> BTreeSet<Vec<String>> {
    let kept: Vec<_> = sources.iter().filter(|(name, _)| !is_test(name)).collect();
    let files: BTreeMap<Module, String> = kept.iter().map(|(name, _)| (module(name), name.clone())).collect();
    let edges: BTreeMap<&String, BTreeSet<&String>> = kept
        .iter()
        .map(|(name, text)| {
            let here = module(name);
            let targets = paths(text).iter().filter_map(|path| target(&files, &here, path)).collect::<Vec<_>>();
            (name, targets.into_iter().filter(|&target| target != name).collect())
        })
        .collect();
    let reached = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            open.extend(edges.get(file).into_iter().flatten().copied().filter(|&next| seen.insert(next)));
        }
        seen.into_iter().cloned().collect::<BTreeSet<String>>()
    };
    let reach: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|&file| (file, reached(file))).collect();
    let both = |a: &String, b: &String| reach[a].contains(b) && reach[b].contains(a);
    let cycle = |file: &&String| reach.keys().filter(|&&other| both(file, other)).map(|&other| other.clone()).collect();
    reach.keys().map(cycle).filter(|cycle: &Vec<_>| !cycle.is_empty()).collect()
}

/// Returns whether a file is made of tests or examples alone.
fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs")
        || name == "tests.rs"
        || format!("/{name}").contains("/tests/")
        || name.contains("examples/")
}

/// An import that closes a ring of files fails this.
#[test]
fn no_imports_of_a_crate_form_a_cycle() {
    for folder in CRATES {
        let below = |(name, text): (String, String)| (name[folder.len() + 1..].to_owned(), text);
        let found = cycles(&sources(&[folder]).into_iter().map(below).collect::<Vec<_>>());
        assert!(found.is_empty(), "{folder}: cycles of imports: {found:?}");
    }
}

/// Returns the cycles of made-up files.
fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    cycles(&files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect::<Vec<_>>())
        .into_iter()
        .collect()
}

#[test]
fn a_ring_of_imports_is_found_in_each_way_to_write_one() {
    for back in [
        "use crate::a::A;",
        "use crate::{other::B, a::{self, A as C}};",
        "use super::a::A;",
        "fn f() { crate::a::f() }",
        "fn f(_: &super::a::A) {}",
        "#[cfg(target_os = \"none\")]\nuse crate::a;",
    ] {
        let found = of(&[("main.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", back)]);
        assert_eq!(found, [["a.rs", "b.rs"]], "{back}");
    }
    let ring = [("a/mod.rs", "use crate::b::c::C;"), ("b/c.rs", "use super::d::D;"), ("b/d.rs", "use crate::a::x::y;")];
    assert_eq!(of(&ring), [["a/mod.rs", "b/c.rs", "b/d.rs"]]);
}

#[test]
fn a_front_door_a_test_and_a_comment_are_no_imports() {
    for back in [
        "pub use crate::a::A;",
        "pub(crate) use crate::a::{A, B};",
        "// use crate::a::A;",
        "/// [`crate::a::A`]",
        "fn f() { log(\"crate::a::A\") }",
        "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
        "use cleave::a::A;",
        "use crate::main;",
    ] {
        let found = of(&[("main.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", back)]);
        assert_eq!(found, Vec::<Vec<String>>::new(), "{back}");
    }
    assert!(of(&[("a.rs", "use crate::b::B;"), ("b.rs", "mod tests;"), ("b/tests.rs", "use crate::a::A;")]).is_empty());
}
