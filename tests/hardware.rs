// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/hardware.md against the sources: instructions whose lack an emulator without caches cannot show are at least
//! still written down.
//!
//! Each test holds one row or table: the instructions are there, in the function they belong to, in their order. A test fails
//! when one is taken out or moved. That the order is right is that page's argument, not this file's.

#[path = "hardware/el2.rs"]
mod el2;

use std::{fs, path::Path};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The instructions of an assembly function, without comments, each with single blanks.
fn assembly(file: &str, function: &str) -> Vec<String> {
    let text = read(file);
    let body = text.split(&format!("\n{function}:\n")).nth(1).unwrap_or_else(|| panic!("{file}: no {function}"));
    let body = body.split(&format!(".size {function},")).next().unwrap_or(body);
    let code = body.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty()).collect()
}

/// The lines of a Rust function without comments.
fn rust(file: &str, signature: &str) -> Vec<String> {
    let text = read(file);
    let body = text.split(signature).nth(1).unwrap_or_else(|| panic!("{file}: no {signature}"));
    let body = body.split("\n}\n").next().unwrap_or(body);
    body.lines().map(|line| line.split("//").next().unwrap_or_default().trim().to_owned()).collect()
}

/// Every Rust file of the kernel and the library, by name, with its text.
fn rust_sources() -> Vec<(String, String)> {
    fn gather(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                gather(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).expect("text")));
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["src", "crates/cleave/src"] {
        gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}

/// The lines of a method without comments.
fn method(file: &str, signature: &str) -> Vec<String> {
    let text = read(file);
    let body = text.split(signature).nth(1).unwrap_or_else(|| panic!("{file}: no {signature}"));
    let body = body.split("\n    }\n").next().unwrap_or(body);
    body.lines().map(|line| line.split("//").next().unwrap_or_default().trim().to_owned()).collect()
}

/// Fails unless lines that contain these pieces follow each other in this order, with anything between them.
#[track_caller]
fn in_order(lines: &[String], pieces: &[&str]) {
    let mut rest = lines.iter();
    for piece in pieces {
        assert!(rest.any(|line| line.contains(piece)), "no {piece:?} in its place in\n{}", lines.join("\n"));
    }
}

#[test]
fn the_mmu_comes_on_over_empty_tlbs_and_instruction_caches() {
    in_order(
        &assembly("boot/el1.S", "cleave_mmu_on"),
        &[
            "tlbi vmalle1",
            "ic iallu",
            "dsb nsh",
            "isb",
            "msr ttbr0_el1",
            "msr ttbr1_el1",
            "isb",
            "msr sctlr_el1",
            "isb",
            "ic iallu",
            "dsb nsh",
            "isb",
            "br x1",
        ],
    );
    in_order(
        &assembly("boot/el1.S", "cleave_leave_identity_map"),
        &["msr vbar_el1", "isb", "msr ttbr0_el1", "isb", "tlbi vmalle1", "dsb nsh", "isb", "ret"],
    );
}

#[test]
fn el1_is_set_before_its_mmu() {
    in_order(
        &assembly("boot/el1.S", "cleave_init_el1"),
        &[
            "msr daifset, #0xf",
            "msr vbar_el1",
            "msr sctlr_el1",
            "isb",
            "msr cpacr_el1, xzr",
            "msr mdscr_el1, xzr",
            "msr cntv_ctl_el0, xzr",
            "msr tpidr_el1, xzr",
            "msr contextidr_el1, xzr",
            "msr cntkctl_el1",
            "msr tcr_el1",
            "msr mair_el1",
            "isb",
            "ret",
        ],
    );
}

/// Boot CPU and secondaries by one routine each: what is set on one is set on all.
#[test]
fn every_cpu_comes_the_same_way() {
    for (file, function) in [
        ("boot/head.S", "cleave_primary"),
        ("boot/secondary.S", "cleave_secondary_entry"),
        ("boot/secondary.S", "cleave_spin_table_entry"),
    ] {
        in_order(&assembly(file, function), &["bl cleave_drop_to_el1", "bl cleave_init_el1"]);
    }
    in_order(&assembly("boot/head.S", "cleave_primary"), &["bl cleave_build_tables", "b cleave_mmu_on"]);
    in_order(&assembly("boot/secondary.S", "cleave_secondary_with_record"), &["b cleave_mmu_on"]);
}

