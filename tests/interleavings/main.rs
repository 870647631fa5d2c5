// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every interleaving of the code that several CPUs share: the rendezvous, the map lock and its counts, the filling of tables.
//!
//! `scripts/check interleavings` runs them. Loom runs a model again and again until every
//! order of its threads' atomic operations, and every value that a load may find under the C11 memory model, has been
//! tried. What must not be touched at the same time is in loom's cells, which notice two accesses that nothing orders.
//!
//! One scenario a model. Two CPUs go through everything; with three the number of preemptions is bounded, and printed. Each
//! model is run once more with all acquires and once with all releases weakened, and must fail then. `orderings` weakens
//! each ordering of the source by itself.

mod atomics;
mod cpu;
mod filling;
mod ipis;
mod lock;
mod model;
mod orderings;
mod parking;
mod snapshot;
mod world;
