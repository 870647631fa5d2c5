// SPDX-License-Identifier: MIT OR Apache-2.0
//! The start of the secondary CPUs: stacks and a boot record for each, the call that starts it, the wait until it is
//! online.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use crate::devicetree::{Affinity, Conduit, CpuStatus, EnableMethod};
use cleave::aarch64::{cache, cpu, hint, timer};
use cleave::deadline::Deadline;
use cleave::tables::{PhysAddr, VirtAddr};

use super::{CPUS, Cpu, Found, HOOKS, Redistributors, redistributor, secondary::secondary};
use crate::boot::{SecondaryBoot, secondary_entry};
use crate::cpu::firmware::{Firmware, PsciError};
use crate::cpu::method::Method;
use crate::cpu::patience::patience;
use crate::cpu::percpu::{PerCpu, this_cpu};
use crate::cpu::spin_table;
use crate::cpu::state::Stage;
use crate::irq::gic;
use crate::mm::image::{self, Table};
use crate::mm::layout::{Part, Slot};
use crate::mm::memory;

/// Starts every other CPU of the tree and waits until each is at work or its time is over.
pub(crate) fn start_others(cpus: Vec<Found>, conduit: Option<Conduit>, redistributors: &Redistributors) {
    let mut list = Vec::new();
    let me = Affinity::from_mpidr(cpu::mpidr());
    for found in cpus {
        list.push(match found {
            Ok(found) if found.affinity == me => {
                let method = Some(Method::Boot);
                Cpu { id: found.id, affinity: me, method, release: None, block: Some(this_cpu()), error: None }
            }
            Ok(found) => start(&found, conduit, redistributors),
            Err(error) => Cpu {
                id: error.id,
                affinity: Affinity::from_mpidr(0),
                method: None,
                release: None,
                block: None,
                error: Some(Cow::Owned(format!("{error}"))),
            },
        });
    }
    // Only when every record is in the chain: a tree may give several CPUs the same release word.
    for cpu in &mut list {
        if let (Some(word), Some(_)) = (cpu.release, cpu.block)
            && let Err(error) = spin_table::release(word)
        {
            cpu.block = None;
            cpu.error = Some(Cow::Owned(format!("{error}")));
        }
    }
    await_all(&mut list, conduit);
    CPUS.call_once(|| list);
}

fn start(found: &crate::devicetree::Cpu<'static>, conduit: Option<Conduit>, redistributors: &Redistributors) -> Cpu {
    let mut cpu = Cpu { id: found.id, affinity: found.affinity, method: None, release: None, block: None, error: None };
    if let CpuStatus::Unusable(status) = found.status {
        cpu.error = Some(Cow::Owned(format!("the device tree gives it the status {status}")));
        return cpu;
    }
    let started = match found.enable_method {
        EnableMethod::Psci => {
            cpu.method = Some(Method::Psci);
            match conduit {
                Some(conduit) => start_by_psci(&mut cpu, Firmware::behind(conduit), redistributors),
                None => Err(Cow::Borrowed("enable-method psci, but the device tree has no usable psci node")),
            }
        }
        EnableMethod::SpinTable { release } => {
            cpu.method = Some(Method::SpinTable);
            cpu.release = Some(release);
            prepare(&mut cpu, redistributors).map(spin_table::enlist)
        }
        EnableMethod::SpinTableWithoutAddress => {
            cpu.method = Some(Method::SpinTable);
            Err(Cow::Borrowed("enable-method spin-table, but no cpu-release-addr that can be read"))
        }
        EnableMethod::Missing => Err(Cow::Borrowed("no enable-method in the device tree")),
        EnableMethod::Unknown(method) => Err(Cow::Owned(format!("unknown enable-method {method}"))),
    };
    cpu.error = started.err();
    cpu
}

/// The addresses of a CPU's boot record.
#[derive(Clone, Copy)]
pub(crate) struct RecordPlace {
    /// The address through which it is written.
    pub(crate) address: VirtAddr,
    /// The address at which the CPU reads it, its MMU off.
    pub(crate) physical: PhysAddr,
}

fn start_by_psci(cpu: &mut Cpu, firmware: Firmware, redistributors: &Redistributors) -> Result<(), Cow<'static, str>> {
    let record = prepare(cpu, redistributors)?;
    let result = match HOOKS.get().and_then(|hooks| (hooks.cpu_on_answer)(cpu.id)) {
        Some(code) => Err(PsciError::from_code(code.into())),
        None => firmware.cpu_on(cpu.affinity, image::physical(secondary_entry()), record.physical.0),
    };
    result.map_err(|error| {
        cpu.block = None;
        Cow::Owned(format!("PSCI CPU_ON: {error}"))
    })
}

