// SPDX-License-Identifier: MIT OR Apache-2.0
//! Claims that hold for every boot, with any boot arguments.

use crate::{
    qemu::{Board, Run},
    schema::{REPORT, violations},
};
use serde_json::Value;

/// Of all tables no CPU out of four fills more than this percentage: the filling is shared.
const SHARE_MAX: u64 = 40;

/// Leaf sizes of the report with the bytes a descriptor maps.
const SIZES: [(&str, u64); 5] =
    [("1G", 1 << 30), ("cont2M", 2 << 20), ("2M", 2 << 20), ("cont4K", 4 << 10), ("4K", 4 << 10)];

impl Run {
    /// The kernel passed, said so, and nothing went wrong on the way.
    #[track_caller]
    pub(crate) fn passed(&self) -> &Self {
        self.survived();
        self.claim(self.value("/probe") != "not run", "a self-test that was not run");
        self.claim(self.list("/errors").is_empty(), "errors in a run without a fault");
        self.claim(self.list("/cpus").iter().all(|cpu| cpu["online"] == true), "a CPU is not online");
        self
    }

    /// The kernel passed; what went wrong is in `errors` and did no harm.
    #[track_caller]
    pub(crate) fn survived(&self) -> &Self {
        self.claim(self.status == Some(0), "the kernel did not pass");
        self.reported();
        self.claim(self.value("/result") == "pass", "status 0 and another result in the report");
        self.claim(self.value("/panic").is_null(), "a panic in a run that passed");
        self.described();
        for count in ["wx", "aliases", "translation_mismatches", "census_mismatches"] {
            self.claim(self.number(&format!("/audit/{count}")) == 0, format_args!("the audit's {count}"));
        }
        let probe = self.value("/probe");
        let right = if self.boot.has("selftest") { probe == "passed" || probe == "not run" } else { probe.is_null() };
        self.claim(right, format_args!("the probe is {probe}"));
        self.painted_all_memory();
        self.counts_are_exact();
        self.load_was_undisturbed();
        // The rendezvous without a repaint, which is for the stress test's sake, is no repaint's.
        let called = self.number("/decision/attempts") > 0;
        self.claim(
            called != self.list("/timeline").is_empty(),
            "a timeline without a repaint's rendezvous, or none of one",
        );
        self
    }

    /// The kernel judged itself and found something wrong.
    #[track_caller]
    pub(crate) fn failed(&self) -> &Self {
        self.claim(self.status == Some(1), "the kernel did not say that it failed");
        self.reported();
        self.claim(self.value("/result") == "fail", "status 1 and another result in the report");
        self
    }

    /// Blocks before, pages after, by the rendezvous.
    #[track_caller]
    pub(crate) fn split(&self) -> &Self {
        self.claim(self.value("/decision/action") == "split", "the decision is not to split");
        self.claim(self.value("/decision/outcome") == "done", "the map was not split");
        self.tables_are_exact();
        self.timeline_is_in_order();
        for size in ["1G", "cont2M", "2M"] {
            self.claim(self.leaves("after", size) == 0, format_args!("{size} blocks are left"));
        }
        // Only the alias of the kernel's text and rodata keeps its contiguous groups.
        self.claim(self.leaves("after", "cont4K") <= self.leaves("before", "cont4K"), "new contiguous groups");
        self.claim(self.leaves("before", "cont2M") + self.leaves("before", "1G") > 0, "painted without large blocks");
        for time in ["paint", "reserve", "fill", "gather", "window", "release", "repaint", "ready"] {
            self.number(&format!("/ticks/{time}"));
        }
        let [window, repaint, ready] =
            ["window", "repaint", "ready"].map(|time| self.number(&format!("/ticks/{time}")));
        self.claim(0 < window && window < repaint && repaint < ready, "the times contradict each other");
        self
    }

    /// Claims that the map has blocks before and after, and that no CPU was stopped.
    #[track_caller]
    pub(crate) fn kept(&self) -> &Self {
        self.claim(self.value("/decision/action") == "keep", "the decision is not to keep the blocks");
        self.claim(self.value("/decision/outcome") == "none", "keeping blocks has no outcome");
        self.unchanged();
        self.claim(self.value("/ticks/window").is_null(), "a window without a repaint");
        self
    }

    /// The map is what it was.
    #[track_caller]
    pub(crate) fn unchanged(&self) -> &Self {
        self.claim(self.value("/leaves/before") == self.value("/leaves/after"), "the leaves have changed");
        self.claim(self.leaves("before", "cont2M") + self.leaves("before", "1G") > 0, "painted without large blocks");
        self.claim(self.value("/tables/used").as_u64().unwrap_or(0) == 0, "tables were used for nothing");
        self
    }

