// SPDX-License-Identifier: MIT OR Apache-2.0
//! The linear map: painting it, deciding whether it must be split, and splitting it.
//!
//! The order of a repaint is in the types and in this list:
//!
//! 1. [`paint`] writes the map in the largest leaves and counts ([`crate::tables::Census`]), [`link`] makes it live;
//! 2. [`decide`] says whether live changes of size are possible;
//! 3. [`Pool::reserve`] sets aside exactly what the split takes, or fails and changes nothing;
//! 4. [`Skeleton::build`] and [`Fill`] make the shadow, a complete map in pages that no walker reaches;
//! 5. [`exchange`] swaps the root entries while every CPU is parked (or [`split_in_window`] splits in place);
//! 6. [`free_tables`] gives the old tables back, or the shadow if the rendezvous was aborted.
//!
//! [`FirstPaint`] is step 1 for a kernel that has no linear map yet, [`repaint`] is 3 to 6 with everything that can go
//! wrong: what a kernel calls. The steps themselves are there for who needs another order.
//!
//! # A whole repaint
//!
//! One CPU, and memory that is a table of numbers. What a kernel brings is in the implementations; the repaint is one call.
//!
//! ```
//! use cleave::linear_map::*;
//! use cleave::tables::*;
//! use cleave::rendezvous::{Host, Refused, Rendezvous, Slot};
//! use std::{cell::RefCell, collections::HashMap, rc::Rc};
//!
//! #[derive(Clone, Default)]
//! struct Memory(Rc<RefCell<HashMap<PhysAddr, Descriptor>>>);
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
//! /// On a device each of these is one instruction.
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
//! /// There is nobody to call.
//! impl Host for ThisCpu {
//!     type Masked = ();
//!     fn kick_others(&self) {}
//!     fn ticks(&self) -> u64 { 0 }
//!     fn pause(&self) {}
//!     fn wait(&self) {}
//!     fn wake(&self) {}
//!     fn interrupts_enabled(&self) -> bool { true }
//!     fn mask_all(&self) {}
//!     fn isb(&self) {}
//! }
//!
//! #[derive(Default)]
//! struct Frames(Vec<PhysAddr>);
//!
//! impl FrameSource for Frames {
//!     fn available(&self) -> u64 { self.0.len() as u64 }
//!     fn allocate(&mut self) -> Option<PhysAddr> { self.0.pop() }
//!     fn owns(&self, frame: PhysAddr) -> bool { frame.0 >> 12 < 0x1600 && !self.0.contains(&frame) }
//!     fn free(&mut self, frame: PhysAddr) { self.0.push(frame) }
//! }
//!
//! static FILL: Fill = Fill::new();
//! static RENDEZVOUS: Rendezvous = Rendezvous::new();
//! static LOCK: MapLock = MapLock::new();
//! static SLOT: Slot = Slot::new();
//!
//! struct Mine<'a> {
//!     memory: Memory,
//!     frames: Frames,
//!     layout: Layout<'a>,
//!     roots: Roots,
//! }
//!
//! impl Kernel for Mine<'_> {
//!     type Memory = Memory;
//!     type Roots = Memory;
//!     type Window = Memory;
//!     type Cpu = ThisCpu;
//!     type Frames = Frames;
//!
//!     fn memory(&self) -> Memory { self.memory.clone() }
//!     fn roots(&self) -> Memory { self.memory.clone() }
//!     fn window(&self) -> Memory { self.memory.clone() }
//!     fn cpu(&self) -> ThisCpu { ThisCpu }
//!     fn with_frames<T>(&mut self, work: impl FnOnce(&mut Frames) -> T) -> T { work(&mut self.frames) }
//!     fn cpus(&self) -> u32 { 1 }
//!     fn repeat(&self) -> TlbiRepeat { TlbiRepeat::Once }
//!     fn before_fill(&mut self, _built: &Skeleton) {}
//!     fn call_for_help(&mut self) {}
//!     fn work(&mut self, share: Share) {
//!         let (live, shadow) = (self.roots.live, self.roots.shadow);
//!         let map = ShadowMap { layout: &self.layout, memory: self.memory(), roots: self.roots(), live, shadow };
//!         FILL.work(&map, &ThisCpu, share, &mut 0);
//!     }
//!     fn wait_until(&mut self, done: impl Fn() -> bool) { assert!(done(), "there is nobody to wait for") }
//!     fn gather<C: Commit>(&mut self, commit: &mut C) -> Result<(), Refused> {
//!         RENDEZVOUS.run(&ThisCpu, &SLOT, 1, 1000, |everyone| commit.run(&ThisCpu, everyone)).map(|_| ())
//!     }
//!     fn refused(&mut self, _attempt: u32, _refused: &Refused) {}
//! }
//!
//! let memory = Memory::default();
//! let mut frames = Frames((0x1000..0x1600).map(|page| PhysAddr(page << 12)).collect());
//! let ram = [PhysRange::new(PhysAddr(0x4000_0000), PhysAddr(0x8000_0000))];
//! let (base, none) = (VirtAddr(0xffff_0000_0000_0000), PhysRange::default());
//! let layout = Layout::new(Geometry::K4_V48, base, 1 << 40, &ram, none, Attributes::NORMAL).unwrap();
//! let [live, shadow, spare, empty] = [0x1000, 0x2000, 0x3000, 0x4000].map(PhysAddr);
//! let roots = Roots { live, shadow, spare, empty };
//! let census = paint(&layout, LargestLeaf::Block, &memory, &ThisCpu, &mut frames, live).unwrap();
//!
//! let mut kernel = Mine { memory, frames, layout, roots };
//! let map = LiveMap { layout: &layout, census: &census, roots, lock: &LOCK, fill: &FILL };
//! let (ending, tally) = repaint(&mut kernel, &map, Form::Ahead);
//! assert_eq!(ending, Ending::Done);
//! // A table of level 2, 512 of pages, and a copy of the one there was.
//! assert_eq!((tally.needed, tally.used, tally.returned), (514, 514, 1));
//! ```

mod commit;
mod decide;
mod fill;
mod first;
mod layout;
mod lock;
mod paint;
mod pool;
mod repaint;
mod retire;
mod shadow;

#[cfg(test)]
mod tests;

pub use commit::{PhysicalWindow, RootSpan, exchange, split_in_window};
pub use decide::{Action, Decision, Reason, Trust, Wish, decide};
pub use fill::{Fill, ShadowMap, Share};
pub use first::FirstPaint;
pub use layout::{Layout, LayoutError};
pub use lock::{Busy, MapLock, MapLockGuard};
pub use paint::{LargestLeaf, PaintError, link, paint, tables_bound};
pub use pool::{OutOfMemory, Pool};
pub use repaint::{ATTEMPTS, Commit, Ending, Form, Kernel, LiveMap, Roots, Step, Tally, repaint};
pub use retire::free_tables;
pub use shadow::Skeleton;
