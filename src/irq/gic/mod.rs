// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt controller: GICv2 and GICv3 behind one type, as far as a kernel needs it whose interrupts are the
//! software-generated ones (SGIs) and its timer's.
//!
//! The boot CPU calls [`InterruptController::init_distributor`] once, then every CPU
//! [`InterruptController::init_cpu`] for itself, which costs the same however many CPUs there are: on GICv3 the
//! caller has walked [`redistributors`] before and knows which one is whose.
//!
//! Sending an SGI is a barrier and one store or register write. It takes no lock, allocates nothing and touches
//! nothing but the device and the arguments: the rendezvous sends from inside its window.
//!
//! References: IHI 0048B (GICv2), IHI 0069H (GICv3 and 4).

pub(crate) mod encoding;
#[cfg(target_os = "none")]
mod redistributor;
#[cfg(target_os = "none")]
mod v2;
#[cfg(target_os = "none")]
mod v3;

#[cfg(target_os = "none")]
pub(crate) use controller::*;
#[cfg(target_os = "none")]
pub(crate) use redistributor::{Lpis, Redistributor, redistributors};

/// The priority of every interrupt here: in the middle of what the non-secure state has. The kernel's interrupts do
/// not preempt each other, so one is enough.
#[cfg(target_os = "none")]
const PRIORITY: u8 = 0xa0;
/// A byte for each of four interrupts.
#[cfg(target_os = "none")]
const FOUR_PRIORITIES: u32 = u32::from_le_bytes([PRIORITY; 4]);

/// Each CPU has 32 interrupts of its own: a word of one bit each, two of two bits, eight of one byte. The low half are SGIs.
#[cfg(target_os = "none")]
const PRIVATE_WORDS: usize = 1;
#[cfg(target_os = "none")]
const PRIVATE_PAIR_WORDS: usize = 2;
#[cfg(target_os = "none")]
const PRIVATE_BYTE_WORDS: usize = 8;
#[cfg(target_os = "none")]
const SGIS: u32 = 0x0000_ffff;

/// The longest wait for the controller, in milliseconds. It takes microseconds.
#[cfg(target_os = "none")]
const PATIENCE: u64 = 1000;

#[cfg(target_os = "none")]
mod controller {
    use core::fmt;

    use crate::devicetree::Affinity;
    use cleave::aarch64::cpu;
    use cleave::tables::VirtAddr;

    use super::encoding::{self, Sgi};
    use super::v2::GicV2;
    use super::v3::GicV3;

