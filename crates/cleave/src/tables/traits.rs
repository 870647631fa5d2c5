// SPDX-License-Identifier: MIT OR Apache-2.0
//! Traits through which table code reaches table memory, barriers and TLB maintenance.
//!
//! Each method is a single architectural action. On the device it compiles to the instruction; on the host it drives
//! a model, which therefore sees every store, barrier and invalidation of the very code that boots.

use super::address::{PhysAddr, PhysRange, VirtAddr};
use super::descriptor::Descriptor;
use super::tlbi::{TlbiLevels, TlbiRange};

/// Translation-table memory, reached by physical address through some mapping of it.
///
/// A value of this trait is a *view*: the linear map, the kernel image, a temporary window. A table may be
/// reachable through several; code takes the view it may use at that moment, and the one that goes through the
/// linear map is not among those that the commit gets.
pub trait TableMemory {
    /// Loads the descriptor at `slot` by one 64-bit single-copy-atomic access.
    fn load(&self, slot: PhysAddr) -> Descriptor;

    /// Stores the descriptor at `slot` by one 64-bit single-copy-atomic access, which orders nothing.
    fn store(&self, slot: PhysAddr, value: Descriptor);

    /// Stores `value`, `value + stride`, `value + 2 * stride`, ... to `count` consecutive slots from `first` on. The
    /// stores may be observed in any order.
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        let mut value = value.0;
        for index in 0..count {
            self.store(slot(first, index), Descriptor(value));
            value = value.wrapping_add(stride);
        }
    }

    /// Returns true when `count` consecutive slots from `first` on hold `value`, `value + stride`, `value + 2 * stride`, ...
    fn is_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) -> bool {
        let expected = |index: usize| value.0.wrapping_add(stride.wrapping_mul(index as u64));
        (0..count).all(|index| self.load(slot(first, index)).0 == expected(index))
    }
}

impl<T: TableMemory> TableMemory for &T {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        T::load(self, slot)
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        T::store(self, slot, value);
    }
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        T::store_run(self, first, value, stride, count);
    }
    fn is_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) -> bool {
        T::is_run(self, first, value, stride, count)
    }
}

/// Two views in one: `near` for the tables in `range`, `far` for all others.
#[derive(Clone, Copy, Debug)]
pub struct TwoViews<N, F> {
    /// The memory that `near` reaches.
    pub range: PhysRange,
    /// The view for it.
    pub near: N,
    /// The view for everything else.
    pub far: F,
}

impl<N: TableMemory, F: TableMemory> TableMemory for TwoViews<N, F> {
    #[inline]
    fn load(&self, slot: PhysAddr) -> Descriptor {
        if self.range.contains(slot) { self.near.load(slot) } else { self.far.load(slot) }
    }
    #[inline]
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        if self.range.contains(slot) {
            self.near.store(slot, value);
        } else {
            self.far.store(slot, value);
        }
    }
    #[inline]
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        // All of it in one table, and a table is on one side.
        if self.range.contains(first) {
            self.near.store_run(first, value, stride, count);
        } else {
            self.far.store_run(first, value, stride, count);
        }
    }
    #[inline]
    fn is_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) -> bool {
        if self.range.contains(first) {
            self.near.is_run(first, value, stride, count)
        } else {
            self.far.is_run(first, value, stride, count)
        }
    }
}

/// Returns the address of descriptor `index` of the table at `table`.
#[must_use]
pub const fn slot(table: PhysAddr, index: usize) -> PhysAddr {
    PhysAddr(table.0 + 8 * index as u64)
}