    /// There is a report, and it has the schema's form.
    #[track_caller]
    pub(crate) fn reported(&self) {
        let Some(report) = &self.report else { return self.claim(false, "there is no report") };
        let found = violations(&REPORT, report);
        self.claim(found.is_empty(), format_args!("the report breaks its schema: {found:#?}"));
    }

    /// The report says which machine this was.
    #[track_caller]
    fn described(&self) {
        let boot = &self.boot;
        for path in ["/kernel/version", "/kernel/profile", "/machine/model", "/decision/level", "/decision/reason"] {
            self.claim(!self.value(path).is_null(), format_args!("{path} is null"));
        }
        let bootargs = self.value("/kernel/bootargs").as_str().unwrap_or_default();
        self.claim(bootargs.starts_with(&boot.bootargs), "other bootargs");
        let clock = if boot.is_counted() { "counted" } else { "real" };
        self.claim(self.value("/clock") == clock, format_args!("the clock is not called {clock}"));
        self.claim(!self.list("/machine/compatible").is_empty(), "compatible is empty");
        self.claim(self.number("/machine/entry_el") == boot.el, "another exception level of entry");
        self.claim(self.number("/machine/gic") == boot.gic, "another GIC");
        let (conduit, method) = match (boot.board, boot.el) {
            (Some(Board::SpinTable), _) => (Value::Null, "spin-table"),
            (Some(Board::Tfa), _) | (None, 2) => ("smc".into(), "psci"),
            (None, _) => ("hvc".into(), "psci"),
        };
        self.claim(*self.value("/machine/conduit") == conduit, format_args!("the conduit is not {conduit}"));
        self.claim(self.number("/machine/granule") == 4096 && self.number("/machine/va_bits") == 48, "geometry");
        self.claim(self.number("/memory/bytes") == boot.bytes(), "another size of memory");
        let sum: u64 = self.list("/memory/regions").iter().filter_map(length).sum();
        self.claim(sum == boot.mapped_bytes(), "the regions do not add up to the memory");

        let cpus = self.list("/cpus");
        self.claim(cpus.len() as u64 == boot.smp, "another number of CPUs");
        for (id, cpu) in cpus.iter().enumerate() {
            self.claim(cpu["id"] == id, "CPUs out of order");
            let started: Value = match (id, boot.unusable == Some(id as u64)) {
                (0, _) => "boot".into(),
                (_, false) => method.into(),
                (_, true) => Value::Null,
            };
            self.claim(cpu["method"] == started, format_args!("how CPU {id} started"));
            let named = cpu["online"] == true || cpu["error"].is_string();
            self.claim(named, format_args!("CPU {id} is missing without a reason"));
            let read = cpu["online"] == false || cpu["midr"].is_u64() && cpu["bbm"].is_u64();
            self.claim(read, format_args!("CPU {id} is online and did not say what it is"));
            let known = cpus[..id].iter().any(|other| other["mpidr"] == cpu["mpidr"]);
            self.claim(!known, format_args!("CPU {id} has the MPIDR of another one"));
        }
    }

    /// A number of the leaves, before or after.
    #[track_caller]
    pub(crate) fn leaves(&self, when: &str, size: &str) -> u64 {
        self.number(&format!("/leaves/{when}/{size}"))
    }

    /// The leaves cover all memory, before and after.
    #[track_caller]
    fn painted_all_memory(&self) {
        for when in ["before", "after"] {
            let bytes: u64 = SIZES.iter().map(|(size, bytes)| self.leaves(when, size) * bytes).sum();
            self.claim(bytes == self.boot.mapped_bytes(), format_args!("{bytes} bytes are mapped {when}"));
        }
    }

    /// The kept counts of the map are those of the audit's walk, and a repaint is the one transaction, but for those of a guarded
    /// pool, all of whose pages are unmapped: a count that is off by one leaf, table or split fails this.
    #[track_caller]
    fn counts_are_exact(&self) {
        let pool = self.boot.pool_bytes();
        for (size, bytes) in SIZES {
            let mapped = self.number(&format!("/map/bytes/{size}")) + if size == "4K" { pool } else { 0 };
            self.claim(mapped == self.leaves("after", size) * bytes, format_args!("bytes mapped by {size}"));
        }
        let did = u64::from(self.value("/decision/outcome") == "done");
        let count = |what: &str| self.number(&format!("/map/{what}"));
        let large = |when: &str| self.leaves(when, "2M") + self.leaves(when, "cont2M");
        let split = self.leaves("before", "1G") - self.leaves("after", "1G");
        let kept = |size: &str| count(&format!("splits/{size}")) - count(&format!("collapses/{size}"));
        self.claim(kept("1G") == split, "splits of 1G blocks");
        self.claim(kept("2M") == 512 * split + large("before") - large("after"), "splits of 2M blocks");
        self.claim(count("bytes/unmapped") == pool, format_args!("not {pool} bytes are unmapped"));
        // Either fault takes a page away and brings it back.
        let taken = ["fault=stale.fault", "fault=conflict.fault"].iter().any(|fault| self.boot.has(fault));
        let transactions = did + if taken { 2 } else { 0 };
        for (what, expected) in [("transactions", transactions), ("collapses/1G", 0), ("collapses/2M", 0)] {
            // The monitor's user changes what they like.
            let any = pool > 0 || self.boot.is_typed();
            self.claim(any || count(what) == expected, format_args!("{what} is not {expected}"));
        }
        let used = self.value("/tables/used").as_u64().filter(|_| did == 1);
        self.claim(used.is_none_or(|used| count("tables") == used || self.boot.has("fill=window")), "tables");
    }

