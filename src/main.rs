//! The kernel: the story of a boot, one call a line.
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

#[cfg(not(target_os = "none"))]
fn main() {
    println!("cleave is a kernel: `make run` boots it in QEMU, `make test` tests it.");
}

#[cfg(target_os = "none")]
mod boot_story {
    use alloc::format;
    use alloc::vec::Vec;

    use crate::devicetree::{Affinity, Conduit, InterruptController, MemoryMap, Tree};
    use crate::options::{BbmTrust, Bootargs, LinearMode, Load, Task};
    use cleave::aarch64::midr::Midr;
    use cleave::aarch64::{cpu, interrupts, timer};
    use cleave::linear_map::{Action, LargestLeaf, Trust, Wish, decide};
    use cleave::tables::{FrameSource, PhysAddr, PhysRange, TlbiRepeat};

    use crate::boot::{self, Parked};
    use crate::check::audit;
    use crate::check::inject;
    use crate::check::probe;
    use crate::check::stress;
    use crate::cpu::counter;
    use crate::cpu::errata;
    use crate::cpu::firmware::Firmware;
    use crate::cpu::power::{self, Verdict};
    use crate::cpu::smp;
    use crate::cpu::stop;
    use crate::io::console;
    use crate::io::last_resort;
    use crate::io::logger;
    use crate::io::serial;
    use crate::irq::exceptions;
    use crate::irq::exceptions::errors;
    use crate::irq::gic;
    use crate::irq::ipi as kernel_interrupts;
    use crate::mm::early;
    use crate::mm::heap;
    use crate::mm::image::Section;
    use crate::mm::layout::LINEAR_BYTES;
    use crate::mm::memory;
    use crate::mm::repaint::{self, Ending};
    use crate::monitor;
    use crate::report::Probe;
    use crate::report::builder;

    /// Where the boot assembly hands over: MMU and caches on, the boot CPU's stacks, everything else still to do.
    // SAFETY: no other function has this name.
    #[unsafe(no_mangle)]
    #[expect(unsafe_code, reason = "the boot assembly calls it by name")]
    extern "C" fn kernel_main(tree: u64, entry_el: u64, _load: u64) -> ! {
        let entered = timer::count();
        logger::init(logger::DEFAULT_LEVEL, entered);
        exceptions::set_irq_handler(kernel_interrupts::handle_irq);
        let left = errors::left_by_firmware();

        let (tree, tree_memory) = early::device_tree(PhysAddr(tree)).unwrap_or_else(|error| {
            // No console is known without it, but the one of last resort; the early ring has the text, for a debugger.
            last_resort::open(entry_el);
            console::close(Some(format_args!("cleave: PANIC {error}\n")));
            boot::park(Parked::TreeMalformed)
        });
        counter::choose_frequency(&tree);
        open_console(&tree);
        errors::unmask(left);
        errors::for_each(|said| log::warn!("{said}"));
        let args = read_arguments(&tree);
        banner(&tree, entry_el);
        counter::require_frequency();
        let conduit = find_firmware(&tree);
        power::configure(args.exit, conduit);

        let map = read_memory(&tree, tree_memory, &args);
        let largest = if args.linear == LinearMode::Page { LargestLeaf::Page } else { LargestLeaf::Block };
        let painted = memory::init(&map, largest);
        builder::tell_kernel();
        builder::tell_painted(&painted);
        let redistributors = open_interrupt_controller(&tree);
        let cpus: Vec<_> = tree.cpus().collect();
        smp::init_boot_cpu(&cpus, entry_el, &redistributors);
        interrupts::unmask();
        smp::start_others(cpus, conduit, &redistributors);
        builder::tell_machine(&tree, &map, entry_el, conduit);
        builder::tell_cpus();
        errata::tell();
        log::info!("{} of {} CPUs at work", smp::online_count(), smp::cpus().len());

        let loaded = args.load == Load::On;
        if loaded {
            stress::start();
            stress::let_run(64);
        }
        let free_before = memory::frames().available();
        let decision = decide(smp::cpus().iter().filter_map(smp::Cpu::level), trust(&args), wish(&args));
        builder::tell_decision(&decision);
        log::info!("linear map: {:?}, {}", decision.action, decision.reason);
        if smp::tlbi_repeat() == TlbiRepeat::Twice {
            let known = smp::cpus().iter().filter_map(smp::Cpu::midr).any(Midr::needs_tlbi_repeat);
            let why = if known { "a core's may complete early" } else { "at EL1 the cores are what a hypervisor says" };
            log::info!("broadcast invalidations are done twice: {why}");
        }
        let mut good = arguments_are_good(&args);
        let mut expected = painted.census.leaves;
        let (mut gathered, mut probed) = (false, false);
        let selftest = args.asks_for(Task::Selftest);
        if decision.action == Action::Split {
            let (ending, account) = repaint::repaint(&painted.census);
            builder::tell_repaint(&ending, &account);
            expected = account.after;
            good &= ending == Ending::Done || args.linear != LinearMode::Require;
            good &= frames_add_up(free_before, account.tally.kept());
            // After a repaint that gave up somebody is not coming.
            gathered = account.tally.attempts > 0 || ending == Ending::Aborted;
            if account.tally.attempts > 0 {
                builder::tell_timeline();
            }
            probed = selftest && ending == Ending::Done;
        }
        if (loaded || selftest) && !gathered {
            let scratch = if selftest { map_scratch() } else { None };
            let met = drill(scratch.as_ref());
            probed = met && scratch.is_some();
            good &= met;
        }
        if selftest {
            good &= probes_faulted(probed);
        }
        let ready = timer::count().wrapping_sub(entered);
        builder::tell(|report| report.ticks.ready = Some(ready));

        if loaded {
            stress::settled();
            stress::let_run(64);
            let account = stress::stop();
            builder::tell_load(&account);
            if account.mismatches != 0 {
                builder::error(format!(
                    "the load found {} lines that did not hold what was written",
                    account.mismatches
                ));
                good = false;
            }
        }
        let findings = audit::audit(&expected);
        builder::tell_audit(&findings);
        if !findings.is_clean() {
            builder::error(format!("the audit found what must not be: {findings}"));
            good = false;
        }
        log::info!("heap: {}", heap::statistics());
        inject::tell_calls();
        inject::at_the_end();
        errors::for_each(|said| builder::error(format!("{said}")));
        let mut verdict = if good { Verdict::Pass } else { Verdict::Fail };
        builder::publish(verdict.into());
        if args.asks_for(Task::Monitor) {
            verdict = monitor::run(expected, verdict);
        }
        builder::publish_line(verdict.into());
        power::end(verdict)
    }

