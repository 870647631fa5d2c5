// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real code on the abstract machine, as a user of the library sees both: whole runs, and random ones.
//!
//! `cargo test --profile model -p cleave-model --test whole` runs ten thousand cases; PROPTEST_CASES says another
//! number, `make soak` goes on as long as it is told.

mod case;
mod changes;
mod defect;
mod other_kernel;
mod plant;
mod promises;
mod properties;
mod session;
mod steps;
mod whole;
mod world;
