// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees that are broken at random: never a panic, never a loop without an end.

use core::fmt::Write;
use core::ops::ControlFlow;

use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use proptest::prelude::*;

use super::super::*;
use super::fixtures::*;
use super::tree::{STRINGS, STRINGS_BYTES, STRUCTURE, STRUCTURE_BYTES, TOTALSIZE, header, patched};
use crate::options::Bootargs;

/// Asks everything there is to ask of a tree, prints every answer, and reads every property of every node.
pub(super) fn read_everything(tree: &Tree<'_>) {
    let mut text = String::new();
    let mut print = |part: core::fmt::Arguments<'_>| text.write_fmt(part).unwrap();
    print(format_args!("{:?} {:?}", tree.model(), tree.bootargs()));
    tree.compatible().for_each(|name| print(format_args!("{name}")));
    match tree.memory() {
        Ok(map) => print(format_args!("{:?} {:?} {:?}", map, map.mapped(), map.free())),
        Err(error) => print(format_args!("{error}")),
    }
    for cpu in tree.cpus() {
        match cpu {
            Ok(cpu) => print(format_args!("{cpu:?} {}", cpu.enable_method)),
            Err(error) => print(format_args!("{error}")),
        }
    }
    let _ = tree.psci().map_err(|error| print(format_args!("{error}")));
    let _ = tree.interrupt_controller().map_err(|error| print(format_args!("{error}")));
    let _ = tree.counter_frequency().map_err(|error| print(format_args!("{error}")));
    let _ = tree.console().map_err(|error| print(format_args!("{error}")));
    let args = Bootargs::parse(tree.bootargs().unwrap_or_default());
    args.errors().for_each(|error| print(format_args!("{error}")));
    let end: Option<()> = tree.walk(|place, _| {
        let _ = place.registers(0).map_err(|error| print(format_args!("{error}")));
        ControlFlow::Continue(())
    });
    assert_eq!(end, None);
    read_nodes(&tree.fdt.root(), &mut print);
}

/// Reads every property of every node.
fn read_nodes(node: &FdtNode<'_>, print: &mut impl FnMut(core::fmt::Arguments<'_>)) {
    print(format_args!("{}", node.name()));
    node.properties().for_each(|property| print(format_args!("{}{:?}", property.name(), property.value())));
    node.children().for_each(|child| read_nodes(&child, print));
}

/// Reads the tree if it passes the check, prints the error if not.
pub(super) fn survive(dtb: &[u8]) {
    match Tree::new(dtb) {
        Ok(tree) => read_everything(&tree),
        Err(error) => assert!(error.to_string().starts_with("device tree: ")),
    }
}

/// Returns words that have a meaning somewhere in a tree, or nearly.
fn telling_word() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(2),
        Just(3),
        Just(4),
        Just(9),
        Just(u32::MAX),
        Just(u32::MAX - 3),
        Just(0x8000_0000),
        0u32..64,
        0u32..10_000,
        any::<u32>()
    ]
}

/// Returns a good tree.
fn some_tree() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(rpi4()), Just(rpi4_tfa()), Just(QEMU_NUMA.to_vec()), Just(QEMU_GICV2.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn random_bytes_in_a_tree_do_no_harm(
        mut dtb in some_tree(),
        bytes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        for (at, byte) in bytes {
            let at = at.index(dtb.len());
            dtb[at] = byte;
        }
        survive(&dtb);
    }

    #[test]
    fn telling_words_in_a_tree_do_no_harm(
        mut dtb in some_tree(),
        words in proptest::collection::vec((any::<prop::sample::Index>(), telling_word()), 1..6),
    ) {
        for (at, word) in words {
            let at = at.index(dtb.len() / 4) * 4;
            dtb = patched(dtb, at, word);
        }
        survive(&dtb);
    }

    #[test]
    fn telling_words_in_the_header_do_no_harm(
        mut dtb in some_tree(),
        words in proptest::collection::vec((1usize..10, telling_word()), 1..4),
    ) {
        for (index, word) in words {
            dtb = patched(dtb, index * 4, word);
        }
        survive(&dtb);
    }

    #[test]
    fn parts_of_a_tree_put_elsewhere_do_no_harm(
        mut dtb in some_tree(),
        from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), words in 1usize..64,
    ) {
        let length = (words * 4).min(dtb.len() / 2);
        let from = from.index(dtb.len() - length) / 4 * 4;
        let to = to.index(dtb.len() - length) / 4 * 4;
        dtb.copy_within(from..from + length, to);
        survive(&dtb);
    }

    #[test]
    fn anything_at_all_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
        let _ = check_header(&bytes);
    }

    #[test]
    fn any_structure_block_does_no_harm(words in proptest::collection::vec(telling_word(), 0..80)) {
        let mut dtb = dtb(node(""));
        dtb.truncate(header(&dtb, STRUCTURE) as usize);
        words.iter().for_each(|word| dtb.extend(word.to_be_bytes()));
        dtb.extend(b"reg\0compatible\0status\0");
        let strings = dtb.len() - 22;
        dtb = patched(dtb.clone(), TOTALSIZE * 4, dtb.len() as u32);
        dtb = patched(dtb, STRINGS * 4, strings as u32);
        dtb = patched(dtb, STRINGS_BYTES * 4, 22);
        survive(&patched(dtb, STRUCTURE_BYTES * 4, words.len() as u32 * 4));
    }
}
