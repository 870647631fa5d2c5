//! gdb on a running machine: `scripts/gdb/cleave.py` in `gdb-multiarch -batch`, as `make debug` starts it.

use crate::{
    image::{ROOT, symbols},
    qemu::Boot,
};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A session: gdb's commands, and what both sides said.
pub(crate) struct Session {
    /// What gdb printed.
    pub(crate) text: String,
}

impl Session {
    /// Boots halted by `scripts/debug`, the program behind `make debug`, and gives gdb these commands.
    #[track_caller]
    pub(crate) fn of(boot: &Boot, commands: &[&str]) -> Self {
        // Free now; were it taken before QEMU has it, the connection would fail, not the wrong machine answer.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let console = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("gdb-console-{}.txt", port.port()));
        let mut command = Command::new("timeout");
        command.args(["60", "scripts/debug"]).arg(symbols()).args(["-nx", "-batch"]);
        command.args(commands.iter().flat_map(|command| ["-ex", command])).args(["-ex", "kill"]);
        command.current_dir(ROOT).stdin(Stdio::null());
        boot.environment(&mut command);
        command.env("GDB_PORT", port.port().to_string()).env("CLEAVE_CONSOLE", &console).env_remove("GDB");
        let output = command.output().expect("scripts/debug starts");
        let parts = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let kernel = fs::read_to_string(&console).unwrap_or_default();
        let _ = fs::remove_file(&console);
        let text = parts.concat();
        assert!(output.status.success(), "{}\n{text}\n{kernel}", output.status);
        Self { text }
    }

    /// Fails the test, with the whole session, unless these texts are in it, one behind the other.
    #[track_caller]
    pub(crate) fn has(&self, wanted: &[&str]) {
        let mut rest = self.text.as_str();
        for part in wanted {
            let found = rest.find(part);
            assert!(found.is_some(), "no {part:?} (behind what comes before it in {wanted:?}) in\n{}", self.text);
            rest = &rest[found.unwrap_or_default() + part.len()..];
        }
    }
}

/// Names and source lines in the physical half, with the MMU off, and in the virtual one; a stop in the window with the
/// way there. Symbols at one half only, or a label that the optimiser has thrown away, fail this.
#[test]
fn gdb_knows_both_halves_and_stops_in_the_window() {
    let boot = Boot::on("cortex-a72").mem("256M");
    let session = Session::of(
        &boot,
        &[
            "break _start",
            "continue",
            "info symbol $pc",
            "break kernel_main",
            "continue",
            "bt",
            "cleave break window",
            "continue",
            "bt",
        ],
    );
    session.has(&[
        "(2 locations)",
        "in _start ()",
        "boot/head.S:18: _start: b       cleave_primary",
        "_start in section .text",
        "hit Breakpoint 2",
        " at src/",
        "cleave::boot_story::kernel_main (tree=",
        " at src/main.rs:",
        "hit Breakpoint 3, ",
        "in cleave_window ()",
        " cleave::kernel::repaint::",
        " cleave::boot_story::kernel_main (",
    ]);
}
