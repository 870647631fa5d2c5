// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console: a PL011 behind one lock, and an early buffer for what is said before there is one.
//!
//! - A `println!` is written whole under the lock, so that CPUs do not interleave. Longer texts take [`lock`].
//! - Before [`init`] the text goes to a ring of 4 KiB, which [`init`] writes out.
//! - [`emergency_print`] is for panics and faults: it waits for the lock only for a while, asks no guard, and works
//!   in the stop window. From its first use on the ordinary output of all CPUs is dropped.
//! - A transmitter that never drains (no such device, a line held by flow control) costs one wait of [`STUCK_AFTER`];
//!   after that bytes are dropped until there is room again. Nothing here waits without a bound.
//!
//! Not here: time stamps and levels (the log), and the decision which device is the console (the device tree).

pub(crate) mod ring;

#[cfg(target_os = "none")]
pub(crate) use device::*;

#[cfg(target_os = "none")]
mod device {
    use core::fmt::{self, Write};
    use core::ptr::NonNull;
    use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    use arm_pl011_uart::{DataBits, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart};
    use cleave::aarch64::interrupts;
    use cleave::tables::VirtAddr;
    use safe_mmio::UniqueMmioPointer;

    use super::ring::{LineEnds, Ring};
    use crate::cpu::ban::{self, Ban};
    use crate::cpu::lock::{IrqGuard, IrqLock};
    use crate::cpu::wait::{deadline, wait};
    use crate::io::mmio::Registers;

    /// The size of the early buffer, in bytes.
    const EARLY_BYTES: usize = 4096;

    /// The longest wait for a full transmitter, in milliseconds: at 9600 baud a byte takes one.
    const STUCK_AFTER: u64 = 200;

    /// The longest wait of the emergency path for the lock, in milliseconds: about as long as 8 KiB take at 115200 baud.
    const EMERGENCY_WAIT: u64 = 700;

    /// The longest wait of [`drain`], in milliseconds: the 32 bytes of the FIFO at 9600 baud, with room to spare.
    const DRAIN_WAIT: u64 = 100;

    /// The line speed where no firmware has set one.
    const BAUD: u32 = 115_200;

    /// UARTCR and three of its bits (DDI 0183G, 3.3.8): the driver crate has no way to read them.
    const UARTCR: usize = 0x30;
    const UARTEN: u32 = 1 << 0;
    const TXE: u32 = 1 << 8;
    const RXE: u32 = 1 << 9;

    /// The writers that are allowed.
    #[repr(u8)]
    enum Phase {
        /// Every CPU, through the lock.
        Open = 0,
        /// Only the emergency path: a CPU is reporting a panic or a fault.
        Emergency = 1,
        /// None: the verdict was the last line.
        Closed = 2,
    }

    static PHASE: AtomicU8 = AtomicU8::new(Phase::Open as u8);

    /// Base of the device for the emergency path, which may have to go without the lock; 0 while there is none.
    static DEVICE: AtomicU64 = AtomicU64::new(0);

    static CONSOLE: IrqLock<Console> = IrqLock::new("console", Console::new());

    fn phase_is(phase: Phase) -> bool {
        PHASE.load(Ordering::Relaxed) == phase as u8
    }

    /// The console's state, reached through [`lock`].
    pub(crate) struct Console {
        line: Option<Line>,
        early: Ring<EARLY_BYTES>,
    }

    impl Console {
        const fn new() -> Self {
            Self { line: None, early: Ring::new() }
        }

        /// Ends the line that is being written, if there is one.
        pub(crate) fn begin_line(&mut self) {
            let inside = self.line.as_ref().is_some_and(|line| !line.ends.at_line_start());
            // Writing to a serial line does not fail.
            let _ = self.write_str(if inside { "\n" } else { "" });
        }
    }

