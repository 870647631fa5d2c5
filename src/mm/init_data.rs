// SPDX-License-Identifier: MIT OR Apache-2.0
//! The place of data that is written while the kernel boots, and never again ([`crate::mm::ro_after_init`]).
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a static names its section")]

/// Declares statics that are read-only after init: in the section `.ro_after_init`, which `linker.ld` gives pages of its own.
macro_rules! ro_after_init {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;)*) => {
        $(
            $(#[$attribute])*
            // SAFETY: the section is data, readable and writable until boot is over, and holds statics alone.
            #[allow(unsafe_code, reason = "a static names its section")]
            #[unsafe(link_section = ".ro_after_init")]
            static $name: $type = $value;
        )*
    };
}

pub(crate) use ro_after_init;
