// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log: the `log` facade on the console, with the time, the CPU and the level of each record.
//!
//! ```text
//! [     0.012] cpu0 info: 4 CPUs online
//! ```

use core::fmt;

/// Milliseconds as seconds, the way a record shows them.
pub(crate) struct Stamp(pub(crate) u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:6}.{:03}]", self.0 / 1000, self.0 % 1000)
    }
}

/// Returns `ticks` of a counter of `frequency` Hz in milliseconds, without overflow for any count; 0 if firmware left
/// the frequency out.
pub(crate) const fn milliseconds(ticks: u64, frequency: u64) -> u64 {
    if frequency == 0 {
        return 0;
    }
    (ticks / frequency).saturating_mul(1000) + (ticks % frequency).saturating_mul(1000) / frequency
}

/// Returns the text of a level in the log.
pub(crate) const fn label(level: log::Level) -> &'static str {
    match level {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    }
}

#[cfg(target_os = "none")]
pub(crate) use installed::*;

#[cfg(target_os = "none")]
mod installed {
    use core::fmt;
    use core::sync::atomic::{AtomicU64, Ordering};

    use cleave::aarch64::timer;
    use log::{LevelFilter, Log, Metadata, Record};

    use super::{Stamp, label, milliseconds};
    use crate::cpu::ban::{self, Ban};
    use crate::cpu::percpu;
    use crate::io::console;

    /// The level without further notice.
    pub(crate) const DEFAULT_LEVEL: LevelFilter = LevelFilter::Info;

    /// The counter at the kernel's entry: time zero of the log.
    static BOOT: AtomicU64 = AtomicU64::new(0);

    /// The time at which it is written: under the console's lock, so that the stamps of all CPUs ascend.
    struct Now;

    impl fmt::Display for Now {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Stamp(since_boot()).fmt(f)
        }
    }

    struct ConsoleLog;

    impl Log for ConsoleLog {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= log::max_level()
        }

        fn log(&self, record: &Record<'_>) {
            ban::check(Ban::Log);
            if self.enabled(record.metadata()) {
                let cpu = percpu::try_this_cpu().map_or(0, |cpu| cpu.id);
                let level = label(record.level());
                console::print(format_args!("{Now} cpu{cpu} {level}: {}\n", record.args()));
            }
        }

        fn flush(&self) {
            console::drain();
        }
    }

    /// Milliseconds since the kernel's entry.
    pub(crate) fn since_boot() -> u64 {
        milliseconds(timer::count().wrapping_sub(BOOT.load(Ordering::Relaxed)), timer::frequency())
    }

    /// Sends the records of `level` and above to the console. `boot` is the counter at the kernel's entry. A second
    /// call changes the two.
    pub(crate) fn init(level: LevelFilter, boot: u64) {
        BOOT.store(boot, Ordering::Relaxed);
        // An error says only that it is installed already.
        let _ = log::set_logger(&ConsoleLog);
        log::set_max_level(level);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;

    #[test]
    fn a_stamp_has_seconds_and_milliseconds_in_a_column() {
        assert_eq!(format!("{}", Stamp(12_345)), "[    12.345]");
        assert_eq!(format!("{}", Stamp(7)), "[     0.007]");
        assert_eq!(format!("{}", Stamp(12_345_678_901)), "[12345678.901]");
    }

    #[test]
    fn ticks_become_milliseconds_at_any_count_and_frequency() {
        assert_eq!(milliseconds(62_500_000 * 12 + 62_500 * 345, 62_500_000), 12_345);
        assert_eq!(milliseconds(53_999, 54_000_000), 0);
        assert_eq!(milliseconds(u64::MAX, 1_000_000_000), u64::MAX / 1_000_000);
        assert_eq!(milliseconds(1234, 0), 0);
    }
}
