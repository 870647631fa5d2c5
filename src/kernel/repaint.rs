//! The repaint: from the reservation to the old tables' return, with everything that can go wrong before the commit.
//!
//! The steps are the library's ([`cleave::linear_map`]); here they meet this kernel's views, frames, CPUs and boot
//! arguments. Two ways share everything but when tables are filled: [`Repaint::ahead`] before the window,
//! [`Repaint::in_window`] inside it. `docs/protocol.md` has each barrier and each failure.
#![cfg(target_os = "none")]

extern crate alloc;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use cleave::arch::{hint, timer};
use cleave::linear_map::{
    Fill, LargestLeaf, Layout, MapLock, OutOfMemory, PhysicalWindow, Pool, ShadowMap, Share, Skeleton, exchange,
    free_tables, paint, split_in_window, tables_bound,
};
use cleave::paging::{
    Attributes, Census, Descriptor, FrameSource, LeafCounts, PhysRange, Scope, TableMemory, VirtAddr, slot,
};
use cleave::platform::MemoryRanges;
use cleave::platform::bootargs::{Fault, FillMode};
use cleave::rendezvous::{Measured, Parked, Refused};

use crate::kernel::image::Table;
use crate::kernel::interrupts::{RENDEZVOUS, ThisCpu as Host, wake_others};
use crate::kernel::percpu::{PerCpu, this_cpu};
use crate::kernel::probe::{Plan, ProbingCpu};
use crate::kernel::views::{ThisCpu, View};
use crate::kernel::{faults, load, memory, probe, smp};

/// Held from the reservation until the old tables are back.
pub(crate) static MAP_LOCK: MapLock = MapLock::new();
static FILL: Fill = Fill::new();

/// How often the rendezvous is tried.
const ATTEMPTS: u32 = 3;

/// How a repaint ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every leaf but the kernel alias is a page.
    Done,
    /// The tables could not be reserved; nothing has changed.
    OutOfMemory(OutOfMemory),
    /// Not every CPU came; nothing has changed.
    Aborted,
    /// Somebody else is changing the map; nothing has changed.
    Busy,
}

/// What a repaint did and how long it took. Ticks of the counter; `None` where there was no such step.
#[derive(Default)]
pub(crate) struct Account {
    /// Frames the census asks for.
    pub(crate) census: u64,
    /// Frames reserved.
    pub(crate) reserved: u64,
    /// Frames that became tables.
    pub(crate) used: u64,
    /// Old tables given back.
    pub(crate) returned: u64,
    /// Rendezvous tried.
    pub(crate) attempts: u32,
    /// What went wrong on the way.
    pub(crate) errors: Vec<String>,
    /// Taking the frames.
    pub(crate) reserve: Option<u64>,
    /// Building the shadow.
    pub(crate) fill: Option<u64>,
    /// The last rendezvous, when it took place.
    pub(crate) measured: Option<Measured>,
    /// Everything.
    pub(crate) total: u64,
    /// The map afterwards, by what is known of it without a walk.
    pub(crate) after: LeafCounts,
}

/// Splits the whole linear map, whose census is `census`.
pub(crate) fn repaint(census: &Census) -> (Ending, Account) {
    let start = timer::count();
    let mut account = Account { after: census.leaves, ..Account::default() };
    let ending = match MAP_LOCK.try_lock() {
        Ok(_held) => Repaint { layout: memory::layout(), census, account: &mut account }.run(),
        Err(_busy) => Ending::Busy,
    };
    account.total = timer::count().wrapping_sub(start);
    (ending, account)
}

/// The counts of a map whose every leaf but the alias's is a page.
pub(crate) fn split_counts(layout: &Layout<'_>, census: &Census) -> LeafCounts {
    use cleave::paging::{Hint, Level};
    let mut counts = census.alias;
    let bytes: u64 = layout.regions().iter().map(|region| region.bytes()).sum();
    let pages = (bytes - layout.alias().bytes()) >> layout.geometry().page_shift();
    counts.add(Level::L3, Hint::Single, pages);
    counts
}

struct Repaint<'a> {
    layout: &'static Layout<'static>,
    census: &'a Census,
    account: &'a mut Account,
}

