// SPDX-License-Identifier: MIT OR Apache-2.0
//! PSCI, interrupt controller, timer, console, and what the tree says of itself.

use super::super::*;
use super::fixtures::*;

/// Returns a GICv3's node with this `reg`.
fn gic_v3(reg: &[(u64, u64)]) -> N {
    node("intc@8000000")
        .text("compatible", &["arm,gic-v3"])
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[3])
        .cells("phandle", &[1])
        .cells("reg", &pairs(reg))
}

/// Returns a PL011's node.
fn uart(name: &str, address: u32) -> N {
    node(name).text("compatible", &["arm,pl011", "arm,primecell"]).cells("reg", &[address, 0x1000])
}

/// Returns a console's place or its error's text.
fn console_of(dtb: &[u8]) -> Result<Option<cleave::tables::PhysRange>, String> {
    let console = open(dtb).console();
    console.map(|console| console.map(|console| console.registers)).map_err(|error| error.to_string())
}

#[test]
fn psci_of_version_0_1_is_named_and_not_guessed_at() {
    let psci = node("psci").text("compatible", &["arm,psci"]).text("method", &["smc"]).cells("cpu_on", &[0x95c1_ba60]);
    let dtb = dtb(root().with(psci));
    let error = open(&dtb).psci().unwrap_err();
    assert_eq!(error, PsciError::Version01 { node: "psci" });
    assert_eq!(error.to_string(), "psci is version 0.1, which is not supported");
}

#[test]
fn the_conduit_is_what_the_method_says() {
    for (method, conduit) in [("hvc", Conduit::Hvc), ("smc", Conduit::Smc)] {
        let psci = node("psci").text("compatible", &["arm,psci-0.2"]).text("method", &[method]);
        assert_eq!(open(&dtb(root().with(node("firmware").with(psci)))).psci(), Ok(Some(conduit)));
    }
    let psci = |node: N| dtb(root().with(node.text("compatible", &["arm,psci-1.0", "arm,psci"])));
    let unknown = psci(node("psci").text("method", &["carrier-pigeon"]));
    let error = open(&unknown).psci().unwrap_err();
    assert_eq!(error.to_string(), "psci has the unknown method carrier-pigeon");
    assert_eq!(open(&psci(node("psci"))).psci().unwrap_err().to_string(), "psci has no method");
}

#[test]
fn psci_that_is_switched_off_is_not_there() {
    let psci =
        node("psci").text("compatible", &["arm,psci-1.0"]).text("method", &["smc"]).text("status", &["disabled"]);
    assert_eq!(open(&dtb(root().with(psci))).psci(), Ok(None));
}

/// A bus that is switched off switches off what is below it, at any depth and regardless of the device's own status.
/// Looking at the device alone fails this.
#[test]
fn a_device_below_a_bus_that_is_switched_off_is_not_there() {
    let below = |status: &str, device: N| {
        let inner = node("inner").space(2, 2).flag("ranges").with(device.text("status", &["okay"]));
        node("outer").space(2, 2).flag("ranges").text("status", &[status]).with(inner)
    };
    let psci = || node("psci").text("compatible", &["arm,psci-1.0"]).text("method", &["smc"]);
    let gic = || gic_v3(&[(0, 0x1000), (0x1000, 0x1000)]);
    let serial = || node("serial@9000").text("compatible", &["arm,pl011"]).cells("reg", &pairs(&[(0x9000, 0x1000)]));
    let chosen = || node("chosen").text("stdout-path", &["/outer/inner/serial@9000"]);
    for (status, there) in [("okay", true), ("disabled", false)] {
        let tree = dtb(root().with(below(status, psci())));
        assert_eq!(open(&tree).psci(), Ok(there.then_some(Conduit::Smc)));
        let tree = dtb(root().with(below(status, gic())));
        assert_eq!(open(&tree).interrupt_controller().is_ok(), there);
        let tree = dtb(root().with(below(status, serial())).with(chosen()));
        let disabled = Err("the console /outer/inner/serial@9000 is disabled".into());
        assert_eq!(console_of(&tree), if there { Ok(Some(range(0x9000, 0xa000))) } else { disabled });
    }
}

