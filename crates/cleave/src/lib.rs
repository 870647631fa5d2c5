// SPDX-License-Identifier: MIT OR Apache-2.0
//! Change the block size of a kernel's linear map of RAM, on AArch64 CPUs that forbid changing the size of a live mapping.
//!
//! The map is painted in the largest blocks. When all CPUs are up, [`linear_map::decide`] says whether they can split a live
//! block. Where they cannot, [`linear_map::LinearMap::repaint`] splits the whole map while every CPU stands still. The library has no
//! allocator, no interrupt controller and no console: a kernel brings those.
//!
//! # Modules
//!
//! A module uses the modules below it in this list and none above.
//!
//! - [`linear_map`]: the subject. Paint the map, decide whether it must be split, reserve, build the replacement, exchange
//!   it, give the old tables back.
//! - [`aarch64`]: system registers and instructions, FEAT_BBM, the lists of cores and errata.
//! - [`rendezvous`]: stop-machine. Gather every CPU, run one function, let all go; or call it off.
//! - [`tables`]: translation tables as data, and the traits through which they reach memory and the CPU.
//! - [`deadline`] and [`atomics`]: a wait that one wrong reading of the counter does not end; atomics that a test can watch.
//!
//! All but what executes an instruction is portable: it compiles, and is tested, on any host.
//!
//! # What a kernel brings
//!
//! | trait | methods | for |
//! |---|---|---|
//! | [`tables::TableMemory`] | load and store a descriptor by physical address | everything that reads or writes tables |
//! | [`tables::Cpu`] | barriers, TLB invalidations, TTBR0, of the CPU that calls | painting, the commit |
//! | [`linear_map::Kernel`] | views, frames, CPUs, how they are gathered | [`linear_map::LinearMap::repaint`] |
//! | [`tables::FrameSource`] | give a frame, take it back | painting, [`linear_map::Pool`] |
//! | [`rendezvous::Host`] | kick the others, count, wait, mask | [`rendezvous::Rendezvous`] |
//!
//! And two promises no trait can make for it. What runs in the window (code, stacks, the roots, the rendezvous' state) is not
//! in the linear map. And the set of online CPUs does not change from the reservation until the old tables are back.
//!
//! Ready pieces implement them on a real CPU: [`aarch64`] has views, CPU and hosts, [`tables::BitmapFrames`] and
//! [`tables::RangeFrames`] are frame sources.
//!
//! # Examples
//!
//! `examples/split_in_memory.rs` of this package paints a map, decides and splits it, in memory that is a map of numbers. The
//! repository has a kernel of 150 lines that uses nothing but this library, `examples/minimal-kernel`; what it must do and promise
//! is in `docs/using-the-library.md`, and why a repaint is right in `docs/protocol.md`.
#![cfg_attr(not(test), no_std)]

pub mod aarch64;
pub mod atomics;
pub mod deadline;
pub mod linear_map;
pub mod rendezvous;
pub mod snapshot;
pub mod tables;
