// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last-resort console with the MMU on: for a device tree that turns out to be unusable once it can be looked at.
//!
//! `boot/last_resort.S` says when it speaks and why it may; here are the same conditions and the same address.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a device is named by its address")]

use cleave::aarch64::cpu;
use cleave::tables::{PhysAddr, PhysRange};

use crate::boot;
use crate::io::console;
use crate::io::mmio::Registers;
use crate::irq::exceptions::faulting_read;
use crate::mm::memory;

/// UART0 of the BCM2711 in its low peripheral map (BCM2711 ARM Peripherals, 1.2 and chapter 11).
const UART: PhysRange = PhysRange::new(PhysAddr(0xfe20_1000), PhysAddr(0xfe20_2000));
/// The PL011's identification registers that do not depend on its revision, by offset (DDI 0183G, 3.3.15 to 3.3.18).
const IDENTIFICATION: [(usize, u32); 6] =
    [(0xfe0, 0x11), (0xfe4, 0x10), (0xff0, 0x0d), (0xff4, 0xf0), (0xff8, 0x05), (0xffc, 0xb1)];

/// Makes the Raspberry Pi 4's UART the console, if this can be that board and a PL011 is there.
pub(crate) fn open(entry_level: u64) {
    if !boot::is_marked() || entry_level != 2 || !cpu::midr().is_cortex_a72() {
        return;
    }
    let Ok(address) = memory::map_device(UART) else { return };
    // Whether anything answers at all.
    if faulting_read(address.offset(IDENTIFICATION[0].0 as u64)).is_none() {
        return;
    }
    // SAFETY: mapped above, it answers, and 32 bits is the width of every register a UART has.
    let registers = unsafe { Registers::new(address) };
    if IDENTIFICATION.iter().all(|&(offset, value)| registers.read(offset) & 0xff == value) {
        // SAFETY: a PL011, by its identification; mapped as device memory, for good.
        unsafe { console::init(address, None) };
    }
}
