// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parser of one boot argument.

use cleave::linear_map::{BbmPolicy, Form};

use super::{ClockKind, ExitMode, LinearMode, Load, ReportMode, Task};

/// The meaning of a boot argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// `bbml2=`.
    BbmTrust(BbmPolicy),
    /// `cpuN.bbm=L`.
    CpuBbm { cpu: usize, level: u8 },
    /// `cpuN.pa=BITS`.
    CpuPa { cpu: usize, bits: u8 },
    /// `linear=`.
    Linear(LinearMode),
    /// `fill=`.
    Fill(Form),
    /// `rendezvous.deadline=MS`.
    Deadline(u64),
    /// `load=`.
    Load(Load),
    /// `report=`.
    Report(ReportMode),
    /// `exit=`.
    Exit(ExitMode),
    /// `clock=`.
    Clock(ClockKind),
    /// `selftest`, `monitor`.
    Task(Task),
    /// `fault=`, with its list.
    Faults(&'a str),
    /// A word for another program.
    Unknown,
    /// A known word with a bad value; this is what it should be.
    Bad(&'static str),
}

/// Returns the arguments in `text`, each with its meaning.
pub(super) fn words(text: &str) -> impl Iterator<Item = (&str, Word<'_>)> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (word, behind) = split(rest)?;
        rest = behind;
        Some((word, meaning(word)))
    })
}

/// Returns the first word and what follows it. White space between double quotes belongs to the word.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    });
    text.split_at_checked(end.unwrap_or(text.len()))
}

/// Returns the text without the quotes around it.
fn unquoted(text: &str) -> &str {
    let text = text.strip_prefix('"').unwrap_or(text);
    text.strip_suffix('"').unwrap_or(text)
}

/// Returns the meaning of a boot argument.
fn meaning(word: &str) -> Word<'_> {
    let word = unquoted(word);
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(unquoted(value))),
        None => (word, None),
    };
    let value_or_nothing = value.unwrap_or_default();
    match name {
        "bbml2" => match value_or_nothing {
            "auto" => Word::BbmTrust(BbmPolicy::Auto),
            "trust" => Word::BbmTrust(BbmPolicy::Always),
            "strict" => Word::BbmTrust(BbmPolicy::Strict),
            "off" => Word::BbmTrust(BbmPolicy::Off),
            _ => Word::Bad("bbml2=auto|trust|strict|off"),
        },
        "linear" => match value_or_nothing {
            "auto" => Word::Linear(LinearMode::Auto),
            "block" => Word::Linear(LinearMode::Block),
            "page" => Word::Linear(LinearMode::Page),
            "require" => Word::Linear(LinearMode::Require),
            _ => Word::Bad("linear=auto|block|page|require"),
        },
        "fill" => match value_or_nothing {
            "ahead" => Word::Fill(Form::Ahead),
            "window" => Word::Fill(Form::InWindow),
            _ => Word::Bad("fill=ahead|window"),
        },
        "rendezvous.deadline" => match decimal(value_or_nothing) {
            Some(milliseconds) if milliseconds > 0 => Word::Deadline(milliseconds),
            _ => Word::Bad("rendezvous.deadline=MS, milliseconds from 1"),
        },
        "load" => match value_or_nothing {
            "on" => Word::Load(Load::On),
            "off" => Word::Load(Load::Off),
            _ => Word::Bad("load=on|off"),
        },
        "report" => match value_or_nothing {
            "json" => Word::Report(ReportMode::Json),
            _ => Word::Bad("report=json"),
        },
        "exit" => match value_or_nothing {
            "semihosting" => Word::Exit(ExitMode::Semihosting),
            _ => Word::Bad("exit=semihosting"),
        },
        "clock" => match value_or_nothing {
            "real" => Word::Clock(ClockKind::Real),
            "counted" => Word::Clock(ClockKind::Counted),
            _ => Word::Bad("clock=real|counted"),
        },
        "selftest" => task(Task::Selftest, value),
        "monitor" => task(Task::Monitor, value),
        "fault" if value_or_nothing.is_empty() => Word::Bad("fault=FAULT,..."),
        "fault" => Word::Faults(value_or_nothing),
        _ => match cpu_word(name) {
            Some((cpu, "bbm")) => match value_or_nothing {
                "0" => Word::CpuBbm { cpu, level: 0 },
                "1" => Word::CpuBbm { cpu, level: 1 },
                "2" => Word::CpuBbm { cpu, level: 2 },
                "3" => Word::CpuBbm { cpu, level: 3 },
                _ => Word::Bad("cpuN.bbm=0|1|2|3"),
            },
            Some((cpu, "pa")) => match decimal(value_or_nothing) {
                Some(bits @ 1..=52) => Word::CpuPa { cpu, bits: bits as u8 },
                _ => Word::Bad("cpuN.pa=BITS, 1 to 52"),
            },
            _ => Word::Unknown,
        },
    }
}

/// Parses the name of a task, which has no value.
fn task<'a>(task: Task, value: Option<&str>) -> Word<'a> {
    match value {
        None => Word::Task(task),
        Some(_) => Word::Bad("the word alone, without a value"),
    }
}

/// Parses `cpuN.rest` into the number and the rest.
pub(super) fn cpu_word(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix("cpu")?.split_once('.')?;
    Some((usize::try_from(decimal(number)?).ok()?, rest))
}

/// Parses a decimal number, of digits alone.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
