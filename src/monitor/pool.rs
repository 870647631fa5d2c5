// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitor command for the guarded pool.

extern crate alloc;

use alloc::format;
use core::fmt::Write as _;

use super::change::tell;
use super::commands::{Done, Wrong, number};
use super::session::{Screen, Session};
use crate::check::watch::Plain;
use crate::mm::guarded::{self, PoolError};
use crate::report::verdict::Verdict;

pub(super) fn pool(session: &mut Session, words: &[&str]) -> Done {
    match words {
        ["open", objects] => open(number(objects).map_err(|_| format!("{objects} is no number of objects"))?),
        ["check"] => check(session),
        ["close"] => close(),
        _ => Err(Wrong::Usage),
    }
}

fn open(objects: u64) -> Done {
    let (range, account) = guarded::open(objects, &Plain).map_err(refused)?;
    writeln!(Screen, "  {objects} objects in {range}")?;
    tell(account)
}

fn check(session: &mut Session) -> Done {
    let found = guarded::check().map_err(|error| format!("{error}"))?;
    writeln!(Screen, "  objects allocated: {}, free: {}, damaged: {}", found.live, found.free, found.damage.len())?;
    for damage in &found.damage {
        write!(Screen, "  {damage} by:\n{}", damage.backtrace())?;
        session.verdict = Verdict::Fail;
    }
    Ok(())
}

fn close() -> Done {
    let closed = guarded::close(&Plain).map_err(refused)?;
    writeln!(Screen, "  {} is mapped and free again", closed.range)?;
    match closed.collapsed {
        Ok(account) => tell(account),
        Err(refusal) => Err(format!("its leaves stay small: {refusal}").into()),
    }
}

fn refused(error: PoolError) -> Wrong {
    format!("nothing has changed: {error}").into()
}
