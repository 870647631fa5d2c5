// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repaint from the reservation to the old tables' return: the order of the steps, in one place for every kernel.
//!
//! Each step is a function of its own in this room and may be called by itself. Here they are put in the only order that
//! is sound, with what has to be undone when one of them fails. What differs from kernel to kernel (views, frames, how
//! CPUs are called and what they do while they wait) is behind the trait [`Kernel`]. The abstract machine is one, the
//! kernel beside this library another.

use super::commit::{PhysicalWindow, RootSpan, exchange, split_in_window};
use super::layout::Layout;
use super::lock::MapLock;
use super::paint::{LargestLeaf, paint, tables_bound};
use super::pool::{OutOfMemory, Pool};
use super::retire::{foreign_table, free_tables};
use super::shadow::Skeleton;
use super::{Fill, Share};
use crate::atomics::{Atomics, Native};
use crate::rendezvous::{Parked, Refused};
use crate::tables::{
    Census, Cpu, FrameSource, PhysAddr, PhysRange, TableMemory, TlbiRepeat, TwoViews, clear_entries, copy_entries,
};

/// How often a rendezvous is tried before the map stays as it is.
pub const ATTEMPTS: u32 = 3;

/// Root tables, all of them outside the linear map. But for the first they are empty before a repaint and after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roots {
    /// The one that every CPU walks from.
    pub live: PhysAddr,
    /// For the entries of the map to come.
    pub shadow: PhysAddr,
    /// For the entries of the old map, or for the physical window.
    pub spare: PhysAddr,
    /// One that is empty and stays so: what TTBR0 names when there is no window.
    pub empty: PhysAddr,
}

/// The linear map that is to be split.
pub struct LiveMap<'a, A: Atomics = Native> {
    /// Its plan.
    pub layout: &'a Layout<'a>,
    /// What is in it.
    pub census: &'a Census,
    /// Its roots.
    pub roots: Roots,
    /// The right to change it.
    pub lock: &'a MapLock<A>,
    /// Where CPUs look for tables to fill.
    pub fill: &'a Fill<A>,
}

/// When tables are filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Before the window, which then has a constant length.
    Ahead,
    /// Inside it, by the leader alone, in place: the classic form.
    InWindow,
}

/// A step of a repaint whose length is of interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Setting the frames aside.
    Reserve,
    /// Building the shadow and filling it.
    Fill,
}

/// What a repaint asks of the kernel around it.
pub trait Kernel {
    /// Reaches every table below the roots while the map is whole: through the map itself.
    type Memory: TableMemory;
    /// Reaches the roots, always.
    type Roots: TableMemory;
    /// Reaches every table of the map through a physical window while TTBR0 names one.
    type Window: TableMemory;
    /// The CPU this runs on.
    type Cpu: Cpu;
    /// The frame allocator.
    type Frames: FrameSource;

    /// See [`Kernel::Memory`].
    fn memory(&self) -> Self::Memory;
    /// See [`Kernel::Roots`].
    fn roots(&self) -> Self::Roots;
    /// See [`Kernel::Window`].
    fn window(&self) -> Self::Window;
    /// See [`Kernel::Cpu`].
    fn cpu(&self) -> Self::Cpu;
    /// Lends the frame allocator, locked. Never called with every CPU parked. It owns every table of the map below the
    /// roots, as the old tables become its free frames: [`Ending::ForeignTable`] otherwise.
    fn with_frames<T>(&mut self, work: impl FnOnce(&mut Self::Frames) -> T) -> T;
    /// Sets frames aside for tables.
    ///
    /// # Errors
    /// As [`Pool::reserve`].
    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        let memory = self.memory();
        self.with_frames(|frames| Pool::reserve(&memory, frames, needed))
    }

    /// How many CPUs are online; they stay the same until the repaint is over.
    fn cpus(&self) -> u32;
    /// Whether broadcast invalidations are needed twice.
    fn repeat(&self) -> TlbiRepeat;

    /// The leader has built `built` and is about to open the filling of the rest; nobody fills anything yet.
    fn before_fill(&mut self, built: &Skeleton);
    /// There are tables to fill ([`Fill::is_open`]): wakes whoever may help.
    fn call_for_help(&mut self);
    /// Fills tables on this CPU ([`Fill::work`]).
    fn work(&mut self, share: Share);
    /// Waits until `done` says so, but not for ever: for CPUs that have promised to fill a few tables.
    fn wait_until(&mut self, done: impl Fn() -> bool);

    /// Gathers every online CPU, runs `commit` while all are parked, lets them go: one rendezvous.
    ///
    /// # Errors
    /// When somebody did not come; `commit` has not run.
    fn gather<C: Commit>(&mut self, commit: &mut C) -> Result<(), Refused>;
    /// `gather` was refused, for the `attempt`-th time.
    fn refused(&mut self, attempt: u32, refused: &Refused);

    /// Does a step of the work that may be of interest to a clock.
    fn timed<T>(&mut self, _step: Step, work: impl FnOnce(&mut Self) -> T) -> T {
        work(self)
    }
}

