//! The whole: real painting, real splits under a real rendezvous, on a machine of several CPUs that all use the map.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cleave::linear_map::{
    BbmLevel, Fill, LargestLeaf, Layout, PhysicalWindow, Pool, RootSpan, ShadowMap, Share, Skeleton, exchange,
    free_tables, link, paint, split_in_window, tables_bound,
};
use cleave::machine::*;
use cleave::paging::{
    Attributes, Census, Cpu, Descriptor, FrameSource, Geometry, Kind, PhysAddr, PhysRange, Scope, TableMemory,
    TlbiRepeat, VirtAddr, clear_entries, copy_entries, invalidate_everywhere, slot, walk,
};
use cleave::rendezvous::{Parked, Refused, Rendezvous, Slot};

/// Where the root tables are: the kernel image's, so to say.
const ROOTS: u64 = 0xe000_0000_0000;
const LIVE: PhysAddr = PhysAddr(ROOTS);
const SHADOW: PhysAddr = PhysAddr(ROOTS + 0x1_0000);
const SAVE: PhysAddr = PhysAddr(ROOTS + 0x2_0000);
const WINDOW: PhysAddr = PhysAddr(ROOTS + 0x3_0000);
const NOTHING: PhysAddr = PhysAddr(ROOTS + 0x4_0000);
const HOLDING: PhysAddr = PhysAddr(ROOTS + 0x5_0000);

/// A machine, what memory it has, and what happens on it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) geometry: Geometry,
    /// All RAM; the last region is where frames come from.
    pub(crate) regions: Vec<PhysRange>,
    pub(crate) alias: PhysRange,
    pub(crate) attributes: Attributes,
    pub(crate) largest: LargestLeaf,
    pub(crate) levels: Vec<BbmLevel>,
    pub(crate) ets2: bool,
    pub(crate) erratum: bool,
    /// What was done to single leaves before: which, by lot.
    pub(crate) planted: Option<u64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) seed: u64,
}

/// One repaint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) fill: How,
    pub(crate) trouble: Trouble,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    Ahead,
    InWindow,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    None,
    /// The allocator fails at the n-th frame of what is needed, in thousandths.
    OutOfMemory(u64),
    /// A CPU does not come, and it is called off.
    Absent,
    /// A CPU does not come the first time.
    Late,
}

/// What a machine can be made to do wrong, to see that somebody notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Defect {
    DsbIshst,
    DsbIsh,
    DsbNsh,
    Isb,
    NoTlbi,
    LocalTlbi,
    NoLocalTlbi,
    SecondTlbi,
    /// The followers' context synchronisation.
    HostIsb,
    /// The leader counts one CPU too few, and that one does not come.
    Miscount,
    /// The old tables are given back before the commit.
    EarlyFree,
    /// The tables of the shadow are linked, and filled by nobody.
    NoFill,
    /// The window's tables are reached through the map that is broken.
    ThroughLinear,
    /// A frame is taken from the allocator inside the window.
    Allocation,
    /// Everyone is let go while the map is broken.
    NoMake,
}

/// A CPU with a defect.
struct Bent<'a> {
    cpu: OnCpu<'a>,
    defect: Option<Defect>,
}

impl Bent<'_> {
    fn unless(&self, defect: Defect, what: impl FnOnce()) {
        if self.defect != Some(defect) {
            what();
        }
    }
}

impl Cpu for Bent<'_> {
    fn dsb_ishst(&self) {
        self.unless(Defect::DsbIshst, || self.cpu.dsb_ishst());
    }
    fn dsb_ish(&self) {
        self.unless(Defect::DsbIsh, || self.cpu.dsb_ish());
    }
    fn dsb_nsh(&self) {
        self.unless(Defect::DsbNsh, || self.cpu.dsb_nsh());
    }
    fn isb(&self) {
        self.unless(Defect::Isb, || Cpu::isb(&self.cpu));
    }
    fn tlbi_vmalle1is(&self) {
        match self.defect {
            Some(Defect::NoTlbi) => {}
            Some(Defect::LocalTlbi) => self.cpu.tlbi_vmalle1(),
            _ => self.cpu.tlbi_vmalle1is(),
        }
    }
    fn tlbi_vmalle1(&self) {
        self.unless(Defect::NoLocalTlbi, || self.cpu.tlbi_vmalle1());
    }
    fn tlbi_vale1is_any(&self) {
        self.unless(Defect::SecondTlbi, || self.cpu.tlbi_vale1is_any());
    }
    fn set_ttbr0(&self, root: PhysAddr) {
        Cpu::set_ttbr0(&self.cpu, root);
    }
}

