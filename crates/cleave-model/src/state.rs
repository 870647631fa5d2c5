// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model's state and its log of violations.
//!
//! The files of the rules add methods to [`State`] and hold the types of its fields, so that a rule, its data and its
//! source in the architecture stand together. Each finds [`State`] through the crate's root: this is the one ring of
//! files that the model keeps, for this one type. Among themselves the files import downwards: `table_place`, `stale`,
//! `reach`, then the rules.

use core::ops::RangeInclusive;
use std::collections::HashMap;

use super::event::{self, Action, Event};
use super::rule::{Rule, Violation};
use super::{caches, findings, frames, memory, order, parking, pending_sync, reach, stale};
use cleave::aarch64::BbmLevel;
use cleave::tables::{Descriptor, Geometry, Level, PhysAddr, VirtAddr};

/// The presence of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    Off,
    /// Between CPU_ON and the moment it is admitted.
    Starting,
    Online,
}

/// Says whether TCR or MAIR changed since the TLB's entries were walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outdated {
    No,
    Yes,
}

/// The registers that translation depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Registers {
    pub(super) ttbr0: Option<PhysAddr>,
    pub(super) ttbr1: Option<PhysAddr>,
    pub(super) tcr: u64,
    pub(super) mair: u64,
    pub(super) asid: u16,
    pub(super) vmid: u16,
}

#[derive(Debug)]
pub(super) struct CpuState {
    pub(super) level: BbmLevel,
    pub(super) presence: Presence,
    pub(super) parked: bool,
    pub(super) mmu: bool,
    /// The MMU was turned on and no ISB has followed.
    pub(super) switched: bool,
    /// In effect, and written: the same but between a write and its ISB.
    pub(super) registers: Registers,
    pub(super) pending: Registers,
    /// Roots that were written and replaced since the last ISB, and the address each begins at.
    pub(super) replaced: Vec<(PhysAddr, VirtAddr)>,
    pub(super) order: order::Order,
    pub(super) issued: Vec<stale::Issued>,
    /// `Yes` where a TLB may hold entries that were walked under registers that have changed since.
    pub(super) outdated: Outdated,
    /// Everything in the local TLB is gone, or on its way.
    pub(super) local_tlb_clean: bool,
    pub(super) unfinished_local: bool,
}

impl CpuState {
    pub(super) fn new(level: BbmLevel) -> Self {
        Self {
            level,
            presence: Presence::Off,
            parked: false,
            mmu: false,
            switched: false,
            registers: Registers::default(),
            pending: Registers::default(),
            replaced: Vec::new(),
            order: order::Order::default(),
            issued: Vec::new(),
            outdated: Outdated::No,
            local_tlb_clean: false,
            unfinished_local: false,
        }
    }
}

/// Everything there is.
pub(super) struct State {
    pub(super) geometry: Geometry,
    pub(super) ets2: bool,
    pub(super) repeats: bool,
    pub(super) cpus: Vec<CpuState>,
    pub(super) memory: memory::Memory,
    pub(super) reach: Option<reach::Reach>,
    pub(super) stale_entries: Vec<stale::StaleEntry>,
    pub(super) stale_number: u64,
    pub(super) pending_sync: Vec<pending_sync::PendingSync>,
    pub(super) groups_touched: Vec<(usize, PhysAddr, Level)>,
    /// Contiguous groups that are as they may be for a while only.
    pub(super) unfinished_groups: Vec<(PhysAddr, Level)>,
    pub(super) flags: HashMap<usize, order::Clock>,
    pub(super) frames: frames::FrameLedger,
    /// The code's fault handler retries what translates by now.
    pub(super) handles_stale_faults: bool,
    pub(super) shared: Vec<RangeInclusive<VirtAddr>>,
    /// Entries broken in the stop window.
    pub(super) broken: Vec<(PhysAddr, VirtAddr)>,
    /// Leaves that were made invalid while not all stood still.
    pub(super) transiently_invalid: Vec<parking::TransientlyInvalid>,
    pub(super) caches: caches::Caches,
    pub(super) log: event::Log,
    pub(super) noted: findings::Noted,
    pub(super) ticks: u64,
}

impl State {
    pub(super) fn violated(
        &mut self,
        rule: Rule,
        cpu: usize,
        address: Option<VirtAddr>,
        slot: PhysAddr,
        (old, new): (Descriptor, Descriptor),
        detail: &'static str,
    ) {
        let log = &self.log;
        let make = || Violation { rule, cpu, address, slot, old, new, detail, events: log.last(), times: 1 };
        self.noted.add(|known| (known.rule, known.detail) == (rule, detail), make);
    }

    pub(super) fn did(&mut self, cpu: usize, action: Action) {
        self.log.push(Event { cpu, action });
    }
}
