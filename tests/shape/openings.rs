// SPDX-License-Identifier: MIT OR Apache-2.0
//! Doc comments begin with a verb or a noun, not with a question word.
//!
//! "Returns the layout" says at once what a function does; "What the layout is" makes a reader wait for it.

use crate::sources;

/// The number of doc comments of a folder that may still open with a question word. The aim is at most one in a hundred; a number goes
/// down with what is rewritten, and never up.
const LIMITS: [(&str, usize); 5] =
    [("src", 0), ("crates/cleave", 0), ("crates/cleave-model", 0), ("crates/cleave-watch", 0), ("tests", 0)];

/// Words that open a question.
const QUESTIONS: [&str; 10] = ["how", "what", "whatever", "when", "where", "whether", "which", "who", "whoever", "why"];

/// Returns the first lines of the doc comments of a text that open with a question word.
fn questions(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut before = "";
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///").filter(|_| !before.starts_with("///")) {
            let first = comment.split_whitespace().next().unwrap_or_default();
            if QUESTIONS.contains(&first.trim_end_matches(',').to_lowercase().as_str()) {
                found.push(line);
            }
        }
        before = line;
    }
    found
}

/// A doc comment that opens with a question word, in a folder whose limit is reached, fails this.
#[test]
fn doc_comments_open_with_a_verb_or_a_noun() {
    for (folder, limit) in LIMITS {
        let texts = sources(&[folder]);
        let found: Vec<_> =
            texts.iter().flat_map(|(name, text)| questions(text).into_iter().map(move |line| (name, line))).collect();
        let shown = found.iter().map(|(name, line)| format!("{name}: {line}\n")).collect::<String>();
        assert!(found.len() <= limit, "{shown}{folder}: {} such doc comments, at most {limit}", found.len());
    }
}

#[test]
fn a_question_is_found_where_a_doc_comment_begins() {
    let text =
        "/// What it is.\n/// How it is.\nfn a() {}\n    /// Returns\n    /// what it is.\n// Who\n/// whoever, then\n";
    assert_eq!(questions(text), ["/// What it is.", "/// whoever, then"]);
}