/// A follower's [`cleave::rendezvous::Host`] that may not synchronise.
struct BentHost<'a, 'b> {
    host: &'b Scheduled<'a>,
    defect: Option<Defect>,
}

impl cleave::rendezvous::Host for BentHost<'_, '_> {
    type Masked = <Scheduled<'static> as cleave::rendezvous::Host>::Masked;

    fn kick_others(&self) {
        self.host.kick_others();
    }
    fn ticks(&self) -> u64 {
        self.host.ticks()
    }
    fn pause(&self) {
        self.host.pause();
    }
    fn wait(&self) {
        self.host.wait();
    }
    fn wake(&self) {
        self.host.wake();
    }
    fn interrupts_enabled(&self) -> bool {
        self.host.interrupts_enabled()
    }
    fn mask_all(&self) -> Self::Masked {
        self.host.mask_all()
    }
    fn isb(&self) {
        if self.defect != Some(Defect::HostIsb) {
            cleave::rendezvous::Host::isb(self.host);
        }
    }
    fn before_arrival(&self) {
        self.host.before_arrival();
    }
    fn on_arrival(&self) {
        self.host.on_arrival();
    }
    fn on_release(&self) {
        self.host.on_release();
    }
}

/// Roots through the image, everything else through the linear map.
#[derive(Clone, Copy)]
struct Both<'a> {
    roots: View<'a>,
    others: View<'a>,
}

impl<'a> Both<'a> {
    fn of(&self, slot: PhysAddr) -> &View<'a> {
        if slot.0 >= ROOTS { &self.roots } else { &self.others }
    }
}

impl TableMemory for Both<'_> {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.of(slot).load(slot)
    }
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.of(slot).store(slot, value);
    }
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        self.of(first).store_run(first, value, stride, count);
    }
}

/// What a map says, size apart: runs of adjacent memory with equal attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    address: u64,
    output: u64,
    bytes: u64,
    attributes: u64,
}

/// Ends a case; the text says why.
pub(crate) type Failed = String;

macro_rules! check {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

/// Everything that is the same on all CPUs of a running case.
struct Run1<'a> {
    case: &'a Case,
    machine: &'a Machine,
    layout: &'a Layout<'a>,
    rendezvous: Rendezvous,
    slots: Vec<Slot>,
    fill: Fill,
    /// The CPU that answers no kick, or none.
    deaf: AtomicU64,
    /// Chunks each CPU has claimed.
    mine: Vec<AtomicU64>,
    admit: AtomicBool,
    inside: AtomicU64,
    defect: Option<Defect>,
    /// Addresses to use.
    usable: std::sync::Mutex<Vec<VirtAddr>>,
}

const ADMISSION: usize = 2;
const NOBODY: u64 = u64::MAX;

/// Runs a case to its end. Every broken promise is an error that says which.
pub(crate) fn run(case: &Case, defect: Option<Defect>) -> Result<(), Failed> {
    let mut config = Config::new(case.geometry, &case.levels);
    if case.ets2 {
        config = config.with_ets2();
    }
    if case.erratum {
        config = config.with_repeat_erratum();
    }
    let machine = Machine::new(config);
    let base = VirtAddr(!0 << case.geometry.address_bits());
    let layout = Layout::new(case.geometry, base, u64::MAX, &case.regions, case.alias, case.attributes)
        .map_err(|error| error.to_string())?;
    for root in [LIVE, SHADOW, SAVE, WINDOW, NOTHING, HOLDING] {
        for entry in 0..case.geometry.entries(case.geometry.root_level()) {
            machine.poke(slot(root, entry), Descriptor::EMPTY);
        }
    }
    machine.add_frames(case.regions.last().copied().unwrap_or_default());
    machine.boot(0, LIVE);
    let cpus = case.levels.len();
    let world = Run1 {
        case,
        machine: &machine,
        layout: &layout,
        rendezvous: Rendezvous::new(),
        slots: (0..cpus).map(|_| Slot::new()).collect(),
        fill: Fill::new(),
        deaf: AtomicU64::new(NOBODY),
        mine: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
        admit: AtomicBool::new(false),
        inside: AtomicU64::new(1),
        defect,
        usable: std::sync::Mutex::new(Vec::new()),
    };
    Schedule::new(&machine, case.seed).run(|cpu| world.lead(cpu), |cpu| world.follow(cpu))?;
    machine.verdict().map_err(|violation| violation.to_string())
}

