// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rooms together, as a kernel uses them: paint, reserve, split by either way, give back. What a test expects is
//! computed from the memory regions or from a record of the map before, never by the code under test.

mod failing;
mod filling;
mod painting;
mod plan;
mod refusing;
mod splitting;
mod window;
mod world;
