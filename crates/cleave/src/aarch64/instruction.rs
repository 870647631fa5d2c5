// SPDX-License-Identifier: MIT OR Apache-2.0
//! A64 instructions as data, as far as code that changes code needs them (DDI 0487, C6.2), and the store that changes one.

use core::fmt;

use crate::tables::VirtAddr;

/// One A64 instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instruction(pub u32);

impl Instruction {
    /// NOP.
    pub const NOP: Self = Self(0xd503_201f);

    /// Returns B at `from` to `to`; `None` when that is no multiple of four away, or further than 128 MiB.
    ///
    /// ```
    /// use cleave::{aarch64::instruction::Instruction, tables::VirtAddr};
    /// assert_eq!(Instruction::branch(VirtAddr(0x1000), VirtAddr(0x0ff8)), Some(Instruction(0x17ff_fffe)));
    /// ```
    #[must_use]
    pub const fn branch(from: VirtAddr, to: VirtAddr) -> Option<Self> {
        let distance = to.0.wrapping_sub(from.0) as i64;
        if distance % 4 != 0 || distance < -(1 << 27) || distance >= 1 << 27 {
            return None;
        }
        Some(Self(0b000101 << 26 | (distance >> 2) as u32 & 0x03ff_ffff))
    }

    /// Returns true for the instructions that one CPU may write while others execute them, where both the old one and the new one
    /// are of these: B, BL, BRK, HVC, ISB, NOP, SMC and SVC. A CPU executes the old one or the new one then (DDI 0487, B2.2.5,
    /// "Concurrent modification and execution of instructions"). Any other pair may behave as neither of them.
    #[must_use]
    pub const fn may_change_live(self) -> bool {
        // B and BL differ in bit 31. Of BRK, SVC, HVC and SMC the immediate is in bits 20:5; of ISB the option in 11:8.
        let exception = self.0 & 0xffe0_001f;
        self.0 & 0x7c00_0000 == 0x1400_0000
            || matches!(exception, 0xd420_0000 | 0xd400_0001 | 0xd400_0002 | 0xd400_0003)
            || self.0 & 0xffff_f0ff == 0xd503_30df
            || self.0 == Self::NOP.0
    }
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(any(target_arch = "aarch64", doc))]
mod access {
    #![allow(unsafe_code, reason = "an instruction is stored by inline assembly")]

    use super::{Instruction, VirtAddr};
    use core::arch::asm;

    /// Loads the instruction at `address`, as data.
    ///
    /// # Safety
    /// The address is a multiple of four, and readable.
    #[must_use]
    pub unsafe fn load(address: VirtAddr) -> Instruction {
        let word: u32;
        // SAFETY: the caller's promise; it changes nothing.
        unsafe { asm!("ldr {:w}, [{}]", out(reg) word, in(reg) address.0, options(nostack, preserves_flags)) }
        Instruction(word)
    }

    /// Stores `new` at `written`, where the code that runs at `executed` can be written, and makes it the instruction that every
    /// CPU fetches after its next context synchronisation event. This CPU has had one on return.
    ///
    /// # Safety
    /// Both addresses are of one word of code, a multiple of four, in memory that is Normal write-back and inner shareable by both;
    /// `written` is writable, `executed` is mapped. The code is right with the old instruction and with the new one for as long as
    /// a CPU may execute either, and none executes it meanwhile unless both [may change](Instruction::may_change_live).
    pub unsafe fn store(written: VirtAddr, executed: VirtAddr, new: Instruction) {
        // SAFETY: the caller's promise. Not `nomem`: stores before and after stay on their side.
        unsafe {
            asm!(
                // One aligned 32-bit store is single-copy atomic: a fetch sees the old word or the new one.
                "str {new:w}, [{written}]",
                // To the point of unification, where instruction caches are filled from. DC CIVAC goes beyond it: DC CVAU has
                // errata on the Cortex-A53 (819472, 824069, 826319, 827319).
                "dc civac, {written}",
                // The clean is complete before the instruction caches let go of the line, or one could be filled with the old.
                "dsb ish",
                // By the address of execution: an instruction cache may be indexed by it. On every CPU of the domain.
                "ic ivau, {executed}",
                // Complete on all of them.
                "dsb ish",
                // What this CPU has fetched already is fetched anew.
                "isb",
                new = in(reg) new.0,
                written = in(reg) written.0,
                executed = in(reg) executed.0,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(any(target_arch = "aarch64", doc))]
pub use access::{load, store};

#[cfg(test)]
mod tests {
    use super::*;

    /// The encodings of DDI 0487, C6.2, assembled by LLVM.
    #[test]
    fn eight_instructions_may_change_while_others_run() {
        for listed in [
            0x1400_0000, // b .
            0x17ff_ffff, // b .-4
            0x9400_0001, // bl .+4
            0x97ff_ffff, // bl .-4
            0xd420_0000, // brk #0
            0xd43f_ffe0, // brk #0xffff
            0xd400_0002, // hvc #0
            0xd41f_ffe2, // hvc #0xffff
            0xd503_3fdf, // isb
            0xd503_30df, // isb #0
            0xd503_201f, // nop
            0xd400_0003, // smc #0
            0xd400_0001, // svc #0
            0xd41f_ffe1, // svc #0xffff
        ] {
            assert!(Instruction(listed).may_change_live(), "{listed:#010x}");
        }
        for other in [
            0x5400_0000, // b.eq .
            0xb400_0000, // cbz x0, .
            0x3600_0000, // tbz w0, #0, .
            0xd61f_0000, // br x0
            0xd63f_0000, // blr x0
            0xd65f_03c0, // ret
            0xd440_0000, // hlt #0
            0xd4a0_0001, // dcps1
            0xd503_203f, // yield
            0xd503_205f, // wfe
            0xd503_3f9f, // dsb sy
            0xd503_3fbf, // dmb sy
            0xd503_3f5f, // clrex
            0xd280_0040, // mov x0, #2
            0x0000_0000, // udf #0
        ] {
            assert!(!Instruction(other).may_change_live(), "{other:#010x}");
        }
    }

    #[test]
    fn a_branch_reaches_128_mib_either_way() {
        let from = VirtAddr(0xffff_8000_8000_0000);
        let to = |distance: i64| Instruction::branch(from, VirtAddr(from.0.wrapping_add(distance as u64)));
        assert_eq!(to(0), Some(Instruction(0x1400_0000)));
        assert_eq!(to(8), Some(Instruction(0x1400_0002)));
        assert_eq!(to((1 << 27) - 4), Some(Instruction(0x15ff_ffff)));
        assert_eq!(to(-(1 << 27)), Some(Instruction(0x1600_0000)));
        assert_eq!([to(1 << 27), to(-(1 << 27) - 4), to(2), to(-1)], [None; 4]);
    }
}
