// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls into the firmware: PSCI (Arm DEN 0022) and the few general ones of the SMC Calling Convention (DEN 0028).
//!
//! The instruction that makes the call, HVC or SMC, is the device tree's to say and known at run time only; the wrong
//! one is undefined or hangs. So every call is a method of [`Firmware`], which is made from what the tree says.

use core::fmt;

/// An error returned by PSCI (DEN 0022, return values).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PsciError {
    /// NOT_SUPPORTED: there is no such function.
    NotSupported,
    /// INVALID_PARAMETERS: no such CPU, for most functions.
    InvalidParameters,
    /// DENIED: a rule of the firmware or of the secure world is against it.
    Denied,
    /// ALREADY_ON: the CPU runs.
    AlreadyOn,
    /// ON_PENDING: the CPU is being turned on.
    OnPending,
    /// INTERNAL_FAILURE: the hardware did not do as the firmware asked.
    InternalFailure,
    /// NOT_PRESENT: no trusted OS on that CPU.
    NotPresent,
    /// DISABLED: the CPU is switched off for good.
    Disabled,
    /// INVALID_ADDRESS: the entry point is somewhere it must not be.
    InvalidAddress,
    /// A value that DEN 0022 does not know.
    Unknown(i64),
}

impl PsciError {
    /// Returns the error of the return value `code`. Fault injection makes errors of numbers too.
    pub(crate) const fn from_code(code: i64) -> Self {
        match code {
            -1 => Self::NotSupported,
            -2 => Self::InvalidParameters,
            -3 => Self::Denied,
            -4 => Self::AlreadyOn,
            -5 => Self::OnPending,
            -6 => Self::InternalFailure,
            -7 => Self::NotPresent,
            -8 => Self::Disabled,
            -9 => Self::InvalidAddress,
            other => Self::Unknown(other),
        }
    }

    /// Returns the return value of this error.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::NotSupported => -1,
            Self::InvalidParameters => -2,
            Self::Denied => -3,
            Self::AlreadyOn => -4,
            Self::OnPending => -5,
            Self::InternalFailure => -6,
            Self::NotPresent => -7,
            Self::Disabled => -8,
            Self::InvalidAddress => -9,
            Self::Unknown(code) => code,
        }
    }
}

impl fmt::Display for PsciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::NotSupported => "NOT_SUPPORTED",
            Self::InvalidParameters => "INVALID_PARAMETERS",
            Self::Denied => "DENIED",
            Self::AlreadyOn => "ALREADY_ON",
            Self::OnPending => "ON_PENDING",
            Self::InternalFailure => "INTERNAL_FAILURE",
            Self::NotPresent => "NOT_PRESENT",
            Self::Disabled => "DISABLED",
            Self::InvalidAddress => "INVALID_ADDRESS",
            Self::Unknown(code) => return write!(f, "PSCI returned {code}, which is no code of DEN 0022"),
        };
        write!(f, "PSCI returned {name} ({})", self.code())
    }
}

impl core::error::Error for PsciError {}

/// A version of PSCI or of the calling convention, as both encode it: 15 bits, then 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    /// Incompatible change.
    pub(crate) major: u16,
    /// Compatible change.
    pub(crate) minor: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The state of a CPU by AFFINITY_INFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    /// It runs.
    On,
    /// It is off and can be turned on.
    Off,
    /// It was turned on and has not come yet.
    OnPending,
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::OnPending => "being turned on",
        })
    }
}

#[cfg(target_os = "none")]
pub(crate) use calls::*;

#[cfg(target_os = "none")]
mod calls {
    use crate::devicetree::{Affinity, Conduit};
    use cleave::tables::PhysAddr;
    use smccc::Call;
    use smccc::psci::{self, AffinityState, LowestAffinityLevel};

    use super::{Power, PsciError, Version};

