// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of monitor commands.

extern crate alloc;

use core::fmt::Write as _;

use super::commands::{Command, Done, Usage, Wrong, needs_none};
use super::session::{Screen, Session};
use super::{change, inspect, poke, pool, secret};

/// Every command, as `help` lists them.
pub(super) static COMMANDS: [Command; 25] = [
    Command {
        name: "help",
        usage: "[COMMAND]",
        about: "lists the commands, or explains one",
        example: "help pt",
        run: help,
    },
    Command {
        name: "cpus",
        usage: "",
        about: "every CPU: core, level of FEAT_BBM, how it was started, state",
        example: "cpus",
        run: inspect::cpus,
    },
    Command {
        name: "map",
        usage: "[ttbr0|ttbr1|ADDRESS SIZE]",
        about: "everything mapped, folded to ranges; or maps again what `unmap` took away",
        example: "map ttbr1",
        run: change::map,
    },
    Command {
        name: "protect",
        usage: "ADDRESS SIZE ro|rw",
        about: "makes free memory of the linear map read-only, or writable again",
        example: "protect 0xffff000048000000 4K ro",
        run: change::protect,
    },
    Command {
        name: "unmap",
        usage: "ADDRESS SIZE",
        about: "takes free memory out of the linear map",
        example: "unmap p:0x48000000 64K",
        run: change::unmap,
    },
    Command {
        name: "collapse",
        usage: "[ADDRESS SIZE]",
        about: "makes the leaves of the linear map as large as they can be",
        example: "collapse",
        run: change::collapse,
    },
    Command {
        name: "secret",
        usage: "take N|return",
        about: "takes frames that are out of the linear map and checks them, or gives them all back",
        example: "secret take 4",
        run: secret::secret,
    },
    Command {
        name: "churn",
        usage: "CALLS",
        about: "changes the map from all CPUs at once, and undoes it; collapses it before and after",
        example: "churn 1000",
        run: change::churn,
    },
    Command {
        name: "pt",
        usage: "ADDRESS",
        about: "the way from the root table to an address, every descriptor by name",
        example: "pt 0xffff000040000000",
        run: inspect::pt,
    },
    Command {
        name: "leaves",
        usage: "",
        about: "the leaves of the linear map by size, counted now",
        example: "leaves",
        run: inspect::leaves,
    },
    Command {
        name: "frames",
        usage: "",
        about: "the frame allocator and the heap",
        example: "frames",
        run: inspect::frames,
    },
    Command {
        name: "stats",
        usage: "",
        about: "the changes of the map; interrupts, TLB conflicts, stale faults and lines checked of each CPU",
        example: "stats",
        run: inspect::stats,
    },
    Command {
        name: "timeline",
        usage: "",
        about: "when each CPU came to the last rendezvous and left it, in ticks after the call",
        example: "timeline",
        run: inspect::timeline,
    },
    Command {
        name: "split",
        usage: "[ADDRESS SIZE [1G|2M|4K]]",
        about: "splits the linear map into pages with every CPU stopped, or a range of it to leaves of a size",
        example: "split",
        run: change::split,
    },
    Command {
        name: "pool",
        usage: "open N|check|close",
        about: "opens the guarded pool with N objects, looks for bytes written beside them, or closes it",
        example: "pool open 16",
        run: pool::pool,
    },
    Command {
        name: "probe",
        usage: "ADDRESS [SIZE]",
        about: "loads a word or up to 64 bytes, or says which fault the load takes",
        example: "probe 0xffff000040000000",
        run: poke::probe,
    },
    Command {
        name: "poke",
        usage: "ADDRESS SIZE BYTE",
        about: "stores up to 64 equal bytes whatever was there, or says which fault the store takes",
        example: "poke p:0x48000000 8 0x5a",
        run: poke::poke,
    },
    Command {
        name: "patch",
        usage: "",
        about: "changes instructions of a function that every CPU calls, live and with every CPU stopped",
        example: "patch",
        run: poke::patch,
    },
    Command {
        name: "load",
        usage: "on|off",
        about: "keeps every CPU busy on the linear map, or stops that and checks every line",
        example: "load on",
        run: poke::load,
    },
    Command {
        name: "audit",
        usage: "",
        about: "asks the MMU for every page, and walks everything for W^X",
        example: "audit",
        run: poke::audit,
    },
    Command {
        name: "fault",
        usage: "KIND",
        about: "takes a fault, which ends the run: null, hole, guard, alias (of the kernel), branch, overflow or pool",
        example: "fault guard",
        run: poke::fault,
    },
    Command {
        name: "panic",
        usage: "[WORD]",
        about: "panics, which ends the run",
        example: "panic enough",
        run: poke::panic,
    },
    Command {
        name: "reboot",
        usage: "",
        about: "restarts the machine by PSCI SYSTEM_RESET",
        example: "reboot",
        run: poke::reboot,
    },
    Command { name: "off", usage: "", about: "ends the run with its verdict", example: "off", run: off },
    Command {
        name: "rendezvous",
        usage: "",
        about: "gathers every CPU once, for nothing, and says how long it took",
        example: "rendezvous",
        run: poke::rendezvous,
    },
];

fn help(_: &mut Session, words: &[&str]) -> Done {
    match words {
        [] => {
            for command in &COMMANDS {
                writeln!(Screen, "  {:<11}{:<14} {}", command.name, command.usage, command.about)?;
            }
            writeln!(Screen, "`help COMMAND` has an example. Up and Down go through what was typed before.")?;
            Ok(())
        }
        [name] => {
            let found = COMMANDS.iter().find(|command| command.name == *name);
            let command = found.ok_or_else(|| alloc::format!("no command {name}"))?;
            writeln!(Screen, "{}: {}", command.name, command.about)?;
            writeln!(Screen, "usage: {}", Usage(command))?;
            writeln!(Screen, "example: {}", command.example)?;
            Ok(())
        }
        _ => Err(Wrong::Usage),
    }
}

fn off(session: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    session.over = true;
    Ok(())
}
