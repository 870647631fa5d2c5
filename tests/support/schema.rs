// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report's schema as data, in this one place, for the writer's own tests and for every boot.
//!
//! It follows the interface word for word: every key always there, scalars nullable where something may not apply,
//! objects and lists never null, integers below 2^53, ranges as pairs.

use serde_json::Value;

/// The forms of a value.
pub(crate) enum Form {
    /// An integer below 2^53.
    Integer,
    /// One of these integers.
    OneOf(&'static [u64]),
    /// Any text.
    Text,
    /// A virtual address, which may be beyond 2^53: 0x and 16 hexadecimal digits.
    Address,
    /// One of these texts.
    Word(&'static [&'static str]),
    /// True or false.
    Truth,
    /// A pair of integers, the first below the second.
    Range,
    /// Null, or this.
    Maybe(&'static Form),
    /// Any number of these.
    List(&'static Form),
    /// Exactly these members.
    Object(&'static [(&'static str, Form)]),
}

use Form::{Address, Integer, List, Maybe, Object, OneOf, Range, Text, Truth, Word};

/// The report.
pub(crate) const REPORT: Form = Object(&[
    ("version", OneOf(&[1])),
    (
        "kernel",
        Object(&[
            ("version", Maybe(&Text)),
            ("commit", Maybe(&Text)),
            ("profile", Maybe(&Text)),
            ("bootargs", Maybe(&Text)),
            ("unknown_bootargs", List(&Text)),
        ]),
    ),
    (
        "machine",
        Object(&[
            ("model", Maybe(&Text)),
            ("compatible", List(&Text)),
            ("entry_el", Maybe(&OneOf(&[1, 2]))),
            ("granule", Maybe(&OneOf(&[4096, 16384, 65536]))),
            ("va_bits", Maybe(&Integer)),
            ("conduit", Maybe(&Word(&["hvc", "smc"]))),
            ("gic", Maybe(&OneOf(&[2, 3]))),
        ]),
    ),
    (
        "cpus",
        List(&Object(&[
            ("id", Integer),
            ("mpidr", Integer),
            ("midr", Maybe(&Integer)),
            ("bbm", Maybe(&OneOf(&[0, 1, 2, 3]))),
            ("smpen", Maybe(&Truth)),
            ("method", Maybe(&Word(&["boot", "psci", "spin-table"]))),
            ("online", Truth),
            ("error", Maybe(&Text)),
        ])),
    ),
    ("errata", List(&Object(&[("core", Text), ("number", Text), ("scope", Word(&["cpu", "system"]))]))),
    ("memory", Object(&[("bytes", Maybe(&Integer)), ("regions", List(&Range)), ("reserved", List(&Range))])),
    (
        "decision",
        Object(&[
            ("level", Maybe(&OneOf(&[0, 1, 2, 3]))),
            ("action", Maybe(&Word(&["split", "keep", "page"]))),
            ("outcome", Maybe(&Word(&["done", "none", "out-of-memory", "aborted"]))),
            ("attempts", Maybe(&Integer)),
            ("reason", Maybe(&Text)),
        ]),
    ),
    (
        "tables",
        Object(&[
            ("census", Maybe(&Integer)),
            ("reserved", Maybe(&Integer)),
            ("used", Maybe(&Integer)),
            ("returned", Maybe(&Integer)),
        ]),
    ),
    ("leaves", Object(&[("before", LEAVES), ("after", LEAVES)])),
    (
        "map",
        Object(&[
            (
                "bytes",
                Object(&[
                    ("1G", Maybe(&Integer)),
                    ("cont2M", Maybe(&Integer)),
                    ("2M", Maybe(&Integer)),
                    ("cont4K", Maybe(&Integer)),
                    ("4K", Maybe(&Integer)),
                    ("unmapped", Maybe(&Integer)),
                ]),
            ),
            ("splits", Object(&[("1G", Maybe(&Integer)), ("2M", Maybe(&Integer))])),
            ("collapses", Object(&[("1G", Maybe(&Integer)), ("2M", Maybe(&Integer))])),
            ("tables", Maybe(&Integer)),
            ("transactions", Maybe(&Integer)),
            ("spurious", Maybe(&Integer)),
            ("conflicts", Maybe(&Integer)),
        ]),
    ),
    ("clock", Word(&["real", "counted"])),
    (
        "ticks",
        Object(&[
            ("frequency", Maybe(&Integer)),
            ("paint", Maybe(&Integer)),
            ("reserve", Maybe(&Integer)),
            ("fill", Maybe(&Integer)),
            ("gather", Maybe(&Integer)),
            ("window", Maybe(&Integer)),
            ("release", Maybe(&Integer)),
            ("repaint", Maybe(&Integer)),
            ("ready", Maybe(&Integer)),
        ]),
    ),
    (
        "timeline",
        List(&Object(&[
            ("cpu", Integer),
            ("kicked", Maybe(&Integer)),
            ("arrived", Maybe(&Integer)),
            ("masked", Maybe(&Integer)),
            ("released", Maybe(&Integer)),
            ("filled", Integer),
        ])),
    ),
    (
        "load",
        Object(&[
            ("cpus", Maybe(&Integer)),
            ("bytes_checked", Maybe(&Integer)),
            ("mismatches", Maybe(&Integer)),
            ("faults", Maybe(&Integer)),
            ("per_cpu", List(&Object(&[("before", Integer), ("during", Integer), ("after", Integer)]))),
        ]),
    ),
    (
        "audit",
        Object(&[
            ("wx", Maybe(&Integer)),
            ("aliases", Maybe(&Integer)),
            ("translation_mismatches", Maybe(&Integer)),
            ("census_mismatches", Maybe(&Integer)),
        ]),
    ),
    ("panic", Maybe(&Object(&[("cpu", Maybe(&Integer)), ("text", Text), ("backtrace", List(&Address))]))),
    ("probe", Maybe(&Word(&["passed", "failed", "not run"]))),
    ("errors", List(&Text)),
    ("result", Word(&["pass", "fail"])),
]);

