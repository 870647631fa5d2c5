// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs: their order, their places, and how they are started.

use super::super::*;
use super::fixtures::*;
use cleave::tables::PhysAddr;

/// Returns a tree with these CPUs, one cell for an address.
fn tree(cpus: impl IntoIterator<Item = N>) -> Vec<u8> {
    dtb(root().with(cpus.into_iter().fold(node("cpus").space(1, 0), N::with)))
}

/// Returns a CPU node.
fn cpu(name: &str, place: u32) -> N {
    node(name).text("device_type", &["cpu"]).cells("reg", &[place])
}

/// Returns the methods of the tree's CPUs.
fn methods(dtb: &[u8]) -> Vec<EnableMethod<'_>> {
    open(dtb).cpus().map(|cpu| cpu.unwrap().enable_method).collect()
}

#[test]
fn five_hundred_and_twelve_cpus_come_in_the_trees_order() {
    let dtb = tree((0..512).map(|n| cpu(&format!("cpu@{n}"), 511 - n).text("enable-method", &["psci"])));
    let tree = open(&dtb);
    assert_eq!(tree.cpus().count(), 512);
    for (number, cpu) in tree.cpus().enumerate() {
        let cpu = cpu.unwrap();
        assert_eq!((cpu.id, cpu.affinity.bits()), (number, 511 - number as u64));
    }
}

/// A disabled CPU is quiescent and waits for its enable-method; one that failed is not to be touched. A CPU of either kind
/// that has no number is missing in the report, and gives the ones behind it other numbers.
#[test]
fn a_cpu_has_a_number_regardless_of_its_status() {
    for (status, used) in [("disabled", true), ("fail", false), ("fail-sss", false), ("reserved", false)] {
        let dtb = tree([
            cpu("cpu@0", 0).text("status", &["okay"]),
            cpu("cpu@1", 1).text("status", &[status]).text("enable-method", &["psci"]),
            cpu("cpu@2", 2).text("status", &["ok"]),
        ]);
        let tree = open(&dtb);
        let found: Vec<_> = tree.cpus().map(|cpu| cpu.map(|cpu| (cpu.id, cpu.node, cpu.status)).unwrap()).collect();
        let second = if used { CpuStatus::Usable } else { CpuStatus::Unusable(status) };
        let wanted = [(0, "cpu@0", CpuStatus::Usable), (1, "cpu@1", second), (2, "cpu@2", CpuStatus::Usable)];
        assert_eq!(found, wanted);
        assert_eq!(tree.cpus().nth(1).unwrap().unwrap().enable_method, EnableMethod::Psci);
    }
}

#[test]
fn caches_and_maps_below_cpus_are_no_cpus() {
    let dtb = tree([
        node("cpu-map").with(node("cluster0").with(node("core0").cells("cpu", &[1]))),
        node("l2-cache0").text("device_type", &["cache"]),
        node("PowerPC,970@0").text("device_type", &["cpu"]).cells("reg", &[7]),
        node("cpu@8").cells("reg", &[8]),
    ]);
    let found: Vec<_> = open(&dtb).cpus().map(|cpu| cpu.unwrap().affinity.bits()).collect();
    assert_eq!(found, [7, 8]);
}

#[test]
fn an_affinity_of_two_cells_reaches_aff3() {
    let cpu = node("cpu@100000201").text("device_type", &["cpu"]).cells("reg", &[1, 0x201]);
    let dtb = dtb(root().with(node("cpus").space(2, 0).with(cpu)));
    let affinity = open(&dtb).cpus().next().unwrap().unwrap().affinity;
    assert_eq!((affinity.bits(), affinity.packed()), (0x1_0000_0201, 0x0100_0201));
    assert_eq!(affinity, Affinity::from_mpidr(0x1_c100_0201));
}

#[test]
fn a_place_that_is_no_affinity_is_named_and_keeps_its_number() {
    let dtb = tree([cpu("cpu@0", 0), cpu("cpu@1", 0x8000_0001), node("cpu@2"), cpu("cpu@3", 3)]);
    let found: Vec<_> = open(&dtb).cpus().map(|cpu| cpu.map(|cpu| cpu.id).map_err(|error| error.to_string())).collect();
    assert_eq!(
        found,
        [
            Ok(0),
            Err("CPU 1: reg of cpu@1 has the unknown value 0x80000001".into()),
            Err("CPU 2: reg of cpu@2 is missing".into()),
            Ok(3),
        ]
    );
}

#[test]
fn a_release_address_has_one_cell_or_two() {
    let spin =
        |name, cells: &[u32]| cpu(name, 0).text("enable-method", &["spin-table"]).cells("cpu-release-addr", cells);
    let dtb = tree([
        spin("cpu@0", &[0xd8]),
        spin("cpu@1", &[1, 0xe0]),
        spin("cpu@2", &[0, 0, 0]),
        cpu("cpu@3", 3).text("enable-method", &["spin-table"]),
    ]);
    assert_eq!(
        methods(&dtb),
        [
            EnableMethod::SpinTable { release: PhysAddr(0xd8) },
            EnableMethod::SpinTable { release: PhysAddr(0x1_0000_00e0) },
            EnableMethod::SpinTableWithoutAddress,
            EnableMethod::SpinTableWithoutAddress,
        ]
    );
}

#[test]
fn a_method_that_is_missing_or_unknown_is_named() {
    let dtb = tree([
        cpu("cpu@0", 0),
        cpu("cpu@1", 1).text("enable-method", &["brcm,bcm2836-smp"]),
        cpu("cpu@2", 2).text("enable-method", &["vendor,own", "psci"]),
    ]);
    assert_eq!(methods(&dtb), [EnableMethod::Missing, EnableMethod::Unknown("brcm,bcm2836-smp"), EnableMethod::Psci]);
}

#[test]
fn a_method_in_the_parent_holds_for_every_cpu_that_has_none() {
    let cpus = node("cpus")
        .space(1, 0)
        .text("enable-method", &["psci"])
        .with(cpu("cpu@0", 0))
        .with(cpu("cpu@1", 1).text("enable-method", &["other"]));
    let dtb = dtb(root().with(cpus));
    assert_eq!(methods(&dtb), [EnableMethod::Psci, EnableMethod::Unknown("other")]);
}

#[test]
fn a_tree_without_cpus_has_none() {
    assert_eq!(open(&dtb(root())).cpus().count(), 0);
}

#[test]
fn asking_for_a_cpu_behind_the_last_gives_none_every_time() {
    for dtb in [dtb(root()), dtb(root().with(node("cpus"))), tree([]), tree([cpu("cpu@0", 0)])] {
        let tree = open(&dtb);
        let mut cpus = tree.cpus();
        while cpus.next().is_some() {}
        assert!((0..3).all(|_| cpus.next().is_none()));
    }
}
