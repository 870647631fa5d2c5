// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's plugin interface, version 4 (QEMU 10.0, include/plugins/qemu-plugin.h), as far as it is used, and what GLib
//! is needed for it.
//!
//! Declared by hand: distributions ship no header, and QEMU exports the functions to each plugin it loads.
#![allow(unsafe_code, reason = "every function here is QEMU's or GLib's")]

use core::ffi::{c_char, c_int, c_uint, c_void};
use std::ffi::{CStr, CString};

/// The version of the plugin interface; QEMU refuses to load the plugin when it does not know this version.
// SAFETY: QEMU looks for this name in the plugin, and nothing else has it.
#[unsafe(no_mangle)]
pub(crate) static qemu_plugin_version: c_int = 4;

/// A plugin's number.
pub(crate) type Id = u64;
/// A block that is being translated.
#[repr(C)]
pub(crate) struct Block {
    _private: [u8; 0],
}
/// An instruction of such a block.
#[repr(C)]
pub(crate) struct Instruction {
    _private: [u8; 0],
}
/// An access that was made.
pub(crate) type Access = u32;

/// A register of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Register(*mut c_void);

// SAFETY: a handle, never followed here; QEMU's CPUs all run in one thread (`thread=single`).
unsafe impl Send for Register {}

/// The use of registers by a callback.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Registers {
    /// Nothing.
    None = 0,
    /// They read them.
    Read = 1,
}

const READS_AND_WRITES: c_uint = 3;

#[repr(C)]
struct Array {
    data: *mut u8,
    length: c_uint,
}

#[repr(C)]
struct Description {
    handle: *mut c_void,
    name: *const c_char,
    feature: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Value {
    kind: c_uint,
    /// A union; of 128 bits the low half comes first.
    data: [u64; 2],
}

#[repr(C)]
struct Place {
    _private: [u8; 0],
}

type OnCpu = extern "C" fn(Id, c_uint);
type OnBlock = extern "C" fn(Id, *mut Block);
type OnExit = extern "C" fn(Id, *mut c_void);
type OnExecution = extern "C" fn(c_uint, *mut c_void);
type OnAccess = extern "C" fn(c_uint, Access, u64, *mut c_void);

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_init_cb(id: Id, callback: OnCpu);
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: OnBlock);
    fn qemu_plugin_register_atexit_cb(id: Id, callback: OnExit, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(instruction: *const Instruction, to: *mut c_void, bytes: usize) -> usize;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        callback: OnExecution,
        registers: c_uint,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnExecution,
        registers: c_uint,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: OnAccess,
        registers: c_uint,
        which: c_uint,
        data: *mut c_void,
    );
    fn qemu_plugin_get_hwaddr(access: Access, address: u64) -> *mut Place;
    fn qemu_plugin_hwaddr_is_io(place: *const Place) -> bool;
    fn qemu_plugin_hwaddr_phys_addr(place: *const Place) -> u64;
    fn qemu_plugin_mem_get_value(access: Access) -> Value;
    fn qemu_plugin_mem_size_shift(access: Access) -> c_uint;
    fn qemu_plugin_mem_is_store(access: Access) -> bool;
    fn qemu_plugin_outs(text: *const c_char);
    fn qemu_plugin_get_registers() -> *mut Array;
    fn qemu_plugin_read_register(handle: *mut c_void, into: *mut Array) -> c_int;
    fn g_byte_array_new() -> *mut Array;
    fn g_byte_array_set_size(array: *mut Array, size: c_uint) -> *mut Array;
    fn g_array_free(array: *mut Array, free_data: c_int) -> *mut c_char;
}

/// The arguments of the plugin, as they stand behind its file name.
///
/// # Safety
/// `arguments` are `count` C strings.
pub(crate) unsafe fn arguments(count: c_int, arguments: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the caller's promise.
    (0..count).map(|n| unsafe { CStr::from_ptr(*arguments.add(n)) }.to_string_lossy().into_owned()).collect()
}

/// Has the plugin called: for each CPU that is made, for each block that is translated, and when QEMU ends.
pub(crate) fn register(id: Id, on_cpu: OnCpu, on_block: OnBlock, on_exit: OnExit) {
    // SAFETY: the plugin's own number, functions of the types that QEMU wants, which stay: a plugin is not unloaded.
    unsafe {
        qemu_plugin_register_vcpu_init_cb(id, on_cpu);
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
        qemu_plugin_register_atexit_cb(id, on_exit, core::ptr::null_mut());
    }
}

/// Says something on QEMU's log.
pub(crate) fn say(text: &str) {
    let text = CString::new(format!("{text}\n")).unwrap_or_default();
    // SAFETY: a C string, which QEMU copies.
    unsafe { qemu_plugin_outs(text.as_ptr()) };
}

