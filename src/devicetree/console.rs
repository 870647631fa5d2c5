// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console that `/chosen` asks for.

use core::fmt;

use super::nodes::{self, BadProperty, Place};
use super::tree::Tree;
use cleave::tables::PhysRange;

/// The console: an Arm PrimeCell UART (PL011), the one kind that is driven here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Console<'a> {
    /// Its node's name, with its unit address.
    pub(crate) node: &'a str,
    /// Its registers.
    pub(crate) registers: PhysRange,
    /// The options behind the colon of `stdout-path`, such as `115200n8`.
    pub(crate) options: Option<&'a str>,
    /// `pinctrl-0` and `clocks`, read here since nothing else goes by the console's path again.
    pub(super) pins: &'a [u8],
    pub(super) clocks: &'a [u8],
}

impl Console<'_> {
    /// Returns true when the tree says which pins it is on: where it does not, they are not to be chosen.
    #[must_use]
    pub(crate) fn has_pins(&self) -> bool {
        !self.pins.is_empty()
    }
}

/// An error that makes the chosen console unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsoleError<'a> {
    /// There is no node of that path, or no such alias.
    NotFound {
        /// The path or alias, without options.
        path: &'a str,
    },
    /// The node is switched off, or a bus above it.
    Disabled {
        /// The path or alias, without options.
        path: &'a str,
    },
    /// A device that is not driven here.
    Unsupported {
        /// Its first `compatible` string; its name where it has none.
        compatible: &'a str,
    },
    /// Its registers cannot be found.
    Property(BadProperty<'a>),
}

impl fmt::Display for ConsoleError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { path } => write!(f, "the console {path} is not in the device tree"),
            Self::Disabled { path } => write!(f, "the console {path} is disabled"),
            Self::Unsupported { compatible } => write!(f, "unsupported console: {compatible}"),
            Self::Property(bad) => write!(f, "console: {bad}"),
        }
    }
}

impl core::error::Error for ConsoleError<'_> {}

impl<'a> Tree<'a> {
    /// Returns the console of `stdout-path` in `/chosen` (Devicetree Specification v0.4, section 3.6), or of the older
    /// `linux,stdout-path`: a path or an alias, with or without options behind a colon. `None` when neither is there.
    ///
    /// # Errors
    /// When what it names is not there, switched off, not driven here, or has no registers that can be found.
    pub(crate) fn console(&self) -> Result<Option<Console<'a>>, ConsoleError<'a>> {
        let Some(chosen) = self.named.chosen else {
            return Ok(None);
        };
        let asked = nodes::text(&chosen, "stdout-path").or_else(|| nodes::text(&chosen, "linux,stdout-path"));
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
            return Ok(None);
        };
        let (path, options) = match asked.split_once(':') {
            Some((path, options)) => (path, Some(options)),
            None => (asked, None),
        };
        let full = if path.starts_with('/') { Some(path) } else { self.alias(path) };
        let found = full.and_then(|full| self.at_path(full, |place| console(place, path, options)));
        found.unwrap_or(Err(ConsoleError::NotFound { path })).map(Some)
    }

    /// Returns the first serial line among the aliases `serial0` to `serial9` that is driven here: the console when
    /// [`console`](Self::console) finds none. Trees of the Raspberry Pi 4 need it: some name no `stdout-path`, others
    /// name the mini UART, which the wiring of this kernel's boot medium switches off.
    #[must_use]
    pub(crate) fn console_by_alias(&self) -> Option<Console<'a>> {
        const ALIASES: [&str; 10] = [
            "serial0", "serial1", "serial2", "serial3", "serial4", "serial5", "serial6", "serial7", "serial8",
            "serial9",
        ];
        ALIASES.iter().find_map(|alias| {
            let path = self.alias(alias)?;
            self.at_path(path, |place| console(place, path, None))?.ok()
        })
    }

    /// Returns the path that an alias stands for (Devicetree Specification v0.4, section 3.3).
    fn alias(&self, name: &str) -> Option<&'a str> {
        nodes::text(&self.named.aliases?, name)
    }
}

/// Reads the node of the console.
fn console<'a>(
    place: &Place<'_, 'a>,
    path: &'a str,
    options: Option<&'a str>,
) -> Result<Console<'a>, ConsoleError<'a>> {
    let node = place.name();
    if !nodes::is_compatible(&place.node, &["arm,pl011"]) {
        let compatible = nodes::strings(&place.node, "compatible").next().unwrap_or(node);
        return Err(ConsoleError::Unsupported { compatible });
    }
    if !place.is_available() {
        return Err(ConsoleError::Disabled { path });
    }
    let registers = place.registers(0).map_err(ConsoleError::Property)?;
    let cells = |name| nodes::bytes(&place.node, name).unwrap_or_default();
    Ok(Console { node, registers, options, pins: cells("pinctrl-0"), clocks: cells("clocks") })
}