/// Gives the CPU its stacks, its block, and the record it starts from, which is at the point of coherency after this.
fn prepare(cpu: &mut Cpu, redistributors: &Redistributors) -> Result<RecordPlace, Cow<'static, str>> {
    let slot = Slot::of_cpu(cpu.id as u64).ok_or("no room in the kernel area for its stacks")?;
    for range in slot.mapped() {
        memory::map_new(range.start, range.end.0 - range.start.0)
            .map_err(|error| Cow::Owned(format!("its stacks: {error}")))?;
    }
    let mpidr = cpu.affinity.bits();
    // SAFETY: the slot was mapped just now, for good, and no CPU runs on it.
    let address = unsafe { PerCpu::new(cpu.id, mpidr, slot).install() };
    // SAFETY: installed just now; from here on it is only ever shared.
    let block: &'static PerCpu = unsafe { &*(address.0 as *const PerCpu) };
    block.state.redistributor.store(redistributor(redistributors, mpidr), Ordering::Relaxed);
    if gic::get().is_some_and(|controller| controller.version() == 3)
        && block.state.redistributor.load(Ordering::Relaxed) == 0
    {
        return Err("no GICv3 redistributor has its affinity".into());
    }
    let record = SecondaryBoot {
        ttbr1: Table::HoldingRoot.phys().0,
        stack: slot.top(Part::Thread).0,
        exception_stack: slot.top(Part::Exception).0,
        per_cpu: address.0,
        entry: secondary as *const () as u64,
        argument: address.0,
        mpidr,
        next: 0,
    };
    // At the far end of the block's page: read once, with the MMU off, while nothing else is in that line.
    let at = slot.range(Part::Block).end.0 - size_of::<SecondaryBoot>() as u64;
    // SAFETY: inside the page mapped above, behind the block (asserted in `percpu`), aligned to 64 bytes.
    unsafe { (at as *mut SecondaryBoot).write(record) };
    // The CPU reads it past the caches.
    cache::clean(VirtAddr(at)..slot.range(Part::Block).end);
    cpu.block = Some(block);
    Ok(RecordPlace { address: VirtAddr(at), physical: PhysAddr(physical_of(VirtAddr(at))) })
}

/// Returns the physical address of an object in the kernel half, by a walk of the tables.
fn physical_of(address: VirtAddr) -> u64 {
    memory::tree(crate::mm::views::Reader)
        .translate(address)
        .unwrap_or_else(|| panic!("{address} was mapped just now"))
        .1
        .0
}

/// Waits for the CPUs that were started and admits each as it checks in.
fn await_all(list: &mut [Cpu], conduit: Option<Conduit>) {
    let waiting = list.iter().filter(|cpu| cpu.block.is_some()).count() as u64;
    let mut deadline = Deadline::new(timer::count(), patience(waiting));
    let mut expired = false;
    loop {
        let mut open = false;
        for cpu in list.iter_mut() {
            let Some(block) = cpu.block else { continue };
            match block.state.stage() {
                Stage::CheckedIn if !expired => {
                    block.state.set_stage(Stage::Admitted);
                    open = true;
                }
                Stage::Absent | Stage::CheckedIn if expired => {
                    cpu.block = None;
                    cpu.error = Some(did_not_come(cpu.affinity, conduit));
                }
                Stage::Unusable => {
                    cpu.error = Some(match block.state.unusable.get() {
                        Some(error) => Cow::Owned(format!("{error}")),
                        None => Cow::Borrowed("not usable"),
                    });
                    cpu.block = None;
                }
                Stage::Absent | Stage::CheckedIn | Stage::Admitted => open = true,
                Stage::Online => {}
            }
        }
        if !open {
            return;
        }
        expired = deadline.has_passed(timer::count());
        hint::wait_for_event();
    }
}

/// Returns the error of a CPU that was started and has not checked in.
fn did_not_come(affinity: Affinity, conduit: Option<Conduit>) -> Cow<'static, str> {
    match conduit.map(|conduit| Firmware::behind(conduit).affinity_info(affinity)) {
        Some(Ok(power)) => Cow::Owned(format!("started, did not check in in time; firmware says it is {power}")),
        Some(Err(error)) => Cow::Owned(format!("started, did not check in in time; AFFINITY_INFO: {error}")),
        None => Cow::Borrowed("started, did not check in in time"),
    }
}
