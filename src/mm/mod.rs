// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory management: layout, mappings, frames, heap, and this kernel's repaint.

pub(crate) mod address_class;
pub(crate) mod dump;
pub(crate) mod early;
pub(crate) mod guarded;
pub(crate) mod heap;
pub(crate) mod image;
pub(crate) mod init_data;
pub(crate) mod layout;
pub(crate) mod memory;
pub(crate) mod patch;
pub(crate) mod repaint;
pub(crate) mod ro_after_init;
pub(crate) mod secret;
pub(crate) mod temporary_page;
pub(crate) mod views;
