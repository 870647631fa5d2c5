// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fast way to fill a table: a run of consecutive descriptors.
#![allow(unsafe_code, reason = "the loop is inline assembly")]

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

/// Descriptors that one round of the unrolled loop stores.
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
