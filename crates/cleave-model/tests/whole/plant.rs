// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modified maps: leaves made read-only or invalid before any CPU has used them.

use crate::world::World;
use cleave::tables::{Descriptor, Kind, PhysRange, VirtAddr};

/// Changes some leaves, groups as a whole, by the case's lot.
pub(crate) fn plant(world: &World<'_>) {
    let Some(seed) = world.case.planted else { return };
    let mut lots = seed | 1;
    let mut lot = move |bound: u64| {
        lots = lots.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (lots >> 33) % bound
    };
    // Tables are written through the map.
    let kept = [world.case.frames, world.case.first, world.case.alias];
    let geometry = world.case.geometry;
    let (mut changes, mut group) = (Vec::new(), (0, 0));
    world.eye().visit(|visit| {
        let Kind::Leaf(output) = visit.kind else { return };
        let bytes = geometry.size(visit.level);
        if kept.iter().any(|kept| kept.overlaps(PhysRange::new(output, output.offset(bytes)))) {
            return;
        }
        let members = geometry.contiguous(visit.level).unwrap_or(1) as u64;
        let key = (visit.slot.0 / (8 * members), visit.descriptor.is_contiguous());
        if !(key.1 && group.0 == key.0) {
            group = (key.0, lot(6));
        }
        let leaf = visit.descriptor;
        match group.1 {
            0 => changes.push((visit.slot, leaf.made_invalid())),
            1 => changes.push((visit.slot, Descriptor(leaf.0 | 1 << 7))),
            _ => {}
        }
    });
    for (at, value) in changes {
        world.machine.poke(at, value);
    }
}

/// An address of every leaf.
pub(crate) fn usable(world: &World<'_>) -> Vec<VirtAddr> {
    let mut usable = Vec::new();
    world.eye().visit(|visit| {
        if let Kind::Leaf(_) = visit.kind {
            usable.push(visit.address);
        }
    });
    usable
}
