// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole trees of machines this kernel boots on.

use super::super::*;
use super::fixtures::*;
use crate::options::{Bootargs, LinearMode};
use cleave::tables::PhysAddr;

#[test]
fn a_raspberry_pi_4_is_understood_from_its_tree_alone() {
    let dtb = rpi4();
    let tree = open(&dtb);
    assert_eq!(tree.model(), Some("Raspberry Pi 4 Model B Rev 1.4"));
    assert_eq!(tree.compatible().last(), Some("brcm,bcm2711"));
    assert_eq!(tree.psci(), Ok(None));
    assert_eq!(
        tree.interrupt_controller(),
        Ok(InterruptController::GicV2 {
            distributor: range(0xff84_1000, 0xff84_2000),
            cpu_interface: range(0xff84_2000, 0xff84_4000),
        })
    );
    let console = tree.console().unwrap().unwrap();
    assert_eq!(console.registers, range(0xfe20_1000, 0xfe20_1200));
    let releases: Vec<_> = tree.cpus().map(|cpu| cpu.unwrap().enable_method).collect();
    let table = |release| EnableMethod::SpinTable { release: PhysAddr(release) };
    assert_eq!(releases, [table(0xd8), table(0xe0), table(0xe8), table(0xf0)]);
    let args = Bootargs::parse(tree.bootargs().unwrap());
    assert_eq!((args.linear, args.unknown().count(), args.errors().count()), (LinearMode::Require, 3, 0));
}

#[test]
fn raspberry_pi_4_memory_leaves_out_the_video_cores_share() {
    let dtb = rpi4();
    let memory = open(&dtb).memory().unwrap();
    let pieces = [range(0, 0x3b40_0000), range(0x4000_0000, 0xfc00_0000), range(0x1_0000_0000, 0x1_8000_0000)];
    assert_eq!(memory.ram().as_slice(), pieces);
    assert_eq!(memory.mapped().as_slice(), pieces);
    assert!(memory.reserved().contains_range(range(0x2eff_0000, 0x2eff_ffab)), "the initrd");
    let free = [range(0x1000, 0x2eff_0000), range(0x2f00_0000, 0x3b40_0000), pieces[1], pieces[2]];
    assert_eq!(memory.free().as_slice(), free);
}

#[test]
fn the_map_of_every_raspberry_pi_4_is_its_memory_to_the_byte() {
    let first = range(0, 0x3b40_0000);
    let shapes = [
        (1, vec![first]),
        (2, vec![first, range(0x4000_0000, 0x8000_0000)]),
        (4, vec![first, range(0x4000_0000, 0xfc00_0000)]),
        (8, vec![first, range(0x4000_0000, 0xfc00_0000), range(0x1_0000_0000, 0x2_0000_0000)]),
    ];
    for (gib, pieces) in shapes {
        for cpus in 1..=4 {
            let dtb = rpi4_with(&rpi4_memory(gib), cpus);
            let tree = open(&dtb);
            assert_eq!(tree.cpus().count(), cpus);
            let memory = tree.memory().unwrap();
            assert_eq!(memory.mapped().as_slice(), pieces, "{gib} GiB");
            // Peripherals and the VideoCore's share: a CPU may speculate into all memory that is mapped.
            for device in [range(0x3b40_0000, 0x4000_0000), range(0xfc00_0000, 0x1_0000_0000)] {
                assert!(!memory.mapped().overlaps(device), "{gib} GiB, {device}");
            }
            // The page of the release words is mapped, since they are written, and not given away.
            let page = range(0, 0x1000);
            assert!(memory.mapped().contains_range(page) && !memory.free().overlaps(page));
        }
        let dtb = rpi4_tfa_with(&rpi4_memory(gib));
        let mut behind_tfa = pieces.clone();
        behind_tfa[0] = range(0x8_0000, 0x3b40_0000);
        assert_eq!(open(&dtb).memory().unwrap().mapped().as_slice(), behind_tfa, "{gib} GiB, TF-A");
    }
}

