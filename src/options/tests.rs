// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot arguments: every option of the table, and arbitrary text.

use proptest::prelude::*;

use super::*;

/// Returns the errors' arguments.
fn bad(text: &str) -> Vec<&str> {
    Bootargs::parse(text).errors().map(|error| error.argument).collect()
}

#[test]
fn without_words_everything_is_at_its_default() {
    let args = Bootargs::parse("");
    assert_eq!((args.bbm_trust, args.linear, args.fill), (BbmPolicy::Auto, LinearMode::Auto, Form::Ahead));
    assert_eq!((args.deadline, args.load), (None, Load::On));
    assert_eq!((args.report, args.exit), (ReportMode::Text, ExitMode::PowerOff));
    assert_eq!((args.clock, args.pool), (ClockKind::Real, None));
    assert!(![Task::Selftest, Task::Monitor].into_iter().any(|task| args.asks_for(task)));
    assert_eq!((args.unknown().count(), args.errors().count(), args.faults().count()), (0, 0, 0));
    assert_eq!(Bootargs::parse(" \t\n ").unknown().count(), 0);
}

#[test]
fn every_value_of_the_table_is_known() {
    for (argument, value) in [
        ("auto", BbmPolicy::Auto),
        ("trust", BbmPolicy::Always),
        ("strict", BbmPolicy::Strict),
        ("off", BbmPolicy::Off),
    ] {
        assert_eq!(Bootargs::parse(&format!("bbml2={argument}")).bbm_trust, value);
    }
    for (argument, value) in [
        ("auto", LinearMode::Auto),
        ("block", LinearMode::Block),
        ("page", LinearMode::Page),
        ("require", LinearMode::Require),
    ] {
        assert_eq!(Bootargs::parse(&format!("linear={argument}")).linear, value);
    }
    assert_eq!(Bootargs::parse("fill=window").fill, Form::InWindow);
    assert_eq!(Bootargs::parse("fill=window fill=ahead").fill, Form::Ahead);
    assert_eq!(Bootargs::parse("rendezvous.deadline=2500").deadline, Some(2500));
    assert_eq!(Bootargs::parse("load=off").load, Load::Off);
    assert_eq!(Bootargs::parse("load=off load=on").load, Load::On);
    assert_eq!(Bootargs::parse("report=json").report, ReportMode::Json);
    assert_eq!(Bootargs::parse("exit=semihosting").exit, ExitMode::Semihosting);
    assert_eq!(Bootargs::parse("clock=counted").clock, ClockKind::Counted);
    assert_eq!(Bootargs::parse("clock=counted clock=real").clock, ClockKind::Real);
    for (argument, task) in [("selftest", Task::Selftest), ("monitor", Task::Monitor)] {
        assert!(Bootargs::parse(argument).asks_for(task));
    }
    for (time, value) in [("early", PoolTime::Early), ("decided", PoolTime::Decided), ("late", PoolTime::Late)] {
        let pool = Bootargs::parse(&format!("pool=1@late pool=16@{time}")).pool;
        assert_eq!(pool, Some(Pool { objects: 16, time: value }));
    }
    assert!(Bootargs::parse("monitor selftest").asks_for(Task::Selftest));
}

#[test]
fn a_level_is_for_its_cpu_alone() {
    let args = Bootargs::parse("cpu0.bbm=2 cpu11.bbm=0 cpu1.bbm=1 cpu3.bbm=3 cpu1.bbm=0");
    assert_eq!([0, 1, 2, 3, 11].map(|cpu| args.cpu_bbm(cpu)), [Some(2), Some(0), None, Some(3), Some(0)]);
    let args = Bootargs::parse("cpu0.pa=44 cpu2.pa=52 cpu1.pa=1 cpu0.pa=30");
    assert_eq!([0, 1, 2, 3].map(|cpu| args.cpu_pa(cpu)), [Some(30), Some(1), Some(52), None]);
}

