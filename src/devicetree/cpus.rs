// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs that the tree lists, in its order, and how each is started.
//!
//! A CPU whose node is wrong is an error with its number, not a missing one: the report has every CPU of the tree. Which
//! methods can be used is the kernel's to say.

use core::fmt;

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};

use super::nodes::{self, BadProperty, PropertyFault};
use super::tree::Tree;
use cleave::tables::PhysAddr;

/// The affinity fields of MPIDR_EL1: Aff3 in bits 39:32, Aff2 to Aff0 in bits 23:0 (Arm ARM DDI 0487, MPIDR_EL1).
const AFFINITY: u64 = 0xff_00ff_ffff;

/// The affinity fields of a CPU's MPIDR_EL1, everything else zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Affinity(u64);

impl Affinity {
    /// Returns the affinity of the CPU with this MPIDR_EL1: the other fields (U, MT, RES1) are taken away.
    #[must_use]
    pub(crate) const fn from_mpidr(mpidr: u64) -> Self {
        Self(mpidr & AFFINITY)
    }

    /// Returns the fields at their places in MPIDR_EL1: the `target_cpu` of PSCI's CPU_ON.
    #[must_use]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the fields packed into 32 bits, Aff3 on top, as GICR_TYPER gives them in its upper half.
    #[must_use]
    pub(crate) const fn packed(self) -> u32 {
        ((self.0 >> 32 << 24) | (self.0 & 0xff_ffff)) as u32
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A method of starting a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnableMethod<'a> {
    /// PSCI's CPU_ON.
    Psci,
    /// The CPU waits on a word in memory for the address to go to (Devicetree Specification v0.4, section 3.8.1).
    SpinTable {
        /// The address of the release word: 64 bits, little-endian as the kernel.
        release: PhysAddr,
    },
    /// A spin-table without a `cpu-release-addr` that can be read: this CPU cannot be started.
    SpinTableWithoutAddress,
    /// No `enable-method`: only the boot CPU can run.
    Missing,
    /// A method that is not known here.
    Unknown(&'a str),
}

impl fmt::Display for EnableMethod<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psci => f.write_str("psci"),
            Self::SpinTable { release } => write!(f, "spin-table at {release}"),
            Self::SpinTableWithoutAddress => f.write_str("spin-table without cpu-release-addr"),
            Self::Missing => f.write_str("no enable-method"),
            Self::Unknown(method) => write!(f, "unknown enable-method {method}"),
        }
    }
}

/// The `status` of a CPU's node (Devicetree Specification v0.4, section 3.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CpuStatus<'a> {
    /// It runs, or it is quiescent and waits for its enable-method: "okay", "disabled", or no status.
    Usable,
    /// It must not be used: "fail", or any other value.
    Unusable(&'a str),
}

impl<'a> CpuStatus<'a> {
    fn of(status: Option<&'a [u8]>) -> Self {
        match status.map(nodes::as_text) {
            None | Some(Some("okay" | "ok" | "disabled")) => Self::Usable,
            Some(status) => Self::Unusable(status.unwrap_or("no text")),
        }
    }
}

/// A CPU of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu<'a> {
    /// Its number: its place in the tree's order, from 0, regardless of its status.
    pub(crate) id: usize,
    /// The node's name, with its unit address.
    pub(crate) node: &'a str,
    /// Its place in the machine.
    pub(crate) affinity: Affinity,
    /// Its status.
    pub(crate) status: CpuStatus<'a>,
    /// The method by which it is started.
    pub(crate) enable_method: EnableMethod<'a>,
}

/// A CPU node that cannot be used. It has its number in the order of CPUs all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuError<'a> {
    /// The number the CPU has.
    pub(crate) id: usize,
    /// The defect of its node.
    pub(crate) property: BadProperty<'a>,
}

impl fmt::Display for CpuError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}: {}", self.id, self.property)
    }
}

impl core::error::Error for CpuError<'_> {}

impl<'a> Tree<'a> {
    /// Returns the CPUs below `/cpus` in the tree's order (Devicetree Specification v0.4, section 3.8), those that must
    /// not be used among them. Any number of CPUs: nothing is stored.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = Result<Cpu<'a>, CpuError<'a>>> + use<'a> {
        let parent = self.named.cpus;
        let common = parent.and_then(|parent| nodes::bytes(&parent, "enable-method")).unwrap_or_default();
        let nodes = parent.into_iter().flat_map(|parent| parent.children()).map(Sight::of).filter(Sight::is_cpu);
        nodes.enumerate().map(move |(id, sight)| {
            let affinity = affinity(&sight.node).map_err(|property| CpuError { id, property })?;
            let (node, status) = (sight.node.name(), CpuStatus::of(sight.status));
            Ok(Cpu { id, node, affinity, status, enable_method: sight.enable_method(common) })
        })
    }
}

/// The properties of a child of `/cpus`, read in one pass: there can be hundreds of children.
struct Sight<'a> {
    node: FdtNode<'a>,
    device_type: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    enable_method: Option<&'a [u8]>,
    release: Option<&'a [u8]>,
}

impl<'a> Sight<'a> {
    /// Goes through the properties once.
    fn of(node: FdtNode<'a>) -> Self {
        let mut sight = Self { node, device_type: None, status: None, enable_method: None, release: None };
        for property in node.properties() {
            let value = property.value_as::<&'a [u8]>().ok();
            match property.name() {
                "device_type" => sight.device_type = value,
                "status" => sight.status = value,
                "enable-method" => sight.enable_method = value,
                "cpu-release-addr" => sight.release = value,
                _ => {}
            }
        }
        sight
    }

    /// Returns true for the node of a CPU. One without a `device_type` counts by its name.
    fn is_cpu(&self) -> bool {
        match self.device_type {
            Some(kind) => nodes::as_text(kind) == Some("cpu"),
            None => self.node.name_without_address() == "cpu",
        }
    }

    /// Returns the first method of `enable-method` that is known. `common` is that of `/cpus`, for CPUs that have none.
    fn enable_method(&self, common: &'a [u8]) -> EnableMethod<'a> {
        let mut methods = nodes::split(self.enable_method.unwrap_or(common)).peekable();
        let Some(&first) = methods.peek() else {
            return EnableMethod::Missing;
        };
        let known = methods.find_map(|method| match method {
            "psci" => Some(EnableMethod::Psci),
            "spin-table" => Some(match self.release.and_then(nodes::number) {
                Some(address) => EnableMethod::SpinTable { release: PhysAddr(address) },
                None => EnableMethod::SpinTableWithoutAddress,
            }),
            _ => None,
        });
        known.unwrap_or(EnableMethod::Unknown(first))
    }
}

/// Returns the affinity in the first entry of `reg`.
fn affinity<'a>(node: &FdtNode<'a>) -> Result<Affinity, BadProperty<'a>> {
    let (value, _) = nodes::regs(node)?.next().ok_or(nodes::bad(node, "reg", PropertyFault::TooShort))??;
    if value & !AFFINITY != 0 {
        return Err(nodes::bad(node, "reg", PropertyFault::BadValue { value }));
    }
    Ok(Affinity(value))
}
