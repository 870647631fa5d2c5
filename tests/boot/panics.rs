// SPDX-License-Identifier: MIT OR Apache-2.0
//! Broken invariants: the kernel says what happened, where, on which CPU, and ends with the status 3.

use crate::{
    qemu::{Boot, Run},
    words::{
        BAN, CPU, PANIC, PANIC_LINE, PARKED, RO_AFTER_INIT, SECRET, SECRET_PLACE, STACK_OVERFLOW, THREAD_GUARD,
        WILD_BRANCH, WINDOW_TOUCH, fault,
    },
};

/// A boot that must panic, with this and the CPU's number in the panic's line; a report comes after it all the same.
#[track_caller]
pub(crate) fn panics(boot: Boot, says: &str) -> Run {
    let run = boot.run();
    run.claim(run.status == Some(3), "the kernel did not panic");
    let line = run.line(PANIC_LINE).unwrap_or_default();
    run.claim(line.contains(says), format_args!("the panic does not say {says:?}"));
    let numbered = line.split(CPU).skip(1).any(|rest| rest.starts_with(|next: char| next.is_ascii_digit()));
    run.claim(numbered, "the panic names no CPU");
    run.reported();
    run.claim(run.value("/result") == "fail", "a panic that passed");
    // The report has what the console has: the CPU, the text, every address of the backtrace.
    let text = run.value("/panic/text").as_str().unwrap_or_default();
    run.claim(text.contains(says), format_args!("the report's panic does not say {says:?}"));
    let shown = format!("{PANIC_LINE}on {CPU}{}: {text}", run.value("/panic/cpu"));
    run.claim(line.starts_with(&shown), format_args!("the console does not say {shown:?}"));
    let behind = run.console.split("  backtrace:").nth(1).unwrap_or_default();
    let own = behind.split(&format!("\n  {CPU}")).next().unwrap_or_default();
    let addresses: Vec<&str> = own.split_whitespace().filter(|word| word.starts_with("0x")).collect();
    let told: Vec<&str> = run.list("/panic/backtrace").iter().filter_map(|address| address.as_str()).collect();
    run.claim(told == addresses && told.len() > 1, format_args!("the console's backtrace is {addresses:?}"));
    run
}

/// An action that is forbidden from the arrival to the release is trapped on the leader. Leaving out the guard fails this: the
/// action itself would go unnoticed.
#[test]
fn what_is_banned_in_the_window_panics() {
    for (fault, ban) in fault::BANS {
        panics(Boot::on("cortex-a72").mem("128M").fault(fault), &format!("{ban}{BAN}"));
    }
}

/// The ban holds for every CPU that has arrived, not for the leader alone: CPU 2, parked, does what is banned, and is named;
/// the others are where they were. A guard on the leader only, or one that a follower enters too late, fails this.
#[test]
fn what_is_banned_in_the_window_panics_on_a_follower_too() {
    for (number, (fault, ban)) in fault::BANS.into_iter().enumerate() {
        let fill = ["fill=ahead", "fill=window"][number % 2];
        let boot = Boot::on("cortex-a72").gic(2 + number as u64 % 2).mem("128M").word(fill);
        let run = panics(boot.fault(&format!("cpu2.{fault}")), &format!("{ban}{BAN}2"));
        for other in [0, 1, 3] {
            let parked = format!("  {CPU}{other}{PARKED}");
            run.claim(run.line(&parked).is_some(), format_args!("no line {parked:?}"));
        }
    }
}

/// The broken map traps its own accesses. Without the break, or without the TLBI, this load would succeed.
#[test]
fn touching_the_map_in_the_window_faults() {
    panics(Boot::on("cortex-a72").mem("128M").fault(fault::WINDOW_TOUCH), WINDOW_TOUCH);
}

/// A stack that runs over hits its guard page and is called by its name, not just a fault. Taking the exception on the
/// same stack, stacks without a guard, or a CPU's two stacks exchanged, fails this.
#[test]
fn a_stack_overflow_is_called_one() {
    for gic in [2, 3] {
        let boot = || Boot::on("cortex-a72").gic(gic).mem("128M");
        panics(boot().fault(fault::STACK_OVERFLOW), &format!("{STACK_OVERFLOW} on {CPU}0: {THREAD_GUARD}"));
        // Whose stacks are the kernel's, in the kernel area, not the image's.
        panics(boot().fault(fault::STACK_SECONDARY), &format!("{STACK_OVERFLOW} on {CPU}3: {THREAD_GUARD}"));
    }
}

/// Data that boot sets up once is written by no alias afterwards, and the report names the section. A section that stays
/// writable, or an alias of it that is, ends without a panic.
#[test]
fn a_store_to_data_that_is_read_only_after_init_faults() {
    for (fault, alias) in fault::RO_AFTER_INIT {
        for word in ["linear=block", "linear=require"] {
            let run =
                panics(Boot::on("cortex-a72").mem("128M").word(word).fault(fault), &format!("{alias}{RO_AFTER_INIT}"));
            run.claim(run.line(PANIC_LINE).unwrap_or_default().contains("permission fault"), "another kind of fault");
        }
    }
}

/// A secret frame is reached through the linear map by no load, and the report names it one. A frame that stays mapped ends
/// without a panic.
#[test]
fn a_load_of_a_secret_frame_through_the_linear_map_faults() {
    for word in ["linear=block", "linear=require"] {
        let run = panics(Boot::on("cortex-a72").mem("128M").word(word).fault(fault::SECRET_TOUCH), SECRET);
        run.claim(run.line(PANIC_LINE).unwrap_or_default().contains(SECRET_PLACE), "the frame is not named");
        run.claim(run.console.contains("  why: a secret frame: "), "the reason is not given");
    }
}

/// A branch into nothing is reported with its address, not taken for something else.
#[test]
fn a_wild_branch_is_reported() {
    let run = panics(Boot::on("cortex-a53").mem("128M").fault(fault::WILD_BRANCH), WILD_BRANCH);
    run.claim(run.console.contains("0x"), "no address is given");
}

/// A panic ends the run with its own text, alone and in company.
#[test]
fn a_panic_ends_the_run() {
    for smp in [1, 4] {
        panics(Boot::on("max").el(2).smp(smp).mem("128M").fault(fault::PANIC), PANIC);
    }
}