#[test]
fn every_fault_is_known() {
    let args = Bootargs::parse(
        "fault=reserve:17,cpu2.absent,cpu3.late:1500,cpu2.stall:80,cpu1.psci:-2,load.flip,rendezvous.second,window.touch,ban.alloc,\
         ban.free,ban.lock,ban.log,ban.linear,cpu2.ban.free,cpu7.ban.linear,wild.branch,stack.overflow,wx,audit.flip,\
         serror.corrected,\
         cpu3.wxn,load.swap,frame.leak,probe.local,stale.fault,conflict.fault,page.readonly,hole.mapped,text.writable,rodata.execute,guard.mapped,\
         census.count,pool.overflow,pool.freed,pool.slack,panic",
    );
    let all = [
        Fault::Reserve { frame: 17 },
        Fault::CpuAbsent { cpu: 2 },
        Fault::CpuLate { cpu: 3, milliseconds: 1500 },
        Fault::CpuStall { cpu: 2, milliseconds: 80 },
        Fault::CpuPsci { cpu: 1, code: -2 },
        Fault::LoadFlip,
        Fault::RendezvousSecond,
        Fault::WindowTouch,
        Fault::Ban { act: Banned::Alloc },
        Fault::Ban { act: Banned::Free },
        Fault::Ban { act: Banned::Lock },
        Fault::Ban { act: Banned::Log },
        Fault::Ban { act: Banned::Linear },
        Fault::CpuBan { cpu: 2, act: Banned::Free },
        Fault::CpuBan { cpu: 7, act: Banned::Linear },
        Fault::WildBranch,
        Fault::StackOverflow,
        Fault::Wx,
        Fault::AuditFlip,
        Fault::SErrorCorrected,
        Fault::CpuWxn { cpu: 3 },
        Fault::LoadSwap,
        Fault::FrameLeak,
        Fault::ProbeLocal,
        Fault::Stale,
        Fault::Conflict,
        Fault::PageReadonly,
        Fault::HoleMapped,
        Fault::TextWritable,
        Fault::RodataExecute,
        Fault::GuardMapped,
        Fault::CensusCount,
        Fault::PoolOverflow,
        Fault::PoolFreed,
        Fault::PoolSlack,
        Fault::Panic,
    ];
    assert!(args.faults().eq(all));
    assert_eq!(args.errors().next(), None);
    assert!(all.into_iter().all(|fault| args.injects(fault)));
    assert_eq!(
        (args.fault_reserve(), args.fault_cpu_late(3), args.fault_cpu_psci(1)),
        (Some(17), Some(1500), Some(-2))
    );
    assert_eq!((args.fault_cpu_late(1), args.fault_cpu_psci(3)), (None, None));
    assert!(args.fault_cpu_absent(2) && !args.fault_cpu_absent(3));
}

#[test]
fn faults_add_up_and_the_last_of_a_kind_counts() {
    let args = Bootargs::parse("fault=reserve:1,wx fault=reserve:2,cpu1.late:5,cpu1.late:6");
    assert_eq!((args.fault_reserve(), args.fault_cpu_late(1)), (Some(2), Some(6)));
    assert!(args.injects(Fault::Wx));
}

#[test]
fn a_fault_that_is_none_is_an_error_and_the_others_count() {
    let args = Bootargs::parse(
        "fault=reserve,wx,cpu1.late:soon,no.such,cpu1.psci:--2,cpu1.psci:+2,cpu1.absent:1,,wx:1,cpu1.ban.x,cpu1.ban.log:1",
    );
    let errors: Vec<_> = args.errors().map(|error| error.argument).collect();
    assert_eq!(
        errors,
        [
            "reserve",
            "cpu1.late:soon",
            "no.such",
            "cpu1.psci:--2",
            "cpu1.psci:+2",
            "cpu1.absent:1",
            "",
            "wx:1",
            "cpu1.ban.x",
            "cpu1.ban.log:1"
        ]
    );
    assert!(args.faults().eq([Fault::Wx]));
}

#[test]
fn words_about_a_cpu_that_is_not_there_are_found() {
    let text = "cpu3.bbm=0 cpu4.bbm=1 cpu3.pa=40 cpu7.pa=40 fault=cpu9.absent,wx,cpu2.late:5,cpu4.psci:-2 fault=cpu5.late:1,cpu6.ban.log,cpu9.x";
    let strangers = [
        ("cpu4.bbm=1", 4),
        ("cpu7.pa=40", 7),
        ("cpu9.absent", 9),
        ("cpu4.psci:-2", 4),
        ("cpu5.late:1", 5),
        ("cpu6.ban.log", 6),
    ];
    assert!(Bootargs::parse(text).strangers(4).eq(strangers));
    assert_eq!(Bootargs::parse(text).strangers(10).next(), None);
}

