// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plugin's entry points, which QEMU calls when it loads the plugin, for each block of instructions that it
//! translates, and for each that executes.
#![allow(unsafe_code, reason = "QEMU calls these, and hands over pointers")]

use core::ffi::{c_char, c_int, c_uint, c_void};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cleave::tables::PhysAddr;
use cleave_model::instruction::{self, Instruction, decode, operand_register};

use crate::cpu_identity::Mark;
use crate::device::has_syndrome;
use crate::qemu::{self, Register, Registers};
use crate::record::Record;
use crate::recorder::{Recorder, Syndrome};
use crate::report::{Options, report};

/// MRS of MIDR_EL1, without its register.
const READ_MIDR: u32 = 0xd538_0000;

/// The registers that are read.
struct Handles {
    general: [Register; 31],
    pc: Register,
    /// VMPIDR_EL2, where there is EL2.
    affinity: Option<Register>,
    thread: Register,
    syndrome: Register,
    fault_address: Register,
}

struct Watcher {
    options: Options,
    handles: Option<Handles>,
    recorder: Recorder,
}

static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Watcher>> {
    WATCHER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watcher, with its registers, once QEMU has made a CPU.
fn with(what: impl FnOnce(&mut Recorder, &Handles)) {
    if let Some(Watcher { handles: Some(handles), recorder, .. }) = lock().as_mut() {
        what(recorder, handles);
    }
}

fn general(handles: &Handles, number: usize) -> u64 {
    handles.general.get(number).map_or(0, |&register| qemu::read(register))
}

/// QEMU loads the plugin.
///
/// # Safety
/// Called by QEMU, with its arguments as C strings.
// SAFETY: QEMU looks for this name in the plugin, and nothing else has it.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    id: qemu::Id,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: what QEMU promises.
    let arguments = unsafe { qemu::arguments(count, arguments) };
    match Options::parse(&arguments) {
        Ok(options) => {
            *lock() = Some(Watcher { options, handles: None, recorder: Recorder::default() });
            qemu::register(id, on_cpu, on_translation, on_exit);
            0
        }
        Err(error) => {
            eprintln!("watcher: {error}");
            1
        }
    }
}

extern "C" fn on_cpu(_id: qemu::Id, _cpu: c_uint) {
    let mut lock = lock();
    let Some(watcher) = lock.as_mut().filter(|watcher| watcher.handles.is_none()) else { return };
    let registers: HashMap<String, Register> = qemu::registers().into_iter().collect();
    let named = |name: &str| registers.get(name).copied();
    let general: Option<Vec<Register>> = (0..31).map(|number| named(&format!("x{number}"))).collect();
    let [pc, thread, syndrome, fault_address] = ["pc", "TPIDR_EL1", "ESR_EL1", "FAR_EL1"].map(named);
    let (Some(general), Some(pc)) = (general, pc) else {
        watcher.recorder.record.trouble = Some("QEMU does not show a register that is needed");
        return;
    };
    let (Some(thread), Some(syndrome), Some(fault_address)) = (thread, syndrome, fault_address) else {
        watcher.recorder.record.trouble = Some("QEMU does not show a register that is needed");
        return;
    };
    let general = core::array::from_fn(|number| general[number]);
    let features = ["ID_AA64MMFR1_EL1", "ID_AA64MMFR2_EL1"].map(|name| named(name).map_or(0, qemu::read));
    watcher.recorder.record.features = features;
    let affinity = named("VMPIDR_EL2");
    watcher.handles = Some(Handles { general, pc, affinity, thread, syndrome, fault_address });
}

