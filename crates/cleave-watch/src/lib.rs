// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watcher: a QEMU plugin that sees the release image execute, and has the abstract machine judge it.
//!
//! The kernel is not changed and not told. While it runs, [`plugin`] takes down what it executes as a [`record`]; when
//! QEMU ends, the record is read from the beginning and fed to [`cleave_model`] ([`judge`]), and the verdict is written
//! to a file ([`report`]). Reading the same record again with one kind of event left out or changed ([`defect`]) shows
//! that a kernel which lacked it would be caught.
//!
//! What is derived from instructions, and what cannot be seen from outside, is in `docs/watcher.md`.

mod cpu_identity;
mod defect;
mod device;
mod judge;
mod judgement;
mod known_parked;
#[cfg(not(test))]
mod plugin;
#[cfg(not(test))]
mod qemu;
mod record;
mod recorder;
mod report;
mod survey;
mod tables;
#[cfg(test)]
mod tests;