    /// An error that makes the interrupt controller unusable.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum GicError {
        /// The registers are not those of the version the device tree names.
        WrongVersion {
            /// The version in the device tree.
            expected: u8,
            /// The version in the identification register.
            found: u8,
        },
        /// The priority mask reads as zero after it was written: the secure state keeps it from us, and no interrupt
        /// would ever come.
        PriorityMask,
        /// GICv2 says of this CPU that no interrupt can be sent to it.
        NoTarget,
        /// GICv3 without affinity routing in our security state.
        NoAffinityRouting,
        /// GICv3 whose CPU interface has no system registers at EL1.
        NoSystemRegisters,
        /// GICv3 and no redistributor was given for this CPU.
        NoRedistributor {
            /// The CPU.
            cpu: Affinity,
        },
        /// The CPU's redistributor stays asleep: GICR_WAKER.ChildrenAsleep. It has no power, say.
        Asleep {
            /// The CPU.
            cpu: Affinity,
        },
        /// A write is never in effect: the register's RWP stays set.
        PendingWrite {
            /// The register.
            register: &'static str,
        },
        /// The redistributor that was given belongs to another CPU.
        WrongRedistributor {
            /// The CPU it was given for.
            cpu: Affinity,
            /// The CPU it belongs to.
            owner: Affinity,
        },
    }

    impl fmt::Display for GicError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::WrongVersion { expected, found } => {
                    write!(
                        f,
                        "the interrupt controller should be a GICv{expected}, and its registers say version {found}"
                    )
                }
                Self::PriorityMask => write!(f, "the GIC's priority mask stays at 0: no interrupt would arrive"),
                Self::NoTarget => write!(f, "the GICv2 has no target number for this CPU (GICD_ITARGETSR reads 0)"),
                Self::NoAffinityRouting => write!(f, "the GICv3 has no affinity routing in this security state"),
                Self::NoSystemRegisters => write!(f, "the GICv3's system registers are not available at EL1"),
                Self::NoRedistributor { cpu } => write!(f, "no GICv3 redistributor for CPU {cpu}"),
                Self::Asleep { cpu } => {
                    write!(f, "the GICv3 redistributor of CPU {cpu} does not wake up (GICR_WAKER.ChildrenAsleep)")
                }
                Self::PendingWrite { register } => {
                    write!(f, "the GICv3 does not finish a write ({register}.RWP stays set)")
                }
                Self::WrongRedistributor { cpu, owner } => {
                    write!(f, "the GICv3 redistributor given for CPU {cpu} belongs to {owner}")
                }
            }
        }
    }

    impl core::error::Error for GicError {}

    /// An interrupt that was acknowledged and must be [ended](InterruptController::end), once.
    #[must_use = "an interrupt that is never ended blocks all others"]
    #[derive(Debug)]
    pub(crate) struct Interrupt {
        /// Its number, without the bits that name the sender.
        id: u32,
        /// The value read by the acknowledge, which ends the interrupt.
        token: arm_gic::IntId,
    }

    impl Interrupt {
        pub(super) const fn new(id: u32, token: arm_gic::IntId) -> Self {
            Self { id, token }
        }

        pub(super) const fn token(&self) -> arm_gic::IntId {
            self.token
        }

        /// Returns the interrupt's number: 0 to 15 for an SGI, 16 to 31 for a private interrupt, 32 and up for a shared
        /// one.
        pub(crate) const fn id(&self) -> u32 {
            self.id
        }

        /// Returns true when it is the SGI `sgi`, from any sender.
        pub(crate) fn is(&self, sgi: Sgi) -> bool {
            self.id == u32::from(sgi.number())
        }
    }

    /// The target by which one CPU is reached: [`InterruptController::init_cpu`] returns it, for its per-CPU block.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum CpuInterface {
        /// GICv2: one bit of eight.
        V2 {
            /// The bit.
            target: u8,
        },
        /// GICv3.
        V3 {
            /// The CPU's affinity.
            affinity: Affinity,
            /// Its redistributor's registers.
            redistributor: VirtAddr,
        },
    }

    /// The interrupt controller. Copies of it are the same device: it holds addresses only.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum InterruptController {
        /// GICv2, GIC-400 among them.
        V2(GicV2),
        /// GICv3 and 4.
        V3(GicV3),
    }

    crate::mm::init_data::ro_after_init! {
        static CONTROLLER: spin::Once<InterruptController> = spin::Once::new();
    }

    /// Makes `controller` the one that [`get`] returns. The first call counts.
    pub(crate) fn install(controller: InterruptController) {
        CONTROLLER.call_once(|| controller);
    }

    /// Returns the controller, once it is installed. One load; usable anywhere.
    #[inline]
    pub(crate) fn get() -> Option<&'static InterruptController> {
        CONTROLLER.get()
    }

    impl InterruptController {
        /// Returns the GICv2 with these registers.
        ///
        /// # Safety
        /// The registers of a GICv2's distributor (4 KiB) and CPU interface (8 KiB) are mapped at these addresses as
        /// device memory, on every CPU and for good, and nothing else drives them.
        #[expect(unsafe_code, reason = "a device is named by its address")]
        pub(crate) const unsafe fn v2(distributor: VirtAddr, cpu_interface: VirtAddr) -> Self {
            // SAFETY: the same promise.
            Self::V2(unsafe { GicV2::new(distributor, cpu_interface) })
        }

        /// Returns the GICv3 with this distributor.
        ///
        /// # Safety
        /// The registers of a GICv3's distributor (64 KiB) are mapped at this address as device memory, on every CPU
        /// and for good, and nothing else drives it.
        #[expect(unsafe_code, reason = "a device is named by its address")]
        pub(crate) const unsafe fn v3(distributor: VirtAddr) -> Self {
            // SAFETY: the same promise.
            Self::V3(unsafe { GicV3::new(distributor) })
        }

        /// Returns the architecture's version: 2 or 3.
        pub(crate) const fn version(&self) -> u8 {
            match self {
                Self::V2(_) => 2,
                Self::V3(_) => 3,
            }
        }

        /// Brings the distributor from any state that firmware may leave to one where it forwards interrupts of our
        /// group and no shared one is enabled. Once, on the boot CPU, before any `init_cpu`.
        ///
        /// # Errors
        /// When the device is not what it should be.
        pub(crate) fn init_distributor(&self) -> Result<(), GicError> {
            match self {
                Self::V2(gic) => gic.init_distributor(),
                Self::V3(gic) => gic.init_distributor(),
            }
        }

        /// Sets up what the controller has for this CPU: all SGIs enabled, all other private interrupts disabled, none
        /// pending or active, every priority let through. Interrupts must be masked. `redistributor`: this CPU's, for
        /// GICv3; GICv2 has none.
        ///
        /// # Errors
        /// When the device is not what it should be, or the redistributor is another CPU's.
        ///
        /// # Safety
        /// `redistributor` is an address that [`redistributors`](super::redistributors) gave and still is mapped.
        #[expect(unsafe_code, reason = "a device is named by its address")]
        pub(crate) unsafe fn init_cpu(&self, redistributor: Option<VirtAddr>) -> Result<CpuInterface, GicError> {
            match self {
                Self::V2(gic) => gic.init_cpu(),
                // SAFETY: the same promise.
                Self::V3(gic) => unsafe { gic.init_cpu(redistributor) },
            }
        }

        /// Sends `sgi` to every other CPU. What this CPU wrote before is visible to a CPU that takes it.
        #[inline]
        pub(crate) fn send_sgi_to_others(&self, sgi: Sgi) {
            match self {
                Self::V2(gic) => gic.send_sgi(encoding::v2::others(sgi)),
                Self::V3(gic) => gic.send_sgi(encoding::v3::others(sgi)),
            }
        }

        /// Sends `sgi` to this CPU.
        pub(crate) fn send_sgi_to_self(&self, sgi: Sgi) {
            match self {
                Self::V2(gic) => gic.send_sgi(encoding::v2::myself(sgi)),
                Self::V3(gic) => gic.send_sgi(encoding::v3::one(Affinity::from_mpidr(cpu::mpidr()), sgi)),
            }
        }

        /// Takes the pending interrupt of the highest priority; nothing if there is none any more.
        #[inline]
        pub(crate) fn acknowledge(&self) -> Option<Interrupt> {
            match self {
                Self::V2(gic) => gic.acknowledge(),
                Self::V3(gic) => gic.acknowledge(),
            }
        }

        /// Ends `interrupt`: its priority is dropped and it may come again.
        #[inline]
        #[expect(clippy::needless_pass_by_value, reason = "an interrupt is ended once")]
        pub(crate) fn end(&self, interrupt: Interrupt) {
            match self {
                Self::V2(gic) => gic.end(interrupt.token()),
                Self::V3(gic) => gic.end(interrupt.token()),
            }
        }
    }
}
