// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything before the other CPUs work: device tree, console, boot arguments, firmware, memory, interrupt controller.

use alloc::format;

use cleave::aarch64::{cpu, interrupts, timer};
use cleave::linear_map::LargestLeaf;
use cleave::tables::{PhysAddr, PhysRange};

use crate::boot::{self, Parked};
use crate::check::{hooks, inject, pool, stale};
use crate::cpu::firmware::Firmware;
use crate::cpu::smp;
use crate::devicetree::{Affinity, Conduit, InterruptController, MemoryMap, Tree};
use crate::io::{console, last_resort, logger, serial};
use crate::irq::exceptions::{self, errors};
use crate::irq::gic;
use crate::mm::early;
use crate::mm::image::Section;
use crate::mm::layout::LINEAR_BYTES;
use crate::mm::memory::{self, Painted};
use crate::mm::repaint::{allow_changes, forbid_changes};
use crate::options::{self, Bootargs, LinearMode};
use crate::report::{builder, fault};

/// Installs what the lower parts call in the upper ones, and starts the log. Returns the counter at the kernel's entry.
pub(crate) fn begin() -> u64 {
    let entered = timer::count();
    logger::init(logger::DEFAULT_LEVEL, entered);
    exceptions::install(exceptions::Hooks { fatal: fault::report, linear_abort: stale::on_abort });
    hooks::install();
    entered
}

/// Maps and checks the device tree at `tree`. Without one there is no console but that of last resort.
pub(crate) fn device_tree(tree: u64, entry_el: u64) -> (Tree<'static>, PhysRange) {
    early::device_tree(PhysAddr(tree)).unwrap_or_else(|error| {
        // Where that one stays closed, the early ring has the text for a debugger.
        last_resort::open(entry_el);
        console::close(Some(format_args!("cleave: PANIC {error}\n")));
        boot::park(Parked::TreeMalformed)
    })
}

pub(crate) fn open_console(tree: &Tree<'static>) {
    // What is logged here comes out once there is a console; without one it is in the early ring for a debugger.
    let asked = tree.console();
    match asked {
        Ok(Some(_)) => {}
        Ok(None) => log::warn!("the device tree has no stdout-path"),
        Err(error) => log::warn!("{error}"),
    }
    let Some(found) = asked.ok().flatten().or_else(|| tree.console_by_alias()) else {
        log::error!("no console that is driven here");
        return;
    };
    match memory::map_device(found.registers) {
        #[expect(unsafe_code, reason = "a device is named by its address")]
        Ok(address) => {
            // SAFETY: the tree says that a PL011 is there, and it is mapped now as device memory, for good.
            let clock = if unsafe { console::is_on(address) } { None } else { serial::prepare(tree, &found) };
            // SAFETY: as above.
            unsafe { console::init(address, clock) }
        }
        Err(error) => log::error!("console: {error}"),
    }
}

