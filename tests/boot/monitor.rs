// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitor, typed at through a pseudo-terminal as a person does, on both boards.

use crate::{
    image::{ROOT, image},
    qemu::{Board, Boot, report_file, take_report},
    words::fault,
};
use serde_json::Value;
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

const PROMPT: &str = "cleave> ";

/// The typed text and the output.
pub(crate) struct Typed {
    /// The runner's exit status.
    pub(crate) status: Option<i32>,
    /// Everything on the terminal.
    pub(crate) text: String,
    /// The report.
    report: Option<Value>,
}

impl Typed {
    /// Boots into the monitor and types each line when the prompt is there; a line may be any bytes (latin-1).
    pub(crate) fn lines(boot: &Boot, lines: &[&str]) -> Self {
        let mut steps: Vec<(&str, String)> = lines.iter().map(|line| (PROMPT, format!("{line}\r"))).collect();
        steps.insert(0, ("monitor: `help`", String::new()));
        Self::steps(boot, &steps)
    }

    /// The same, waiting for other texts.
    pub(crate) fn steps(boot: &Boot, steps: &[(&str, String)]) -> Self {
        let runner = boot.runner();
        let mut command = Command::new("tests/support/terminal.py");
        command.current_dir(ROOT).arg("scripts/qemu").args(runner.get_args());
        for (name, value) in runner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let file = report_file();
        command.args(["--monitor", "--timeout", "50"]).arg("--report").arg(&file).arg(image());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("tests/support/terminal.py starts");
        let script = serde_json::to_string(steps).expect("JSON");
        child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("the steps are taken");
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        Self { status: output.status.code(), text, report: take_report(&file) }
    }

    /// Fails the test unless there is one report, with this at `path`.
    #[track_caller]
    fn reports(&self, path: &str, value: &str) -> &Self {
        let told = self.report.as_ref().and_then(|report| report.pointer(path));
        assert_eq!(told, Some(&Value::from(value)), "{path}\n{}", self.text);
        self
    }

    /// Fails the test unless the runner ended so.
    #[track_caller]
    pub(crate) fn ended_with(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "{}", self.text);
        self
    }

    /// Fails the test, with the whole session, unless these texts are in it, one behind the other.
    #[track_caller]
    pub(crate) fn has(&self, wanted: &[&str]) -> &Self {
        let mut rest = self.text.split_once("monitor: `help`").map_or("", |(_, rest)| rest);
        for part in wanted {
            let found = rest.find(part);
            assert!(found.is_some(), "no {part:?} (behind what comes before it in {wanted:?}) in\n{}", self.text);
            rest = &rest[found.unwrap_or_default() + part.len()..];
        }
        self
    }
}

impl Typed {
    /// Fails the test unless the two answers to `leaves`, and those to `frames`, are the same.
    #[track_caller]
    fn tells_the_same_twice(&self) {
        for (from, to) in [("\n       1G ", "a full split"), ("frames: ", " free")] {
            let told = self.text.split(from).skip(1).map(|rest| rest.split(to).next().unwrap_or_default());
            let told: Vec<_> = told.collect();
            assert_eq!(told.len(), 2, "{from}: {}", self.text);
            assert_eq!(told[0], told[1], "{}", self.text);
        }
    }
}

