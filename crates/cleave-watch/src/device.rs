// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses to devices, by the form of their instruction.

use std::collections::BTreeSet;

/// The accesses to devices that were seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Devices {
    /// Stores to devices.
    pub(crate) stores: u64,
    /// Instructions that reached a device and whose abort has no valid syndrome, by address.
    pub(crate) without_syndrome: BTreeSet<u64>,
}

/// Returns true when a stage 2 abort of the load or store `word` has a valid instruction syndrome, without which a
/// hypervisor cannot emulate the access (DDI 0487, ESR_EL2, ISV): one general-purpose register, no writeback, not
/// exclusive, not atomic.
pub(crate) fn has_syndrome(word: u32) -> bool {
    let vector = word & 1 << 26 != 0;
    // Unsigned offset; then unscaled and unprivileged, without the two forms that write back; then by register.
    let single =
        word & 0x3b00_0000 == 0x3900_0000 || word & 0x3b20_0400 == 0x3800_0000 || word & 0x3b20_0c00 == 0x3820_0800;
    // Load-acquire and store-release.
    let ordered = word & 0x3fa0_0000 == 0x0880_0000;
    ordered || single && !vector
}

#[cfg(test)]
mod tests {
    use super::has_syndrome;

    #[test]
    fn one_register_without_writeback_has_a_syndrome() {
        for (name, word) in [
            ("ldr w8, [x20, #48]", 0xb940_3288_u32),
            ("str w9, [x8]", 0xb900_0109),
            ("ldr x0, [x0]", 0xf940_0000),
            ("ldrb w9, [x8]", 0x3940_0109),
            ("ldur w8, [x9, #-4]", 0xb85f_c128),
            ("ldtr w8, [x9]", 0xb840_0928),
            ("ldr w14, [x13, x12, lsl #2]", 0xb86c_79ae),
            ("ldar w8, [x9]", 0x88df_fd28),
            ("stlr w8, [x9]", 0x889f_fd28),
        ] {
            assert!(has_syndrome(word), "{name}");
        }
    }

    #[test]
    fn writeback_pairs_exclusives_atomics_vectors_have_no_syndrome() {
        for (name, word) in [
            ("ldr w8, [x9], #4", 0xb840_4528_u32),
            ("ldr w8, [x9, #4]!", 0xb840_4d28),
            ("str w8, [x9], #4", 0xb800_4528),
            ("stp xzr, xzr, [x0], #16", 0xa881_7c1f),
            ("stp w8, w9, [x0]", 0x2900_2408),
            ("ldxr w8, [x9]", 0x885f_7d28),
            ("stxr w10, w8, [x9]", 0x880a_7d28),
            ("swp w8, w8, [x9]", 0xb828_8128),
            ("ldadd w8, w8, [x9]", 0xb828_0128),
            ("ldr q0, [x9]", 0x3dc0_0120),
        ] {
            assert!(!has_syndrome(word), "{name}");
        }
    }
}