impl Repaint<'_> {
    fn run(&mut self) -> Ending {
        match faults::args().fill {
            FillMode::Ahead => self.ahead(),
            FillMode::Window => self.in_window(),
        }
    }

    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        self.account.census = needed;
        let mut frames = memory::frames();
        let start = timer::count();
        let pool = match faults::args().fault_reserve() {
            None => Pool::reserve(&View::LINEAR, &mut *frames, needed),
            Some(nth) => {
                let left = (nth as u64).saturating_sub(1);
                Pool::reserve(&View::LINEAR, &mut faults::Failing { frames: &mut *frames, left }, needed)
            }
        };
        self.account.reserve = Some(timer::count().wrapping_sub(start));
        self.account.reserved = pool.as_ref().map_or(0, Pool::frames);
        pool
    }

    /// The default: a complete shadow before the window, and in the window an exchange of root entries.
    fn ahead(&mut self) -> Ending {
        let layout = self.layout;
        let needed = self.census.tables_to_split(layout.geometry()) + self.census.tables;
        let mut pool = match self.reserve(needed) {
            Ok(pool) => pool,
            Err(missing) => return Ending::OutOfMemory(missing),
        };
        let start = timer::count();
        let skeleton = Skeleton::build(
            layout,
            &View::LINEAR,
            &View::image(),
            Table::Root.phys(),
            Table::ShadowRoot.phys(),
            &mut pool,
        );
        self.fill(&skeleton);
        self.account.fill = Some(timer::count().wrapping_sub(start));
        self.account.used = skeleton.tables;
        if pool.frames() != 0 {
            self.account.errors.push(format!("{} frames more reserved than used", pool.frames()));
            pool.release(&View::LINEAR, &mut *memory::frames());
        }
        if !FILL.is_complete() {
            // A CPU has claimed tables and does not finish them. It may still write to them, so they cannot be given
            // back: they are lost, and said to be.
            self.account.errors.push(format!("a CPU stopped while it filled tables: {} frames kept", skeleton.tables));
            return Ending::Aborted;
        }
        let (roots, live, shadow) = (View::image(), Table::Root.phys(), Table::ShadowRoot.phys());
        // The live root's entries, for giving the old tables back; the window's root is not otherwise in use.
        let old = Table::WindowRoot.phys();
        for entry in layout.root_entries() {
            roots.store(slot(old, entry), roots.load(slot(live, entry)));
        }
        let entries = layout.root_entries();
        let repeat = smp::tlbi_repeat();
        let committed = self.gather(Commit {
            plain: |everyone: &Parked<'_>| exchange(&roots, &ThisCpu, live, shadow, entries.clone(), repeat, everyone),
            probing: |cpu: &ProbingCpu, everyone: &Parked<'_>| {
                exchange(&roots, cpu, live, shadow, entries.clone(), repeat, everyone);
            },
        });
        // Outside the window again: the tables no walker reaches any more. After an abort those are the shadow's.
        let gone = if committed { old } else { shadow };
        let entries = layout.root_entries();
        let freed =
            free_tables(layout.geometry(), &View::LINEAR, &roots, gone, entries.clone(), &mut *memory::frames());
        for entry in entries {
            roots.store(slot(old, entry), Descriptor::EMPTY);
            roots.store(slot(shadow, entry), Descriptor::EMPTY);
        }
        self.finish(committed, freed)
    }

    fn finish(&mut self, committed: bool, freed: u64) -> Ending {
        if committed {
            self.account.returned = freed;
            self.account.after = split_counts(self.layout, self.census);
            Ending::Done
        } else {
            self.account.used = 0;
            Ending::Aborted
        }
    }

    /// Fills the shadow's page tables with every CPU at hand.
    fn fill(&mut self, skeleton: &Skeleton) {
        for cpu in smp::online() {
            cpu.own.chunks.store(0, Ordering::Relaxed);
            cpu.own.filled.store(0, Ordering::Relaxed);
        }
        let me = this_cpu();
        me.own.filled.store(skeleton.complete, Ordering::Relaxed);
        FILL.open(self.layout, &ThisCpu, smp::online_count().into());
        wake_others();
        work(me, Share::Fair);
        let patience = deadline();
        let waited = |since: u64| timer::count().wrapping_sub(since) > patience;
        let start = timer::count();
        while FILL.is_open() && !waited(start) {
            hint::wait_for_event();
        }
        // Whatever nobody came for.
        work(me, Share::Everything);
        let start = timer::count();
        while !FILL.is_complete() && !waited(start) {
            hint::wait_for_event();
        }
        FILL.close();
    }

    /// The classic form: the leader splits the broken map while everyone is parked.
    fn in_window(&mut self) -> Ending {
        let layout = self.layout;
        let needed = self.census.tables_to_split(layout.geometry());
        let mut pool = match self.reserve(needed) {
            Ok(pool) => pool,
            Err(missing) => return Ending::OutOfMemory(missing),
        };
        if let Err(missing) = paint_window(layout) {
            pool.release(&View::LINEAR, &mut *memory::frames());
            return Ending::OutOfMemory(missing);
        }
        let window =
            PhysicalWindow { view: View::PHYSICAL, root: Table::WindowRoot.phys(), empty: Table::EmptyRoot.phys() };
        let (roots, live, save) = (View::image(), Table::Root.phys(), Table::ShadowRoot.phys());
        let repeat = smp::tlbi_repeat();
        let pool_cell = core::cell::RefCell::new(&mut pool);
        let (used, filled) = (core::cell::Cell::new(0), core::cell::Cell::new(None));
        let committed = self.gather(Commit {
            plain: |everyone: &Parked<'_>| {
                let pool = &mut **pool_cell.borrow_mut();
                let start = timer::count();
                used.set(split_in_window(layout, &roots, &ThisCpu, live, save, &window, pool, repeat, everyone));
                filled.set(Some(timer::count().wrapping_sub(start)));
            },
            probing: |cpu: &ProbingCpu, everyone: &Parked<'_>| {
                let pool = &mut **pool_cell.borrow_mut();
                let start = timer::count();
                used.set(split_in_window(layout, &roots, cpu, live, save, &window, pool, repeat, everyone));
                filled.set(Some(timer::count().wrapping_sub(start)));
            },
        });
        self.account.fill = filled.get();
        self.account.used = used.get();
        this_cpu().own.filled.store(used.get(), Ordering::Relaxed);
        if pool.frames() != 0 {
            if committed {
                self.account.errors.push(format!("{} frames more reserved than used", pool.frames()));
            }
            pool.release(&View::LINEAR, &mut *memory::frames());
        }
        let entries = identity(layout).map_or(0..0, |plan| plan.root_entries());
        free_tables(layout.geometry(), &View::LINEAR, &roots, window.root, entries.clone(), &mut *memory::frames());
        for entry in entries.chain(layout.root_entries()) {
            roots.store(slot(window.root, entry), Descriptor::EMPTY);
            roots.store(slot(save, entry), Descriptor::EMPTY);
        }
        self.finish(committed, 0)
    }

    /// Gathers everyone and commits; tries again when somebody did not come in time. True when it was done.
    fn gather(&mut self, mut commit: Commit<impl FnMut(&Parked<'_>), impl FnMut(&ProbingCpu, &Parked<'_>)>) -> bool {
        let args = faults::args();
        let selftest = args.asks_for(cleave::platform::bootargs::Task::Selftest);
        while self.account.attempts < ATTEMPTS {
            self.account.attempts += 1;
            let (slot, cpus) = (&this_cpu().own.slot, smp::online_count());
            let touch = args.injects(Fault::WindowTouch);
            let result = if selftest || touch {
                probe::arm();
                let plan = match () {
                    () if touch => Plan::Touch,
                    () if args.injects(Fault::ProbeNoTlbi) => Plan::ProbeWithoutInvalidation,
                    () => Plan::Probe,
                };
                RENDEZVOUS.run(&Host, slot, cpus, deadline(), |everyone| {
                    load::parked();
                    (commit.probing)(&ProbingCpu::new(plan), everyone);
                })
            } else if faults::any_in_window() {
                let mut held = faults::hold();
                let mut second = None;
                let result = RENDEZVOUS.run(&Host, slot, cpus, deadline(), |everyone| {
                    load::parked();
                    faults::in_window(&mut held);
                    second = args.injects(Fault::RendezvousSecond).then(faults::second_caller).flatten();
                    (commit.plain)(everyone);
                });
                if let Some(refused) = second {
                    log::info!("a second caller inside the window was refused: {refused}");
                }
                result
            } else {
                RENDEZVOUS.run(&Host, slot, cpus, deadline(), |everyone| {
                    load::parked();
                    (commit.plain)(everyone);
                })
            };
            match result {
                Ok(((), measured)) => {
                    self.account.measured = Some(measured);
                    return true;
                }
                Err(refused) => self.note(&refused),
            }
        }
        false
    }

    /// Names who did not come.
    fn note(&mut self, refused: &Refused) {
        let mut text = format!("attempt {}: {refused}", self.account.attempts);
        if let Refused::Deadline { generation, .. } = refused {
            text.push_str(", missing:");
            for cpu in smp::online().filter(|cpu| !cpu.own.slot.arrived_in(*generation)) {
                text.push_str(&format!(" CPU {}", cpu.id));
            }
        }
        log::warn!("rendezvous: {text}");
        self.account.errors.push(text);
    }
}