    fn open_console(tree: &Tree<'static>) {
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

    fn read_arguments(tree: &Tree<'static>) -> Bootargs<'static> {
        let text = tree.bootargs().unwrap_or_else(|error| {
            log::error!("{error}");
            ""
        });
        let args = Bootargs::parse(text);
        inject::set_args(args);
        args
    }

    fn arguments_are_good(args: &Bootargs<'static>) -> bool {
        for error in args.errors() {
            builder::error(format!("{error}"));
        }
        let strangers = || args.strangers(smp::cpus().len());
        for (word, cpu) in strangers() {
            builder::error(format!("boot argument {word}: there is no CPU {cpu}"));
        }
        args.errors().next().is_none() && strangers().next().is_none()
    }

    fn find_firmware(tree: &Tree<'static>) -> Option<Conduit> {
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

    fn banner(tree: &Tree<'static>, entry_el: u64) {
        console::print(format_args!(
            "cleave {} ({}, {}) on {}, entered at EL{entry_el}\n",
            env!("CARGO_PKG_VERSION"),
            env!("CLEAVE_COMMIT"),
            env!("CLEAVE_PROFILE"),
            tree.model().unwrap_or("a machine without a name"),
        ));
    }

    /// Reads the tree's memory, without what the linear map has no room for or this CPU cannot address: it paints it.
    fn read_memory(tree: &Tree<'static>, tree_memory: PhysRange, args: &Bootargs<'_>) -> MemoryMap {
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
    fn open_interrupt_controller(tree: &Tree<'static>) -> smp::Redistributors {
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
                        tell_lpis(&frame);
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
    fn tell_lpis(frame: &gic::Redistributor) {
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

    /// Holds a rendezvous with nothing to do, where the repaint held none: so that what the load counted before, during
    /// and after it means the same in every run. The report has no timeline of it: no repaint has stopped the CPUs.
    /// With the self-test it breaks and probes `scratch`.
    fn drill(scratch: Option<&probe::Scratch>) -> bool {
        let refused = repaint::drill(scratch).err();
        if let Some(refused) = &refused {
            builder::error(format!("rendezvous without a repaint: {refused}"));
        }
        refused.is_none()
    }

    /// Maps what the self-test breaks where the linear map stays whole.
    fn map_scratch() -> Option<probe::Scratch> {
        probe::Scratch::map().map_err(|error| builder::error(format!("self-test: {error}"))).ok()
    }

    fn trust(args: &Bootargs<'_>) -> Trust {
        match args.bbm_trust {
            BbmTrust::Auto => Trust::Auto,
            BbmTrust::Trust => Trust::Always,
            BbmTrust::Strict => Trust::Strict,
            BbmTrust::Off => Trust::Off,
        }
    }

    fn wish(args: &Bootargs<'_>) -> Wish {
        match args.linear {
            LinearMode::Auto | LinearMode::Require => Wish::Auto,
            LinearMode::Block => Wish::KeepBlocks,
            LinearMode::Page => Wish::Pages,
        }
    }

    fn frames_add_up(before: u64, kept: u64) -> bool {
        let after = memory::frames().available();
        let right = after + kept == before;
        if !right {
            builder::error(format!("{before} frames were free, {after} are, and {kept} became tables"));
        }
        right
    }

    /// Says what became of the self-test's probes, if there was a rendezvous to make them in; false when one went through.
    fn probes_faulted(probed: bool) -> bool {
        if !probed {
            log::warn!("probe: not run, for no rendezvous took place");
            builder::tell(|report| report.probe = Some(Probe::NotRun));
            return true;
        }
        let (leader, follower) = probe::outcomes();
        log::info!("probe on the leader: {leader}");
        if let Some(follower) = follower {
            log::info!("probe on a follower: {follower}");
        }
        let good =
            leader == probe::Outcome::Faulted && follower.is_none_or(|follower| follower == probe::Outcome::Faulted);
        let probe = if good { Probe::Passed } else { Probe::Failed };
        builder::tell(|report| report.probe = Some(probe));
        if !good {
            builder::error("self-test: a probe of the broken map went through".into());
        }
        good
    }

    /// A broken invariant: named on the console, and the run ends.
    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        if power::begin_panic(info) == power::PanicEntry::First {
            let backtrace = exceptions::backtrace_here();
            builder::record_backtrace(&[], &backtrace);
            console::emergency_print(format_args!("  backtrace:\n{backtrace}{}", stop::Others));
        }
        power::end(Verdict::Panic)
    }
}
