// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exception syndromes: the fields of ESR_EL1 (DDI 0487, ESR_EL1).

use core::fmt;

/// A value of ESR_EL1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Syndrome(pub u64);

/// The meaning of the exception class, ESR_EL1.EC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// No reason is given; an undefined instruction, as a rule.
    Unknown,
    /// A trapped WFI, WFE or their kin.
    TrappedWait,
    /// FP, SIMD or SVE, which CPACR_EL1 traps.
    TrappedVector,
    /// A branch to where BTI forbids it.
    BranchTarget,
    /// PSTATE.IL set: an illegal exception return, or what followed it.
    IllegalState,
    /// SVC.
    Svc,
    /// HVC.
    Hvc,
    /// SMC.
    Smc,
    /// A trapped system register access or system instruction.
    TrappedSystem,
    /// A fetch.
    InstructionAbort(Abort),
    /// A load, a store, or cache and address translation maintenance.
    DataAbort(Abort),
    /// The PC is not a multiple of 4.
    PcAlignment,
    /// A load or store through an SP that is not a multiple of 16.
    SpAlignment,
    /// SError.
    SError(ErrorState),
    /// A breakpoint or watchpoint register, or a single step.
    Debug,
    /// BRK.
    Brk(u16),
    /// Another class.
    Other(u8),
}

/// An instruction or data abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abort {
    /// The fault status code, IFSC or DFSC.
    pub status: Status,
    /// The attempted access.
    pub access: Access,
    /// It came from a lower exception level.
    pub from_below: bool,
    /// FAR_EL1 holds the address (FnV is 0, or this is not a synchronous external abort).
    pub address_is_valid: bool,
}

/// The word of an SError on the state of the CPU that takes it: ESR_EL1.IDS, DFSC and AET (DDI 0487, ESR_EL1, "ISS encoding for
/// an SError exception"). A CPU without FEAT_RAS gives [`Uncategorized`](Self::Uncategorized) or
/// [`ImplementationDefined`](Self::ImplementationDefined).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorState {
    /// CE: the error was corrected.
    Corrected,
    /// UEO: the error was not corrected, and the interrupted program can go on; it has not used what is wrong.
    Restartable,
    /// UER: the program can go on once software has repaired what is wrong.
    Recoverable,
    /// UEU: the state of the CPU is not recoverable.
    Unrecoverable,
    /// UC: the error may have spread.
    Uncontainable,
    /// DFSC 0: nothing is known of the error.
    Uncategorized,
    /// IDS: the syndrome is the core's own.
    ImplementationDefined,
    /// An encoding that the Arm ARM reserves.
    Reserved,
}

impl ErrorState {
    /// Returns whether the interrupted program may go on with nothing repaired.
    #[must_use]
    pub const fn is_survivable(self) -> bool {
        matches!(self, Self::Corrected | Self::Restartable)
    }

    const fn of(iss: u32) -> Self {
        if iss & 1 << 24 != 0 {
            return Self::ImplementationDefined;
        }
        match (iss & 0x3f, iss >> 10 & 0b111) {
            (0, _) => Self::Uncategorized,
            (0b01_0001, 0b000) => Self::Uncontainable,
            (0b01_0001, 0b001) => Self::Unrecoverable,
            (0b01_0001, 0b010) => Self::Restartable,
            (0b01_0001, 0b011) => Self::Recoverable,
            (0b01_0001, 0b110) => Self::Corrected,
            _ => Self::Reserved,
        }
    }
}

/// An aborted access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An instruction fetch.
    Fetch,
    /// A load.
    Read,
    /// A store.
    Write,
    /// Cache maintenance or address translation; its WnR says "write".
    Maintenance,
}

