// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot: its options, by the names of the make variables, and its result.

use crate::image::{ROOT, image};
use serde_json::Value;
use std::{
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// Variables of a run. The tests set flags; what the environment holds is not theirs.
const VARIABLES: [&str; 15] = [
    "MACHINE",
    "CPU",
    "SMP",
    "MEM",
    "GIC",
    "EL",
    "FIRMWARE",
    "DTB",
    "ACCEL",
    "BOOTARGS",
    "ICOUNT",
    "TIMEOUT",
    "REPORT",
    "QEMU",
    "QEMU_ARGS",
];

/// The ways in which QEMU's Raspberry Pi 4 starts the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Board {
    /// QEMU's own firmware, a spin-table.
    SpinTable,
    /// TF-A's BL31: PSCI, and the end is SYSTEM_OFF.
    Tfa,
}

/// A boot to be made: the defaults of make, and what a test changes of them.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// `-cpu`.
    pub(crate) cpu: String,
    /// Number of CPUs.
    pub(crate) smp: u64,
    /// Size of memory.
    pub(crate) mem: &'static str,
    /// Version of the interrupt controller.
    pub(crate) gic: u64,
    /// Exception level of entry.
    pub(crate) el: u64,
    /// The kernel's command line, without what the runner adds.
    pub(crate) bootargs: String,
    /// On a Raspberry Pi 4, if not on virt.
    pub(crate) board: Option<Board>,
    flags: Vec<String>,
    /// A CPU whose node says that it must not be used.
    pub(crate) unusable: Option<u64>,
    /// Bytes at the end of memory that the boot CPU does not reach.
    out_of_reach: u64,
    /// Bytes in the middle of memory that may not be mapped, or for which there is no room.
    unmapped: u64,
    /// `QEMU_ARGS`.
    qemu_args: String,
    /// The input of the monitor, where the boot is into that.
    typed: Option<String>,
}

impl Boot {
    /// A boot on four of this core.
    pub(crate) fn on(cpu: &str) -> Self {
        Self {
            cpu: cpu.into(),
            smp: 4,
            mem: "1G",
            gic: 3,
            el: 1,
            bootargs: String::new(),
            board: None,
            flags: Vec::new(),
            unusable: None,
            out_of_reach: 0,
            unmapped: 0,
            qemu_args: String::new(),
            typed: None,
        }
    }

    /// A boot on the Raspberry Pi 4 with this device tree: `board`, `minimal` or `none`.
    pub(crate) fn on_raspi4b(board: Board, tree: &str) -> Self {
        let boot = Self { gic: 2, el: 2, board: Some(board), ..Self::on("cortex-a72") };
        let boot = boot.flag("--machine", "raspi4b").flag("--dtb", tree);
        match board {
            Board::SpinTable => boot,
            Board::Tfa => boot.flag("--firmware", "tfa"),
        }
    }

    /// `SMP`.
    pub(crate) fn smp(self, smp: u64) -> Self {
        Self { smp, ..self }
    }

    /// `MEM`.
    pub(crate) fn mem(self, mem: &'static str) -> Self {
        Self { mem, ..self }
    }

    /// `GIC`.
    pub(crate) fn gic(self, gic: u64) -> Self {
        Self { gic, ..self }
    }

    /// `EL`.
    pub(crate) fn el(self, el: u64) -> Self {
        Self { el, ..self }
    }

    /// Another word of `BOOTARGS`.
    pub(crate) fn word(mut self, word: &str) -> Self {
        if !self.bootargs.is_empty() {
            self.bootargs.push(' ');
        }
        self.bootargs.push_str(word);
        self
    }

    /// Injects a fault.
    pub(crate) fn fault(self, fault: &str) -> Self {
        self.word(&format!("fault={fault}"))
    }

    /// `ICOUNT=1`.
    pub(crate) fn counted(self) -> Self {
        self.flag("--icount", "1")
    }