extern "C" fn on_translation(_id: qemu::Id, block: *mut qemu::Block) {
    let mut lock = lock();
    let Some(recorder) = lock.as_mut().map(|watcher| &mut watcher.recorder) else { return };
    // SAFETY: QEMU has just handed it over.
    let instructions = unsafe { qemu::instructions(block) };
    let first = recorder.translated(instructions.iter().map(|&(_, address, word)| (address, word)));
    let mut reads_midr = None;
    for (index, &(instruction, address, word)) in instructions.iter().enumerate() {
        let site = first as usize + index;
        // SAFETY: the block, and an instruction of it, of this callback.
        unsafe {
            if index == 0 {
                qemu::on_block(block, on_block, Registers::Read, site);
                // Which of these are vectors where they are executed shows then.
                if address & 0x7f == 0 {
                    qemu::on_execution(instruction, on_exception, Registers::Read, site);
                }
            }
            if let Some(register) = reads_midr.take() {
                qemu::on_execution(instruction, on_midr, Registers::Read, register);
            }
            match decode(word) {
                Some(Instruction::Ordered(_)) | None => {}
                Some(Instruction::ConditionalBranch) => {
                    qemu::on_execution(instruction, on_branch, Registers::None, site);
                }
                Some(Instruction::Call) => qemu::on_execution(instruction, on_call, Registers::Read, site),
                Some(_) => qemu::on_execution(instruction, on_execution, Registers::Read, site),
            }
            qemu::on_access(instruction, on_access, site);
        }
        if word & !31 == READ_MIDR {
            reads_midr = Some(operand_register(word));
        }
    }
}

extern "C" fn on_block(_cpu: c_uint, site: *mut c_void) {
    with(|recorder, handles| {
        let mark = match handles.affinity {
            Some(affinity) => Mark::Affinity(qemu::read(affinity)),
            None => Mark::Thread(qemu::read(handles.thread)),
        };
        recorder.block(site as u32, qemu::read(handles.pc), mark, || general(handles, 0));
    });
}

extern "C" fn on_exception(_cpu: c_uint, site: *mut c_void) {
    with(|recorder, handles| {
        let [syndrome, address] = [handles.syndrome, handles.fault_address];
        recorder.excepts(site as u32, || Syndrome { syndrome: qemu::read(syndrome), address: qemu::read(address) });
    });
}

extern "C" fn on_midr(_cpu: c_uint, register: *mut c_void) {
    with(|recorder, handles| recorder.record.midr = Some(general(handles, register as usize) as u32));
}

extern "C" fn on_branch(_cpu: c_uint, site: *mut c_void) {
    with(|recorder, _| recorder.branches(site as u32));
}

extern "C" fn on_call(_cpu: c_uint, site: *mut c_void) {
    with(|recorder, handles| recorder.calls(site as u32, [0, 1, 2, 3].map(|number| general(handles, number))));
}

extern "C" fn on_execution(_cpu: c_uint, site: *mut c_void) {
    with(|recorder, handles| {
        let site = site as u32;
        let word = recorder.record.sites[site as usize].word;
        let operand = match instruction::decode(word) {
            Some(Instruction::Dsb(_) | Instruction::Isb | Instruction::ExceptionReturn) => 0,
            _ => general(handles, operand_register(word)),
        };
        recorder.executes(site, operand);
    });
}

extern "C" fn on_access(_cpu: c_uint, access: qemu::Access, address: u64, site: *mut c_void) {
    with(|recorder, _| {
        let site = site as u32;
        let place = || qemu::place(access, address).map(PhysAddr);
        let (is_store, bytes, value) = qemu::value(access);
        // Of loads, only those are of interest that a device must not be read by.
        let word = recorder.record.sites[site as usize].word;
        if (is_store || !has_syndrome(word)) && qemu::is_device(access, address) {
            recorder.reached_device(site, is_store);
        }
        if !is_store {
            return recorder.loaded(site, address, place, value[0]);
        }
        let at = place();
        let low = if bytes < 8 { value[0] & ((1 << (8 * bytes)) - 1) } else { value[0] };
        recorder.stored(site, address, at, bytes.min(8) as u8, low);
        if bytes > 8 {
            // A pair: two stores, each single-copy atomic by itself.
            recorder.stored(site, address + 8, at.map(|at| at.offset(8)), 8, value[1]);
        }
    });
}

extern "C" fn on_exit(_id: qemu::Id, _data: *mut c_void) {
    let Some(watcher) = lock().take() else { return };
    let record: Record = watcher.recorder.record;
    let text = report(&record, &watcher.options);
    if let Err(error) = std::fs::write(&watcher.options.file, &text) {
        eprintln!("watcher: {}: {error}", watcher.options.file.display());
    }
    qemu::say(&text);
}
