// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of a boot, as tables for people and as one line of JSON for programs; and the end of the run, with the
//! reports of panics and of exceptions that end it.
//!
//! It measures nothing and decides nothing. `data` holds the facts, and `builder` records them as they become known.

pub(crate) mod builder;
pub(crate) mod data;
pub(crate) mod ending;
pub(crate) mod errata;
pub(crate) mod fault;
mod json;
mod mapping;
mod members;
mod panic;
pub(crate) mod stopped;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod verdict;
mod wrap;