    /// Loads the image this far from the start of memory.
    pub(crate) fn text_offset(self, offset: u64) -> Self {
        self.flag("--text-offset", &format!("{offset:#x}"))
    }

    /// The tree gives this CPU a status by which it must not be used.
    pub(crate) fn unusable(self, cpu: u64) -> Self {
        Self { unusable: Some(cpu), ..self }
    }

    /// The kernel is told that so many bytes at the end of memory are out of its boot CPU's reach.
    pub(crate) fn out_of_reach(self, out_of_reach: u64) -> Self {
        Self { out_of_reach, ..self }
    }

    /// The tree keeps so many bytes in the middle of memory from being mapped.
    pub(crate) fn unmapped(self, unmapped: u64) -> Self {
        Self { unmapped, ..self }
    }

    /// `QEMU_ARGS`: further arguments to QEMU.
    pub(crate) fn qemu(self, arguments: &str) -> Self {
        Self { qemu_args: arguments.into(), ..self }
    }

    /// Boots into the monitor, which finds these lines in a pipe.
    pub(crate) fn typed(self, lines: &[&str]) -> Self {
        Self { typed: Some(lines.iter().map(|line| format!("{line}\r")).collect()), ..self }
    }

    /// Returns true for a boot into the monitor.
    pub(crate) fn is_typed(&self) -> bool {
        self.typed.is_some()
    }

    /// Returns true where the runner lets QEMU count instructions: when asked to, and above 32 CPUs.
    pub(crate) fn is_counted(&self) -> bool {
        self.smp > 32 || self.flags.windows(2).any(|flag| flag == ["--icount", "1"])
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.into(), value.into()]);
        self
    }

    /// Returns whether the boot arguments contain this one.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.bootargs.split(' ').any(|known| known == word)
    }

    /// Bytes of the guarded pool that the boot arguments ask for, each object with a page on each side.
    pub(crate) fn pool_bytes(&self) -> u64 {
        let pool = self.bootargs.split(' ').find_map(|known| known.strip_prefix("pool=")?.split('@').next());
        pool.map_or(0, |objects| (2 * objects.parse::<u64>().expect("a number of objects") + 1) << 12)
    }

    /// Bytes of memory that the tree gives and the boot CPU reaches. Of the board's first GiB the VideoCore has some: as much as QEMU thinks, or
    /// as the runner says behind BL31.
    pub(crate) fn bytes(&self) -> u64 {
        let kept = match self.board {
            None => 0,
            Some(Board::SpinTable) => 64 << 20,
            Some(Board::Tfa) => 76 << 20,
        };
        self.size() - kept - self.out_of_reach
    }

    /// Bytes of memory that are mapped: all of it but what BL31 keeps for itself, and what a test's tree does.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.bytes() - self.unmapped - if self.board == Some(Board::Tfa) { 512 << 10 } else { 0 }
    }

    fn size(&self) -> u64 {
        let (number, unit) = self.mem.split_at(self.mem.len() - 1);
        let shift = match unit {
            "M" => 20,
            "G" => 30,
            _ => panic!("MEM={}: a size in M or G", self.mem),
        };
        number.parse::<u64>().expect("a number before the unit") << shift
    }

    /// The runner's command line up to, but without, the image.
    pub(crate) fn runner(&self) -> Command {
        let mut command = Command::new("scripts/qemu");
        command.current_dir(ROOT);
        for name in VARIABLES {
            command.env_remove(name);
        }
        for (flag, value) in [("--smp", self.smp), ("--gic", self.gic), ("--el", self.el)] {
            command.arg(flag).arg(value.to_string());
        }
        let mut bootargs = self.bootargs.clone();
        if !bootargs.contains("rendezvous.deadline=") {
            // The host may be busy: an emulated CPU that gets no time for a second is no finding. A test of deadlines
            // sets its own.
            bootargs.push_str(" rendezvous.deadline=20000");
        }
        command.args(["--cpu", &self.cpu, "--mem", self.mem, "--bootargs", bootargs.trim_start()]);
        command.args(&self.flags).env("QEMU_ARGS", &self.qemu_args);
        command
    }

    /// The same as [`Boot::runner`]'s flags, for a program that reads the variables of make.
    pub(crate) fn environment(&self, command: &mut Command) {
        for name in VARIABLES {
            command.env_remove(name);
        }
        let runner = self.runner();
        let flags: Vec<String> = runner.get_args().map(|flag| flag.to_string_lossy().into_owned()).collect();
        // `--text-offset` has no variable; no test of gdb asks for it.
        for pair in flags.chunks_exact(2) {
            command.env(pair[0].trim_start_matches("--").to_uppercase(), &pair[1]);
        }
    }

    /// Boots with a report, and waits for the end.
    pub(crate) fn run(self) -> Run {
        self.run_image(image())
    }

    /// The same with another image.
    pub(crate) fn run_image(self, image: &Path) -> Run {
        let file = report_file();
        let mut command = self.runner();
        command.arg("--report").arg(&file).arg("--timeout").arg("60");
        if self.typed.is_some() {
            command.arg("--monitor");
        }
        command.arg(image);
        let mut run = Run::of(self, &mut command);
        run.report = take_report(&file);
        run
    }

    /// Boots as a person does: without a report.
    pub(crate) fn run_for_people(self) -> Run {
        let mut command = self.runner();
        command.arg(image());
        Run::of(self, &mut command)
    }
}

