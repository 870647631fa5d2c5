// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attributes of a leaf: memory type, permissions of EL1, and global or of one address space.
//!
//! Arm ARM, DDI 0487 (issue L.b numbering): D8.3.3 for the fields of a leaf.

use tock_registers::fields::FieldValue;

use super::address::PhysAddr;
use super::descriptor::{ADDRESS_MASK, Descriptor, STAGE1};
use super::geometry::Level;

/// The accesses that a leaf allows at EL1. Nothing here is accessible from EL0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permissions {
    /// Read and write, never execute.
    ReadWrite,
    /// Read only, never execute.
    ReadOnly,
    /// Read and execute, never write.
    ReadExecute,
}

/// The kind of memory that a leaf maps; the discriminant is the index into MAIR_EL1, for which [`crate::aarch64::MAIR_EL1`] is the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Normal, inner and outer write-back, read- and write-allocate.
    Normal = 0,
    /// Device-nGnRE.
    Device = 1,
    /// Normal, non-cacheable.
    NonCacheable = 2,
}

/// The address spaces that a leaf holds for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// nG = 0: every address space.
    Global,
    /// nG = 1: this ASID only.
    AddressSpace,
}

impl Scope {
    const fn field(self) -> FieldValue<u64, STAGE1::Register> {
        match self {
            Self::Global => STAGE1::NG::CLEAR,
            Self::AddressSpace => STAGE1::NG::SET,
        }
    }
}

/// The attributes of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Kind of memory.
    pub memory: MemoryType,
    /// The accesses that EL1 may make.
    pub permissions: Permissions,
    /// Global or of one address space.
    pub scope: Scope,
}

impl Attributes {
    /// Normal memory, read and write, global: what the linear map gives.
    pub const NORMAL: Self =
        Self { memory: MemoryType::Normal, permissions: Permissions::ReadWrite, scope: Scope::Global };

    /// Returns the same attributes with other permissions.
    #[must_use]
    pub const fn with_permissions(self, permissions: Permissions) -> Self {
        Self { permissions, ..self }
    }

    /// Returns the leaf of `level` that maps `output`, with AF and UXN set. Device memory is outer shareable by nature
    /// (Arm ARM B2.10.2) and its SH field is ignored, so inner shareable is right for all memory types.
    #[must_use]
    pub fn leaf(self, output: PhysAddr, level: Level) -> Descriptor {
        let page = if matches!(level, Level::L3) { STAGE1::TYPE::SET } else { STAGE1::TYPE::CLEAR };
        let permissions = match self.permissions {
            Permissions::ReadWrite => STAGE1::AP_READ_ONLY::CLEAR + STAGE1::PXN::SET,
            Permissions::ReadOnly => STAGE1::AP_READ_ONLY::SET + STAGE1::PXN::SET,
            Permissions::ReadExecute => STAGE1::AP_READ_ONLY::SET + STAGE1::PXN::CLEAR,
        };
        Descriptor(output.0 & ADDRESS_MASK).with(
            STAGE1::VALID::SET
                + page
                + STAGE1::AF::SET
                + STAGE1::SH::InnerShareable
                + STAGE1::UXN::SET
                + STAGE1::ATTR_INDEX.val(self.memory as u64)
                + permissions
                + self.scope.field(),
        )
    }
}

impl Descriptor {
    /// Returns the same leaf for the address spaces of `scope`.
    #[must_use]
    pub fn with_scope(self, scope: Scope) -> Self {
        self.with(scope.field())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_the_bits_of_the_arm_arm() {
        // Figures D8-14 and D8-15, worked by hand: UXN 54, PXN 53, AF 10, SH 9:8 = 0b11, AP[2] 7, AttrIndx 4:2.
        let page = Attributes::NORMAL.leaf(PhysAddr(0x4000_3000), Level::L3);
        assert_eq!(page.0, 0x0060_0000_4000_3703);
        let block = Attributes::NORMAL.leaf(PhysAddr(0x4020_0000), Level::L2);
        assert_eq!(block.0, 0x0060_0000_4020_0701);
        let text = Attributes::NORMAL.with_permissions(Permissions::ReadExecute).leaf(PhysAddr(0x1000), Level::L3);
        assert_eq!(text.0, 0x0040_0000_0000_1783);
        let device = Attributes { memory: MemoryType::Device, ..Attributes::NORMAL };
        assert_eq!(device.leaf(PhysAddr(0x900_0000), Level::L3).0, 0x0060_0000_0900_0707);
        let one_space = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };
        assert_eq!(one_space.leaf(PhysAddr(0), Level::L1).0, 0x0060_0000_0000_0f01);
        assert_eq!(Descriptor::table(PhysAddr(0x4567_8000)).0, 0x4567_8003);
    }
}
