// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots that keep what was painted: CPUs that can split live mappings, and boot arguments that demand it.
//!
//! What fails these: a patch to the decision's table, or to the list of cores.

use crate::qemu::Boot;

/// Level 2 counts where the kernel was entered at EL2, since then no hypervisor runs below that would have to handle a
/// conflict abort.
#[test]
fn level_2_keeps_its_blocks_at_el2() {
    for cpu in ["max", "neoverse-v1", "neoverse-n2"] {
        let run = Boot::on(cpu).el(2).run();
        run.passed().kept();
        run.claim(run.number("/decision/level") == 2, "the level is not 2");
    }
}

/// `bbml2=trust` states that the user knows the hypervisor below.
#[test]
fn level_2_keeps_its_blocks_at_el1_when_trusted() {
    for cpu in ["max", "neoverse-v1", "neoverse-n2"] {
        let run = Boot::on(cpu).word("bbml2=trust").run();
        run.passed().kept();
        run.claim(run.number("/decision/level") == 2, "the level is not 2");
    }
}

/// A listed core raises no conflict aborts, regardless of its ID register: level 3 at EL2. At EL1 a hypervisor chooses
/// its MIDR, so the core counts as level 2.
#[test]
fn a_listed_core_keeps_its_blocks() {
    for (boot, level) in [
        (Boot::on("cortex-a72,midr=0x410fd823").el(2), 3),
        (Boot::on("max,midr=0x410fd823").el(2).word("bbml2=strict"), 3),
        (Boot::on("cortex-a72,midr=0x410fd823").word("bbml2=trust"), 2),
    ] {
        let run = boot.run();
        run.passed().kept();
        run.claim(run.number("/decision/level") == level, format_args!("the level is not {level}"));
    }
}

/// One revision before the fix that core is not on the list, and its level 2 has an erratum. Comparing parts without revisions
/// is what this catches, and going by the register.
#[test]
fn a_listed_core_before_its_revision_is_split() {
    let run = Boot::on("max,midr=0x410fd822").el(2).run();
    run.passed().split();
    run.claim(run.number("/decision/level") == 0, "the level is not 0");
}

/// `linear=page` paints pages at once, and there is nothing left to do.
#[test]
fn pages_from_the_start_stay_pages() {
    let run = Boot::on("cortex-a72").word("linear=page").run();
    run.passed();
    run.claim(run.value("/decision/action") == "page", "the decision is not pages");
    run.claim(run.value("/decision/outcome") == "none", "painting pages has no outcome");
    run.claim(run.value("/leaves/before") == run.value("/leaves/after"), "the leaves have changed");
    for size in ["1G", "cont2M", "2M"] {
        run.claim(run.leaves("after", size) == 0, format_args!("{size} blocks in a map of pages"));
    }
}

/// `linear=block` is never split at boot, not even where blocks can never be split live.
#[test]
fn blocks_that_were_asked_for_stay_blocks() {
    for boot in [Boot::on("cortex-a72"), Boot::on("cortex-a53").gic(2).el(2).mem("3G")] {
        boot.word("linear=block").run().passed().kept();
    }
}

/// A repaint that needs none is not one that cannot be done.
#[test]
fn a_required_split_passes_where_none_is_needed() {
    Boot::on("max").el(2).word("linear=require").run().passed().kept();
}