impl<'a> Run1<'a> {
    fn image(&self, cpu: usize) -> View<'a> {
        self.machine.view(cpu, Through::Physical)
    }

    fn linear(&self, cpu: usize) -> View<'a> {
        self.machine.view(cpu, Through::Distance(self.layout.base().0))
    }

    fn bent(&self, cpu: usize) -> Bent<'a> {
        Bent { cpu: self.machine.cpu(cpu), defect: self.defect }
    }

    fn map(&self, cpu: usize) -> ShadowMap<'a, View<'a>, View<'a>> {
        let (memory, roots) = (self.linear(cpu), self.image(cpu));
        ShadowMap { layout: self.layout, memory, roots, live: LIVE, shadow: SHADOW }
    }

    fn verdict(&self) -> Result<(), Failed> {
        self.machine.verdict().map_err(|violation| violation.to_string())
    }

    fn work(&self, cpu: usize, share: Share) {
        let mut mine = self.mine[cpu].load(Ordering::Relaxed);
        self.fill.work(&self.map(cpu), &self.bent(cpu), share, &mut mine);
        self.mine[cpu].store(mine, Ordering::Relaxed);
    }

    /// Uses some address of the map.
    fn touch(&self, cpu: &Scheduled<'_>) {
        let address = {
            let usable = self.usable.lock().unwrap();
            if usable.is_empty() {
                return;
            }
            usable[cpu.lot(usable.len() as u64) as usize]
        };
        cpu.cpu().access(address, Access::Load);
    }

    /// A secondary: comes up on a root of its own, is admitted, works, and answers kicks.
    fn follow(&self, cpu: &Scheduled<'_>) {
        let (on, me) = (cpu.cpu(), cpu.cpu().number());
        while !self.admit.load(Ordering::Relaxed) {
            if cpu.is_over() {
                return;
            }
            cpu.step();
        }
        on.set_ttbr1(HOLDING);
        on.set_ttbr0(Some(NOTHING));
        on.tlbi(Tlbi::VMALLE1);
        on.dsb(Dsb::Nsh);
        on.isb();
        on.mmu_on();
        on.isb();
        cpu.step();
        on.load_flag(ADMISSION, Flag::Ordered);
        on.branch();
        on.admitted();
        on.set_ttbr1(LIVE);
        on.isb();
        self.inside.fetch_add(1, Ordering::Relaxed);
        let host = BentHost { host: cpu, defect: self.defect };
        while !cpu.is_over() {
            self.touch(cpu);
            if self.deaf.load(Ordering::Relaxed) != me as u64 && cpu.take_kick() {
                self.rendezvous.attend(&host, &self.slots[me]);
                self.touch(cpu);
            }
            if self.fill.is_open() {
                self.work(me, Share::Fair);
            }
            cpu.step();
        }
    }

    /// The boot CPU.
    fn lead(&self, cpu: &Scheduled<'_>) -> Result<(), Failed> {
        let on = cpu.cpu();
        on.set_ttbr0(Some(NOTHING));
        on.isb();
        let mut frames = self.machine.frames(0);
        // The linear map does not exist yet: tables are written through a temporary mapping of their own.
        let image = self.image(0);
        let census = paint(self.layout, self.case.largest, &image, &self.bent(0), &mut frames, SHADOW)
            .map_err(|e| e.to_string())?;
        link(self.layout, &image, &self.bent(0), SHADOW, LIVE);
        self.verdict()?;
        check!(self.recount() == census, "the census is not what a walk finds");
        if let Some(seed) = self.case.planted {
            self.plant(seed);
        }
        let last = self.layout.regions().last().map_or(0, |region| region.end.0 - 1);
        self.machine.share(self.layout.base()..=self.layout.address(PhysAddr(last)));
        self.list_usable();
        on.store_flag(ADMISSION, Flag::Ordered);
        for other in 1..self.machine.cpus() {
            on.cpu_on(other);
        }
        self.admit.store(true, Ordering::Relaxed);
        while self.inside.load(Ordering::Relaxed) != self.machine.cpus() as u64 {
            cpu.step();
        }
        for &step in &self.case.steps {
            self.repaint(cpu, step)?;
        }
        for _ in 0..4 {
            self.touch(cpu);
            cpu.step();
        }
        self.verdict()
    }

    /// One repaint with what is to go wrong, and everything that has to hold after it.
    fn repaint(&self, cpu: &Scheduled<'_>, step: Step) -> Result<(), Failed> {
        let before = self.runs();
        let (census, out) = (self.recount(), self.machine.frames_out());
        let tables = self.live_tables();
        let done = match step.fill {
            How::Ahead => self.ahead(cpu, step.trouble, &census)?,
            How::InWindow => self.in_window(cpu, step.trouble, &census)?,
        };
        self.machine.limit_frames(None);
        self.verdict()?;
        check!(self.machine.is_settled(), "something may still be cached that memory does not have");
        check!(self.runs() == before, "the map does not translate as before");
        let after = self.recount();
        let out_now = self.machine.frames_out();
        if done {
            check!(after.tables_to_split(self.case.geometry) == 0, "something was not split");
            let grown = census.tables_to_split(self.case.geometry);
            check!(after.tables == census.tables + grown, "{} tables more, not {grown}", after.tables - census.tables);
        } else {
            check!(after == census, "the counts changed");
            check!(out_now == out, "frames are missing, or are there twice");
            check!(self.live_tables() == tables, "a live descriptor changed");
        }
        let linked: BTreeSet<_> = self.linked();
        check!(out_now.iter().copied().collect::<BTreeSet<_>>() == linked, "frames are out that are no tables");
        self.check_w_xor_x()
    }

    fn limit(&self, trouble: Trouble, needed: u64) -> u64 {
        match trouble {
            Trouble::OutOfMemory(part) if needed > 0 => {
                let limit = (needed - 1) * part / 1000;
                self.machine.limit_frames(Some(limit));
                limit
            }
            _ => u64::MAX,
        }
    }

    fn ahead(&self, cpu: &Scheduled<'_>, trouble: Trouble, census: &Census) -> Result<bool, Failed> {
        let geometry = self.case.geometry;
        let mut frames = self.machine.frames(0);
        let needed = census.tables_to_split(geometry) + census.tables;
        let limit = self.limit(trouble, needed);
        let mut pool = match Pool::reserve(&self.linear(0), &mut frames, needed) {
            Ok(pool) => pool,
            Err(missing) => {
                check!(limit < needed, "{missing}");
                return Ok(false);
            }
        };
        check!(limit >= needed, "frames out of nothing");
        self.mine.iter().for_each(|mine| mine.store(0, Ordering::Relaxed));
        let skeleton = Skeleton::build(self.layout, &self.linear(0), &self.image(0), LIVE, SHADOW, &mut pool);
        check!((skeleton.tables, pool.frames()) == (needed, 0), "the reservation was not exact");
        if self.defect != Some(Defect::NoFill) {
            self.fill.open(self.layout, &self.bent(0), self.machine.cpus() as u64);
            self.work(0, Share::Fair);
            cpu.step();
            self.work(0, Share::Everything);
            while !self.fill.is_complete() {
                cpu.step();
            }
            self.fill.close();
        }
        let roots = self.image(0);
        copy_entries(&roots, LIVE, SAVE, self.layout.root_entries());
        if self.defect == Some(Defect::EarlyFree) {
            free_tables(geometry, &self.linear(0), &roots, SAVE, self.layout.root_entries(), &mut frames);
            return self.verdict().map(|()| true);
        }
        let span = RootSpan::of(self.layout, LIVE, SHADOW);
        let on = self.bent(0);
        let done = self.gather(cpu, trouble, |everyone| {
            match self.defect {
                Some(Defect::Allocation) => drop(self.machine.frames(0).allocate()),
                Some(Defect::NoMake) => {
                    roots.store(slot(LIVE, self.layout.root_entries().start), Descriptor::EMPTY);
                    invalidate_everywhere(&on, self.repeat());
                    return;
                }
                _ => {}
            }
            exchange(&roots, &on, span, self.repeat(), everyone);
        })?;
        self.touch(cpu);
        let gone = if done { SAVE } else { SHADOW };
        free_tables(geometry, &self.linear(0), &roots, gone, self.layout.root_entries(), &mut frames);
        clear_entries(&roots, SAVE, self.layout.root_entries());
        clear_entries(&roots, SHADOW, self.layout.root_entries());
        Ok(done)
    }

    fn in_window(&self, cpu: &Scheduled<'_>, trouble: Trouble, census: &Census) -> Result<bool, Failed> {
        let geometry = self.case.geometry;
        let mut frames = self.machine.frames(0);
        let needed = census.tables_to_split(geometry);
        let limit = self.limit(trouble, needed);
        let mut pool = match Pool::reserve(&self.linear(0), &mut frames, needed) {
            Ok(pool) => pool,
            Err(missing) => {
                check!(limit < needed, "{missing}");
                return Ok(false);
            }
        };
        self.machine.limit_frames(None);
        let regions = self.without_alias();
        let attributes = Attributes { scope: Scope::AddressSpace, ..Attributes::NORMAL };
        let identity = Layout::new(geometry, VirtAddr(0), u64::MAX, &regions, PhysRange::default(), attributes)
            .map_err(|error| error.to_string())?;
        let both = Both { roots: self.image(0), others: self.linear(0) };
        check!(frames.available() >= tables_bound(&identity, LargestLeaf::Block), "the case has too few frames");
        paint(&identity, LargestLeaf::Block, &both, &self.bent(0), &mut frames, WINDOW).map_err(|e| e.to_string())?;
        let through_linear = self.defect == Some(Defect::ThroughLinear);
        let view = if through_linear { self.linear(0) } else { self.machine.view(0, Through::Distance(0)) };
        let window = PhysicalWindow { view, root: WINDOW, empty: NOTHING };
        let (roots, on) = (self.image(0), self.bent(0));
        let mut used = 0;
        let done = self.gather(cpu, trouble, |everyone| {
            let repeat = self.repeat();
            used = split_in_window(self.layout, &roots, &on, LIVE, SAVE, &window, &mut pool, repeat, everyone);
        })?;
        self.touch(cpu);
        check!(!done || (used, pool.frames()) == (needed, 0), "the reservation was not exact");
        pool.release(&self.linear(0), &mut frames);
        free_tables(geometry, &self.linear(0), &roots, WINDOW, identity.root_entries(), &mut frames);
        clear_entries(&roots, WINDOW, identity.root_entries());
        Ok(done)
    }

    fn repeat(&self) -> TlbiRepeat {
        if self.case.erratum { TlbiRepeat::Twice } else { TlbiRepeat::Once }
    }

    /// The rendezvous, with the CPU that does not come.
    fn gather(
        &self,
        cpu: &Scheduled<'_>,
        trouble: Trouble,
        mut commit: impl FnMut(&Parked<'_>),
    ) -> Result<bool, Failed> {
        let cpus = self.machine.cpus() as u32;
        let absent = matches!(trouble, Trouble::Absent | Trouble::Late) && cpus > 1;
        if absent {
            self.deaf.store(u64::from(cpus - 1), Ordering::Relaxed);
            let refused = self.rendezvous.run(cpu, &self.slots[0], cpus, 2000, |_| ());
            self.deaf.store(NOBODY, Ordering::Relaxed);
            // It may have come all the same: on its way to see what an earlier kick was about.
            check!(matches!(refused, Ok(_) | Err(Refused::Deadline { .. })), "{:?}", refused.err());
            if trouble == Trouble::Absent {
                return Ok(false);
            }
        }
        let miscounted = self.defect == Some(Defect::Miscount);
        if miscounted {
            self.deaf.store(u64::from(cpus - 1), Ordering::Relaxed);
        }
        let cpus = if miscounted { cpus - 1 } else { cpus };
        let result = self.rendezvous.run(cpu, &self.slots[0], cpus, u64::MAX, |everyone| commit(everyone));
        result.map(|_| true).map_err(|refused| refused.to_string())
    }

    fn without_alias(&self) -> Vec<PhysRange> {
        let alias = self.case.alias;
        let mut left = Vec::new();
        for &region in &self.case.regions {
            let cut = region.intersection(alias);
            if cut.is_empty() {
                left.push(region);
            } else {
                left.push(PhysRange::new(region.start, cut.start));
                left.push(PhysRange::new(cut.end, region.end));
            }
        }
        left.retain(|range| !range.is_empty());
        left
    }

    /// Makes some leaves read-only or invalid, groups as a whole, and restricts some tables, before anybody has used them.
    fn plant(&self, seed: u64) {
        let mut lots = seed | 1;
        let mut lot = move |bound: u64| {
            lots = lots.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (lots >> 33) % bound
        };
        let frames = self.case.regions.last().copied().unwrap_or_default();
        let (mut changes, mut group) = (Vec::new(), (0, 0));
        self.visit(LIVE, |visit| {
            let Kind::Leaf(output) = visit.kind else { return };
            // Frames are written through the map.
            let bytes = self.case.geometry.size(visit.level);
            if self.case.alias.contains(output) || frames.overlaps(PhysRange::new(output, output.offset(bytes))) {
                return;
            }
            let members = self.case.geometry.contiguous(visit.level).unwrap_or(1) as u64;
            let key = (visit.slot.0 / (8 * members), visit.descriptor.is_contiguous());
            if !(key.1 && group.0 == key.0) {
                group = (key.0, lot(6));
            }
            let leaf = visit.descriptor;
            match group.1 {
                0 => changes.push((visit.slot, leaf.made_invalid())),
                1 => changes.push((visit.slot, Descriptor(leaf.0 | 1 << 7))),
                _ => {}
            }
        });
        for (at, value) in changes {
            self.machine.poke(at, value);
        }
    }

    fn list_usable(&self) {
        let mut usable = Vec::new();
        self.visit(LIVE, |visit| {
            if let Kind::Leaf(_) = visit.kind {
                usable.push(visit.address);
            }
        });
        *self.usable.lock().unwrap() = usable;
    }

    fn visit(&self, root: PhysAddr, mut each: impl FnMut(cleave::paging::Visit)) {
        let (base, entries) = (self.layout.root_base(), self.layout.root_entries());
        walk(&self.image(0), self.case.geometry, root, base, entries, &mut each);
    }

    fn recount(&self) -> Census {
        let (base, entries) = (self.layout.root_base(), self.layout.root_entries());
        Census::of_tree(&self.image(0), self.case.geometry, LIVE, base, entries, self.case.alias)
    }

    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        self.visit(LIVE, |visit| {
            let (Kind::Leaf(output) | Kind::InvalidLeaf(output)) = visit.kind else { return };
            let (address, output, bytes) = (visit.address.0, output.0, self.case.geometry.size(visit.level));
            let attributes = visit.descriptor.attributes();
            match runs.last_mut() {
                Some(last)
                    if last.address.wrapping_add(last.bytes) == address
                        && last.output + last.bytes == output
                        && last.attributes == attributes =>
                {
                    last.bytes += bytes;
                }
                _ => runs.push(Run { address, output, bytes, attributes }),
            }
        });
        runs
    }

    fn linked(&self) -> BTreeSet<PhysAddr> {
        let mut linked = BTreeSet::new();
        self.visit(LIVE, |visit| {
            if let Kind::Table(table) = visit.kind {
                linked.insert(table);
            }
        });
        linked
    }

    fn live_tables(&self) -> Vec<(PhysAddr, Descriptor)> {
        let mut all = Vec::new();
        self.visit(LIVE, |visit| all.push((visit.slot, visit.descriptor)));
        all
    }

    fn check_w_xor_x(&self) -> Result<(), Failed> {
        let mut both = None;
        self.visit(LIVE, |visit| {
            let Kind::Leaf(output) = visit.kind else { return };
            if visit.is_executable() || self.case.alias.contains(output) && visit.is_writable() {
                both = Some(visit);
            }
        });
        check!(both.is_none(), "writable and executable: {both:?}");
        Ok(())
    }
}

