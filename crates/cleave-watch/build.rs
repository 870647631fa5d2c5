// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linker options of the plugin. The functions that it calls are QEMU's, and are found when QEMU loads it, which
//! Apple's linker has to be told.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-undefined,dynamic_lookup");
    }
}
