// SPDX-License-Identifier: MIT OR Apache-2.0
//! Defects: a record read as if the kernel had left something out, or had done it wrongly.

use cleave::tables::{Descriptor, VirtAddr};
use cleave_model::instruction::{Instruction, Register};
use cleave_model::{Coverage, Dsb, Flag, LastLevel, Maintenance, Scope, Tlbi};

use crate::record::{Entry, Event, Record};
use crate::survey::Survey;

macro_rules! defects {
    ($($name:ident $text:literal,)+) => {
        /// The defect.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Defect {
            $($name,)+
        }

/// The entry that is left out of every table: it maps no page of the kernel's image, which has fewer pages.
const SLOT: u64 = 300;

/// The entry whose access flag is clear in every table: it maps a page of the kernel's image that is used.
const USED_SLOT: u64 = 77;

        impl Defect {
            /// Every one.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name in the report.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

defects! {
    NoBroadcast "no-broadcast-tlbi",
    LocalBroadcast "broadcast-tlbi-local",
    LastLevel "broadcast-tlbi-last-level",
    NoLocal "no-local-tlbi",
    NoSecond "no-second-tlbi",
    NoDsbBefore "no-dsb-before-tlbi",
    LoadDsbBefore "dsb-before-tlbi-ishld",
    LocalDsbBefore "dsb-before-tlbi-nshst",
    NoDsbAfter "no-dsb-after-tlbi",
    StoreDsbAfter "dsb-after-tlbi-ishst",
    LocalDsbAfter "dsb-after-tlbi-nsh",
    NoIshst "no-dsb-ishst",
    NoIsb "no-isb",
    NoRegisterIsb "no-isb-after-ttbr",
    NoOtherIsb "no-isb-on-other-cpus",
    NoOtherSynchronisation "no-synchronisation-on-other-cpus",
    NoInvalidate "no-dc-ivac",
    NoClean "no-dc-clean",
    NoAcquire "no-acquire",
    NoRelease "no-release",
    NoBreak "no-break",
    NoFill "no-fill-of-one-slot",
    AccessFlag "access-flag-clear",
    Contiguous "contiguous-bit-missing-once",
    HardwareUpdate "tcr-ha",
    OtherMair "mair-of-other-cpus",
    OtherVmid "vmid-of-other-cpus",
}

/// An entry as the machine is told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) event: Event,
    pub(crate) instruction: Option<Instruction>,
    /// A TLBI's scope and form, where they are other ones.
    pub(crate) tlbi: Option<Tlbi>,
}

/// TCR_EL1.HA.
const HARDWARE_ACCESS_FLAG: u64 = 1 << 39;

impl Defect {
    /// Returns the step of a kernel with this defect at `index`; `None` if it would have left that out.
    pub(crate) fn apply(self, record: &Record, survey: &Survey, index: usize, seen: Step) -> Option<Step> {
        let entry = &record.entries[index];
        match (seen.event, seen.instruction) {
            (Event::Executed(operand), Some(Instruction::Tlbi(form))) => {
                self.apply_to_tlbi(record, index, seen, form.with_operand(operand, survey.geometry))
            }
            (Event::Executed(_), Some(Instruction::Dsb(dsb))) => {
                let dsb = self.bend_dsb(record, index, dsb)?;
                Some(Step { instruction: Some(Instruction::Dsb(dsb)), ..seen })
            }
            (Event::Executed(_), Some(Instruction::Isb)) => {
                let after_ttbr = || {
                    let registers = [Register::Ttbr0El1, Register::Ttbr1El1];
                    matches!(before(record, index), Some(Instruction::Write(one)) if registers.contains(&one))
                };
                let left_out = match self {
                    Self::NoIsb => true,
                    Self::NoRegisterIsb => after_ttbr(),
                    Self::NoOtherIsb | Self::NoOtherSynchronisation => entry.cpu != 0 && !after_ttbr(),
                    _ => false,
                };
                (!left_out).then_some(seen)
            }
            (Event::Exception(_), _) | (Event::Executed(_), Some(Instruction::ExceptionReturn)) => {
                (self != Self::NoOtherSynchronisation || entry.cpu == 0).then_some(seen)
            }
            (Event::Executed(_), Some(Instruction::Cache(maintenance))) => {
                let left_out = match maintenance {
                    Maintenance::Invalidate => self == Self::NoInvalidate,
                    Maintenance::Clean | Maintenance::CleanInvalidate => self == Self::NoClean,
                };
                (!left_out).then_some(seen)
            }
            (Event::Executed(value), Some(Instruction::Write(register))) => {
                let value = match (self, register) {
                    (Self::HardwareUpdate, Register::TcrEl1) => value | HARDWARE_ACCESS_FLAG,
                    (Self::OtherMair, Register::MairEl1) if entry.cpu != 0 => value ^ 0xff,
                    (Self::OtherVmid, Register::VttbrEl2) if entry.cpu != 0 => value ^ 1 << 48,
                    _ => value,
                };
                Some(Step { event: Event::Executed(value), ..seen })
            }
            (Event::Acquired(_), Some(Instruction::Ordered(mut ordered))) if self == Self::NoAcquire => {
                ordered.load = Some(Flag::Plain);
                Some(Step { instruction: Some(Instruction::Ordered(ordered)), ..seen })
            }
            (Event::Stored { .. }, Some(Instruction::Ordered(mut ordered))) if self == Self::NoRelease => {
                ordered.store = Some(Flag::Plain);
                Some(Step { instruction: Some(Instruction::Ordered(ordered)), ..seen })
            }
            (Event::Stored { at, bytes: 8, value }, _) if survey.is_table(at) => {
                let descriptor = Descriptor(value);
                let number = at.0 / 8 % 512;
                let value = match self {
                    Self::NoBreak if value == 0 && survey.is_root(at) => return None,
                    Self::NoFill if number == SLOT && !survey.is_root(at) => return None,
                    Self::AccessFlag if descriptor.is_valid() && descriptor.is_accessed() && number == USED_SLOT => {
                        value & !(1 << 10)
                    }
                    Self::Contiguous if descriptor.is_contiguous() && number % 16 == 5 => value & !(1 << 52),
                    _ => value,
                };
                Some(Step { event: Event::Stored { at, bytes: 8, value }, ..seen })
            }
            _ => Some(seen),
        }
    }

    fn apply_to_tlbi(self, record: &Record, index: usize, seen: Step, tlbi: Tlbi) -> Option<Step> {
        let broadcast = tlbi.scope == Scope::InnerShareable;
        let last = Tlbi {
            covers: Coverage::Address { address: VirtAddr(0), asid: None, last: LastLevel::Only, hint: None },
            ..tlbi
        };
        let tlbi = match self {
            Self::NoBroadcast if broadcast => return None,
            Self::NoLocal if !broadcast => return None,
            Self::LocalBroadcast => tlbi.local(),
            Self::LastLevel if broadcast && tlbi.covers == Coverage::All => last,
            Self::NoSecond if broadcast && is_second(record, index) => return None,
            _ => return Some(seen),
        };
        Some(Step { tlbi: Some(tlbi), ..seen })
    }

    fn bend_dsb(self, record: &Record, index: usize, dsb: Dsb) -> Option<Dsb> {
        let is_broadcast = |instruction: Option<Instruction>| match instruction {
            Some(Instruction::Tlbi(form)) => {
                form.with_operand(0, cleave::tables::Geometry::K4_V48).scope == Scope::InnerShareable
            }
            _ => false,
        };
        let ahead = || is_broadcast(after(record, index));
        let behind = || is_broadcast(before(record, index));
        match self {
            Self::NoIshst if dsb == Dsb::Ishst => None,
            Self::NoDsbBefore if ahead() => None,
            Self::LoadDsbBefore if ahead() => Some(Dsb::Ishld),
            Self::LocalDsbBefore if ahead() => Some(Dsb::Nshst),
            Self::NoDsbAfter if behind() => None,
            Self::StoreDsbAfter if behind() => Some(Dsb::Ishst),
            Self::LocalDsbAfter if behind() => Some(Dsb::Nsh),
            _ => Some(dsb),
        }
    }
}

fn executed(record: &Record, cpu: u8, entry: &Entry) -> Option<Instruction> {
    let is_executed = entry.cpu == cpu && matches!(entry.event, Event::Executed(_));
    is_executed.then(|| record.instruction(entry)).flatten()
}

/// Returns the entry that the same CPU executed next.
fn after(record: &Record, index: usize) -> Option<Instruction> {
    let cpu = record.entries[index].cpu;
    record.entries[index + 1..].iter().find_map(|entry| executed(record, cpu, entry))
}

/// Returns the entry that the same CPU executed last.
fn before(record: &Record, index: usize) -> Option<Instruction> {
    let cpu = record.entries[index].cpu;
    record.entries[..index].iter().rev().find_map(|entry| executed(record, cpu, entry))
}

/// A TLBI with TLBI; DSB right before it.
fn is_second(record: &Record, index: usize) -> bool {
    let cpu = record.entries[index].cpu;
    let mut earlier = record.entries[..index].iter().rev().filter_map(|entry| executed(record, cpu, entry));
    matches!((earlier.next(), earlier.next()), (Some(Instruction::Dsb(_)), Some(Instruction::Tlbi(_))))
}