/// Every command, on both boards: what it says, and what it says of a wrong use.
#[test]
fn every_command_works_on_both_boards() {
    let boards = [Boot::on("cortex-a72").mem("256M"), Boot::on_raspi4b(Board::SpinTable, "board")]
        .map(|boot| boot.word("linear=block"));
    for boot in boards {
        let address = "0xffff000008001230";
        let address = if boot.bytes() == 256 << 20 { "0xffff000048001230" } else { address };
        let (pt, probe) = (format!("pt {address}"), format!("probe {address}"));
        let lines = [
            "help",
            "help pt",
            "help nothing",
            "cpus",
            "map",
            "map ttbr0",
            "map up",
            &pt,
            "pt",
            "pt x",
            "pt 0x0",
            "pt 0x1000000000000000",
            "leaves",
            "frames",
            "stats",
            "timeline",
            "rendezvous",
            &probe,
            "probe 0",
            "probe 1",
            "load on",
            "load on",
            "load off",
            "load off",
            "load",
            "split",
            "leaves",
            &pt,
            "split",
            "audit",
            "cpus 1",
            "fault",
            "fault x",
            "what",
            "off",
        ];
        Typed::lines(&boot, &lines).ended_with(0).has(&[
            "lists the commands, or explains one",
            "usage: pt ADDRESS",
            "example: pt 0x",
            "error: no command nothing",
            "CPU 0",
            "CPU 3",
            "online, Cortex-A72",
            "TTBR0: root",
            "nothing is mapped",
            "TTBR1: root",
            "the kernel alias in the linear map",
            "r-x normal",
            "the kernel image (Text)",
            "the thread stack of CPU 3",
            "rw- device",
            "usage: map [ttbr0|ttbr1|ADDRESS SIZE]",
            "the linear map; root",
            "L2 [",
            "block 2M -> 0x",
            "usage: pt ADDRESS",
            "error: x is no address",
            "a null pointer; root",
            "error: that is in neither half",
            "cont2M ",
            "a full split takes ",
            "frames: ",
            "heap: ",
            "interrupts, ",
            "called at ",
            "ticks to gather",
            "holds 0x",
            "a store would meet: 0x",
            "the load faults: translation fault",
            "error: a word lies at a multiple of 8",
            "error: the stress test is on already",
            " lines checked, 0 mismatches",
            "error: the stress test is off already",
            "usage: load on|off",
            " of them in the window",
            "a full split takes 0 more",
            "page 4K -> 0x",
            "error: the linear map is in pages already",
            "translations wrong 0, census wrong 0",
            "usage: cpus",
            "usage: fault ",
            "usage: fault ",
            "error: no command what",
            "cleave: PASS",
        ]);
    }
}

/// Editing: both backspaces, the cursor keys, history and completion; a line that was given up is not executed.
#[test]
fn lines_are_edited_completed_and_remembered() {
    let lines = [
        "statz\x7fs",
        "leavs\x1b[De\x1b[C",
        "\x1b[A",
        "tim\t",
        "xyz\x03frames",
        "panic\x15help off",
        "\x1b[A\x1b[A\x1b[A",
        "off",
    ];
    let typed = Typed::lines(&Boot::on("cortex-a72").mem("128M"), &lines);
    typed.ended_with(0).reports("/result", "pass").has(&[
        "interrupts, ",
        "a full split takes 0 more",
        "a full split takes 0 more",
        "called at ",
        "heap: ",
        "usage: off",
        "called at ",
        "cleave: PASS",
    ]);
    assert!(!typed.text.contains("error:"), "{}", typed.text);
}

/// The monitor trusts no input: control bytes, broken UTF-8, escape sequences that never end, lines far too long, half
/// lines. It answers afterwards, and has executed none of it.
#[test]
fn garbage_floods_and_half_lines_do_no_harm() {
    // All bytes but Ctrl-A, which is QEMU's, and the ends of lines.
    let garbage: String = (0..=255_u8).filter(|byte| ![1, b'\r', b'\n'].contains(byte)).map(char::from).collect();
    let flood = "panic ".repeat(500);
    let many = "leaves\r".repeat(40);
    let steps = [
        ("monitor: `help`", String::new()),
        (PROMPT, format!("{garbage}\x1b[m\r")),
        (PROMPT, format!("{flood}\r")),
        ("error: a line has at most", format!("\x1b[1;2;3;4m\x1b[A\x03{many}")),
        (PROMPT, "fra".to_owned()),
        (PROMPT, "\x03off\r".to_owned()),
    ];
    let typed = Typed::steps(&Boot::on("cortex-a72").mem("128M"), &steps);
    typed.ended_with(0).has(&[
        "error: no command",
        "error: a line has at most",
        "a full split takes 0 more",
        "cleave: PASS",
    ]);
    assert!(!typed.text.contains("PANIC"), "{}", typed.text);
    assert!(typed.text.matches("a full split takes 0 more").count() >= 30, "{}", typed.text);
}

/// The commands that end the run do. A panic's report is the run's only one, though the boot itself has passed: a second
/// line, or one printed before the monitor, fails this.
#[test]
fn panic_and_reboot_end_the_run() {
    let boot = || Boot::on("cortex-a72").mem("128M");
    Typed::lines(&boot(), &["panic enough"])
        .ended_with(3)
        .reports("/result", "fail")
        .reports("/panic/text", "asked for on the monitor: enough")
        .has(&["cleave: PANIC on CPU 0: asked for on the monitor: enough"]);
    // QEMU is told to end instead of starting again, and there is no verdict then.
    Typed::lines(&boot(), &["reboot"]).ended_with(2).has(&["reboot", "no verdict"]);
}

