// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot arguments of this boot, for every part of the kernel.

use spin::Once;

use super::Bootargs;
use crate::mm::init_data::ro_after_init;

ro_after_init! {
    static CURRENT: Once<Bootargs<'static>> = Once::new();
}

/// Keeps `args` as those of this boot.
pub(crate) fn set(args: Bootargs<'static>) {
    CURRENT.call_once(|| args);
}

/// Returns the boot arguments, or those of an empty command line before they are known.
pub(crate) fn current() -> &'static Bootargs<'static> {
    CURRENT.call_once(|| Bootargs::parse(""))
}