/// Plain RAM with 4 KiB pages, a little of everything in it.
pub(crate) fn plain(cpus: usize, steps: &[Step]) -> Case {
    let range = |start, end| PhysRange::new(PhysAddr(start), PhysAddr(end));
    Case {
        geometry: Geometry::K4_V48,
        regions: vec![range(0x1000, 0x62_3000), range(0x4000_0000, 0x4010_0000)],
        alias: range(0x20_0000, 0x30_0000),
        attributes: Attributes::NORMAL,
        largest: LargestLeaf::Block,
        levels: vec![BbmLevel::Zero; cpus],
        ets2: false,
        erratum: false,
        planted: None,
        steps: steps.to_vec(),
        seed: 1,
    }
}

pub(crate) const fn step(fill: How, trouble: Trouble) -> Step {
    Step { fill, trouble }
}

#[test]
fn both_ways_of_a_split_keep_every_rule() {
    for fill in [How::Ahead, How::InWindow] {
        for cpus in 1..5 {
            run(&plain(cpus, &[step(fill, Trouble::None)]), None).unwrap_or_else(|failed| panic!("{failed}"));
        }
    }
}

#[test]
fn whatever_goes_wrong_nothing_has_changed_and_the_next_time_works() {
    for fill in [How::Ahead, How::InWindow] {
        for trouble in [Trouble::OutOfMemory(500), Trouble::Absent, Trouble::Late] {
            let case = plain(3, &[step(fill, trouble), step(fill, Trouble::None)]);
            run(&case, None).unwrap_or_else(|failed| panic!("{fill:?}, {trouble:?}: {failed}"));
        }
    }
}

