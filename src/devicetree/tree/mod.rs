// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opening a flattened device tree: the header first, then the whole of it, checked before anything is believed.
//!
//! The reader underneath ([`dtoolkit`]) panics on a tree that is not well formed, and its own validation refuses names
//! that are longer than the specification's 31 characters, which trees of real boards have. So the structure is
//! checked here ([`check`](self::check)), once, and everything that has passed can be read without a further error.
//! What the nodes mean is not this file's business.

mod check;

use core::fmt;
use core::ops::Range;

use dtoolkit::fdt::Fdt;

use super::named::Named;

/// Bytes of the header of a flattened device tree of version 17 (Devicetree Specification v0.4, section 5.2).
pub(crate) const HEADER_BYTES: usize = 40;

/// The largest tree that is accepted, in bytes. The arm64 boot protocol allows no more either.
pub(crate) const MAX_TREE_BYTES: usize = 2 << 20;

/// The deepest nesting of nodes that is accepted, the root being at depth 1. Walks over the tree recurse this far.
pub(crate) const MAX_DEPTH: usize = 32;

/// The longest name of a node or a property that is accepted, in bytes. The specification wants 31; trees of real
/// boards have more.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// The three blocks of a flattened device tree (Devicetree Specification v0.4, chapter 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// The memory reservation block: `/memreserve/`.
    Reservations,
    /// The structure block: nodes and properties.
    Structure,
    /// The strings block: the names of the properties.
    Strings,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reservations => "memory reservation block",
            Self::Structure => "structure block",
            Self::Strings => "strings block",
        })
    }
}

/// An error in a device tree. Offsets are in bytes from the start of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TreeError {
    /// Fewer bytes than the header, or than the header promises.
    Truncated {
        /// The bytes there are.
        bytes: usize,
        /// The bytes there should be.
        needed: usize,
    },
    /// The first word is not 0xd00dfeed.
    BadMagic {
        /// The word that is there.
        found: u32,
    },
    /// Neither version 17 nor compatible with it.
    BadVersion {
        /// The version of the tree.
        version: u32,
        /// The oldest version it is compatible with.
        compatible: u32,
    },
    /// The total size is below the header's, or above [`MAX_TREE_BYTES`].
    BadSize {
        /// The size the header gives.
        totalsize: u32,
    },
    /// A block starts or ends outside the tree, or runs on without an end.
    OutOfBounds {
        /// The block.
        block: Block,
        /// Its start.
        offset: usize,
    },
    /// A block does not start at a multiple of its alignment.
    Misaligned {
        /// The block.
        block: Block,
        /// Its start.
        offset: usize,
    },
    /// Two blocks, or a block and the header, have bytes in common.
    Overlap {
        /// The block that starts inside something else.
        block: Block,
        /// Its start.
        offset: usize,
    },
    /// A word in the structure block that is no token, or is one that may not stand there.
    BadToken {
        /// The word.
        token: u32,
        /// Its offset.
        offset: usize,
    },
    /// A token, a name or a value that runs over the end of the structure block.
    Cut {
        /// Its start.
        offset: usize,
    },
    /// A name that is empty, too long, without an end, or not printable ASCII.
    BadName {
        /// The offset of the name.
        offset: usize,
    },
    /// Nodes nested deeper than [`MAX_DEPTH`].
    TooDeep {
        /// The offset of the node.
        offset: usize,
    },
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("device tree: ")?;
        match self {
            Self::Truncated { bytes, needed } => write!(f, "truncated: {bytes} bytes of {needed}"),
            Self::BadMagic { found } => write!(f, "starts with {found:#010x}, not 0xd00dfeed"),
            Self::BadVersion { version, compatible } => {
                write!(f, "version {version}, compatible with {compatible}; 17 is needed")
            }
            Self::BadSize { totalsize } => {
                write!(f, "a size of {totalsize} bytes is not in {HEADER_BYTES}..={MAX_TREE_BYTES}")
            }
            Self::OutOfBounds { block, offset } => write!(f, "the {block} at {offset:#x} reaches beyond the tree"),
            Self::Misaligned { block, offset } => write!(f, "the {block} at {offset:#x} is not aligned"),
            Self::Overlap { block, offset } => write!(f, "the {block} at {offset:#x} overlaps another part"),
            Self::BadToken { token, offset } => write!(f, "{token:#x} at {offset:#x} may not stand there"),
            Self::Cut { offset } => write!(f, "what starts at {offset:#x} reaches beyond the structure block"),
            Self::BadName { offset } => write!(f, "the name at {offset:#x} is no name"),
            Self::TooDeep { offset } => write!(f, "the node at {offset:#x} is nested deeper than {MAX_DEPTH}"),
        }
    }
}