/// Reads the boot arguments, and names the errors that firmware left pending, now that there is a console.
pub(crate) fn read_arguments(tree: &Tree<'static>) -> Bootargs<'static> {
    errors::for_each(|said| log::warn!("{said}"));
    let text = tree.bootargs().unwrap_or_else(|error| {
        log::error!("{error}");
        ""
    });
    let args = Bootargs::parse(text);
    options::set(args);
    inject::arm(&args);
    args
}

pub(crate) fn find_firmware(tree: &Tree<'static>) -> Option<Conduit> {
    let conduit = tree.psci().unwrap_or_else(|error| {
        log::error!("{error}");
        None
    })?;
    match Firmware::behind(conduit).psci_version() {
        Ok(version) => log::info!("PSCI {version} by {conduit}"),
        Err(error) => log::error!("PSCI_VERSION by {conduit}: {error}"),
    }
    Some(conduit)
}

pub(crate) fn print_banner(tree: &Tree<'static>, entry_el: u64) {
    console::print(format_args!(
        "cleave {} ({}, {}) on {}, entered at EL{entry_el}\n",
        env!("CARGO_PKG_VERSION"),
        env!("CLEAVE_COMMIT"),
        env!("CLEAVE_PROFILE"),
        tree.model().unwrap_or("a machine without a name"),
    ));
}

/// Reads the tree's memory, without what the linear map has no room for or this CPU cannot address: it paints it.
pub(crate) fn read_memory(tree: &Tree<'static>, tree_memory: PhysRange, args: &Bootargs<'_>) -> MemoryMap {
    let mut map = tree.memory().unwrap_or_else(|error| panic!("{error}"));
    let me = Affinity::from_mpidr(cpu::mpidr());
    let is_me = |id| tree.cpus().nth(id).is_some_and(|cpu| cpu.is_ok_and(|cpu| cpu.affinity == me));
    let at_most = args.cpu_pas().filter(|&(cpu, _)| is_me(cpu)).last().map(|(_, bits)| bits);
    map.clip(cpu::features().address_end(at_most).min(PhysAddr(LINEAR_BYTES)));
    for range in [tree_memory, Section::Image.phys()] {
        map.reserve(range);
    }
    for lost in memory::losses(&map) {
        log::warn!("{lost}");
    }
    map
}

/// Maps and initialises the interrupt controller; for GICv3 returns where each CPU's redistributor is, sorted.
#[expect(unsafe_code, reason = "a device is named by its address")]
pub(crate) fn open_interrupt_controller(tree: &Tree<'static>) -> smp::Redistributors {
    let mut found = smp::Redistributors::new();
    let map = |range| memory::map_device(range).unwrap_or_else(|error| panic!("interrupt controller: {error}"));
    let controller = match tree.interrupt_controller().unwrap_or_else(|error| panic!("{error}")) {
        InterruptController::GicV2 { distributor, cpu_interface } => {
            // SAFETY: the tree says what is there, and it is mapped as device memory, for good.
            unsafe { gic::InterruptController::v2(map(distributor), map(cpu_interface)) }
        }
        InterruptController::GicV3 { distributor, redistributors } => {
            for &region in redistributors.regions() {
                let address = map(region);
                // SAFETY: as above.
                let frames = unsafe { gic::redistributors(address, region.bytes(), redistributors.stride()) };
                for frame in frames {
                    record_lpis(&frame);
                    found.push((frame.affinity, frame.base));
                }
            }
            found.sort_unstable_by_key(|entry| entry.0);
            // SAFETY: as above.
            unsafe { gic::InterruptController::v3(map(distributor)) }
        }
    };
    controller.init_distributor().unwrap_or_else(|error| panic!("interrupt controller: {error}"));
    gic::install(controller);
    found
}

/// Switches off LPIs that firmware left on, and says so.
fn record_lpis(frame: &gic::Redistributor) {
    let cpu = frame.affinity;
    match frame.disable_lpis() {
        Ok(gic::Lpis::Off) => {}
        Ok(gic::Lpis::SwitchedOff) => log::warn!("left by firmware: LPIs of CPU {cpu} were on, and are off now"),
        Err(tables) => builder::error(format!(
            "left by firmware: LPIs of CPU {cpu} are on and cannot be switched off; the GIC uses memory that is not \
             reserved: {tables}"
        )),
    }
}

/// Paints the linear map, and reports the kernel and the map.
pub(crate) fn paint(map: &MemoryMap, args: &Bootargs<'_>) -> Painted {
    pool::ask_too_early();
    let largest = if args.linear == LinearMode::Page { LargestLeaf::Page } else { LargestLeaf::Block };
    let painted = memory::init(map, largest);
    builder::record_kernel();
    builder::record_painted(&painted);
    painted
}

/// The CPUs of the device tree, each as the tree has it.
pub(crate) type Cpus = alloc::vec::Vec<smp::Found>;

/// Gives the boot CPU its block and its interrupts. The map may be changed from here on, while no other CPU runs.
pub(crate) fn start_boot_cpu(tree: &Tree<'static>, entry_el: u64, redistributors: &smp::Redistributors) -> Cpus {
    let cpus: Cpus = tree.cpus().collect();
    smp::init_boot_cpu(&cpus, entry_el, redistributors);
    interrupts::unmask();
    allow_changes();
    cpus
}

/// Starts every other CPU of the tree. The map may not be changed from here on, until the decision.
pub(crate) fn start_cpus(cpus: Cpus, conduit: Option<Conduit>, redistributors: &smp::Redistributors) {
    forbid_changes();
    smp::start_others(cpus, conduit, redistributors);
    log::info!("{} of {} CPUs at work", smp::online_count(), smp::cpus().len());
    pool::ask_too_early();
}