/// Data is Device memory while the MMU is off: what a compiler makes of Rust may be unaligned, use a stack or exclusives.
#[test]
fn nothing_compiled_runs_before_the_mmu_is_on() {
    for (file, function) in [
        ("boot/head.S", "cleave_primary"),
        ("boot/head.S", "cleave_check_device_tree"),
        ("boot/el2.S", "cleave_drop_to_el1"),
        ("boot/el1.S", "cleave_init_el1"),
        ("boot/tables.S", "cleave_build_tables"),
        ("boot/tables.S", "cleave_map_pages"),
        ("boot/tables.S", "cleave_discard_tables"),
        ("boot/secondary.S", "cleave_secondary_entry"),
        ("boot/secondary.S", "cleave_spin_table_entry"),
        ("boot/secondary.S", "cleave_secondary_with_record"),
        ("boot/last_resort.S", "cleave_park_saying"),
    ] {
        for line in assembly(file, function) {
            let line = line.split_once(": ").map_or(&*line, |(_, code)| code);
            let (name, operands) = line.split_once(' ').unwrap_or((line, ""));
            // A branch to compiled code would need its address from the compiler, in braces.
            let calls = name == "bl" || name == "b" && !operands.starts_with(|c: char| c.is_ascii_digit());
            assert!(!calls || operands.starts_with("cleave_"), "{function}: {line}");
            assert!(!name.starts_with("ldx") && !name.starts_with("stx"), "{function}: an exclusive: {line}");
            assert!(!name.starts_with("cas") && !name.starts_with("swp"), "{function}: an atomic: {line}");
            assert!(!operands.contains("[sp") && !operands.contains("zva"), "{function}: {line}");
        }
    }
}

#[test]
fn boot_tables_are_dropped_from_caches_before_and_after_stores() {
    in_order(
        &assembly("boot/tables.S", "cleave_build_tables"),
        &["bl cleave_discard_tables", "stp xzr, xzr", "str x3", "dsb sy", "bl cleave_discard_tables", "ret"],
    );
    in_order(&assembly("boot/tables.S", "cleave_discard_tables"), &["dc ivac", "b.lo", "dsb sy", "ret"]);
    in_order(&assembly("boot/head.S", "cleave_check_device_tree"), &["dc civac, x19", "dsb sy", "ldr w0, [x19]"]);
}

#[test]
fn what_a_released_cpu_reads_is_cleaned_before_the_event() {
    in_order(
        &rust("src/cpu/spin_table.rs", "pub(crate) fn enlist("),
        &["write(head)", "cache::clean(record", "SPIN_TABLE_RECORDS.store", "cache::clean(word"],
    );
    in_order(
        &rust("src/cpu/spin_table.rs", "pub(crate) fn release("),
        &["regions()", "write_volatile(image::physical(spin_table_entry", "cache::clean(address", "hint::send_event()"],
    );
    in_order(&rust("src/cpu/smp/start.rs", "\nfn prepare("), &["SecondaryBoot {", "write(record)", "cache::clean("]);
    // Every record is in the chain before any word is written: CPUs may share one.
    in_order(
        &rust("src/cpu/smp/start.rs", "pub(crate) fn start_others("),
        &["start(&found", "spin_table::release(", "await_all("],
    );
    // The maintenance itself: to the point of coherency, and complete.
    in_order(
        &rust("crates/cleave/src/aarch64/cache.rs", "pub fn clean("),
        &["align_down(line)", "dc civac", "barrier::dsb_sy()"],
    );
    // DC CVAC and DC CVAU have errata on early Cortex-A53s.
    assert!(rust_sources().iter().all(|(_, text)| !text.contains("\"dc cva")), "a clean that keeps the line");
}

#[test]
fn the_firmwares_mailbox_sees_the_message_and_we_its_answer() {
    in_order(
        &rust("src/io/serial.rs", "\nfn ask("),
        &[
            "word.store",
            "cache::clean(",
            "registers.write(WRITE,",
            "registers.read(READ) ==",
            "barrier::dsb_sy()",
            "cache::clean(",
            "answer(",
        ],
    );
}