    impl Write for Console {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            match &mut self.line {
                Some(line) => line.write_str(text)?,
                None => text.bytes().for_each(|byte| self.early.push(byte)),
            }
            Ok(())
        }
    }

    /// A serial line that is known.
    struct Line {
        uart: Uart<'static>,
        ends: LineEnds,
        /// The last wait for room was in vain.
        stuck: bool,
    }

    impl Line {
        /// Returns the line at `base`, without a change in the device.
        ///
        /// # Safety
        /// The registers of a PL011 are mapped at `base` as device memory, for good.
        #[expect(unsafe_code, reason = "a device is named by its address")]
        unsafe fn new(base: NonNull<PL011Registers>) -> Self {
            // SAFETY: the mapping is the caller's promise. Another `Line` may exist for the emergency path; a PL011
            // takes bytes from any CPU in any order, and the only harm is text that is mixed up.
            let registers = unsafe { UniqueMmioPointer::new(base) };
            Self { uart: Uart::new(registers), ends: LineEnds::new(), stuck: false }
        }

        /// Sends one byte, or drops it if there is no room for too long.
        fn send(&mut self, byte: u8) {
            if self.uart.is_tx_fifo_full() {
                self.stuck = self.stuck || !wait(STUCK_AFTER, || !self.uart.is_tx_fifo_full());
                if self.stuck && self.uart.is_tx_fifo_full() {
                    return;
                }
            }
            self.stuck = false;
            self.uart.write_word(byte);
        }

        /// Waits until the last bit is on the wire; false if it is not in time.
        fn drain(&self) -> bool {
            wait(DRAIN_WAIT, || self.uart.is_tx_fifo_empty() && !self.uart.is_busy())
        }
    }

    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                let mut ends = self.ends;
                ends.put(byte, |byte| self.send(byte));
                self.ends = ends;
            }
            Ok(())
        }
    }

    /// Returns true when firmware has switched on the device at `base`.
    ///
    /// # Safety
    /// As for [`init`].
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(crate) unsafe fn is_on(base: VirtAddr) -> bool {
        // SAFETY: UARTCR is a 32-bit register of the block the caller promised; reading it changes nothing.
        unsafe { Registers::new(base) }.read(UARTCR) & UARTEN != 0
    }

    /// Makes the device at `base` the console and writes out what was said before.
    ///
    /// A PL011 that firmware has on stays as it is. One that is off is switched on with 8 data bits, no parity, one
    /// stop bit and 115200 baud if `clock`, its input clock in Hz, is known, and otherwise with the settings it has.
    ///
    /// # Safety
    /// The registers of a PL011 are mapped at `base` as device memory, 4 KiB of them, on every CPU and for good.
    ///
    /// # Panics
    /// If `base` is null.
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(crate) unsafe fn init(base: VirtAddr, clock: Option<u32>) {
        let pointer = NonNull::new(base.0 as *mut PL011Registers).expect("the console's registers are at address 0");
        let mut console = CONSOLE.lock();
        // SAFETY: the caller's promise; the lock makes this the only `Line` but for the emergency path's.
        let mut line = unsafe { Line::new(pointer) };
        // SAFETY: the same; UARTCR is all that is used of it. Reading that changes nothing, and switching the transmitter
        // and the receiver on touches no memory.
        let registers = unsafe { Registers::new(base) };
        let found = registers.read(UARTCR);
        if found & UARTEN == 0 {
            let format = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
            let enabled = clock.is_some_and(|clock| line.uart.enable(format, BAUD, clock).is_ok());
            if !enabled {
                registers.write(UARTCR, found | UARTEN | TXE | RXE);
            }
        }
        // The console is polled: an interrupt that firmware left enabled would have no handler.
        line.uart.set_interrupt_masks(Interrupts::empty());
        let lost = console.early.lost();
        if lost != 0 {
            // Writing to a serial line does not fail.
            let _ = writeln!(line, "[{lost} bytes of early output were lost]");
        }
        console.early.drain(|byte| {
            let mut ends = line.ends;
            ends.put(byte, |byte| line.send(byte));
            line.ends = ends;
        });
        console.line = Some(line);
        // Release: a CPU that sees the address sees the device as it was set up.
        DEVICE.store(base.0, Ordering::Release);
    }

    /// Locks the console for as long as the guard lives: for a text of several writes that must stay together.
    ///
    /// # Panics
    /// Inside the stop window, and when this CPU holds it already.
    #[track_caller]
    pub(crate) fn lock() -> IrqGuard<'static, Console> {
        ban::check(Ban::Log);
        CONSOLE.lock()
    }

    /// Writes `text` whole: what `print!` and `println!` become. Dropped once a CPU reports an emergency, and after
    /// [`close`].
    ///
    /// # Panics
    /// Inside the stop window, and when the formatting of `text` itself prints.
    #[track_caller]
    pub(crate) fn print(text: fmt::Arguments<'_>) {
        ban::check(Ban::Log);
        if phase_is(Phase::Open) {
            // Neither the ring nor a serial line fails; an error of a `Display` has no reader.
            let _ = CONSOLE.lock().write_fmt(text);
        }
    }

    /// The console for a long text: each write is one [`print`], so that no CPU waits for the whole text.
    pub(crate) struct Lines;

    impl Write for Lines {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            print(format_args!("{text}"));
            Ok(())
        }
    }

    /// Writes `text` with the lock if it comes within [`EMERGENCY_WAIT`] and without it otherwise. The first call ends
    /// the ordinary output of all CPUs. Nothing is written after [`close`].
    pub(crate) fn emergency_print(text: fmt::Arguments<'_>) {
        let _masked = interrupts::mask();
        let (open, emergency) = (Phase::Open as u8, Phase::Emergency as u8);
        let first = PHASE.compare_exchange(open, emergency, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if phase_is(Phase::Closed) {
            return;
        }
        // The first one begins a line of its own, even if it interrupted one.
        if let Some(mut console) = CONSOLE.emergency_lock(deadline(EMERGENCY_WAIT)) {
            if first {
                console.begin_line();
            }
            let _ = console.write_fmt(text);
        } else if let Some(mut line) = line_without_lock() {
            let _ = line.write_str(if first { "\n" } else { "" });
            let _ = line.write_fmt(text);
        }
    }

    /// Returns the device without taking the lock, even if another CPU holds it.
    #[expect(unsafe_code, reason = "a device is named by its address")]
    fn line_without_lock() -> Option<Line> {
        // Acquire: pairs with the release in `init`.
        let base = NonNull::new(DEVICE.load(Ordering::Acquire) as *mut PL011Registers)?;
        // SAFETY: `init` was promised that the device is there for good.
        Some(unsafe { Line::new(base) })
    }

    /// Reads a received byte, if there is one. Bytes with a line error are dropped. One reader at a time: the monitor.
    pub(crate) fn read_byte() -> Option<u8> {
        line_without_lock()?.uart.read_word().ok().flatten()
    }

    /// Waits, for a bounded time, until everything written is on the wire. Takes no lock.
    pub(crate) fn drain() {
        if let Some(line) = line_without_lock() {
            line.drain();
        }
    }

    /// Writes `last` as the last line there will be and drops everything after it.
    pub(crate) fn close(last: Option<fmt::Arguments<'_>>) {
        if let Some(last) = last {
            emergency_print(last);
        }
        PHASE.store(Phase::Closed as u8, Ordering::Relaxed);
        drain();
    }
}

/// Prints to the console, whole and without interleaving; see [`print`](console::print).
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::io::console::print(format_args!($($argument)*)) };
}

/// Prints a line to the console, whole and without interleaving; see [`print`](console::print).
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! println {
    () => { $crate::io::console::print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::io::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}
