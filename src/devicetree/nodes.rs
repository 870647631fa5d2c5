// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to nodes: a walk that knows a node's parents, properties as text and numbers, and the translation of a bus
//! address to a physical one.

use core::fmt;
use core::ops::ControlFlow;

use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::Reg;
use dtoolkit::{Node, Property};

use super::tree::Tree;
use cleave::tables::{PhysAddr, PhysRange};

/// A property that is missing or does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadProperty<'a> {
    /// The node's name, with its unit address.
    pub(crate) node: &'a str,
    /// The property's name.
    pub(crate) property: &'static str,
    /// Its defect.
    pub(crate) fault: PropertyFault<'a>,
}

/// A defect of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropertyFault<'a> {
    /// It is not there.
    Missing,
    /// It has fewer elements than are needed.
    TooShort,
    /// Its length is not a multiple of what one element takes.
    BadLength {
        /// Its length in bytes.
        bytes: usize,
    },
    /// An address or a size has more than two cells.
    TooWide,
    /// A range that ends beyond 64 bits.
    Overflow {
        /// Its start.
        start: u64,
        /// Its length in bytes.
        bytes: u64,
    },
    /// An address that a bus above the node does not pass on to its parent.
    Untranslatable {
        /// The name of the bus.
        bus: &'a str,
        /// The address on that bus.
        address: u64,
    },
    /// Its value is none of those that are known.
    BadValue {
        /// The value.
        value: u64,
    },
    /// It is not text.
    NotText,
}

impl fmt::Display for BadProperty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = if self.node.is_empty() { "/" } else { self.node };
        write!(f, "{} of {node} ", self.property)?;
        match self.fault {
            PropertyFault::Missing => f.write_str("is missing"),
            PropertyFault::TooShort => f.write_str("has too few elements"),
            PropertyFault::BadLength { bytes } => write!(f, "has a length of {bytes} bytes, which is no whole element"),
            PropertyFault::TooWide => f.write_str("has more than 64 bits"),
            PropertyFault::Overflow { start, bytes } => {
                write!(f, "reaches beyond 64 bits: {bytes:#x} bytes at {start:#x}")
            }
            PropertyFault::Untranslatable { bus, address } => {
                write!(f, "has {address:#x}, which the bus {bus} does not pass on")
            }
            PropertyFault::BadValue { value } => write!(f, "has the unknown value {value:#x}"),
            PropertyFault::NotText => f.write_str("is not text"),
        }
    }
}

impl core::error::Error for BadProperty<'_> {}

/// A node and the nodes above it.
#[derive(Clone, Copy)]
pub(super) struct Place<'p, 'a> {
    pub(super) node: FdtNode<'a>,
    parent: Option<&'p Place<'p, 'a>>,
}

/// A node's properties, read in one pass.
#[derive(Clone, Copy, Default)]
pub(super) struct Sight<'a> {
    compatible: &'a [u8],
    pub(super) phandle: &'a [u8],
    pub(super) is_controller: bool,
    has_reg: bool,
    has_ranges: bool,
}

impl<'a> Sight<'a> {
    /// Goes through the properties once: looking each up by its name would go through them every time.
    fn of(node: &FdtNode<'a>) -> Self {
        let mut sight = Self::default();
        for property in node.properties() {
            let value = property.value_as::<&'a [u8]>().unwrap_or_default();
            match property.name() {
                "compatible" => sight.compatible = value,
                "phandle" => sight.phandle = value,
                "interrupt-controller" => sight.is_controller = true,
                "reg" => sight.has_reg = true,
                "ranges" => sight.has_ranges = true,
                _ => {}
            }
        }
        sight
    }

    /// Returns true when the node is compatible with one of `names`.
    pub(super) fn is_compatible(&self, names: &[&str]) -> bool {
        self.compatible.split(|&byte| byte == 0).any(|own| names.iter().any(|name| name.as_bytes() == own))
    }
}

