// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decoder of A64 instruction words: the instructions that order, invalidate or change translation, and
//! the loads and stores that other CPUs can learn something from.
//!
//! For programs that see another one execute, as the watcher does (`crates/cleave-watch`): they tell the machine what
//! its instructions were, and need no word from the program. Encodings are those of the Arm ARM, DDI 0487, C4.1 "A64
//! instruction set encoding" and C5.3 to C5.5. What is not here means nothing to the machine, or more than it knows
//! (the nXS forms): such a barrier or invalidation does not count, so that code which relies on it is reported.

use super::{Coverage, Dsb, Flag, LastLevel, Maintenance, Scope, Tlbi};
use cleave::tables::Geometry;

/// An instruction that the machine has to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// DSB.
    Dsb(Dsb),
    /// ISB.
    Isb,
    /// ERET.
    ExceptionReturn,
    /// B.cond, CBZ, CBNZ, TBZ, TBNZ.
    ConditionalBranch,
    /// HVC or SMC: a call to firmware.
    Call,
    /// TLBI of stage 1 EL1&0 entries; the operand is in [`operand_register`], for the forms that have one.
    Tlbi(Invalidation),
    /// DC to the point of coherency, for the line of the address in [`operand_register`].
    Cache(Maintenance),
    /// DC ZVA of the block at the address in [`operand_register`].
    ZeroBlock,
    /// MSR of the value in [`operand_register`].
    Write(Register),
    /// A load, a store, or both, that is more than a plain one.
    Ordered(Ordered),
}

/// A TLBI whose operand is not known yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalidation {
    scope: Scope,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// VMALLE1, and ALLE1 and VMALLS12E1 of EL2, which cover no less.
    All,
    /// ASIDE1.
    Asid,
    /// VAE1 and VALE1.
    Address(LastLevel),
    /// VAAE1 and VAALE1.
    AddressOfAnyAsid(LastLevel),
    /// RVAE1 and RVALE1.
    Range(LastLevel),
    /// RVAAE1 and RVAALE1.
    RangeOfAnyAsid(LastLevel),
}

impl Invalidation {
    /// Returns the invalidation with this operand. The outer shareable forms count as inner shareable ones.
    #[must_use]
    pub fn with_operand(self, operand: u64, geometry: Geometry) -> Tlbi {
        let covers = match self.form {
            Form::All => Coverage::All,
            Form::Asid => Coverage::Asid((operand >> 48) as u16),
            Form::Address(last) => Tlbi::from_operand(operand, last, geometry).covers,
            Form::AddressOfAnyAsid(last) => Tlbi::from_operand(operand, last, geometry).for_every_asid().covers,
            Form::Range(last) => Tlbi::from_range_operand(operand, last, geometry).covers,
            Form::RangeOfAnyAsid(last) => Tlbi::from_range_operand(operand, last, geometry).for_every_asid().covers,
        };
        Tlbi { scope: self.scope, covers }
    }
}

/// A register that MSR writes and translation depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the architecture's own names")]
pub enum Register {
    SctlrEl1,
    Ttbr0El1,
    Ttbr1El1,
    TcrEl1,
    MairEl1,
    VbarEl1,
    VbarEl2,
    VttbrEl2,
}

/// The load and the store of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ordered {
    /// Its load, if it has one.
    pub load: Option<Flag>,
    /// Its store, if it has one.
    pub store: Option<Flag>,
    /// `Yes` where its store, if it is done, replaces the value that a load of the same CPU found: an exclusive or an
    /// atomic.
    pub modifies: Modifies,
}

/// Says whether a store continues a release sequence: it goes on conveying what the flag conveyed before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "said above")]
pub enum Modifies {
    Yes,
    No,
}

/// Xt of the system instructions: bits 4:0. Register 31 is zero.
#[must_use]
pub const fn operand_register(word: u32) -> usize {
    (word & 31) as usize
}

/// Returns the instruction that `word` is to the machine.
#[must_use]
pub fn decode(word: u32) -> Option<Instruction> {
    if let Some(barrier) = barrier(word) {
        return Some(barrier);
    }
    if word & 0xfff8_0000 == 0xd508_0000 {
        return system(word);
    }
    if word & 0xfff0_0000 == 0xd510_0000 {
        return register(word).map(Instruction::Write);
    }
    let is_branch = word & 0xff00_0000 == 0x5400_0000 || word & 0x7c00_0000 == 0x3400_0000;
    if is_branch {
        return Some(Instruction::ConditionalBranch);
    }
    match word & 0xffe0_001f {
        0xd400_0002 | 0xd400_0003 => Some(Instruction::Call),
        _ => ordered(word).map(Instruction::Ordered),
    }
}

