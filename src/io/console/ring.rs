// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was printed before a console was known, and how text becomes bytes on a serial line. Portable.

/// The last `N` bytes written, and how many earlier ones had to make room.
///
/// The newest are kept: where the kernel got stuck says more than where it began.
pub(crate) struct Ring<const N: usize> {
    bytes: [u8; N],
    /// All the bytes ever written; the next one goes to `written % N`.
    written: usize,
}

impl<const N: usize> Ring<N> {
    /// Returns an empty ring.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], written: 0 }
    }

    /// Appends one byte, in place of the oldest where the ring is full.
    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[self.written % N] = byte;
        self.written = self.written.wrapping_add(1);
    }

    /// Returns how many bytes had to make room.
    pub(crate) const fn lost(&self) -> usize {
        self.written.saturating_sub(N)
    }

    /// Hands the bytes that are left to `put`, the oldest first, and is empty afterwards.
    pub(crate) fn drain(&mut self, mut put: impl FnMut(u8)) {
        for index in self.lost()..self.written {
            put(self.bytes[index % N]);
        }
        self.written = 0;
    }
}

/// Puts a carriage return in front of each line feed that has none.
#[derive(Clone, Copy, Default)]
pub(crate) struct LineEnds {
    last: u8,
}

impl LineEnds {
    /// Returns the state at the start of a line.
    pub(crate) const fn new() -> Self {
        Self { last: b'\n' }
    }

    /// Hands `byte` to `put`, behind a carriage return if it needs one.
    pub(crate) fn put(&mut self, byte: u8, mut put: impl FnMut(u8)) {
        if byte == b'\n' && self.last != b'\r' {
            put(b'\r');
        }
        self.last = byte;
        put(byte);
    }

    /// Returns true when the last byte ended a line.
    pub(crate) const fn at_line_start(self) -> bool {
        self.last == b'\n'
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn drained<const N: usize>(ring: &mut Ring<N>) -> Vec<u8> {
        let mut out = Vec::new();
        ring.drain(|byte| out.push(byte));
        out
    }

    #[test]
    fn a_ring_that_never_filled_gives_everything_back_in_order() {
        let mut ring = Ring::<8>::new();
        b"abc".iter().for_each(|&byte| ring.push(byte));
        assert_eq!(ring.lost(), 0);
        assert_eq!(drained(&mut ring), b"abc");
        assert_eq!(drained(&mut ring), b"");
    }

    #[test]
    fn a_full_ring_keeps_the_newest_bytes_and_counts_the_others() {
        let mut ring = Ring::<4>::new();
        b"abcdefghij".iter().for_each(|&byte| ring.push(byte));
        assert_eq!(ring.lost(), 6);
        assert_eq!(drained(&mut ring), b"ghij");
        assert_eq!(ring.lost(), 0);
        ring.push(b'k');
        assert_eq!(drained(&mut ring), b"k");
    }

    #[test]
    fn a_line_feed_gets_exactly_one_carriage_return() {
        let mut ends = LineEnds::new();
        let mut out = Vec::new();
        for &byte in b"one\ntwo\r\n\nend" {
            ends.put(byte, |byte| out.push(byte));
        }
        assert_eq!(out, b"one\r\ntwo\r\n\r\nend");
        assert!(!ends.at_line_start());
        ends.put(b'\n', |byte| out.push(byte));
        assert!(ends.at_line_start());
    }
}