impl<'a> Tree<'a> {
    /// Calls `visit` for every node that can be a device with addresses of its own, parents before their children,
    /// until it breaks off. Left out is what is below `/cpus`, and what is below a device that is no bus.
    pub(super) fn walk<B>(&self, mut visit: impl FnMut(&Place<'_, 'a>, &Sight<'a>) -> ControlFlow<B>) -> Option<B> {
        descend(&Place { node: self.fdt.root(), parent: None }, &mut visit).break_value()
    }

    /// Looks at the first node that is switched on and compatible with one of `names`. `usual` is the child of the root that
    /// it is in nearly every tree; only without that, all nodes are searched.
    pub(super) fn find<R>(
        &self,
        usual: Option<FdtNode<'a>>,
        names: &[&str],
        look: impl Fn(&Place<'_, 'a>) -> R,
    ) -> Option<R> {
        if let Some(node) = usual.filter(|node| is_compatible(node, names) && is_available(node)) {
            return Some(look(&Place { node, parent: Some(&Place { node: self.fdt.root(), parent: None }) }));
        }
        self.walk(|place, sight| {
            let found = sight.is_compatible(names) && place.is_available();
            if found { ControlFlow::Break(look(place)) } else { ControlFlow::Continue(()) }
        })
    }

    /// Calls `found` with the node of an absolute path, if there is one.
    pub(super) fn at_path<R>(&self, path: &str, found: impl FnOnce(&Place<'_, 'a>) -> R) -> Option<R> {
        let path = path.strip_prefix('/')?;
        follow(&Place { node: self.fdt.root(), parent: None }, path, found)
    }
}

/// Walks the nodes below `place`. It recurses as deep as the tree, which is at most
/// [`MAX_DEPTH`](super::tree::MAX_DEPTH).
fn descend<'a, B>(
    place: &Place<'_, 'a>,
    visit: &mut impl FnMut(&Place<'_, 'a>, &Sight<'a>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    for node in place.node.children() {
        let inner = Place { node, parent: Some(place) };
        let sight = Sight::of(&node);
        visit(&inner, &sight)?;
        let is_bus = sight.has_ranges || !sight.has_reg;
        if is_bus && node.name() != "cpus" {
            descend(&inner, visit)?;
        }
    }
    ControlFlow::Continue(())
}

/// Goes down `path` from `place`, one name a step. As deep as the tree.
fn follow<'a, R>(place: &Place<'_, 'a>, path: &str, found: impl FnOnce(&Place<'_, 'a>) -> R) -> Option<R> {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Some(found(place));
    }
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let node = place.node.child(name)?;
    follow(&Place { node, parent: Some(place) }, rest, found)
}

impl<'a> Place<'_, 'a> {
    /// Returns true when neither the node nor a bus above it is switched off.
    pub(super) fn is_available(&self) -> bool {
        is_available(&self.node) && self.parent.is_none_or(Self::is_available)
    }

    /// Returns the node's name, with its unit address.
    pub(super) fn name(&self) -> &'a str {
        self.node.name()
    }

    /// Returns the property `name` as a number of one or two cells, if it is there.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, BadProperty<'a>> {
        let Some(value) = bytes(&self.node, name) else {
            return Ok(None);
        };
        let fault = PropertyFault::BadLength { bytes: value.len() };
        number(value).map(Some).ok_or(bad(&self.node, name, fault))
    }

    /// Returns the property `name` of this node or of the nearest node above that has it.
    pub(super) fn inherited(&self, name: &str) -> Option<&'a [u8]> {
        bytes(&self.node, name).or_else(|| self.parent?.inherited(name))
    }

    /// Returns entry `index` of `reg`, as a physical range: translated through the `ranges` of every bus above.
    pub(super) fn registers(&self, index: usize) -> Result<PhysRange, BadProperty<'a>> {
        let bad = |fault| bad(&self.node, "reg", fault);
        let mut entries = regs(&self.node)?;
        let (address, size) = entries.nth(index).ok_or(bad(PropertyFault::TooShort))??;
        let address = match self.parent {
            Some(bus) => bus.translate(address, size).map_err(bad)?,
            None => address,
        };
        range(address, size).map_err(bad)
    }

    /// Passes an address on this node's own bus up to the root (Devicetree Specification v0.4, section 2.3.8).
    fn translate(&self, address: u64, size: u64) -> Result<u64, PropertyFault<'a>> {
        let Some(parent) = self.parent else {
            return Ok(address);
        };
        let lost = PropertyFault::Untranslatable { bus: self.node.name(), address };
        // No `ranges`: the bus passes nothing on. Empty: it passes on everything as it is.
        let value = bytes(&self.node, "ranges").ok_or(lost)?;
        if value.is_empty() {
            return parent.translate(address, size);
        }
        for entry in self.node.ranges().ok().flatten().ok_or(lost)? {
            let (Ok(from), Ok(to), Ok(length)) =
                (entry.child_bus_address::<u64>(), entry.parent_bus_address::<u64>(), entry.length::<u64>())
            else {
                continue;
            };
            let Some(offset) = address.checked_sub(from) else { continue };
            if offset < length && size <= length - offset {
                return parent.translate(to.checked_add(offset).ok_or(lost)?, size);
            }
        }
        Err(lost)
    }
}

