// SPDX-License-Identifier: MIT OR Apache-2.0
//! The expected values of a CPU's translation and timer registers, field by field, from the Arm ARM (DDI 0487, chapter
//! "AArch64 System Register Descriptions", under each register's name).
//!
//! A second source on purpose: the boot code writes whole constants, and an emulator forgives a wrong one.

use core::fmt;

use crate::cpu::control_registers::ControlRegisters;

/// A field of a register, from its lowest bit on, and the value it must have.
struct Field {
    name: &'static str,
    of: fn(&ControlRegisters) -> u64,
    low: u32,
    bits: u32,
    value: u64,
}

const fn field(name: &'static str, of: fn(&ControlRegisters) -> u64, low: u32, bits: u32, value: u64) -> Field {
    Field { name, of, low, bits, value }
}

const SCTLR: fn(&ControlRegisters) -> u64 = |registers| registers.sctlr;
const TCR: fn(&ControlRegisters) -> u64 = |registers| registers.tcr;
const MAIR: fn(&ControlRegisters) -> u64 = |registers| registers.mair;
const CNTKCTL: fn(&ControlRegisters) -> u64 = |registers| registers.cntkctl;

/// TCR_EL1.IPS, 34:32, is not among them: it is the smaller of 48 bits and what the CPU has.
const FIELDS: [Field; 45] = [
    field("SCTLR_EL1.M", SCTLR, 0, 1, 1),       // stage 1 translation is on
    field("SCTLR_EL1.A", SCTLR, 1, 1, 0),       // unaligned accesses to Normal memory are allowed
    field("SCTLR_EL1.C", SCTLR, 2, 1, 1),       // data accesses are cacheable
    field("SCTLR_EL1.SA", SCTLR, 3, 1, 1),      // SP alignment is checked at EL1
    field("SCTLR_EL1.SA0", SCTLR, 4, 1, 1),     // and at EL0
    field("SCTLR_EL1.I", SCTLR, 12, 1, 1),      // instruction fetches are cacheable
    field("SCTLR_EL1.WXN", SCTLR, 19, 1, 1),    // what is writable is not executable
    field("SCTLR_EL1.SPAN", SCTLR, 23, 1, 1),   // exceptions leave PSTATE.PAN alone; RES1 without it
    field("SCTLR_EL1.E0E", SCTLR, 24, 1, 0),    // little endian at EL0
    field("SCTLR_EL1.EE", SCTLR, 25, 1, 0),     // little endian at EL1, walks too
    field("TCR_EL1.T0SZ", TCR, 0, 6, 64 - 48),  // 48-bit addresses under TTBR0
    field("TCR_EL1.EPD0", TCR, 7, 1, 0),        // walks from TTBR0 are made
    field("TCR_EL1.IRGN0", TCR, 8, 2, 0b01),    // walks: Normal, inner write-back read-write-allocate
    field("TCR_EL1.ORGN0", TCR, 10, 2, 0b01),   // the same for outer caches
    field("TCR_EL1.SH0", TCR, 12, 2, 0b11),     // walks: inner shareable
    field("TCR_EL1.TG0", TCR, 14, 2, 0b00),     // 4 KiB
    field("TCR_EL1.T1SZ", TCR, 16, 6, 64 - 48), // 48-bit addresses under TTBR1
    field("TCR_EL1.A1", TCR, 22, 1, 0),         // the ASID is TTBR0's
    field("TCR_EL1.EPD1", TCR, 23, 1, 0),       // walks from TTBR1 are made
    field("TCR_EL1.IRGN1", TCR, 24, 2, 0b01),
    field("TCR_EL1.ORGN1", TCR, 26, 2, 0b01),
    field("TCR_EL1.SH1", TCR, 28, 2, 0b11),
    field("TCR_EL1.TG1", TCR, 30, 2, 0b10), // 4 KiB, another encoding than TG0's
    field("TCR_EL1.AS", TCR, 36, 1, 0),     // 8-bit ASIDs
    field("TCR_EL1.TBI0", TCR, 37, 1, 0),   // the top byte is part of the address
    field("TCR_EL1.TBI1", TCR, 38, 1, 0),
    field("TCR_EL1.HA", TCR, 39, 1, 0), // no descriptor is changed by hardware: the access flag
    field("TCR_EL1.HD", TCR, 40, 1, 0), // and the dirty state
    field("TCR_EL1.HPD0", TCR, 41, 1, 0), // restrictions of table descriptors count
    field("TCR_EL1.HPD1", TCR, 42, 1, 0),
    field("TCR_EL1.HWU", TCR, 43, 8, 0), // descriptor bits 62:59 stay free for software
    field("TCR_EL1.NFD", TCR, 53, 2, 0),
    field("TCR_EL1.E0PD", TCR, 55, 2, 0),
    field("TCR_EL1.TCMA", TCR, 57, 2, 0),
    field("TCR_EL1.DS", TCR, 59, 1, 0), // descriptors of 48-bit output addresses
    field("MAIR_EL1.Attr0", MAIR, 0, 8, 0xff), // Normal, write-back non-transient, read- and write-allocate
    field("MAIR_EL1.Attr1", MAIR, 8, 8, 0x04), // Device-nGnRE: no gathering, no reordering
    field("MAIR_EL1.Attr2", MAIR, 16, 8, 0x44), // Normal, non-cacheable
    field("CNTKCTL_EL1.EL0PCTEN", CNTKCTL, 0, 1, 0), // no counter and no timer for EL0
    field("CNTKCTL_EL1.EL0VCTEN", CNTKCTL, 1, 1, 0),
    field("CNTKCTL_EL1.EVNTEN", CNTKCTL, 2, 1, 1), // the event stream, which ends a WFE
    field("CNTKCTL_EL1.EVNTDIR", CNTKCTL, 3, 1, 0), // an event when the counter's bit goes from 0 to 1
    field("CNTKCTL_EL1.EL0VTEN", CNTKCTL, 8, 1, 0),
    field("CNTKCTL_EL1.EL0PTEN", CNTKCTL, 9, 1, 0),
    field("CNTKCTL_EL1.EVNTIS", CNTKCTL, 17, 1, 0), // EVNTI counts from bit 0
];

