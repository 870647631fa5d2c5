// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU itself, without the runner, and its monitor, which reads memory and registers from outside.
//!
//! For what the kernel cannot say of itself. Where gdb's protocol is the better way there is `gdb.rs`.

use crate::image::ROOT;
use std::{
    env, fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    sync::mpsc::{Receiver, channel},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

/// The limit of a wait for an answer or a state.
const PATIENCE: Duration = Duration::from_secs(30);

/// Begins every line on which the monitor waits for a command.
const PROMPT: &str = "\n(qemu) ";

/// A machine that runs, and its monitor. Ends with this value.
pub(crate) struct Inspected {
    qemu: Child,
    monitor: ChildStdin,
    answers: Receiver<Vec<u8>>,
    console: PathBuf,
}

impl Inspected {
    /// Starts QEMU with these arguments. The monitor and, for machines that have one, the first UART are taken.
    pub(crate) fn start<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("inspected-{}-{number}.txt", std::process::id());
        let console = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let chosen = env::var_os("QEMU").filter(|path| !path.is_empty());
        let mut qemu = Command::new(chosen.unwrap_or_else(|| "qemu-system-aarch64".into()))
            .current_dir(ROOT)
            .args(["-nic", "none", "-display", "none", "-monitor", "stdio", "-serial"])
            .arg(format!("file:{}", console.display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU starts");
        let monitor = qemu.stdin.take().expect("a pipe");
        let mut output = qemu.stdout.take().expect("a pipe");
        let (sender, answers) = channel();
        // A thread of its own, since a pipe is read without a deadline. It ends with QEMU.
        spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut machine = Self { qemu, monitor, answers, console };
        machine.answer();
        machine
    }

    /// Returns the monitor's answer to a command, the command's echo first.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        let asked = self.monitor.write_all(format!("{command}\n").as_bytes());
        asked.unwrap_or_else(|error| panic!("the machine has ended: {error}\n{}", self.console()));
        self.answer()
    }

    /// Asks until the answer has `wanted`; fails the test, with the last answer, if it never does.
    #[track_caller]
    pub(crate) fn shows(&mut self, command: &str, wanted: &str) {
        let begin = Instant::now();
        loop {
            let answer = self.ask(command);
            if answer.contains(wanted) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "no {wanted:?} in\n{answer}\n{}", self.console());
            sleep(Duration::from_millis(200));
        }
    }

    /// Returns the output of the kernel.
    pub(crate) fn console(&self) -> String {
        fs::read(&self.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits for a line of the console that begins so, and returns it; fails the test if it never comes.
    #[track_caller]
    pub(crate) fn line(&self, start: &str) -> String {
        let begin = Instant::now();
        loop {
            // The last line may not be whole yet.
            let console = self.console();
            let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.starts_with(start)) {
                return line.into();
            }
            assert!(begin.elapsed() < PATIENCE, "no line {start:?} in\n{console}");
            sleep(Duration::from_millis(100));
        }
    }

    /// Everything up to the next prompt.
    #[track_caller]
    fn answer(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with(PROMPT) {
            match self.answers.recv_timeout(PATIENCE) {
                Ok(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("no answer of QEMU's monitor: {error}\n{text}\n{}", self.console()),
            }
        }
        text
    }
}

impl Drop for Inspected {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_file(&self.console);
    }
}