/// DSB, ISB and ERET, the latter with its forms that authenticate.
fn barrier(word: u32) -> Option<Instruction> {
    if word & 0xffff_f0ff == 0xd503_30df {
        return Some(Instruction::Isb);
    }
    if matches!(word, 0xd69f_03e0 | 0xd69f_0bff | 0xd69f_0fff) {
        return Some(Instruction::ExceptionReturn);
    }
    if word & 0xffff_f0ff != 0xd503_309f {
        return None;
    }
    // The outer shareable domain contains the inner one. NSHLD orders nothing that the machine knows.
    let dsb = match (word >> 8) & 15 {
        0b1111 => Dsb::Sy,
        0b1110 => Dsb::St,
        0b1101 => Dsb::Ld,
        0b1011 | 0b0011 => Dsb::Ish,
        0b1010 | 0b0010 => Dsb::Ishst,
        0b1001 | 0b0001 => Dsb::Ishld,
        0b0111 => Dsb::Nsh,
        0b0110 => Dsb::Nshst,
        _ => return None,
    };
    Some(Instruction::Dsb(dsb))
}

/// op1, CRn, CRm and op2.
const fn fields(word: u32) -> (u32, u32, u32, u32) {
    ((word >> 16) & 7, (word >> 12) & 15, (word >> 8) & 15, (word >> 5) & 7)
}

/// SYS: DC and TLBI.
fn system(word: u32) -> Option<Instruction> {
    match fields(word) {
        (0, 7, 6, 1) => Some(Instruction::Cache(Maintenance::Invalidate)),
        (3, 7, 10, 1) => Some(Instruction::Cache(Maintenance::Clean)),
        (3, 7, 14, 1) => Some(Instruction::Cache(Maintenance::CleanInvalidate)),
        (3, 7, 4, 1) => Some(Instruction::ZeroBlock),
        (op1, 8, domain, op2) => {
            let scope = match domain {
                1..=3 | 5 => Scope::InnerShareable,
                6 | 7 => Scope::Local,
                _ => return None,
            };
            let by_range = matches!(domain, 2 | 5 | 6);
            let form = match (op1, op2) {
                (0, 1) if by_range => Form::Range(LastLevel::AllLevels),
                (0, 3) if by_range => Form::RangeOfAnyAsid(LastLevel::AllLevels),
                (0, 5) if by_range => Form::Range(LastLevel::Only),
                (0, 7) if by_range => Form::RangeOfAnyAsid(LastLevel::Only),
                _ if by_range => return None,
                (0, 0) | (4, 4 | 6) => Form::All,
                (0, 1) => Form::Address(LastLevel::AllLevels),
                (0, 2) => Form::Asid,
                (0, 3) => Form::AddressOfAnyAsid(LastLevel::AllLevels),
                (0, 5) => Form::Address(LastLevel::Only),
                (0, 7) => Form::AddressOfAnyAsid(LastLevel::Only),
                _ => return None,
            };
            Some(Instruction::Tlbi(Invalidation { scope, form }))
        }
        _ => None,
    }
}

/// MSR (register), those with op0 = 3.
fn register(word: u32) -> Option<Register> {
    if word >> 19 & 1 == 0 {
        return None;
    }
    Some(match fields(word) {
        (0, 1, 0, 0) => Register::SctlrEl1,
        (0, 2, 0, 0) => Register::Ttbr0El1,
        (0, 2, 0, 1) => Register::Ttbr1El1,
        (0, 2, 0, 2) => Register::TcrEl1,
        (0, 10, 2, 0) => Register::MairEl1,
        (0, 12, 0, 0) => Register::VbarEl1,
        (4, 12, 0, 0) => Register::VbarEl2,
        (4, 2, 1, 0) => Register::VttbrEl2,
        _ => return None,
    })
}

/// Load-acquire, store-release, exclusives and atomics.
fn ordered(word: u32) -> Option<Ordered> {
    let bit = |number: u32| word >> number & 1 == 1;
    let kind = |is_ordered: bool| if is_ordered { Flag::Ordered } else { Flag::Plain };
    let both =
        |acquire, release| Ordered { load: Some(kind(acquire)), store: Some(kind(release)), modifies: Modifies::Yes };
    let load = Ordered { load: Some(Flag::Ordered), store: None, modifies: Modifies::No };
    let store = Ordered { load: None, store: Some(Flag::Ordered), modifies: Modifies::No };
    // Load/store exclusive, ordered, and compare and swap: L in bit 22, o0 in bit 15.
    if word & 0x3f00_0000 == 0x0800_0000 {
        let (is_load, is_ordered) = (bit(22), bit(15));
        return Some(match (bit(23), bit(21), bit(31)) {
            (true, false, _) if is_load => load,
            (true, false, _) => store,
            // CAS, and with a clear bit 31 CASP.
            (true, true, _) | (false, true, false) => both(is_load, is_ordered),
            (false, _, _) if is_load => Ordered { load: Some(kind(is_ordered)), store: None, modifies: Modifies::No },
            (false, _, _) => Ordered { load: None, store: Some(kind(is_ordered)), modifies: Modifies::Yes },
        });
    }
    // LDAPR, which lies among the atomics, and LDAPUR and STLUR.
    if word & 0x3fff_fc00 == 0x38bf_c000 || word & 0x3fe0_0c00 == 0x1940_0000 {
        return Some(load);
    }
    if word & 0x3fe0_0c00 == 0x1900_0000 {
        return Some(store);
    }
    // Atomic memory operations and SWP: A in bit 23, R in bit 22.
    (word & 0x3f20_0c00 == 0x3820_0000).then(|| both(bit(23), bit(22)))
}