/// Returns the value of the property `name`.
pub(super) fn bytes<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    node.property(name)?.value_as::<&'a [u8]>().ok()
}

/// Returns the property `name` as text. `None` when it is missing or not UTF-8.
pub(super) fn text<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a str> {
    as_text(bytes(node, name)?)
}

/// Returns a value as text: up to its first NUL. `None` when that is not UTF-8.
pub(super) fn as_text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    core::str::from_utf8(value.get(..end)?).ok()
}

/// Returns a number of one or two cells.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(u32::from_be_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// Returns the strings of the list `name`, such as `compatible`.
pub(super) fn strings<'a>(node: &FdtNode<'a>, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    split(bytes(node, name).unwrap_or_default())
}

/// Returns the strings of a list, each ended by a NUL.
pub(super) fn split(value: &[u8]) -> impl Iterator<Item = &str> {
    let parts = value.split(|&byte| byte == 0).filter(|part| !part.is_empty());
    parts.filter_map(|part| core::str::from_utf8(part).ok())
}

/// Returns true when the node is compatible with one of `names`.
pub(super) fn is_compatible(node: &FdtNode<'_>, names: &[&str]) -> bool {
    strings(node, "compatible").any(|compatible| names.contains(&compatible))
}

/// Returns true when the node is switched on: for no `status` at all and for "okay" (Devicetree Specification v0.4,
/// section 2.3.4; "ok" is an old form).
pub(super) fn is_available(node: &FdtNode<'_>) -> bool {
    bytes(node, "status").is_none_or(|status| matches!(as_text(status), Some("okay" | "ok")))
}

/// Returns the error for a property of `node`.
pub(super) fn bad<'a>(node: &FdtNode<'a>, property: &'static str, fault: PropertyFault<'a>) -> BadProperty<'a> {
    BadProperty { node: node.name(), property, fault }
}

/// Returns the range of `size` bytes at `address`.
pub(super) fn range<'a>(address: u64, size: u64) -> Result<PhysRange, PropertyFault<'a>> {
    let end = address.checked_add(size).ok_or(PropertyFault::Overflow { start: address, bytes: size })?;
    Ok(PhysRange::new(PhysAddr(address), PhysAddr(end)))
}

/// Returns the entries of `reg` as addresses and sizes on the parent's bus.
pub(super) fn regs<'a>(
    node: &FdtNode<'a>,
) -> Result<impl Iterator<Item = Result<(u64, u64), BadProperty<'a>>> + use<'a>, BadProperty<'a>> {
    let node = *node;
    let entries = match node.reg() {
        Ok(Some(entries)) => entries,
        Ok(None) => return Err(bad(&node, "reg", PropertyFault::Missing)),
        Err(_) => {
            let bytes = bytes(&node, "reg").map_or(0, <[u8]>::len);
            return Err(bad(&node, "reg", PropertyFault::BadLength { bytes }));
        }
    };
    Ok(entries.map(move |reg: Reg<'a>| match (reg.address::<u64>(), reg.size::<u64>()) {
        (Ok(address), Ok(size)) => Ok((address, size)),
        _ => Err(bad(&node, "reg", PropertyFault::TooWide)),
    }))
}
