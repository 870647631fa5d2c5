// SPDX-License-Identifier: MIT OR Apache-2.0
//! Just enough of ELF-64 to find a symbol of the image, and its code.

use crate::image::symbols;
use std::fs;

/// A symbol's place.
pub(crate) struct Symbol {
    /// Bytes from the image's first.
    pub(crate) offset: u64,
    /// Size in bytes.
    pub(crate) size: u64,
}

/// The file under test.
fn file() -> Vec<u8> {
    let path = symbols();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A number of the file, little endian.
fn number(elf: &[u8], at: u64, bytes: u64) -> u64 {
    let field = &elf[at as usize..(at + bytes) as usize];
    field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The code of the image under test: its link address and its words.
pub(crate) fn code() -> (u64, Vec<u32>) {
    let elf = file();
    let number = |at: u64, bytes: u64| number(&elf, at, bytes);
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    // PT_LOAD is 1, PF_X is 1.
    let header = (0..count).map(|index| table + index * size);
    let text = header.into_iter().find(|&at| number(at, 4) == 1 && number(at + 4, 4) & 1 == 1).expect("code");
    let (start, address, length) = (number(text + 8, 8), number(text + 16, 8), number(text + 32, 8));
    (address, (start..start + length).step_by(4).map(|at| number(at, 4) as u32).collect())
}

/// Finds a symbol of the image under test.
pub(crate) fn symbol(name: &str) -> Symbol {
    let elf = file();
    let number = |at: u64, bytes: u64| number(&elf, at, bytes);
    let (sections, entry_size, entries) = (number(40, 8), number(58, 2), number(60, 2));
    let header = |index: u64| sections + index * entry_size;
    // SHT_SYMTAB is 2; sh_link is its string table, sh_offset and sh_size where it lies.
    let table = (0..entries).map(header).find(|&at| number(at + 4, 4) == 2).expect("a symbol table");
    let strings = number(header(number(table + 40, 4)) + 24, 8);
    let (start, length) = (number(table + 24, 8), number(table + 32, 8));
    let find = |wanted: &str| {
        (start..start + length).step_by(24).find_map(|at| {
            let text = &elf[(strings + number(at, 4)) as usize..];
            let found = text.starts_with(wanted.as_bytes()) && text.get(wanted.len()) == Some(&0);
            found.then(|| (number(at + 8, 8), number(at + 16, 8)))
        })
    };
    let (value, size) = find(name).unwrap_or_else(|| panic!("no symbol {name} in {}", symbols().display()));
    // The entry point is the image's first byte.
    Symbol { offset: value - number(24, 8), size }
}