/// Barriers, TLB maintenance and translation registers of the CPU that executes the call.
pub trait Cpu {
    /// Executes DSB ISHST: earlier stores are observed by every table walker before anything later begins.
    fn dsb_ishst(&self);
    /// Executes DSB ISH: earlier accesses and broadcast TLBIs of this CPU are complete.
    fn dsb_ish(&self);
    /// Executes DSB NSH: earlier local TLBIs of this CPU are complete.
    fn dsb_nsh(&self);
    /// Executes an ISB: later instructions of this CPU see completed context changes and TLB maintenance.
    fn isb(&self);
    /// Executes TLBI VMALLE1IS: all stage 1 EL1&0 entries of this VMID, on every CPU of the inner shareable domain.
    fn tlbi_vmalle1is(&self);
    /// Executes TLBI VAAE1IS, or VAALE1IS where `levels` is the last alone: the entries for `address` of every ASID, on every CPU
    /// of the inner shareable domain. Unless implemented, it invalidates everything, and so what was asked for.
    fn tlbi_address(&self, _address: VirtAddr, _levels: TlbiLevels) {
        self.tlbi_vmalle1is();
    }
    /// Executes TLBI RVAAE1IS, or RVAALE1IS where `levels` is the last alone: the same for every address of `range`. Undefined on
    /// a CPU without FEAT_TLBIRANGE. Unless implemented, it invalidates everything.
    fn tlbi_range(&self, _range: TlbiRange, _levels: TlbiLevels) {
        self.tlbi_vmalle1is();
    }
    /// Executes TLBI VMALLE1: all stage 1 EL1&0 entries of this VMID, on this CPU only.
    fn tlbi_vmalle1(&self);
    /// Executes TLBI VALE1IS, the operand zero: the second invalidation on cores whose broadcast TLBI may complete
    /// early. Arm's errata notices ask for any TLBI, so the entry that it names does not matter.
    fn repeat_tlbi_workaround(&self);
    /// Writes `root`, ASID 0 and CnP 0 to TTBR0_EL1. Takes effect with the next ISB.
    fn set_ttbr0(&self, root: PhysAddr);
}

/// The number of times that a broadcast invalidation is done.
///
/// On some cores a broadcast TLBI followed by DSB can complete before every access that used the old translation
/// has; Arm's errata notices ask for a second TLBI and DSB, on every CPU of a system with such a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlbiRepeat {
    /// No core of the system needs it.
    #[default]
    Once,
    /// Some core does.
    Twice,
}

/// Makes every earlier store to a table visible to every walker and every cached translation of this VMID gone,
/// on all CPUs, before it returns.
#[inline(always)]
pub fn invalidate_everywhere<C: Cpu>(cpu: &C, repeat: TlbiRepeat) {
    invalidate(cpu, repeat, |cpu| cpu.tlbi_vmalle1is());
}

/// Makes every earlier store to a table visible to every walker and the cached translations that `tlbi` names gone, on all
/// CPUs, before it returns.
#[inline(always)]
pub fn invalidate<C: Cpu>(cpu: &C, repeat: TlbiRepeat, tlbi: impl FnOnce(&C)) {
    // Pairs the descriptor stores before with the TLBI: a walk begun after the TLBI must not see the old value.
    cpu.dsb_ishst();
    tlbi(cpu);
    // Completes the TLBI on every CPU, and with it every access made through what it invalidated.
    cpu.dsb_ish();
    if repeat == TlbiRepeat::Twice {
        cpu.repeat_tlbi_workaround();
        cpu.dsb_ish();
    }
    // This CPU's later fetches and accesses begin after the completion above.
    cpu.isb();
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::tables::fake::Event::{DsbIsh, DsbIshst, Isb, Vale1Is, Vmalle1Is};
    use crate::tables::fake::FakeCpu;

    #[test]
    fn an_invalidation_is_ordered_on_both_sides() {
        let cpu = FakeCpu::default();
        invalidate_everywhere(&cpu, TlbiRepeat::Once);
        assert_eq!(cpu.take(), [DsbIshst, Vmalle1Is, DsbIsh, Isb]);
    }

    #[test]
    fn cores_with_the_tlbi_erratum_get_a_second_tlbi_and_dsb() {
        let cpu = FakeCpu::default();
        invalidate_everywhere(&cpu, TlbiRepeat::Twice);
        assert_eq!(cpu.take(), [DsbIshst, Vmalle1Is, DsbIsh, Vale1Is, DsbIsh, Isb]);
    }

    #[test]
    fn a_run_is_single_stores_of_consecutive_descriptors() {
        #[derive(Default)]
        struct Recorder(RefCell<Vec<(u64, u64)>>);
        impl TableMemory for Recorder {
            fn load(&self, _slot: PhysAddr) -> Descriptor {
                unreachable!("a run only stores")
            }
            fn store(&self, slot: PhysAddr, value: Descriptor) {
                self.0.borrow_mut().push((slot.0, value.0));
            }
        }
        let recorder = Recorder::default();
        recorder.store_run(PhysAddr(0x4010), Descriptor(0x8000_0703), 0x1000, 3);
        recorder.store_run(PhysAddr(0x5000), Descriptor(7), 0, 0);
        // The last page there is: the value behind it is computed and never stored.
        recorder.store_run(PhysAddr(0x6000), Descriptor(u64::MAX - 0xfff), 0x1000, 1);
        let stored = [(0x4010, 0x8000_0703), (0x4018, 0x8000_1703), (0x4020, 0x8000_2703), (0x6000, u64::MAX - 0xfff)];
        assert_eq!(recorder.0.take(), stored);
    }
}
