// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report builder: facts are recorded as they become known, so that a panic's report has all facts until then.
#![cfg(target_os = "none")]

extern crate alloc;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::devicetree::{Conduit, MemoryMap, Tree};
use crate::options::{self, ReportMode};
use cleave::aarch64::timer;
use cleave::linear_map::Outcome;

use crate::check::audit::Findings;
use crate::cpu::lock::IrqLock;
use crate::cpu::percpu;
use crate::cpu::smp;
use crate::cpu::wait;
use crate::io::console;
use crate::irq::exceptions::{Backtrace, MOST_FRAMES};
use crate::irq::gic;
use crate::mm::memory;
use crate::mm::repaint::RepaintStats;
use crate::report::data::{Cpu, Map, Moments, Report};
use crate::report::members::Line;
use crate::report::panic::{ADDRESSES, Message, Panic};
use crate::report::verdict::Verdict;

static REPORT: IrqLock<Option<Report>> = IrqLock::new("report", None);

const _: () = assert!(ADDRESSES == MOST_FRAMES + 2, "the report has all that the console shows");

/// The record of a panic by the CPU that panics, beside the report and its lock.
static PANIC: Panic = Panic::new();

/// The longest wait for the report after a panic, in milliseconds: another CPU may be changing it, and has its
/// interrupts masked until it is done.
const REPORT_WAIT: u64 = 100;

/// Changes the report.
pub(crate) fn tell(change: impl FnOnce(&mut Report)) {
    change(REPORT.lock().get_or_insert_with(Report::default));
}

/// Adds an error, and says it on the console.
pub(crate) fn error(text: String) {
    log::error!("{text}");
    tell(|report| report.errors.push(Cow::Owned(text)));
}

/// Records the kernel's version and its boot arguments.
pub(crate) fn record_kernel() {
    let args = options::current();
    tell(|report| {
        report.kernel.version = Some(env!("CARGO_PKG_VERSION").into());
        report.kernel.commit = Some(env!("CLEAVE_COMMIT").into());
        report.kernel.profile = Some(env!("CLEAVE_PROFILE").into());
        report.kernel.bootargs = Some(args.text().to_string().into());
        report.clock = args.clock;
        report.kernel.unknown_bootargs = args.unknown().map(|word| Cow::Owned(word.to_string())).collect();
    });
}

/// Records the machine.
pub(crate) fn record_machine(tree: &Tree<'static>, map: &MemoryMap, entry_el: u64, conduit: Option<Conduit>) {
    tell(|report| {
        report.machine.model = tree.model().map(Cow::Borrowed);
        report.machine.compatible = tree.compatible().map(Cow::Borrowed).collect();
        report.machine.entry_el = Some(entry_el);
        report.machine.granule = Some(memory::GEOMETRY.page_size());
        report.machine.va_bits = Some(memory::GEOMETRY.address_bits() as u8);
        report.machine.conduit = conduit;
        report.machine.gic = gic::get().map(gic::InterruptController::version);
        report.memory.bytes = Some(map.ram().bytes());
        report.memory.regions = memory::layout().regions().to_vec();
        report.memory.reserved = map.reserved().iter().chain(map.no_map().iter()).collect();
        report.memory.reserved.sort_by_key(|range| range.start);
        // They were said on the console when they were found.
        report.errors.extend(memory::losses(map).map(|lost| Cow::Owned(format!("{lost}"))));
    });
}

/// Records the CPUs, and whether each is online.
pub(crate) fn record_cpus() {
    let cpus: Vec<Cpu> = smp::cpus()
        .iter()
        .map(|cpu| Cpu {
            id: cpu.id as u32,
            mpidr: cpu.affinity.bits(),
            midr: cpu.midr(),
            bbm: cpu.level().map(|(level, _)| level.number()),
            smpen: cpu.smpen(),
            method: cpu.method,
            online: cpu.online().is_some(),
            error: cpu.error.clone(),
        })
        .collect();
    for cpu in smp::cpus() {
        if let Some(why) = &cpu.error {
            error(format!("CPU {}: {why}", cpu.id));
        }
    }
    tell(|report| report.cpus = cpus);
    counter_differences().for_each(error);
    record_coherency();
}

/// Records CPUECTLR_EL1.SMPEN, a core's part in hardware coherency, on the cores that have it. Setting it is firmware's
/// business; where it set it on some CPUs and not on others, nothing the CPUs share can be trusted.
fn record_coherency() {
    let count = |wanted| smp::cpus().iter().filter(|cpu| cpu.smpen() == Some(wanted)).count();
    match (count(true), count(false)) {
        (0, 0) => {}
        (set, 0) => log::info!("SMPEN is set on {set} CPUs"),
        (0, clear) => log::info!("SMPEN reads 0 on {clear} CPUs: an emulator, or firmware that left coherency off"),
        (_, _) => {
            for cpu in smp::cpus().iter().filter(|cpu| cpu.smpen() == Some(false)) {
                error(format!(
                    "CPU {}: SMPEN is clear and on others set: firmware left this one's coherency off",
                    cpu.id
                ));
            }
        }
    }
}

/// Records the painted map.
pub(crate) fn record_painted(painted: &memory::Painted) {
    tell(|report| {
        report.ticks.frequency = Some(timer::frequency());
        report.ticks.paint = Some(painted.ticks);
        report.leaves_before = Some(painted.stats.leaves);
    });
}

