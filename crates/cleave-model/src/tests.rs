// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine, tried on hand-made sequences, on Arm's litmus tests, on the real code, and against an oracle.

mod completion;
mod edits;
mod instructions;
mod litmus;
mod oracle;
mod rules_asid;
mod rules_caches;
mod rules_change;
mod rules_context;
mod rules_contiguous;
mod rules_found;
mod rules_invalidate;
mod rules_order;
mod rules_synchronise;
mod rules_tlbi;
mod rules_window;
mod small;
