//! The kernel on top of the library: everything that belongs to this image and to no other.
//!
//! Most of it exists on the device alone; what is data or text is compiled, and tested, on the host as well.

pub(crate) mod audit;
pub(crate) mod boot;
pub(crate) mod console;
pub(crate) mod counter;
pub(crate) mod dump;
pub(crate) mod early;
pub(crate) mod errata;
pub(crate) mod exceptions;
pub(crate) mod faults;
pub(crate) mod firmware;
pub(crate) mod gic;
pub(crate) mod guard;
pub(crate) mod heap;
pub(crate) mod image;
pub(crate) mod interrupts;
pub(crate) mod landmarks;
pub(crate) mod last_resort;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod lock;
pub(crate) mod logger;
pub(crate) mod memory;
pub(crate) mod mmio;
pub(crate) mod monitor;
pub(crate) mod percpu;
pub(crate) mod place;
pub(crate) mod power;
pub(crate) mod probe;
pub(crate) mod repaint;
pub(crate) mod report;
pub(crate) mod serial;
pub(crate) mod smp;
pub(crate) mod spin_table;
pub(crate) mod stop;
pub(crate) mod story;
pub(crate) mod views;
pub(crate) mod wait;
