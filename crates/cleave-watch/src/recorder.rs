// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes down what happens, as little of it as will do.
//!
//! All stores to memory are taken down, and every barrier, invalidation and register write. Of the other accesses only
//! the first of a CPU to a page is, counted from the last moment at which the answer may have become a worse one: a DSB
//! or TLBI of any CPU, between which an edit of live tables stands, or a register write, ISB, exception or release of
//! its own. With its MMU off a CPU's every load is, since they may read what others have written for it. A CPU that
//! waits for a word to change is taken down once and not each time around.
//!
//! QEMU translates a block once for all addresses at which its page is mapped: in system mode the code of a block is
//! relative to the PC (CF_PCREL), and a block is found by its physical page. The address that a plugin is told at
//! translation is that of the first use. So the PC is asked for whenever a block begins, and what is executed in it is
//! taken down at addresses relative to that.

use std::collections::{BTreeSet, HashMap};

use cleave::tables::{PhysAddr, VirtAddr};
use cleave_model::Access;
use cleave_model::instruction::{Instruction, Register, decode};

use crate::cpu_identity::{Answer, Cpu, CpuIdentities, Mark};
use crate::device::has_syndrome;
use crate::record::{Entry, Event, Exception, Record, Site};

/// Accesses that are remembered of a CPU, by page; more of them at a time only cost time.
const REMEMBERED: usize = 512;

/// More than this is no boot any more, and would not fit into a host's memory.
const ENTRIES_MAX: usize = 1 << 25;
/// The bits that all mappings of an instruction have in common: the offset in the smallest page.
const PAGE_OFFSET: u64 = 0xfff;
/// SCTLR_EL1.M.
const MMU: u64 = 1;
/// PSCI CPU_ON, with 64-bit and 32-bit arguments (DEN 0022).
const CPU_ON: [u64; 2] = [0xc400_0003, 0x8400_0003];

/// One CPU.
struct Notes {
    seen: Box<[u64; REMEMBERED]>,
    mmu: bool,
    /// It has loaded what others may have stored, and no branch was noted since.
    learnt: bool,
    /// It goes round in a loop: the load that was noted last, if nothing else has been since, and what it found.
    waiting: Option<(u32, PhysAddr, u64)>,
}

/// The registers that an exception vector finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syndrome {
    /// ESR_EL1.
    pub(crate) syndrome: u64,
    /// FAR_EL1.
    pub(crate) address: u64,
}

/// The block that runs.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    /// Its first site.
    block: u32,
    /// The distance from the addresses of its translation at which it is executed.
    distance: u64,
}

/// The writer of a record.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) record: Record,
    identities: CpuIdentities,
    current: Cpu,
    notes: Vec<Notes>,
    running: Running,
    /// The sites of instructions that were executed elsewhere than they were translated, by site and distance.
    elsewhere: HashMap<(u32, u64), u32>,
    /// Every value VBAR_EL1 and VBAR_EL2 had.
    vectors: BTreeSet<u64>,
}

impl Recorder {
    /// Takes in a block that is translated, with the address and the word of each instruction. Returns the site of the
    /// first; the others have the numbers behind it.
    pub(crate) fn translated(&mut self, instructions: impl IntoIterator<Item = (u64, u32)>) -> u32 {
        let block = self.record.sites.len() as u32;
        let sites = instructions.into_iter().map(|(address, word)| Site { address, word, block });
        self.record.sites.extend(sites);
        block
    }

    /// Returns the site of an instruction at the address at which it is executed now.
    ///
    /// A block that did not begin is one that QEMU translates to do a single access again; it runs where it was
    /// translated.
    fn executed(&mut self, site: u32) -> u32 {
        let Running { block, distance } = self.running;
        let translated = self.record.sites[site as usize];
        if distance == 0 || translated.block != block {
            return site;
        }
        let sites = &mut self.record.sites;
        *self.elsewhere.entry((site, distance)).or_insert_with(|| {
            sites.push(Site { address: translated.address.wrapping_add(distance), ..translated });
            (sites.len() - 1) as u32
        })
    }

    /// Returns true when the instruction at this address is the first of an exception vector.
    fn is_vector(&self, address: u64) -> bool {
        address & 0x7f == 0 && self.vectors.contains(&(address & !0x7ff))
    }

    fn note(&mut self, site: u32, event: Event) {
        if self.record.entries.len() == ENTRIES_MAX {
            self.record.trouble = Some("the run is too long");
            return;
        }
        if event != Event::Branched
            && let Some(notes) = self.notes.get_mut(usize::from(self.current))
        {
            notes.waiting = None;
        }
        let site = self.executed(site);
        self.record.entries.push(Entry { cpu: self.current, site, event });
    }

    fn me(&mut self) -> &mut Notes {
        &mut self.notes[usize::from(self.current)]
    }

    /// A block of instructions begins, at this PC.
    pub(crate) fn block(&mut self, site: u32, pc: u64, mark: Mark, x0: impl FnOnce() -> u64) {
        let Site { address, word, .. } = self.record.sites[site as usize];
        if (pc ^ address) & PAGE_OFFSET != 0 {
            self.record.trouble = Some("QEMU's PC is not that of the block that begins");
        }
        self.running = Running { block: site, distance: pc.wrapping_sub(address) };
        match self.identities.executes(mark, pc, x0) {
            Answer::Known(cpu) => self.current = cpu,
            Answer::New(cpu, call) => {
                self.current = cpu;
                self.record.cpus = self.identities.count();
                let seen = Box::new([0; REMEMBERED]);
                self.notes.push(Notes { seen, mmu: false, learnt: false, waiting: None });
                self.note(site, Event::Started(call));
            }
            Answer::Unclear => {
                self.record.trouble = Some("two CPUs on their way at once cannot be told apart");
            }
        }
        if self.notes.is_empty() {
            return;
        }
        // An ISB is there to be fetched while what it waits for is not in force.
        if self.me().mmu && decode(word) != Some(Instruction::Isb) {
            self.accessed(site, Access::Fetch, VirtAddr(pc), || None);
        }
    }

