// SPDX-License-Identifier: MIT OR Apache-2.0
//! Per-CPU state shared by bring-up, the lock, the rendezvous and the repaint.
#![cfg(target_os = "none")]

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use cleave::aarch64::{barrier, cpu, hint, timer};
use cleave::rendezvous::Slot as Timeline;
use cleave::tables::PhysAddr;
use spin::Once;

use crate::cpu::control_registers::ControlRegisters;
use crate::irq::gic;

/// The stage of a CPU's bring-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Not heard of yet.
    Absent = 0,
    /// In the kernel, under the holding root, its facts written down.
    CheckedIn = 1,
    /// May go over to the real root.
    Admitted = 2,
    /// At work.
    Online = 3,
    /// Came, and cannot be used.
    Unusable = 4,
}

/// The part of a per-CPU block that bring-up, the lock, the rendezvous and the repaint use. Written by its own CPU
/// unless said otherwise.
pub(crate) struct CpuState {
    stage: AtomicU8,
    pub(crate) midr: AtomicU32,
    /// ID_AA64MMFR2_EL1.BBM.
    pub(crate) bbm: AtomicU8,
    /// FEAT_TLBIRANGE.
    pub(crate) range_tlbi: AtomicBool,
    pub(crate) entry_level: AtomicU8,
    /// Its CNTFRQ_EL0, in Hz.
    pub(crate) counter_frequency: AtomicU64,
    /// Its part in hardware coherency, CPUECTLR_EL1.SMPEN; empty if the core has no such bit, or may not be asked. Where
    /// it is clear, firmware left coherency off, which no code below EL3 can mend, or an emulator has no such bit.
    pub(crate) smpen: Once<bool>,
    /// The values of its translation and timer registers: [`ControlRegisters`]' fields, in their order.
    registers: [AtomicU64; 4],
    /// The address of its redistributor (GICv3); written before it is started.
    pub(crate) redistributor: AtomicU64,
    /// Its part of the rendezvous' timeline.
    pub(crate) slot: Timeline,
    /// Chunks it claimed in the filling under way; zeroed by the leader before.
    pub(crate) chunks: AtomicU64,
    /// Tables it filled.
    pub(crate) filled: AtomicU64,
    /// Locks it holds.
    pub(crate) locks: AtomicU64,
    /// The ELR at which it was stopped for good; 0 while it is not.
    pub(crate) stopped_at: AtomicU64,
    /// The reason for [`Stage::Unusable`].
    pub(crate) unusable: Once<Unusable>,
}

impl CpuState {
    /// Returns the state of a CPU that has not been started.
    pub(crate) const fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Absent as u8),
            midr: AtomicU32::new(0),
            bbm: AtomicU8::new(0),
            range_tlbi: AtomicBool::new(false),
            entry_level: AtomicU8::new(0),
            counter_frequency: AtomicU64::new(0),
            smpen: Once::new(),
            registers: [const { AtomicU64::new(0) }; 4],
            redistributor: AtomicU64::new(0),
            slot: Timeline::new(),
            chunks: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            locks: AtomicU64::new(0),
            stopped_at: AtomicU64::new(0),
            unusable: Once::new(),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Absent,
            1 => Stage::CheckedIn,
            2 => Stage::Admitted,
            3 => Stage::Online,
            _ => Stage::Unusable,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        // Release: a CPU that sees the stage sees all that was written before it.
        self.stage.store(stage as u8, Ordering::Release);
        // The stage is visible before the event that makes a waiting CPU look.
        barrier::dsb_ishst();
        hint::send_event();
    }

    /// Returns what the CPU's registers held when it checked in.
    pub(crate) fn registers(&self) -> ControlRegisters {
        let [sctlr, tcr, mair, cntkctl] = [0, 1, 2, 3].map(|at: usize| self.registers[at].load(Ordering::Relaxed));
        ControlRegisters { sctlr, tcr, mair, cntkctl }
    }

    pub(crate) fn write_facts(&self, entry_level: u64) {
        let ControlRegisters { sctlr, tcr, mair, cntkctl } = ControlRegisters::read();
        for (to, value) in self.registers.iter().zip([sctlr, tcr, mair, cntkctl]) {
            to.store(value, Ordering::Relaxed);
        }
        self.midr.store(cpu::midr().0, Ordering::Relaxed);
        let features = cpu::features();
        self.bbm.store(features.bbm, Ordering::Relaxed);
        self.range_tlbi.store(features.range_tlbi, Ordering::Relaxed);
        self.entry_level.store(entry_level as u8, Ordering::Relaxed);
        self.counter_frequency.store(timer::firmware_frequency(), Ordering::Relaxed);
        // A hypervisor would trap the register.
        if let Some(smpen) = if entry_level == 2 { cpu::takes_part_in_coherency() } else { None } {
            self.smpen.call_once(|| smpen);
        }
    }
}

/// A reason not to use a CPU that has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unusable {
    /// Its part of the interrupt controller cannot be set up.
    Interrupts(gic::GicError),
    /// Memory ends behind the last address it can translate to (ID_AA64MMFR0_EL1.PARange).
    Memory {
        /// The end of its addresses.
        reach: PhysAddr,
        /// The end of memory.
        end: PhysAddr,
    },
}

impl From<gic::GicError> for Unusable {
    fn from(error: gic::GicError) -> Self {
        Self::Interrupts(error)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupts(error) => error.fmt(f),
            Self::Memory { reach, end } => {
                write!(f, "its physical addresses end at {reach} (PARange), and memory at {end}")
            }
        }
    }
}
