// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes below the root that every part of the tree asks for by name.

use dtoolkit::Node;
use dtoolkit::fdt::FdtNode;

/// The children of the root that are asked for by name, found once: each search would go over all that is below the root.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named<'a> {
    pub(super) aliases: Option<FdtNode<'a>>,
    pub(super) chosen: Option<FdtNode<'a>>,
    pub(super) cpus: Option<FdtNode<'a>>,
    pub(super) reserved_memory: Option<FdtNode<'a>>,
    pub(super) psci: Option<FdtNode<'a>>,
    pub(super) timer: Option<FdtNode<'a>>,
}

impl<'a> Named<'a> {
    /// Returns the first child of each name; a unit address, which none of them should have, makes no difference.
    pub(super) fn below(root: &FdtNode<'a>) -> Self {
        let mut named = Self::default();
        for node in root.children() {
            let place = match node.name_without_address() {
                "aliases" => &mut named.aliases,
                "chosen" => &mut named.chosen,
                "cpus" => &mut named.cpus,
                "reserved-memory" => &mut named.reserved_memory,
                "psci" => &mut named.psci,
                "timer" => &mut named.timer,
                _ => continue,
            };
            place.get_or_insert(node);
        }
        named
    }
}
