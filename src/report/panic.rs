// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic or a fault as the report has it: recorded while it is printed, without a lock and without memory.
//!
//! The record is a static of fixed size, written and read only by the CPU that has claimed the end of the run, in
//! program order: relaxed accesses are enough. Every store leaves it readable, so a second fault in the middle of the
//! first one's text costs the rest of that text and nothing else.

use super::json::{Json, Out, object};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Bytes of the text that are kept: more than any message of this kernel has.
pub(crate) const TEXT_BYTES: usize = 1024;

/// Addresses that are kept: the frames that the backtrace prints, and an exception's ELR and LR in front of them.
pub(crate) const ADDRESSES: usize = 34;

/// The mark at the end of a text that was cut off.
const CUT: &str = "...";

/// The CPU's number where it had none yet.
const NO_CPU: u64 = u64::MAX;

/// The record of a panic.
#[derive(Debug)]
pub(crate) struct Panic {
    begun: AtomicBool,
    cpu: AtomicU64,
    text: [AtomicU8; TEXT_BYTES],
    length: AtomicUsize,
    full: AtomicBool,
    whole: AtomicBool,
    backtrace: [AtomicU64; ADDRESSES],
    depth: AtomicUsize,
}

impl Panic {
    /// Returns an empty record.
    pub(crate) const fn new() -> Self {
        Self {
            begun: AtomicBool::new(false),
            cpu: AtomicU64::new(NO_CPU),
            text: [const { AtomicU8::new(0) }; TEXT_BYTES],
            length: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            whole: AtomicBool::new(false),
            backtrace: [const { AtomicU64::new(0) }; ADDRESSES],
            depth: AtomicUsize::new(0),
        }
    }

    /// Begins the record of a panic on `cpu`, `None` on a CPU without a per-CPU block. What is written to the result
    /// is the message, and goes to `out` as well.
    pub(crate) fn begin<'a>(&'a self, cpu: Option<usize>, out: &'a mut dyn fmt::Write) -> Message<'a> {
        self.cpu.store(cpu.map_or(NO_CPU, |cpu| cpu as u64), Relaxed);
        self.begun.store(true, Relaxed);
        Message { panic: self, out }
    }

    /// Adds the next address of the backtrace, the innermost first.
    pub(crate) fn add_address(&self, address: u64) {
        let depth = self.depth.load(Relaxed);
        if let Some(place) = self.backtrace.get(depth) {
            place.store(address, Relaxed);
            self.depth.store(depth + 1, Relaxed);
        }
    }

    /// Returns the record if there was a panic.
    pub(crate) fn get(&self) -> Option<&Self> {
        self.begun.load(Relaxed).then_some(self)
    }

    /// Appends the characters of `text` that fit. After the first that does not, none is appended any more.
    fn append(&self, text: &str) {
        for character in text.chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let length = self.length.load(Relaxed);
            let end = length + bytes.len();
            match self.text.get(length..end) {
                Some(room) if !self.full.load(Relaxed) => {
                    room.iter().zip(bytes).for_each(|(place, &byte)| place.store(byte, Relaxed));
                    self.length.store(end, Relaxed);
                }
                _ => return self.full.store(true, Relaxed),
            }
        }
    }
}

/// The message of a panic while it is written: to the record and to the console.
pub(crate) struct Message<'a> {
    panic: &'a Panic,
    out: &'a mut dyn fmt::Write,
}

impl Message<'_> {
    /// Marks the message as complete. Without it the report says that it is not.
    pub(crate) fn end(self) {
        self.panic.whole.store(true, Relaxed);
    }
}

impl fmt::Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.panic.append(text);
        self.out.write_str(text)
    }
}

