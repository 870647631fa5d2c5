// SPDX-License-Identifier: MIT OR Apache-2.0
//! A watched boot: the plugin of `crates/cleave-watch` beside it, and what that reports.

use crate::{
    image::{ROOT, image},
    qemu::{Boot, Run},
};
use serde_json::Value;
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// A boot and what was seen of it.
pub(crate) struct Watched {
    /// The boot.
    pub(crate) run: Run,
    /// The watcher's report.
    pub(crate) seen: Value,
}

/// The plugin, built once. It is part of the workspace, in the profile that the abstract machine is tested in.
fn plugin() -> &'static PathBuf {
    static PLUGIN: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let plugin = PLUGIN.get_or_init(|| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--profile", "model", "--package", "cleave-watch"])
            .current_dir(ROOT)
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        if !built.status.success() {
            return Err(String::from_utf8_lossy(&built.stderr).into_owned());
        }
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        Ok(PathBuf::from(ROOT).join(target).join("model").join(format!("{prefix}cleave_watch{suffix}")))
    });
    plugin.as_ref().unwrap_or_else(|why| panic!("no watcher: {why}"))
}

/// Returns whether this QEMU cannot load any such plugin: too old, or built without plugins.
fn is_too_old(run: &Run) -> bool {
    let refusals = ["but this QEMU supports only", "-plugin: invalid option", "undefined symbol: qemu_plugin"];
    run.status == Some(2) && refusals.iter().any(|refusal| run.console.contains(refusal))
}

impl Boot {
    /// Boots under the watcher, counted and so on one thread and the same each time. `None`, and a line on standard error,
    /// where this QEMU cannot be watched.
    pub(crate) fn watch(self) -> Option<Watched> {
        self.watch_image(image(), "")
    }

    /// The same with every seeded defect judged as well.
    pub(crate) fn watch_with_defects(self) -> Option<Watched> {
        self.watch_image(image(), ",defects=all")
    }

    /// The same with another image, and further arguments of the plugin.
    pub(crate) fn watch_image(self, image: &Path, arguments: &str) -> Option<Watched> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("watched-{}-{number}.json", std::process::id()));
        let plugin = format!("'{}',report='{}'{arguments}", plugin().display(), file.display());
        let run = self.counted().qemu(&format!("-plugin {plugin}")).run_image(image);
        if is_too_old(&run) {
            // Not by a macro: the test harness keeps what those print when a test passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: the watcher needs a QEMU with plugins of version 4 (QEMU 10): {}",
                run.console.lines().find(|line| line.contains("plugin")).unwrap_or_default()
            );
            return None;
        }
        let seen = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(Value::Null);
        let _ = fs::remove_file(&file);
        Some(Watched { run, seen })
    }
}

impl Watched {
    /// Fails the test, with everything there is to see, unless `claim` holds.
    #[track_caller]
    pub(crate) fn claim(&self, claim: bool, what: &str) {
        let text = self.seen["text"].as_str().unwrap_or_default();
        self.run.claim(claim, format_args!("{what}\n\n{text}\n{:#}", self.seen));
    }

    /// A number of the watcher's report.
    #[track_caller]
    pub(crate) fn number(&self, path: &str) -> u64 {
        let number = self.seen.pointer(path).and_then(Value::as_u64);
        self.claim(number.is_some(), &format!("{path} is no number"));
        number.unwrap_or_default()
    }

    /// The machine found this rule broken: `ok` for none.
    #[track_caller]
    pub(crate) fn judged(&self, verdict: &str) -> &Self {
        self.claim(self.seen["verdict"] == verdict, &format!("the verdict is not {verdict}"));
        self
    }

    /// No rule was broken, and enough was seen to say so.
    #[track_caller]
    pub(crate) fn clean(&self) -> &Self {
        self.run.passed();
        self.judged("ok");
        self.claim(self.seen["settled"] == true, "something old may still be cached");
        self.claim(self.number("/device_stores") > 0, "no access to a device was seen");
        let without = self.seen["devices_without_syndrome"].as_array().is_none_or(|found| !found.is_empty());
        self.claim(!without, "a device was accessed by an instruction that a hypervisor cannot emulate");
        let cpus = self.seen["cpus"].as_array().map_or(0, Vec::len) as u64;
        self.claim(cpus == self.run.boot.smp, "another number of CPUs was seen");
        for cpu in 0..cpus {
            // The identity map, the first root of the upper half, and the empty root after it; then the real one.
            let roots = if cpu == 0 { 3 } else { 4 };
            self.claim(self.number(&format!("/cpus/{cpu}/roots")) >= roots, "roots were missed");
            self.claim(self.number(&format!("/cpus/{cpu}/local_tlbis")) >= 2, "local invalidations were missed");
            for count in ["dsbs", "synchronisations", "accesses", "acquires"] {
                self.claim(self.number(&format!("/cpus/{cpu}/{count}")) > 0, &format!("CPU {cpu} has no {count}"));
            }
        }
        self
    }

    /// The same, and the map was split: what the watcher saw of it is what the kernel says.
    #[track_caller]
    pub(crate) fn split(&self) {
        self.clean();
        self.run.split();
        self.claim(self.number("/breaks") > 0, "no entry was broken");
        let [used, returned] = ["used", "returned"].map(|count| self.run.number(&format!("/tables/{count}")));
        self.claim(self.number("/tables_new") == used, "another number of new tables than the kernel says");
        let gone = self.number("/tables_before") + used - self.number("/tables_after");
        self.claim(gone == returned, "another number of tables was given back than the kernel says");
        self.claim(self.number("/cpus/0/broadcast_tlbis") > 0, "no broadcast invalidation was seen");
        let stores: u64 = (0..self.run.boot.smp).map(|cpu| self.number(&format!("/cpus/{cpu}/table_stores"))).sum();
        self.claim(stores >= used * 512, "fewer descriptors were stored than the new tables hold");
    }
}