/// Cortex-A77 erratum 1508412: a read of PAR_EL1 without DMB SY on both sides can deadlock the core.
#[test]
fn par_el1_is_read_between_two_barriers() {
    let mut reads = 0;
    for (name, text) in rust_sources() {
        let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let code: String = code.split_whitespace().collect();
        // The crate's accessor has no barriers.
        assert!(!code.contains("PAR_EL1."), "{name}: PAR_EL1 by a bare MRS");
        for (at, read) in code.match_indices("\"mrs{par},par_el1\"") {
            let fenced = code[..at].ends_with("\"dmbsy\",") && code[at + read.len()..].starts_with(",\"dmbsy\",");
            assert!(fenced, "{name}: PAR_EL1 is read without DMB SY on both sides");
            reads += 1;
        }
    }
    assert_eq!(reads, 1, "the reads of PAR_EL1 are not where they were");
}

/// Cortex-A73 erratum 858921: one read at a roll-over of the lower word may be wrong by 2^32. And a wait ends only when two
/// looks say so, on cores whose counter is unstable in other ways.
#[test]
fn the_counter_is_read_twice_and_a_deadline_looked_at_twice() {
    let code: String =
        rust("crates/cleave/src/aarch64/timer.rs", "pub fn count() -> u64 {").concat().split_whitespace().collect();
    let read = "asm!(\"isb\",\"mrs{first},cntvct_el0\",\"mrs{second},cntvct_el0\",";
    assert!(code.contains(read), "{code}");
    assert!(code.ends_with("if(first^second)>>32&1!=0{first}else{second}"), "{code}");
    for (name, text) in rust_sources().iter().filter(|(name, _)| !name.ends_with("src/check/inject.rs")) {
        // A loop that compares two counts by hand would believe one look.
        let by_hand = |line: &&str| line.contains("while ") && line.contains("timer::count().wrapping_sub(");
        assert_eq!(text.lines().find(by_hand), None, "{name}: a deadline that is believed at once");
    }
}

/// Stores before an SGI are visible to the CPU that takes it, and that CPU loads nothing before it has taken the SGI. No
/// emulator shows the lack of one of these barriers.
#[test]
fn an_sgi_is_sent_behind_stores_and_taken_before_loads() {
    for (file, sends, takes) in [
        ("src/irq/gic/v2.rs", "self.gicd.write(offset_of!(Gicd, sgir)", "get_and_acknowledge_interrupt("),
        ("src/irq/gic/v3.rs", "msr S3_0_C12_C11_5", "get_and_acknowledge_interrupt("),
    ] {
        in_order(&method(file, "fn send_sgi("), &["barrier::dsb_ishst()", sends]);
        in_order(&method(file, "fn acknowledge("), &[takes, "barrier::dsb_sy()", "Some(Interrupt::new("]);
    }
    in_order(&method("src/irq/gic/v3.rs", "fn send_sgi("), &["msr S3_0_C12_C11_5", "barrier::isb()"]);
}

/// The driver crate's waits for a GICv3 have no bound; ours end in an error.
#[test]
fn no_wait_for_the_interrupt_controller_is_without_a_bound() {
    for file in ["src/irq/gic/mod.rs", "src/irq/gic/v2.rs", "src/irq/gic/v3.rs", "src/irq/gic/redistributor.rs"] {
        let text = read(file);
        let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let unbounded = ["wait_for_pending_write", "mark_core_awake", "modify_control", "configure_default_settings"];
        for call in unbounded.into_iter().chain(["loop {", "while ", "GicDistributor"]) {
            assert!(!code.iter().any(|line| line.contains(call)), "{file}: {call}");
        }
    }
}

/// An SGI is an IRQ: a CPU with IRQs masked and FIQs open cannot answer one. Fails when the mask of FIQs is asked as well.
#[test]
fn a_cpu_can_be_called_unless_irqs_are_masked() {
    let lines = rust("crates/cleave/src/aarch64/interrupts.rs", "pub fn are_masked() -> bool {");
    in_order(&lines, &["registers::daif() & IRQS != 0"]);
    assert!(read("crates/cleave/src/aarch64/interrupts.rs").contains("\nconst IRQS: u64 = 1 << 7;\n"));
}