/// The commit as the leader runs it, and as it runs with the self-test's probe in it.
struct Commit<P, Q> {
    plain: P,
    probing: Q,
}

/// How long CPUs have to come, in ticks: `rendezvous.deadline`, or a second and 50 ms for each CPU.
pub(crate) fn deadline() -> u64 {
    let milliseconds = faults::args().deadline.unwrap_or(1000 + 50 * u64::from(smp::online_count()));
    milliseconds.saturating_mul(timer::frequency()) / 1000
}

/// True while there are tables to fill that this CPU may still help with.
pub(crate) fn wants_help() -> bool {
    FILL.is_open() && FILL.share_left(this_cpu().own.chunks.load(Ordering::Relaxed))
}

/// Fills tables, if there is anything to fill.
pub(crate) fn help(cpu: &PerCpu) {
    if FILL.is_open() {
        work(cpu, Share::Fair);
    }
}

fn work(cpu: &PerCpu, share: Share) {
    let map = ShadowMap {
        layout: memory::layout(),
        memory: View::LINEAR,
        roots: View::image(),
        live: Table::Root.phys(),
        shadow: Table::ShadowRoot.phys(),
    };
    let mut mine = cpu.own.chunks.load(Ordering::Relaxed);
    let tables = FILL.work(&map, &ThisCpu, share, &mut mine);
    cpu.own.chunks.store(mine, Ordering::Relaxed);
    cpu.own.filled.fetch_add(tables, Ordering::Relaxed);
    if tables != 0 {
        hint::send_event();
    }
}

