// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers of the tables once more, from another source: Arm's technical reference manuals (MIDR_EL1) for the part
//! numbers, and for the lists Linux's `cputype.h`, `cpu_errata.c` and `cpufeature.c`. A typing error in either place
//! fails these: a part number of a neighbour, a bound that is off by one.

extern crate std;

use super::*;
use std::string::ToString;
use std::vec::Vec;

/// Returns a MIDR of this implementer, part and release (`0xNM`); the architecture field is 0xf, as on every core with
/// ID registers.
fn midr(implementer: u32, part: u32, release: u32) -> Midr {
    Midr(implementer << 24 | (release & 0xf0) << 16 | 0xf_0000 | part << 4 | release & 0xf)
}

const CORES: &[(u32, u32, &str)] = &[
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd04, "Cortex-A35"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd09, "Cortex-A73"),
    (0x41, 0xd0a, "Cortex-A75"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse-N1"),
    (0x41, 0xd0d, "Cortex-A77"),
    (0x41, 0xd0e, "Cortex-A76AE"),
    (0x41, 0xd40, "Neoverse-V1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x41, 0xd44, "Cortex-X1"),
    (0x41, 0xd46, "Cortex-A510"),
    (0x41, 0xd47, "Cortex-A710"),
    (0x41, 0xd48, "Cortex-X2"),
    (0x41, 0xd49, "Neoverse-N2"),
    (0x41, 0xd4b, "Cortex-A78C"),
    (0x41, 0xd4c, "Cortex-X1C"),
    (0x41, 0xd4d, "Cortex-A715"),
    (0x41, 0xd4e, "Cortex-X3"),
    (0x41, 0xd4f, "Neoverse-V2"),
    (0x41, 0xd80, "Cortex-A520"),
    (0x41, 0xd81, "Cortex-A720"),
    (0x41, 0xd82, "Cortex-X4"),
    (0x41, 0xd83, "Neoverse-V3AE"),
    (0x41, 0xd84, "Neoverse-V3"),
    (0x41, 0xd85, "Cortex-X925"),
    (0x41, 0xd87, "Cortex-A725"),
    (0x41, 0xd88, "Cortex-A520AE"),
    (0x41, 0xd89, "Cortex-A720AE"),
    (0x41, 0xd8a, "C1-Nano"),
    (0x41, 0xd8b, "C1-Pro"),
    (0x41, 0xd8c, "C1-Ultra"),
    (0x41, 0xd8e, "Neoverse-N3"),
    (0x41, 0xd90, "C1-Premium"),
    (0x43, 0x0a1, "ThunderX"),
    (0x43, 0x0a2, "ThunderX 81xx"),
    (0x43, 0x0a3, "ThunderX 83xx"),
    (0x46, 0x001, "A64FX"),
    (0x4e, 0x010, "Olympus"),
    // Every part 0x2nn of Qualcomm's is a Kryo: the first, some of those that were sold, the last.
    (0x51, 0x200, "Kryo"),
    (0x51, 0x201, "Kryo"),
    (0x51, 0x205, "Kryo"),
    (0x51, 0x211, "Kryo"),
    (0x51, 0x2ff, "Kryo"),
    (0x51, 0x800, "Falkor or Kryo 2xx"),
    (0x51, 0x803, "Kryo 3xx Silver"),
    (0x51, 0x804, "Kryo 4xx Gold"),
    (0x51, 0x805, "Kryo 4xx Silver"),
    (0x6d, 0xd49, "Azure Cobalt 100"),
    (0xc0, 0xac3, "AmpereOne"),
    (0xc0, 0xac4, "AmpereOne A"),
];

/// Core, first and last release, number.
type Row = (&'static str, u32, u32, &'static str);

/// Linux: `arm64_repeat_tlbi_list`, with the numbers of the options that it stands under, and what is made from such a core.
const REPEATED: &[Row] = &[
    ("Falkor or Kryo 2xx", 0x00, 0x00, "1009"),
    ("Kryo", 0x00, 0xff, "1009"),
    ("Cortex-A76", 0x00, 0x30, "1286807"),
    ("Kryo 4xx Gold", 0xce, 0xfe, "1286807"),
    ("Cortex-A55", 0x00, 0xff, "2441007"),
    ("Kryo 3xx Silver", 0x00, 0xff, "2441007"),
    ("Kryo 4xx Silver", 0x00, 0xff, "2441007"),
    ("Cortex-A510", 0x00, 0x11, "2441009"),
    ("C1-Premium", 0x00, 0xff, "4193780"),
    ("C1-Ultra", 0x00, 0xff, "4193780"),
    ("Cortex-A76", 0x00, 0xff, "4193800"),
    ("Kryo 4xx Gold", 0x00, 0xff, "4193800"),
    ("Cortex-A76AE", 0x00, 0xff, "4193801"),
    ("Cortex-A77", 0x00, 0xff, "4193798"),
    ("Cortex-A78", 0x00, 0xff, "4193791"),
    ("Cortex-A78AE", 0x00, 0xff, "4193793"),
    ("Cortex-A78C", 0x00, 0xff, "4193794"),
    ("Cortex-A710", 0x00, 0xff, "4193788"),
    ("Cortex-X1", 0x00, 0xff, "4193791"),
    ("Cortex-X1C", 0x00, 0xff, "4193792"),
    ("Cortex-X2", 0x00, 0xff, "4193788"),
    ("Cortex-X3", 0x00, 0xff, "4193786"),
    ("Cortex-X4", 0x00, 0xff, "4118414"),
    ("Cortex-X925", 0x00, 0xff, "4193781"),
    ("Neoverse-N1", 0x00, 0xff, "4193800"),
    ("Neoverse-N2", 0x00, 0xff, "4193789"),
    ("Neoverse-V1", 0x00, 0xff, "4193790"),
    ("Neoverse-V2", 0x00, 0xff, "4193787"),
    ("Neoverse-V3", 0x00, 0xff, "4193784"),
    ("Neoverse-V3AE", 0x00, 0xff, "4193784"),
    ("Azure Cobalt 100", 0x00, 0xff, "4193789"),
    ("Olympus", 0x00, 0xff, "T410-OLY-1029"),
];

/// The notices of these cores, and Linux's `supports_bbml3_list` where it begins: break-before-make is to be observed before
/// the release that mends it.
const BREAK_BEFORE_MAKE: &[Row] = &[
    ("Cortex-X4", 0x00, 0x02, "(fixed in r0p3)"),
    ("Neoverse-V3", 0x00, 0x01, "3053180"),
    ("Neoverse-V3AE", 0x00, 0x01, "3053180"),
    ("C1-Ultra", 0x00, 0x10, "3683289"),
    ("C1-Premium", 0x00, 0x10, "3683289"),
];

/// Linux: `arm64_errata` and the lists it names; 835769 and 855873 are in TF-A and in the notice of the Cortex-A53.
const OTHERS: &[Row] = &[
    ("Cortex-A53", 0x00, 0x01, "819472"),
    ("Cortex-A53", 0x00, 0x02, "824069, 826319, 827319"),
    ("Cortex-A53", 0x00, 0xff, "855873"),
    ("Cortex-A53", 0x00, 0x04, "843419"),
    ("Cortex-A53", 0x00, 0x04, "835769"),
    ("Cortex-A57", 0x00, 0x12, "832075"),
    ("Cortex-A73", 0x00, 0xff, "858921"),
    ("Cortex-A77", 0x00, 0x10, "1508412"),
    ("AmpereOne A", 0x00, 0xff, "AC04_CPU_23"),
    ("Olympus", 0x00, 0xff, "T410-OLY-1027"),
    ("ThunderX", 0x00, 0xff, "23154"),
    ("ThunderX 81xx", 0x00, 0xff, "23154"),
    ("ThunderX 83xx", 0x00, 0xff, "23154"),
];

/// Linux: `supports_bbml3_list`.
const NO_CONFLICT_ABORTS: &[(&str, u32, u32)] = &[
    ("Cortex-X4", 0x03, 0x0f),
    ("Neoverse-V3", 0x02, 0x0f),
    ("Neoverse-V3AE", 0x02, 0x0f),
    ("Olympus", 0x00, 0xff),
    ("AmpereOne", 0x00, 0xff),
    ("AmpereOne A", 0x00, 0xff),
    ("Cortex-A520AE", 0x00, 0xff),
    ("Cortex-A715", 0x00, 0xff),
    ("Cortex-A720AE", 0x00, 0xff),
    ("Cortex-A725", 0x00, 0xff),
    ("Neoverse-N3", 0x00, 0xff),
    ("C1-Nano", 0x00, 0xff),
    ("C1-Pro", 0x00, 0xff),
    ("C1-Ultra", 0x11, 0xff),
    ("C1-Premium", 0x11, 0xff),
];

/// Returns the parts that have this name.
fn parts(name: &str) -> Vec<(u32, u32)> {
    let found: Vec<_> = CORES.iter().filter(|core| core.2 == name).map(|core| (core.0, core.1)).collect();
    assert!(!found.is_empty(), "{name} is not in the list of cores");
    found
}

/// Returns whether some row lists it, for every part and every release of the part.
fn listed(rows: &[(&str, u32, u32)], part: (u32, u32), release: u32) -> bool {
    rows.iter().any(|row| parts(row.0).contains(&part) && (row.1..=row.2).contains(&release))
}

#[test]
fn a_part_number_has_its_name() {
    for &(implementer, part, name) in CORES {
        assert_eq!(midr(implementer, part, 0x11).name(), Some(name), "{implementer:#x} {part:#x}");
    }
}

/// Every revision of every core, in and out of range, whether or not the core has a row.
#[test]
fn the_lists_have_these_revisions_and_no_others() {
    let without_numbers = |rows: &[Row]| rows.iter().map(|row| (row.0, row.1, row.2)).collect::<Vec<_>>();
    let (repeated, broken) = (without_numbers(REPEATED), without_numbers(BREAK_BEFORE_MAKE));
    let smpen = [("Cortex-A53", 0, 0xff), ("Cortex-A57", 0, 0xff), ("Cortex-A72", 0, 0xff)];
    for part in CORES.iter().map(|core| (core.0, core.1)) {
        for release in 0..=0xff {
            let midr = midr(part.0, part.1, release);
            assert_eq!(midr.raises_no_conflict_aborts(), listed(NO_CONFLICT_ABORTS, part, release), "{midr:?}");
            assert_eq!(midr.needs_tlbi_repeat(), listed(&repeated, part, release), "{midr:?}");
            assert_eq!(midr.needs_break_before_make(), listed(&broken, part, release), "{midr:?}");
            assert_eq!(midr.has_smpen(), listed(&smpen, part, release), "{midr:?}");
        }
    }
}

/// Each erratum at its first and last release, and at the ones beside them.
#[test]
fn an_erratum_has_its_number_in_its_range_alone() {
    let rows: Vec<_> = [REPEATED, BREAK_BEFORE_MAKE, OTHERS].concat();
    assert_eq!(rows.len(), ERRATA.len(), "a row is in one of the two tables alone");
    for (name, first, last, number) in rows {
        for (implementer, part) in parts(name) {
            let at = |release| midr(implementer, part, release).errata().filter(|row| row.number == number).count();
            assert_eq!((at(first), at(last)), (1, 1), "{name} {number}");
            let outside = [first.checked_sub(1), Some(last + 1).filter(|&release| release <= 0xff)];
            for release in outside.into_iter().flatten() {
                assert_eq!(at(release), 0, "{name} {number} at {release:#x}");
            }
        }
    }
}

/// A core that is in no list here must be in none there.
#[test]
fn a_part_number_that_is_not_here_is_in_no_table() {
    for implementer in [0x00, 0x41, 0x42, 0x43, 0x46, 0x48, 0x4e, 0x51, 0x61, 0x6d, 0xc0] {
        let known = |part: u32| {
            implementer == 0x51 && part >> 8 == 2 || CORES.iter().any(|core| core.0 == implementer && core.1 == part)
        };
        for part in (0..0x1000).filter(|&part| !known(part)) {
            for release in [0x00, 0x11, 0xff] {
                let midr = midr(implementer, part, release);
                assert_eq!(midr.errata().next(), None, "{midr:?}");
                assert!(!midr.raises_no_conflict_aborts() && !midr.has_smpen(), "{midr:?}");
            }
        }
    }
}

#[test]
fn revisions_are_written_as_arm_writes_them() {
    let written = [(0x00, 0xff), (0x11, 0xff), (0x02, 0x0f), (0x00, 0x00), (0xce, 0xfe)];
    let texts = ["all", "from r1p1", "r0p2 to r0pf", "r0p0", "rcpe to rfpe"];
    for ((first, last), text) in written.into_iter().zip(texts) {
        assert_eq!(Revisions(first, last).to_string(), text);
    }
}

#[test]
fn an_erratum_of_broadcasts_and_sizes_is_the_systems() {
    for row in ERRATA {
        let of_the_system = matches!(row.remedy, RepeatTlbi | BreakBeforeMake);
        assert_eq!(row.scope() == Scope::System, of_the_system, "{row:?}");
    }
}
