// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that the tests rely on beyond the interface: faults, words on the console, reasons of a parked CPU.
//!
//! The kernel follows this list or this list follows the kernel; no other test file spells one of these out.

/// Faults, as in `fault=`.
pub(crate) mod fault {
    /// The reservation fails at its fifth frame.
    pub(crate) const RESERVE_FIFTH: &str = "reserve:5";
    /// The reservation fails at its first frame.
    pub(crate) const RESERVE_FIRST: &str = "reserve:1";
    /// The reservation fails close to its end, of 1 GiB.
    pub(crate) const RESERVE_LATE: &str = "reserve:400";
    /// CPU 2 is late for one rendezvous, by more than the deadline and less than two retries take.
    pub(crate) const LATE_ONCE: &str = "cpu2.late:80";
    /// CPU 2 stops while it fills tables, for longer than the deadline.
    pub(crate) const STALLED: &str = "cpu2.stall:700";
    /// CPU 2 is late for more than every attempt together.
    pub(crate) const LATE_FOR_EVER: &str = "cpu2.late:5000";
    /// CPU 3 is started and never checks in.
    pub(crate) const ABSENT: &str = "cpu3.absent";
    /// `CPU_ON` of CPU 1 answers `INVALID_PARAMETERS`.
    pub(crate) const PSCI_INVALID: &str = "cpu1.psci:-2";
    /// `CPU_ON` of CPU 3 answers `INTERNAL_FAILURE`.
    pub(crate) const PSCI_INTERNAL: &str = "cpu3.psci:-6";
    /// A CPU that takes a lock is kicked.
    pub(crate) const LOCK_CALL: &str = "lock.call";
    /// A byte of the stress test's memory changes.
    pub(crate) const LOAD_FLIP: &str = "load.flip";
    /// Two lines of the stress test's memory change places.
    pub(crate) const LOAD_SWAP: &str = "load.swap";
    /// A frame is taken and never given back.
    pub(crate) const FRAME_LEAK: &str = "frame.leak";
    /// A leaf changes before the audit.
    pub(crate) const AUDIT_FLIP: &str = "audit.flip";
    /// Faults that the audit finds in one boot, each in one place, with the text of its error.
    pub(crate) const AUDITED: [(&str, &str); 7] = [
        ("page.readonly", "cannot be written"),
        ("hole.mapped", "a hole in memory"),
        ("text.writable", "is a writable alias of code"),
        ("rodata.execute", "r-x where r-- is right"),
        ("guard.mapped", "the page below the exception stack of CPU 0"),
        ("census.count", "single leaves of level 1 and not 1"),
        ("cpu1.wxn", "CPU 1: SCTLR_EL1.WXN is 0x0, not 0x1"),
    ];
    /// A store to data that is read-only after init, by its own address and through the linear map.
    pub(crate) const RO_AFTER_INIT: [(&str, &str); 2] =
        [("rodata.write", "the kernel image"), ("rodata.alias", "the kernel alias in the linear map")];
    /// A load of a secret frame through the linear map.
    pub(crate) const SECRET_TOUCH: &str = "secret.touch";
    /// A store behind an object of the guarded pool.
    pub(crate) const POOL_OVERFLOW: &str = "pool.overflow";
    /// A load from a freed one.
    pub(crate) const POOL_FREED: &str = "pool.freed";
    /// A store in front of one, in its page.
    pub(crate) const POOL_SLACK: &str = "pool.slack";
    /// A page is mapped again in the middle of a fault on it.
    pub(crate) const STALE_FAULT: &str = "stale.fault";
    /// The same, reported as a TLB conflict.
    pub(crate) const CONFLICT_FAULT: &str = "conflict.fault";
    /// A page becomes writable and executable.
    pub(crate) const WX: &str = "wx";
    /// A second caller asks for a rendezvous while one runs.
    pub(crate) const SECOND: &str = "rendezvous.second";
    /// The linear map is touched inside the window.
    pub(crate) const WINDOW_TOUCH: &str = "window.touch";
    /// Forbidden actions in the stop window, with the panic's word for each.
    pub(crate) const BANS: [(&str, &str); 5] = [
        ("ban.alloc", "allocation"),
        ("ban.free", "free"),
        ("ban.lock", "lock"),
        ("ban.log", "log"),
        ("ban.linear", "linear-map access"),
    ];
    /// Recursion without an end, on another CPU than the boot CPU.
    pub(crate) const STACK_SECONDARY: &str = "stack.secondary";
    /// Recursion without an end.
    pub(crate) const STACK_OVERFLOW: &str = "stack.overflow";
    /// A branch to where nothing is.
    pub(crate) const WILD_BRANCH: &str = "wild.branch";
    /// An SError that was corrected.
    pub(crate) const CORRECTED: &str = "serror.corrected";
    /// A plain panic.
    pub(crate) const PANIC: &str = "panic";
    /// The window's TLBI is left out.
    pub(crate) const NO_TLBI: &str = "probe.notlbi";
    /// The window's TLBI is done on the leader alone.
    pub(crate) const LOCAL_TLBI: &str = "probe.local";
}