/// A fault status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// An address, in a TTBR, a descriptor or the output, beyond the implemented size; the level of the walk.
    AddressSize(i8),
    /// An invalid descriptor.
    Translation(i8),
    /// AF = 0.
    AccessFlag(i8),
    /// Not permitted.
    Permission(i8),
    /// An external abort on the access itself.
    External,
    /// An external abort on a table walk.
    ExternalOnWalk(i8),
    /// A parity or ECC error on the access itself.
    Parity,
    /// A parity or ECC error on a table walk.
    ParityOnWalk(i8),
    /// Unaligned where that is not allowed.
    Alignment,
    /// Two entries of a TLB matched.
    TlbConflict,
    /// An exclusive or atomic access to memory that does not support it.
    UnsupportedAtomic,
    /// Another code.
    Other(u8),
}

impl Status {
    /// Decodes the six bits of IFSC, DFSC, or PAR_EL1.FST.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        let level = (code & 0b11) as i8;
        match code {
            0b00_0000..=0b00_0011 => Self::AddressSize(level),
            0b00_0100..=0b00_0111 => Self::Translation(level),
            0b00_1000..=0b00_1011 => Self::AccessFlag(level),
            0b00_1100..=0b00_1111 => Self::Permission(level),
            0b01_0000 => Self::External,
            0b01_0011 => Self::ExternalOnWalk(-1),
            0b01_0100..=0b01_0111 => Self::ExternalOnWalk(level),
            0b01_1000 => Self::Parity,
            0b01_1011 => Self::ParityOnWalk(-1),
            0b01_1100..=0b01_1111 => Self::ParityOnWalk(level),
            0b10_0001 => Self::Alignment,
            0b10_1001 => Self::AddressSize(-1),
            0b10_1011 => Self::Translation(-1),
            0b11_0000 => Self::TlbConflict,
            0b11_0101 => Self::UnsupportedAtomic,
            _ => Self::Other(code),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressSize(level) => write!(f, "address size fault, level {level}"),
            Self::Translation(level) => write!(f, "translation fault, level {level}"),
            Self::AccessFlag(level) => write!(f, "access flag fault, level {level}"),
            Self::Permission(level) => write!(f, "permission fault, level {level}"),
            Self::External => f.write_str("synchronous external abort"),
            Self::ExternalOnWalk(level) => write!(f, "synchronous external abort on a table walk, level {level}"),
            Self::Parity => f.write_str("synchronous parity or ECC error"),
            Self::ParityOnWalk(level) => write!(f, "synchronous parity or ECC error on a table walk, level {level}"),
            Self::Alignment => f.write_str("alignment fault"),
            Self::TlbConflict => f.write_str("TLB conflict abort"),
            Self::UnsupportedAtomic => f.write_str("unsupported exclusive or atomic access"),
            Self::Other(code) => write!(f, "fault status {code:#04x}"),
        }
    }
}

impl Syndrome {
    /// Returns the exception class EC, bits 31:26.
    #[must_use]
    pub const fn class_code(self) -> u8 {
        (self.0 >> 26 & 0x3f) as u8
    }

    /// Returns the instruction specific syndrome ISS, bits 24:0, whose meaning depends on the class.
    #[must_use]
    pub const fn iss(self) -> u32 {
        (self.0 & 0x1ff_ffff) as u32
    }

