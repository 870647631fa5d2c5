// SPDX-License-Identifier: MIT OR Apache-2.0
//! The release image under the watcher: its executed instructions, judged by the abstract machine.
//!
//! What fails these: a kernel that does not do what the library's sources say, in the compiled code of the repaint, in the
//! assembly before the MMU is on, and everywhere else that edits tables. The seeded defects show that each rule can fail,
//! and the patched images that a kernel which QEMU passes does not pass here.

use crate::{image::image, qemu::Boot, watcher::Watched};
use std::{fs, path::PathBuf};

fn small(cpu: &str) -> Boot {
    Boot::on(cpu).mem("128M")
}

/// One test for each boot.
macro_rules! splits {
    ($($name:ident: $boot:expr;)+) => {
        $(#[test] fn $name() {
            if let Some(watched) = $boot.watch() {
                watched.split();
            }
        })+
    };
}

splits! {
    a_watched_cortex_a72_keeps_every_rule: small("cortex-a72");
    one_watched_cpu_keeps_every_rule: small("cortex-a53").smp(1).gic(2);
    a_watched_cortex_a72_entered_at_el2_keeps_every_rule_in_the_window:
        small("cortex-a72").el(2).gic(2).word("fill=window");
    a_watched_core_of_level_2_keeps_every_rule_when_it_splits: small("max").smp(2);
}

/// Nothing is broken where nothing must be.
#[test]
fn a_watched_core_that_keeps_its_blocks_breaks_nothing() {
    let Some(watched) = small("max").smp(2).el(2).watch() else { return };
    watched.clean();
    watched.run.kept();
    watched.claim(watched.number("/breaks") == 0, "an entry was broken");
    watched.claim(watched.number("/tables_before") == watched.number("/tables_after"), "tables came or went");
}

/// A guarded pool opens under the stress test, by new tables and a stop of every CPU, and by stores to live entries.
#[test]
fn a_watched_pool_keeps_every_rule_as_it_opens() {
    for (boot, how) in
        [(small("cortex-a72").word("linear=block"), "with every CPU stopped"), (small("max").el(2), "in place")]
    {
        let Some(watched) = boot.smp(2).word("pool=20@decided").watch() else { return };
        watched.clean();
        watched.run.passed();
        let opened = watched.run.console.contains(&format!("opened {how} on CPU 0"));
        watched.claim(opened, how);
    }
}

/// Changes of the map after boot: one page of a block, pages and groups of two blocks, a split, and a collapse of everything.
const CHANGES: [&str; 7] = [
    "protect p:0x46003000 4K ro",
    "unmap p:0x461f0000 160K",
    "map p:0x461f0000 160K",
    "protect p:0x46003000 4K rw",
    "split p:0x46400000 2M 4K",
    "collapse",
    "off",
];

/// Boots `cpu` in blocks, for `lines` of the monitor.
fn changing(cpu: &str, el: u64, lines: &[&str]) -> Boot {
    small(cpu).smp(2).el(el).word("linear=block").typed(lines)
}

impl Watched {
    /// [`CHANGES`] were made by this switch, and no rule was broken. Each of these forms of a TLBI was broadcast, and none by range
    /// that is not among them.
    #[track_caller]
    fn changed(&self, stopped: bool, forms: &[&str]) {
        self.clean();
        let count = |switch| self.run.console.matches(switch).count();
        let (stops, in_place) = (count("changed with every CPU stopped: "), count("changed in place: "));
        self.claim(stops + in_place == CHANGES.len() - 1, "a change was not made");
        self.claim((stops > 0) == stopped, "the changes were made by another switch");
        self.claim((self.number("/breaks") > 0) == stopped, "entries were broken in place, or not by the other switch");
        self.claim(self.number("/tables_before") == self.number("/tables_after"), "tables came or went");
        for form in ["address", "address-last-level", "range", "range-last-level"] {
            let seen = self.number(&format!("/broadcast_forms/{form}"));
            let right = if forms.contains(&form) { seen > 0 } else { seen == 0 || !form.starts_with("range") };
            self.claim(right, &format!("{seen} TLBIs by {form}"));
        }
    }
}

/// Changes with every CPU stopped: new tables, an exchange of root entries, and in place what needs no more.
#[test]
fn watched_changes_with_every_cpu_stopped_keep_every_rule() {
    let Some(watched) = changing("cortex-a72", 2, &CHANGES).watch() else { return };
    watched.changed(true, &["address-last-level"]);
}

/// The same where each invalidation is made twice.
#[test]
fn watched_changes_on_a_core_with_the_tlbi_erratum_keep_every_rule() {
    let Some(watched) = changing("neoverse-n1", 1, &CHANGES).watch() else { return };
    watched.changed(true, &["address-last-level"]);
}

