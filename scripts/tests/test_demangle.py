# SPDX-License-Identifier: MIT OR Apache-2.0
"""Claims about Rust symbol names. What is expected of v0 names is what LLVM's demangler says, hashes left out."""
import unittest

import support
import demangle

V0 = {
    "_RNvNtCs15F8oKFRPP5_4core6option13expect_failed": "core::option::expect_failed",
    "_RNvCsfLfy6EI15iL_7___rustc17rust_begin_unwind": "__rustc::rust_begin_unwind",
    "_RNvMsa_NtCs8Cg0upM5aiz_4core3fmtNtB5_9Formatter3pad": "<core::fmt::Formatter>::pad",
    "_RNvXs3_NtNtNtCs8Cg0upM5aiz_4core3fmt3num3imptNtB9_7Display3fmt": "<u16 as core::fmt::Display>::fmt",
    "_RNvXs1g_NtCs8Cg0upM5aiz_4core3fmtRDNtB6_5DebugEL_Bx_3fmtB8_": "<&dyn core::fmt::Debug as core::fmt::Debug>::fmt",
    "_RINvNtCs8Cg0upM5aiz_4core3ptr13drop_in_placeNtNtCsfrKGvETwpls_5alloc6string6StringEBK_":
        "core::ptr::drop_in_place::<alloc::string::String>",
    "_RNvMNtNtCs8Cg0upM5aiz_4core4char7methodsc16escape_debug_ext": "<char>::escape_debug_ext",
    "_RNCNvCs1_3one4main0B3_": "one::main::{closure#0}",
    "_RNCNvCs1_3one4mains0_0B3_": "one::main::{closure#2}",
    "_RINvCs1_3one3twoAhj4_E": "one::two::<[u8; 4]>",
    "_RINvCs1_3one3twoKb1_Kc61_Kin2a_E": "one::two::<true, 'a', -42>",
    "_RINvCs1_3one3twoFUKCPhOtEuE": 'one::two::<unsafe extern "C" fn(*const u8, *mut u16)>',
    "_RINvCs1_3one3twoTFG_RL0_hRL0_eESyEE": "one::two::<(for<'a> fn(&'a u8, &'a str) -> [u64],)>",
    "_RINvCs1_3one3twoDINtCs2_5three4FromhEp6OutputmEL_E": "one::two::<dyn three::From<u8, Output = u32>>",
    "_RNvCs1_3oneu9bcher_kva": "one::b\u00fccher",
    "_RNvCs1_3one3two.llvm.1234": "one::two",
}

# Each tuple holds the one before it twice.
ENDLESS = ("_RINvC1a1bThhETB7_B7_ETBb_Bb_ETBj_Bj_ETBr_Br_ETBz_Bz_ETBH_BH_ETBP_BP_ETBX_BX_ETB15_B15_ETB1d_B1d_ETB"
           "1n_B1n_ETB1x_B1x_ETB1H_B1H_ETB1R_B1R_ETB21_B21_ETB2b_B2b_ETB2l_B2l_ETB2v_B2v_ETB2F_B2F_ETB2P_B2P_ETB"
           "2Z_B2Z_ETB39_B39_ETB3j_B3j_ETB3t_B3t_ETB3D_B3D_ETB3N_B3N_EE")


class Names(unittest.TestCase):
    def test_v0_names_are_readable(self):
        for name, expected in V0.items():
            self.assertEqual(demangle.demangle(name), expected, name)

    # Fails when a broken name raises, or when one that refers to itself is followed for ever.
    def test_what_is_no_whole_v0_name_stays_as_it_is(self):
        for name in ("_R", "_RX", "_RNvC1a", "_RNvC9a1b", "_RNvB0_1b", "_RINvC1a1bKe1_E", "_RC1a%", "_RINvC1a1bL1_E", ENDLESS):
            self.assertEqual(demangle.demangle(name), name, name)
        whole = next(iter(V0))
        for end in range(len(whole)):
            demangle.demangle(whole[:end])

    def test_legacy_names_are_readable(self):
        path = "_$LT$cleave..tables..Run$u20$as$u20$core..fmt..Display$GT$"
        name = f"_ZN{len(path)}{path}3fmt17h0123456789abcdefE"
        self.assertEqual(demangle.demangle(name), "<cleave::tables::Run as core::fmt::Display>::fmt")

    def test_other_names_stay_as_they_are(self):
        for name in ("cleave_window", "_start", "_ZN3foo"):
            self.assertEqual(demangle.demangle(name), name)


if __name__ == "__main__":
    unittest.main()
