// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repaint, as the library asks this kernel for its parts: views, frames, CPUs, the rendezvous.

use alloc::format;

use crate::options::{self, Fault, Task};
use cleave::aarch64::timer;
use cleave::linear_map::{Commit, Kernel, OutOfMemory, Pool, Share, Skeleton, Step};
use cleave::rendezvous::{Measured, Parked, Refused};
use cleave::tables::{BitmapFrames, Cpu, TlbiRepeat};

use super::progress::Telling;
use super::{Account, Host, MANY, RENDEZVOUS, begin_window, deadline, fill};
use crate::check::inject;
use crate::check::probe;
use crate::check::probe::{Plan, ProbingCpu};
use crate::cpu::percpu::this_cpu;
use crate::cpu::smp;
use crate::irq::ipi::wake_others;
use crate::mm::memory;
use crate::mm::views::{ThisCpu, View};

/// A repaint under way, and what it has to tell.
pub(super) struct Session {
    pub(super) account: Account,
}

impl Session {
    pub(super) fn new() -> Self {
        Self { account: Account::default() }
    }

    fn took(&mut self, step: Step, since: u64) {
        let ticks = Some(timer::count().wrapping_sub(since));
        match step {
            Step::Reserve => self.account.reserve = ticks,
            Step::Fill => self.account.fill = ticks,
        }
    }
}

impl Kernel for Session {
    type Memory = View;
    type Roots = View;
    type Window = View;
    type Cpu = ThisCpu;
    type Frames = BitmapFrames<'static>;

    fn memory(&self) -> View {
        View::LINEAR
    }
    fn roots(&self) -> View {
        View::image()
    }
    fn window(&self) -> View {
        View::PHYSICAL
    }
    fn cpu(&self) -> ThisCpu {
        ThisCpu
    }

    fn with_frames<T>(&mut self, work: impl FnOnce(&mut Self::Frames) -> T) -> T {
        work(&mut memory::frames())
    }

    fn reserve(&mut self, needed: u64) -> Result<Pool, OutOfMemory> {
        if needed > MANY {
            log::info!("reserving {needed} frames for tables");
        }
        let mut frames = memory::frames();
        match options::current().fault_reserve() {
            None if needed > MANY => Pool::reserve(&View::LINEAR, &mut Telling::new(&mut *frames), needed),
            None => Pool::reserve(&View::LINEAR, &mut *frames, needed),
            Some(nth) => {
                let left = (nth as u64).saturating_sub(1);
                Pool::reserve(&View::LINEAR, &mut inject::Failing { frames: &mut *frames, left }, needed)
            }
        }
    }

    fn cpus(&self) -> u32 {
        smp::online_count()
    }

    fn repeat(&self) -> TlbiRepeat {
        smp::tlbi_repeat()
    }

    fn before_fill(&mut self, built: &Skeleton) {
        fill::begin(built);
    }

    fn call_for_help(&mut self) {
        wake_others();
        inject::let_stall();
    }

    fn work(&mut self, share: Share) {
        fill::work(this_cpu(), share);
    }

    fn wait_until(&mut self, done: impl Fn() -> bool) {
        fill::wait_until(done);
    }

    fn gather<C: Commit>(&mut self, commit: &mut C) -> Result<(), Refused> {
        let args = options::current();
        let (selftest, touch) = (args.asks_for(Task::Selftest), args.injects(Fault::WindowTouch));
        let measured = if selftest || touch {
            probe::arm();
            rendezvous(|everyone| self.run(commit, &ProbingCpu::new(Plan::chosen()), everyone))
        } else if inject::any_in_window() {
            inject::before_window();
            let mut second = None;
            let measured = rendezvous(|everyone| {
                inject::in_window();
                second = args.injects(Fault::RendezvousSecond).then(inject::second_caller).flatten();
                self.run(commit, &ThisCpu, everyone);
            });
            inject::after_window();
            if let Some(refused) = second {
                log::info!("a second caller inside the window was refused: {refused}");
            }
            measured
        } else {
            rendezvous(|everyone| self.run(commit, &ThisCpu, everyone))
        };
        self.account.measured = Some(measured?);
        Ok(())
    }

    /// Names who did not come.
    fn refused(&mut self, attempt: u32, refused: &Refused) {
        let mut text = format!("attempt {attempt}: {refused}");
        if let Refused::Deadline { generation, .. } = refused {
            text.push_str(", missing:");
            for cpu in smp::online().filter(|cpu| !cpu.state.slot.arrived_in(*generation)) {
                text.push_str(&format!(" CPU {}", cpu.id));
            }
        }
        log::warn!("rendezvous: {text}");
        self.account.errors.push(text);
    }

    fn timed<T>(&mut self, step: Step, work: impl FnOnce(&mut Self) -> T) -> T {
        let start = timer::count();
        let done = work(self);
        self.took(step, start);
        done
    }
}

impl Session {
    /// Commits, with a look at the clock where the window's length is not constant anyway.
    #[inline(always)]
    fn run<C: Commit>(&mut self, commit: &mut C, cpu: &impl Cpu, everyone: &Parked<'_>) {
        match C::STEP {
            None => commit.run(cpu, everyone),
            Some(step) => self.timed(step, |_| commit.run(cpu, everyone)),
        }
    }
}

/// Gathers every online CPU for `work`, the window's marker in front of it.
#[inline(always)]
fn rendezvous(work: impl FnOnce(&Parked<'_>)) -> Result<Measured, Refused> {
    let slot = &this_cpu().state.slot;
    let done = RENDEZVOUS.run(&Host, slot, smp::online_count(), deadline(), |everyone| {
        begin_window();
        work(everyone);
    });
    done.map(|((), measured)| measured)
}
