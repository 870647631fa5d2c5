// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells the linker how the image is laid out.
fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{}/linker.ld", env!("CARGO_MANIFEST_DIR"));
    }
}
