// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feeds a record to the machine.
//!
//! The machine is told what was executed, in the order in which it was. Where it has a word for something that no
//! instruction says (a CPU is admitted, is parked, goes on), that is derived here, and only from what was executed.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use cleave::tables::{Descriptor, PhysAddr, VirtAddr};
use cleave_model::instruction::{Instruction, Modifies, Ordered, Register};
use cleave_model::{Access, Flag, Machine, OnCpu, Outcome, Scope};

use crate::defect::{Defect, Step};
use crate::judgement::Judgement;
use crate::known_parked::KnownParked;
use crate::record::{Entry, Event, Exception, Record};
use crate::survey::{BASE, LINE, MMU, Survey};
use crate::tables::Tables;

/// A block of DC ZVA, as QEMU's CPUs have it (DCZID_EL0).
const ZERO_BLOCK: u64 = 64;

/// The state of a CPU that the machine does not keep.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    mmu: bool,
    roots: [PhysAddr; 2],
    admitted: bool,
    parked: bool,
}

struct Judge<'a> {
    survey: &'a Survey,
    machine: &'a Machine,
    shared: &'a RangeInclusive<VirtAddr>,
    cpus: Vec<Cpu>,
    known_parked: KnownParked,
    tables: Tables<'a>,
    /// The tables of what is shared at the first break.
    before: Option<BTreeSet<PhysAddr>>,
    judgement: Judgement,
}

/// Judges a run. `shared` is what every CPU uses at any time.
pub(crate) fn judge(
    record: &Record,
    survey: &Survey,
    shared: &RangeInclusive<VirtAddr>,
    defect: Option<Defect>,
) -> Judgement {
    let machine = Machine::new(survey.config(record));
    machine.share(shared.clone());
    let judgement = Judgement::new(record.cpus);
    let mut cpus = vec![Cpu::default(); record.cpus];
    cpus[0].admitted = true;
    let known_parked = KnownParked::new(record.cpus);
    let tables = Tables::new(&machine, survey.geometry);
    let mut judge = Judge { survey, machine: &machine, shared, cpus, known_parked, tables, before: None, judgement };
    for (index, entry) in record.entries.iter().enumerate() {
        let seen = Step { event: entry.event, instruction: record.instruction(entry), tlbi: None };
        let seen = match defect {
            Some(defect) => defect.apply(record, survey, index, seen),
            None => Some(seen),
        };
        if let Some(seen) = seen {
            judge.feed(entry, seen);
        }
        if let Err(findings) = machine.so_far() {
            let address = record.sites.get(entry.site as usize).map_or(0, |site| site.address);
            judge.judgement.violation = Some((Box::new(findings.first), Some(address)));
            break;
        }
        if judge.judgement.lost.is_some() {
            break;
        }
    }
    judge.end()
}

/// The flag that stands for a firmware call which starts a CPU.
const fn call_flag(number: u32) -> usize {
    usize::MAX - number as usize
}

