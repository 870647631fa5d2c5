// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation tables as data: addresses, geometry, descriptors, walks, counts, and the traits to reach the machine.
//!
//! Portable and free of assembly. It knows the architecture, not the kernel: the linear map is in
//! [`crate::linear_map`].

mod address;
mod attributes;
mod counts;
mod descriptor;
mod dump;
mod edit;
mod frames;
mod geometry;
mod map;
mod range_frames;
mod tlbi;
mod traits;
mod tree;
mod walk;

#[cfg(test)]
pub(crate) mod fake;

pub use address::{PhysAddr, PhysRange, VirtAddr};
pub use attributes::{Attributes, MemoryType, Permissions, Scope};
pub use counts::{Hint, LeafCounts, MapStats, Part};
pub use descriptor::{Descriptor, Kind};
pub use dump::{Decoded, Run, Size};
pub use edit::{TemporaryBlocks, change_permissions, clear_entries, copy_entries, map_blocks, replace_leaf, unlink};
pub use frames::{BitmapFrames, FRAME_SIZE, FrameSource, FramesError, MAX_REGIONS};
pub use geometry::{Geometry, Granule, Level, VaBits};
pub use map::MapError;
pub use range_frames::RangeFrames;
pub use tlbi::{TlbiLevels, TlbiRange};
pub use traits::{Cpu, TableMemory, TlbiRepeat, TwoViews, invalidate, invalidate_everywhere, slot};
pub use tree::TableTree;
pub use walk::{Inherited, Visit};
