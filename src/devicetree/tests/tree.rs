// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees that are broken in a way that has a name.

use core::ops::ControlFlow;

use dtoolkit::Node;

use super::super::*;
use super::fixtures::*;
use super::fuzz::{read_everything, survive};

/// The words of the header, by number.
pub(super) const TOTALSIZE: usize = 1;
pub(super) const STRUCTURE: usize = 2;
pub(super) const STRINGS: usize = 3;
pub(super) const RESERVATIONS: usize = 4;
pub(super) const VERSION: usize = 5;
pub(super) const COMPATIBLE: usize = 6;
pub(super) const STRINGS_BYTES: usize = 8;
pub(super) const STRUCTURE_BYTES: usize = 9;

/// Returns the header's word `index`.
pub(super) fn header(dtb: &[u8], index: usize) -> u32 {
    u32::from_be_bytes(dtb[index * 4..index * 4 + 4].try_into().unwrap())
}

/// Returns the tree with the word at `offset` replaced.
pub(super) fn patched(mut dtb: Vec<u8>, offset: usize, word: u32) -> Vec<u8> {
    dtb[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    dtb
}

/// Returns the error of a tree whose header has another word `index`.
pub(super) fn header_error(index: usize, word: u32) -> TreeError {
    let dtb = patched(rpi4(), index * 4, word);
    let error = Tree::new(&dtb).unwrap_err();
    assert_eq!(check_header(&dtb[..40]), Err(error.clone()), "the header alone shows it");
    error
}

#[test]
fn good_trees_pass_and_can_be_read_to_the_end() {
    for dtb in [QEMU_GICV2, QEMU_NUMA, QEMU_SECURE, &rpi4(), &rpi4_tfa()] {
        assert_eq!(check_header(&dtb[..HEADER_BYTES]), Ok(dtb.len()));
        read_everything(&open(dtb));
    }
}

#[test]
fn bytes_behind_the_tree_do_not_matter() {
    let mut dtb = rpi4();
    dtb.extend([0xa5; 100]);
    read_everything(&open(&dtb));
}

#[test]
fn a_tree_cut_off_at_any_byte_is_truncated() {
    for dtb in [rpi4(), QEMU_NUMA.to_vec()] {
        for bytes in 0..dtb.len() {
            let needed = if bytes < HEADER_BYTES { HEADER_BYTES } else { dtb.len() };
            assert_eq!(Tree::new(&dtb[..bytes]).unwrap_err(), TreeError::Truncated { bytes, needed });
        }
    }
}

#[test]
fn a_cut_tree_whose_header_agrees_is_whole_or_an_error() {
    let dtb = rpi4();
    for bytes in HEADER_BYTES..dtb.len() {
        let cut = patched(dtb[..bytes].to_vec(), TOTALSIZE * 4, bytes as u32);
        assert!(Tree::new(&cut).is_err(), "cut off at {bytes}");
        // The strings' length is made to agree as well: only names that are lost make an error now.
        let strings = bytes.saturating_sub(header(&dtb, STRINGS) as usize);
        survive(&patched(cut, STRINGS_BYTES * 4, strings as u32));
    }
}

#[test]
fn a_header_that_is_none_is_named() {
    assert_eq!(header_error(0, 0x5441_0001), TreeError::BadMagic { found: 0x5441_0001 });
    assert_eq!(header_error(VERSION, 16), TreeError::BadVersion { version: 16, compatible: 16 });
    assert_eq!(header_error(COMPATIBLE, 18), TreeError::BadVersion { version: 17, compatible: 18 });
    for totalsize in [0, 39, MAX_TREE_BYTES as u32 + 1, u32::MAX] {
        assert_eq!(header_error(TOTALSIZE, totalsize), TreeError::BadSize { totalsize });
    }
    let largest = patched(rpi4(), TOTALSIZE * 4, MAX_TREE_BYTES as u32);
    assert_eq!(check_header(&largest), Ok(MAX_TREE_BYTES));
}

#[test]
fn a_later_version_that_is_compatible_with_17_passes() {
    survive(&patched(rpi4(), VERSION * 4, 18));
    assert!(Tree::new(&patched(rpi4(), VERSION * 4, 18)).is_ok());
}

#[test]
fn a_block_outside_the_tree_or_unaligned_is_named() {
    use Block::{Reservations, Strings, Structure};
    let end = rpi4().len() as u32;
    let outside = [
        (RESERVATIONS, Reservations, end.next_multiple_of(8)),
        (STRUCTURE, Structure, end.next_multiple_of(4)),
        (STRINGS, Strings, end),
    ];
    for (index, block, offset) in outside {
        for offset in [offset, 0xffff_fff8] {
            assert_eq!(header_error(index, offset), TreeError::OutOfBounds { block, offset: offset as usize });
        }
        assert_eq!(header_error(index, 32), TreeError::Overlap { block, offset: 32 });
    }
    assert_eq!(header_error(RESERVATIONS, 44), TreeError::Misaligned { block: Reservations, offset: 44 });
    assert_eq!(header_error(STRUCTURE, 74), TreeError::Misaligned { block: Structure, offset: 74 });
    let offset = header(&rpi4(), STRINGS) as usize;
    assert_eq!(header_error(STRINGS_BYTES, u32::MAX), TreeError::OutOfBounds { block: Strings, offset });
    let offset = header(&rpi4(), STRUCTURE) as usize;
    assert_eq!(header_error(STRUCTURE_BYTES, u32::MAX), TreeError::OutOfBounds { block: Structure, offset });
}

#[test]
fn blocks_that_overlap_are_named() {
    let dtb = rpi4();
    let overlap = |index: usize, word| Tree::new(&patched(dtb.clone(), index * 4, word)).unwrap_err();
    let structure = header(&dtb, STRUCTURE);
    assert_eq!(
        overlap(STRINGS, structure + 8),
        TreeError::Overlap { block: Block::Strings, offset: structure as usize + 8 }
    );
    let error = overlap(STRUCTURE, header(&dtb, RESERVATIONS) + 8);
    assert_eq!(error, TreeError::Overlap { block: Block::Structure, offset: header(&dtb, RESERVATIONS) as usize + 8 });
}

#[test]
fn reservations_without_an_end_are_named() {
    let mut dtb = reserving(root(), &[(1, 1)]);
    let offset = header(&dtb, RESERVATIONS) as usize;
    dtb[offset..].fill(0xff);
    let error = TreeError::OutOfBounds { block: Block::Reservations, offset };
    assert_eq!(Tree::new(&dtb).unwrap_err(), error);
    assert_eq!(error.to_string(), "device tree: the memory reservation block at 0x28 reaches beyond the tree");
}

#[test]
fn a_node_opened_or_closed_where_it_may_not_be_is_named() {
    let dtb = dtb(node("").space(1, 1).with(node("a").flag("p")).with(node("b")));
    let start = header(&dtb, STRUCTURE) as usize;
    let last = start + header(&dtb, STRUCTURE_BYTES) as usize - 4;
    let bad = |offset, token| Tree::new(&patched(dtb.clone(), offset, token)).unwrap_err();
    // Something before the root; no root; a second root; the end inside the root; a word that is no token; a property behind a child.
    assert_eq!(bad(start, 4), TreeError::BadToken { token: 4, offset: start });
    assert_eq!(bad(start, 2), TreeError::BadToken { token: 2, offset: start });
    assert_eq!(bad(start, 9), TreeError::BadToken { token: 9, offset: start });
    assert_eq!(bad(last, 1), TreeError::BadToken { token: 1, offset: last });
    assert_eq!(bad(last, 3), TreeError::BadToken { token: 3, offset: last });
    assert_eq!(bad(last - 4, 9), TreeError::BadToken { token: 9, offset: last - 4 });
    assert_eq!(bad(last - 16, 0xdead), TreeError::BadToken { token: 0xdead, offset: last - 16 });
    assert_eq!(bad(last - 16, 3), TreeError::BadToken { token: 3, offset: last - 16 });
    // No end at all.
    assert_eq!(bad(last, 4), TreeError::Cut { offset: last + 4 });
}

#[test]
fn a_tree_is_only_so_deep() {
    let nested = |depth: usize| {
        dtb((1..depth).fold(node(if depth == 1 { "" } else { "n" }), |inner, level| {
            node(if level == depth - 1 { "" } else { "n" }).with(inner)
        }))
    };
    assert!(Tree::new(&nested(MAX_DEPTH)).is_ok());
    read_everything(&open(&nested(MAX_DEPTH)));
    assert!(matches!(Tree::new(&nested(MAX_DEPTH + 1)), Err(TreeError::TooDeep { .. })));
    assert!(matches!(Tree::new(&nested(2000)), Err(TreeError::TooDeep { .. })));
}

#[test]
fn names_longer_than_the_specification_allows_are_read() {
    // The first is in the trees of boards on sale; 31 is the specification's limit.
    let long = "snps,gfladj-refclk-lpm-sel-quirk";
    let dtb = dtb(root().with(node("interrupt-controller-with-a-long-name@8000000").flag(long)));
    assert!(long.len() > 31);
    assert!(dtoolkit::fdt::Fdt::new(&dtb).is_err(), "the reader's own check would refuse it");
    let found = open(&dtb).walk(|place, _| match place.node.property(long) {
        Some(_) => ControlFlow::Break(place.name()),
        None => ControlFlow::Continue(()),
    });
    assert_eq!(found, Some("interrupt-controller-with-a-long-name@8000000"));
}

#[test]
fn names_that_are_none_are_named() {
    let bad = |root: N| matches!(Tree::new(&dtb(root)), Err(TreeError::BadName { .. }));
    assert!(bad(root().with(node(""))));
    assert!(bad(root().with(node("a b"))));
    assert!(bad(root().with(node("a\u{7f}"))));
    assert!(bad(root().with(node("ä"))));
    assert!(bad(root().flag("")));
    assert!(bad(root().flag("a\n")));
    assert!(bad(root().with(node(&"x".repeat(MAX_NAME_BYTES + 1)))));
    assert!(!bad(root().with(node(&"x".repeat(MAX_NAME_BYTES)))));
    assert!(bad(root().flag(&"x".repeat(MAX_NAME_BYTES + 1))));
}

#[test]
fn a_node_that_contains_itself_by_reference_is_no_loop() {
    let intc = node("intc").cells("phandle", &[1]).cells("interrupt-parent", &[1]).flag("interrupt-controller");
    let timer = node("timer").text("compatible", &["arm,armv8-timer"]).cells("phandle", &[2]);
    let timer =
        timer.cells("interrupt-parent", &[2]).cells("interrupts", &[1; 12]).cells("#interrupt-cells", &[u32::MAX]);
    let aliases = node("aliases").text("a", &["b"]).text("b", &["a"]);
    survive(&dtb(root().with(intc).with(timer).with(aliases).with(node("chosen").text("stdout-path", &["a"]))));
}