/// Changes in place, live splits and collapses among them, with invalidations by range.
#[test]
fn watched_changes_in_place_keep_every_rule() {
    let Some(watched) = changing("max", 2, &CHANGES).watch() else { return };
    watched.changed(false, &["address", "address-last-level", "range", "range-last-level"]);
}

/// The same on a core without FEAT_TLBIRANGE.
#[test]
fn watched_changes_in_place_without_range_invalidations_keep_every_rule() {
    let Some(watched) = changing("neoverse-v1", 2, &CHANGES).watch() else { return };
    watched.changed(false, &["address", "address-last-level"]);
}

/// One form of TLBI left out of the image, and a change that needs it. QEMU finds nothing wrong.
#[test]
fn images_whose_changes_lack_an_invalidation_are_caught() {
    // What is stored again as it was, with no access in between, is no change: each of these leaves the map changed.
    let page = ["protect p:0x46003000 4K ro", "off"];
    let pages = ["split p:0x46000000 2M 4K", "protect p:0x46003000 8K ro", "off"];
    let block = ["split p:0x46000000 2M 4K", "collapse p:0x46000000 2M", "off"];
    for (name, boot, (crm, op2), rule) in [
        // M5, not M3, where TLBIs of other addresses came after the store.
        ("vaale1is", small("cortex-a72").smp(2).typed(&page), (3, 7), "M5"),
        ("vaae1is", changing("max", 2, &page), (3, 3), "M1"),
        ("rvaale1is", changing("max", 2, &pages), (2, 7), "M5"),
        ("rvaae1is", changing("max", 2, &block), (2, 3), "M3"),
    ] {
        let left_out = |words: &[u32], at: usize| {
            if word::is_tlbi(words[at], crm, op2) { word::NOP } else { words[at] }
        };
        let Some(watched) = boot_patched(name, boot, left_out) else { return };
        watched.claim(watched.run.status == Some(0), "QEMU noticed by itself");
        watched.judged(rule);
    }
}

/// The model's verdict on the same boot when one kind of event is left out of its input, or changed.
const DEFECTS: [(&str, &str); 27] = [
    ("no-broadcast-tlbi", "M3"),
    ("broadcast-tlbi-local", "M5"),
    ("broadcast-tlbi-last-level", "M5"),
    ("no-local-tlbi", "M17"),
    ("no-second-tlbi", "M6"),
    ("no-dsb-before-tlbi", "M4"),
    ("dsb-before-tlbi-ishld", "M4"),
    ("dsb-before-tlbi-nshst", "M4"),
    ("no-dsb-after-tlbi", "M6"),
    ("dsb-after-tlbi-ishst", "M6"),
    ("dsb-after-tlbi-nsh", "M6"),
    ("no-dsb-ishst", "M7"),
    ("no-isb", "M10"),
    ("no-isb-after-ttbr", "M10"),
    ("no-isb-on-other-cpus", "M10"),
    ("no-synchronisation-on-other-cpus", "M10"),
    ("no-dc-ivac", "M16"),
    ("no-dc-clean", "M16"),
    ("no-acquire", "M14"),
    ("no-release", "M14"),
    ("no-break", "M1"),
    ("no-fill-of-one-slot", "M7"),
    ("access-flag-clear", "M18"),
    ("contiguous-bit-missing-once", "M11"),
    ("tcr-ha", "M18"),
    ("mair-of-other-cpus", "M17"),
    ("vmid-of-other-cpus", "M17"),
];

/// A Neoverse N1 needs its invalidations twice, and at EL2 the VMID is the kernel's.
#[test]
fn a_watched_boot_catches_every_seeded_defect_by_its_rule() {
    let Some(watched) = small("neoverse-n1").smp(2).el(2).watch_with_defects() else { return };
    watched.split();
    for (defect, rule) in DEFECTS {
        watched.claim(watched.seen["defects"][defect] == rule, &format!("{defect} is not {rule}"));
    }
    let judged = watched.seen["defects"].as_object().map_or(0, serde_json::Map::len);
    watched.claim(judged == DEFECTS.len(), "a defect has no row here");
}

/// The probe loads an address of the broken map, and must fault: nothing else here shows that an access which does not
/// happen is seen.
#[test]
fn an_access_to_the_broken_map_is_seen_although_it_faults() {
    let Some(watched) = small("cortex-a72").smp(2).word("selftest").watch() else { return };
    watched.run.passed();
    watched.judged("M13");
}

/// The fault changes a leaf of the map while the other CPU works on it, by break-before-make but without a rendezvous.
#[test]
fn an_edit_of_the_shared_map_without_a_rendezvous_is_seen() {
    let Some(watched) = small("cortex-a72").smp(2).fault("audit.flip").watch() else { return };
    watched.run.failed();
    watched.judged("M14");
}

/// Instructions, as the image has them.
mod word {
    pub(super) const NOP: u32 = 0xd503_201f;
    pub(super) const DSB_ISH: u32 = 0xd503_3b9f;
    pub(super) const DSB_ISHST: u32 = 0xd503_3a9f;

