// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paints a linear map of one gibibyte, decides, and splits it to pages, in memory that is a map of numbers.
//!
//! `cargo run -p cleave --example split_in_memory` prints each step and checks it. The calls, and their order, are those of a real
//! kernel. It differs in the implementations of the traits alone, and `cleave::aarch64` has those for a device: [`Memory`] is an
//! `OffsetView` there, [`Cpus`] a `ThisCpu` and the host of a rendezvous, and the frames are the free memory of a machine.

use cleave::aarch64::{BbmLevel, EntryLevel};
use cleave::linear_map::{
    Action, BbmPolicy, Change, Form, Kernel, LargestLeaf, Layout, LinearMap, MapPolicy, Outcome, Roots, Switch,
    UpperTables, decide, paint,
};
use cleave::rendezvous::{Host, Leader, OnlineCpus, Parked, Refused, Rendezvous, Slot};
use cleave::tables::{
    Attributes, Cpu, Descriptor, FrameSource, Geometry, Level, PhysAddr, PhysRange, RangeFrames, TableMemory,
    TableTree, TlbiRepeat, VirtAddr,
};
use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// Table memory: descriptors by their physical addresses.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<HashMap<PhysAddr, Descriptor>>>);

impl TableMemory for Memory {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.0.borrow().get(&slot).copied().unwrap_or(Descriptor::EMPTY)
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.0.borrow_mut().insert(slot, value);
    }
}

/// The one CPU. On a device each of these is one instruction.
struct Cpus;

impl Cpu for Cpus {
    fn dsb_ishst(&self) {}
    fn dsb_ish(&self) {}
    fn dsb_nsh(&self) {}
    fn isb(&self) {}
    fn tlbi_vmalle1is(&self) {}
    fn tlbi_vmalle1(&self) {}
    fn repeat_tlbi_workaround(&self) {}
    fn set_ttbr0(&self, _root: PhysAddr) {}
}

/// There is no other CPU to kick or to wait for.
impl Host for Cpus {
    type Masked = ();
    fn send_ipi(&self) {}
    fn ticks(&self) -> u64 {
        0
    }
    fn pause(&self) {}
    fn wait(&self) {}
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        true
    }
    fn mask_all(&self) {}
    fn isb(&self) {}
}

static RENDEZVOUS: Rendezvous = Rendezvous::new();
static SLOT: Slot = Slot::new();

/// Roots in memory that no frame source has.
const ROOTS: Roots =
    Roots { live: PhysAddr(0x1000), replacement: PhysAddr(0x2000), spare: PhysAddr(0x3000), empty: PhysAddr(0x4000) };

/// The kernel around a repaint.
struct Example {
    memory: Memory,
    frames: RangeFrames<Memory>,
}

impl Kernel for Example {
    type Memory = Memory;
    type Roots = Memory;
    type Temporary = Memory;
    type Cpu = Cpus;
    type Stopped = Cpus;
    type Frames = RangeFrames<Memory>;

    fn memory(&self) -> Memory {
        self.memory.clone()
    }
    fn roots(&self) -> Memory {
        self.memory.clone()
    }
    fn temporary(&self) -> Memory {
        self.memory.clone()
    }
    fn cpu(&self) -> Cpus {
        Cpus
    }
    fn with_frames<T>(&mut self, work: impl FnOnce(&mut RangeFrames<Memory>) -> T) -> T {
        work(&mut self.frames)
    }
    fn is_in_use(&self, range: PhysRange) -> bool {
        FrameSource::owns(&self.frames, range.start)
    }
    fn repeat(&self) -> TlbiRepeat {
        TlbiRepeat::Once
    }
    fn before_fill(&mut self, built: &UpperTables) {
        println!("fill: {} tables reserved and built, the page tables to be filled", built.tables);
    }
    fn before_stop(&mut self, _attempt: u32) -> u64 {
        1000
    }
    fn stopped(&mut self, parked: &Parked<'_>) -> Cpus {
        println!("commit: {} CPU stands still", parked.cpus());
        Cpus
    }
    fn refused(&mut self, _attempt: u32, refused: &Refused) {
        panic!("{refused}");
    }
}

