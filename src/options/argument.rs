// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parser of one boot argument.

use cleave::linear_map::{BbmPolicy, Form};

use super::{ClockKind, ExitMode, LinearMode, Load, Pool, PoolTime, ReportMode, Task};

/// The meaning of a boot argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument<'a> {
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
    /// `pool=N@TIME`.
    Pool(Pool),
    /// `selftest`, `monitor`.
    Task(Task),
    /// `fault=`, with its list.
    Faults(&'a str),
    /// An argument for another program.
    Unknown,
    /// A known argument with a bad value; this is what it should be.
    Bad(&'static str),
}

/// Returns the arguments in `text`, each with its meaning.
pub(super) fn arguments(text: &str) -> impl Iterator<Item = (&str, Argument<'_>)> {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (argument, behind) = split(rest)?;
        rest = behind;
        Some((argument, meaning(argument)))
    })
}

/// Returns the first argument and what follows it. White space between double quotes belongs to the argument.
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
fn meaning(argument: &str) -> Argument<'_> {
    let argument = unquoted(argument);
    let (name, value) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(unquoted(value))),
        None => (argument, None),
    };
    let value_or_nothing = value.unwrap_or_default();
    match name {
        "bbml2" => match value_or_nothing {
            "auto" => Argument::BbmTrust(BbmPolicy::Auto),
            "trust" => Argument::BbmTrust(BbmPolicy::Always),
            "strict" => Argument::BbmTrust(BbmPolicy::Strict),
            "off" => Argument::BbmTrust(BbmPolicy::Off),
            _ => Argument::Bad("bbml2=auto|trust|strict|off"),
        },
        "linear" => match value_or_nothing {
            "auto" => Argument::Linear(LinearMode::Auto),
            "block" => Argument::Linear(LinearMode::Block),
            "page" => Argument::Linear(LinearMode::Page),
            "require" => Argument::Linear(LinearMode::Require),
            _ => Argument::Bad("linear=auto|block|page|require"),
        },
        "fill" => match value_or_nothing {
            "ahead" => Argument::Fill(Form::Ahead),
            "window" => Argument::Fill(Form::InWindow),
            _ => Argument::Bad("fill=ahead|window"),
        },
        "rendezvous.deadline" => match decimal(value_or_nothing) {
            Some(milliseconds) if milliseconds > 0 => Argument::Deadline(milliseconds),
            _ => Argument::Bad("rendezvous.deadline=MS, milliseconds from 1"),
        },
        "load" => match value_or_nothing {
            "on" => Argument::Load(Load::On),
            "off" => Argument::Load(Load::Off),
            _ => Argument::Bad("load=on|off"),
        },
        "report" => match value_or_nothing {
            "json" => Argument::Report(ReportMode::Json),
            _ => Argument::Bad("report=json"),
        },
        "exit" => match value_or_nothing {
            "semihosting" => Argument::Exit(ExitMode::Semihosting),
            _ => Argument::Bad("exit=semihosting"),
        },
        "clock" => match value_or_nothing {
            "real" => Argument::Clock(ClockKind::Real),
            "counted" => Argument::Clock(ClockKind::Counted),
            _ => Argument::Bad("clock=real|counted"),
        },
        "pool" => match pool(value_or_nothing) {
            Some(pool) => Argument::Pool(pool),
            None => Argument::Bad("pool=N@early|decided|late, N objects from 1"),
        },
        "selftest" => task(Task::Selftest, value),
        "monitor" => task(Task::Monitor, value),
        "fault" if value_or_nothing.is_empty() => Argument::Bad("fault=FAULT,..."),
        "fault" => Argument::Faults(value_or_nothing),
        _ => match cpu_argument(name) {
            Some((cpu, "bbm")) => match value_or_nothing {
                "0" => Argument::CpuBbm { cpu, level: 0 },
                "1" => Argument::CpuBbm { cpu, level: 1 },
                "2" => Argument::CpuBbm { cpu, level: 2 },
                "3" => Argument::CpuBbm { cpu, level: 3 },
                _ => Argument::Bad("cpuN.bbm=0|1|2|3"),
            },
            Some((cpu, "pa")) => match decimal(value_or_nothing) {
                Some(bits @ 1..=52) => Argument::CpuPa { cpu, bits: bits as u8 },
                _ => Argument::Bad("cpuN.pa=BITS, 1 to 52"),
            },
            _ => Argument::Unknown,
        },
    }
}

/// Parses a number of objects and the time at which their pool is opened.
fn pool(value: &str) -> Option<Pool> {
    let times = [("early", PoolTime::Early), ("decided", PoolTime::Decided), ("late", PoolTime::Late)];
    let (objects, time) = value.split_once('@')?;
    let (_, time) = times.into_iter().find(|&(name, _)| name == time)?;
    let objects = decimal(objects).filter(|&objects| objects > 0)?;
    Some(Pool { objects, time })
}

/// Parses the name of a task, which has no value.
fn task<'a>(task: Task, value: Option<&str>) -> Argument<'a> {
    match value {
        None => Argument::Task(task),
        Some(_) => Argument::Bad("its name alone, without a value"),
    }
}

/// Parses `cpuN.rest` into the number and the rest.
pub(super) fn cpu_argument(name: &str) -> Option<(usize, &str)> {
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