    /// Returns the class with its decoded syndrome.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.class_code() {
            0x00 => Class::Unknown,
            0x01 => Class::TrappedWait,
            0x07 | 0x19 | 0x1d => Class::TrappedVector,
            0x0d => Class::BranchTarget,
            0x0e => Class::IllegalState,
            0x15 => Class::Svc,
            0x16 => Class::Hvc,
            0x17 => Class::Smc,
            0x18 => Class::TrappedSystem,
            0x20 => Class::InstructionAbort(self.abort(Access::Fetch, true)),
            0x21 => Class::InstructionAbort(self.abort(Access::Fetch, false)),
            0x22 => Class::PcAlignment,
            0x24 => Class::DataAbort(self.abort(self.data_access(), true)),
            0x25 => Class::DataAbort(self.abort(self.data_access(), false)),
            0x26 => Class::SpAlignment,
            0x2f => Class::SError(ErrorState::of(self.iss())),
            0x30..=0x35 => Class::Debug,
            0x3c => Class::Brk((self.iss() & 0xffff) as u16),
            code => Class::Other(code),
        }
    }

    /// Returns the abort, or `None` for an exception of another class.
    #[must_use]
    pub const fn as_abort(self) -> Option<Abort> {
        match self.class() {
            Class::InstructionAbort(abort) | Class::DataAbort(abort) => Some(abort),
            _ => None,
        }
    }

    /// Returns the word of an SError on the CPU's state, when it is one.
    #[must_use]
    pub const fn as_error(self) -> Option<ErrorState> {
        match self.class() {
            Class::SError(state) => Some(state),
            _ => None,
        }
    }

    /// Makes a syndrome of DISR_EL1, where ESB puts that of an SError which it defers: the fields of ESR_EL1 without its
    /// class. `None` if no SError was deferred (DDI 0487, DISR_EL1, A).
    #[must_use]
    pub const fn from_deferred(disr: u64) -> Option<Self> {
        if disr & 1 << 31 == 0 { None } else { Some(Self(0x2f << 26 | 1 << 25 | disr & 0x1ff_ffff)) }
    }

    /// Returns true when FAR_EL1 was written by this exception with an address worth reading.
    #[must_use]
    pub const fn address_is_valid(self) -> bool {
        match self.class() {
            Class::InstructionAbort(abort) | Class::DataAbort(abort) => abort.address_is_valid,
            Class::PcAlignment => true,
            // Watchpoints write it too; breakpoints and steps do not.
            Class::Debug => matches!(self.class_code(), 0x34 | 0x35),
            _ => false,
        }
    }

    /// Decodes WnR (bit 6) and CM (bit 8).
    const fn data_access(self) -> Access {
        if self.0 & 1 << 8 != 0 {
            Access::Maintenance
        } else if self.0 & 1 << 6 != 0 {
            Access::Write
        } else {
            Access::Read
        }
    }

    const fn abort(self, access: Access, from_below: bool) -> Abort {
        let status = Status::from_code((self.0 & 0x3f) as u8);
        // FnV, bit 10, speaks for synchronous external aborts only, and is RES0 elsewhere.
        let not_valid = matches!(status, Status::External) && self.0 & 1 << 10 != 0;
        Abort { status, access, from_below, address_is_valid: !not_valid }
    }
}

impl fmt::Display for ErrorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrected => "corrected",
            Self::Restartable => "not corrected, restartable",
            Self::Recoverable => "not corrected, recoverable",
            Self::Unrecoverable => "unrecoverable",
            Self::Uncontainable => "uncontainable",
            Self::Uncategorized => "uncategorized",
            Self::ImplementationDefined => "implementation defined",
            Self::Reserved => "of a reserved type",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Read => "read",
            Self::Write => "write",
            Self::Maintenance => "maintenance",
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Unknown => "undefined instruction (no syndrome)",
            Self::TrappedWait => "trapped WFI or WFE",
            Self::TrappedVector => "trapped FP, SIMD or SVE instruction",
            Self::BranchTarget => "branch target exception",
            Self::IllegalState => "illegal execution state",
            Self::Svc => "SVC",
            Self::Hvc => "HVC",
            Self::Smc => "SMC",
            Self::TrappedSystem => "trapped system register or instruction",
            Self::PcAlignment => "PC alignment fault",
            Self::SpAlignment => "SP alignment fault",
            Self::Debug => "debug exception",
            Self::InstructionAbort(abort) | Self::DataAbort(abort) => {
                let kind = if matches!(self, Self::DataAbort(_)) { "data abort" } else { "instruction abort" };
                let from = if abort.from_below { " from EL0" } else { "" };
                return write!(f, "{kind}{from} ({}): {}", abort.access, abort.status);
            }
            Self::SError(state) => return write!(f, "SError, {state}"),
            Self::Brk(comment) => return write!(f, "BRK #{comment:#x}"),
            Self::Other(code) => return write!(f, "exception class {code:#04x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.class().fmt(f)
    }
}

impl fmt::Debug for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x} ({self})", self.0)
    }
}

#[cfg(test)]
mod tests;
