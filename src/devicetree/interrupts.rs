// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt controller's version and registers.

use core::fmt;
use core::ops::ControlFlow;

use super::nodes::{self, BadProperty, Place, PropertyFault};
use super::tree::Tree;
use cleave::tables::PhysRange;

/// The most regions of redistributors that are kept.
pub(crate) const REDISTRIBUTOR_REGIONS: usize = 32;

/// Names of controllers that are a GICv2.
const GIC_V2: [&str; 4] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "qcom,msm-qgic2"];

/// Names of controllers that are a GICv3, or a GICv4, which does all that a GICv3 does.
const GIC_V3: [&str; 1] = ["arm,gic-v3"];

/// The machine's interrupt controller, with the physical places of its registers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and no heap to box it in")]
pub(crate) enum InterruptController {
    /// A GICv2.
    GicV2 {
        /// The distributor, GICD.
        distributor: PhysRange,
        /// The CPU interface, GICC: at the same address for every CPU.
        cpu_interface: PhysRange,
    },
    /// A GICv3. The CPU interface is in system registers.
    GicV3 {
        /// The distributor, GICD.
        distributor: PhysRange,
        /// The redistributors, GICR.
        redistributors: Redistributors,
    },
}

/// The regions of a GICv3's redistributors, each with the frames of many CPUs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Redistributors {
    regions: [PhysRange; REDISTRIBUTOR_REGIONS],
    len: usize,
    stride: Option<u64>,
}

impl Redistributors {
    /// Returns the regions, in the tree's order. Which CPU's frames are where only GICR_TYPER says.
    #[must_use]
    pub(crate) fn regions(&self) -> &[PhysRange] {
        self.regions.get(..self.len).unwrap_or_default()
    }

    /// Returns the bytes from one CPU's frames to the next, when the tree gives them; otherwise GICR_TYPER says (128
    /// KiB, or 256 KiB with VLPIS).
    #[must_use]
    pub(crate) fn stride(&self) -> Option<u64> {
        self.stride
    }
}

impl fmt::Debug for Redistributors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redistributors").field("regions", &self.regions()).field("stride", &self.stride).finish()
    }
}

/// An error that leaves the kernel without an interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterruptControllerError<'a> {
    /// The tree has none.
    Missing,
    /// The tree has only such as are not known here.
    Unsupported {
        /// The first `compatible` string of the first of them.
        compatible: &'a str,
    },
    /// A property of the controller does not hold what it should.
    Property(BadProperty<'a>),
    /// More regions of redistributors than can be kept.
    TooManyRegions {
        /// The number of regions in the tree.
        regions: u64,
    },
}

impl fmt::Display for InterruptControllerError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the device tree has no interrupt controller"),
            Self::Unsupported { compatible } => write!(f, "unsupported interrupt controller: {compatible}"),
            Self::Property(bad) => write!(f, "interrupt controller: {bad}"),
            Self::TooManyRegions { regions } => {
                write!(f, "{regions} regions of redistributors, of which {REDISTRIBUTOR_REGIONS} can be kept")
            }
        }
    }
}

impl core::error::Error for InterruptControllerError<'_> {}

impl<'a> From<BadProperty<'a>> for InterruptControllerError<'a> {
    fn from(bad: BadProperty<'a>) -> Self {
        Self::Property(bad)
    }
}

impl<'a> Tree<'a> {
    /// Returns the first GIC of the tree that is switched on.
    ///
    /// # Errors
    /// When there is none, or none that is known, and when its registers cannot be found.
    pub(crate) fn interrupt_controller(&self) -> Result<InterruptController, InterruptControllerError<'a>> {
        let mut unknown = None;
        let found = self.walk(|place, sight| {
            if !sight.is_controller || !place.is_available() {
                return ControlFlow::Continue(());
            }
            if sight.is_compatible(&GIC_V2) {
                return ControlFlow::Break(gic_v2(place));
            }
            if sight.is_compatible(&GIC_V3) {
                return ControlFlow::Break(gic_v3(place));
            }
            unknown = unknown.or_else(|| nodes::strings(&place.node, "compatible").next());
            ControlFlow::Continue(())
        });
        found.unwrap_or(Err(match unknown {
            Some(compatible) => InterruptControllerError::Unsupported { compatible },
            None => InterruptControllerError::Missing,
        }))
    }
}

/// Reads the node of a GICv2: `reg` is the distributor, then the CPU interface.
fn gic_v2<'a>(place: &Place<'_, 'a>) -> Result<InterruptController, InterruptControllerError<'a>> {
    Ok(InterruptController::GicV2 { distributor: place.registers(0)?, cpu_interface: place.registers(1)? })
}

/// Reads the node of a GICv3: `reg` is the distributor, then as many regions of redistributors as
/// `#redistributor-regions` says, one without it.
fn gic_v3<'a>(place: &Place<'_, 'a>) -> Result<InterruptController, InterruptControllerError<'a>> {
    let distributor = place.registers(0)?;
    let count = match place.number("#redistributor-regions")? {
        None => 1,
        Some(0) => {
            return Err(nodes::bad(&place.node, "#redistributor-regions", PropertyFault::BadValue { value: 0 }).into());
        }
        Some(count) => count,
    };
    let stride = place.number("redistributor-stride")?.filter(|&stride| stride != 0);
    let mut redistributors = Redistributors { regions: [PhysRange::default(); REDISTRIBUTOR_REGIONS], len: 0, stride };
    let len = usize::try_from(count).unwrap_or(usize::MAX);
    let Some(regions) = redistributors.regions.get_mut(..len) else {
        return Err(InterruptControllerError::TooManyRegions { regions: count });
    };
    for (index, region) in regions.iter_mut().enumerate() {
        *region = place.registers(1 + index)?;
    }
    redistributors.len = len;
    Ok(InterruptController::GicV3 { distributor, redistributors })
}
