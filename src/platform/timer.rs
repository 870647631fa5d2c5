//! The generic timer: which interrupt its virtual timer raises, and the counter's frequency where the tree states it.

use core::fmt;
use core::ops::ControlFlow;

use super::nodes::{self, BadProperty, Place, PropertyFault};
use super::tree::Tree;

/// The generic timer of the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The virtual timer's private peripheral interrupt, 0 to 15. The GIC's number for it is 16 more
    /// ([`interrupt_id`](Self::interrupt_id)).
    pub virtual_ppi: u32,
}

impl Timer {
    /// The INTID of the virtual timer's interrupt: private peripheral interrupts start at 16.
    #[must_use]
    pub const fn interrupt_id(&self) -> u32 {
        16 + self.virtual_ppi
    }
}

/// Why there is no timer to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerError<'a> {
    /// The tree has no `arm,armv8-timer` that is switched on.
    Missing,
    /// A property of the timer does not hold what it should.
    Property(BadProperty<'a>),
    /// The virtual timer's interrupt is not a private peripheral one.
    NotPrivate {
        /// The kind of interrupt: the first cell.
        kind: u32,
        /// Its number: the second cell.
        number: u32,
    },
}

impl fmt::Display for TimerError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the device tree has no arm,armv8-timer"),
            Self::Property(bad) => write!(f, "timer: {bad}"),
            Self::NotPrivate { kind, number } => {
                write!(f, "the virtual timer's interrupt <{kind} {number}> is not a private peripheral one")
            }
        }
    }
}

impl core::error::Error for TimerError<'_> {}

impl<'a> From<BadProperty<'a>> for TimerError<'a> {
    fn from(bad: BadProperty<'a>) -> Self {
        Self::Property(bad)
    }
}

impl<'a> Tree<'a> {
    /// The generic timer.
    ///
    /// # Errors
    /// When there is none, and when its virtual timer's interrupt cannot be read.
    pub fn timer(&self) -> Result<Timer, TimerError<'a>> {
        self.at_timer(|place| self.read(place)).unwrap_or(Err(TimerError::Missing))
    }

    /// Returns the counter's frequency in Hz, if the tree states one. It does so where firmware leaves CNTFRQ_EL0 wrong, and
    /// then the tree's number is the one to use (the binding of `arm,armv8-timer`: `clock-frequency`).
    ///
    /// # Errors
    /// When the property is no number.
    pub fn counter_frequency(&self) -> Result<Option<u64>, BadProperty<'a>> {
        let stated = self.at_timer(|place| place.number("clock-frequency")).unwrap_or(Ok(None))?;
        Ok(stated.filter(|&hertz| hertz != 0))
    }

    /// Looks at the node of the timer; `None` when there is none that is switched on.
    fn at_timer<T>(&self, look: impl Fn(&Place<'_, 'a>) -> T) -> Option<T> {
        self.find(self.named.timer, &["arm,armv8-timer"], look)
    }

    /// Reads the node of the timer.
    fn read(&self, place: &Place<'_, 'a>) -> Result<Timer, TimerError<'a>> {
        // The binding's order: secure, non-secure, virtual, hypervisor; unless the interrupts are named.
        let index = match nodes::strings(&place.node, "interrupt-names").position(|name| name == "virt") {
            Some(index) => index,
            None if nodes::bytes(&place.node, "interrupt-names").is_none() => 2,
            None => return Err(nodes::bad(&place.node, "interrupt-names", PropertyFault::Missing).into()),
        };
        let [kind, number] = self.interrupt(place, index)?;
        // Cells of the GIC's binding: kind (0 shared, 1 private peripheral), number, flags.
        if kind != 1 || number > 15 {
            return Err(TimerError::NotPrivate { kind, number });
        }
        Ok(Timer { virtual_ppi: number })
    }

    /// The first two cells of the node's interrupt `index` (Devicetree Specification v0.4, section 2.4.1).
    fn interrupt(&self, place: &Place<'_, 'a>, index: usize) -> Result<[u32; 2], BadProperty<'a>> {
        let first_two = |value: &[u8], property| match (cell(value, 0), cell(value, 1)) {
            (Some(kind), Some(number)) => Ok([kind, number]),
            _ => Err(nodes::bad(&place.node, property, PropertyFault::TooShort)),
        };
        if let Some(value) = nodes::bytes(&place.node, "interrupts-extended") {
            let property = "interrupts-extended";
            let short = nodes::bad(&place.node, property, PropertyFault::TooShort);
            let mut rest = value;
            for _ in 0..index {
                let cells = self.interrupt_cells(cell(rest, 0).ok_or(short)?).ok_or(short)?;
                rest = rest.get((1 + cells) * 4..).ok_or(short)?;
            }
            return first_two(rest.get(4..).ok_or(short)?, property);
        }
        let property = "interrupts";
        let missing = |property| nodes::bad(&place.node, property, PropertyFault::Missing);
        let value = nodes::bytes(&place.node, property).ok_or(missing(property))?;
        let parent = place.inherited("interrupt-parent").and_then(|value| cell(value, 0));
        let cells = parent.and_then(|phandle| self.interrupt_cells(phandle)).ok_or(missing("interrupt-parent"))?;
        let rest = value.get(index.saturating_mul(cells * 4)..);
        first_two(rest.unwrap_or_default(), property)
    }

    /// `#interrupt-cells` of the interrupt controller with this phandle.
    fn interrupt_cells(&self, phandle: u32) -> Option<usize> {
        let cells = self.walk(|place, sight| {
            if sight.phandle != phandle.to_be_bytes() {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(nodes::bytes(&place.node, "#interrupt-cells").and_then(|value| cell(value, 0)))
        });
        // More cells than any controller has would only be a wrong number.
        cells.flatten().map(|cells| cells as usize).filter(|cells| (1..=16).contains(cells))
    }
}

/// The cell `index` of a property's value.
fn cell(value: &[u8], index: usize) -> Option<u32> {
    let bytes = value.get(index * 4..index * 4 + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