/// The instructions of a block: each with its address and its word.
///
/// # Safety
/// `block` is what QEMU has just handed to the callback of a translation.
pub(crate) unsafe fn instructions(block: *mut Block) -> Vec<(*mut Instruction, u64, u32)> {
    // SAFETY: the caller's promise; indices below the count, and room for the four bytes of an A64 instruction.
    unsafe {
        let each = |index| {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let mut word = [0; 4];
            qemu_plugin_insn_data(instruction, word.as_mut_ptr().cast(), word.len());
            (instruction, qemu_plugin_insn_vaddr(instruction), u32::from_le_bytes(word))
        };
        (0..qemu_plugin_tb_n_insns(block)).map(each).collect()
    }
}

/// Has `callback` called whenever the block begins.
///
/// # Safety
/// As for [`instructions`].
pub(crate) unsafe fn on_block(block: *mut Block, callback: OnExecution, registers: Registers, data: usize) {
    // SAFETY: the caller's promise; the data is a number.
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, callback, registers as c_uint, data as *mut c_void) };
}

/// Has `callback` called whenever the instruction is about to be executed.
///
/// # Safety
/// The instruction is one of [`instructions`]' of the same callback.
pub(crate) unsafe fn on_execution(
    instruction: *mut Instruction,
    callback: OnExecution,
    registers: Registers,
    data: usize,
) {
    // SAFETY: the caller's promise; the data is a number.
    unsafe { qemu_plugin_register_vcpu_insn_exec_cb(instruction, callback, registers as c_uint, data as *mut c_void) };
}

/// Has `callback` called whenever the instruction has accessed memory.
///
/// # Safety
/// As for [`on_execution`].
pub(crate) unsafe fn on_access(instruction: *mut Instruction, callback: OnAccess, data: usize) {
    let registers = Registers::None as c_uint;
    // SAFETY: the caller's promise; the data is a number.
    unsafe {
        qemu_plugin_register_vcpu_mem_cb(instruction, callback, registers, READS_AND_WRITES, data as *mut c_void);
    }
}

/// Returns the physical address of an access to `address`, if that is memory and not a device. In the callback of that
/// access only.
pub(crate) fn place(access: Access, address: u64) -> Option<u64> {
    // SAFETY: QEMU checks the access; the place is read before anything else is asked of QEMU.
    unsafe {
        let place = qemu_plugin_get_hwaddr(access, address);
        (!place.is_null() && !qemu_plugin_hwaddr_is_io(place)).then(|| qemu_plugin_hwaddr_phys_addr(place))
    }
}

/// Returns true when an access to `address` went to a device. In the callback of that access only.
pub(crate) fn is_device(access: Access, address: u64) -> bool {
    // SAFETY: as in `place`.
    unsafe {
        let place = qemu_plugin_get_hwaddr(access, address);
        !place.is_null() && qemu_plugin_hwaddr_is_io(place)
    }
}

/// Returns true for a store, with the size of the access in bytes and its value. In the callback of that access only.
pub(crate) fn value(access: Access) -> (bool, usize, [u64; 2]) {
    // SAFETY: QEMU's own number of the access, in its callback.
    unsafe {
        let bytes = 1 << qemu_plugin_mem_size_shift(access);
        (qemu_plugin_mem_is_store(access), bytes, qemu_plugin_mem_get_value(access).data)
    }
}

/// The registers of the CPU whose callback this is, by name. In the callback of a CPU that was made.
pub(crate) fn registers() -> Vec<(String, Register)> {
    // SAFETY: QEMU gives an array of descriptions with names that stay; the array itself is ours to free.
    unsafe {
        let array = qemu_plugin_get_registers();
        let length = (*array).length as usize;
        let described = core::slice::from_raw_parts((*array).data.cast::<Description>(), length);
        let name = |each: &Description| CStr::from_ptr(each.name).to_string_lossy().into_owned();
        let all = described.iter().map(|each| (name(each), Register(each.handle))).collect();
        g_array_free(array, 1);
        all
    }
}

thread_local! {
    /// The array that QEMU writes the value of a register to. It is kept: registers are read whenever a block begins.
    // SAFETY: GLib makes a new array of its own, which this thread alone has.
    static BYTES: *mut Array = unsafe { g_byte_array_new() };
}

/// A register of the CPU that executes, up to 64 bits of it. In a callback that reads registers.
pub(crate) fn read(register: Register) -> u64 {
    // SAFETY: a handle that QEMU gave; the bytes are this thread's and read as far as QEMU wrote them.
    BYTES.with(|&bytes| unsafe {
        g_byte_array_set_size(bytes, 0);
        qemu_plugin_read_register(register.0, bytes);
        let length = ((*bytes).length as usize).min(8);
        let mut value = [0; 8];
        value[..length].copy_from_slice(core::slice::from_raw_parts((*bytes).data, length));
        u64::from_le_bytes(value)
    })
}