/// A field with another value than it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    name: &'static str,
    found: u64,
    /// `None` for the rate of the event stream.
    expected: Option<u64>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, expected } = self;
        match expected {
            Some(expected) => write!(f, "{name} is {found:#x}, not {expected:#x}"),
            None => write!(f, "{name} is {found:#x}: an event stream of another rate than every 50 to 100 us"),
        }
    }
}

/// Returns the fields of `registers` that are wrong on a CPU whose counter has `frequency` ticks a second.
pub(super) fn wrong(registers: &ControlRegisters, frequency: u64) -> impl Iterator<Item = Wrong> {
    let fields = FIELDS.iter().filter_map(|field| {
        let found = (field.of)(registers) >> field.low & ((1 << field.bits) - 1);
        (found != field.value).then_some(Wrong { name: field.name, found, expected: Some(field.value) })
    });
    let interval = registers.cntkctl >> 4 & 0xf;
    let rate = Wrong { name: "CNTKCTL_EL1.EVNTI", found: interval, expected: None };
    fields.chain((!is_interval(interval, frequency)).then_some(rate))
}

/// Returns true when an event every 2^(EVNTI + 1) ticks is one every 50 to 100 microseconds, or as close as the field gets.
const fn is_interval(interval: u64, frequency: u64) -> bool {
    let (ticks, most) = (2 << interval, frequency / 10_000);
    (ticks <= most || interval == 0) && (2 * ticks > most || interval == 15)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    /// The registers of a Cortex-A72 at 62.5 MHz, written as whole numbers: an event every 4096 ticks, 66 us.
    const GOOD: ControlRegisters =
        ControlRegisters { sctlr: 0x30d8_199d, tcr: 0x4_b510_3510, mair: 0x44_04ff, cntkctl: 0xb4 };

    fn texts(registers: &ControlRegisters, frequency: u64) -> Vec<std::string::String> {
        wrong(registers, frequency).map(|wrong| wrong.to_string()).collect()
    }

    #[test]
    fn register_fields_that_the_cpu_may_choose_pass_the_audit() {
        assert!(texts(&GOOD, 62_500_000).is_empty());
        for size in 0..=5 {
            let tcr = GOOD.tcr & !(7 << 32) | size << 32;
            assert!(texts(&ControlRegisters { tcr, ..GOOD }, 62_500_000).is_empty(), "IPS {size}");
        }
    }

    /// A bit changed in any of the fields is named, with both values. Bits by their numbers in the Arm ARM.
    #[test]
    fn a_changed_bit_is_named() {
        let bits = |sctlr: u64, tcr: u64, mair: u64, cntkctl: u64| ControlRegisters {
            sctlr: GOOD.sctlr ^ sctlr,
            tcr: GOOD.tcr ^ tcr,
            mair: GOOD.mair ^ mair,
            cntkctl: GOOD.cntkctl ^ cntkctl,
        };
        for (registers, text) in [
            (bits(1 << 19, 0, 0, 0), "SCTLR_EL1.WXN is 0x0, not 0x1"),
            (bits(1 << 2, 0, 0, 0), "SCTLR_EL1.C is 0x0, not 0x1"),
            (bits(1 << 25, 0, 0, 0), "SCTLR_EL1.EE is 0x1, not 0x0"),
            (bits(0, 1 << 24, 0, 0), "TCR_EL1.IRGN1 is 0x0, not 0x1"),
            (bits(0, 1 << 13, 0, 0), "TCR_EL1.SH0 is 0x1, not 0x3"),
            (bits(0, 9 << 16, 0, 0), "TCR_EL1.T1SZ is 0x19, not 0x10"),
            (bits(0, 1 << 39, 0, 0), "TCR_EL1.HA is 0x1, not 0x0"),
            // Device-GRE, which gathers and reorders.
            (bits(0, 0, 0x08 << 8, 0), "MAIR_EL1.Attr1 is 0xc, not 0x4"),
            (bits(0, 0, 0x11, 0), "MAIR_EL1.Attr0 is 0xee, not 0xff"),
            (bits(0, 0, 0, 1 << 2), "CNTKCTL_EL1.EVNTEN is 0x0, not 0x1"),
        ] {
            assert_eq!(texts(&registers, 62_500_000), [text]);
        }
    }

    /// The event stream's field for counters of real machines, worked out by hand: the power of two at or below a 10,000th
    /// of a second. The second one is a Raspberry Pi 4's.
    #[test]
    fn the_rate_of_events_follows_the_counters_frequency() {
        for (frequency, interval) in [
            (62_500_000, 11),
            (54_000_000, 11),
            (19_200_000, 9),
            (24_000_000, 10),
            (100_000_000, 12),
            (1_000_000_000, 15),
        ] {
            for other in 0..16 {
                let registers = ControlRegisters { cntkctl: other << 4 | 1 << 2, ..GOOD };
                assert_eq!(texts(&registers, frequency).is_empty(), other == interval, "{frequency} Hz, EVNTI {other}");
            }
        }
    }
}
