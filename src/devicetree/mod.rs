// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device tree's memory, CPUs, firmware, interrupt controller, timer, console and boot arguments.
//!
//! [`Tree::new`] checks a flattened device tree; the methods of [`Tree`] then read one subject each. Nothing here
//! allocates, touches hardware or knows a board: it all runs before there is a heap, and on the host.
//!
//! An error names the node and the property that is missing or unknown, so that the user can find it in the tree.

mod console;
mod cpus;
mod identity;
mod interrupts;
mod memory;
mod named;
mod nodes;
mod psci;
mod ranges;
mod serial;
#[cfg(test)]
mod tests;
mod timer;
mod tree;

pub(crate) use console::Console;
pub(crate) use cpus::{Affinity, Cpu, CpuError, CpuStatus, EnableMethod};
pub(crate) use interrupts::InterruptController;
pub(crate) use memory::{MEMORY_RANGES, MemoryMap, MemoryRanges};
pub(crate) use psci::Conduit;
pub(crate) use ranges::RangeSet;
pub(crate) use serial::{Clock, Mailbox, Pins};
pub(crate) use tree::{HEADER_BYTES, Tree, TreeError, check_header};
#[cfg(test)]
use {
    console::ConsoleError,
    interrupts::{InterruptControllerError, REDISTRIBUTOR_REGIONS, Redistributors},
    nodes::{BadProperty, PropertyFault},
    psci::PsciError,
    ranges::RangeSetFull,
    serial::{Pin, SERIAL_PINS},
    tree::{Block, MAX_DEPTH, MAX_NAME_BYTES, MAX_TREE_BYTES},
};
