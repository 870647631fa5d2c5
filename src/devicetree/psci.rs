// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conduit of PSCI, HVC or SMC.
//!
//! Only the tree names it. The wrong one is undefined, or hangs, so this code never guesses.

use core::fmt;

use super::nodes::{self, Place};
use super::tree::Tree;

/// The instruction that calls firmware (SMC Calling Convention, Arm DEN 0028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduit {
    /// HVC: a hypervisor answers.
    Hvc,
    /// SMC: the secure monitor answers.
    Smc,
}

impl fmt::Display for Conduit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hvc => "hvc",
            Self::Smc => "smc",
        })
    }
}

/// An error that makes the tree's PSCI unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PsciError<'a> {
    /// Version 0.1, whose function identifiers differ from machine to machine.
    Version01 {
        /// The node's name.
        node: &'a str,
    },
    /// No `method`, or one that is neither "hvc" nor "smc".
    UnknownMethod {
        /// The node's name.
        node: &'a str,
        /// The method that the tree names, if any.
        method: Option<&'a str>,
    },
}

impl fmt::Display for PsciError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version01 { node } => write!(f, "{node} is version 0.1, which is not supported"),
            Self::UnknownMethod { node, method: Some(method) } => write!(f, "{node} has the unknown method {method}"),
            Self::UnknownMethod { node, method: None } => write!(f, "{node} has no method"),
        }
    }
}

impl core::error::Error for PsciError<'_> {}

impl<'a> Tree<'a> {
    /// Returns the conduit to PSCI from version 0.2 on, which all use the same function identifiers (Arm DEN 0022);
    /// `None` when the machine has no PSCI.
    ///
    /// # Errors
    /// When the node describes version 0.1, or a conduit that is not known.
    pub(crate) fn psci(&self) -> Result<Option<Conduit>, PsciError<'a>> {
        self.find(self.named.psci, &["arm,psci", "arm,psci-0.2", "arm,psci-1.0"], conduit).transpose()
    }
}

/// Reads a PSCI node.
fn conduit<'a>(place: &Place<'_, 'a>) -> Result<Conduit, PsciError<'a>> {
    let name = place.name();
    if !nodes::is_compatible(&place.node, &["arm,psci-0.2", "arm,psci-1.0"]) {
        return Err(PsciError::Version01 { node: name });
    }
    match nodes::text(&place.node, "method") {
        Some("hvc") => Ok(Conduit::Hvc),
        Some("smc") => Ok(Conduit::Smc),
        method => Err(PsciError::UnknownMethod { node: name, method }),
    }
}
