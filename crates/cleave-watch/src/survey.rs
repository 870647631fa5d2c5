// SPDX-License-Identifier: MIT OR Apache-2.0
//! A first reading of a record, for the parts that matter to the machine.
//!
//! The machine has no use for a kernel's other stores. Which page is ever a translation table follows from the roots
//! that TTBR0_EL1 and TTBR1_EL1 were given and from every table descriptor that was ever stored in one. Too many pages
//! do no harm. One too few would be noticed: the machine would find nothing where QEMU finds a translation.

use std::collections::{HashMap, HashSet};

use cleave::aarch64::midr::Midr;
use cleave::aarch64::{CpuFacts, EntryLevel};
use cleave::tables::{Geometry, Granule, Level, PhysAddr, VaBits};
use cleave_model::instruction::{Instruction, Register};
use cleave_model::{Access, Config};

use crate::record::{Event, Record};

/// TTBRn_EL1.BADDR, without FEAT_LPA.
pub(crate) const BASE: u64 = 0xffff_ffff_f000;
/// SCTLR_EL1.M.
pub(crate) const MMU: u64 = 1;
/// The bytes that cache maintenance works on.
pub(crate) const LINE: u64 = 64;

/// The findings of a first pass over a record.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) geometry: Geometry,
    roots: HashSet<u64>,
    tables: HashSet<u64>,
    flags: HashSet<u64>,
    lines: HashSet<u64>,
}

impl Survey {
    /// Reads a record.
    ///
    /// # Errors
    /// Why the machine cannot know this run.
    pub(crate) fn of(record: &Record) -> Result<Self, &'static str> {
        if let Some(trouble) = record.trouble {
            return Err(trouble);
        }
        let geometry = geometry(record)?;
        let none = HashSet::new;
        let mut survey = Self { geometry, roots: none(), tables: none(), flags: none(), lines: none() };
        let mut stored = HashMap::<u64, Vec<u64>>::new();
        let mut mmu = vec![false; record.cpus];
        for entry in &record.entries {
            let on = &mut mmu[usize::from(entry.cpu)];
            match entry.event {
                Event::Executed(value) => match record.instruction(entry) {
                    Some(Instruction::Write(Register::SctlrEl1)) => *on = value & MMU != 0,
                    Some(Instruction::Write(Register::Ttbr0El1 | Register::Ttbr1El1)) => {
                        survey.roots.insert(value & BASE);
                    }
                    _ => {}
                },
                Event::Stored { at, bytes, value } => {
                    if !*on {
                        survey.lines.insert(at.0 / LINE);
                    }
                    // Both the descriptors of tables and those of pages, which is too many.
                    if bytes == 8 && value & 3 == 3 {
                        stored.entry(survey.page(at)).or_default().push(value);
                    }
                }
                Event::Acquired(at) => {
                    survey.flags.insert(at.0);
                }
                Event::Accessed(Access::Load, _, Some(at)) if !*on => {
                    survey.flags.insert(at.0);
                    survey.lines.insert(at.0 / LINE);
                }
                _ => {}
            }
        }
        for root in survey.roots.clone() {
            survey.follow(&stored, root, geometry.root_level());
        }
        Ok(survey)
    }

    fn page(&self, at: PhysAddr) -> u64 {
        at.0 & !(self.geometry.page_size() - 1)
    }

    /// Takes in a table and what was ever below it.
    fn follow(&mut self, stored: &HashMap<u64, Vec<u64>>, root: u64, level: Level) {
        let mut open = vec![(root, level)];
        let mut known = HashSet::new();
        while let Some((table, level)) = open.pop() {
            self.tables.insert(table);
            let (true, Some(below)) = (known.insert((table, level)), level.next()) else { continue };
            let descriptors = stored.get(&table).map_or(&[][..], Vec::as_slice);
            let page = !(self.geometry.page_size() - 1);
            open.extend(descriptors.iter().map(|descriptor| (descriptor & BASE & page, below)));
        }
    }

    /// Returns true when the slot is in a frame that is ever a table.
    pub(crate) fn is_table(&self, at: PhysAddr) -> bool {
        self.tables.contains(&self.page(at))
    }

    /// Returns true when the slot is in a frame that is ever a root.
    pub(crate) fn is_root(&self, at: PhysAddr) -> bool {
        self.roots.contains(&self.page(at))
    }

    /// Returns true when a CPU ever learns something from this address.
    pub(crate) fn is_flag(&self, at: PhysAddr) -> bool {
        self.flags.contains(&at.0)
    }

    /// Returns true when the line is ever accessed with the MMU off.
    pub(crate) fn is_uncached(&self, at: PhysAddr) -> bool {
        self.lines.contains(&(at.0 / LINE))
    }

    /// The machine that the run is to be judged on: the CPUs' own level, erratum and fault ordering.
    pub(crate) fn config(&self, record: &Record) -> Config {
        let midr = Midr(record.midr.unwrap_or(0));
        let [features1, features2] = record.features;
        // ID_AA64MMFR2_EL1.BBM and ID_AA64MMFR1_EL1.ETS, where 2 is FEAT_ETS2. QEMU's core is what it says.
        let facts = CpuFacts { midr, bbm: (features2 >> 52 & 15) as u8, entry: EntryLevel::El2 };
        let level = facts.level(None);
        let mut config = Config::new(self.geometry, &vec![level; record.cpus]);
        if features1 >> 36 & 15 >= 2 {
            config = config.with_ets2();
        }
        if midr.needs_tlbi_repeat() {
            config = config.with_repeat_erratum();
        }
        config
    }
}

/// The shape of the tables, by the first TCR_EL1 that was written with both halves of one size.
fn geometry(record: &Record) -> Result<Geometry, &'static str> {
    let written = record.entries.iter().find_map(|entry| match (entry.event, record.instruction(entry)) {
        (Event::Executed(value), Some(Instruction::Write(Register::TcrEl1))) => Some(value),
        _ => None,
    });
    let tcr = written.ok_or("TCR_EL1 was never written")?;
    // TG0 and TG1 have their values in different orders.
    let lower = [Some(Granule::K4), Some(Granule::K64), Some(Granule::K16), None][(tcr >> 14 & 3) as usize];
    let upper = [None, Some(Granule::K16), Some(Granule::K4), Some(Granule::K64)][(tcr >> 30 & 3) as usize];
    let va_bits = match [tcr & 63, tcr >> 16 & 63] {
        [16, 16] => VaBits::V48,
        [25, 25] => VaBits::V39,
        _ => return Err("TCR_EL1 asks for sizes of address space that the machine does not know"),
    };
    match (lower, upper) {
        (Some(granule), Some(other)) if granule == other => Ok(Geometry { granule, va_bits }),
        _ => Err("TCR_EL1 asks for different granules"),
    }
}
