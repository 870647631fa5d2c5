// SPDX-License-Identifier: MIT OR Apache-2.0
//! Set-up of the console's pins and clock by the device tree, where firmware has not done it.
//!
//! A pin that has some function already was set up by firmware and stays. So does all that the tree does not describe,
//! or describes in a way that `crate::devicetree` does not know.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "devices are named by their addresses, and firmware reads a buffer")]

use core::sync::atomic::{AtomicU32, Ordering};

use crate::devicetree::{Clock, Console, Mailbox, Pins, Tree};
use cleave::aarch64::{barrier, cache};
use cleave::tables::{PhysRange, VirtAddr};

use crate::cpu::wait;
use crate::io::mmio::Registers;
use crate::mm::image;
use crate::mm::memory;

/// Sets up the pins of `console` and returns the rate of its clock in Hz, if either is known.
pub(crate) fn prepare(tree: &Tree<'static>, console: &Console<'static>) -> Option<u32> {
    // A line without pins in the tree has no clock to look for either: it is an emulator's, and works as it is.
    if !console.has_pins() {
        return None;
    }
    if let Some(pins) = tree.serial_pins(console) {
        select(&pins);
    }
    match tree.serial_clock(console)? {
        Clock::Fixed(rate) => Some(rate),
        Clock::Firmware(mailbox) => {
            let rate = ask(&mailbox);
            match rate {
                Some(rate) => log::info!("console: set up by the kernel, its clock has {rate} Hz"),
                None => log::warn!("console: firmware does not say the rate of its clock"),
            }
            rate
        }
    }
}

/// Gives pins their functions. GPFSELn: ten pins of three bits each (BCM2711 ARM Peripherals, 5.2).
fn select(pins: &Pins) {
    let Ok(base) = memory::map_device(pins.registers) else { return };
    // SAFETY: the pin controller the tree names, mapped just now; GPFSEL0 to 5, as the platform lets no GPIO above 57
    // through.
    let registers = unsafe { Registers::new(base) };
    for pin in pins.pins.iter().flatten() {
        let register = (pin.gpio / 10 * 4) as usize;
        let shift = pin.gpio % 10 * 3;
        let found = registers.read(register);
        // An input is what reset makes of a pin.
        if found >> shift & 0b111 == 0 {
            registers.write(register, found | pin.function << shift);
        }
    }
}

/// A message to the firmware: a clock's rate is asked for (Raspberry Pi firmware wiki, "Mailbox property interface").
#[repr(C, align(64))]
struct Message([AtomicU32; 16]);

static MESSAGE: Message = Message([const { AtomicU32::new(0) }; 16]);

const BYTES: u32 = size_of::<Message>() as u32;
const GET_CLOCK_RATE: u32 = 0x0003_0002;
const UART_CLOCK: u32 = 2;
const ANSWERED: u32 = 0x8000_0000;
/// Channel of the property interface, in the low four bits of what is written.
const PROPERTY: u32 = 8;
/// Registers of the mailbox: what the firmware sends, the state of that, what it is sent, the state of that.
const READ: usize = 0x00;
const READ_STATUS: usize = 0x18;
const WRITE: usize = 0x20;
const WRITE_STATUS: usize = 0x38;
const EMPTY: u32 = 1 << 30;
const FULL: u32 = 1 << 31;
/// The longest wait for the firmware, in milliseconds.
const PATIENCE: u64 = 100;

/// Asks the Raspberry Pi's firmware for the rate of the PL011's clock, in Hz.
fn ask(mailbox: &Mailbox) -> Option<u32> {
    let physical = image::physical(VirtAddr(&raw const MESSAGE as u64));
    let bus = mailbox.bus_address(PhysRange::new(physical, physical.offset(u64::from(BYTES))))?;
    let bus = u32::try_from(bus).ok()?;
    let base = memory::map_device(mailbox.registers).ok()?;
    // Length, request, tag, room for the answer, request, clock, rate, end of the tags.
    let request = [BYTES, 0, GET_CLOCK_RATE, 8, 0, UART_CLOCK, 0, 0];
    for (word, value) in MESSAGE.0.iter().zip(request) {
        word.store(value, Ordering::Relaxed);
    }
    let buffer = VirtAddr(&raw const MESSAGE as u64)..VirtAddr(&raw const MESSAGE as u64 + u64::from(BYTES));
    // The other side reads and writes memory past our caches: out with the request, and no line of ours on top of the
    // answer. The DSB that ends it orders the message before the doorbell.
    cache::clean(buffer.clone());
    // SAFETY: four registers of the mailbox that the tree names, mapped just now.
    let registers = unsafe { Registers::new(base) };
    wait(|| registers.read(WRITE_STATUS) & FULL == 0)?;
    registers.write(WRITE, bus | PROPERTY);
    loop {
        wait(|| registers.read(READ_STATUS) & EMPTY == 0)?;
        // An answer on another channel is not ours.
        if registers.read(READ) == bus | PROPERTY {
            break;
        }
    }
    // The doorbell is read before what it announces, and a line fetched by speculation meanwhile is dropped.
    barrier::dsb_sy();
    cache::clean(buffer);
    let answer = |index: usize| MESSAGE.0[index].load(Ordering::Relaxed);
    let good = answer(1) == ANSWERED && answer(5) == UART_CLOCK;
    Some(answer(6)).filter(|&rate| good && rate != 0)
}

/// Waits until `done`; `None` if that takes too long.
fn wait(done: impl Fn() -> bool) -> Option<()> {
    wait::wait(PATIENCE, done).then_some(())
}
