// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second kernel, as small as it can be: two CPUs of QEMU virt split their linear map with nothing but the library.
#![cfg_attr(target_os = "none", no_std, no_main)]
#[cfg(target_os = "none")]
mod kernel;
/// On a host there is nothing to do: `make minimal` boots the kernel in QEMU.
#[cfg(not(target_os = "none"))]
fn main() {}