impl Judge<'_> {
    fn feed(&mut self, entry: &Entry, seen: Step) {
        let cpu = usize::from(entry.cpu);
        let on = self.machine.cpu(cpu);
        match seen.event {
            Event::Started(call) => self.started(on, call),
            // What a DSB has completed is there for the CPU that starts.
            Event::CpuOn(number) => on.store_flag(call_flag(number), Flag::Plain),
            Event::Executed(operand) => self.executed(on, seen, operand),
            Event::Branched => on.branch(),
            Event::Stored { at, bytes, value } => self.stored(on, seen.instruction, at, bytes, value),
            Event::Acquired(at) => self.acquired(on, seen.instruction, at),
            Event::Accessed(access, address, place) => self.accessed(on, access, address, place),
            Event::Exception(exception) => {
                // What it was about is judged before it counts as a context synchronisation.
                if let (Exception::Abort(access, address), true) = (exception, self.cpus[cpu].mmu) {
                    on.access(address, access);
                    self.uses(on, address);
                }
                self.judgement.counts[cpu].synchronisations += 1;
                on.isb();
            }
        }
    }

    /// A CPU's first instruction: it has synchronised, and knows what its starter's DSB had completed.
    fn started(&mut self, on: OnCpu<'_>, call: Option<u32>) {
        if on.number() == 0 {
            return;
        }
        self.machine.cpu(0).cpu_on(on.number());
        if let Some(number) = call {
            on.load_flag(call_flag(number), Flag::Ordered);
            on.branch();
        }
        on.isb();
    }

    fn executed(&mut self, on: OnCpu<'_>, seen: Step, operand: u64) {
        let cpu = on.number();
        let counts = &mut self.judgement.counts[cpu];
        match seen.instruction {
            Some(Instruction::Dsb(dsb)) => {
                counts.dsbs += 1;
                on.dsb(dsb);
            }
            Some(Instruction::Isb | Instruction::ExceptionReturn) => {
                counts.synchronisations += 1;
                on.isb();
            }
            Some(Instruction::Tlbi(form)) => {
                let tlbi = seen.tlbi.unwrap_or_else(|| form.with_operand(operand, self.survey.geometry));
                match tlbi.scope {
                    Scope::Local => counts.local_invalidations += 1,
                    Scope::InnerShareable => counts.broadcast(tlbi.covers),
                }
                on.tlbi(tlbi);
            }
            Some(Instruction::Cache(maintenance)) => {
                if let Some(at) = self.place(cpu, VirtAddr(operand)) {
                    on.maintain_cache(at, maintenance);
                }
            }
            Some(Instruction::ZeroBlock) => {
                let first = VirtAddr(operand & !(ZERO_BLOCK - 1));
                match self.place(cpu, first) {
                    Some(at) => (0..8).for_each(|word| self.stored(on, None, at.offset(word * 8), 8, 0)),
                    None => self.judgement.lost = Some(format!("DC ZVA of {first}, which is not mapped")),
                }
            }
            Some(Instruction::Write(register)) => self.written(on, register, operand),
            _ => {}
        }
    }

    fn written(&mut self, on: OnCpu<'_>, register: Register, value: u64) {
        let cpu = on.number();
        let root = PhysAddr(value & BASE);
        match register {
            Register::Ttbr0El1 => {
                self.cpus[cpu].roots[0] = root;
                self.judgement.counts[cpu].roots += 1;
                on.write_ttbr0(value);
            }
            Register::Ttbr1El1 => {
                self.cpus[cpu].roots[1] = root;
                self.judgement.counts[cpu].roots += 1;
                // A CPU that changes its root with the MMU on does so because it was admitted; that it was, no code
                // outside can see.
                if self.cpus[cpu].mmu && !std::mem::replace(&mut self.cpus[cpu].admitted, true) {
                    on.admitted();
                }
                on.write_ttbr1(value);
            }
            Register::TcrEl1 => on.set_tcr(value),
            Register::MairEl1 => on.set_mair(value),
            Register::VttbrEl2 => on.set_vmid((value >> 48) as u16),
            Register::SctlrEl1 => match (self.cpus[cpu].mmu, value & MMU != 0) {
                (false, true) => {
                    self.cpus[cpu].mmu = true;
                    on.mmu_on();
                    self.walker_begins(on);
                }
                (true, false) => self.judgement.lost = Some("an MMU was turned off".into()),
                _ => {}
            },
            Register::VbarEl1 | Register::VbarEl2 => {}
        }
    }

    /// The walker reads, through the cache, what was written with the MMU off.
    fn walker_begins(&self, on: OnCpu<'_>) {
        let lines = 0..self.survey.geometry.page_size() / LINE;
        for table in self.cpus[on.number()].roots.into_iter().flat_map(|root| self.tables.all(root)) {
            lines.clone().for_each(|line| on.load_cached(table.offset(line * LINE)));
        }
    }

    /// Returns the physical address by the tables, for an access of which QEMU does not say it.
    fn place(&self, cpu: usize, address: VirtAddr) -> Option<PhysAddr> {
        let Cpu { mmu, roots, .. } = self.cpus[cpu];
        match mmu {
            true => self.tables.place(roots[(address.0 >> 63) as usize], address),
            false => Some(PhysAddr(address.0)),
        }
    }

    fn stored(&mut self, on: OnCpu<'_>, instruction: Option<Instruction>, at: PhysAddr, bytes: u8, value: u64) {
        let cpu = on.number();
        let ordered = match instruction {
            Some(Instruction::Ordered(ordered)) => ordered,
            _ => Ordered { load: None, store: Some(Flag::Plain), modifies: Modifies::No },
        };
        if self.survey.is_table(at) {
            let slot = at.align_down(8);
            let value = self.merged(slot, at, bytes, value);
            self.judgement.counts[cpu].table_stores += 1;
            self.may_break(on, slot, value);
            on.store(slot, value);
        } else if self.survey.is_uncached(at) {
            if self.cpus[cpu].mmu { on.store_cached(at) } else { on.store_uncached(at) }
        }
        if let (true, Some(kind)) = (self.survey.is_flag(at), ordered.store) {
            self.known_parked.stores(cpu, at, kind, ordered.modifies);
            match ordered.modifies {
                Modifies::Yes => on.modify_flag(at.0 as usize, kind),
                Modifies::No => on.store_flag(at.0 as usize, kind),
            }
        }
    }

    /// The word at `slot` once `bytes` bytes of it are stored.
    fn merged(&self, slot: PhysAddr, at: PhysAddr, bytes: u8, value: u64) -> Descriptor {
        let shift = (at.0 - slot.0) * 8;
        let mask = (!0 >> (64 - u32::from(bytes) * 8)) << shift;
        Descriptor(self.machine.peek(slot).0 & !mask | value << shift & mask)
    }

    /// Parks, before an entry of the shared addresses is broken, the CPUs that the breaking CPU knows to be parked.
    fn may_break(&mut self, on: OnCpu<'_>, slot: PhysAddr, value: Descriptor) {
        let geometry = self.survey.geometry;
        let entries = geometry.entries(geometry.root_level()) as u64;
        let root = self.cpus.iter().filter(|cpu| cpu.mmu).map(|cpu| cpu.roots[1]);
        let Some(root) = root.into_iter().find(|root| slot.0.wrapping_sub(root.0) / 8 < entries) else { return };
        let shift = geometry.shift(geometry.root_level());
        let address = VirtAddr(!0 << geometry.address_bits() | ((slot.0 - root.0) / 8) << shift);
        if value != Descriptor::EMPTY || !self.machine.peek(slot).is_valid() || !self.shared.contains(&address) {
            return;
        }
        self.judgement.breaks += 1;
        if self.before.is_none() {
            self.before = Some(self.tables.of(root, self.shared));
        }
        for other in 0..self.cpus.len() {
            if !self.cpus[other].parked && self.known_parked.knows_parked(on.number(), other) {
                self.cpus[other].parked = true;
                self.machine.cpu(other).park();
            }
        }
    }

    fn acquired(&mut self, on: OnCpu<'_>, instruction: Option<Instruction>, at: PhysAddr) {
        let Some(Instruction::Ordered(Ordered { load: Some(kind), .. })) = instruction else { return };
        self.judgement.counts[on.number()].acquires += 1;
        if kind == Flag::Ordered {
            self.known_parked.acquires(on.number(), at);
        }
        on.load_flag(at.0 as usize, kind);
    }

    /// A CPU uses an address: one that stood still goes on if the address is shared.
    fn uses(&mut self, on: OnCpu<'_>, address: VirtAddr) {
        let cpu = on.number();
        if self.cpus[cpu].mmu && self.shared.contains(&address) {
            self.known_parked.uses(cpu);
            if std::mem::take(&mut self.cpus[cpu].parked) {
                on.leave();
            }
        }
    }

    fn accessed(&mut self, on: OnCpu<'_>, access: Access, address: VirtAddr, place: Option<PhysAddr>) {
        let cpu = on.number();
        self.judgement.counts[cpu].accesses += 1;
        if !self.cpus[cpu].mmu {
            if let (Access::Load, Some(at)) = (access, place) {
                on.load_uncached(at);
                on.load_flag(at.0 as usize, Flag::Plain);
            }
            return;
        }
        let outcome = on.access(address, access);
        self.uses(on, address);
        let known = match outcome {
            Outcome::Memory(at) | Outcome::Conflict(at) => Some(at),
            Outcome::Fault => None,
        };
        // A violation explains more than this does.
        if self.machine.so_far().is_ok() && (known.is_none() || place.is_some() && place != known) {
            self.judgement.lost = Some(format!("{access:?} at {address}: QEMU has {place:?}, the machine {outcome:?}"));
        }
        if let (Access::Load, Some(at)) = (access, place.filter(|&at| self.survey.is_uncached(at))) {
            on.load_cached(at);
        }
    }

    fn end(mut self) -> Judgement {
        for cpu in 0..self.cpus.len() {
            if self.cpus[cpu].parked {
                self.machine.cpu(cpu).leave();
            }
        }
        // A run that was not followed to its end has none to be judged.
        if self.judgement.violation.is_none()
            && self.judgement.lost.is_none()
            && let Err(findings) = self.machine.verdict()
        {
            self.judgement.violation = Some((Box::new(findings.first), None));
        }
        self.judgement.settled = self.machine.is_settled();
        let after = self.tables.of(self.cpus[0].roots[1], self.shared);
        let before = self.before.take().unwrap_or_else(|| after.clone());
        self.judgement.tables_before = before.len();
        self.judgement.tables_after = after.len();
        self.judgement.tables_new = after.difference(&before).count();
        self.judgement
    }
}
