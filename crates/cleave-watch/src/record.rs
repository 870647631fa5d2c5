// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of executed instructions, in order, as far as the machine needs it.

use cleave::tables::{PhysAddr, VirtAddr};
use cleave_model::Access;
use cleave_model::instruction::{Instruction, decode};

use crate::device::Devices;

/// An instruction of the image. Where an entry names it, the address is the one at which it was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    /// Its virtual address.
    pub(crate) address: u64,
    /// Its word.
    pub(crate) word: u32,
    /// The site of the first instruction of its block, as QEMU translated it.
    pub(crate) block: u32,
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// The CPU, by the order in which they first executed something.
    pub(crate) cpu: u8,
    /// The instruction: an index of [`Record::sites`].
    pub(crate) site: u32,
    /// Its action.
    pub(crate) event: Event,
}

/// An event of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A CPU's first instruction; the number of the firmware call that started it, if one did.
    Started(Option<u32>),
    /// A firmware call that starts a CPU, by its number.
    CpuOn(u32),
    /// One of [`Instruction`]'s that orders, invalidates or changes translation, with its operand.
    Executed(u64),
    /// A conditional branch, the first since a load that others can be learnt of by.
    Branched,
    /// A store to memory: up to eight bytes.
    Stored {
        /// Where.
        at: PhysAddr,
        /// The number of bytes.
        bytes: u8,
        /// The value, in the low bytes.
        value: u64,
    },
    /// A load with acquire semantics, or of an exclusive or atomic.
    Acquired(PhysAddr),
    /// An access that was translated; not each is here, see [`crate::recorder`].
    Accessed(Access, VirtAddr, Option<PhysAddr>),
    /// An exception was taken to EL1, or to EL2.
    Exception(Exception),
}

/// The cause of an exception, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exception {
    /// An abort of a load, a store or a fetch at this address.
    Abort(Access, VirtAddr),
    /// Anything else.
    Other,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The instructions that entries name.
    pub(crate) sites: Vec<Site>,
    /// Everything, in order.
    pub(crate) entries: Vec<Entry>,
    /// ID_AA64MMFR1_EL1 and ID_AA64MMFR2_EL1, the same on all CPUs of an emulator's machine.
    pub(crate) features: [u64; 2],
    /// MIDR_EL1 as the kernel read it.
    pub(crate) midr: Option<u32>,
    /// The number of CPUs that executed something.
    pub(crate) cpus: usize,
    /// Accesses to devices.
    pub(crate) devices: Devices,
    /// The reason why the record cannot be trusted, if there is one.
    pub(crate) trouble: Option<&'static str>,
}

impl Record {
    /// The instruction of an entry, if the machine has to hear of it.
    pub(crate) fn instruction(&self, entry: &Entry) -> Option<Instruction> {
        self.sites.get(entry.site as usize).and_then(|site| decode(site.word))
    }
}