/// What the leader does while every CPU is parked.
pub trait Commit {
    /// Which step is taken in it; none in the form whose window has a constant length.
    const STEP: Option<Step>;

    /// Does it, on `cpu`: [`Kernel::cpu`], or a CPU that watches it.
    fn run<C: Cpu>(&mut self, cpu: &C, everyone: &Parked<'_>);
}

/// How a repaint ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Every leaf but the kernel alias is a page.
    Done,
    /// The tables could not be reserved; nothing has changed.
    OutOfMemory(OutOfMemory),
    /// The frame allocator does not own this table of the map, so that it could not be given back; nothing has changed.
    ForeignTable(PhysAddr),
    /// Not every CPU came, or one that had promised to fill tables did not; nothing has changed.
    Aborted,
    /// Somebody else is changing the map, or has not yet finished a table of an earlier repaint; nothing has changed.
    Busy,
}

/// Where the frames went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Frames the census asks for.
    pub needed: u64,
    /// Frames reserved.
    pub reserved: u64,
    /// Frames that became tables of the new map.
    pub used: u64,
    /// Frames reserved, neither used nor needed after all: a defect of the census unless it is 0.
    pub surplus: u64,
    /// Old tables given back.
    pub returned: u64,
    /// Frames that nobody may have again: a CPU that stopped may still write to them.
    pub lost: u64,
    /// Rendezvous tried.
    pub attempts: u32,
}

impl Tally {
    /// How many frames fewer the allocator has than before.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.used + self.lost - self.returned
    }
}

/// Splits the whole of `map`, and holds its lock from the reservation until the old tables are back. Unless it is done,
/// map and allocator are as before, but for the frames that a CPU left behind may still write to ([`Tally::lost`]).
pub fn repaint<K: Kernel, A: Atomics>(kernel: &mut K, map: &LiveMap<'_, A>, form: Form) -> (Ending, Tally) {
    let mut tally = Tally::default();
    let ending = match map.lock.try_lock() {
        Ok(_held) => match form {
            // Whoever was left behind in the middle of filling tables reads the live ones, which this would give back.
            Form::Ahead if !map.fill.is_idle() => Ending::Busy,
            Form::Ahead => ahead(kernel, map, &mut tally),
            Form::InWindow => in_window(kernel, map, &mut tally),
        },
        Err(_busy) => Ending::Busy,
    };
    (ending, tally)
}

/// A complete shadow before the window, and in the window an exchange of root entries.
fn ahead<K: Kernel, A: Atomics>(kernel: &mut K, map: &LiveMap<'_, A>, tally: &mut Tally) -> Ending {
    let LiveMap { layout, roots, .. } = *map;
    let (geometry, entries) = (layout.geometry(), layout.root_entries());
    let needed = map.census.tables_to_split(geometry) + map.census.tables;
    let (memory, root_view) = (kernel.memory(), kernel.roots());
    let foreign =
        kernel.with_frames(|frames| foreign_table(geometry, &memory, &root_view, roots.live, entries.clone(), frames));
    if let Some(table) = foreign {
        return Ending::ForeignTable(table);
    }
    let mut pool = match reserve(kernel, needed, tally) {
        Ok(pool) => pool,
        Err(missing) => return Ending::OutOfMemory(missing),
    };
    let (built, complete) = kernel.timed(Step::Fill, |kernel| {
        let built = Skeleton::build(layout, &memory, &root_view, roots.live, roots.shadow, &mut pool);
        let complete = fill(kernel, map, &built);
        (built, complete)
    });
    tally.surplus = pool.frames();
    kernel.with_frames(|frames| pool.release(&memory, frames));
    if !complete {
        // Who claimed tables and did not finish them may still write to them, so they cannot be given back.
        tally.lost = built.tables;
        clear_entries(&root_view, roots.shadow, entries);
        return Ending::Aborted;
    }
    // The live root's entries, for giving the old tables back.
    copy_entries(&root_view, roots.live, roots.spare, entries.clone());
    let span = RootSpan::of(layout, roots.live, roots.shadow);
    let mut commit = Exchange { roots: &root_view, span, repeat: kernel.repeat() };
    let committed = gather(kernel, &mut commit, tally);
    // Outside the window again: the tables no walker reaches any more. After an abort those are the shadow's.
    let gone = if committed { roots.spare } else { roots.shadow };
    let freed = kernel.with_frames(|frames| free_tables(geometry, &memory, &root_view, gone, entries.clone(), frames));
    clear_entries(&root_view, roots.spare, entries.clone());
    clear_entries(&root_view, roots.shadow, entries);
    if !committed {
        return Ending::Aborted;
    }
    tally.used = built.tables;
    tally.returned = freed;
    Ending::Done
}

