// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot arguments, by which the user of the boot loader configures this kernel.
//!
//! Arguments are separated by white space; a double quote may stand around an argument or its value. Firmware adds arguments of
//! its own, so an argument that is not known changes nothing and is listed ([`Bootargs::unknown`]). A known argument with a bad
//! value changes nothing either, and is an error ([`Bootargs::errors`]). Of an argument that is given twice the last good
//! one counts; `fault=` adds up, each of its faults an argument of its own.

mod argument;
#[cfg(target_os = "none")]
mod current;
mod fault;

#[cfg(test)]
mod tests;

use core::fmt;

use cleave::linear_map::{BbmPolicy, Form};

use argument::{Argument, arguments};
#[cfg(target_os = "none")]
pub(crate) use current::{current, set};
use fault::faults;
pub(crate) use fault::{Banned, Fault};

/// The policy for the linear map's blocks: `linear=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum LinearMode {
    /// `auto`: split where a live mapping cannot change its size later.
    #[default]
    Auto,
    /// `block`: never split at boot.
    Block,
    /// `page`: pages from the start.
    Page,
    /// `require`: as `auto`, but a repaint that cannot be done fails the run.
    Require,
}

/// The switch of the stress test, which keeps the CPUs busy on the linear map through the repaint: `load=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Load {
    /// `on`.
    #[default]
    On,
    /// `off`.
    Off,
}

/// The form of the report on the console: `report=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum ReportMode {
    /// As text for a person.
    #[default]
    Text,
    /// `json`: with one line of JSON for a program as well.
    Json,
}

/// The way out of the machine at the end: `exit=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum ExitMode {
    /// PSCI SYSTEM_OFF where there is PSCI; else the CPUs halt.
    #[default]
    PowerOff,
    /// `semihosting`: with an exit status for the emulator.
    Semihosting,
}

/// The unit of the architectural counter: `clock=`. No register says it: an emulator that counts instructions shows
/// any frequency, and so does a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum ClockKind {
    /// `real`: time.
    #[default]
    Real,
    /// `counted`: the executed instructions of all CPUs together, as under an emulator's instruction counting.
    Counted,
}

/// The time at which the guarded pool is opened: `pool=N@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolTime {
    /// `early`: before the other CPUs are started.
    Early,
    /// `decided`: after the decision, and the repaint if there is one, under the stress test.
    Decided,
    /// `late`: before the audit, on another CPU than the boot CPU where there is one.
    Late,
}

/// The guarded pool to open: `pool=N@TIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// The number of its objects.
    pub(crate) objects: u64,
    /// The time.
    pub(crate) time: PoolTime,
}

/// A task after boot, each a boot argument of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// `selftest`.
    Selftest,
    /// `monitor`.
    Monitor,
}

/// A known argument with a value that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootargError<'a> {
    /// The argument as it was given, or the one fault of `fault=` that is meant.
    pub(crate) argument: &'a str,
    /// The form it should have.
    pub(crate) expected: &'static str,
}

impl fmt::Display for BootargError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot argument {}: expected {}", self.argument, self.expected)
    }
}

impl core::error::Error for BootargError<'_> {}

/// The boot arguments, read. The text stays where it is; arguments that can be many are read again when asked for.
///
/// # Examples
/// ```
/// use crate::options::{Bootargs, LinearMode};
///
/// let args = Bootargs::parse("console=ttyAMA0,115200 linear=page cpu2.bbm=0 fill=never");
/// assert_eq!(args.linear, LinearMode::Page);
/// assert_eq!(args.cpu_bbm(2), Some(0));
/// assert_eq!(args.unknown().next(), Some("console=ttyAMA0,115200"));
/// assert_eq!(args.errors().next().map(|error| error.argument), Some("fill=never"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bootargs<'a> {
    text: &'a str,
    /// The same, or nothing when it has none of the arguments that can be many: most boots look for them in vain, and often.
    many: &'a str,
    /// The trust in FEAT_BBM.
    pub(crate) bbm_trust: BbmPolicy,
    /// The policy for the linear map's blocks.
    pub(crate) linear: LinearMode,
    /// The time at which tables are filled.
    pub(crate) fill: Form,
    /// The deadline of a rendezvous, in milliseconds; `None` for the default.
    pub(crate) deadline: Option<u64>,
    /// The switch of the stress test.
    pub(crate) load: Load,
    /// The form of the report.
    pub(crate) report: ReportMode,
    /// The way out of the machine.
    pub(crate) exit: ExitMode,
    /// The unit of the counter.
    pub(crate) clock: ClockKind,
    /// The guarded pool to open.
    pub(crate) pool: Option<Pool>,
}

