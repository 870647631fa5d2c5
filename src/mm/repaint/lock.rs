// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map lock for callers that may wait.

use cleave::aarch64::{hint, interrupts};
use cleave::linear_map::{ChangeError, MapLockGuard};

use crate::cpu::percpu::this_cpu;
use crate::cpu::smp;
use crate::mm::memory;

/// Takes the right to change the linear map, and waits while another CPU has it. This CPU's other work goes on meanwhile, and
/// interrupts stay open: the holder may be about to stop every CPU.
///
/// # Errors
/// [`ChangeError::WouldWait`] when it is taken and interrupts are masked here.
pub(crate) fn wait_for_map() -> Result<MapLockGuard<'static>, ChangeError> {
    let map = memory::map();
    loop {
        if let Ok(held) = map.try_lock() {
            return Ok(held);
        }
        if interrupts::are_masked() {
            return Err(ChangeError::WouldWait);
        }
        smp::work_once(this_cpu());
        // The event stream ends it after some 100 us at the latest (boot/el1.S).
        hint::wait_for_event();
    }
}