/// The leader splits the broken map while everyone is parked, through a physical window that is painted for it.
fn in_window<K: Kernel, A: Atomics>(kernel: &mut K, map: &LiveMap<'_, A>, tally: &mut Tally) -> Ending {
    let LiveMap { layout, roots, .. } = *map;
    let geometry = layout.geometry();
    let mut pool = match reserve(kernel, map.census.tables_to_split(geometry), tally) {
        Ok(pool) => pool,
        Err(missing) => return Ending::OutOfMemory(missing),
    };
    let (memory, root_view) = (kernel.memory(), kernel.roots());
    let plan = layout.physical_window();
    let painted = paint_window(kernel, &plan, roots.spare);
    let mut committed = false;
    if painted.is_ok() {
        let window = PhysicalWindow { view: kernel.window(), root: roots.spare, empty: roots.empty };
        let repeat = kernel.repeat();
        let mut commit =
            SplitInPlace { layout, map_roots: roots, roots: &root_view, window, pool: &mut pool, repeat, used: 0 };
        committed = gather(kernel, &mut commit, tally);
        tally.used = commit.used;
    }
    if committed {
        tally.surplus = pool.frames();
    }
    kernel.with_frames(|frames| {
        pool.release(&memory, frames);
        // Nobody's TTBR0 names the window any more, and nothing of it is cached: or it was never used.
        free_tables(geometry, &memory, &root_view, roots.spare, plan.root_entries(), frames);
    });
    clear_entries(&root_view, roots.spare, plan.root_entries());
    clear_entries(&root_view, roots.shadow, layout.root_entries());
    match painted {
        Err(missing) => Ending::OutOfMemory(missing),
        Ok(()) if committed => Ending::Done,
        Ok(()) => Ending::Aborted,
    }
}

fn reserve<K: Kernel>(kernel: &mut K, needed: u64, tally: &mut Tally) -> Result<Pool, OutOfMemory> {
    tally.needed = needed;
    let pool = kernel.timed(Step::Reserve, |kernel| kernel.reserve(needed));
    tally.reserved = pool.as_ref().map_or(0, Pool::frames);
    pool
}

/// Fills the shadow's page tables with every CPU at hand. False when a CPU has claimed tables and does not finish them.
fn fill<K: Kernel, A: Atomics>(kernel: &mut K, map: &LiveMap<'_, A>, built: &Skeleton) -> bool {
    kernel.before_fill(built);
    map.fill.open(map.layout, &kernel.cpu(), kernel.cpus().into());
    kernel.call_for_help();
    kernel.work(Share::Fair);
    kernel.wait_until(|| !map.fill.is_open());
    // Whatever nobody came for.
    kernel.work(Share::Everything);
    kernel.wait_until(|| map.fill.is_complete());
    // Acquires what the fillers stored, each of whom ended with DSB ISHST: walkers see it before the commit's stores.
    let complete = map.fill.is_complete();
    map.fill.close();
    complete
}

/// Paints the physical window. Its tables are no part of the repaint's account: they come and go.
fn paint_window<K: Kernel>(kernel: &mut K, plan: &Layout<'_>, root: PhysAddr) -> Result<(), OutOfMemory> {
    let root_bytes = 8 * plan.geometry().entries(plan.geometry().root_level()) as u64;
    let range = PhysRange::new(root, root.offset(root_bytes));
    let memory = TwoViews { range, near: kernel.roots(), far: kernel.memory() };
    let cpu = kernel.cpu();
    kernel.with_frames(|frames| {
        let needed = tables_bound(plan, LargestLeaf::Block);
        let missing = OutOfMemory { needed, available: frames.available() };
        if missing.available < needed {
            return Err(missing);
        }
        let painted = paint(plan, LargestLeaf::Block, &memory, &cpu, frames, root);
        painted.map(|_census| ()).map_err(|_| missing)
    })
}

/// Gathers everyone and commits; tries again when somebody did not come in time. True when it was done.
fn gather<K: Kernel, C: Commit>(kernel: &mut K, commit: &mut C, tally: &mut Tally) -> bool {
    while tally.attempts < ATTEMPTS {
        tally.attempts += 1;
        match kernel.gather(commit) {
            Ok(()) => return true,
            Err(refused) => kernel.refused(tally.attempts, &refused),
        }
    }
    false
}

struct Exchange<'a, R> {
    roots: &'a R,
    span: RootSpan,
    repeat: TlbiRepeat,
}

impl<R: TableMemory> Commit for Exchange<'_, R> {
    const STEP: Option<Step> = None;

    #[inline(always)]
    fn run<C: Cpu>(&mut self, cpu: &C, everyone: &Parked<'_>) {
        exchange(self.roots, cpu, self.span, self.repeat, everyone);
    }
}

struct SplitInPlace<'a, R, W> {
    layout: &'a Layout<'a>,
    map_roots: Roots,
    roots: &'a R,
    window: PhysicalWindow<W>,
    pool: &'a mut Pool,
    repeat: TlbiRepeat,
    used: u64,
}

impl<R: TableMemory, W: TableMemory> Commit for SplitInPlace<'_, R, W> {
    const STEP: Option<Step> = Some(Step::Fill);

    fn run<C: Cpu>(&mut self, cpu: &C, everyone: &Parked<'_>) {
        let Roots { live, shadow: save, .. } = self.map_roots;
        let (layout, roots, window) = (self.layout, self.roots, &self.window);
        self.used = split_in_window(layout, roots, cpu, live, save, window, self.pool, self.repeat, everyone);
    }
}
