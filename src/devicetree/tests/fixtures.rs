// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees for the tests: a few words to write one by hand, one like the Raspberry Pi 4's, and some of QEMU's own.

use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::super::Tree;
use cleave::tables::{PhysAddr, PhysRange};

/// QEMU 10.0 `-M virt,gic-version=2 -smp 4 -m 1G`, its padding cut off.
pub(crate) const QEMU_GICV2: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/qemu-virt-gicv2.dtb"));
/// QEMU 10.0 `-M virt,gic-version=3 -smp 4 -m 3G`, two NUMA nodes of 1 and 2 GiB, its padding cut off.
pub(crate) const QEMU_NUMA: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/qemu-virt-gicv3-numa.dtb"));
/// QEMU 10.0 `-M virt,gic-version=3,secure=on -smp 2 -m 1G`, its padding cut off.
pub(crate) const QEMU_SECURE: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/qemu-virt-secure.dtb"));

/// Returns a range from two numbers.
pub(crate) fn range(start: u64, end: u64) -> PhysRange {
    PhysRange::new(PhysAddr(start), PhysAddr(end))
}

/// A node being written.
#[derive(Clone)]
pub(crate) struct N(pub(crate) DeviceTreeNode);

/// Returns an empty node.
pub(crate) fn node(name: &str) -> N {
    N(DeviceTreeNode::new_unchecked(name))
}

impl N {
    /// Adds a property of raw bytes.
    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.0.add_property(DeviceTreeProperty::new_unchecked(name, value));
        self
    }

    /// Adds a property of 32-bit cells.
    pub(crate) fn cells(self, name: &str, cells: &[u32]) -> Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// Adds a property that is a list of strings.
    pub(crate) fn text(self, name: &str, strings: &[&str]) -> Self {
        let value: String = strings.iter().map(|string| format!("{string}\0")).collect();
        self.bytes(name, value.as_bytes())
    }

    /// Adds a property without a value.
    pub(crate) fn flag(self, name: &str) -> Self {
        self.bytes(name, &[])
    }

    /// Adds `#address-cells` and `#size-cells`.
    pub(crate) fn space(self, address: u32, size: u32) -> Self {
        self.cells("#address-cells", &[address]).cells("#size-cells", &[size])
    }

    /// Adds a child.
    pub(crate) fn with(mut self, child: Self) -> Self {
        self.0.add_child(child.0);
        self
    }
}

/// Returns a root with two cells each for addresses and sizes, and 1 GiB of memory.
pub(crate) fn root() -> N {
    node("").space(2, 2).with(memory(&[(0x4000_0000, 0x4000_0000)]))
}

/// Returns a memory node, two cells each.
pub(crate) fn memory(entries: &[(u64, u64)]) -> N {
    let name = format!("memory@{:x}", entries.first().map_or(0, |entry| entry.0));
    node(&name).text("device_type", &["memory"]).cells("reg", &pairs(entries))
}

/// Pairs of 64-bit numbers as cells.
pub(crate) fn pairs(entries: &[(u64, u64)]) -> Vec<u32> {
    let halves = |value: u64| [(value >> 32) as u32, value as u32];
    entries.iter().flat_map(|&(address, size)| halves(address).into_iter().chain(halves(size))).collect()
}

/// Returns the flattened tree.
pub(crate) fn dtb(root: N) -> Vec<u8> {
    reserving(root, &[])
}

/// Returns the flattened tree with a memory reservation block.
pub(crate) fn reserving(root: N, entries: &[(u64, u64)]) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    tree.root = root.0;
    tree.memory_reservations = entries.iter().map(|&(start, bytes)| MemoryReservation::new(start, bytes)).collect();
    tree.to_dtb()
}

/// Opens a tree that is known to be good.
pub(crate) fn open(dtb: &[u8]) -> Tree<'_> {
    Tree::new(dtb).expect("the tree is well formed")
}

/// The cells of a bus with the Raspberry Pi 4's three ranges: child address, 64-bit parent address, size.
const RPI4_RANGES: [u32; 12] = [
    0x7e00_0000,
    0,
    0xfe00_0000,
    0x0180_0000,
    0x7c00_0000,
    0,
    0xfc00_0000,
    0x0200_0000,
    0x4000_0000,
    0,
    0xff80_0000,
    0x0080_0000,
];

/// Returns the cells of the memory node as firmware writes them on a board with `gib` GiB, the VideoCore's share cut
/// out of the first one. The tree's sizes have one cell, so 8 GiB need an entry for each 2.
pub(crate) fn rpi4_memory(gib: u32) -> Vec<u32> {
    let mut cells = vec![0, 0, 0x3b40_0000];
    match gib {
        1 => {}
        2 => cells.extend([0, 0x4000_0000, 0x4000_0000]),
        4 => cells.extend([0, 0x4000_0000, 0xbc00_0000]),
        8 => cells.extend([0, 0x4000_0000, 0xbc00_0000, 1, 0, 0x8000_0000, 1, 0x8000_0000, 0x8000_0000]),
        _ => panic!("there is no Raspberry Pi 4 with {gib} GiB"),
    }
    cells
}

