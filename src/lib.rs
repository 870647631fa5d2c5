//! cleave: paint a kernel's linear map in the largest blocks, and split it to pages while every CPU stands still.
#![cfg_attr(not(any(test, loom)), no_std)]

pub mod arch;
pub mod linear_map;
pub mod paging;
pub mod platform;
pub mod rendezvous;
mod sync;
