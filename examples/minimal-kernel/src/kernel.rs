// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paint, start the second CPU, decide, split, check.
#![allow(unsafe_code, reason = "promises to the library about this kernel's mappings, and calls of boot.S")]

use cleave::aarch64::{self, CpuFacts, EntryLevel, OffsetView, PollingCpus, ThisCpu, cpu, hint, midr::Midr, timer};
use cleave::rendezvous::{Host, Leader, OnlineCpus, Parked, Refused, Rendezvous, Slot};
use cleave::{deadline::Deadline, linear_map::*, tables::*};
use core::fmt::Write;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

// IPS comes from the CPU. SCTLR: RES1 bits 29, 28, 23, 22, 20, 11, 8, 7; WXN 19, I 12, SA0 4, SA 3, C 2, M 0.
core::arch::global_asm!(include_str!("boot.S"), MAIR = const aarch64::MAIR_EL1,
    TCR = const aarch64::tcr_el1(Geometry::K4_V48, 0), SCTLR = const 0x30d8_199d_u64);
// SAFETY: they ask for nothing; boot.S says what they do.
unsafe extern "C" {
    safe fn minimal_put(byte: u8);
    safe fn minimal_start_second() -> i64;
    safe fn minimal_off() -> !;
}

/// The distance of the image's mapping, and the address of the linear map.
const OFFSET: u64 = 0xffff_8000_0000_0000;
const LINEAR: VirtAddr = VirtAddr(0xffff_0000_0000_0000);
/// RAM of QEMU virt with 256 MiB; the image's code, read-only in the linear map; memory for tables.
static RAM: [PhysRange; 1] = [PhysRange::new(PhysAddr(0x4000_0000), PhysAddr(0x5000_0000))];
const CODE: PhysRange = PhysRange::new(PhysAddr(0x4020_0000), PhysAddr(0x4040_0000));
const FREE: PhysRange = PhysRange::new(PhysAddr(0x4400_0000), PhysAddr(0x5000_0000));
/// Returns a table of boot.S: they lie one behind the other where the image's data begins.
const fn table(number: u64) -> PhysAddr {
    PhysAddr(0x4040_0000 + 0x1000 * number)
}
const ROOTS: Roots = Roots { live: table(0), replacement: table(1), spare: table(2), empty: table(3) };

// SAFETY: the linear map has all RAM, and no reference to a table exists.
const MEMORY: OffsetView = unsafe { OffsetView::new(LINEAR.0) };
// SAFETY: the roots are in the image's data, which is mapped for ever.
const IMAGE: OffsetView = unsafe { OffsetView::new(OFFSET) };
// SAFETY: EL1, and behind boot.S nothing lies below TTBR0.
const CPU: ThisCpu = unsafe { ThisCpu::new() };
/// The map, on the stack of the boot CPU, which never returns.
static MAP: AtomicPtr<LinearMap<'static>> = AtomicPtr::new(core::ptr::null_mut());
static RENDEZVOUS: Rendezvous = Rendezvous::new();
static SLOTS: [Slot; 2] = [Slot::new(), Slot::new()];
/// Of each CPU MIDR_EL1, FEAT_BBM in bits 35:32, and bit 63 when it is online.
static ONLINE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

struct Console;
impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.bytes().for_each(|byte| minimal_put(byte));
        Ok(())
    }
}
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "{info}\nminimal: FAIL");
    minimal_off()
}
#[unsafe(no_mangle)]
extern "C" fn minimal_fault(syndrome: u64, link: u64, address: u64) -> ! {
    panic!("exception {syndrome:#x} at {link:#x}, address {address:#x}")
}

fn layout() -> Layout<'static> {
    Layout::new(Geometry::K4_V48, LINEAR, 1 << 47, &RAM, CODE, Attributes::NORMAL).expect("a layout")
}
fn set_online(cpu: usize) {
    let facts = u64::from(cpu::features().bbm) << 32 | u64::from(cpu::midr().0);
    ONLINE[cpu].store(1 << 63 | facts, Ordering::Release);
}
fn facts(cpu: usize) -> CpuFacts {
    let facts = ONLINE[cpu].load(Ordering::Acquire);
    CpuFacts { midr: Midr(facts as u32), bbm: (facts >> 32 & 0xf) as u8, entry: EntryLevel::El1 }
}
/// Waits for `done`, one second at most, and returns what it says then.
fn wait(done: impl Fn() -> bool) -> bool {
    let mut deadline = Deadline::new(timer::count(), timer::frequency());
    while !done() && !deadline.has_passed(timer::count()) {
        hint::yield_now();
    }
    done()
}
/// Returns where an address of the linear map leads by the MMU, and the level of its leaf by the tables.
fn look(address: VirtAddr) -> (Option<PhysAddr>, Option<Level>) {
    let leaf = TableTree { memory: MEMORY, geometry: Geometry::K4_V48, root: ROOTS.live }.translate(address);
    (aarch64::translate::read(address).address(), leaf.map(|(leaf, _)| leaf.level))
}