/// Records the repaint, and whether it counts as a failure.
pub(crate) fn record_repaint(account: &RepaintStats) {
    for text in &account.errors {
        tell(|report| report.errors.push(Cow::Owned(text.clone())));
    }
    let repainted = account.repainted;
    if repainted.outcome != Outcome::Done {
        error(format!("the linear map stays in blocks: {}", repainted.outcome));
    }
    tell(|report| {
        report.repaint = Some(repainted);
        report.ticks.reserve = account.reserve;
        report.ticks.fill = account.fill;
        report.ticks.repaint = Some(account.total);
        if let Some(measured) = &repainted.measured {
            report.ticks.gather = Some(measured.began.wrapping_sub(measured.kicked));
            report.ticks.window = Some(measured.ended.wrapping_sub(measured.began));
            report.ticks.release = Some(measured.gone.wrapping_sub(measured.ended));
        }
    });
}

/// Tells the timeline of the repaint's last rendezvous, begun by this CPU: done, or called off on its deadline. A moment
/// before its kick is of an earlier attempt.
pub(crate) fn record_timeline() {
    let kicked = percpu::this_cpu().state.slot.times().kicked;
    if kicked == 0 {
        // It was refused before it called a CPU.
        return;
    }
    let known = |ticks: u64| (ticks >= kicked).then_some(ticks);
    let timeline = smp::online()
        .map(|cpu| {
            let times = cpu.state.slot.times();
            Moments {
                cpu: cpu.id as u32,
                kicked: Some(kicked),
                arrived: known(times.arrived),
                masked: known(times.masked),
                released: known(times.released),
                filled: cpu.state.filled.load(Ordering::Relaxed),
            }
        })
        .collect();
    tell(|report| report.timeline = timeline);
}

/// Records the audit and its findings.
pub(crate) fn record_audit(findings: Findings) {
    for text in &findings.named {
        error(format!("audit: {text}"));
    }
    if !findings.is_clean() {
        error(format!("the audit found what must not be: {findings}"));
    }
    tell(|report| report.audit = Some(findings));
}

/// Records the linear map as it is now: as the last change left it, also where another is under way.
fn record_map(report: &mut Report) {
    let [spurious, conflicts] = [smp::retried(|cpu| &cpu.stale_faults), smp::retried(|cpu| &cpu.conflicts)];
    report.map = memory::try_map().map(|map| Map { counts: map.counts(), spurious, conflicts });
}

/// Prints the report for people, with its result.
pub(crate) fn publish(result: Verdict) {
    let mut report = REPORT.lock();
    let report = report.get_or_insert_with(Report::default);
    report.result = result;
    record_map(report);
    // The console does not fail.
    let _ = report.write_text(&mut *console::lock());
}

/// Prints the report for programs, where one is asked for, with the result of the whole run. It is the last thing of a
/// run: a panic behind it would have a report of its own, and there is one line.
pub(crate) fn publish_line(result: Verdict) {
    if options::current().report != ReportMode::Json {
        return;
    }
    let mut report = REPORT.lock();
    let report = report.get_or_insert_with(Report::default);
    report.result = result;
    record_map(report);
    let mut console = console::lock();
    // The monitor leaves its prompt.
    console.begin_line();
    // The console does not fail.
    let _ = report.write_line(&mut *console);
}

/// Begins the record of this CPU's panic or fault. What is written to the result goes to `out` too. Takes no lock and no
/// memory; only the CPU that has claimed the end of the run may call it.
pub(crate) fn record_panic(out: &mut dyn fmt::Write) -> Message<'_> {
    PANIC.begin(percpu::try_this_cpu().map(|cpu| cpu.id), out)
}

/// Adds to the record of the panic an exception's ELR and LR, where it was one, and the call chain: the addresses that
/// the console shows, in its order.
pub(crate) fn record_backtrace(exception: &[u64], backtrace: &Backtrace) {
    exception.iter().for_each(|&address| PANIC.add_address(address));
    backtrace.addresses(|address| PANIC.add_address(address));
}

/// Prints the report of a run that ends in a panic: what was known, past all locks but the report's own.
pub(crate) fn publish_after_panic() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    // Once: a panic in here comes back.
    if options::current().report != ReportMode::Json || BEGUN.swap(true, Ordering::Relaxed) {
        return;
    }
    // The CPU that panics may hold the lock itself, and its report may be half changed; or another one that panics too
    // has stopped with it. Then there is a report without what was known, which still has the panic.
    let mut held = REPORT.emergency_lock(wait::deadline(REPORT_WAIT));
    match held.as_deref_mut() {
        Some(report) => print_after_panic(report.get_or_insert_with(Report::default)),
        None => print_after_panic(&mut Report::default()),
    }
}

/// Prints the report after a panic. Neither allocates nor frees: a default report has no heap memory, and only plain
/// values are replaced.
fn print_after_panic(report: &mut Report) {
    report.clock = options::current().clock;
    report.panic = PANIC.get();
    record_map(report);
    report.result = Verdict::Panic;
    // One print, and so whole under the console's lock, where that can be had.
    console::emergency_print(format_args!("{}", Line(report)));
}

/// Returns a text for each CPU at work whose CNTFRQ_EL0 is not the frequency in use. CNTFRQ_EL0 belongs to one CPU, and
/// firmware that sets it on the boot CPU can forget the others.
fn counter_differences() -> impl Iterator<Item = String> {
    let used = timer::frequency();
    let noted = smp::cpus().iter().filter_map(|cpu| Some((cpu.id, cpu.counter_frequency()?)));
    noted.filter(move |&(_, noted)| noted != used).map(move |(id, noted)| {
        format!("CPU {id}: firmware left CNTFRQ_EL0 at {noted}; the frequency used on every CPU is {used} Hz")
    })
}
