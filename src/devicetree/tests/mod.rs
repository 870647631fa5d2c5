// SPDX-License-Identifier: MIT OR Apache-2.0
//! Host tests of what the device tree says: trees written by hand, trees of QEMU, and trees that are broken.

mod boards;
mod cpus;
mod devices;
mod fixtures;
mod fuzz;
mod memory;
mod ranges;
mod tree;
