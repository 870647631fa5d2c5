//! cleave: paint a kernel's linear map in the largest blocks, and split it to pages while every CPU stands still.
//!
//! This is the library half. It knows translation tables, the rendezvous and the device tree; it knows no allocator, no
//! interrupt controller and no console: a kernel brings those. The kernel in this package is one user of it.
//!
//! # Rooms
//!
//! A room knows the ones below it in this list, never those above.
//!
//! - [`linear_map`]: the subject. Paint the map, decide whether it must be split, reserve, build the shadow, exchange it, give
//!   the old tables back.
//! - [`rendezvous`]: bring every CPU to a stop, let one of them act, let all go; or call it off.
//! - [`platform`]: what the device tree says.
//! - [`paging`]: translation tables as data, and the seam to the machine.
//! - [`deadline`]: a wait with an end, for a counter that may be read wrongly once.
//! - [`arch`]: one function for each instruction, on the device; what the hardware encodes, everywhere.
//!
//! And beside them `machine`, with the feature of that name: the abstract machine that runs the rooms above unchanged and says
//! which rule of the architecture they break.
//!
//! All but what executes an instruction is portable: it compiles, and is tested, on any host.
//!
//! # What a kernel brings
//!
//! | trait | methods | for |
//! |---|---|---|
//! | [`paging::TableMemory`] | load and store a descriptor by physical address | everything that reads or writes tables |
//! | [`paging::Cpu`] | barriers, TLB invalidations, TTBR0, of the CPU that calls | painting, the commit |
//! | [`linear_map::Kernel`] | views, frames, CPUs, how they are gathered | [`linear_map::repaint`] |
//! | [`paging::FrameSource`] | give a frame, take it back | painting, [`linear_map::Pool`] |
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
//! use cleave::paging::{
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
//! /// A CPU; on a device each of these is one instruction, of [`cleave::arch`].
//! struct ThisCpu;
//!
//! impl Cpu for ThisCpu {
//!     fn dsb_ishst(&self) {}
//!     fn dsb_ish(&self) {}
//!     fn dsb_nsh(&self) {}
//!     fn isb(&self) {}
//!     fn tlbi_vmalle1is(&self) {}
//!     fn tlbi_vmalle1(&self) {}
//!     fn tlbi_vale1is_any(&self) {}
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
#![cfg_attr(not(any(test, loom, feature = "machine")), no_std)]

pub mod arch;
pub mod deadline;
pub mod linear_map;
#[cfg(all(not(loom), any(test, feature = "machine")))]
pub mod machine;
pub mod paging;
pub mod platform;
pub mod rendezvous;
#[cfg(not(loom))]
mod sync;
#[cfg(loom)]
pub mod sync;