const LEAVES: Form = Object(&[
    ("1G", Maybe(&Integer)),
    ("cont2M", Maybe(&Integer)),
    ("2M", Maybe(&Integer)),
    ("cont4K", Maybe(&Integer)),
    ("4K", Maybe(&Integer)),
]);

/// The first integer a JavaScript number cannot tell from its neighbour.
const INTEGER_END: u64 = 1 << 53;

/// Everything in `value` that does not have this form, each with its path; empty if all is well.
pub(crate) fn violations(form: &Form, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(form, value, "report", &mut found);
    found
}

fn check(form: &Form, value: &Value, path: &str, found: &mut Vec<String>) {
    let integer = value.as_u64().filter(|&integer| integer < INTEGER_END);
    let fits = match form {
        Integer => integer.is_some(),
        OneOf(allowed) => integer.is_some_and(|integer| allowed.contains(&integer)),
        Text => value.is_string(),
        Address => value
            .as_str()
            .and_then(|text| text.strip_prefix("0x"))
            .is_some_and(|digits| digits.len() == 16 && u64::from_str_radix(digits, 16).is_ok()),
        Word(allowed) => value.as_str().is_some_and(|word| allowed.contains(&word)),
        Truth => value.is_boolean(),
        Range => matches!(
            value.as_array().map(|pair| pair.iter().map(Value::as_u64).collect::<Vec<_>>()).as_deref(),
            Some([Some(start), Some(end)]) if start < end && *end < INTEGER_END
        ),
        Maybe(form) => {
            if !value.is_null() {
                check(form, value, path, found);
            }
            true
        }
        List(form) => value.as_array().is_some_and(|list| {
            for (index, value) in list.iter().enumerate() {
                check(form, value, &format!("{path}[{index}]"), found);
            }
            true
        }),
        Object(members) => value.as_object().is_some_and(|object| {
            for (key, form) in *members {
                match object.get(*key) {
                    Some(value) => check(form, value, &format!("{path}.{key}"), found),
                    None => found.push(format!("{path}.{key} is missing")),
                }
            }
            for key in object.keys().filter(|key| members.iter().all(|(known, _)| known != key)) {
                found.push(format!("{path}.{key} is not in the schema"));
            }
            true
        }),
    };
    if !fits {
        found.push(format!("{path} is {value}"));
    }
}
