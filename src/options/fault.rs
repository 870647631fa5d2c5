// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults to inject, for tests of what the kernel survives: the list of `fault=`.

use super::BootargError;
use super::argument::{cpu_argument, decimal};

/// An act that is banned between a CPU's arrival in the rendezvous and its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Banned {
    /// `alloc`: taking memory.
    Alloc,
    /// `free`: giving memory back.
    Free,
    /// `lock`: taking a lock.
    Lock,
    /// `log`: logging a line.
    Log,
    /// `linear`: mapping pages, through the linear map.
    Linear,
}

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `reserve:N`: the reservation fails at its frame N.
    Reserve {
        /// The number of the frame.
        frame: usize,
    },
    /// `cpuN.absent`: the CPU is started and never checks in.
    CpuAbsent {
        /// The CPU.
        cpu: usize,
    },
    /// `cpuN.late:MS`: the CPU comes late to the first rendezvous it is called to.
    CpuLate {
        /// The CPU.
        cpu: usize,
        /// By how many milliseconds.
        milliseconds: u64,
    },
    /// `cpuN.stall:MS`: the CPU stops for so long in the middle of the first tables it fills.
    CpuStall {
        /// The CPU.
        cpu: usize,
        /// For how many milliseconds.
        milliseconds: u64,
    },
    /// `cpuN.psci:CODE`: CPU_ON returns this for the CPU (Arm DEN 0022, return error codes).
    CpuPsci {
        /// The CPU.
        cpu: usize,
        /// The code, negative for an error.
        code: i32,
    },
    /// `cpuN.wxn`: the CPU clears SCTLR_EL1.WXN before it says what its registers hold.
    CpuWxn {
        /// The CPU.
        cpu: usize,
    },
    /// `load.flip`: a bit of the stress test's memory is changed.
    LoadFlip,
    /// `load.swap`: two lines of the stress test change places.
    LoadSwap,
    /// `frame.leak`: a frame is taken during the repaint and never given back.
    FrameLeak,
    /// `lock.call`: a CPU that takes a lock is called to the rendezvous, at every lock.
    LockCall,
    /// `rendezvous.second`: a second caller while a rendezvous runs.
    RendezvousSecond,
    /// `window.touch`: the linear map is touched inside the window.
    WindowTouch,
    /// `ban.alloc` and its like: what is banned inside the window is done there, by the leader.
    Ban {
        /// The act.
        act: Banned,
    },
    /// `cpuN.ban.alloc` and its like: the same by CPU N, which is parked if it is not the leader.
    CpuBan {
        /// The CPU.
        cpu: usize,
        /// The act.
        act: Banned,
    },
    /// `stack.secondary`: recursion without an end, on a CPU that is not the boot CPU.
    StackSecondary,
    /// `wild.branch`: a branch to where nothing is.
    WildBranch,
    /// `stack.overflow`: recursion without an end.
    StackOverflow,
    /// `probe.notlbi`: the TLB invalidation is left out of the window, with `selftest`.
    ProbeNoTlbi,
    /// `probe.local`: the invalidation of the window is this CPU's alone, with `selftest`.
    ProbeLocal,
    /// `wx`: a leaf of the linear map becomes writable and executable, before the audit.
    Wx,
    /// `audit.flip`: a leaf is changed before the audit.
    AuditFlip,
    /// `serror.corrected`: an SError that says of itself that it was corrected.
    SErrorCorrected,
    /// `stale.fault`: a page is mapped again in the middle of a translation fault on it.
    Stale,
    /// `conflict.fault`: the same, reported to the handler as a TLB conflict abort.
    Conflict,
    /// `page.readonly`: a page of the linear map becomes read-only, before the audit.
    PageReadonly,
    /// `hole.mapped`: the page behind a region of memory is mapped, before the audit.
    HoleMapped,
    /// `text.writable`: code is mapped a second time, writable, before the audit.
    TextWritable,
    /// `rodata.execute`: a page of the kernel's constants becomes executable, before the audit.
    RodataExecute,
    /// `rodata.write`: a store to data that is read-only after init, by its own address.
    RodataWrite,
    /// `rodata.alias`: the same through the linear map.
    RodataAlias,
    /// `secret.touch`: a load of a secret frame through the linear map.
    SecretTouch,
    /// `guard.mapped`: the guard page of the boot CPU's exception stack is mapped, before the audit.
    GuardMapped,
    /// `census.count`: the audit is told of a leaf that is not there.
    CensusCount,
    /// `pool.overflow`: a store behind an object of the guarded pool.
    PoolOverflow,
    /// `pool.freed`: a load from an object of the guarded pool that was freed.
    PoolFreed,
    /// `pool.slack`: a store in front of an object of the guarded pool, in its own page.
    PoolSlack,
    /// `panic`.
    Panic,
}

