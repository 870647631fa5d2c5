//! The repaint: from the reservation to the old tables' return, with everything that can go wrong before the commit.
//!
//! The steps are the library's ([`cleave::linear_map`]); here they meet this kernel's views, frames, CPUs and boot
//! arguments. Two ways share everything but when tables are filled: [`Repaint::ahead`] before the window,
//! [`Repaint::in_window`] inside it. `docs/protocol.md` has each barrier and each failure.
#![cfg(target_os = "none")]

mod classic;
mod fill;
mod telling;

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use cleave::arch::timer;
use cleave::linear_map::{Layout, MapLock, OutOfMemory, Pool, RootSpan, Skeleton, exchange, free_tables};
use cleave::paging::{Census, LeafCounts, clear_entries, copy_entries};
use cleave::platform::bootargs::{Fault, FillMode, Task};
use cleave::rendezvous::{Measured, Parked, Refused};

use crate::kernel::image::Table;
use crate::kernel::interrupts::{RENDEZVOUS, ThisCpu as Host};
use crate::kernel::percpu::this_cpu;
use crate::kernel::probe::{Plan, ProbingCpu};
use crate::kernel::views::{ThisCpu, View};
use crate::kernel::{faults, load, memory, probe, smp};

pub(crate) use fill::{help, wants_help};
use telling::Telling;

/// Held from the reservation until the old tables are back.
pub(crate) static MAP_LOCK: MapLock = MapLock::new();

/// More frames than are reserved and filled in a second.
const MANY: u64 = 1 << 15;

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
        if needed > MANY {
            log::info!("reserving {needed} frames for tables");
        }
        let mut frames = memory::frames();
        let start = timer::count();
        let pool = match faults::args().fault_reserve() {
            None if needed > MANY => Pool::reserve(&View::LINEAR, &mut Telling::new(&mut *frames), needed),
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

    /// Gives back what is left of a reservation.
    fn give_back(&mut self, pool: Pool, unused: Unused) {
        if unused == Unused::Defect && pool.frames() != 0 {
            self.account.errors.push(format!("{} frames more reserved than used", pool.frames()));
        }
        pool.release(&View::LINEAR, &mut *memory::frames());
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
        let complete = self.fill(&skeleton);
        self.account.fill = Some(timer::count().wrapping_sub(start));
        self.account.used = skeleton.tables;
        self.give_back(pool, Unused::Defect);
        if !complete {
            // A CPU has claimed tables and does not finish them. It may still write to them, so they cannot be given
            // back: they are lost, and said to be.
            self.account.errors.push(format!("a CPU stopped while it filled tables: {} frames kept", skeleton.tables));
            return Ending::Aborted;
        }
        let (roots, live, shadow) = (View::image(), Table::Root.phys(), Table::ShadowRoot.phys());
        // The live root's entries, for giving the old tables back; the window's root is not otherwise in use.
        let old = Table::WindowRoot.phys();
        copy_entries(&roots, live, old, layout.root_entries());
        let span = RootSpan::of(layout, live, shadow);
        let repeat = smp::tlbi_repeat();
        let committed = self.gather(Commit {
            plain: |everyone: &Parked<'_>| exchange(&roots, &ThisCpu, span, repeat, everyone),
            probing: |cpu: &ProbingCpu, everyone: &Parked<'_>| exchange(&roots, cpu, span, repeat, everyone),
        });
        // Outside the window again: the tables no walker reaches any more. After an abort those are the shadow's.
        let gone = if committed { old } else { shadow };
        let entries = layout.root_entries();
        let freed =
            free_tables(layout.geometry(), &View::LINEAR, &roots, gone, entries.clone(), &mut *memory::frames());
        clear_entries(&roots, old, entries.clone());
        clear_entries(&roots, shadow, entries);
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

    /// Gathers everyone and commits; tries again when somebody did not come in time. True when it was done.
    fn gather(&mut self, mut commit: Commit<impl FnMut(&Parked<'_>), impl FnMut(&ProbingCpu, &Parked<'_>)>) -> bool {
        let args = faults::args();
        let selftest = args.asks_for(Task::Selftest);
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
                    begin_window();
                    (commit.probing)(&ProbingCpu::new(plan), everyone);
                })
            } else if faults::any_in_window() {
                faults::before_window();
                let mut second = None;
                let result = RENDEZVOUS.run(&Host, slot, cpus, deadline(), |everyone| {
                    begin_window();
                    faults::in_window();
                    second = args.injects(Fault::RendezvousSecond).then(faults::second_caller).flatten();
                    (commit.plain)(everyone);
                });
                faults::after_window();
                if let Some(refused) = second {
                    log::info!("a second caller inside the window was refused: {refused}");
                }
                result
            } else {
                RENDEZVOUS.run(&Host, slot, cpus, deadline(), |everyone| {
                    begin_window();
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

mod marker {
    #![allow(unsafe_code, reason = "a name for debuggers, and no frame")]

    /// The first thing the leader does when every CPU is parked, in either form: a place for debuggers to stop at
    /// (`break cleave_window`), and nothing else, since the window is counted in instructions.
    // SAFETY: no other function has this name; returning is all it does.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub(super) extern "C" fn cleave_window() {
        core::arch::naked_asm!("ret")
    }
}

/// What every window begins with.
#[inline(always)]
fn begin_window() {
    marker::cleave_window();
    // From "during" to "after": nobody works on the load here.
    load::parked();
}

/// What it means that reserved frames were not used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unused {
    /// The census counted too many tables.
    Defect,
    /// There was no commit.
    Expected,
}

/// The commit as the leader runs it, and as it runs with the self-test's probe in it.
struct Commit<P, Q> {
    plain: P,
    probing: Q,
}

/// How long CPUs have to come, in ticks: `rendezvous.deadline`, or a second and 50 ms for each CPU.
pub(crate) fn deadline() -> u64 {
    let milliseconds = faults::args().deadline.unwrap_or_else(|| usual(smp::online_count().into()));
    milliseconds.saturating_mul(timer::frequency()) / 1000
}

/// How long other waits for `cpus` CPUs may take, in ticks: as long as the rendezvous, but not shorter than usual.
pub(crate) fn patience(cpus: u64) -> u64 {
    let milliseconds = faults::args().deadline.unwrap_or(0).max(usual(cpus));
    milliseconds.saturating_mul(timer::frequency()) / 1000
}

/// Milliseconds.
const fn usual(cpus: u64) -> u64 {
    1000 + 50 * cpus
}

/// A rendezvous with nothing to do.
///
/// # Errors
/// As a rendezvous: when somebody did not come.
pub(crate) fn drill() -> Result<Measured, Refused> {
    let mut attempts = 1;
    loop {
        match RENDEZVOUS.run(&Host, &this_cpu().own.slot, smp::online_count(), deadline(), |_| begin_window()) {
            Ok(((), measured)) => return Ok(measured),
            Err(Refused::Deadline { .. }) if attempts < ATTEMPTS => attempts += 1,
            Err(refused) => return Err(refused),
        }
    }
}