/// Begins a panic's line on the console.
pub(crate) const PANIC_LINE: &str = "cleave: PANIC ";

/// The last line of a run that passed.
pub(crate) const PASS_LINE: &str = "cleave: PASS";

/// Follows the name of what was banned in the panic's line.
pub(crate) const BAN: &str = " inside the stop window on CPU ";

/// Follows the number of a CPU that stands still in the rendezvous, in the report of another one's panic.
pub(crate) const PARKED: &str = ": parked in the rendezvous";

/// In the panic's line of a stack overflow.
pub(crate) const STACK_OVERFLOW: &str = "stack overflow";

/// Behind it: which stack it was.
pub(crate) const THREAD_GUARD: &str = "guard page of its thread stack";

/// In the panic's line of a store to data that is read-only after init, behind the mapping it was made through.
pub(crate) const RO_AFTER_INIT: &str = " (read-only after init)";

/// In the panic's line of a load of a secret frame through the linear map.
pub(crate) const SECRET: &str = "translation fault, level 3, 0x";

/// Behind the address: the place it is.
pub(crate) const SECRET_PLACE: &str = ": a secret frame, out of the linear map";

/// In the panic's line of a branch to nowhere; the address stands behind it.
pub(crate) const WILD_BRANCH: &str = "instruction abort";

/// In the panic's line of an access to the broken map.
pub(crate) const WINDOW_TOUCH: &str = "data abort";

/// In the panic's line of the injected plain panic.
pub(crate) const PANIC: &str = "injected";

/// The name of a CPU on the console and in errors; its number follows.
pub(crate) const CPU: &str = "CPU ";

/// On the console under `selftest`: the probe load inside the window faulted, as it must, on the leader.
pub(crate) const PROBE_LEADER: &str = "probe on the leader: faulted";

/// The same on a follower.
pub(crate) const PROBE_FOLLOWER: &str = "probe on a follower: faulted";

/// On the console when the follower's load went through.
pub(crate) const PROBE_FOLLOWER_STALE: &str = "probe on a follower: went through";

/// In `errors` when it did not.
pub(crate) const PROBE_FAILED: &str = "probe";

/// On the console where broadcast invalidations are done twice; the reason stands behind it.
pub(crate) const TWICE: &str = "broadcast invalidations are done twice: ";

/// The label at which a CPU ends that cannot go on, with the reason in x0.
pub(crate) const PARK: &str = "cleave_park";

/// Reasons, four ASCII characters, the first in the highest byte.
pub(crate) mod reason {
    /// x0 was 0.
    pub(crate) const TREE_NONE: [u8; 4] = *b"DTB0";
    /// x0 was no multiple of 8.
    pub(crate) const TREE_ALIGN: [u8; 4] = *b"DTBA";
    /// x0 points at something else.
    pub(crate) const TREE_MAGIC: [u8; 4] = *b"DTBM";
    /// x0 points at something that has the magic and is no usable tree.
    pub(crate) const TREE_MALFORMED: [u8; 4] = *b"DTBX";
    /// The image is not at a multiple of 4 KiB.
    pub(crate) const ALIGN: [u8; 4] = *b"ALGN";
    /// The core has no 4 KiB granule.
    pub(crate) const GRANULE: [u8; 4] = *b"GRAN";
    /// Entered at EL3.
    pub(crate) const EL3: [u8; 4] = *b"EL3!";
    /// A fault before the MMU was on.
    pub(crate) const FAULT_EL1: [u8; 4] = *b"FLT1";
}
