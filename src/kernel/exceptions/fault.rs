//! The report of an exception nobody survives.

use core::fmt;

use cleave::arch::cpu;
use cleave::paging::VirtAddr;

use super::Frame;
use super::backtrace::backtrace;
use crate::kernel::console::emergency_print;
use crate::kernel::image::{Section, boot_slot};
use crate::kernel::layout::{
    AREA_BYTES, DEVICE_AREA, HEAP_AREA, LINEAR_BASE, LINEAR_BYTES, Part, Slot, Spot, TEMPORARY_AREA,
};
use crate::kernel::percpu;
use crate::kernel::power::{self, PanicEntry, Verdict};

/// Who took the exception, and through which of the 16 vectors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// A thread, or what claims to be EL0.
    Thread(u64),
    /// An exception handler.
    Handler(u64),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Thread(vector) | Self::Handler(vector)) = *self;
        let kind = ["synchronous exception", "IRQ", "FIQ", "SError"][(vector & 3) as usize];
        let from = match vector {
            0..4 => "",
            4..8 => " in an exception handler",
            8..12 => " from EL0",
            _ => " from EL0, AArch32",
        };
        write!(f, "{kind}{from}")
    }
}

/// What an address of the kernel belongs to, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The page below a part of the slot of a CPU.
    Guard { cpu: u64, part: Part },
    /// A part of the slot of a CPU, or the unused room behind them (`None`).
    Slot { cpu: u64, part: Option<Part> },
    /// A part of the image.
    Image(Section),
    /// The linear map.
    LinearMap,
    /// The device area.
    Devices,
    /// The temporary area.
    Temporary,
    /// The heap.
    Heap,
    /// The first page: a null pointer and a bit.
    Null,
    /// Nothing the kernel knows.
    Elsewhere,
}

impl Place {
    /// What `address` belongs to.
    pub(super) fn of(address: VirtAddr) -> Self {
        let boot = boot_slot();
        let found = Slot::find(address).or_else(|| {
            // The boot CPU is 0; its slot is in the image.
            let spot = boot.spot(address)?;
            Section::Stacks.virt().contains(&address).then_some((0, spot))
        });
        if let Some((cpu, spot)) = found {
            return match spot {
                Spot::In(part) => Self::Slot { cpu, part: Some(part) },
                Spot::GuardOf(part) => Self::Guard { cpu, part },
                Spot::Unused => Self::Slot { cpu, part: None },
            };
        }
        let within = |base: u64, bytes: u64| address.0.wrapping_sub(base) < bytes;
        let sections = [Section::Text, Section::Rodata, Section::Data, Section::Bss, Section::Tables, Section::Image];
        if let Some(section) = sections.into_iter().find(|section| section.virt().contains(&address)) {
            Self::Image(section)
        } else if within(LINEAR_BASE, LINEAR_BYTES) {
            Self::LinearMap
        } else if within(DEVICE_AREA, AREA_BYTES) {
            Self::Devices
        } else if within(HEAP_AREA, AREA_BYTES) {
            Self::Heap
        } else if within(TEMPORARY_AREA, AREA_BYTES) {
            Self::Temporary
        } else if address.0 < 0x1000 {
            Self::Null
        } else {
            Self::Elsewhere
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard { cpu, part: Part::Block } => {
                write!(f, "the unmapped page below the per-CPU block of CPU {cpu}")
            }
            Self::Guard { cpu, part } => {
                write!(f, "stack overflow on CPU {cpu}: guard page of its {}", part.name())
            }
            Self::Slot { cpu, part: Some(part) } => write!(f, "the {} of CPU {cpu}", part.name()),
            Self::Slot { cpu, part: None } => write!(f, "unused room of CPU {cpu}'s slot"),
            Self::Image(section) => write!(f, "the kernel image ({section:?})"),
            Self::LinearMap => f.write_str("the linear map"),
            Self::Devices => f.write_str("the device area"),
            Self::Temporary => f.write_str("the temporary area"),
            Self::Heap => f.write_str("the heap's area"),
            Self::Null => f.write_str("a null pointer"),
            Self::Elsewhere => f.write_str("nothing the kernel maps"),
        }
    }
}

/// Prints everything there is to know, and ends the run.
pub(super) fn report(frame: &Frame, origin: Origin) -> ! {
    match power::enter_panic() {
        PanicEntry::First => emergency_print(format_args!("{}", Report { frame, origin })),
        // The report itself may be what faults.
        PanicEntry::Again => emergency_print(format_args!("cleave: PANIC again, in the first one's report\n")),
    }
    power::end(Verdict::Panic)
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
            Some(cpu) => write!(f, "\ncleave: PANIC on CPU {}: {origin}", cpu.id)?,
            None => write!(f, "\ncleave: PANIC on CPU {:#x} (no per-CPU block): {origin}", cpu::mpidr())?,
        }
        // An interrupt has no syndrome.
        if matches!(origin, Origin::Thread(vector) | Origin::Handler(vector) if vector & 3 == 0 || vector & 3 == 3) {
            write!(f, ": {syndrome}")?;
            if syndrome.address_is_valid() {
                write!(f, ", {:#x}: {}", frame.far, Place::of(VirtAddr(frame.far)))?;
            }
        }
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
        writeln!(f, "  backtrace: {:#018x}", frame.elr)?;
        backtrace(frame.registers[29]).fmt(f)
    }
}
