// SPDX-License-Identifier: MIT OR Apache-2.0
//! The modules of the linear map together, as a kernel uses them: paint, reserve, split in either form, give back. The
//! expected values are computed from the memory regions or from a record of the map before, never by the code under
//! test.

mod changing;
mod failing;
mod filling;
mod painting;
mod plan;
mod refusing;
mod splitting;
mod window;
mod world;
