// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions as an assembler makes them, and what the decoder takes them for.

use crate::instruction::*;
use crate::{Dsb, Flag, LastLevel, Maintenance, Tlbi};
use cleave::tables::{Geometry, Level, VirtAddr};

const FORMS: Geometry = Geometry::K4_V48;

#[test]
fn decode_reads_domain_and_access_types_of_a_barrier() {
    let words = [
        (0xd503_3f9f, Dsb::Sy),
        (0xd503_3e9f, Dsb::St),
        (0xd503_3d9f, Dsb::Ld),
        (0xd503_3b9f, Dsb::Ish),
        (0xd503_3a9f, Dsb::Ishst),
        (0xd503_399f, Dsb::Ishld),
        (0xd503_379f, Dsb::Nsh),
        (0xd503_369f, Dsb::Nshst),
        (0xd503_339f, Dsb::Ish),
    ];
    for (word, dsb) in words {
        assert_eq!(decode(word), Some(Instruction::Dsb(dsb)), "{word:#x}");
    }
    assert_eq!(decode(0xd503_3fdf), Some(Instruction::Isb));
    // DMB ISH is none of them, and SSBB only looks like one.
    assert_eq!(decode(0xd503_3bbf), None);
    assert_eq!(decode(0xd503_309f), None);
}

#[test]
fn decode_reads_scope_form_and_operand_of_a_tlbi() {
    let tlbi = |word: u32, operand: u64| match decode(word) {
        Some(Instruction::Tlbi(invalidation)) => invalidation.with_operand(operand, FORMS),
        other => panic!("{word:#x}: {other:?}"),
    };
    assert_eq!(tlbi(0xd508_831f, 0), Tlbi::VMALLE1IS);
    assert_eq!(tlbi(0xd508_871f, 0), Tlbi::VMALLE1);
    // ALLE1, ALLE1IS and VMALLS12E1IS, at EL2.
    assert_eq!(tlbi(0xd50c_879f, 0), Tlbi::VMALLE1);
    assert_eq!(tlbi(0xd50c_839f, 0), Tlbi::VMALLE1IS);
    assert_eq!(tlbi(0xd50c_83df, 0), Tlbi::VMALLE1IS);
    let page = VirtAddr(0xffff_0000_4000_0000);
    let operand = page.0 >> 12 & 0xfff_ffff_ffff;
    assert_eq!(tlbi(0xd508_8364, operand), Tlbi::vaae1is(page));
    assert_eq!(tlbi(0xd508_8764, operand), Tlbi::vaae1is(page).local());
    assert_eq!(tlbi(0xd508_83e6, operand), Tlbi::vaale1is(page));
    assert_eq!(tlbi(0xd508_83e6, operand | 0b0110 << 44), Tlbi::vaale1is(page).at_level(Level::L2));
    assert_eq!(
        tlbi(0xd508_8323, operand | 7 << 48),
        Tlbi::from_operand(operand | 7 << 48, LastLevel::AllLevels, FORMS)
    );
    assert_eq!(tlbi(0xd508_8723, operand), Tlbi::from_operand(operand, LastLevel::AllLevels, FORMS).local());
    assert_eq!(tlbi(0xd508_83a5, operand), Tlbi::from_operand(operand, LastLevel::Only, FORMS));
    assert_eq!(tlbi(0xd508_8347, 9 << 48), Tlbi::aside1is(9));
}

#[test]
fn decode_leaves_out_tlbis_of_other_regimes() {
    // ALLE2, VAE2, IPAS2E1IS, RIPAS2E1IS, RVAE2IS.
    for word in [0xd50c_871f, 0xd50c_8721, 0xd50c_8021, 0xd50c_8041, 0xd50c_8221] {
        assert_eq!(decode(word), None, "{word:#x}");
    }
}

#[test]
fn decode_reads_range_tlbis_with_their_operand() {
    // 2 pages from 0x4000 on, TG = 4 KiB, ASID 7: (0 + 1) << 1.
    let operand = 7 << 48 | 1 << 46 | 0x4;
    let plain = Tlbi::from_range_operand(operand, LastLevel::AllLevels, Geometry::K4_V48);
    let leaves = Tlbi::from_range_operand(operand, LastLevel::Only, Geometry::K4_V48);
    // RVAE1IS, RVAAE1IS, RVALE1IS, RVAALE1IS, RVAE1OS, RVAE1, RVAALE1.
    for (word, tlbi) in [
        (0xd508_8221, plain),
        (0xd508_8261, plain.for_every_asid()),
        (0xd508_82a1, leaves),
        (0xd508_82e1, leaves.for_every_asid()),
        (0xd508_8521, plain),
        (0xd508_8621, plain.local()),
        (0xd508_86e1, leaves.for_every_asid().local()),
    ] {
        let Some(Instruction::Tlbi(invalidation)) = decode(word) else { panic!("{word:#x} is not known") };
        assert_eq!(invalidation.with_operand(operand, Geometry::K4_V48), tlbi, "{word:#x}");
    }
}