/// The faults that have no parameter.
const PLAIN: &[(&str, Fault)] = &[
    ("load.flip", Fault::LoadFlip),
    ("load.swap", Fault::LoadSwap),
    ("frame.leak", Fault::FrameLeak),
    ("lock.call", Fault::LockCall),
    ("rendezvous.second", Fault::RendezvousSecond),
    ("window.touch", Fault::WindowTouch),
    ("stack.secondary", Fault::StackSecondary),
    ("wild.branch", Fault::WildBranch),
    ("stack.overflow", Fault::StackOverflow),
    ("probe.notlbi", Fault::ProbeNoTlbi),
    ("probe.local", Fault::ProbeLocal),
    ("wx", Fault::Wx),
    ("audit.flip", Fault::AuditFlip),
    ("serror.corrected", Fault::SErrorCorrected),
    ("stale.fault", Fault::Stale),
    ("conflict.fault", Fault::Conflict),
    ("page.readonly", Fault::PageReadonly),
    ("hole.mapped", Fault::HoleMapped),
    ("text.writable", Fault::TextWritable),
    ("rodata.execute", Fault::RodataExecute),
    ("rodata.write", Fault::RodataWrite),
    ("rodata.alias", Fault::RodataAlias),
    ("secret.touch", Fault::SecretTouch),
    ("guard.mapped", Fault::GuardMapped),
    ("census.count", Fault::CensusCount),
    ("pool.overflow", Fault::PoolOverflow),
    ("pool.freed", Fault::PoolFreed),
    ("pool.slack", Fault::PoolSlack),
    ("panic", Fault::Panic),
];

/// Returns the banned act of that name.
const BANNED: [(&str, Banned); 5] = [
    ("ban.alloc", Banned::Alloc),
    ("ban.free", Banned::Free),
    ("ban.lock", Banned::Lock),
    ("ban.log", Banned::Log),
    ("ban.linear", Banned::Linear),
];

/// Returns the banned act that a fault asks for.
fn banned(name: &str) -> Option<Banned> {
    BANNED.iter().find(|(known, _)| *known == name).map(|&(_, act)| act)
}

impl Fault {
    /// Returns the CPU that the fault names, if any.
    #[must_use]
    pub(crate) const fn cpu(&self) -> Option<usize> {
        match *self {
            Self::CpuAbsent { cpu }
            | Self::CpuLate { cpu, .. }
            | Self::CpuStall { cpu, .. }
            | Self::CpuPsci { cpu, .. }
            | Self::CpuWxn { cpu }
            | Self::CpuBan { cpu, .. } => Some(cpu),
            _ => None,
        }
    }
}

/// Returns the faults of a comma-separated list, with their texts. An empty list has none; an empty entry in a list is
/// an error.
pub(super) fn faults(list: &str) -> impl Iterator<Item = (&str, Result<Fault, BootargError<'_>>)> {
    let entries = (!list.is_empty()).then(|| list.split(','));
    let read = |argument| (argument, fault(argument).map_err(|expected| BootargError { argument, expected }));
    entries.into_iter().flatten().map(read)
}

/// Returns the error for anything else.
const KNOWN: &str = "a fault that is known, such as reserve:N, cpuN.late:MS or load.flip";

/// Reads one fault, or says what it should look like.
fn fault(argument: &str) -> Result<Fault, &'static str> {
    if let Some((_, fault)) = PLAIN.iter().find(|(name, _)| *name == argument) {
        return Ok(*fault);
    }
    if let Some(act) = banned(argument) {
        return Ok(Fault::Ban { act });
    }
    let (name, parameter) = match argument.split_once(':') {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (argument, None),
    };
    let number = parameter.and_then(decimal);
    if name == "reserve" {
        let frame = number.and_then(|number| usize::try_from(number).ok());
        let frame = frame.filter(|&frame| frame != 0);
        return frame.map(|frame| Fault::Reserve { frame }).ok_or("reserve:N, a frame's number from 1");
    }
    match cpu_argument(name) {
        Some((cpu, "absent")) if parameter.is_none() => Ok(Fault::CpuAbsent { cpu }),
        Some((cpu, "wxn")) if parameter.is_none() => Ok(Fault::CpuWxn { cpu }),
        Some((_, "absent")) => Err("cpuN.absent, without a parameter"),
        Some((cpu, "late")) => {
            number.map(|milliseconds| Fault::CpuLate { cpu, milliseconds }).ok_or("cpuN.late:MS, milliseconds")
        }
        Some((cpu, "stall")) => {
            number.map(|milliseconds| Fault::CpuStall { cpu, milliseconds }).ok_or("cpuN.stall:MS, milliseconds")
        }
        Some((cpu, "psci")) => {
            parameter.and_then(code).map(|code| Fault::CpuPsci { cpu, code }).ok_or("cpuN.psci:CODE, such as -2")
        }
        Some((cpu, act)) if parameter.is_none() => banned(act).map(|act| Fault::CpuBan { cpu, act }).ok_or(KNOWN),
        _ => Err(KNOWN),
    }
}

/// Parses a PSCI return code: a decimal number, with a minus sign for an error.
fn code(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    i32::try_from(decimal(digits)?).ok()?.checked_mul(sign)
}
