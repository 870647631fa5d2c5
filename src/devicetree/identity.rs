// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's model and the boot loader's arguments, from the tree. For readers and for the report; no decision
//! depends on a name.

use super::nodes::{self, BadProperty, PropertyFault};
use super::tree::Tree;

impl<'a> Tree<'a> {
    /// Returns the machine's model (Devicetree Specification v0.4, section 2.3.2), if the tree gives it.
    #[must_use]
    pub(crate) fn model(&self) -> Option<&'a str> {
        nodes::text(&self.fdt.root(), "model")
    }

    /// Returns the machine's `compatible` strings, the closest first (Devicetree Specification v0.4, section 2.3.1).
    pub(crate) fn compatible(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        nodes::strings(&self.fdt.root(), "compatible")
    }

    /// Returns the boot loader's words for the kernel, `bootargs` in `/chosen`; empty when there are none.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub(crate) fn bootargs(&self) -> Result<&'a str, BadProperty<'a>> {
        let Some(chosen) = self.named.chosen else {
            return Ok("");
        };
        match nodes::bytes(&chosen, "bootargs") {
            None => Ok(""),
            Some(_) => nodes::text(&chosen, "bootargs").ok_or(nodes::bad(&chosen, "bootargs", PropertyFault::NotText)),
        }
    }
}