/// What a case with a defect is caught as.
fn caught(defect: Defect, fill: How, change: impl FnOnce(&mut Case)) -> String {
    let mut case = plain(3, &[step(fill, Trouble::None)]);
    change(&mut case);
    match run(&case, Some(defect)) {
        Ok(()) => panic!("{defect:?} was not noticed"),
        Err(failed) => failed.split(' ').next().unwrap_or_default().to_owned(),
    }
}

/// A property that cannot fail is worth nothing: the same runs on machines that leave something out.
#[test]
fn a_machine_that_leaves_something_out_is_caught() {
    let same = |_: &mut Case| {};
    for (defect, fill, rule) in [
        (Defect::NoTlbi, How::Ahead, "M3"),
        (Defect::NoTlbi, How::InWindow, "M12"),
        (Defect::LocalTlbi, How::Ahead, "M5"),
        (Defect::LocalTlbi, How::InWindow, "M12"),
        (Defect::DsbIsh, How::Ahead, "M6"),
        (Defect::DsbIsh, How::InWindow, "M12"),
        // Already the first table of the painting.
        (Defect::DsbIshst, How::Ahead, "M7"),
        (Defect::HostIsb, How::Ahead, "M10"),
        (Defect::HostIsb, How::InWindow, "M10"),
        (Defect::NoLocalTlbi, How::InWindow, "M12"),
        (Defect::DsbNsh, How::InWindow, "M12"),
        (Defect::Isb, How::InWindow, "M10"),
        (Defect::EarlyFree, How::Ahead, "M12"),
        (Defect::NoFill, How::Ahead, "M7"),
        (Defect::ThroughLinear, How::InWindow, "M13"),
        (Defect::Allocation, How::Ahead, "M15"),
        (Defect::NoMake, How::Ahead, "M14"),
        (Defect::Miscount, How::Ahead, "M14"),
        (Defect::Miscount, How::InWindow, "M14"),
    ] {
        assert_eq!(caught(defect, fill, same), rule, "{defect:?}, {fill:?}");
    }
    let erratum = |case: &mut Case| case.erratum = true;
    assert_eq!(caught(Defect::SecondTlbi, How::Ahead, erratum), "M6");
}