#[test]
fn an_unreserved_release_word_is_kept_out_of_the_allocator() {
    let cpus = node("cpus").space(1, 0).with(
        node("cpu@1")
            .text("device_type", &["cpu"])
            .cells("reg", &[1])
            .text("enable-method", &["spin-table"])
            .cells("cpu-release-addr", &[0, 0x4123_4ff8]),
    );
    let dtb = dtb(root().with(cpus));
    let memory = open(&dtb).memory().unwrap();
    let page = range(0x4123_4000, 0x4123_5000);
    assert!(memory.mapped().contains_range(page));
    assert!(!memory.free().overlaps(page));
}

#[test]
fn without_a_driven_stdout_the_first_pl011_alias_is_the_console() {
    let uart = |unit: &str, address| {
        node(unit).text("compatible", &["arm,pl011", "arm,primecell"]).cells("reg", &pairs(&[(address, 0x1000)]))
    };
    let mini = node("serial@7000").text("compatible", &["brcm,bcm2835-aux-uart"]).cells("reg", &pairs(&[(0x7000, 64)]));
    let aliases = [("serial0", "/serial@7000"), ("serial2", "/serial@9000"), ("serial1", "/serial@8000")];
    let aliases = aliases.iter().fold(node("aliases"), |node, (name, path)| node.text(name, &[path]));
    for (chosen, asked) in [(node("chosen").text("stdout-path", &["serial0"]), true), (node("chosen"), false)] {
        let dtb = dtb(root()
            .with(aliases.clone())
            .with(chosen)
            .with(mini.clone())
            .with(uart("serial@8000", 0x8000).text("status", &["disabled"]))
            .with(uart("serial@9000", 0x9000)));
        let tree = open(&dtb);
        assert_eq!(tree.console().is_err(), asked);
        assert_eq!(tree.console_by_alias().map(|console| console.registers), Some(range(0x9000, 0xa000)));
    }
}

#[test]
fn behind_tf_a_a_raspberry_pi_4_has_psci_and_a_hole_in_its_map() {
    let dtb = rpi4_tfa();
    let tree = open(&dtb);
    assert_eq!(tree.psci(), Ok(Some(Conduit::Smc)));
    assert!(tree.cpus().all(|cpu| cpu.unwrap().enable_method == EnableMethod::Psci));
    let memory = tree.memory().unwrap();
    assert_eq!(memory.mapped().as_slice()[0], range(0x8_0000, 0x3b40_0000));
    assert!(memory.reserved().is_empty());
    let console = tree.console().unwrap().unwrap();
    assert_eq!(console.registers, range(0xfe20_1000, 0xfe20_1200));
}

#[test]
fn qemus_virt_with_a_gicv2_is_understood() {
    let tree = open(QEMU_GICV2);
    assert_eq!(tree.model(), Some("linux,dummy-virt"));
    assert_eq!(tree.psci(), Ok(Some(Conduit::Hvc)));
    assert_eq!(
        tree.interrupt_controller(),
        Ok(InterruptController::GicV2 {
            distributor: range(0x800_0000, 0x801_0000),
            cpu_interface: range(0x801_0000, 0x802_0000),
        })
    );
    let console = tree.console().unwrap().unwrap();
    assert_eq!((console.registers, console.options), (range(0x900_0000, 0x900_1000), None));
    assert_eq!(tree.cpus().count(), 4);
    assert_eq!(tree.memory().unwrap().free().as_slice(), [range(0x4000_0000, 0x8000_0000)]);
    assert_eq!(tree.bootargs(), Ok(""));
}

#[test]
fn two_numa_nodes_that_touch_are_one_range_of_memory() {
    let tree = open(QEMU_NUMA);
    assert_eq!(tree.memory().unwrap().ram().as_slice(), [range(0x4000_0000, 0x1_0000_0000)]);
    let Ok(InterruptController::GicV3 { distributor, redistributors }) = tree.interrupt_controller() else {
        panic!("the machine has a GICv3");
    };
    assert_eq!(distributor, range(0x800_0000, 0x801_0000));
    assert_eq!(redistributors.regions(), [range(0x80a_0000, 0x900_0000)]);
}

#[test]
fn memory_and_console_of_the_secure_world_are_left_alone() {
    let tree = open(QEMU_SECURE);
    assert_eq!(tree.memory().unwrap().ram().as_slice(), [range(0x4000_0000, 0x8000_0000)]);
    assert_eq!(tree.console().unwrap().unwrap().registers, range(0x900_0000, 0x900_1000));
}