/// The plan of the physical window: everything the linear map has but the kernel's text and read-only data, at its
/// physical address, for one address space (nG) and never executable.
fn identity(layout: &Layout<'static>) -> Option<Layout<'static>> {
    static REGIONS: spin::Once<MemoryRanges> = spin::Once::new();
    let regions = REGIONS.call_once(|| {
        let mut ranges = MemoryRanges::new();
        for &region in layout.regions() {
            // As many as the linear map has, and one more for the hole: the linear map's own set had room for more.
            ranges.insert(region).ok();
        }
        ranges.remove(layout.alias()).ok();
        ranges
    });
    let attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };
    Layout::new(layout.geometry(), VirtAddr(0), 1 << 47, regions.as_slice(), PhysRange::default(), attributes).ok()
}

/// Paints the physical window. Its tables are no part of the repaint's account: they come and go.
fn paint_window(layout: &Layout<'static>) -> Result<(), OutOfMemory> {
    let mut frames = memory::frames();
    let available = frames.available();
    let plan = identity(layout).ok_or(OutOfMemory { needed: 0, available })?;
    let needed = tables_bound(&plan, LargestLeaf::Block);
    if available < needed {
        return Err(OutOfMemory { needed, available });
    }
    let root = Table::WindowRoot.phys();
    let memory = crate::kernel::views::Split {
        range: PhysRange::new(root, root.offset(4096)),
        near: View::image(),
        far: View::LINEAR,
    };
    paint(&plan, LargestLeaf::Block, &memory, &ThisCpu, &mut *frames, root)
        .map(|_census| ())
        .map_err(|_| OutOfMemory { needed, available })
}

/// A rendezvous with nothing to do, where there is no repaint: so that its timeline and the load's counters mean the
/// same in every run.
pub(crate) fn drill() -> (Option<Measured>, Cow<'static, str>) {
    match RENDEZVOUS.run(&Host, &this_cpu().own.slot, smp::online_count(), deadline(), |_| load::parked()) {
        Ok(((), measured)) => (Some(measured), Cow::Borrowed("")),
        Err(refused) => (None, Cow::Owned(format!("rendezvous without a repaint: {refused}"))),
    }
}
