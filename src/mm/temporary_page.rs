// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of memory that one CPU alone reaches for a moment, through TTBR0: a secret frame, or a page of code to patch.
//!
//! Other CPUs have the empty root in TTBR0, so that none of them walks these tables, by speculation either: the page is in this
//! CPU's TLB at most, and an invalidation of that one is enough. Everything is masked meanwhile, so no other code runs here.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "the tables are changed by promises")]

use cleave::aarch64::interrupts;
use cleave::rendezvous::Parked;
use cleave::tables::{Attributes, Cpu, Descriptor, Level, PhysAddr, Scope, TableMemory, VirtAddr, slot};

use crate::cpu::lock::IrqLock;
use crate::mm::image::Table;
use crate::mm::views::{ThisCpu, View};

/// The entry used of each of the four tables.
const ENTRY: usize = 1;
/// The address whose walk takes those entries.
const ADDRESS: VirtAddr = VirtAddr(1 << 39 | 1 << 30 | 1 << 21 | 1 << 12);
/// Readable and writable, never executable, as the same memory's other mappings of type and shareability; of this address space
/// alone, like all that is ever below TTBR0.
const ATTRIBUTES: Attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };

/// Held by the CPU that uses the tables.
static TABLES: IrqLock<()> = IrqLock::new("temporary page", ());

/// Maps `frame`, calls `work` with its address, and takes the mapping away: it is in no TLB when this returns. `work` runs with
/// everything masked.
pub(crate) fn with<T>(frame: PhysAddr, work: impl FnOnce(VirtAddr) -> T) -> T {
    let _held = TABLES.lock();
    mapped(frame, work)
}

/// Does the same in the stop window, where no CPU holds a lock and none may take one.
pub(crate) fn with_parked<T>(_parked: &Parked<'_>, frame: PhysAddr, work: impl FnOnce(VirtAddr) -> T) -> T {
    mapped(frame, work)
}

/// Returns true while a page is mapped.
pub(crate) fn is_mapped() -> bool {
    // SAFETY: the view loads, and stores nothing.
    unsafe { View::image() }.load(slot(Table::PageL3.phys(), ENTRY)) != Descriptor::EMPTY
}

/// Maps `frame` for `work`, on the only CPU that uses the tables.
fn mapped<T>(frame: PhysAddr, work: impl FnOnce(VirtAddr) -> T) -> T {
    // Debug exceptions and SErrors too: no handler runs while the page is mapped.
    let _masked = interrupts::mask_all();
    // SAFETY: the four tables are this function's, on the one CPU that is in it: by the lock, or by every CPU standing
    // still.
    let view = unsafe { View::image() };
    let [root, l1, l2, l3] = [Table::PageRoot, Table::PageL1, Table::PageL2, Table::PageL3].map(Table::phys);
    let leaf = slot(l3, ENTRY);
    // The upper entries never change once they are written.
    for (table, next) in [(root, l1), (l1, l2), (l2, l3)] {
        view.store(slot(table, ENTRY), Descriptor::table(next));
    }
    view.store(leaf, ATTRIBUTES.leaf(frame, Level::L3));
    // The stores are visible to the walker before TTBR0 leads to them.
    ThisCpu.dsb_ishst();
    ThisCpu.set_ttbr0(root);
    // The walks for what follows begin at the new root. The leaf was invalid on every CPU before, and nothing is cached of that.
    ThisCpu.isb();
    let result = work(ADDRESS);
    ThisCpu.set_ttbr0(Table::EmptyRoot.phys());
    // No walk begins at the tables from here on, not by speculation either.
    ThisCpu.isb();
    view.store(leaf, Descriptor::EMPTY);
    // A walk that began before is complete, or meets the empty leaf, before the invalidation.
    ThisCpu.dsb_ishst();
    // The leaf and the entries above it: those of other tables below TTBR0 (fill=window) may have the same addresses.
    ThisCpu.tlbi_vmalle1();
    // Complete on this CPU, as are the accesses of `work`, ...
    ThisCpu.dsb_nsh();
    // ... before an access after this.
    ThisCpu.isb();
    result
}