impl core::error::Error for TreeError {}

/// The header's fields, in bytes from the start of the tree.
struct Header {
    totalsize: usize,
    reservations: usize,
    structure: Range<usize>,
    strings: Range<usize>,
}

/// Returns the big-endian word at `offset`.
fn word(data: &[u8], offset: usize) -> Option<u32> {
    let bytes = data.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Reads and checks the header. Only its 40 bytes are looked at.
fn header(data: &[u8]) -> Result<Header, TreeError> {
    let field =
        |index: usize| word(data, index * 4).ok_or(TreeError::Truncated { bytes: data.len(), needed: HEADER_BYTES });
    let magic = field(0)?;
    if magic != 0xd00d_feed {
        return Err(TreeError::BadMagic { found: magic });
    }
    let totalsize = field(1)?;
    let (structure, strings, reservations) = (field(2)? as usize, field(3)? as usize, field(4)? as usize);
    let (version, compatible) = (field(5)?, field(6)?);
    let (strings_bytes, structure_bytes) = (field(8)? as usize, field(9)? as usize);
    if !(compatible..=version).contains(&17) {
        return Err(TreeError::BadVersion { version, compatible });
    }
    let end = totalsize as usize;
    if !(HEADER_BYTES..=MAX_TREE_BYTES).contains(&end) {
        return Err(TreeError::BadSize { totalsize });
    }
    let block = |block, offset: usize, bytes: usize, alignment: usize| {
        if !offset.is_multiple_of(alignment) {
            return Err(TreeError::Misaligned { block, offset });
        }
        if offset < HEADER_BYTES {
            return Err(TreeError::Overlap { block, offset });
        }
        match offset.checked_add(bytes) {
            Some(behind) if behind <= end => Ok(offset..behind),
            _ => Err(TreeError::OutOfBounds { block, offset }),
        }
    };
    Ok(Header {
        totalsize: end,
        // Its length is not in the header: at least the terminator, 16 bytes.
        reservations: block(Block::Reservations, reservations, 16, 8)?.start,
        structure: block(Block::Structure, structure, structure_bytes, 4)?,
        strings: block(Block::Strings, strings, strings_bytes, 1)?,
    })
}

/// Checks the first 40 bytes of a tree and gives the size of the whole tree in bytes.
///
/// For a kernel that maps the page with the header, and only then the rest of the tree.
///
/// # Errors
/// A defect of the header: magic, version, size, or the place of a block.
pub(crate) fn check_header(bytes: &[u8]) -> Result<usize, TreeError> {
    header(bytes).map(|header| header.totalsize)
}

/// A device tree whose structure has been checked.
///
/// The methods that say what is in it are with their subjects: memory, CPUs, console and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    pub(super) fdt: Fdt<'a>,
    pub(super) named: Named<'a>,
}

impl<'a> Tree<'a> {
    /// Checks the tree at the start of `data`, which may be longer than the tree.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    ///
    /// # Examples
    /// ```
    /// use crate::devicetree::{Tree, TreeError};
    ///
    /// // An ATAG list, as a boot loader hands it over that was not given a device tree.
    /// let atags = [5u8, 0, 0, 0, 1, 0, 0x41, 0x54];
    /// assert_eq!(Tree::new(&atags).unwrap_err(), TreeError::BadMagic { found: 0x0500_0000 });
    /// ```
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, TreeError> {
        let header = header(data)?;
        let Some(data) = data.get(..header.totalsize) else {
            return Err(TreeError::Truncated { bytes: data.len(), needed: header.totalsize });
        };
        check::reservations(data, &header)?;
        check::strings(data, &header)?;
        check::structure(data, &header)?;
        let fdt = Fdt::new_unchecked(data);
        Ok(Self { fdt, named: Named::below(&fdt.root()) })
    }
}