    /// The firmware below us, by the instruction that reaches it.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Firmware {
        conduit: Conduit,
    }

    /// Calls by HVC, in place of the crate's type of that name: see [`hvc`].
    struct Hvc;

    /// Calls by SMC, in place of the crate's type of that name: see [`smc`].
    struct Smc;

    /// Executes HVC, of which the first result is returned: no function of PSCI has another.
    ///
    /// Which registers a call may change depends on the firmware's version of the calling convention. From SMCCC 1.1 on
    /// the callee preserves x4 to x17, as far as they hold no results; before that it may change all of them (DEN 0028,
    /// "Register use in AArch64 SMC and HVC calls"). The version is not known before the first call, PSCI_VERSION, so the
    /// old rule holds for every call:
    ///
    /// - The crate's 64-bit form declares x0 to x17 as changed, its 32-bit form x0 to x7 alone. A 32-bit function may be
    ///   called by the 64-bit form: its number says which one it is, and it reads the low halves of its arguments.
    /// - A function of its own, with the ABI in which x0 to x17 belong to the callee (AAPCS64, 6.1.1), and nothing but a
    ///   return behind the instruction. So no caller has a value in them, and tests/boot/instructions.rs can see that.
    #[inline(never)]
    extern "C" fn hvc(function: u32, first: u64, second: u64, third: u64) -> u64 {
        smccc::hvc64(function, arguments(first, second, third))[0]
    }

    /// Executes SMC; all else as with [`hvc`].
    #[inline(never)]
    extern "C" fn smc(function: u32, first: u64, second: u64, third: u64) -> u64 {
        smccc::smc64(function, arguments(first, second, third))[0]
    }

    const fn arguments(first: u64, second: u64, third: u64) -> [u64; 17] {
        [first, second, third, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Implements the crate's trait for the type `$call` by the function `$instruction`.
    macro_rules! call_by {
        ($call:ident, $instruction:ident) => {
            impl Call for $call {
                #[inline(always)]
                fn call32(function: u32, [first, second, third, rest @ ..]: [u32; 7]) -> [u32; 8] {
                    assert!(rest.iter().all(|&argument| argument == 0), "PSCI has three arguments at most");
                    let result = $instruction(function, first.into(), second.into(), third.into());
                    // W0 is the result; the upper half of X0 is not defined.
                    [result as u32, 0, 0, 0, 0, 0, 0, 0]
                }

                #[inline(always)]
                fn call64(function: u32, [first, second, third, rest @ ..]: [u64; 17]) -> [u64; 18] {
                    assert!(rest.iter().all(|&argument| argument == 0), "PSCI has three arguments at most");
                    let mut results = [0; 18];
                    results[0] = $instruction(function, first, second, third);
                    results
                }
            }
        };
    }

    call_by!(Hvc, hvc);
    call_by!(Smc, smc);

    /// Makes one call through whichever instruction `$firmware` listens to: the crate chooses it by type.
    macro_rules! call {
        ($firmware:expr, $($function:ident)::+ ( $($argument:expr),* )) => {
            match $firmware.conduit {
                Conduit::Hvc => $($function)::+::<Hvc>($($argument),*),
                Conduit::Smc => $($function)::+::<Smc>($($argument),*),
            }
        };
    }

    impl From<psci::Error> for PsciError {
        fn from(error: psci::Error) -> Self {
            Self::from_code(error.into())
        }
    }

    impl Firmware {
        /// Returns the firmware behind `conduit`, which comes from the device tree: a call by the wrong one would hang.
        pub(crate) const fn behind(conduit: Conduit) -> Self {
            Self { conduit }
        }

        /// Calls PSCI_VERSION and returns the firmware's version of PSCI; 0.2 and later have this call.
        ///
        /// # Errors
        /// What the firmware says; `NotSupported` from one without PSCI.
        pub(crate) fn psci_version(self) -> Result<Version, PsciError> {
            let version = call!(self, psci::version())?;
            Ok(Version { major: version.major, minor: version.minor })
        }

        /// Calls CPU_ON: starts the CPU `target` at the physical address `entry`, MMU off, `context` in x0. The data
        /// that the CPU reads with its MMU off must have been cleaned to the point of coherency.
        ///
        /// # Errors
        /// What the firmware says.
        pub(crate) fn cpu_on(self, target: Affinity, entry: PhysAddr, context: u64) -> Result<(), PsciError> {
            Ok(call!(self, psci::cpu_on(target.bits(), entry.0, context))?)
        }

        /// Calls AFFINITY_INFO and returns whether the CPU `target` is on.
        ///
        /// # Errors
        /// What the firmware says.
        pub(crate) fn affinity_info(self, target: Affinity) -> Result<Power, PsciError> {
            Ok(match call!(self, psci::affinity_info(target.bits(), LowestAffinityLevel::All))? {
                AffinityState::On => Power::On,
                AffinityState::Off => Power::Off,
                AffinityState::OnPending => Power::OnPending,
            })
        }

        /// Calls SYSTEM_OFF, which turns the machine off. Returns only if it failed, with the error.
        pub(crate) fn system_off(self) -> PsciError {
            returned(call!(self, psci::system_off()))
        }

        /// Calls SYSTEM_RESET, which restarts the machine. Returns only if it failed, with the error.
        pub(crate) fn system_reset(self) -> PsciError {
            returned(call!(self, psci::system_reset()))
        }
    }

    /// Returns the error of a call that does not return when it works.
    fn returned(result: Result<(), psci::Error>) -> PsciError {
        match result {
            Ok(()) => PsciError::InternalFailure,
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;

    #[test]
    fn every_code_of_den_0022_has_a_name_and_comes_back_as_itself() {
        for code in -9..=-1 {
            let error = PsciError::from_code(code);
            assert!(!matches!(error, PsciError::Unknown(_)), "{code}");
            assert_eq!(error.code(), code);
        }
    }

    #[test]
    fn an_unknown_firmware_return_code_keeps_its_number() {
        assert_eq!(PsciError::from_code(-77), PsciError::Unknown(-77));
        assert_eq!(format!("{}", PsciError::from_code(-77)), "PSCI returned -77, which is no code of DEN 0022");
        assert_eq!(format!("{}", PsciError::Denied), "PSCI returned DENIED (-3)");
    }

    #[test]
    fn versions_are_ordered_by_major_then_minor() {
        let version = |major, minor| Version { major, minor };
        assert!(version(0, 2) < version(1, 0) && version(1, 0) < version(1, 1));
        assert_eq!(format!("{}", version(1, 1)), "1.1");
    }
}