/// Returns the Raspberry Pi 4's root without its CPUs: buses, GIC-400, two UARTs, and these cells of memory.
fn rpi4_root(memory: &[u32]) -> N {
    let gic = node("interrupt-controller@40041000")
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[3])
        .text("compatible", &["arm,gic-400"])
        .cells("reg", &[0x4004_1000, 0x1000, 0x4004_2000, 0x2000, 0x4004_4000, 0x2000, 0x4004_6000, 0x2000])
        .cells("phandle", &[1]);
    let local = node("local_intc@40000000")
        .text("compatible", &["brcm,bcm2836-l1-intc"])
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[2])
        .cells("reg", &[0x4000_0000, 0x100]);
    let uart = node("serial@7e201000")
        .text("compatible", &["arm,pl011", "arm,primecell"])
        .cells("reg", &[0x7e20_1000, 0x200])
        .cells("interrupts", &[0, 121, 4])
        .text("status", &["okay"])
        .with(node("bluetooth").text("compatible", &["brcm,bcm43438-bt"]).text("status", &["disabled"]));
    let mini_uart = node("serial@7e215040")
        .text("compatible", &["brcm,bcm2835-aux-uart"])
        .cells("reg", &[0x7e21_5040, 0x40])
        .text("status", &["okay"]);
    let soc = node("soc")
        .text("compatible", &["simple-bus"])
        .space(1, 1)
        .cells("ranges", &RPI4_RANGES)
        .with(local)
        .with(uart)
        .with(mini_uart)
        .with(gic);
    node("")
        .text("compatible", &["raspberrypi,4-model-b", "brcm,bcm2711"])
        .text("model", &["Raspberry Pi 4 Model B Rev 1.4"])
        .space(2, 1)
        .cells("interrupt-parent", &[1])
        .with(node("aliases").text("serial0", &["/soc/serial@7e201000"]).text("serial1", &["/soc/serial@7e215040"]))
        .with(node("memory@0").text("device_type", &["memory"]).cells("reg", memory))
        .with(
            node("timer")
                .text("compatible", &["arm,armv8-timer"])
                .cells("interrupts", &[1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08, 1, 10, 0xf08]),
        )
        .with(soc)
}

/// Returns a tree as the Raspberry Pi 4's firmware hands it over: spin-table, no PSCI.
pub(crate) fn rpi4() -> Vec<u8> {
    rpi4_with(&[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0xbc00_0000, 1, 0, 0x8000_0000], 4)
}

/// Returns a tree of the Raspberry Pi 4 with these cells of memory and this number of CPUs.
pub(crate) fn rpi4_with(memory: &[u32], count: usize) -> Vec<u8> {
    let mut cpus = node("cpus").space(1, 0).text("enable-method", &["brcm,bcm2836-smp"]);
    for (number, release) in [(0, 0xd8), (1, 0xe0), (2, 0xe8), (3, 0xf0)].into_iter().take(count) {
        cpus = cpus.with(
            node(&format!("cpu@{number}"))
                .text("device_type", &["cpu"])
                .text("compatible", &["arm,cortex-a72"])
                .cells("reg", &[number])
                .text("enable-method", &["spin-table"])
                .cells("cpu-release-addr", &[0, release]),
        );
    }
    let cma = node("linux,cma").text("compatible", &["shared-dma-pool"]).cells("size", &[0x400_0000]).flag("reusable");
    let nvram = node("nvram@0").cells("reg", &[0, 0x3eff_fc00, 0x200]).flag("no-map").text("status", &["disabled"]);
    let root = rpi4_root(memory)
        .with(
            node("chosen")
                .text("stdout-path", &["serial0:115200n8"])
                .text("bootargs", &["coherent_pool=1M console=ttyAMA0,115200 root=/dev/mmcblk0p2 linear=require"])
                .cells("linux,initrd-start", &[0x2eff_0000])
                .cells("linux,initrd-end", &[0x2eff_ffab]),
        )
        .with(node("reserved-memory").space(2, 1).flag("ranges").with(cma).with(nvram))
        .with(cpus);
    reserving(root, &[(0, 0x1000)])
}

/// Returns the Raspberry Pi 4's tree after TF-A's BL31 has edited it: PSCI over SMC, its own memory not to be mapped,
/// nothing in `/memreserve/`.
pub(crate) fn rpi4_tfa() -> Vec<u8> {
    rpi4_tfa_with(&rpi4_memory(4))
}

/// Returns the tree that TF-A's BL31 has edited, with these cells of memory.
pub(crate) fn rpi4_tfa_with(memory: &[u32]) -> Vec<u8> {
    let mut cpus = node("cpus").space(1, 0);
    for (number, release) in [(0, 0xd8), (1, 0xe0), (2, 0xe8), (3, 0xf0)] {
        cpus = cpus.with(
            node(&format!("cpu@{number}"))
                .text("device_type", &["cpu"])
                .cells("reg", &[number])
                .text("enable-method", &["psci"])
                .cells("cpu-release-addr", &[0, release]),
        );
    }
    let atf = node("atf@0").cells("reg", &[0, 0, 0x8_0000]).flag("no-map");
    let psci = node("psci").text("compatible", &["arm,psci-1.0", "arm,psci-0.2"]).text("method", &["smc"]);
    dtb(rpi4_root(memory)
        .with(node("chosen").text("stdout-path", &["serial0"]))
        .with(node("reserved-memory").space(2, 1).flag("ranges").with(atf))
        .with(psci)
        .with(cpus))
}
