// SPDX-License-Identifier: MIT OR Apache-2.0
//! Change the block size of a kernel's linear map of RAM, on AArch64 CPUs that forbid changing the size of a live mapping.
//!
//! The map is painted in the largest blocks. When all CPUs are up, [`linear_map::decide`] says whether they can split a live
//! block. Where they cannot, [`linear_map::repaint`] splits the whole map while every CPU stands still. The library has no
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
//! | [`linear_map::Kernel`] | views, frames, CPUs, how they are gathered | [`linear_map::repaint`] |
//! | [`tables::FrameSource`] | give a frame, take it back | painting, [`linear_map::Pool`] |
//! | [`rendezvous::Host`] | kick the others, count, wait, mask | [`rendezvous::Rendezvous`] |
//!
//! And two promises no trait can make for it. What runs in the window (code, stacks, the roots, the rendezvous' state) is not
//! in the linear map. And the set of online CPUs does not change from the reservation until the old tables are back.
//!
//! # Example
//!
//! A map of one gibibyte, painted into memory that is a table of numbers. A real kernel differs in the three
//! implementations and in nothing else.
//!
//! ```
//! use cleave::linear_map::{LargestLeaf, Layout, Pool, paint};
//! use cleave::tables::{
//!     Attributes, Cpu, Descriptor, FrameSource, Geometry, Level, PhysAddr, PhysRange, TableMemory, VirtAddr,
//! };
//! use std::{cell::RefCell, collections::HashMap};
//!
//! /// Table memory; on a device this adds the distance of a mapping and stores 64 bits, volatile.
//! #[derive(Default)]
//! struct Memory(RefCell<HashMap<PhysAddr, Descriptor>>);
//!
//! impl TableMemory for Memory {
//!     fn load(&self, slot: PhysAddr) -> Descriptor {
//!         self.0.borrow().get(&slot).copied().unwrap_or(Descriptor::EMPTY)
//!     }
//!     fn store(&self, slot: PhysAddr, value: Descriptor) {
//!         self.0.borrow_mut().insert(slot, value);
//!     }
//! }
//!
//! /// A CPU; on a device each of these is one instruction, of [`cleave::aarch64`].
//! struct ThisCpu;
//!
//! impl Cpu for ThisCpu {
//!     fn dsb_ishst(&self) {}
//!     fn dsb_ish(&self) {}
//!     fn dsb_nsh(&self) {}
//!     fn isb(&self) {}
//!     fn tlbi_vmalle1is(&self) {}
//!     fn tlbi_vmalle1(&self) {}
//!     fn repeat_tlbi_workaround(&self) {}
//!     fn set_ttbr0(&self, _root: PhysAddr) {}
//! }
//!
//! /// Frames 0 up to a number; what comes back is given out again first.
//! struct Frames(Vec<u64>);
//!
//! impl FrameSource for Frames {
//!     fn available(&self) -> u64 {
//!         self.0.len() as u64
//!     }
//!     fn allocate(&mut self) -> Option<PhysAddr> {
//!         self.0.pop().map(|frame| PhysAddr(frame * 4096))
//!     }
//!     fn owns(&self, frame: PhysAddr) -> bool {
//!         frame.0 < 600 * 4096 && !self.0.contains(&(frame.0 / 4096))
//!     }
//!     fn free(&mut self, frame: PhysAddr) {
//!         self.0.push(frame.0 / 4096);
//!     }
//! }
//!
//! let ram = [PhysRange::new(PhysAddr(0x4000_0000), PhysAddr(0x8000_0000))];
//! let no_alias = PhysRange::default();
//! let base = VirtAddr(0xffff_0000_0000_0000);
//! let layout = Layout::new(Geometry::K4_V48, base, 1 << 47, &ram, no_alias, Attributes::NORMAL).unwrap();
//!
//! let (memory, mut frames) = (Memory::default(), Frames((1..600).collect()));
//! let root = PhysAddr(0);
//! let census = paint(&layout, LargestLeaf::Block, &memory, &ThisCpu, &mut frames, root).unwrap();
//! assert_eq!(census.leaves.at(Level::L1), 1);
//!
//! // Painting has counted what a split takes; reserving it may fail, and then nothing has changed.
//! let needed = census.tables_to_split(layout.geometry()) + census.tables;
//! assert_eq!(needed, 513 + 1);
//! let pool = Pool::reserve(&memory, &mut frames, needed).unwrap();
//! pool.release(&memory, &mut frames);
//! ```
//!
//! How the rest goes is in [`linear_map`], and why it is right in `docs/protocol.md` of the repository.
#![cfg_attr(not(test), no_std)]

pub mod aarch64;
pub mod atomics;
pub mod deadline;
pub mod linear_map;
pub mod rendezvous;
pub mod tables;