#[test]
fn decode_reads_cache_maintenance_to_poc_alone() {
    assert_eq!(decode(0xd508_7620), Some(Instruction::Cache(Maintenance::Invalidate)));
    assert_eq!(decode(0xd50b_7a21), Some(Instruction::Cache(Maintenance::Clean)));
    assert_eq!(decode(0xd50b_7e33), Some(Instruction::Cache(Maintenance::CleanInvalidate)));
    assert_eq!(decode(0xd50b_7422), Some(Instruction::ZeroBlock));
    // CVAU, ISW, IC IALLU, AT S1E1R.
    for word in [0xd50b_7b21, 0xd508_7642, 0xd508_751f, 0xd508_7800] {
        assert_eq!(decode(word), None, "{word:#x}");
    }
    assert_eq!(operand_register(0xd50b_7e33), 19);
}

#[test]
fn decode_reads_writes_of_translation_registers_alone() {
    let words = [
        (0xd518_1003, Register::SctlrEl1),
        (0xd518_2002, Register::Ttbr0El1),
        (0xd518_2020, Register::Ttbr1El1),
        (0xd518_2041, Register::TcrEl1),
        (0xd518_a21f, Register::MairEl1),
        (0xd518_c000, Register::VbarEl1),
        (0xd51c_c000, Register::VbarEl2),
        (0xd51c_211f, Register::VttbrEl2),
    ];
    for (word, register) in words {
        assert_eq!(decode(word), Some(Instruction::Write(register)), "{word:#x}");
    }
    assert_eq!(operand_register(0xd518_a21f), 31);
    // MRS of TTBR0_EL1, and MSR of TPIDR_EL1.
    assert_eq!((decode(0xd538_2000), decode(0xd518_d09a)), (None, None));
}

#[test]
fn decode_tells_ordered_accesses_from_plain_ones() {
    let expect = |word: u32, load: Option<Flag>, store: Option<Flag>, modifies: Modifies| {
        assert_eq!(decode(word), Some(Instruction::Ordered(Ordered { load, store, modifies })), "{word:#x}");
    };
    let (ordered, plain) = (Some(Flag::Ordered), Some(Flag::Plain));
    // LDAR, LDARB, LDAPR, LDAPUR; STLR, STLRB, STLUR.
    for word in [0xc8df_fc20, 0x08df_fc20, 0xf8bf_c020, 0xd940_8020] {
        expect(word, ordered, None, Modifies::No);
    }
    for word in [0xc89f_fc20, 0x089f_fc20, 0xd900_8020] {
        expect(word, None, ordered, Modifies::No);
    }
    // LDXR, LDAXR, LDAXP; STXR, STLXR, STLXP.
    expect(0xc85f_7c20, plain, None, Modifies::No);
    expect(0xc85f_fc20, ordered, None, Modifies::No);
    expect(0xc87f_8c20, ordered, None, Modifies::No);
    expect(0xc802_7c20, None, plain, Modifies::Yes);
    expect(0xc802_fc20, None, ordered, Modifies::Yes);
    expect(0xc822_8c20, None, ordered, Modifies::Yes);
    // CASAL, CAS, CASPAL, SWPAL, LDADD, LDADDL, LDSETAL.
    expect(0xc8e0_fc22, ordered, ordered, Modifies::Yes);
    expect(0xc8a0_7c22, plain, plain, Modifies::Yes);
    expect(0x4860_fc82, ordered, ordered, Modifies::Yes);
    expect(0xf8e0_8022, ordered, ordered, Modifies::Yes);
    expect(0xf820_0022, plain, plain, Modifies::Yes);
    expect(0xf860_0022, plain, ordered, Modifies::Yes);
    expect(0xb8e0_3022, ordered, ordered, Modifies::Yes);
    // LDR, STR, STP.
    for word in [0xf940_0020, 0xf900_0020, 0xa900_0440] {
        assert_eq!(decode(word), None, "{word:#x}");
    }
}

#[test]
fn decode_reads_conditional_branches_calls_and_returns() {
    for word in [0x5400_0001, 0xb400_0000, 0x3500_0001, 0x3618_0000, 0x3718_0000] {
        assert_eq!(decode(word), Some(Instruction::ConditionalBranch), "{word:#x}");
    }
    assert_eq!(decode(0xd400_0002), Some(Instruction::Call));
    assert_eq!(decode(0xd400_0003), Some(Instruction::Call));
    assert_eq!(decode(0xd69f_03e0), Some(Instruction::ExceptionReturn));
    // SVC, B, RET.
    for word in [0xd400_0001, 0x1400_0000, 0xd65f_03c0] {
        assert_eq!(decode(word), None, "{word:#x}");
    }
}
