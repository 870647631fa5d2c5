// SPDX-License-Identifier: MIT OR Apache-2.0
//! The monitor command for secret frames.

extern crate alloc;

use alloc::format;
use core::fmt::Write as _;

use super::commands::{Done, Wrong, number};
use super::session::{Screen, Session};
use crate::check::{secrets, watch};
use crate::mm::memory;
use crate::mm::secret::return_batches;
use crate::report::verdict::Verdict;

pub(super) fn secret(session: &mut Session, words: &[&str]) -> Done {
    let transactions = || memory::map().counts().changes.transactions;
    let before = transactions();
    match words {
        ["take", count] => take(session, number(count)?)?,
        ["return"] => give_back(session)?,
        _ => return Err(Wrong::Usage),
    }
    writeln!(Screen, "  transactions of the map: {}", transactions() - before)?;
    Ok(())
}

/// Takes frames, and checks each.
fn take(session: &mut Session, count: u64) -> Done {
    for taken in 0..count {
        match secrets::take() {
            Ok(Ok(frame)) => session.secrets.push(frame),
            Ok(Err(leak)) => {
                session.verdict = Verdict::Fail;
                return Err(format!("secret frame {taken}: {leak}").into());
            }
            Err(error) => return Err(format!("{taken} secret frames taken, then {error}").into()),
        }
    }
    if let Some(last) = session.secrets.last() {
        writeln!(Screen, "  {count} secret frames taken, the last one {}", last.physical())?;
    }
    Ok(())
}

/// Gives every frame back, and the batches to the linear map.
fn give_back(session: &mut Session) -> Done {
    let count = session.secrets.len();
    session.secrets.clear();
    let batches = return_batches(watch::change).map_err(|refusal| format!("the frames stay unmapped: {refusal}"))?;
    writeln!(Screen, "  {count} secret frames returned, {batches} batches mapped again")?;
    Ok(())
}