impl Json for &Panic {
    fn json(&self, out: Out) -> fmt::Result {
        let cpu = Some(self.cpu.load(Relaxed)).filter(|&cpu| cpu != NO_CPU);
        let mut bytes = [0; TEXT_BYTES + CUT.len()];
        bytes.iter_mut().zip(&self.text).for_each(|(byte, kept)| *byte = kept.load(Relaxed));
        let mut length = self.length.load(Relaxed);
        if self.full.load(Relaxed) || !self.whole.load(Relaxed) {
            bytes[length..length + CUT.len()].copy_from_slice(CUT.as_bytes());
            length += CUT.len();
        }
        // Only whole characters are appended, so this cannot fail.
        let text = core::str::from_utf8(&bytes[..length]).unwrap_or_default();
        object(out, &[("cpu", &cpu), ("text", &text), ("backtrace", &Addresses(self))])
    }
}

/// The backtrace, each address as a text such as `"0xffff800080012344"`: a kernel address is beyond 2^53.
struct Addresses<'a>(&'a Panic);

impl Json for Addresses<'_> {
    fn json(&self, out: Out) -> fmt::Result {
        out.write_char('[')?;
        for (index, address) in self.0.backtrace.iter().take(self.0.depth.load(Relaxed)).enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}\"{:#018x}\"", address.load(Relaxed))?;
        }
        out.write_char(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{boxed::Box, format, string::String, vec::Vec};
    use core::fmt::Write;
    use serde_json::{Value, json};

    /// Returns the JSON of a record, and the console's text.
    fn recorded(cpu: Option<usize>, pieces: &[&str], ends: bool, addresses: &[u64]) -> (Value, String) {
        let panic: &'static Panic = Box::leak(Box::new(Panic::new()));
        assert!(panic.get().is_none(), "a panic before there was one");
        let mut console = String::new();
        let mut message = panic.begin(cpu, &mut console);
        pieces.iter().for_each(|piece| message.write_str(piece).expect("a string takes everything"));
        if ends {
            message.end();
        }
        addresses.iter().for_each(|&address| panic.add_address(address));
        let mut text = String::new();
        panic.get().json(&mut text).expect("a string takes everything");
        (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")), console)
    }

    #[test]
    fn a_panic_is_recorded_as_it_is_printed() {
        let (value, console) = recorded(Some(3), &["a \"b\"\n", "c\u{1b}\u{1f600}"], true, &[0xffff_8000_8001_2344, 8]);
        let text = "a \"b\"\nc\u{1b}\u{1f600}";
        assert_eq!(value, json!({ "cpu": 3, "text": text, "backtrace": ["0xffff800080012344", "0x0000000000000008"] }));
        assert_eq!(console, text);
    }

    #[test]
    fn a_cpu_without_a_block_has_no_number() {
        assert_eq!(recorded(None, &["x"], true, &[]).0, json!({ "cpu": null, "text": "x", "backtrace": [] }));
    }

    /// A message that panics in its own formatting: what there was of it, and that it is not all.
    #[test]
    fn a_message_that_was_not_finished_says_so() {
        assert_eq!(recorded(Some(0), &["half a "], false, &[]).0["text"], "half a ...");
    }

    /// The cut must not stand in the middle of a character, nor may a shorter piece fill the last bytes behind a gap.
    #[test]
    fn a_long_message_is_cut_between_characters() {
        for (fits, tail) in [(TEXT_BYTES, 0), (TEXT_BYTES - 1, 4), (TEXT_BYTES - 3, 4)] {
            let start = "x".repeat(fits);
            let wide = "\u{1f600}".repeat(tail / 4);
            let (value, console) = recorded(Some(0), &[&start, &wide, "z"], true, &[]);
            assert_eq!(value["text"], format!("{start}..."), "{fits}");
            assert_eq!(console, format!("{start}{wide}z"));
        }
        let whole = "x".repeat(TEXT_BYTES);
        assert_eq!(recorded(Some(0), &[&whole], true, &[]).0["text"], whole);
    }

    #[test]
    fn more_addresses_than_fit_are_left_out() {
        let many: Vec<u64> = (0..100).collect();
        let (value, _) = recorded(Some(0), &["x"], true, &many);
        assert_eq!(value["backtrace"].as_array().map(Vec::len), Some(ADDRESSES));
        assert_eq!(value["backtrace"][ADDRESSES - 1], "0x0000000000000021");
    }
}
