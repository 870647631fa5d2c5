// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of an exception that ends the run.
#![cfg(target_os = "none")]

use core::fmt::{self, Write as _};

use cleave::aarch64::cpu;
use cleave::tables::VirtAddr;

use crate::cpu::percpu;
use crate::io::console::emergency_print;
use crate::irq::exceptions::{Frame, Origin, backtrace};
use crate::mm::address_class::Place;
use crate::mm::guarded;
use crate::report::builder;
use crate::report::ending::{self, PanicEntry};
use crate::report::mapping::Mapping;
use crate::report::stopped::Others;
use crate::report::verdict::Verdict;

/// Prints everything there is to know, and ends the run.
pub(crate) fn report(frame: &Frame, origin: Origin) -> ! {
    match ending::enter_panic() {
        PanicEntry::First => emergency_print(format_args!("{}", Report { frame, origin })),
        // The report itself may be what faults.
        PanicEntry::Again => emergency_print(format_args!("cleave: PANIC again, in the first one's report\n")),
    }
    ending::end(Verdict::Panic)
}

struct Report<'a> {
    frame: &'a Frame,
    origin: Origin,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, origin } = self;
        let syndrome = frame.syndrome();
        match percpu::try_this_cpu() {
            Some(cpu) => write!(f, "\ncleave: PANIC on CPU {}: ", cpu.id)?,
            None => write!(f, "\ncleave: PANIC on CPU {:#x} (no per-CPU block): ", cpu::mpidr())?,
        }
        let mut message = builder::record_panic(f);
        write!(message, "{origin}")?;
        // An interrupt has no syndrome.
        if matches!(origin, Origin::Thread(vector) | Origin::Handler(vector) if vector & 3 == 0 || vector & 3 == 3) {
            write!(message, ": {syndrome}")?;
            if syndrome.address_is_valid() {
                write!(message, ", {:#x}: {}", frame.far, Place::of(VirtAddr(frame.far)))?;
                if let Some(fault) = guarded::fault(VirtAddr(frame.far)) {
                    write!(message, ": {}", fault.summary())?;
                }
            }
        }
        message.end();
        let [elr, lr] = [frame.elr, frame.registers[30]];
        let backtrace = backtrace(frame.registers[29]);
        // Before the rest of the report, which may fault.
        builder::record_backtrace(&[elr, lr], &backtrace);
        writeln!(f)?;
        if syndrome.address_is_valid() {
            writeln!(f, "  FAR  {:#018x}  {}", frame.far, Place::of(VirtAddr(frame.far)))?;
        } else {
            writeln!(f, "  FAR  {:#018x}  (not valid)", frame.far)?;
        }
        writeln!(f, "  ELR  {:#018x}  {}", frame.elr, Place::of(VirtAddr(frame.elr)))?;
        // The byte below it: an empty stack's pointer is the first address behind the stack.
        writeln!(f, "  SP   {:#018x}  {}", frame.sp, Place::of(VirtAddr(frame.sp.wrapping_sub(1))))?;
        writeln!(f, "  ESR  {:#018x}  SPSR {:#018x}", frame.esr, frame.spsr)?;
        for (row, values) in frame.registers.chunks(4).enumerate() {
            for (column, value) in values.iter().enumerate() {
                write!(f, "  x{:<2}  {value:#018x}", row * 4 + column)?;
            }
            writeln!(f)?;
        }
        if let Some(abort) = syndrome.as_abort()
            && syndrome.address_is_valid()
        {
            if let Some(fault) = guarded::fault(VirtAddr(frame.far)) {
                write!(f, "{fault}")?;
            }
            write!(f, "{}", Mapping { address: VirtAddr(frame.far), abort })?;
        }
        // The link register too: a function without a frame of its own has not stored it anywhere.
        writeln!(f, "  backtrace:\n  at  {elr:#018x}\n  lr  {lr:#018x}")?;
        write!(f, "{backtrace}{}", Others)
    }
}
