// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine on which the real code runs from its first paint on: the boot CPU, the others, and what they share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::case::*;
use crate::defect::{Bent, BentHost, Defect, Mute, Since};
use crate::promises::{Eye, Failed, check};
use cleave::atomics::{Atomic, Atomics};
use cleave::linear_map::{FirstPaint, Layout, LinearMap, Roots, Share, first_paint_bytes, link, paint};
use cleave::rendezvous::{Phase, Rendezvous, Slot};
use cleave::tables::{
    Attributes, Descriptor, FrameSource, Geometry, MapStats, PhysAddr, PhysRange, TableTree, TemporaryBlocks,
    TlbiRepeat, TwoViews, VirtAddr, slot,
};
use cleave_model::*;

/// Everything that is the same on all CPUs of a running case.
pub(crate) struct World<'a> {
    pub(crate) case: &'a Case,
    pub(crate) machine: &'a Machine,
    pub(crate) layout: &'a Layout<'a>,
    pub(crate) rendezvous: Arc<Rendezvous<Watched>>,
    pub(crate) slots: Arc<Vec<Slot<Watched>>>,
    /// The map, once it is painted.
    map: OnceLock<LinearMap<'a, Watched>>,
    /// Chunks each CPU has claimed.
    pub(crate) mine: Vec<AtomicU64>,
    /// The number of CPUs that may come up, of those that may go on with the whole map, and of those that have.
    started: AtomicUsize,
    admitted: AtomicUsize,
    inside: AtomicUsize,
    defect: Option<(Defect, Since)>,
    since: Mutex<Since>,
    /// Addresses to use: of the linear map, and of the kernel's own.
    pub(crate) usable: Arc<Mutex<Vec<VirtAddr>>>,
    pub(crate) area: Mutex<Vec<VirtAddr>>,
    /// Other CPUs go on where a slow filler looks at this.
    pace: <Watched as Atomics>::U64,
    /// Frames that must never be allocated again.
    pub(crate) lost: AtomicU64,
}

/// The roots of the linear map.
const ROOTS: Roots = Roots { live: LIVE, replacement: REPLACEMENT, spare: SPARE, empty: NOTHING };

/// The flags by which CPUs learn that they are admitted, and of pages in the kernel's own area.
const ADMISSION: usize = 2;
const AREA: usize = 3;

/// Runs a case to its end. Every broken promise is an error that says which.
pub(crate) fn run(case: &Case, defect: Option<(Defect, Since)>) -> Result<(), Failed> {
    let mut config = Config::new(case.geometry, &case.levels);
    if case.ets2 {
        config = config.with_ets2();
    }
    if case.erratum {
        config = config.with_repeat_erratum();
    }
    let machine = Machine::new(config);
    let layout = Layout::new(case.geometry, case.base(), u64::MAX, &case.regions, case.alias, case.attributes)
        .map_err(|error| error.to_string())?;
    static_tables(&machine, case.geometry);
    machine.add_frames(case.frames);
    machine.boot(0, LIVE);
    let cpus = case.levels.len();
    let world = World {
        case,
        machine: &machine,
        layout: &layout,
        rendezvous: Arc::default(),
        slots: Arc::new((0..cpus).map(|_| Slot::default()).collect()),
        map: OnceLock::new(),
        mine: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
        started: AtomicUsize::new(1),
        admitted: AtomicUsize::new(1),
        inside: AtomicUsize::new(1),
        defect,
        since: Mutex::new(Since::Start),
        usable: Arc::default(),
        area: Mutex::new(Vec::new()),
        pace: Atomic::new(0),
        lost: AtomicU64::new(0),
    };
    Schedule::new(&machine, case.seed).run(|cpu| world.lead(cpu), |cpu| world.follow(cpu))?;
    machine.verdict().map_err(|findings| findings.to_string())
}

/// The image's tables as the boot code leaves them.
fn static_tables(machine: &Machine, geometry: Geometry) {
    let entries = geometry.entries(geometry.root_level());
    for root in [LIVE, REPLACEMENT, SPARE, NOTHING, HOLDING] {
        (0..entries).for_each(|entry| machine.poke(slot(root, entry), Descriptor::EMPTY));
    }
    if let Some(below) = geometry.root_level().next().filter(|_| geometry.root_level().number() == 0) {
        (0..geometry.entries(below)).for_each(|entry| machine.poke(slot(KERNEL, entry), Descriptor::EMPTY));
        for root in [LIVE, HOLDING] {
            machine.poke(slot(root, entries - 1), Descriptor::table(KERNEL));
        }
    }
}