/// Returns a new name for a report.
pub(crate) fn report_file() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{}-{number}.json", std::process::id()))
}

/// Reads a report and removes its file.
pub(crate) fn take_report(file: &Path) -> Option<Value> {
    let report = fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let _ = fs::remove_file(file);
    report
}

/// The outcome of a boot.
pub(crate) struct Run {
    /// The requested boot.
    pub(crate) boot: Boot,
    /// The runner's exit status: 0 pass, 1 fail, 2 no verdict, 3 panic.
    pub(crate) status: Option<i32>,
    /// The QEMU command and what the kernel printed.
    pub(crate) console: String,
    /// The report, if there is one.
    pub(crate) report: Option<Value>,
}

impl Run {
    fn of(boot: Boot, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("scripts/qemu starts");
        let mut input = child.stdin.take().expect("a pipe");
        // A runner that ends early takes nothing.
        let _ = input.write_all(boot.typed.as_deref().unwrap_or_default().as_bytes());
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let console =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
        Self { boot, status: output.status.code(), console, report: None }
    }

    /// Fails the test, with everything there is to see, unless `claim` holds.
    #[track_caller]
    pub(crate) fn claim(&self, claim: bool, what: impl fmt::Display) {
        assert!(
            claim,
            "{what}\n\n{:?}\nstatus {:?}\n{}\n{:#}\n",
            self.boot,
            self.status,
            self.console,
            self.report.as_ref().unwrap_or(&Value::Null)
        );
    }

    /// A value of the report by its path, such as `/ticks/window`; null where it is not.
    pub(crate) fn value(&self, path: &str) -> &Value {
        self.report.as_ref().and_then(|report| report.pointer(path)).unwrap_or(&Value::Null)
    }

    /// A number of the report, which must be there.
    #[track_caller]
    pub(crate) fn number(&self, path: &str) -> u64 {
        let number = self.value(path).as_u64();
        self.claim(number.is_some(), format_args!("{path} is no number"));
        number.unwrap_or_default()
    }

    /// The elements of a list of the report.
    pub(crate) fn list(&self, path: &str) -> &[Value] {
        self.value(path).as_array().map_or(&[], Vec::as_slice)
    }

    /// Returns whether an entry of `errors` contains this.
    pub(crate) fn error_says(&self, part: &str) -> bool {
        self.list("/errors").iter().any(|error| error.as_str().is_some_and(|error| error.contains(part)))
    }

    /// The console's first line that begins so.
    pub(crate) fn line(&self, start: &str) -> Option<&str> {
        self.console.lines().find(|line| line.starts_with(start))
    }
}
