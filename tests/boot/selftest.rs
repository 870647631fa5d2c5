// SPDX-License-Identifier: MIT OR Apache-2.0
//! The self-test's probe, and what people see.

use crate::{
    qemu::Boot,
    words::{PASS_LINE, PROBE_FAILED, PROBE_FOLLOWER, PROBE_FOLLOWER_STALE, PROBE_LEADER, fault},
};

/// Inside the window a load of an address that was warmed before must fault, on the leader and on a follower. Only
/// that shows the TLBI under an emulator; `fault=probe.notlbi` leaves it out.
#[test]
fn the_broken_map_faults_on_leader_and_follower() {
    for boot in [Boot::on("cortex-a72"), Boot::on("cortex-a53").smp(2).gic(2).el(2).word("fill=window")] {
        let run = boot.word("selftest").run();
        run.passed().split();
        for probe in [PROBE_LEADER, PROBE_FOLLOWER] {
            run.claim(run.console.contains(probe), format_args!("no {probe:?} on the console"));
        }
    }
}

/// Without the TLBI the probe's load succeeds, and the self-test must say so.
#[test]
fn without_the_tlbi_the_self_test_fails() {
    let run = Boot::on("cortex-a72").word("selftest").fault(fault::NO_TLBI).run();
    run.failed();
    run.claim(run.error_says(PROBE_FAILED), "the probe is not named");
    run.claim(run.value("/probe") == "failed", "the probe is not called failed");
}

/// A TLBI on the leader alone leaves the followers' translations: the follower's probe sees it, the leader's does not. A
/// self-test that asks the leader only fails this; with blocks that are kept as with a split.
#[test]
fn with_a_local_tlbi_the_followers_probe_fails() {
    for boot in [Boot::on("cortex-a72").mem("128M"), Boot::on("max").el(2).mem("128M")] {
        let run = boot.smp(2).word("selftest").fault(fault::LOCAL_TLBI).run();
        run.failed();
        for probe in [PROBE_LEADER, PROBE_FOLLOWER_STALE] {
            run.claim(run.console.contains(probe), format_args!("no {probe:?} on the console"));
        }
        run.claim(run.error_says(PROBE_FAILED), "the probe is not named");
        run.claim(run.value("/probe") == "failed", "the probe is not called failed");
    }
}

/// If blocks are kept, the self-test breaks a root entry of its own, without a stress test that needs the CPUs too; the entry
/// and its tables are gone before the audit. A self-test that passes without a probe fails this.
#[test]
fn the_self_test_probes_where_blocks_are_kept() {
    let run = Boot::on("max").el(2).word("selftest").word("load=off").run();
    run.passed().kept();
    for probe in [PROBE_LEADER, PROBE_FOLLOWER] {
        run.claim(run.console.contains(probe), format_args!("no {probe:?} on the console"));
    }
}

/// If a CPU does not arrive, no rendezvous can run the probe, and the report says so.
#[test]
fn a_probe_that_is_not_made_is_called_that() {
    let boot = Boot::on("cortex-a72").smp(3).mem("128M").word("selftest rendezvous.deadline=20");
    let run = boot.fault(fault::LATE_FOR_EVER).run();
    run.survived();
    run.claim(run.value("/probe") == "not run", "the probe is not called not run");
}

/// Without `report=json` the console has tables, at most 100 columns wide, and the verdict last.
#[test]
fn people_get_tables_and_a_verdict() {
    let run = Boot::on("cortex-a72").mem("128M").run_for_people();
    run.claim(run.status == Some(0), "the kernel did not pass");
    for part in ["decision", "leaves", "window", "audit", "result      pass"] {
        run.claim(run.console.contains(part), format_args!("{part:?} is not on the console"));
    }
    run.claim(run.line("CLEAVE-REPORT").is_none(), "a report for programs without `report=json`");
    let report = run.console.lines().skip_while(|line| !line.starts_with("cleave      "));
    let wide = report.clone().find(|line| line.chars().count() > 100);
    run.claim(report.count() > 20, "no report for people");
    run.claim(wide.is_none(), format_args!("wider than 100 columns: {wide:?}"));
    let last = run.console.lines().rfind(|line| !line.is_empty());
    run.claim(last == Some(PASS_LINE), "the verdict is not the last line");
}
