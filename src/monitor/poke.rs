// SPDX-License-Identifier: MIT OR Apache-2.0
//! Monitor commands that change something.
#![allow(unsafe_code, reason = "some faults are made by doing what must not be done")]

extern crate alloc;

use alloc::format;
use core::fmt::Write as _;

use cleave::aarch64::translate;
use cleave::linear_map::{Form, Outcome, Repainted};
use cleave::tables::VirtAddr;

use super::commands::{Done, Wrong, address, needs_none, number};
use super::session::{Screen, Session};
use crate::check::audit as auditor;
use crate::check::inject;
use crate::check::patches;
use crate::check::pool;
use crate::check::stress as worker;
use crate::check::watch;
use crate::cpu::percpu::this_cpu;
use crate::cpu::power;
use crate::cpu::smp;
use crate::io::console;
use crate::irq::exceptions::{ProbeFailed, faulting_load, probe_read, probe_write};
use crate::mm::address_class::Place;
use crate::mm::image::Section;
use crate::mm::layout::Part;
use crate::mm::memory;
use crate::mm::repaint::any_held;
use crate::options;
use crate::report::verdict::Verdict;

pub(super) fn split(words: &[&str]) -> Done {
    needs_none(words)?;
    if options::current().fill == Form::InWindow && any_held() {
        return Err("fill=window maps all memory for itself, and some is read-only or unmapped".into());
    }
    if memory::map().counts().stats.tables_to_split(memory::GEOMETRY) == 0 {
        return Err("the linear map is in pages already".into());
    }
    let account = watch::repaint();
    for text in &account.errors {
        writeln!(Screen, "  {text}")?;
    }
    let Repainted { outcome, frame_counts, measured, .. } = account.repainted;
    if outcome != Outcome::Done {
        return Err(format!("nothing has changed: {outcome}").into());
    }
    writeln!(
        Screen,
        "  {} tables reserved, {} used, {} given back",
        frame_counts.reserved, frame_counts.used, frame_counts.returned
    )?;
    if let Some(measured) = measured {
        let window = measured.ended.wrapping_sub(measured.began);
        writeln!(Screen, "  {} ticks in all, {window} of them in the window", account.total)?;
    }
    Ok(())
}

/// The most bytes that a command copies.
const MOST_BYTES: u64 = 64;

/// Parses the number of bytes to copy.
fn length(text: &str) -> Result<usize, Wrong> {
    let bytes = number(text)?;
    if bytes > MOST_BYTES { Err(format!("at most {MOST_BYTES} bytes").into()) } else { Ok(bytes as usize) }
}

/// Says how far a copy came.
fn write_copied(copied: Result<(), ProbeFailed>, length: usize, bytes: &[u8]) -> Done {
    let done = copied.map_or_else(|failed| failed.done, |()| length);
    write!(Screen, "  {done} bytes")?;
    for (place, byte) in bytes.iter().take(done).enumerate() {
        write!(Screen, "{} {byte:02x}", if place == 0 { ":" } else { "" })?;
    }
    match copied {
        Ok(()) => writeln!(Screen)?,
        Err(failed) => writeln!(Screen, ", then {failed}")?,
    }
    Ok(())
}

/// Reads bytes that may not be mapped.
fn probe_bytes(at: &str, bytes: &str) -> Done {
    let (mut buffer, length) = ([0; MOST_BYTES as usize], length(bytes)?);
    let copied = probe_read(address(at)?, &mut buffer[..length]);
    write_copied(copied, length, &buffer[..length])
}

/// Stores bytes where that may fault.
pub(super) fn poke(_: &mut Session, words: &[&str]) -> Done {
    let [at, bytes, value] = words else { return Err(Wrong::Usage) };
    let value = u8::try_from(number(value)?).map_err(|_| Wrong::from("a byte is 0 to 255"))?;
    let length = length(bytes)?;
    // SAFETY: none: the person at the console answers for what was there.
    let copied = unsafe { probe_write(address(at)?, &[value; MOST_BYTES as usize][..length]) };
    write_copied(copied, length, &[])
}

