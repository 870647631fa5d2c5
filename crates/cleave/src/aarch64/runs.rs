// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast ways to fill a table and to compare one: runs of consecutive descriptors.
#![allow(unsafe_code, reason = "the loops are inline assembly")]

use core::arch::asm;

/// Repeats a text, once for each quarter of a [`ROUND`]. Not by `.rept`: LLVM takes an inline assembly's size from its lines,
/// and one that is larger than it seems puts branches around it out of range ("fixup value out of range").
macro_rules! sixteen_times {
    ($text:literal) => {
        concat!(
            $text, $text, $text, $text, $text, $text, $text, $text, $text, $text, $text, $text, $text, $text, $text, $text
        )
    };
}

/// Descriptors in one round of an unrolled loop.
const ROUND: usize = 64;

/// Stores `count` descriptors from `first` on: `value`, `value + stride`, `value + 2 * stride`, and so on.
///
/// Each descriptor is one single-copy atomic 64-bit store: a store pair of X registers is two of them (DDI 0487, B2.2,
/// "Requirements for single-copy atomicity").
/// Their order is not defined. Costs 98 instructions a round of 64, 1.53 each, and 4 each for
/// the rest; integer registers only, as the target has no others.
///
/// # Safety
/// `first` points at `count` descriptors, 8-byte aligned, that may be written through this mapping: Normal memory, and
/// no reference to them is live.
#[inline]
pub unsafe fn write_run(first: *mut u64, value: u64, stride: u64, count: usize) {
    // SAFETY: writes exactly `count` words from `first` on, by the caller's promise. Not `nomem`, so the compiler
    // knows. `cmp` and `subs` clobber the flags.
    unsafe {
        asm!(
            "cbz {rounds}, 3f",
            "2:",
            sixteen_times!(
                "stp {a}, {b}, [{to}], #16
                stp {c}, {d}, [{to}], #16
                add {a}, {a}, {stride4}
                add {b}, {b}, {stride4}
                add {c}, {c}, {stride4}
                add {d}, {d}, {stride4}
                "
            ),
            "subs {rounds}, {rounds}, #1",
            "b.ne 2b",
            "3:",
            "cbz {rest}, 5f",
            "4:",
            "str {a}, [{to}], #8",
            "add {a}, {a}, {stride}",
            "subs {rest}, {rest}, #1",
            "b.ne 4b",
            "5:",
            rounds = inout(reg) count / ROUND => _,
            rest = inout(reg) count % ROUND => _,
            to = inout(reg) first => _,
            a = inout(reg) value => _,
            b = inout(reg) value.wrapping_add(stride) => _,
            c = inout(reg) value.wrapping_add(stride.wrapping_mul(2)) => _,
            d = inout(reg) value.wrapping_add(stride.wrapping_mul(3)) => _,
            stride4 = in(reg) stride.wrapping_mul(4),
            stride = in(reg) stride,
            options(nostack),
        );
    }
}

/// Returns true when `count` descriptors from `first` on are `value`, `value + stride`, `value + 2 * stride`, and so on.
///
/// Each descriptor is one single-copy atomic 64-bit load: a load pair of X registers is two of them (DDI 0487, B2.2, "Requirements
/// for single-copy atomicity"). Costs 163 instructions a round of 64, 2.55 each, and 5 each for the rest.
///
/// # Safety
/// `first` points at `count` descriptors, 8-byte aligned, that may be read through this mapping: Normal memory.
#[inline]
pub unsafe fn is_run(first: *const u64, value: u64, stride: u64, count: usize) -> bool {
    let mut equal = true as u64;
    // SAFETY: reads exactly `count` words from `first` on, by the caller's promise, and writes none. `cmp`, `ccmp` and `subs`
    // clobber the flags.
    unsafe {
        asm!(
            "cbz {rounds}, 3f",
            "2:",
            // Equal, for the first CCMP; a difference stays: CCMP sets the flags to "not equal" when they are that already.
            "cmp xzr, xzr",
            sixteen_times!(
                "ldp {c}, {d}, [{from}], #16
                ccmp {c}, {a}, #0, eq
                ccmp {d}, {b}, #0, eq
                add {a}, {a}, {stride2}
                add {b}, {b}, {stride2}
                ldp {c}, {d}, [{from}], #16
                ccmp {c}, {a}, #0, eq
                ccmp {d}, {b}, #0, eq
                add {a}, {a}, {stride2}
                add {b}, {b}, {stride2}
                "
            ),
            "b.ne 6f",
            "sub {rounds}, {rounds}, #1",
            "cbnz {rounds}, 2b",
            "3:",
            "cbz {rest}, 5f",
            "4:",
            "ldr {c}, [{from}], #8",
            "cmp {c}, {a}",
            "b.ne 6f",
            "add {a}, {a}, {stride}",
            "sub {rest}, {rest}, #1",
            "cbnz {rest}, 4b",
            "b 5f",
            "6:",
            "mov {equal}, #0",
            "5:",
            equal = inout(reg) equal,
            rounds = inout(reg) count / ROUND => _,
            rest = inout(reg) count % ROUND => _,
            from = inout(reg) first => _,
            a = inout(reg) value => _,
            b = inout(reg) value.wrapping_add(stride) => _,
            c = out(reg) _,
            d = out(reg) _,
            stride2 = in(reg) stride.wrapping_mul(2),
            stride = in(reg) stride,
            options(nostack, readonly),
        );
    }
    equal != 0
}