#[test]
fn a_gicv3_has_all_its_regions_of_redistributors() {
    let reg = [(0x800_0000, 0x1_0000), (0x80a_0000, 0xf6_0000), (0x40_0000_0000, 0x400_0000), (0x1000, 0x1000)];
    let gic = gic_v3(&reg).cells("#redistributor-regions", &[2]).cells("redistributor-stride", &[0, 0x4_0000]);
    let dtb = dtb(root().with(gic));
    let Ok(InterruptController::GicV3 { distributor, redistributors }) = open(&dtb).interrupt_controller() else {
        panic!("the tree has a GICv3");
    };
    assert_eq!(distributor, range(0x800_0000, 0x801_0000));
    assert_eq!(redistributors.regions(), [range(0x80a_0000, 0x900_0000), range(0x40_0000_0000, 0x40_0400_0000)]);
    assert_eq!(redistributors.stride(), Some(0x4_0000));
}

#[test]
fn a_gicv3_that_promises_more_regions_than_it_has_is_an_error() {
    let error = |count: u32| {
        let dtb =
            dtb(root().with(gic_v3(&[(0x1000, 0x1000), (0x2000, 0x1000)]).cells("#redistributor-regions", &[count])));
        open(&dtb).interrupt_controller().unwrap_err().to_string()
    };
    assert_eq!(error(2), "interrupt controller: reg of intc@8000000 has too few elements");
    assert_eq!(error(0), "interrupt controller: #redistributor-regions of intc@8000000 has the unknown value 0x0");
    assert_eq!(error(u32::MAX), "4294967295 regions of redistributors, of which 32 can be kept");
}

#[test]
fn a_controller_that_is_unknown_or_switched_off_is_passed_over() {
    let other = || node("intc@1").text("compatible", &["acme,pic"]).flag("interrupt-controller");
    let off = gic_v3(&[(0, 0x1000), (0x1000, 0x1000)]).text("status", &["disabled"]);
    let dtb_off = dtb(root().with(other()).with(off));
    let error = open(&dtb_off).interrupt_controller().unwrap_err();
    assert_eq!(error.to_string(), "unsupported interrupt controller: acme,pic");
    let both = dtb(root().with(other()).with(gic_v3(&[(0, 0x1000), (0x1000, 0x1000)])));
    assert!(matches!(open(&both).interrupt_controller(), Ok(InterruptController::GicV3 { .. })));
    assert_eq!(open(&dtb(root())).interrupt_controller(), Err(InterruptControllerError::Missing));
}

#[test]
fn an_address_is_translated_through_every_bus_above() {
    let inner = node("apb").space(1, 1).cells("ranges", &[0x0, 0x10_0000, 0x1000]).with(uart("serial@0", 0));
    let middle = node("axi").space(1, 1).flag("ranges").with(inner);
    let outer = node("soc").space(1, 1).cells("ranges", &[0x10_0000, 0x8, 0x2000_0000, 0x1_0000]).with(middle);
    let chosen = node("chosen").text("stdout-path", &["/soc/axi/apb/serial@0"]);
    let dtb = dtb(root().with(outer).with(chosen));
    assert_eq!(console_of(&dtb), Ok(Some(range(0x8_2000_0000, 0x8_2000_1000))));
}

#[test]
fn an_address_that_a_bus_does_not_pass_on_is_named() {
    let tree = |bus: N| {
        let chosen = node("chosen").text("stdout-path", &["/soc/serial@ff00"]);
        dtb(root().with(bus.space(1, 1).with(uart("serial@ff00", 0xff00))).with(chosen))
    };
    let lost = Err("console: reg of serial@ff00 has 0xff00, which the bus soc does not pass on".into());
    assert_eq!(console_of(&tree(node("soc"))), lost);
    assert_eq!(console_of(&tree(node("soc").cells("ranges", &[0, 0, 0, 0xff00]))), lost);
    // The device starts in the window and ends behind it.
    assert_eq!(console_of(&tree(node("soc").cells("ranges", &[0, 0, 0, 0x1_0eff]))), lost);
    assert_eq!(console_of(&tree(node("soc").cells("ranges", &[0, 0, 0, 0x1_0f00]))), Ok(Some(range(0xff00, 0x1_0f00))));
    // Not a whole number of entries, and one that leaves 64 bits.
    assert_eq!(console_of(&tree(node("soc").cells("ranges", &[0, 0, 0]))), lost);
    assert_eq!(console_of(&tree(node("soc").cells("ranges", &[0, u32::MAX, u32::MAX, u32::MAX]))), lost);
    let overflow = console_of(&tree(node("soc").cells("ranges", &[0, u32::MAX, 0xffff_0000, u32::MAX])));
    assert_eq!(
        overflow,
        Err("console: reg of serial@ff00 reaches beyond 64 bits: 0x1000 bytes at 0xffffffffffffff00".into())
    );
}

