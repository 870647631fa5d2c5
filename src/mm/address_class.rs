// SPDX-License-Identifier: MIT OR Apache-2.0
//! Classes of kernel addresses, for dumps and for the reports of faults.
#![cfg(target_os = "none")]

use core::fmt;

use cleave::tables::{PhysAddr, PhysRange, VirtAddr};

use crate::mm::image::{Section, boot_slot, kernel_alias};
use crate::mm::layout::{
    AREA_BYTES, DEVICE_AREA, HEAP_AREA, LINEAR_BASE, LINEAR_BYTES, Part, Slot, Spot, TEMPORARY_AREA,
};
use crate::mm::secret;

/// The part of the address space that an address belongs to, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The page below a part of the slot of a CPU.
    Guard { cpu: u64, part: Part },
    /// A part of the slot of a CPU, or the unused room behind them (`None`).
    Slot { cpu: u64, part: Option<Part> },
    /// A part of the image.
    Image(Section),
    /// The linear map.
    LinearMap,
    /// The place in the linear map of a secret frame.
    Secret,
    /// The alias of the kernel's text and read-only data in the linear map; not of what is read-only after init.
    KernelAlias,
    /// The alias of the data that is read-only after init.
    InitDataAlias,
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
    /// Returns the part of the address space that `address` belongs to.
    pub(crate) fn of(address: VirtAddr) -> Self {
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
        let sections = [
            Section::Text,
            Section::Rodata,
            Section::RoAfterInit,
            Section::Data,
            Section::Bss,
            Section::Tables,
            Section::Image,
        ];
        if let Some(section) = sections.into_iter().find(|section| section.virt().contains(&address)) {
            Self::Image(section)
        } else if within(LINEAR_BASE, LINEAR_BYTES) {
            let physical = PhysAddr(address.0 - LINEAR_BASE);
            match () {
                () if Section::RoAfterInit.phys().contains(physical) => Self::InitDataAlias,
                () if kernel_alias().contains(physical) => Self::KernelAlias,
                () if secret::overlaps(PhysRange::new(physical, physical.offset(1))) => Self::Secret,
                () => Self::LinearMap,
            }
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
            Self::Image(Section::RoAfterInit) => f.write_str("the kernel image (read-only after init)"),
            Self::Image(section) => write!(f, "the kernel image ({section:?})"),
            Self::LinearMap => f.write_str("the linear map"),
            Self::Secret => f.write_str("a secret frame, out of the linear map"),
            Self::KernelAlias => f.write_str("the kernel alias in the linear map"),
            Self::InitDataAlias => f.write_str("the kernel alias in the linear map (read-only after init)"),
            Self::Devices => f.write_str("the device area"),
            Self::Temporary => f.write_str("the temporary area"),
            Self::Heap => f.write_str("the heap"),
            Self::Null => f.write_str("a null pointer"),
            Self::Elsewhere => f.write_str("nothing the kernel maps"),
        }
    }
}
