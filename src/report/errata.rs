// SPDX-License-Identifier: MIT OR Apache-2.0
//! The errata of this system's cores: those with a work-around are reported, the others are printed on the console.
#![cfg(target_os = "none")]

extern crate alloc;

use alloc::vec::Vec;

use cleave::aarch64::errata::Remedy;

use crate::cpu::smp;
use crate::report::builder;

/// True when the compiler was asked to avoid the sequence of Cortex-A53 erratum 835769: docs/hardware.md.
const COMPILER_AVOIDS: bool = matches!(env!("CLEAVE_ERRATUM_835769").as_bytes(), b"avoided");

/// Tells the errata of every core that is at work, each once.
pub(crate) fn tell() {
    let mut around = Vec::new();
    let mut left = Vec::new();
    for midr in smp::cpus().iter().filter_map(smp::Cpu::midr) {
        for erratum in midr.errata() {
            let list = match erratum.remedy {
                Remedy::None => &mut left,
                Remedy::CompilerOption if !COMPILER_AVOIDS => &mut left,
                _ => &mut around,
            };
            let found = (midr, erratum);
            if !list.contains(&found) {
                list.push(found);
            }
        }
    }
    for (core, erratum) in &around {
        log::info!("{core}: erratum {} is worked around", erratum.number);
    }
    for (core, erratum) in &left {
        log::warn!("{core}: erratum {} is not worked around in this build", erratum.number);
    }
    builder::tell(|report| report.errata = around);
}
