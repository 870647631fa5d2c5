// SPDX-License-Identifier: MIT OR Apache-2.0
//! The check of a tree's blocks: everything the reader takes for granted.
//!
//! Each step moves forward by at least one token, so the check ends after at most one step per four bytes.

use core::ops::Range;

use super::{Block, HEADER_BYTES, Header, MAX_DEPTH, MAX_NAME_BYTES, TreeError, word};

/// Tokens of the structure block (Devicetree Specification v0.4, section 5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Finds the end of the memory reservation block (Devicetree Specification v0.4, section 5.3), and checks that the
/// header and the blocks have no byte in common.
pub(super) fn reservations(data: &[u8], header: &Header) -> Result<(), TreeError> {
    let start = header.reservations;
    let block = Block::Reservations;
    let mut entries = data.get(start..).unwrap_or_default().chunks_exact(16);
    let Some(terminator) = entries.position(|entry| entry.iter().all(|&byte| byte == 0)) else {
        return Err(TreeError::OutOfBounds { block, offset: start });
    };
    let reservations = start..start + (terminator + 1) * 16;
    disjoint(Block::Structure, &header.structure, &reservations)?;
    disjoint(Block::Strings, &header.strings, &reservations)?;
    disjoint(Block::Strings, &header.strings, &header.structure)
}

/// Refuses a block that has bytes in common with another.
fn disjoint(block: Block, one: &Range<usize>, other: &Range<usize>) -> Result<(), TreeError> {
    if one.start.max(other.start) < one.end.min(other.end) {
        return Err(TreeError::Overlap { block, offset: one.start });
    }
    Ok(())
}

/// Checks the structure block (Devicetree Specification v0.4, section 5.4): one root, nodes closed in order and not
/// too deep, properties before children, names that are names, values inside the block.
pub(super) fn structure(data: &[u8], header: &Header) -> Result<(), TreeError> {
    let block = data.get(..header.structure.end).unwrap_or_default();
    let mut offset = header.structure.start;
    let mut depth = 0;
    let mut properties_may_follow = false;
    let mut root_is_closed = false;
    loop {
        let at = offset;
        let token = word(block, at).ok_or(TreeError::Cut { offset: at })?;
        let misplaced = Err(TreeError::BadToken { token, offset: at });
        offset += 4;
        match token {
            // The reader takes the first token for the root's.
            NOP if depth > 0 || root_is_closed => {}
            BEGIN_NODE if !root_is_closed => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(TreeError::TooDeep { offset: at });
                }
                let length = name(block, offset)?;
                if length == 0 && depth > 1 {
                    return Err(TreeError::BadName { offset });
                }
                offset = (offset + length + 1).next_multiple_of(4);
                properties_may_follow = true;
            }
            END_NODE if depth > 0 => {
                depth -= 1;
                root_is_closed = depth == 0;
                properties_may_follow = false;
            }
            PROP if properties_may_follow => offset = property(data, header, block, at)?,
            END if root_is_closed => return Ok(()),
            _ => return misplaced,
        }
    }
}

/// Checks the strings block (Devicetree Specification v0.4, section 5.5) as a whole: names, each ended by a NUL. Then
/// what starts anywhere inside is a name too.
pub(super) fn strings(data: &[u8], header: &Header) -> Result<(), TreeError> {
    let mut offset = header.strings.start;
    let block = data.get(..header.strings.end).unwrap_or_default();
    while offset < block.len() {
        offset += name(block, offset)? + 1;
    }
    Ok(())
}

/// Checks the property at `at` and gives the offset behind it. The strings block has been checked.
fn property(data: &[u8], header: &Header, block: &[u8], at: usize) -> Result<usize, TreeError> {
    let cut = TreeError::Cut { offset: at };
    let (Some(length), Some(name_offset)) = (word(block, at + 4), word(block, at + 8)) else {
        return Err(cut);
    };
    let name_at = header.strings.start.saturating_add(name_offset as usize);
    let first = data.get(..header.strings.end).and_then(|strings| strings.get(name_at));
    if first.is_none_or(|&byte| byte == 0) {
        return Err(TreeError::BadName { offset: name_at });
    }
    match (at + 12).checked_add(length as usize) {
        Some(end) if end <= block.len() => Ok(end.next_multiple_of(4)),
        _ => Err(cut),
    }
}

/// Returns the length of the name at `offset`: printable ASCII up to a NUL that is not too far away.
fn name(bytes: &[u8], offset: usize) -> Result<usize, TreeError> {
    let bytes = bytes.get(offset..).unwrap_or_default();
    let length = bytes.iter().take(MAX_NAME_BYTES + 1).position(|byte| !byte.is_ascii_graphic());
    match length.map(|length| (length, bytes.get(length))) {
        Some((length, Some(0))) => Ok(length),
        _ => Err(TreeError::BadName { offset }),
    }
}

const _: () = assert!(HEADER_BYTES.is_multiple_of(8), "the first block can follow the header at once");