/// Secret frames leave the linear map a batch at a time: within a batch taking one changes nothing, and needs no invalidation.
/// Each holds what is written to it and zeros when it is taken, as the command checks; no other command maps one. When all are
/// back, frames and leaves are those of the beginning.
#[test]
fn secret_frames_leave_the_linear_map_and_come_back() {
    for (cpu, words) in [("cortex-a72", "linear=block"), ("max", "linear=block bbml2=trust"), ("cortex-a72", "")] {
        let boot = || Boot::on(cpu).mem("256M").word(words);
        let lines = ["collapse", "leaves", "frames", "secret take 10", "secret take 54", "secret take 1", "audit"];
        let rest = ["secret", "secret take", "secret take 2000", "secret return", "secret return", "collapse", "audit"];
        let lines = [&lines[..], &rest, &["leaves", "frames", "off"]].concat();
        let typed = Typed::lines(&boot(), &lines);
        typed.ended_with(0).has(&[
            "10 secret frames taken, the last one 0x",
            "transactions of the map: 1",
            "54 secret frames taken, the last one 0x",
            "transactions of the map: 0",
            "1 secret frames taken, the last one 0x",
            "transactions of the map: 1",
            "translations wrong 0, census wrong 0",
            "usage: secret take N|return",
            "usage: secret take N|return",
            "959 secret frames taken, then all of 1024 secret frames are in use",
            "1024 secret frames returned, 16 batches mapped again",
            "transactions of the map: 16",
            "0 secret frames returned, 0 batches mapped again",
            "translations wrong 0, census wrong 0",
            "cleave: PASS",
        ]);
        // The boot is the same each time, so that the frame is.
        let (_, frame) = typed.text.split_once("the last one ").expect("a frame");
        let frame = format!("p:{}", frame.split_whitespace().next().unwrap_or_default());
        let changes = ["map", "protect", "unmap"]
            .map(|name| format!("{name} {frame} 4K{}", if name == "protect" { " ro" } else { "" }));
        let lines = ["collapse", "secret take 10", &changes[0], &changes[1], &changes[2], "secret return", "off"];
        let refused = Typed::lines(&boot(), &lines);
        refused.ended_with(0).has(&["the last one 0x", " is in use: secret frames", " is in use: secret frames"]);
        assert_eq!(refused.text.matches(" is in use: secret frames").count(), 3, "{}", refused.text);
        typed.tells_the_same_twice();
    }
}

/// Code changes while every CPU executes it: after each change no CPU gets an old answer, and changes that must not be are refused,
/// as the command checks. No writable alias of code is left, and locks go on. A change that one CPU does not see fails this.
#[test]
fn every_cpu_executes_changed_code() {
    for (cpu, words) in [("cortex-a72", "linear=block"), ("max", "fault=lock.call"), ("cortex-a53", "load=off")] {
        let lines =
            ["patch", "load on", "patch", "load off", "audit", "map ttbr0", "secret take 1", "secret return", "off"];
        Typed::lines(&Boot::on(cpu).mem("256M").word(words), &lines).ended_with(0).has(&[
            "  4 changes of code that 4 CPUs called ",
            " times: each executed the new code",
            "  6 changes that must not be were refused",
            "  4 changes of code that 4 CPUs called ",
            " lines checked, 0 mismatches",
            "writable and executable 0, by two aliases 0, translations wrong 0",
            "nothing is mapped",
            "1 secret frames taken",
            "cleave: PASS",
        ]);
    }
}