/// The rest of the node may be wrong: a tree that states the frequency does so because CNTFRQ_EL0 is of no use.
#[test]
fn the_counters_frequency_is_stated_by_the_timer_or_not_at_all() {
    let timer = || node("timer").text("compatible", &["arm,armv8-timer"]);
    let frequency = |timer: N| {
        let dtb = dtb(root().with(timer));
        open(&dtb).counter_frequency().map_err(|error| error.to_string())
    };
    assert_eq!(frequency(timer().cells("clock-frequency", &[54_000_000])), Ok(Some(54_000_000)));
    assert_eq!(frequency(timer()), Ok(None));
    assert_eq!(frequency(timer().cells("clock-frequency", &[0])), Ok(None));
    assert_eq!(frequency(node("clock").cells("clock-frequency", &[24_000_000])), Ok(None));
    let below = node("soc")
        .with(node("timer").cells("clock-frequency", &[24_000_000]))
        .with(timer().cells("clock-frequency", &[7]));
    assert_eq!(frequency(below), Ok(Some(7)), "on a bus, beside a timer of another kind");
    let switched_off = timer().text("status", &["disabled"]).cells("clock-frequency", &[54_000_000]);
    assert_eq!(frequency(switched_off), Ok(None));
    let error = frequency(timer().cells("clock-frequency", &[1, 2, 3])).unwrap_err();
    assert!(error.starts_with("clock-frequency of timer"), "{error}");
}

#[test]
fn the_console_is_named_by_path_or_alias_with_or_without_options() {
    let tree = |property: &str, value: &str| {
        let soc = node("soc").space(1, 1).flag("ranges").with(uart("serial@9000", 0x9000));
        let aliases = node("aliases").text("serial0", &["/soc/serial@9000"]);
        dtb(root().with(aliases).with(soc).with(node("chosen").text(property, &[value])))
    };
    for property in ["stdout-path", "linux,stdout-path"] {
        for (value, options) in [
            ("/soc/serial@9000", None),
            ("/soc/serial", None),
            ("serial0", None),
            ("serial0:", Some("")),
            ("/soc/serial@9000:115200n8", Some("115200n8")),
            ("serial0:1500000", Some("1500000")),
            ("serial0:n8", Some("n8")),
            ("serial0:99999999999999", Some("99999999999999")),
        ] {
            let dtb = tree(property, value);
            let console = open(&dtb).console().unwrap().unwrap();
            assert_eq!((console.node, console.registers), ("serial@9000", range(0x9000, 0xa000)));
            assert_eq!(console.options, options, "{value}");
        }
    }
    assert_eq!(console_of(&tree("stdout-path", "")), Ok(None));
    assert_eq!(console_of(&tree("stdin-path", "serial0")), Ok(None));
    assert_eq!(
        console_of(&tree("stdout-path", "serial1:9600")),
        Err("the console serial1 is not in the device tree".into())
    );
    assert_eq!(console_of(&tree("stdout-path", "/soc/x")), Err("the console /soc/x is not in the device tree".into()));
    assert_eq!(console_of(&tree("stdout-path", "/soc")), Err("unsupported console: soc".into()));
}

#[test]
fn a_console_that_is_not_driven_here_or_switched_off_is_named() {
    let tree = |uart: N| dtb(root().with(uart).with(node("chosen").text("stdout-path", &["/serial@9000"])));
    let other = node("serial@9000").text("compatible", &["ns16550a", "ns16550"]);
    assert_eq!(console_of(&tree(other)), Err("unsupported console: ns16550a".into()));
    let off = uart("serial@9000", 0x9000).text("status", &["disabled"]);
    assert_eq!(console_of(&tree(off)), Err("the console /serial@9000 is disabled".into()));
    let silent = node("serial@9000").text("compatible", &["arm,pl011"]);
    assert_eq!(console_of(&tree(silent)), Err("console: reg of serial@9000 is missing".into()));
}

#[test]
fn boot_arguments_end_at_the_first_nul_and_are_text() {
    let tree = |value: &[u8]| dtb(root().with(node("chosen").bytes("bootargs", value)));
    assert_eq!(open(&tree(b"selftest\0\0\0")).bootargs(), Ok("selftest"));
    assert_eq!(open(&tree(b"selftest")).bootargs(), Ok("selftest"));
    assert_eq!(open(&tree(b"")).bootargs(), Ok(""));
    assert_eq!(open(&dtb(root())).bootargs(), Ok(""));
    let error = open(&tree(b"\xff\0")).bootargs().unwrap_err().to_string();
    assert_eq!(error, "bootargs of chosen is not text");
}

