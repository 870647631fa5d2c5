// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 1 translation table descriptors as data. The attributes of a new leaf are in `attributes`.
//!
//! Figures and tables cited are those of the Arm ARM, DDI 0487 (issue L.b numbering): D8.3.1 "VMSAv8-64 descriptor
//! formats" for the layout, D8.3.2 and D8.3.3 for table and leaf attributes, D8.7.1 for the Contiguous bit.

use core::fmt;

use tock_registers::LocalRegisterCopy;
use tock_registers::fields::FieldValue;

use super::address::PhysAddr;
use super::geometry::{Geometry, Level};

/// The bit fields; the macro documents no constants of its own.
#[allow(missing_docs, clippy::module_name_repetitions, reason = "the items the macro makes carry no documentation")]
mod fields {
    use tock_registers::register_bitfields;

    register_bitfields! {u64,
        /// Fields of a stage 1 descriptor. Table attributes sit in bits 63:59, leaf attributes below and from bit 50 up.
        pub STAGE1 [
            /// Table only: NSTable.
            NS_TABLE OFFSET(63) NUMBITS(1) [],
            /// Table only: APTable, what leaves below may at most allow (Table D8-68).
            AP_TABLE OFFSET(61) NUMBITS(2) [],
            /// Table only: UXNTable.
            UXN_TABLE OFFSET(60) NUMBITS(1) [],
            /// Table only: PXNTable.
            PXN_TABLE OFFSET(59) NUMBITS(1) [],
            /// Leaf: unprivileged execute-never.
            UXN OFFSET(54) NUMBITS(1) [],
            /// Leaf: privileged execute-never.
            PXN OFFSET(53) NUMBITS(1) [],
            /// Leaf: one of an aligned group that a TLB may hold as one entry.
            CONTIGUOUS OFFSET(52) NUMBITS(1) [],
            /// Leaf: dirty bit modifier; unused here, hardware updates are off (TCR_EL1.HA, HD = 0).
            DBM OFFSET(51) NUMBITS(1) [],
            /// Leaf: not global, matched with the ASID.
            NG OFFSET(11) NUMBITS(1) [],
            /// Leaf: access flag; 0 faults, so it is always set.
            AF OFFSET(10) NUMBITS(1) [],
            /// Leaf: shareability (Table D8-104).
            SH OFFSET(8) NUMBITS(2) [
                NonShareable = 0b00,
                OuterShareable = 0b10,
                InnerShareable = 0b11
            ],
            /// Leaf: AP[2], read-only when set.
            AP_READ_ONLY OFFSET(7) NUMBITS(1) [],
            /// Leaf: AP[1], accessible from EL0 when set.
            AP_EL0 OFFSET(6) NUMBITS(1) [],
            /// Leaf: index into MAIR_EL1.
            ATTR_INDEX OFFSET(2) NUMBITS(3) [],
            /// 1: table (levels 0 to 2) or page (level 3); 0: block, reserved at level 3.
            TYPE OFFSET(1) NUMBITS(1) [],
            /// 0: the walker faults and hardware ignores every other bit.
            VALID OFFSET(0) NUMBITS(1) []
        ]
    }
}

pub(super) use fields::STAGE1;

/// A 64-bit descriptor as it stands in a table. What it means depends on the level: see [`Descriptor::kind`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct Descriptor(pub u64);

/// The kind of a descriptor of a given level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All zero: nothing is mapped here.
    Empty,
    /// The next table.
    Table(PhysAddr),
    /// A block or page at this output address.
    Leaf(PhysAddr),
    /// A block or page that is present but was made invalid (a guard page, secret memory): the walker faults, the
    /// software remembers address and attributes. A split must keep it invalid.
    InvalidLeaf(PhysAddr),
    /// A bit pattern the architecture reserves at this level.
    Reserved,
}

/// Bits 47:12 hold the output address (upper bits of a leaf's or table's address; the lower ones are zero by
/// alignment). 48-bit addresses only.
pub(super) const ADDRESS_MASK: u64 = 0x0000_ffff_ffff_f000;

/// The bit of a leaf that says: one of a contiguous group, to which it comes back.
const MARK: u64 = 1 << 55;

impl Descriptor {
    /// The descriptor that maps nothing.
    pub const EMPTY: Self = Self(0);

    fn fields(self) -> LocalRegisterCopy<u64, STAGE1::Register> {
        LocalRegisterCopy::new(self.0)
    }