pub(super) fn probe(_: &mut Session, words: &[&str]) -> Done {
    let address = match words {
        [at] => address(at)?,
        [at, bytes] => return probe_bytes(at, bytes),
        _ => return Err(Wrong::Usage),
    };
    if !address.is_aligned(8) {
        return Err("a word lies at a multiple of 8".into());
    }
    if let Place::Devices = Place::of(address) {
        return Err("a load from a device may change it".into());
    }
    writeln!(Screen, "  {}", Place::of(address))?;
    match faulting_load(address) {
        Some(word) => writeln!(Screen, "  holds {word:#018x}, at {}", translate::read(address))?,
        None => writeln!(Screen, "  the load faults: {}", translate::read(address))?,
    }
    writeln!(Screen, "  a store would meet: {}", translate::write(address))?;
    Ok(())
}

pub(super) fn patch(session: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    let calls = patches::check().map_err(|failed| {
        session.verdict = Verdict::Fail;
        format!("{failed}")
    })?;
    writeln!(
        Screen,
        "  4 changes of code that {} CPUs called {calls} times: each executed the new code",
        smp::online_count()
    )?;
    writeln!(Screen, "  6 changes that must not be were refused")?;
    Ok(())
}

pub(super) fn load(session: &mut Session, words: &[&str]) -> Done {
    match words {
        ["on"] if worker::is_on() => Err("the stress test is on already".into()),
        ["on"] => {
            worker::start();
            Ok(())
        }
        ["off"] if !worker::is_on() => Err("the stress test is off already".into()),
        ["off"] => {
            let account = worker::stop();
            writeln!(Screen, "  {} lines checked, {} mismatches", account.lines, account.mismatches)?;
            if account.mismatches != 0 {
                session.verdict = Verdict::Fail;
            }
            Ok(())
        }
        _ => Err(Wrong::Usage),
    }
}

pub(super) fn audit(session: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    let found = auditor::audit();
    writeln!(Screen, "  {found}")?;
    for text in &found.named {
        writeln!(Screen, "  {text}")?;
    }
    if !found.is_clean() {
        session.verdict = Verdict::Fail;
    }
    Ok(())
}

pub(super) fn rendezvous(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    let measured = watch::empty_rendezvous(None).map_err(|refused| format!("{refused}"))?;
    let (gather, release) = (measured.began.wrapping_sub(measured.kicked), measured.gone.wrapping_sub(measured.ended));
    writeln!(Screen, "  {gather} ticks to gather, {release} to let go")?;
    Ok(())
}

pub(super) fn fault(_: &mut Session, words: &[&str]) -> Done {
    let [kind] = words else { return Err(Wrong::Usage) };
    let target = match *kind {
        "null" => VirtAddr(8),
        "hole" => memory::linear(memory::layout().regions().last().ok_or("there is no memory")?.end),
        "guard" => VirtAddr(this_cpu().slot.range(Part::Thread).start.0 - 8),
        "alias" => memory::linear(Section::Text.phys().start),
        "branch" => {
            inject::wild_branch();
            return Err("the branch came back".into());
        }
        "overflow" => {
            inject::overflow_stack();
            return Err("the recursion ended".into());
        }
        "pool" => {
            pool::overflow();
            return Err("the store behind an object went through".into());
        }
        _ => return Err(Wrong::Usage),
    };
    // SAFETY: none: nothing may be stored there, and the store must fault.
    unsafe { core::hint::black_box(target.0 as *mut u64).write(0) };
    Err("the store went through".into())
}

pub(super) fn panic(_: &mut Session, words: &[&str]) -> Done {
    match words {
        [] => panic!("asked for on the monitor"),
        [word] => panic!("asked for on the monitor: {word}"),
        _ => Err(Wrong::Usage),
    }
}

pub(super) fn reboot(_: &mut Session, words: &[&str]) -> Done {
    needs_none(words)?;
    console::drain();
    Err(match power::reset() {
        Some(error) => format!("PSCI SYSTEM_RESET: {error}").into(),
        None => "this machine's firmware has no PSCI to restart it with".into(),
    })
}