/// Returns the nodes by which a Raspberry Pi's tree describes a serial line's pins and clock, and its console.
fn rpi_serial(pinctrl: &[u32], clocks: &[u32]) -> N {
    let group = |name: &str, phandle: u32, pins: &[u32], function: &[u32]| {
        node(name).cells("brcm,pins", pins).cells("brcm,function", function).cells("phandle", &[phandle])
    };
    let gpio = node("gpio@7e200000")
        .text("compatible", &["brcm,bcm2711-gpio"])
        .cells("reg", &[0x7e20_0000, 0xb4])
        .with(group("uart0_ctsrts_gpio30", 8, &[30, 31], &[7]))
        .with(group("uart0_gpio14", 9, &[14, 15], &[4]))
        .with(group("firmwares_choice", 10, &[], &[]))
        .with(group("mixed", 11, &[2, 3], &[4, 5]))
        .with(group("no_such_pin", 12, &[58], &[4]));
    let cprman = node("cprman@7e101000")
        .text("compatible", &["brcm,bcm2711-cprman"])
        .cells("reg", &[0x7e10_1000, 0x2000])
        .cells("phandle", &[7]);
    let mailbox =
        node("mailbox@7e00b880").text("compatible", &["brcm,bcm2835-mbox"]).cells("reg", &[0x7e00_b880, 0x40]);
    let uart = node("serial@7e201000")
        .text("compatible", &["arm,pl011"])
        .cells("reg", &[0x7e20_1000, 0x200])
        .cells("pinctrl-0", pinctrl)
        .cells("clocks", clocks);
    let soc = node("soc")
        .space(1, 1)
        .cells("ranges", &[0x7e00_0000, 0, 0xfe00_0000, 0x0180_0000])
        .cells("dma-ranges", &[0xc000_0000, 0, 0, 0x4000_0000]);
    let fixed = node("clk24mhz").text("compatible", &["fixed-clock"]).cells("clock-frequency", &[24_000_000]);
    root()
        .with(node("chosen").text("stdout-path", &["/soc/serial@7e201000"]))
        .with(fixed.cells("phandle", &[20]))
        .with(soc.with(mailbox).with(cprman).with(gpio).with(uart))
}

#[test]
fn the_pins_of_the_console_are_those_of_its_groups() {
    let pins = |pinctrl: &[u32]| {
        let dtb = dtb(rpi_serial(pinctrl, &[7, 19]));
        let tree = open(&dtb);
        let console = tree.console().unwrap().unwrap();
        tree.serial_pins(&console)
            .map(|found| (found.registers.start.0, found.pins.map(|pin| pin.map(|pin| (pin.gpio, pin.function)))))
    };
    assert_eq!(pins(&[9]), Some((0xfe20_0000, [Some((14, 4)), Some((15, 4)), None, None])));
    // In the order of the tree.
    assert_eq!(pins(&[9, 8]), Some((0xfe20_0000, [Some((30, 7)), Some((31, 7)), Some((14, 4)), Some((15, 4))])));
    assert_eq!(pins(&[11]), Some((0xfe20_0000, [Some((2, 4)), Some((3, 5)), None, None])));
    // Left to firmware, unknown, or beyond the last pin: nothing is touched.
    for none in [&[10][..], &[99], &[12], &[]] {
        assert_eq!(pins(none), None, "{none:?}");
    }
}

#[test]
fn the_clock_of_the_console_is_fixed_or_the_firmwares_to_say() {
    let clock = |clocks: &[u32]| {
        let dtb = dtb(rpi_serial(&[9], clocks));
        let tree = open(&dtb);
        let console = tree.console().unwrap().unwrap();
        tree.serial_clock(&console)
    };
    assert_eq!(clock(&[20]), Some(Clock::Fixed(24_000_000)));
    let Some(Clock::Firmware(mailbox)) = clock(&[7, 19, 7, 20]) else {
        panic!("the UART's clock is known to firmware alone");
    };
    assert_eq!(mailbox.registers, range(0xfe00_b880, 0xfe00_b8c0));
    // What the VideoCore sees of the CPUs' memory, past its own cache.
    assert_eq!(mailbox.bus_address(range(0x8_0000, 0x8_0040)), Some(0xc008_0000));
    assert_eq!(mailbox.bus_address(range(0x3fff_ffe0, 0x4000_0020)), None);
    for none in [&[7, 20][..], &[99, 19], &[7], &[]] {
        assert_eq!(clock(none), None, "{none:?}");
    }
}
