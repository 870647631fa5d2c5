// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drop from EL2 to EL1: every register is written, on every CPU, and by what HCR_EL2.E2H really is.

use super::{assembly, in_order};

#[test]
fn el2_is_left_with_every_register_written() {
    let code = assembly("boot/el2.S", "cleave_drop_to_el1");
    in_order(
        &code,
        &[
            "msr vbar_el2",
            "msr sctlr_el2",
            "isb",
            "msr hcr_el2",
            "msr far_el1",
            "mrs x1, far_el1",
            "msr hcr_el2",
            "msr vttbr_el2, xzr",
            "msr vtcr_el2",
            "msr vpidr_el2",
            "msr vmpidr_el2",
            "msr cptr_el2",
            "msr hstr_el2, xzr",
            "msr mdcr_el2",
            "msr cnthctl_el2",
            "msr cntvoff_el2, xzr",
            "msr icc_sre_el2",
            "tlbi alle1",
            "dsb nsh",
            "msr sctlr_el1",
            "msr spsr_el2",
            "msr elr_el2",
            "eret",
        ],
    );
    // What firmware left is never kept by a read, a change and a write.
    for register in ["hcr_el2", "cptr_el2", "mdcr_el2", "cnthctl_el2", "sctlr_el2"] {
        let written = code.iter().position(|line| line.starts_with(&format!("msr {register}")));
        let read = code.iter().position(|line| line.starts_with("mrs") && line.ends_with(register));
        assert!(read.is_none_or(|read| Some(read) > written), "{register} is read before it is written");
    }
}

/// AmpereOne's AC04_CPU_23: translations between the last DSB and the next ISB can be corrupted by a write of HCR_EL2.
#[test]
fn hcr_el2_is_written_between_a_dsb_and_an_isb() {
    let code = assembly("boot/el2.S", "cleave_drop_to_el1");
    let writes: Vec<usize> = (0..code.len()).filter(|&at| code[at].starts_with("msr hcr_el2,")).collect();
    assert_eq!(writes.len(), 2, "the writes of HCR_EL2 are not where they were");
    for at in writes {
        assert!(code[at - 1].ends_with("dsb nsh") && code[at + 1] == "isb", "{:?}", &code[at - 1..=at + 1]);
    }
}

/// E2H is found by its effect: under a nested hypervisor HCR_EL2 may be memory that returns what was written.
/// Both writes may go to one register, and the read asks for it by the other name: an ISB stands between each two.
#[test]
fn e2h_is_found_by_its_effect() {
    let code = assembly("boot/el2.S", "cleave_drop_to_el1");
    assert!(!code.iter().any(|line| line.contains("mrs") && line.contains("hcr_el2")), "HCR_EL2 is read back");
    let probe = code.iter().position(|line| line == "msr far_el1, x1").expect("the probe");
    let expected = [
        "mov x1, #1",
        "msr far_el1, x1",
        "isb",
        "mov x1, #2",
        "msr far_el2, x1",
        "isb",
        "mrs x1, far_el1",
        "mov x22, xzr",
        "cmp x1, #2",
        "b.ne 13f",
        "mov x22, #(1 << 34)",
        "orr x0, x0, x22",
    ];
    assert_eq!(code[probe - 1..][..expected.len()], expected);
    // x22 chooses the layouts of CPTR_EL2 and CNTHCTL_EL2 and the name of SCTLR_EL1: nothing else may write it.
    let writes = |line: &&String| line.split_once(' ').is_some_and(|(_, operands)| operands.starts_with("x22,"));
    let compares = |line: &&String| line.starts_with("cmp ") || line.starts_with("cbnz ");
    assert_eq!(code.iter().filter(writes).filter(|line| !compares(line)).count(), 2, "x22 is overwritten");
}

/// Returns true when a branch of this code can pass by the line: from before it to a label behind it, or away for good.
fn can_be_passed_by(code: &[String], line: usize) -> bool {
    let label = |line: &String| line.split_once(':').map(|(label, _)| label.to_owned());
    let instruction = |line: &String| line.split_once(": ").map_or(line.clone(), |(_, rest)| rest.to_owned());
    code[..line].iter().enumerate().any(|(from, text)| {
        let text = instruction(text);
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let branches = name == "b" || name.starts_with("b.") || ["cbz", "cbnz", "tbz", "tbnz"].contains(&name);
        let Some(target) = words.next_back().filter(|_| branches) else { return false };
        let Some(target) = target.strip_suffix('f') else { return false };
        let lands = (from + 1..code.len()).find(|&at| label(&code[at]).as_deref() == Some(target));
        lands.is_none_or(|lands| lands > line)
    })
}

/// Registers that must not differ between CPUs, which only real hardware would show: VMIDs that differ make a
/// broadcast TLBI pass by a CPU, offsets that differ make its clock another. A write that a branch can skip, for
/// instance on secondaries, fails this.
#[test]
fn no_branch_passes_by_what_all_cpus_share() {
    let code = assembly("boot/el2.S", "cleave_drop_to_el1");
    let entered = code.iter().position(|line| line.starts_with("1: ") || line == "1:").expect("the way from EL2");
    let code = &code[entered..];
    for (register, value) in [
        ("vttbr_el2", "xzr"),
        ("vtcr_el2", "x0"),
        ("vpidr_el2", "x0"),
        ("vmpidr_el2", "x0"),
        ("cntvoff_el2", "xzr"),
        ("cnthctl_el2", "x0"),
        ("hcr_el2", "x0"),
    ] {
        let wanted = format!("msr {register}, {value}");
        let at = code.iter().position(|line| line.ends_with(&wanted)).unwrap_or_else(|| panic!("no {wanted}"));
        assert!(!can_be_passed_by(code, at), "a branch passes by {wanted}");
    }
    let code: Vec<String> = ["cbz x0, 2f", "msr a, xzr", "2: msr b, xzr", "b 3f"].map(str::to_owned).into();
    assert!(can_be_passed_by(&code, 1) && !can_be_passed_by(&code, 2));
}