    /// Returns a table descriptor without restrictions on the levels below.
    #[must_use]
    pub fn table(table: PhysAddr) -> Self {
        Self((table.0 & ADDRESS_MASK) | (STAGE1::VALID::SET + STAGE1::TYPE::SET).value)
    }

    /// Returns the kind of this descriptor in a table of `level`.
    #[must_use]
    #[inline(always)]
    pub fn kind(self, geometry: Geometry, level: Level) -> Kind {
        if self.0 == 0 {
            return Kind::Empty;
        }
        let address = PhysAddr(self.0 & ADDRESS_MASK & !(geometry.page_size() - 1));
        let leaf = PhysAddr(address.0 & !(geometry.size(level) - 1));
        let table_or_page = self.fields().is_set(STAGE1::TYPE);
        match (self.is_valid(), level, table_or_page) {
            (true, Level::L3, true) => Kind::Leaf(leaf),
            (true, Level::L3, false) => Kind::Reserved,
            (true, _, true) => Kind::Table(address),
            (true, _, false) if geometry.leaf_allowed(level) => Kind::Leaf(leaf),
            (true, _, false) => Kind::Reserved,
            (false, Level::L3, true) => Kind::InvalidLeaf(leaf),
            (false, Level::L1 | Level::L2, false) if geometry.leaf_allowed(level) => Kind::InvalidLeaf(leaf),
            (false, _, _) => Kind::Reserved,
        }
    }