/// Loads and stores that fault are errors, with the bytes that came before and the address: of an unmapped page, of a
/// read-only one, from one page into the next, at any alignment. A probe whose fault ends the run fails this, one that counts a
/// byte too many, and one that touches a device.
#[test]
fn probes_say_how_far_they_came_and_which_fault_they_met() {
    for words in ["linear=block", "linear=require"] {
        let lines = [
            "unmap p:0x4a002000 4K",
            "protect p:0x4a004000 4K ro",
            "poke p:0x4a001ff9 7 0x5a",
            "probe 0xffff00004a001ff8 16",
            "probe p:0x4a001ff9 5",
            "probe p:0x4a002000 8",
            "poke p:0x4a003ffd 8 0xa5",
            "probe p:0x4a003ffd 3",
            "poke p:0x4a004000 1 0",
            "poke p:0x40200000 4 0",
            "probe 0xffff800200000000 4",
            "poke 0xffff800200000000 4 0",
            "probe 0xfffffffffffffffe 8",
            "poke p:0x4a003000 65 0",
            "poke p:0x4a003000 1 256",
            "poke p:0x4a003000 0 1",
            "map p:0x4a002000 4K",
            "protect p:0x4a004000 4K rw",
            "audit",
            "off",
        ];
        let typed = Typed::lines(&Boot::on("cortex-a72").mem("256M").word(words), &lines);
        typed.ended_with(0).has(&[
            "  7 bytes\n",
            "  8 bytes: ",
            " 5a 5a 5a 5a 5a 5a 5a, then translation fault, level 3 at 0xffff00004a002000\n",
            "  5 bytes: 5a 5a 5a 5a 5a\n",
            "  0 bytes, then translation fault, level 3 at 0xffff00004a002000\n",
            "  3 bytes, then permission fault, level 3 at 0xffff00004a004000\n",
            "  3 bytes: a5 a5 a5\n",
            "  0 bytes, then permission fault, level 3 at 0xffff00004a004000\n",
            "  0 bytes, then permission fault, level 3 at 0xffff000040200000\n",
            "  0 bytes, then a device, which is not probed, at 0xffff800200000000\n",
            "  0 bytes, then a device, which is not probed, at 0xffff800200000000\n",
            "  0 bytes, then translation fault, level ",
            "error: at most 64 bytes",
            "error: a byte is 0 to 255",
            "  0 bytes\n",
            "changed",
            "changed",
            "translations wrong 0, census wrong 0",
            "cleave: PASS",
        ]);
    }
}

/// Permissions, validity and sizes change from the monitor, on CPUs that stop for it and on CPUs that need not. The audit
/// agrees after each, memory in use is refused, and a collapse brings back the leaves that there were. On each core, entered at either
/// level, the switch is the one that its level of FEAT_BBM allows, and leaves and free frames are those of the beginning.
#[test]
fn the_map_changes_and_comes_back_on_every_kind_of_cpu() {
    let (stopped, in_place) = ("changed with every CPU stopped: ", "changed in place: ");
    for (cpu, words, first, collapsed) in [
        ("cortex-a72", "linear=block", stopped, stopped),
        ("max", "linear=block bbml2=trust", in_place, in_place),
        ("cortex-a72", "linear=require", in_place, stopped),
    ] {
        let lines = [
            "leaves",
            "protect p:0x4a003000 4K ro",
            "audit",
            "probe 0xffff00004a003000",
            "protect 0xffff00004a003000 4K ro",
            "unmap p:0x4a002000 16K",
            "probe 0xffff00004a002000",
            "audit",
            "map p:0x4a002000 16K",
            "protect p:0x4a002000 16K rw",
            "probe 0xffff00004a003000",
            "audit",
            "protect p:0x40200000 4K ro",
            "protect p:0x48000000 4K ro",
            "unmap cleave_rodata_start 4K",
            "unmap cleave_bss_start 4K",
            "split cleave_root 4K",
            "protect cleave_nowhere 4K ro",
            "pt cleave_root",
            "unmap p:0x4a002001 4K",
            "unmap p:0x1000 4K",
            "unmap p:0x4a000000 4X",
            "protect p:0x4a000000 4K rx",
            "collapse",
            "audit",
            "leaves",
            "split p:0x4c000000 2M",
            "audit",
            "off",
        ];
        let typed = Typed::lines(&Boot::on(cpu).mem("256M").word(words), &lines);
        typed.ended_with(0).has(&[
            "2M ",
            first,
            "translations wrong 0, census wrong 0",
            "holds 0x",
            "a store would meet: permission fault",
            "it was so already",
            "changed in place: 0 tables used, 0 given back",
            "the load faults: translation fault",
            "translations wrong 0, census wrong 0",
            "changed in place: 0 tables used, 0 given back",
            "changed in place: 0 tables used, 0 given back",
            "a store would meet: 0x4a003000",
            "translations wrong 0, census wrong 0",
            "error: nothing has changed: 0x40200000..0x40201000 is the alias of the kernel's text",
            "error: nothing has changed: 0x48000000..0x48001000 is in use",
            "is the alias of the kernel's text",
            " is in use",
            " tables used, ",
            "error: cleave_nowhere is no address",
            "the kernel image (Tables)",
            "is empty, not whole pages",
            "error: nothing has changed: 0x1000 is not in the linear map",
            "error: 4X is no size",
            "usage: protect ADDRESS SIZE ro|rw",
            collapsed,
            "translations wrong 0, census wrong 0",
            "2M ",
            "translations wrong 0, census wrong 0",
            "cleave: PASS",
        ]);
    }
    for cpu in ["cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-v1", "neoverse-n2", "max"] {
        for el in [1, 2] {
            // Level 2 is believed at EL2.
            let live = el == 2 && ["neoverse-v1", "neoverse-n2", "max"].contains(&cpu);
            let boot = Boot::on(cpu).el(el).smp(2).mem("256M").word("linear=block");
            comes_back(&boot, if live { (in_place, 6) } else { (stopped, 5) });
        }
    }
}

