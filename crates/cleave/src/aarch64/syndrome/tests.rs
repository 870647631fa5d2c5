// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encodings as the Arm ARM has them.

extern crate std;

use super::*;
use std::format;
use std::string::ToString;

/// IL is 1 for all 32-bit instructions.
const IL: u64 = 1 << 25;

fn syndrome(class: u64, iss: u64) -> Syndrome {
    Syndrome(class << 26 | IL | iss)
}

#[test]
fn a_store_to_an_unmapped_page_is_a_level_3_translation_fault() {
    let syndrome = Syndrome(0x9600_0047);
    assert_eq!(syndrome.to_string(), "data abort (write): translation fault, level 3");
    assert!(syndrome.address_is_valid());
}

#[test]
fn a_jump_into_execute_never_memory_is_a_permission_fault() {
    assert_eq!(Syndrome(0x8600_000f).to_string(), "instruction abort (fetch): permission fault, level 3");
}

#[test]
fn a_tlb_conflict_abort_is_told_from_all_others() {
    let abort = Syndrome(0x9600_0030).as_abort().unwrap();
    assert_eq!((abort.status, abort.access), (Status::TlbConflict, Access::Read));
    let conflicts = (0..64).filter(|code| Status::from_code(*code) == Status::TlbConflict).count();
    assert_eq!(conflicts, 1);
}

#[test]
fn every_level_of_every_walk_fault_has_its_code() {
    for level in 0..4_i8 {
        let code = level as u8;
        assert_eq!(Status::from_code(code), Status::AddressSize(level));
        assert_eq!(Status::from_code(4 + code), Status::Translation(level));
        assert_eq!(Status::from_code(8 + code), Status::AccessFlag(level));
        assert_eq!(Status::from_code(12 + code), Status::Permission(level));
        assert_eq!(Status::from_code(20 + code), Status::ExternalOnWalk(level));
        assert_eq!(Status::from_code(28 + code), Status::ParityOnWalk(level));
    }
    assert_eq!(Status::from_code(0b10_1011), Status::Translation(-1));
    assert_eq!(Status::from_code(0b10_1001), Status::AddressSize(-1));
}

#[test]
fn the_far_of_an_external_abort_counts_only_without_fnv() {
    assert!(syndrome(0x25, 0b01_0000).address_is_valid());
    assert!(!syndrome(0x25, 1 << 10 | 0b01_0000).address_is_valid());
    // FnV is RES0 for other faults: a stray bit must not hide the address.
    assert!(syndrome(0x25, 1 << 10 | 0b00_0111).address_is_valid());
}

#[test]
fn classes_without_an_address_say_so() {
    for class in [0x00, 0x07, 0x0e, 0x18, 0x26, 0x2f, 0x30, 0x3c] {
        assert!(!syndrome(class, 0).address_is_valid(), "{class:#x}");
    }
    assert!(syndrome(0x22, 0).address_is_valid());
}

#[test]
fn classes_are_called_by_their_names() {
    for (class, name) in [
        (0x00, "undefined instruction (no syndrome)"),
        (0x07, "trapped FP, SIMD or SVE instruction"),
        (0x0e, "illegal execution state"),
        (0x16, "HVC"),
        (0x18, "trapped system register or instruction"),
        (0x22, "PC alignment fault"),
        (0x26, "SP alignment fault"),
        (0x2f, "SError, uncategorized"),
        (0x3b, "exception class 0x3b"),
    ] {
        assert_eq!(syndrome(class, 0).to_string(), name);
    }
    assert_eq!(syndrome(0x3c, 0xcafe).to_string(), "BRK #0xcafe");
}

/// The rows of "ISS encoding for an SError exception" (DDI 0487, ESR_EL1). An error that lets the kernel go on where it must not
/// fails this, as does one that ends a run without need.
#[test]
fn corrected_and_restartable_errors_alone_are_survivable() {
    use ErrorState::*;
    const ASYNCHRONOUS: u64 = 0b01_0001;
    let aet = |value: u64| value << 10 | ASYNCHRONOUS;
    for (iss, state) in [
        (aet(0b000), Uncontainable),
        (aet(0b001), Unrecoverable),
        (aet(0b010), Restartable),
        (aet(0b011), Recoverable),
        (aet(0b100), Reserved),
        (aet(0b101), Reserved),
        (aet(0b110), Corrected),
        (aet(0b111), Reserved),
        // AET counts with the asynchronous DFSC alone, and nothing does with IDS. IESB and EA change nothing.
        (0b110 << 10, Uncategorized),
        (0b110 << 10 | 0b01_0010, Reserved),
        (1 << 24 | aet(0b110), ImplementationDefined),
        (1 << 13 | 1 << 9 | aet(0b110), Corrected),
    ] {
        assert_eq!(syndrome(0x2f, iss).as_error(), Some(state), "{iss:#x}");
        assert_eq!(state.is_survivable(), matches!(state, Corrected | Restartable), "{state:?}");
    }
    assert_eq!(syndrome(0x25, aet(0b110)).as_error(), None);
    assert_eq!(syndrome(0x2f, aet(0b010)).to_string(), "SError, not corrected, restartable");
}

#[test]
fn a_deferred_error_is_an_serror_with_the_same_fields() {
    assert_eq!(Syndrome::from_deferred(0b110 << 10 | 0b01_0001), None);
    let deferred = Syndrome::from_deferred(1 << 31 | 0b110 << 10 | 0b01_0001).unwrap();
    assert_eq!(deferred.as_error(), Some(ErrorState::Corrected));
    // Bits 30:25 are RES0 in DISR_EL1, and their values are ignored.
    assert_eq!(Syndrome::from_deferred(0xffff_ffff).unwrap().class_code(), 0x2f);
}

#[test]
fn cache_maintenance_counts_as_neither_read_nor_write() {
    assert_eq!(syndrome(0x25, 1 << 8 | 1 << 6 | 7).as_abort().unwrap().access, Access::Maintenance);
    assert_eq!(syndrome(0x24, 1 << 6 | 7).to_string(), "data abort from EL0 (write): translation fault, level 3");
}

#[test]
fn debug_shows_the_number_as_well() {
    assert_eq!(format!("{:?}", Syndrome(0x9600_0047)), "0x96000047 (data abort (write): translation fault, level 3)");
}