    /// Used is what was reserved is what was counted, and no table more than the blocks need.
    #[track_caller]
    fn tables_are_exact(&self) {
        let [census, reserved, used, returned] =
            ["census", "reserved", "used", "returned"].map(|count| self.number(&format!("/tables/{count}")));
        self.claim(census == reserved && reserved == used, "census, reserved and used differ");
        let need = |when: &str| 513 * self.leaves(when, "1G") + self.leaves(when, "cont2M") + self.leaves(when, "2M");
        let needed = need("before") - need("after");
        self.claim(used.checked_sub(returned) == Some(needed), format_args!("{needed} tables are needed"));
    }

    /// Every CPU was kicked, arrived, stood still and left, in this order, and no CPU left before all stood still.
    #[track_caller]
    fn timeline_is_in_order(&self) {
        let timeline = self.list("/timeline");
        let online = self.list("/cpus").iter().filter(|cpu| cpu["online"] == true).count();
        self.claim(timeline.len() == online, "the timeline has not one entry for each CPU that is online");
        let moment = |entry: &Value, name: &str| entry[name].as_u64();
        for entry in timeline {
            let moments = ["kicked", "arrived", "masked", "released"].map(|name| moment(entry, name));
            let ordered = moments.iter().all(Option::is_some) && moments.is_sorted();
            self.claim(ordered, format_args!("a CPU's moments are out of order: {entry}"));
        }
        let last_masked = timeline.iter().filter_map(|entry| moment(entry, "masked")).max();
        let first_released = timeline.iter().filter_map(|entry| moment(entry, "released")).min();
        self.claim(last_masked <= first_released, "a CPU left before the last one stood still");

        let filled: Vec<u64> = timeline.iter().filter_map(|entry| moment(entry, "filled")).collect();
        let used = self.number("/tables/used");
        self.claim(filled.iter().sum::<u64>() == used, "the CPUs' tables do not add up to those used");
        if filled.len() == 4 && !self.boot.has("fill=window") {
            let most = filled.iter().max().copied().unwrap_or_default();
            self.claim(most * 100 <= used * SHARE_MAX, format_args!("one CPU filled {most} of {used} tables"));
        }
    }

    /// Every CPU worked on the map before, during and after, and neither read a wrong byte nor took a fault.
    #[track_caller]
    fn load_was_undisturbed(&self) {
        if self.boot.has("load=off") {
            return self.claim(self.value("/load/cpus").is_null(), "a load although it is off");
        }
        self.claim(self.number("/load/mismatches") == 0, "the stress test read wrong bytes");
        self.claim(self.number("/load/faults") == 0, "the stress test took faults");
        self.claim(self.number("/load/bytes_checked") > 0, "the stress test checked nothing");
        let online: Vec<_> = self.list("/cpus").iter().filter(|cpu| cpu["online"] == true).collect();
        let per_cpu = self.list("/load/per_cpu");
        let complete = per_cpu.len() == online.len() && self.number("/load/cpus") == online.len() as u64;
        self.claim(complete, "the stress test was not on every CPU");
        // A CPU that did not come in time need not be back by the end.
        let aborted = self.value("/decision/outcome") == "aborted";
        // A repaint given up before any CPU was called has no stop to check during.
        let uncalled = aborted && self.number("/decision/attempts") == 0;
        for (cpu, lines) in online.iter().zip(per_cpu) {
            let late = aborted && self.error_says(&format!("missing: CPU {}", cpu["id"]));
            let phases: &[&str] = match (late, uncalled) {
                (true, _) => &["before"],
                (false, true) => &["before", "after"],
                (false, false) => &["before", "during", "after"],
            };
            for phase in phases {
                let checked = lines[phase].as_u64() > Some(0);
                self.claim(checked, format_args!("CPU {} checked nothing {phase} the stop", cpu["id"]));
            }
        }
    }
}

/// Bytes of a range of the report.
fn length(range: &Value) -> Option<u64> {
    range[1].as_u64()?.checked_sub(range[0].as_u64()?)
}