    fn accessed(&mut self, site: u32, access: Access, address: VirtAddr, place: impl FnOnce() -> Option<PhysAddr>) {
        let key = (address.0 >> 12) << 2 | (access as u64 + 1);
        let notes = self.me();
        let remembered = &mut notes.seen[(key ^ key >> 9) as usize % REMEMBERED];
        if *remembered == key && notes.mmu {
            return;
        }
        *remembered = key;
        self.note(site, Event::Accessed(access, address, place()));
    }

    /// A load was done, and found `value`. `place` is where, in memory and not in a device.
    pub(crate) fn loaded(&mut self, site: u32, address: u64, place: impl Fn() -> Option<PhysAddr>, value: u64) {
        if self.notes.is_empty() {
            return;
        }
        self.accessed(site, Access::Load, VirtAddr(address), &place);
        let ordered = decode(self.record.sites[site as usize].word);
        if matches!(ordered, Some(Instruction::Ordered(_)))
            && let Some(at) = place()
        {
            let waiting = Some((site, at, value));
            if self.me().waiting != waiting {
                self.note(site, Event::Acquired(at));
                self.me().learnt = true;
                self.me().waiting = waiting;
            }
        } else if !self.me().mmu {
            self.me().learnt = true;
        }
    }

    /// A store of `bytes` bytes was done, eight at most.
    pub(crate) fn stored(&mut self, site: u32, address: u64, place: Option<PhysAddr>, bytes: u8, value: u64) {
        if self.notes.is_empty() {
            return;
        }
        self.accessed(site, Access::Store, VirtAddr(address), || place);
        let Some(at) = place else { return };
        self.note(site, Event::Stored { at, bytes, value });
        let ordered = decode(self.record.sites[site as usize].word);
        if matches!(ordered, Some(Instruction::Ordered(_))) {
            // What is accessed from here on is not part of what this conveys.
            self.forget_mine();
        }
    }

    /// A device was accessed.
    pub(crate) fn reached_device(&mut self, site: u32, is_store: bool) {
        let executed = self.executed(site);
        let Site { address, word, .. } = self.record.sites[executed as usize];
        self.record.devices.stores += u64::from(is_store);
        if !has_syndrome(word) {
            self.record.devices.without_syndrome.insert(address);
        }
    }

    /// A conditional branch is about to be executed.
    pub(crate) fn branches(&mut self, site: u32) {
        if !self.notes.is_empty() && std::mem::take(&mut self.me().learnt) {
            self.note(site, Event::Branched);
        }
    }

    /// An instruction of [`Instruction`] is about to be executed, with this operand.
    pub(crate) fn executes(&mut self, site: u32, operand: u64) {
        if self.notes.is_empty() {
            return;
        }
        self.note(site, Event::Executed(operand));
        match decode(self.record.sites[site as usize].word) {
            Some(Instruction::Dsb(_) | Instruction::Tlbi(_)) => {
                self.notes.iter_mut().for_each(|notes| notes.seen.fill(0));
            }
            Some(Instruction::Isb | Instruction::ExceptionReturn) => self.forget_mine(),
            Some(Instruction::Write(register)) => {
                match register {
                    Register::SctlrEl1 => self.me().mmu = operand & MMU != 0,
                    Register::VbarEl1 | Register::VbarEl2 => {
                        self.vectors.insert(operand & !0x7ff);
                    }
                    _ => {}
                }
                self.forget_mine();
            }
            _ => {}
        }
    }

    fn forget_mine(&mut self) {
        self.me().seen.fill(0);
    }

    /// A firmware call is about to be made, with these x0 to x3.
    pub(crate) fn calls(&mut self, site: u32, [function, _, entry, context]: [u64; 4]) {
        if !self.notes.is_empty() && CPU_ON.contains(&function) {
            let number = self.identities.called(entry, context);
            self.note(site, Event::CpuOn(number));
        }
    }

    /// The first instruction of a block is about to be executed. Where it is that of a vector, an exception has led
    /// there.
    pub(crate) fn excepts(&mut self, site: u32, registers: impl FnOnce() -> Syndrome) {
        let executed = self.executed(site);
        let address = self.record.sites[executed as usize].address;
        if self.notes.is_empty() || !self.is_vector(address) {
            return;
        }
        let registers = registers();
        let synchronous = address & 0x180 == 0;
        // ESR_ELx.EC: instruction and data aborts, from a lower level and from the same one. WnR is bit 6.
        let access = match registers.syndrome >> 26 & 0x3f {
            0x20 | 0x21 => Some(Access::Fetch),
            0x24 | 0x25 if registers.syndrome >> 6 & 1 == 1 => Some(Access::Store),
            0x24 | 0x25 => Some(Access::Load),
            _ => None,
        };
        let exception = match access.filter(|_| synchronous) {
            Some(access) => Exception::Abort(access, VirtAddr(registers.address)),
            None => Exception::Other,
        };
        self.note(site, Event::Exception(exception));
        self.forget_mine();
    }
}
