// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timer: the frequency of its counter.

use super::nodes::BadProperty;
use super::tree::Tree;

impl Tree<'_> {
    /// Returns the counter's frequency in Hz, if the tree states one. It does so where firmware leaves CNTFRQ_EL0 wrong, and
    /// then the tree's number is the one to use (the binding of `arm,armv8-timer`: `clock-frequency`).
    ///
    /// # Errors
    /// When the property is no number.
    pub(crate) fn counter_frequency(&self) -> Result<Option<u64>, BadProperty<'_>> {
        let number = self.find(self.named.timer, &["arm,armv8-timer"], |place| place.number("clock-frequency"));
        Ok(number.unwrap_or(Ok(None))?.filter(|&hertz| hertz != 0))
    }
}
