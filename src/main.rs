// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel: the order of a boot, one call a line.
//!
//! On the host this is a program that says what it is; the kernel is built for `aarch64-unknown-none-softfloat`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(not(target_os = "none"), allow(dead_code, unused_imports, reason = "on the host only its tests use it"))]

extern crate alloc;

mod boot;
mod check;
mod cpu;
mod devicetree;
mod io;
mod irq;
mod mm;
mod monitor;
mod options;
mod report;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod setup;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("cleave is a kernel: `make run` boots it in QEMU, `make test` tests it.");
}

/// Boots the kernel. The boot assembly hands over here: MMU and caches on, the boot CPU's stacks, everything else to do.
// SAFETY: no other function has this name.
#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the boot assembly calls it by name")]
extern "C" fn kernel_main(tree: u64, entry_el: u64) -> ! {
    let entered = setup::begin();
    let left = irq::exceptions::errors::left_by_firmware();
    let (tree, tree_memory) = setup::device_tree(tree, entry_el);
    cpu::counter::choose_frequency(&tree);
    setup::open_console(&tree);
    irq::exceptions::errors::unmask(left);
    let args = setup::read_arguments(&tree);
    setup::print_banner(&tree, entry_el);
    cpu::counter::require_frequency();
    let conduit = setup::find_firmware(&tree);
    cpu::power::configure(args.exit, conduit);

    let map = setup::read_memory(&tree, tree_memory, &args);
    setup::paint(&map, &args);
    let redistributors = setup::open_interrupt_controller(&tree);
    let cpus = setup::start_boot_cpu(&tree, entry_el, &redistributors);
    let mut run = run::Run::new(&args);
    run.open_pool(options::PoolTime::Early);
    setup::start_cpus(cpus, conduit, &redistributors);
    mm::ro_after_init::protect(cpu::smp::tlbi_repeat());
    check::inject::hook_locks();
    report::builder::record_machine(&tree, &map, entry_el, conduit);
    report::builder::record_cpus();
    report::errata::tell();

    run.start_stress_test();
    let decision = run.decide();
    run.repaint(&decision);
    run.check_stopping();
    run.note_ready(entered);
    run.open_pool(options::PoolTime::Decided);
    run.stop_stress_test();
    run.open_pool(options::PoolTime::Late);
    run.audit();
    check::inject::at_the_end();
    check::secrets::touch();
    check::pool::inject();
    run.end()
}

/// Names a broken invariant on the console, and ends the run.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::ending::report_panic(info)
}