/// SMPEN is firmware's: below EL3 the write may trap.
#[test]
fn smpen_is_read_and_never_written() {
    let registers = read("crates/cleave/src/aarch64/registers.rs");
    let read_only = registers.split("\nread_only! {\n").nth(1).and_then(|rest| rest.split("\n}\n").next());
    assert!(read_only.is_some_and(|registers| registers.contains("cpuectlr_el1: \"S3_1_C15_C2_1\";")));
    // The macro for reading has no other instruction.
    assert_eq!(registers.matches("asm!(").count(), registers.matches("asm!(concat!(\"mrs {}, \"").count());
    let boot = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("boot")).expect("a folder");
    let boot = boot.map(|entry| fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default());
    for text in rust_sources().into_iter().map(|(_, text)| text).chain(boot) {
        assert!(!text.contains("msr S3_1_C15_C2_1"));
    }
}

/// Barriers and maintenance instructions: each line of the boot code that has one says what it is for.
const ORDERING: [&str; 7] = ["dsb", "dmb", "isb", "sb", "tlbi", "ic", "dc"];

/// Lines with such an instruction and no comment of their own: one behind it, or one right above it, which is no other
/// instruction's. One of fewer than four words names no two sides.
fn unexplained(text: &str) -> Vec<usize> {
    let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once("//").unwrap_or((line, ""))).collect();
    let says = |comment: &str| comment.split_whitespace().count() >= 4;
    let ordering = |code: &str| {
        let mut words = code.split_whitespace().skip_while(|word| word.ends_with(':'));
        words.next().is_some_and(|name| ORDERING.contains(&name))
    };
    let alone = |at: usize| at > 0 && lines[at - 1].0.trim().is_empty() && says(lines[at - 1].1);
    let found = lines
        .iter()
        .enumerate()
        .filter(|(at, (code, comment))| ordering(code) && !says(comment) && (!comment.is_empty() || !alone(*at)));
    found.map(|(at, _)| at + 1).collect()
}

/// The store of an instruction is cleaned, then dropped from instruction caches, each step complete before the next. And a
/// temporary page is visible before it is used, and gone before it is given up.
#[test]
fn code_changes_and_temporary_pages_end_in_the_order_of_their_pages() {
    in_order(
        &method("crates/cleave/src/aarch64/instruction.rs", "pub unsafe fn store("),
        &["str {new:w}, [{written}]", "dc civac, {written}", "dsb ish", "ic ivau, {executed}", "dsb ish", "isb"],
    );
    in_order(
        &rust("src/mm/temporary_page.rs", "\nfn mapped<"),
        &[
            "mask_all()",
            "view.store(leaf, ATTRIBUTES",
            "dsb_ishst()",
            "set_ttbr0(root)",
            "isb()",
            "work(ADDRESS)",
            "set_ttbr0(Table::EmptyRoot",
            "isb()",
            "view.store(leaf, Descriptor::EMPTY)",
            "dsb_ishst()",
            "tlbi_vmalle1()",
            "dsb_nsh()",
            "isb()",
        ],
    );
}

#[test]
fn barriers_and_maintenance_of_the_boot_code_have_reasons() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("boot")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let lines = unexplained(&fs::read_to_string(&path).expect("text"));
        assert!(lines.is_empty(), "{}: no comment of their own at lines {lines:?}", path.display());
    }
}

#[test]
fn a_barrier_that_shares_its_neighbours_comment_is_found() {
    assert_eq!(unexplained("    // The DC before the load of it.\n    dc civac, x0\n    dsb sy\n"), [3]);
    assert_eq!(unexplained("    isb     // VBAR before the faults below\n1:  isb\n    isb // as above\n"), [2, 3]);
    assert_eq!(unexplained("    // Of the line above the blank.\n\n    tlbi vmalle1\n"), [3]);
    assert_eq!(unexplained("    disb\n    b 1f // isb\n    dcps1\n"), []);
}

#[test]
fn the_scanner_sees_an_order_that_is_broken() {
    let lines: Vec<String> = ["a", "b c", "d"].map(str::to_owned).into();
    in_order(&lines, &["a", "c", "d"]);
    assert!(std::panic::catch_unwind(|| in_order(&lines, &["d", "a"])).is_err());
    assert!(std::panic::catch_unwind(|| in_order(&lines, &["a", "a"])).is_err());
}
