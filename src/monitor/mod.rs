// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitor: an interactive look at the running kernel, on the serial console, when the bootargs ask for it.
//!
//! It runs on the boot CPU after the report; the other CPUs are idle, or under load when told so. Line editing, history
//! and completion are `embedded-cli`'s; the commands are in [`table`]. The serial line is polled. Its input is not
//! trusted: bytes that are no text are dropped, and a line that is too long is not executed.
#![cfg(target_os = "none")]

mod change;
mod commands;
mod inspect;
mod poke;
mod pool;
mod secret;
mod session;
mod table;

extern crate alloc;

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt::Write as _;

use cleave::aarch64::hint;
use embedded_cli::autocomplete::{Autocompletion, Request};
use embedded_cli::cli::{CliBuilder, CliHandle};
use embedded_cli::command::RawCommand;
use embedded_cli::service::{Autocomplete, CommandProcessor, Help, ProcessError};

use crate::io::console;
use crate::report::verdict::Verdict;
use commands::Usage;
use session::{Screen, Session};
use table::COMMANDS;

/// The longest line, in bytes.
const LINE: usize = 120;
/// The size of the history, in bytes.
const HISTORY: usize = 1024;
const PROMPT: &str = "cleave> ";

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const ESCAPE: u8 = 0x1b;
const CTRL_C: u8 = 0x03;
const CTRL_U: u8 = 0x15;
/// The key that moves the cursor to the right.
const RIGHT: [u8; 3] = *b"\x1b[C";

/// The names of the commands, for completion.
struct Names;

impl Autocomplete for Names {
    fn autocomplete(request: Request<'_>, completion: &mut Autocompletion<'_>) {
        if let Request::CommandName(start) = request {
            COMMANDS.iter().filter_map(|command| command.name.strip_prefix(start)).for_each(|rest| {
                completion.merge_autocompletion(rest);
            });
        }
    }
}

impl Help for Names {}

/// The keys pressed, before the editor sees them.
struct Keys {
    /// Bytes of the line so far, as far as this room can tell.
    length: usize,
    /// More than the editor takes were typed: the line must not be executed.
    too_long: bool,
    last: u8,
}

/// The meaning of a byte from the line.
enum Key {
    /// Nothing: a byte that is no text.
    None,
    /// For the editor.
    Byte(u8),
    /// The line is to be forgotten.
    Abandon,
}

impl Keys {
    /// Sorts a byte.
    fn press(&mut self, byte: u8) -> Key {
        let last = core::mem::replace(&mut self.last, byte);
        match byte {
            DELETE | BACKSPACE => {
                self.length = self.length.saturating_sub(1);
                Key::Byte(BACKSPACE)
            }
            // The tail of an escape sequence is not text.
            b'[' if last == ESCAPE => Key::Byte(byte),
            b' '..=b'~' => {
                self.length += 1;
                self.too_long |= self.length > LINE;
                Key::Byte(byte)
            }
            b'\t' | b'\r' | b'\n' | ESCAPE => Key::Byte(byte),
            CTRL_C | CTRL_U => Key::Abandon,
            _ => Key::None,
        }
    }

    /// Ends the line, and returns whether it was too long.
    fn end_line(&mut self) -> bool {
        self.length = 0;
        core::mem::take(&mut self.too_long)
    }
}

/// Reads and executes commands until `off`; returns the verdict of the run.
pub(crate) fn run(verdict: Verdict) -> Verdict {
    console::print(format_args!("\nmonitor: `help` lists the commands, Tab completes, `off` ends the run\n"));
    let mut session = Session { verdict, secrets: Vec::new(), over: false };
    let builder = CliBuilder::default().writer(Screen).command_buffer([0; LINE]).history_buffer([0; HISTORY]);
    // Writing to the console does not fail.
    let Ok(mut cli) = builder.prompt(PROMPT).build();
    let mut keys = Keys { length: 0, too_long: false, last: 0 };
    while !session.over {
        let Some(byte) = console::read_byte() else {
            // The event stream ends it (boot/el1.S) before the FIFO of the line can fill up at 115200 baud.
            hint::wait_for_event();
            continue;
        };
        let key = keys.press(byte);
        let mut process = Process { session: &mut session, too_long: false };
        match key {
            Key::None => {}
            Key::Byte(byte) => {
                process.too_long = matches!(byte, b'\r' | b'\n') && keys.end_line();
                let Ok(()) = cli.process_byte::<Names, _>(byte, &mut process);
            }
            Key::Abandon => {
                keys.end_line();
                // To the end of the line, and then all of it away: the editor has no key for that.
                for byte in RIGHT.iter().cycle().take(RIGHT.len() * LINE).chain([BACKSPACE; LINE].iter()) {
                    let Ok(()) = cli.process_byte::<Names, _>(*byte, &mut process);
                }
            }
        }
    }
    session.verdict
}

/// Executes the lines that the editor hands over.
struct Process<'s> {
    session: &'s mut Session,
    too_long: bool,
}

impl CommandProcessor<Screen, Infallible> for Process<'_> {
    fn process<'a>(
        &mut self,
        _: &mut CliHandle<'_, Screen, Infallible>,
        line: RawCommand<'a>,
    ) -> Result<(), ProcessError<'a, Infallible>> {
        if self.too_long {
            // The screen does not fail.
            let _ = writeln!(Screen, "error: a line has at most {LINE} characters; nothing was done");
        } else {
            execute(self.session, &line);
        }
        Ok(())
    }
}

/// Finds the command and runs it; says what is wrong with it otherwise.
fn execute(session: &mut Session, line: &RawCommand<'_>) {
    use embedded_cli::arguments::Arg;
    let mut words = [""; commands::MOST_WORDS];
    let mut count = 0;
    let mut right = true;
    for word in line.args().args() {
        match (word, words.get_mut(count)) {
            (Ok(Arg::Value(text)), Some(place)) => {
                *place = text;
                count += 1;
            }
            _ => right = false,
        }
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == line.name()) else {
        let _ = writeln!(Screen, "error: no command {}; `help` lists them", line.name());
        return;
    };
    let done = if right { (command.run)(session, &words[..count]) } else { Err(commands::Wrong::Usage) };
    // The screen does not fail.
    let _ = match done {
        Ok(()) => Ok(()),
        Err(commands::Wrong::Usage) => writeln!(Screen, "usage: {}", Usage(command)),
        Err(commands::Wrong::Because(why)) => writeln!(Screen, "error: {why}"),
    };
}
