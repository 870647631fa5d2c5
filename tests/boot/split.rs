// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that cannot change the size of a live mapping: the whole map is split, in every shape of machine.
//!
//! What fails these: any patch to the repaint that leaves a block, miscounts a table, lets a CPU go early or disturbs
//! the stress test; `fault=load.flip` and `fault=audit.flip` show that the checks behind `passed` can fail (`faults.rs`).

use crate::{qemu::Boot, words::TWICE};
use serde_json::json;

/// One test for each boot, since boots run in parallel and a failure should name its machine.
macro_rules! splits {
    ($($(#[$meta:meta])* $name:ident: $boot:expr;)+) => {
        $($(#[$meta])* #[test] fn $name() {
            $boot.run().passed().split();
        })+
    };
}

// The cores, with entry levels, controllers, sizes and fills spread over them.
splits! {
    a_cortex_a72_is_split: Boot::on("cortex-a72");
    a_cortex_a72_entered_at_el2_is_split_in_the_window: Boot::on("cortex-a72").el(2).gic(2).word("fill=window");
    a_cortex_a53_is_split: Boot::on("cortex-a53").gic(2).mem("128M");
    a_cortex_a53_entered_at_el2_is_split_in_the_window: Boot::on("cortex-a53").el(2).mem("3G").word("fill=window");
    a_cortex_a76_is_split: Boot::on("cortex-a76").mem("3G");
    a_cortex_a76_entered_at_el2_is_split_in_the_window: Boot::on("cortex-a76").el(2).mem("128M").word("fill=window");
    a_neoverse_n1_is_split: Boot::on("neoverse-n1").el(2).mem("8G");
    a_neoverse_n1_is_split_in_the_window: Boot::on("neoverse-n1").gic(2).word("fill=window");
    a_cortex_a35_is_split: Boot::on("cortex-a35").mem("128M");
    a_cortex_a55_is_split: Boot::on("cortex-a55").el(2).mem("128M");
    a_cortex_a57_is_split: Boot::on("cortex-a57").gic(2).word("fill=window");
}

// Numbers of CPUs: alone, few, all a GICv2 can have, and more than the host has cores for.
splits! {
    // A limit cannot raise a level, or this CPU's blocks were kept.
    one_cpu_alone_is_split: Boot::on("cortex-a72").smp(1).word("cpu0.bbm=3");
    one_cpu_alone_is_split_in_the_window: Boot::on("cortex-a53").smp(1).gic(2).word("fill=window");
    two_cpus_are_split: Boot::on("cortex-a72").smp(2).gic(2);
    two_cpus_are_split_in_the_window: Boot::on("cortex-a76").smp(2).el(2).word("fill=window");
    eight_cpus_are_split: Boot::on("cortex-a72").smp(8).gic(2).el(2);
    eight_cpus_are_split_in_the_window: Boot::on("cortex-a72").smp(8).word("fill=window");
    thirty_two_cpus_are_split: Boot::on("cortex-a72").smp(32).mem("3G");
    thirty_two_cpus_are_split_in_the_window: Boot::on("cortex-a53").smp(32).el(2).word("fill=window");
}

/// A GICv3 has room for any number of CPUs, behind more than one region of redistributors from 124 on. A table of fixed
/// size fails this.
#[test]
fn many_cpus_are_split() {
    for cpus in [64, 160] {
        Boot::on("cortex-a72").smp(cpus).run().passed().split();
    }
}

/// On a core whose broadcast invalidation may complete early it is done twice, on others once, and at EL1 always, since
/// the core's name is a hypervisor's there. A list that lacks the core, or has every core, fails this; that both are done is
/// in the event logs of the library's tests. The report names the erratum.
#[test]
fn invalidations_are_repeated_at_el1_and_where_a_core_needs_it() {
    let (early, unknown) = (Some("a core's may complete early"), Some("at EL1 the cores are what a hypervisor says"));
    for (cpu, el, why, errata) in [
        ("cortex-a72", 1, unknown, json!([])),
        ("cortex-a72", 2, None, json!([])),
        ("cortex-a55", 2, early, json!([{ "core": "Cortex-A55 r2p0", "number": "2441007", "scope": "system" }])),
        ("cortex-a76", 1, early, json!([{ "core": "Cortex-A76 r4p1", "number": "4193800", "scope": "system" }])),
    ] {
        let run = Boot::on(cpu).el(el).mem("128M").smp(2).run();
        run.passed().split();
        let said = run.console.lines().find_map(|line| line.split(TWICE).nth(1));
        run.claim(said.map(|said| said.trim_end()) == why, format_args!("{cpu} at EL{el}: {said:?} and not {why:?}"));
        run.claim(*run.value("/errata") == errata, "other errata");
    }
}

// Sizes of memory: without a gigabyte block, with some, with an odd end, and large.
splits! {
    little_memory_is_split: Boot::on("cortex-a72").mem("128M");
    memory_with_an_odd_end_is_split: Boot::on("cortex-a72").mem("1025M");
    three_gigabytes_are_split_in_the_window: Boot::on("cortex-a72").mem("3G").gic(2).word("fill=window");
    eight_gigabytes_are_split: Boot::on("cortex-a72").mem("8G");
    eight_gigabytes_are_split_in_the_window: Boot::on("cortex-a72").mem("8G").word("fill=window");
}

// Level 2 that must not be relied on. Believing it there is what these catch.
splits! {
    level_2_entered_at_el1_is_split: Boot::on("max");
    a_neoverse_v1_entered_at_el1_is_split: Boot::on("neoverse-v1").word("fill=window");
    a_neoverse_n2_entered_at_el1_is_split: Boot::on("neoverse-n2").gic(2);
    level_2_is_split_when_strict: Boot::on("max").el(2).word("bbml2=strict");
    a_neoverse_n2_is_split_when_strict: Boot::on("neoverse-n2").el(2).word("bbml2=strict").word("fill=window");
    // A Cortex-X4 r0p3 is listed, and at EL1 it may be another core.
    a_listed_core_entered_at_el1_is_split: Boot::on("max,midr=0x410fd823").smp(2).mem("128M");
    level_2_that_is_switched_off_is_split: Boot::on("neoverse-v1").el(2).word("bbml2=off");
}

/// One CPU of lower level brings the system down to it. Taking the boot CPU's level for all is what this catches.
#[test]
fn one_cpu_without_bbm_splits_a_system_that_has_it() {
    for word in ["cpu2.bbm=0", "cpu3.bbm=1"] {
        let run = Boot::on("max").el(2).word(word).run();
        run.passed().split();
        let level = u64::from(word.ends_with('1'));
        run.claim(run.number("/decision/level") == level, "the level is not the lowest CPU's");
    }
}

/// Without a load the report says so, with nulls. Writing zeros there is what this catches.
#[test]
fn without_a_load_the_map_is_split_as_well() {
    for word in ["fill=ahead", "fill=window"] {
        Boot::on("cortex-a72").word("load=off").word(word).run().passed().split();
    }
}

/// `linear=require` changes nothing where all goes well.
#[test]
fn a_required_split_passes_when_it_is_done() {
    Boot::on("cortex-a72").el(2).word("linear=require").run().passed().split();
}