    /// Returns true when a walker may use the descriptor.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.fields().is_set(STAGE1::VALID)
    }

    /// Returns true when the Contiguous bit is set.
    #[must_use]
    pub fn is_contiguous(self) -> bool {
        self.fields().is_set(STAGE1::CONTIGUOUS)
    }

    /// Returns true when EL1 may write through this leaf, restrictions of tables above not counted.
    #[must_use]
    pub fn is_writable(self) -> bool {
        !self.fields().is_set(STAGE1::AP_READ_ONLY)
    }

    /// Returns true when EL1 may fetch instructions through this leaf, restrictions of tables above not counted.
    #[must_use]
    pub fn is_executable(self) -> bool {
        !self.fields().is_set(STAGE1::PXN)
    }

    /// Returns true when the access flag is set.
    #[must_use]
    pub fn is_accessed(self) -> bool {
        self.fields().is_set(STAGE1::AF)
    }

    /// Returns the index into MAIR_EL1.
    #[must_use]
    pub fn attr_index(self) -> u8 {
        self.fields().read(STAGE1::ATTR_INDEX) as u8
    }

    pub(super) fn with(self, value: FieldValue<u64, STAGE1::Register>) -> Self {
        let mut fields = self.fields();
        fields.modify(value);
        Self(fields.get())
    }

    /// Returns the same leaf with the Contiguous bit.
    #[must_use]
    pub fn with_contiguous(self) -> Self {
        self.with(STAGE1::CONTIGUOUS::SET)
    }

    /// Returns the same leaf without the Contiguous bit.
    #[must_use]
    pub fn without_contiguous(self) -> Self {
        self.with(STAGE1::CONTIGUOUS::CLEAR)
    }

    /// Returns the same leaf, present but invalid.
    #[must_use]
    pub fn made_invalid(self) -> Self {
        self.with(STAGE1::VALID::CLEAR)
    }

    /// Returns the same leaf, valid.
    #[must_use]
    pub fn made_valid(self) -> Self {
        self.with(STAGE1::VALID::SET)
    }

    /// Returns the same leaf with the mark of a member of a contiguous group that is taken apart for a moment. The mark is bit
    /// 55, one of those that the hardware leaves to software (Arm ARM D8.3.3).
    #[must_use]
    pub(crate) fn marked(self) -> Self {
        Self(self.0 | MARK)
    }

    /// Returns the same leaf without the mark.
    #[must_use]
    pub(crate) fn unmarked(self) -> Self {
        Self(self.0 & !MARK)
    }

    /// Returns true when the leaf has the mark.
    #[must_use]
    pub(crate) fn is_marked(self) -> bool {
        self.0 & MARK != 0
    }

    /// Returns the same leaf, read-only for EL1.
    #[must_use]
    pub fn made_read_only(self) -> Self {
        self.with(STAGE1::AP_READ_ONLY::SET)
    }

    /// Returns the same leaf, writable for EL1.
    #[must_use]
    pub fn made_writable(self) -> Self {
        self.with(STAGE1::AP_READ_ONLY::CLEAR)
    }

    /// Returns the table descriptor of another table with the same restrictions (NSTable, APTable, UXNTable, PXNTable).
    #[must_use]
    pub fn retargeted(self, table: PhysAddr) -> Self {
        Self((self.0 & !ADDRESS_MASK) | (table.0 & ADDRESS_MASK))
    }

    /// Returns the first of the leaves that replace one leaf of `level` in a table of the next level. Output address,
    /// attributes and validity are the same. The Contiguous bit is cleared, since the group is gone, and bit 1 is as
    /// the next level requires (Arm ARM D8.3.1: a page has it set, a block has it clear). The other leaves follow at
    /// [`Geometry::size`] of the next level.
    #[must_use]
    pub fn split_child(self, child_level: Level) -> Self {
        let page = if matches!(child_level, Level::L3) { STAGE1::TYPE::SET } else { STAGE1::TYPE::CLEAR };
        self.with(page + STAGE1::CONTIGUOUS::CLEAR)
    }

    /// Returns the block of a table's level that the leaves of that table become, whose first one this is: the reverse of
    /// [`Descriptor::split_child`]. Its output address is the caller's to check.
    #[must_use]
    pub fn merged(self) -> Self {
        // A block, at each level that has blocks (Arm ARM D8.3.1).
        self.with(STAGE1::TYPE::CLEAR + STAGE1::CONTIGUOUS::CLEAR)
    }

    /// Returns the attributes of a leaf: every bit but the output address, the Contiguous bit and the type bit, which
    /// are the only bits that a split may change.
    #[must_use]
    pub fn attributes(self) -> u64 {
        let unchanging = STAGE1::TYPE::SET + STAGE1::CONTIGUOUS::SET;
        self.0 & !ADDRESS_MASK & !unchanging.value
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Attributes;
    use super::*;

    const K4: Geometry = Geometry::K4_V48;

    #[test]
    fn the_kind_depends_on_the_level() {
        let table_or_page = Descriptor(0x4567_8003);
        assert_eq!(table_or_page.kind(K4, Level::L2), Kind::Table(PhysAddr(0x4567_8000)));
        assert_eq!(table_or_page.kind(K4, Level::L3), Kind::Leaf(PhysAddr(0x4567_8000)));
        let block = Descriptor(0x4000_0401);
        assert_eq!(block.kind(K4, Level::L0), Kind::Reserved);
        assert_eq!(block.kind(K4, Level::L1), Kind::Leaf(PhysAddr(0x4000_0000)));
        assert_eq!(block.kind(K4, Level::L3), Kind::Reserved);
        let k16 = Geometry { granule: super::super::Granule::K16, ..K4 };
        assert_eq!(block.kind(k16, Level::L1), Kind::Reserved);
        assert_eq!(Descriptor::EMPTY.kind(K4, Level::L1), Kind::Empty);
    }

    #[test]
    fn an_invalid_leaf_keeps_address_and_attributes_when_it_is_split() {
        let block = Attributes::NORMAL.leaf(PhysAddr(0x4020_0000), Level::L2).made_invalid();
        assert_eq!(block.kind(K4, Level::L2), Kind::InvalidLeaf(PhysAddr(0x4020_0000)));
        let page = block.split_child(Level::L3);
        assert!(!page.is_valid());
        assert_eq!(page.kind(K4, Level::L3), Kind::InvalidLeaf(PhysAddr(0x4020_0000)));
        assert_eq!(page.attributes(), block.attributes());
    }

    #[test]
    fn a_split_clears_the_hint_and_carries_every_other_bit() {
        let every_attribute = 0x0078_0000_0000_0ffd & !(1 << 52);
        let block = Descriptor(0x4020_0000 | every_attribute | 1 << 52);
        let page = block.split_child(Level::L3);
        assert_eq!(page.0, 0x4020_0000 | every_attribute | 0b10);
        assert!(!page.is_contiguous());
        assert_eq!(page.attributes(), block.attributes());
        let level2 = Descriptor(0x4000_0000 | every_attribute).split_child(Level::L2);
        assert_eq!(level2.0, 0x4000_0000 | every_attribute);
    }

    #[test]
    fn a_table_keeps_its_restrictions_when_it_is_copied() {
        let restricted = Descriptor(0xf800_0000_4567_8003);
        assert_eq!(restricted.retargeted(PhysAddr(0x1_2345_6000)).0, 0xf800_0001_2345_6003);
    }
}
