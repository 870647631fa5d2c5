//! Filling the shadow's tables with every CPU at hand.

use core::sync::atomic::Ordering;

use cleave::arch::{hint, timer};
use cleave::linear_map::{Fill, ShadowMap, Share, Skeleton};

use super::{MANY, Repaint, deadline};
use crate::kernel::image::Table;
use crate::kernel::interrupts::wake_others;
use crate::kernel::percpu::{PerCpu, this_cpu};
use crate::kernel::views::{ThisCpu, View};
use crate::kernel::{load, memory, smp};

static FILL: Fill = Fill::new();

impl Repaint<'_> {
    /// Fills the shadow's page tables with every CPU at hand.
    /// False when a CPU has claimed tables and does not finish them.
    pub(super) fn fill(&mut self, skeleton: &Skeleton) -> bool {
        for cpu in smp::online() {
            cpu.own.chunks.store(0, Ordering::Relaxed);
            cpu.own.filled.store(0, Ordering::Relaxed);
        }
        let me = this_cpu();
        me.own.filled.store(skeleton.complete, Ordering::Relaxed);
        if skeleton.tables > MANY {
            log::info!("filling {} tables", skeleton.tables);
        }
        FILL.open(self.layout, &ThisCpu, smp::online_count().into());
        wake_others();
        work(me, Share::Fair);
        let patience = deadline();
        let waited = |since: u64| timer::count().wrapping_sub(since) > patience;
        let start = timer::count();
        while FILL.is_open() && !waited(start) {
            load::step(me);
            hint::wait_for_event();
        }
        // Whatever nobody came for.
        work(me, Share::Everything);
        let start = timer::count();
        while !FILL.is_complete() && !waited(start) {
            load::step(me);
            hint::wait_for_event();
        }
        let complete = FILL.is_complete();
        FILL.close();
        complete
    }
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