fn main() {
    let ram = [PhysRange::new(PhysAddr(0x4000_0000), PhysAddr(0x8000_0000))];
    let no_alias = PhysRange::default();
    let base = VirtAddr(0xffff_0000_0000_0000);
    let layout = Layout::new(Geometry::K4_V48, base, 1 << 40, &ram, no_alias, Attributes::NORMAL).expect("a layout");

    let memory = Memory::default();
    let free = PhysRange::new(PhysAddr(0x100_0000), PhysAddr(0x200_0000));
    let mut frames = RangeFrames::new(memory.clone(), free, layout.geometry());
    let stats = paint(&layout, LargestLeaf::Block, &memory, &Cpus, &mut frames, ROOTS.live).expect("frames for tables");
    println!("paint: one block of 1 GiB below {} table", stats.tables);
    assert_eq!((stats.leaves.at(Level::L1), stats.tables), (1, 1));

    let decision = decide([(BbmLevel::Zero, EntryLevel::El2)].into_iter(), BbmPolicy::Auto, MapPolicy::Auto);
    println!("decide: {:?}, since {}", decision.action, decision.reason);
    assert_eq!(decision.action, Action::Split);

    let tree = TableTree { memory: memory.clone(), geometry: Geometry::K4_V48, root: ROOTS.live };
    let look = |name: &str| {
        let address = VirtAddr(base.0 + 0x4512_3456);
        let (leaf, output) = tree.translate(address).expect("a translation");
        println!("{name}: {address} leads to {output} by a leaf of {:?}", leaf.level);
        (output, leaf.level)
    };
    let before = look("before");
    let mut kernel = Example { memory: memory.clone(), frames };
    let map = LinearMap::new(layout, ROOTS, &stats);
    // SAFETY: there is one CPU, and this is its slot.
    #[allow(unsafe_code, reason = "the online CPUs are counted")]
    let online = unsafe { OnlineCpus::of([&SLOT]) };
    let leader = Leader { rendezvous: &RENDEZVOUS, host: &Cpus, slot: &SLOT, online: &online };
    let done = map.repaint(&mut kernel, &leader, Form::Ahead);
    let (outcome, tally) = (done.outcome, done.frame_counts);
    let after = look("after");
    println!("repaint: {outcome:?}, {} tables used, {} given back", tally.used, tally.returned);

    assert_eq!(outcome, Outcome::Done);
    // A table of level 2, 512 of pages, and a copy of the one there was.
    assert_eq!((tally.needed, tally.used, tally.returned), (514, 514, 1));
    assert_eq!((before, after), ((PhysAddr(0x4512_3456), Level::L1), (PhysAddr(0x4512_3456), Level::L3)));

    // One page read-only: in pages no CPU has to stop for it.
    let page = [PhysRange::new(PhysAddr(0x4512_3000), PhysAddr(0x4512_4000))];
    let mut held = map.try_lock().expect("no other change");
    let protected = map.change(&mut held, &mut kernel, &leader, Change::ReadOnly, &page).expect("a free page");
    println!("protect: {:?}, {} tables used", protected.switch, protected.frame_counts.used);
    assert_eq!((protected.switch, protected.frame_counts.used), (Switch::InPlace, 0));
    // The largest leaves again: one block of 1 GiB, once the page is like the others.
    map.change(&mut held, &mut kernel, &leader, Change::ReadWrite, &page).expect("a free page");
    let collapsed = map.change(&mut held, &mut kernel, &leader, Change::Collapse, &ram).expect("frames for one table");
    println!("collapse: {:?}, {} tables given back", collapsed.switch, collapsed.frame_counts.returned);
    assert_eq!(look("collapsed").1, Level::L1);
    println!("split_in_memory: every page leads where the block led");
}