struct Minimal(RangeFrames<OffsetView>);
#[rustfmt::skip]
impl Kernel for Minimal {
    type Memory = OffsetView;
    type Roots = OffsetView;
    type Temporary = OffsetView;
    type Cpu = ThisCpu;
    type Stopped = ThisCpu;
    type Frames = RangeFrames<OffsetView>;
    fn memory(&self) -> OffsetView { MEMORY }
    fn roots(&self) -> OffsetView { IMAGE }
    fn temporary(&self) -> OffsetView { unreachable!("the tables are filled ahead") }
    fn cpu(&self) -> ThisCpu { CPU }
    fn with_frames<T>(&mut self, work: impl FnOnce(&mut Self::Frames) -> T) -> T { work(&mut self.0) }
    fn is_in_use(&self, range: PhysRange) -> bool { range.overlaps(FREE) }
    fn repeat(&self) -> TlbiRepeat { aarch64::tlbi_repeat([facts(0), facts(1)]) }
    fn call_for_help(&mut self) { PollingCpus.send_ipi() }
    fn wait_until(&mut self, done: impl Fn() -> bool) { wait(done); }
    fn before_stop(&mut self, _attempt: u32) -> u64 { timer::frequency() }
    fn stopped(&mut self, _parked: &Parked<'_>) -> ThisCpu { CPU }
    fn refused(&mut self, attempt: u32, refused: &Refused) { let _ = writeln!(Console, "attempt {attempt}: {refused}"); }
}

#[unsafe(no_mangle)]
extern "C" fn minimal_secondary() -> ! {
    set_online(1);
    // SAFETY: the boot CPU stored it before it started this one, and keeps it for ever.
    let map = unsafe { &*MAP.load(Ordering::Acquire) };
    loop {
        map.fill(MEMORY, IMAGE, &CPU, Share::Fair, &mut 0);
        RENDEZVOUS.attend(&PollingCpus, &SLOTS[1]);
        PollingCpus.idle();
    }
}
#[unsafe(no_mangle)]
extern "C" fn minimal_main() -> ! {
    let (layout, target) = (layout(), PhysAddr(0x4512_3456));
    let piece = PhysRange::new(FREE.start, FREE.start.offset(first_paint_bytes(&layout, LargestLeaf::Block)));
    // SAFETY: `begin` maps the piece there, by entry 2 of table 4, which is the kernel's of level 1; table 5 is spare.
    let view = unsafe { OffsetView::of_mapping(VirtAddr(OFFSET + 0x8000_0000), piece.start) };
    let blocks = TemporaryBlocks { piece, table: table(5), entry: slot(table(4), 2) };
    let mut first = FirstPaint::begin(&layout, &IMAGE, &CPU, blocks, view);
    let stats = first.paint(LargestLeaf::Block, ROOTS).expect("tables");
    let mut frames = RangeFrames::new(MEMORY, FREE, layout.geometry());
    frames.claim(first.end(TlbiRepeat::Twice));
    let _ = writeln!(Console, "minimal: painted {:?}", stats.leaves);

    let mut map = LinearMap::new(layout, ROOTS, &stats);
    MAP.store(&raw mut map, Ordering::Release);
    set_online(0);
    let both = minimal_start_second() == 0 && wait(|| ONLINE[1].load(Ordering::Acquire) != 0);
    assert!(both, "the second CPU does not come");
    let cpus = [facts(0), facts(1)].map(|cpu| (cpu.level(None), cpu.entry));
    let decision = decide(cpus.into_iter(), BbmPolicy::Auto, MapPolicy::Auto);
    let _ = writeln!(Console, "decision: {:?}, {}", decision.action, decision.reason);

    let address = VirtAddr(LINEAR.0 + target.0);
    let before = look(address);
    // SAFETY: both CPUs are online, each with its slot, and stay so.
    let online = unsafe { OnlineCpus::of(&SLOTS) };
    let leader = Leader { rendezvous: &RENDEZVOUS, host: &PollingCpus, slot: &SLOTS[0], online: &online };
    let done = map.repaint(&mut Minimal(frames), &leader, Form::Ahead);
    let (outcome, tally) = (done.outcome, done.frame_counts);
    let after = look(address);
    let _ = writeln!(Console, "{outcome:?}: {tally:?}\n{before:?} before, {after:?} after");
    let split = decision.action == Action::Split && outcome == Outcome::Done && tally.used == tally.needed;
    let right = before == (Some(target), Some(Level::L2)) && after == (Some(target), Some(Level::L3));
    let _ = writeln!(Console, "minimal: {}", if split && right { "PASS" } else { "FAIL" });
    minimal_off()
}
