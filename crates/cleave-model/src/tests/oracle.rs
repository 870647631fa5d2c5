// SPDX-License-Identifier: MIT OR Apache-2.0
//! An oracle for the machine: is *it* right?
//!
//! The machine reasons: it keeps the past as stale entries, and clocks for what each CPU knows of. The oracle does not
//! reason. It has memory as the list of all its stores, and for each CPU a TLB with things in it, a walker that sees
//! some of the stores, and invalidations under way; and it follows everything that can happen between two events, to
//! the last state. That is only possible in a very small world ([`world`]) and for short programs ([`program`]). There,
//! the two must say the same: see [`compare`].
//!
//! They share the types of `paging` and the names of what a CPU does, and no rule.

mod compare;
mod declared;
mod differential;
mod every_state;
mod generate;
mod judge;
mod memory;
mod mutants;
mod observer;
mod order;
mod program;
mod recent;
mod world;
