// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots of the real image in QEMU, each ending with the kernel's verdict, an exit status and a JSON report.
//!
//! Every report is held against the schema and against what must be true of every boot (`good.rs`); a test adds only
//! what its own case claims. Each test's comment names the fault or the patch that makes it fail. A failure shows the
//! QEMU command, the console and the report.
//!
//! `cargo test --features boot-tests --test boot` builds the image first; `CLEAVE_IMAGE=FILE` takes one that is there.

#[path = "../support/schema.rs"]
mod schema;

mod alias;
mod counter;
mod debugger;
mod elf;
mod entry;
mod errata;
mod faults;
mod figures;
mod gdb;
mod gic;
mod good;
mod image;
mod inspect;
mod instructions;
mod keep;
mod minimal;
mod monitor;
mod panics;
mod pool;
mod qemu;
mod raspi4b;
mod reports;
mod selftest;
mod sessions;
mod split;
mod survive;
mod watched;
mod watcher;
mod words;
