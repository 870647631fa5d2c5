//! The machine, tried on hand-made sequences, on Arm's litmus tests, and on the real code.

mod edits;
mod instructions;
mod litmus;
mod rules_asid;
mod rules_caches;
mod rules_change;
mod rules_context;
mod rules_contiguous;
mod rules_invalidate;
mod rules_order;
mod rules_synchronise;
mod rules_tlbi;
mod rules_window;
mod small;