    /// TLBI of EL1&0 by its CRm (2 is a broadcast by range, 3 another one) and op2 (3 is VAAE1, 7 VAALE1).
    pub(super) fn is_tlbi(word: u32, crm: u32, op2: u32) -> bool {
        word & 0xffff_ffe0 == 0xd508_8000 | crm << 8 | op2 << 5
    }

    pub(super) fn is_local_tlbi(word: u32) -> bool {
        word == 0xd508_871f
    }

    /// TLBI of any form, broadcast.
    pub(super) fn is_broadcast_tlbi(word: u32) -> bool {
        word & 0xffff_ff00 == 0xd508_8300
    }

    pub(super) fn is_dc_ivac(word: u32) -> bool {
        word & 0xffff_ffe0 == 0xd508_7620
    }
}

/// An image in which each word is what `patch` makes of it, given the image's words and an index.
fn patched(name: &str, patch: impl Fn(&[u32], usize) -> u32) -> PathBuf {
    let bytes = fs::read(image()).expect("the image can be read");
    let words: Vec<u32> = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    let changed: Vec<u32> = (0..words.len()).map(|index| patch(&words, index)).collect();
    assert_ne!(words, changed, "{name}: there is no such instruction in the image");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.img", std::process::id()));
    let changed: Vec<u8> = changed.into_iter().flat_map(u32::to_le_bytes).collect();
    fs::write(&path, changed).expect("the patched image can be written");
    path
}

/// Boots an image without those instructions. QEMU must find nothing wrong with it.
fn watch_without(name: &str, is_left_out: impl Fn(&[u32], usize) -> bool) -> Option<Watched> {
    watch_patched(name, |words, at| if is_left_out(words, at) { word::NOP } else { words[at] })
}

/// Boots a patched image.
fn boot_patched(name: &str, boot: Boot, patch: impl Fn(&[u32], usize) -> u32) -> Option<Watched> {
    let image = patched(name, patch);
    let watched = boot.watch_image(&image, "");
    let _ = fs::remove_file(&image);
    watched
}

/// Boots a patched image. QEMU must find nothing wrong with it.
fn watch_patched(name: &str, patch: impl Fn(&[u32], usize) -> u32) -> Option<Watched> {
    let watched = boot_patched(name, small("cortex-a72").smp(2), patch)?;
    watched.claim(watched.run.status == Some(0), "QEMU noticed by itself");
    Some(watched)
}

/// Each `STR Wt, [Xn]` becomes `STR Wt, [Xn], #0`, which does the same but has no syndrome: what a compiler may make of a
/// volatile store.
#[test]
fn an_image_that_stores_to_devices_with_writeback_is_caught() {
    let Some(watched) = watch_patched("writeback", |words, at| match words[at] {
        word if word & 0xffff_fc00 != 0xb900_0000 => word,
        // SP is no device, and writeback to the register that is stored is unpredictable.
        word if word >> 5 & 31 == 31 || word >> 5 & 31 == word & 31 => word,
        word => 0xb800_0400 | word & 0x3ff,
    }) else {
        return;
    };
    watched.judged("ok");
    let found = watched.seen["devices_without_syndrome"].as_array().map_or(0, Vec::len);
    watched.claim(found > 0, "no access with writeback was found");
}

/// The audit notices this one too: a store to data that is read-only after init goes through an entry of before.
#[test]
fn an_image_without_broadcast_invalidations_is_caught() {
    let left_out = |words: &[u32], at: usize| if word::is_broadcast_tlbi(words[at]) { word::NOP } else { words[at] };
    let Some(watched) = boot_patched("broadcast", small("cortex-a72").smp(2), left_out) else { return };
    watched.judged("M3");
    watched.claim(watched.run.status == Some(1), "the kernel noticed nothing");
    watched.claim(watched.run.error_says("a store goes through"), "the audit noticed nothing");
}

/// One test for each kind of instruction that a real image may lack.
macro_rules! patches {
    ($($name:ident: $rule:literal, $is_left_out:expr;)+) => {
        $(#[test] fn $name() {
            if let Some(watched) = watch_without(stringify!($name), $is_left_out) {
                watched.judged($rule);
            }
        })+
    };
}

patches! {
    an_image_without_local_invalidations_is_caught: "M17", |words, at| word::is_local_tlbi(words[at]);
    an_image_without_the_barrier_before_an_invalidation_is_caught: "M4", |words, at| {
        words[at] == word::DSB_ISHST && words[at + 1..].iter().take(3).any(|&next| word::is_broadcast_tlbi(next))
    };
    an_image_without_the_barrier_after_an_invalidation_is_caught: "M6", |words, at| {
        words[at] == word::DSB_ISH && at > 0 && word::is_broadcast_tlbi(words[at - 1])
    };
    an_image_without_cache_maintenance_is_caught: "M16", |words, at| word::is_dc_ivac(words[at]);
}
