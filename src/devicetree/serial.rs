// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pins and the clock of a serial line, for firmware that leaves their set-up to the kernel.
//!
//! Facts only; the kernel writes the registers. Known are the pin controller and the clock controller of the Raspberry Pi
//! up to 4, and clocks of a fixed frequency anywhere. All others stay as firmware left them.

use core::ops::ControlFlow;

use dtoolkit::Node;

use super::console::Console;
use super::nodes::{self, Place};
use super::tree::Tree;
use cleave::tables::{PhysAddr, PhysRange};

/// The most pins that are kept: two for data, two for flow control.
pub(crate) const SERIAL_PINS: usize = 4;

/// Pin controllers whose function select registers are the BCM2835's.
const PIN_CONTROLLERS: [&str; 2] = ["brcm,bcm2711-gpio", "brcm,bcm2835-gpio"];
/// Clock controllers whose clock 19 is the PL011's, a clock that only firmware knows the rate of.
const CLOCK_CONTROLLERS: [&str; 2] = ["brcm,bcm2711-cprman", "brcm,bcm2835-cprman"];
const CLOCK_UART: u32 = 19;
/// The mailbox by which that firmware is asked.
const MAILBOXES: [&str; 1] = ["brcm,bcm2835-mbox"];

/// A pin and the function it must have: as the binding of `brcm,bcm2835-gpio` numbers them, and GPFSEL too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The GPIO's number.
    pub(crate) gpio: u32,
    /// The function, 0 to 7; 0 is an input.
    pub(crate) function: u32,
}

/// A pin controller and the pins of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    /// The controller's registers.
    pub(crate) registers: PhysRange,
    /// The pins.
    pub(crate) pins: [Option<Pin>; SERIAL_PINS],
}

/// The view of memory from a bus: an entry of `dma-ranges` (Devicetree Specification v0.4, section 2.3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// Its registers.
    pub(crate) registers: PhysRange,
    /// The memory its other side can reach.
    pub(crate) memory: PhysRange,
    /// The bus address of the first byte of that.
    pub(crate) bus: u64,
}

impl Mailbox {
    /// Returns the bus address of `range`, if the other side can reach all of it.
    #[must_use]
    pub(crate) fn bus_address(&self, range: PhysRange) -> Option<u64> {
        self.memory.contains_range(range).then(|| self.bus + (range.start.0 - self.memory.start.0))
    }
}

/// A source of the rate of a serial line's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// It is in the tree, in Hz.
    Fixed(u32),
    /// The Raspberry Pi's firmware knows it.
    Firmware(Mailbox),
}

impl<'a> Tree<'a> {
    /// Returns the pins of a console, if the tree gives at least one, in a known form.
    #[must_use]
    pub(crate) fn serial_pins(&self, console: &Console<'a>) -> Option<Pins> {
        if !console.has_pins() {
            return None;
        }
        self.walk(|place, sight| {
            if !sight.is_compatible(&PIN_CONTROLLERS) || !place.is_available() {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(pins(place, console.pins))
        })?
    }

    /// Returns the source of the rate of a console's clock.
    #[must_use]
    pub(crate) fn serial_clock(&self, console: &Console<'a>) -> Option<Clock> {
        let phandle = console.clocks.get(..4)?;
        let specifier = console.clocks.get(4..8).and_then(nodes::number);
        let clock = self.walk(|place, sight| {
            if sight.phandle != phandle {
                return ControlFlow::Continue(());
            }
            let fixed = place.number("clock-frequency").ok().flatten().and_then(|rate| u32::try_from(rate).ok());
            ControlFlow::Break((sight.is_compatible(&["fixed-clock"]), fixed, sight.is_compatible(&CLOCK_CONTROLLERS)))
        })?;
        match clock {
            (true, rate, _) => rate.filter(|&rate| rate != 0).map(Clock::Fixed),
            (false, _, true) if specifier == Some(u64::from(CLOCK_UART)) => self.mailbox().map(Clock::Firmware),
            _ => None,
        }
    }

    /// Returns the firmware's mailbox, and the addresses of memory on its other side.
    fn mailbox(&self) -> Option<Mailbox> {
        self.walk(|place, sight| {
            if !sight.is_compatible(&MAILBOXES) || !place.is_available() {
                return ControlFlow::Continue(());
            }
            let found = place.registers(0).ok().zip(place.inherited("dma-ranges").and_then(first_range));
            ControlFlow::Break(found.map(|(registers, (bus, memory))| Mailbox { registers, memory, bus }))
        })?
    }
}

/// Returns the pins of the groups with these phandles, below the pin controller at `place`.
fn pins(place: &Place<'_, '_>, phandles: &[u8]) -> Option<Pins> {
    let mut found = Pins { registers: place.registers(0).ok()?, pins: [None; SERIAL_PINS] };
    let mut free = found.pins.iter_mut();
    let groups = place.node.children();
    for group in groups.filter(|group| {
        nodes::bytes(group, "phandle").is_some_and(|own| phandles.chunks_exact(4).any(|wanted| wanted == own))
    }) {
        let cells = |name| nodes::bytes(&group, name).unwrap_or_default().chunks_exact(4).filter_map(nodes::number);
        let functions = cells("brcm,function").count();
        for (index, gpio) in cells("brcm,pins").enumerate() {
            // One function for all pins, or one for each.
            let function = cells("brcm,function").nth(if functions == 1 { 0 } else { index })?;
            let pin = Pin { gpio: u32::try_from(gpio).ok()?, function: u32::try_from(function).ok()? };
            if pin.gpio >= 58 || pin.function > 7 {
                return None;
            }
            *free.next()? = Some(pin);
        }
    }
    found.pins[0].is_some().then_some(found)
}

/// Returns the first entry of `dma-ranges`: one cell for the bus, two for memory, one for the size, as on every bus
/// with such a mailbox.
fn first_range(value: &[u8]) -> Option<(u64, PhysRange)> {
    let bus = nodes::number(value.get(..4)?)?;
    let start = nodes::number(value.get(4..12)?)?;
    let bytes = nodes::number(value.get(12..16)?)?;
    Some((bus, PhysRange::new(PhysAddr(start), PhysAddr(start.checked_add(bytes)?))))
}
