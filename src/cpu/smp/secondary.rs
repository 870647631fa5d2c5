// SPDX-License-Identifier: MIT OR Apache-2.0
//! A secondary CPU: its entry into Rust from `boot/secondary.S`, and its way to work.

use cleave::aarch64::{cpu, hint, interrupts, mmu, timer};

use super::{hooks, init_interrupts, jobs, work_once};
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::power;
use crate::cpu::state::{Stage, Unusable};
use crate::irq::exceptions::errors;
use crate::irq::ipi::idle_unless;
use crate::mm::memory;
use crate::options;

/// Checks that this CPU can translate to the end of memory. A lesser core beside greater ones may not; it would take address
/// size faults in the linear map.
fn reach_memory(id: usize) -> Result<(), Unusable> {
    let reach = cpu::features().address_end(options::current().cpu_pa(id));
    match memory::layout().regions().last().map(|region| region.end) {
        Some(end) if end > reach => Err(Unusable::Memory { reach, end }),
        _ => Ok(()),
    }
}

/// Brings this secondary up. It enters Rust here: MMU and caches on, the holding root, interrupts masked.
pub(super) extern "C" fn secondary(_block: u64, entry_level: u64) -> ! {
    let left = errors::left_by_firmware();
    let cpu = this_cpu();
    hooks(|hooks| (hooks.secondary_entered)(cpu));
    timer::set_event_rate();
    hooks(|hooks| (hooks.before_facts)());
    cpu.state.write_facts(entry_level);
    if let Err(why) = reach_memory(cpu.id).and_then(|()| Ok(init_interrupts(&cpu.state)?)) {
        cpu.state.unusable.call_once(|| why);
        cpu.state.set_stage(Stage::Unusable);
        power::halt();
    }
    cpu.state.set_stage(Stage::CheckedIn);
    while cpu.state.stage() != Stage::Admitted {
        hint::wait_for_event();
    }
    // SAFETY: the real root has all the holding root has, and the linear map, which no CPU is changing: a CPU is
    // admitted before the decision, while the map is as it was painted.
    unsafe { mmu::switch_ttbr1(memory::root()) };
    cpu.state.set_stage(Stage::Online);
    errors::unmask(left);
    interrupts::unmask();
    work(cpu)
}

/// Works until the machine stops: each job that wants this CPU in turn, or sleep.
fn work(cpu: &'static PerCpu) -> ! {
    loop {
        if work_once(cpu) {
            // Other CPUs of an emulator that runs them all in one thread get their turn.
            hint::yield_now();
        } else {
            idle_unless(|| jobs().iter().any(|job| (job.wants)(cpu)));
        }
    }
}