impl<'a> Bootargs<'a> {
    /// Reads the arguments of `text`. Never fails: see [`errors`](Self::errors).
    #[must_use]
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut args = Self {
            text,
            many: "",
            bbm_trust: BbmPolicy::default(),
            linear: LinearMode::default(),
            fill: Form::default(),
            deadline: None,
            load: Load::default(),
            report: ReportMode::default(),
            exit: ExitMode::default(),
            clock: ClockKind::default(),
            pool: None,
        };
        for (_, argument) in arguments(text) {
            match argument {
                Argument::BbmTrust(value) => args.bbm_trust = value,
                Argument::Linear(value) => args.linear = value,
                Argument::Fill(value) => args.fill = value,
                Argument::Deadline(value) => args.deadline = Some(value),
                Argument::Load(value) => args.load = value,
                Argument::Report(value) => args.report = value,
                Argument::Exit(value) => args.exit = value,
                Argument::Clock(value) => args.clock = value,
                Argument::Pool(value) => args.pool = Some(value),
                Argument::CpuBbm { .. } | Argument::CpuPa { .. } | Argument::Task(_) | Argument::Faults(_) => {
                    args.many = text;
                }
                Argument::Unknown | Argument::Bad(_) => {}
            }
        }
        args
    }

    /// Returns the whole text, as the boot loader gave it.
    #[must_use]
    pub(crate) const fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the unknown arguments, as they were given.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        arguments(self.text).filter(|(_, argument)| matches!(argument, Argument::Unknown)).map(|(text, _)| text)
    }

    /// Returns the known arguments with a bad value, and the unknown faults of `fault=`.
    pub(crate) fn errors(&self) -> impl Iterator<Item = BootargError<'a>> + use<'a> {
        arguments(self.text).flat_map(|(text, argument)| {
            let (own, list) = match argument {
                Argument::Bad(expected) => (Some(BootargError { argument: text, expected }), ""),
                Argument::Faults(list) => (None, list),
                _ => (None, ""),
            };
            own.into_iter().chain(faults(list).filter_map(|(_, fault)| fault.err()))
        })
    }

    /// Returns the arguments and faults of a CPU that a machine of `cpus` CPUs does not have, with its number.
    pub(crate) fn strangers(&self, cpus: usize) -> impl Iterator<Item = (&'a str, usize)> + use<'a> {
        let named = arguments(self.many).flat_map(|(text, argument)| {
            let (own, list) = match argument {
                Argument::CpuBbm { cpu, .. } | Argument::CpuPa { cpu, .. } => (Some((text, cpu)), ""),
                Argument::Faults(list) => (None, list),
                _ => (None, ""),
            };
            let injected = faults(list).filter_map(|(text, fault)| Some((text, fault.ok()?.cpu()?)));
            own.into_iter().chain(injected)
        });
        named.filter(move |&(_, cpu)| cpu >= cpus)
    }

    /// Returns true when the task is asked for. Several may be.
    #[must_use]
    pub(crate) fn asks_for(&self, task: Task) -> bool {
        arguments(self.many).any(|(_, argument)| matches!(argument, Argument::Task(asked) if asked == task))
    }

    /// Returns the level of FEAT_BBM to which `cpuN.bbm=` limits CPU `cpu`.
    #[must_use]
    pub(crate) fn cpu_bbm(&self, cpu: usize) -> Option<u8> {
        let levels = arguments(self.many).filter_map(|(_, argument)| match argument {
            Argument::CpuBbm { cpu: own, level } if own == cpu => Some(level),
            _ => None,
        });
        levels.last()
    }

    /// Returns the number of physical address bits to which `cpuN.pa=` limits CPU `cpu`.
    #[must_use]
    pub(crate) fn cpu_pa(&self, cpu: usize) -> Option<u8> {
        self.cpu_pas().filter(|&(own, _)| own == cpu).last().map(|(_, bits)| bits)
    }

    /// Returns every `cpuN.pa=` with its CPU, in the order given.
    pub(crate) fn cpu_pas(&self) -> impl Iterator<Item = (usize, u8)> + use<'a> {
        arguments(self.many).filter_map(|(_, argument)| match argument {
            Argument::CpuPa { cpu, bits } => Some((cpu, bits)),
            _ => None,
        })
    }

    /// Returns the faults to inject, in the order given.
    pub(crate) fn faults(&self) -> impl Iterator<Item = Fault> + use<'a> {
        let lists = arguments(self.many).filter_map(|(_, argument)| match argument {
            Argument::Faults(list) => Some(list),
            _ => None,
        });
        lists.flat_map(faults).filter_map(|(_, fault)| fault.ok())
    }

    /// Returns true when exactly this fault is to be injected.
    #[must_use]
    pub(crate) fn injects(&self, fault: Fault) -> bool {
        self.faults().any(|asked| asked == fault)
    }

    /// Returns the number of the frame at which the reservation is to fail: `reserve:N`.
    #[must_use]
    pub(crate) fn fault_reserve(&self) -> Option<usize> {
        let frames = self.faults().filter_map(|fault| match fault {
            Fault::Reserve { frame } => Some(frame),
            _ => None,
        });
        frames.last()
    }

    /// Returns true when CPU `cpu` is never to come: `cpuN.absent`.
    #[must_use]
    pub(crate) fn fault_cpu_absent(&self, cpu: usize) -> bool {
        self.injects(Fault::CpuAbsent { cpu })
    }

    /// Returns the number of milliseconds by which CPU `cpu` is to be late: `cpuN.late:MS`.
    #[must_use]
    pub(crate) fn fault_cpu_late(&self, cpu: usize) -> Option<u64> {
        let delays = self.faults().filter_map(|fault| match fault {
            Fault::CpuLate { cpu: own, milliseconds } if own == cpu => Some(milliseconds),
            _ => None,
        });
        delays.last()
    }

    /// Returns the code that CPU_ON is to return for CPU `cpu`: `cpuN.psci:CODE`.
    #[must_use]
    pub(crate) fn fault_cpu_psci(&self, cpu: usize) -> Option<i32> {
        let codes = self.faults().filter_map(|fault| match fault {
            Fault::CpuPsci { cpu: own, code } if own == cpu => Some(code),
            _ => None,
        });
        codes.last()
    }
}
