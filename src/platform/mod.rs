//! What the device tree says: memory, CPUs, firmware, interrupt controller, timer, console and boot arguments.
//!
//! [`Tree::new`] checks a flattened device tree; the methods of [`Tree`] then read one subject each. Nothing here
//! allocates, touches hardware or knows a board: it all runs before there is a heap, and on the host.
//!
//! What is missing or unknown is named in an error with the node and the property, so that the person at the console
//! can find it in the tree.

pub mod bootargs;

mod console;
mod cpus;
mod identity;
mod interrupts;
mod memory;
mod nodes;
mod psci;
mod ranges;
mod serial;
#[cfg(test)]
mod tests;
mod timer;
mod tree;

pub use console::{Console, ConsoleError};
pub use cpus::{Affinity, Cpu, CpuError, CpuStatus, EnableMethod};
pub use interrupts::{InterruptController, InterruptControllerError, REDISTRIBUTOR_REGIONS, Redistributors};
pub use memory::{MEMORY_RANGES, MemoryError, MemoryMap, MemoryRanges};
pub use nodes::{BadProperty, PropertyFault};
pub use psci::{Conduit, PsciError};
pub use ranges::{RangeSet, RangeSetFull};
pub use serial::{Clock, Mailbox, Pin, Pins, SERIAL_PINS};
pub use timer::{Timer, TimerError};
pub use tree::{Block, HEADER_BYTES, MAX_DEPTH, MAX_NAME_BYTES, MAX_TREE_BYTES, Tree, TreeError, check_header};