#[test]
fn a_known_boot_argument_with_a_bad_value_changes_nothing() {
    for text in [
        "bbml2=on",
        "bbml2",
        "bbml2=",
        "cpu1.bbm=4",
        "cpu1.pa=0",
        "cpu1.pa=53",
        "cpu1.pa",
        "cpu1.bbm",
        "cpu1.bbm=02",
        "linear=pages",
        "fill=never",
        "load=yes",
        "load",
        "rendezvous.deadline=1s",
        "rendezvous.deadline=0",
        "rendezvous.deadline=-1",
        "rendezvous.deadline=+1",
        "rendezvous.deadline=99999999999999999999",
        "report=xml",
        "exit=qemu",
        "clock=icount",
        "clock",
        "pool",
        "pool=8",
        "pool=8@now",
        "pool=0@late",
        "pool=@late",
        "pool=-1@early",
        "selftest=on",
        "monitor=",
        "fault",
        "fault=",
    ] {
        assert_eq!(bad(text), [text]);
        let args = Bootargs::parse(text);
        assert_eq!((args.bbm_trust, args.linear, args.fill), Default::default());
        assert_eq!((args.load, args.deadline, args.pool, args.unknown().count()), (Load::On, None, None, 0), "{text}");
    }
    assert_eq!(Bootargs::parse("linear=block linear=bloc").linear, LinearMode::Block);
    let error = Bootargs::parse("linear=pages").errors().next().unwrap();
    assert_eq!(error.to_string(), "boot argument linear=pages: expected linear=auto|block|page|require");
}

#[test]
fn words_of_the_firmware_are_unknown_and_never_an_error() {
    let text = "coherent_pool=1M 8250.nr_uarts=1 console=ttyAMA0,115200 root=/dev/mmcblk0p2 rootwait cpu.bbm=1 cpux.bbm=1 \
                cpu1.freq=3 cpu=7 Linear=page linear.x=1 cpu+1.bbm=0 cpu99999999999999999999.bbm=0 =x";
    let args = Bootargs::parse(text);
    assert_eq!(args.errors().next(), None);
    assert!(args.unknown().eq(text.split_whitespace()));
    assert_eq!(args.text(), text);
}

#[test]
fn quotes_may_stand_around_a_word_or_its_value() {
    let args = Bootargs::parse("\"linear=page\" bbml2=\"off\" dyndbg=\"file a.c +p\" fault=\"wx,panic\" \"selftest\"");
    assert_eq!((args.linear, args.bbm_trust), (LinearMode::Page, BbmPolicy::Off));
    assert!(args.unknown().eq(["dyndbg=\"file a.c +p\""]));
    assert!(args.faults().eq([Fault::Wx, Fault::Panic]));
    assert!(args.asks_for(Task::Selftest));
    // One that is never closed reaches to the end.
    assert!(Bootargs::parse("a \"b c").unknown().eq(["a", "\"b c"]));
}

/// Texts made of what the parser looks at.
fn telling_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("cpu"),
        Just("0"),
        Just("18446744073709551616"),
        Just(".bbm"),
        Just("="),
        Just("fault="),
        Just(","),
        Just(":"),
        Just("-"),
        Just("\""),
        Just(" "),
        Just("\u{a0}"),
        Just("reserve"),
        Just(".late"),
        Just(".psci"),
        Just("linear="),
        Just("page"),
        Just("selftest"),
        Just("ä"),
        Just("2"),
        Just("\0"),
        Just("rendezvous.deadline"),
    ];
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// Asks everything, and checks that each argument was put somewhere.
fn read_everything(text: &str) {
    let args = Bootargs::parse(text);
    assert_eq!(args, Bootargs::parse(args.text()));
    assert!(args.errors().all(|error| text.contains(error.argument) && !error.to_string().is_empty()));
    assert!(args.unknown().all(|argument| text.contains(argument) && !argument.is_empty()));
    assert!(args.faults().all(|fault| args.injects(fault)));
    for cpu in [0, 2, usize::MAX] {
        assert!(args.cpu_bbm(cpu).is_none_or(|level| level <= 3));
        let _ = (args.fault_cpu_late(cpu), args.fault_cpu_psci(cpu), args.fault_cpu_absent(cpu));
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        read_everything(&text);
    }

    #[test]
    fn any_text_of_telling_parts_is_read(text in telling_text()) {
        read_everything(&text);
    }

    #[test]
    fn unknown_arguments_never_change_the_result(arguments in proptest::collection::vec("[a-z]{1,8}(=[a-z0-9,/]{0,9})?", 0..6)) {
        let known = ["load", "fault", "pool", "linear", "fill", "exit", "report", "monitor", "selftest", "bbml"];
        prop_assume!(!arguments.iter().any(|argument| known.iter().any(|known| argument.starts_with(known))));
        let with = format!("{} linear=page cpu1.bbm=0 {}", arguments.join(" "), arguments.join("\t"));
        let args = Bootargs::parse(&with);
        prop_assert_eq!(args.linear, LinearMode::Page);
        prop_assert_eq!(args.cpu_bbm(1), Some(0));
        prop_assert_eq!(args.unknown().count(), 2 * arguments.len());
        prop_assert_eq!(args.errors().count(), 0);
    }
}