impl<'a> World<'a> {
    pub(crate) fn image(&self, cpu: usize) -> View<'a> {
        self.machine.view(cpu, Through::Physical)
    }

    pub(crate) fn linear(&self, cpu: usize) -> View<'a> {
        self.machine.view(cpu, Through::Distance(self.layout.base().0))
    }

    /// Tables wherever they are.
    pub(crate) fn tables(&self, cpu: usize) -> TwoViews<View<'a>, View<'a>> {
        TwoViews { range: IMAGE, near: self.image(cpu), far: self.linear(cpu) }
    }

    /// The live tree, as `cpu` reaches it.
    pub(crate) fn live(&self, cpu: usize) -> TableTree<TwoViews<View<'a>, View<'a>>> {
        TableTree { memory: self.tables(cpu), geometry: self.case.geometry, root: LIVE }
    }

    /// Returns the map, which is painted by now.
    pub(crate) fn live_map(&self) -> &LinearMap<'a, Watched> {
        self.map.get().unwrap()
    }

    pub(crate) fn eye(&self) -> Eye<'a> {
        Eye { machine: self.machine, layout: self.layout, case: self.case }
    }

    /// Returns the first thing that is wrong by now.
    pub(crate) fn defect(&self) -> Option<Defect> {
        self.defect.filter(|(_, since)| *since <= *self.since.lock().unwrap()).map(|(defect, _)| defect)
    }

    fn now(&self, since: Since) {
        *self.since.lock().unwrap() = since;
    }

    pub(crate) fn bent(&self, cpu: usize) -> Bent<'a> {
        Bent { cpu: self.machine.cpu(cpu), page: self.case.geometry.page_size(), defect: self.defect() }
    }

    pub(crate) fn repeat(&self) -> TlbiRepeat {
        if self.case.erratum { TlbiRepeat::Twice } else { TlbiRepeat::Once }
    }

    pub(crate) fn verdict(&self) -> Result<(), Failed> {
        self.machine.verdict().map_err(|findings| findings.to_string())
    }

    pub(crate) fn work(&self, cpu: usize, share: Share) {
        let pace = (cpu != 0 && self.case.has_impatience()).then_some(&self.pace);
        let memory = Mute { view: self.linear(cpu), defect: self.defect(), pace };
        let mut mine = self.mine[cpu].load(Ordering::Relaxed);
        self.live_map().fill(memory, self.image(cpu), &self.bent(cpu), share, &mut mine);
        self.mine[cpu].store(mine, Ordering::Relaxed);
    }

    /// Uses some address of the linear map, and sometimes one of the kernel's own.
    pub(crate) fn touch(&self, cpu: &Scheduled<'_>) {
        let some = |of: &Mutex<Vec<VirtAddr>>| {
            let of = of.lock().unwrap();
            (!of.is_empty()).then(|| of[cpu.lot(of.len() as u64) as usize])
        };
        let on = cpu.cpu();
        if let Some(address) = some(&self.usable) {
            on.access(address, Access::Load);
        }
        if let Some(address) = some(&self.area) {
            // Another CPU has mapped it and set the flag. No ISB: where FEAT_ETS2 is missing it may fault once, and the
            // handler finds that it translates by then.
            on.load_flag(AREA, Flag::Ordered);
            on.branch();
            on.access_retrying(address, Access::Load);
        }
    }

    /// Says that the kernel's own area is not what it was.
    pub(crate) fn publish(&self, cpu: &Scheduled<'_>, area: impl FnOnce(&mut Vec<VirtAddr>)) {
        area(&mut self.area.lock().unwrap());
        cpu.cpu().store_flag(AREA, Flag::Ordered);
    }

    /// A secondary: comes up on a root of its own, is admitted, works, and answers kicks.
    fn follow(&self, cpu: &Scheduled<'_>) {
        let (on, me) = (cpu.cpu(), cpu.cpu().number());
        let wait = |count: &AtomicUsize| {
            while count.load(Ordering::Relaxed) <= me && !cpu.is_over() {
                cpu.step();
            }
            !cpu.is_over()
        };
        if !wait(&self.started) {
            return;
        }
        let early = self.defect() == Some(Defect::EarlyRoot);
        on.set_ttbr1(if early { LIVE } else { HOLDING });
        on.set_ttbr0(Some(NOTHING));
        on.tlbi(Tlbi::VMALLE1);
        on.dsb(Dsb::Nsh);
        on.isb();
        on.mmu_on();
        on.isb();
        cpu.step();
        if !wait(&self.admitted) {
            return;
        }
        on.load_flag(ADMISSION, Flag::Ordered);
        on.branch();
        on.admitted();
        on.set_ttbr1(LIVE);
        on.isb();
        self.inside.fetch_add(1, Ordering::Relaxed);
        let (rendezvous, slots, defect) = (self.rendezvous.clone(), self.slots.clone(), self.defect());
        let usable = self.usable.clone();
        cpu.on_ipi(move |cpu| {
            rendezvous.attend(&BentHost { host: cpu, defect }, &slots[me]);
            // Used at once: what is missing after a release shows here, before anything else synchronises the context.
            let used = usable.lock().unwrap().first().copied();
            if let Some(address) = used {
                cpu.cpu().access(address, Access::Load);
            }
        });
        let cpus = self.machine.cpus() as u64;
        while !cpu.is_over() {
            self.touch(cpu);
            // Kicks of an earlier rendezvous that come late, to whichever CPU.
            if cpu.lot(8) == 0 {
                cpu.send_ipi_to(cpu.lot(cpus) as usize);
            }
            if self.live_map().wants_help(self.mine[me].load(Ordering::Relaxed)) {
                self.work(me, Share::Fair);
            }
            cpu.step();
        }
    }

    /// The boot CPU. Every rendezvous is its own, so no kick that it takes may find one under way: interrupts are masked
    /// when the phase leaves Idle, and opened when it is in Release.
    fn lead(&self, cpu: &Scheduled<'_>) -> Result<(), Failed> {
        let on = cpu.cpu();
        let (rendezvous, slots, leaky) = (self.rendezvous.clone(), self.slots.clone(), self.case.leaky);
        cpu.on_ipi(move |cpu| {
            let (phase, _) = rendezvous.phase();
            let mine = matches!(phase, Phase::Gather | Phase::Run);
            assert!(leaky || !mine, "the leader is interrupted in its own rendezvous, in {phase:?}");
            assert!(!rendezvous.attend(cpu, &slots[0]), "the leader attends its own rendezvous");
        });
        if leaky {
            cpu.leak_ipis();
        }
        on.set_ttbr0(Some(NOTHING));
        on.isb();
        let mut stats = self.paint()?;
        self.verdict()?;
        check!(self.eye().stats() == stats, "the counts are not what a walk finds");
        self.now(Since::Painted);
        crate::plant::plant(self);
        // What was planted is invalid without a change that counted it.
        stats.unmapped = self.eye().stats().unmapped;
        assert!(self.map.set(LinearMap::new(*self.layout, ROOTS, &stats)).is_ok(), "painted twice");
        let last = self.layout.regions().last().map_or(0, |region| region.end.0 - 1);
        self.machine.share(self.layout.base()..=self.layout.address(PhysAddr(last)));
        *self.usable.lock().unwrap() = crate::plant::usable(self);
        let cpus = self.machine.cpus();
        // A page for each, as a kernel has their stacks.
        self.map(cpu, cpus as u64)?;
        (1..cpus).for_each(|other| on.cpu_on(other));
        self.started.store(cpus, Ordering::Relaxed);
        self.admit(cpu, self.case.online());
        self.now(Since::Online);
        let mut now = self.eye().snapshot();
        for &step in &self.case.steps {
            now = self.take(cpu, step, &now)?;
        }
        // A latecomer finds the map whole, whether or not it was repainted.
        self.admit(cpu, cpus);
        for _ in 0..4 {
            self.touch(cpu);
            cpu.step();
        }
        self.verdict()
    }

    /// Returns how many CPUs are online.
    pub(crate) fn online(&self) -> usize {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Lets CPUs go on, and waits until they have.
    pub(crate) fn admit(&self, cpu: &Scheduled<'_>, cpus: usize) {
        cpu.cpu().store_flag(ADMISSION, Flag::Ordered);
        self.admitted.store(cpus, Ordering::Relaxed);
        while self.inside.load(Ordering::Relaxed) != cpus {
            cpu.step();
        }
    }

    /// The first paint, as a kernel that has no linear map yet does it.
    fn paint(&self) -> Result<MapStats, Failed> {
        let (layout, largest) = (self.layout, self.case.largest);
        let (roots, on) = (self.image(0), self.bent(0));
        let Some((address, entry)) = self.case.window() else {
            // With a root of level 2 there is no room for a window of blocks: tables are reached some other way.
            let mut frames = self.machine.frames(0);
            let stats = paint(layout, largest, &roots, &on, &mut frames, REPLACEMENT).map_err(|e| e.to_string())?;
            link(layout, &roots, &on, REPLACEMENT, LIVE);
            return Ok(stats);
        };
        let piece = self.case.first;
        check!(first_paint_bytes(layout, largest) <= piece.bytes(), "the case has too little for the paint");
        let view = self.machine.view(0, Through::Distance(address.0.wrapping_sub(piece.start.0)));
        let mut first =
            FirstPaint::begin(layout, &roots, &on, TemporaryBlocks { piece, table: TEMPORARY, entry }, view);
        let stats = first.paint(largest, ROOTS).map_err(|e| e.to_string())?;
        let used = first.end(TlbiRepeat::Twice);
        self.machine.check_settled(0);
        self.machine.claim_frames(used);
        Ok(stats)
    }

    /// Maps `pages` new pages in the kernel's own area, and publishes them to every CPU.
    pub(crate) fn map(&self, cpu: &Scheduled<'_>, pages: u64) -> Result<(), Failed> {
        let (tree, on, page) = (self.live(0), self.bent(0), self.case.geometry.page_size());
        let mut frames = self.machine.frames(0);
        for _ in 0..pages {
            let address = self.case.area().offset(self.area.lock().unwrap().len() as u64 * page);
            let frame = frames.allocate().ok_or("no frame for a page")?;
            let output = PhysRange::new(frame, frame.offset(page));
            let mapped = tree.map_pages(&on, &mut frames, address, output, Attributes::NORMAL);
            if let Err(error) = mapped {
                frames.free(frame);
                return Err(error.to_string());
            }
            cpu.cpu().access(address, Access::Store);
            self.machine.hold_data(output);
            self.publish(cpu, |area| area.push(address));
        }
        Ok(())
    }
}