/// Changes the map of `boot` in each way, and checks that sizes changed by this switch, so many changes in all, and that nothing is
/// left of them. What changes no size is in place anywhere.
#[track_caller]
fn comes_back(boot: &Boot, (switch, changed): (&str, usize)) {
    let state = ["leaves", "frames"];
    let changes = [
        "protect p:0x4a003000 8K ro",
        "unmap p:0x4a1f0000 160K",
        "map p:0x4a1f0000 160K",
        "protect p:0x4a003000 8K rw",
        "split p:0x4c000000 2M",
        "collapse",
        "churn 40",
        "audit",
    ];
    let typed = Typed::lines(boot, &[&state[..], &changes, &state, &["off"]].concat());
    typed.ended_with(0).has(&[
        switch,
        switch,
        "changed ",
        "changed in place: 0 tables used, 0 given back",
        switch,
        switch,
        "are those of the beginning",
        "writable and executable 0, by two aliases 0, translations wrong 0, census wrong 0",
        "cleave: PASS",
    ]);
    let found = [switch, "  changed "].map(|text| typed.text.matches(text).count());
    assert_eq!(found, [changed, 6], "{}", typed.text);
    typed.tells_the_same_twice();
}

/// Changes from all CPUs at once, with the stress test beside them, on CPUs that stop for a change and on CPUs that need not: the
/// leaves, tables and frames of the beginning are there again. Fails when a CPU cannot lead a change, when a waiting CPU keeps the
/// others from stopping, when anything ratchets, or when the counts are not those of a walk.
#[test]
fn the_map_churns_on_all_cpus_and_comes_back() {
    for (cpu, words, stops) in [("cortex-a72", "linear=require", true), ("max", "bbml2=trust", false)] {
        let lines = ["load on", "churn 100", "load off", "churn 300", "audit", "stats", "churn", "churn x", "off"];
        let typed = Typed::lines(&Boot::on(cpu).mem("256M").word(words), &lines);
        typed.ended_with(0).has(&[
            "  CPU 0   ",
            "  CPU 3   ",
            "are those of the beginning",
            " 0 mismatches",
            "  CPU 3   ",
            "are those of the beginning",
            "translations wrong 0, census wrong 0",
            " transactions, 0 B unmapped",
            "usage: churn CALLS",
            "error: x is no size",
            "cleave: PASS",
        ]);
        let count = |line: &str, what: &str| -> u64 {
            let (before, _) = line.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {line:?}"));
            before
                .rsplit(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("no number in {line:?}"))
        };
        let each: Vec<&str> = typed.text.lines().filter(|line| line.contains(" with every CPU stopped, ")).collect();
        assert_eq!(each.len(), 8, "{}", typed.text);
        for (index, line) in each.into_iter().enumerate() {
            assert!(count(line, " calls:") >= if index < 4 { 25 } else { 75 }, "{line}");
            assert!(count(line, " in place") > 0 && (count(line, " with every CPU stopped") > 0) == stops, "{line}");
            assert!(count(line, " times") > 0, "{line}");
        }
    }
}

/// A frame that is never given back is found by the churn, and fails the run.
#[test]
fn a_frame_that_the_churn_loses_fails_the_run() {
    let boot = Boot::on("cortex-a72").mem("256M").word("linear=block").fault(fault::FRAME_LEAK);
    Typed::lines(&boot, &["churn 100", "off"])
        .ended_with(1)
        .has(&["before, leaves, tables and free frames, and ", "cleave: FAIL"]);
}
