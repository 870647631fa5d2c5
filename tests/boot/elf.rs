//! Just enough of ELF-64 to find a symbol of the image.

use crate::image::symbols;
use std::fs;

/// A symbol's place.
pub(crate) struct Symbol {
    /// Bytes from the image's first.
    pub(crate) offset: u64,
    /// Size in bytes.
    pub(crate) size: u64,
}

/// Finds a symbol of the image under test.
pub(crate) fn symbol(name: &str) -> Symbol {
    let path = symbols();
    let elf = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let number = |at: u64, bytes: u64| {
        let field = &elf[at as usize..(at + bytes) as usize];
        field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    };
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
    let (value, size) = find(name).unwrap_or_else(|| panic!("no symbol {name} in {}", path.display()));
    // The entry point is the image's first byte.
    Symbol { offset: value - number(24, 8), size }
}
