//! What a TLB may still hold although memory says otherwise, and what gets rid of it.
//!
//! A CPU may hold any translation it could have walked at any time since its last completed, covering invalidation.
//! What memory holds now may always be cached, so it need not be remembered; what it held before is a [`Residue`], from
//! the store that replaced it until an invalidation of it has completed on every CPU that may have walked it. That is
//! every schedule of caching and eviction at once: a residue is there if some TLB of some machine may have it.

use super::reach::{Cpus, Place, RESTRICTIONS};
use super::rule::Text;
use super::{CpuState, Dsb, Rule, State};
use crate::paging::{Descriptor, Geometry, Kind, Level, PhysAddr, VirtAddr, slot};

/// M4.
pub(super) const M4: Text = Text {
    name: "order before",
    sentence: "a TLBI counts only for stores that a DSB with store semantics and inner-shareable scope has ordered \
               before it (not ISHLD, not NSH)",
    source: "Arm ARM D8.16 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb1, \
             SM-dsb1ishld",
};

/// M5.
pub(super) const M5: Text = Text {
    name: "coverage",
    sentence: "a TLBI of the wrong scope, the wrong address, the last level only where a table entry changed, the wrong \
               level hint or another VMID leaves what it was meant for",
    source: "Arm ARM D8.16 TLB maintenance: Scope of the TLBI instructions, TTL hint (FEAT_TTL); herd7: SM-local",
};

/// M6.
pub(super) const M6: Text = Text {
    name: "order after",
    sentence: "a TLBI is complete only after a full DSB ISH or SY on the CPU that issued it (NSH for a local one), \
               and on the erratum cores only after a second TLBI and DSB",
    source: "Arm ARM D8.16 TLB maintenance: Ordering and completion of TLB maintenance instructions; herd7: SM-nodsb2, \
             SM-dsb2nsh, SM-dsb2ishst; Arm errata notices (repeat TLBI)",
};

/// nG of a leaf.
pub(super) const NOT_GLOBAL: u64 = 1 << 11;

/// A translation or a table entry that some CPU may hold and memory no longer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residue {
    pub(super) number: u64,
    pub(super) slot: PhysAddr,
    pub(super) old: Descriptor,
    /// The level of the table the entry stood in; none for a root that a base register held.
    pub(super) level: Option<Level>,
    /// That root, or the one that this was below.
    pub(super) root: Option<PhysAddr>,
    /// The first virtual address it covers.
    pub(super) address: VirtAddr,
    /// The CPUs that may hold it.
    pub(super) holders: Cpus,
    pub(super) restrictions: u64,
    /// The ASID it was walked under: what is not global holds for that one only.
    pub(super) asid: u16,
    /// Who replaced it, and by which store of that CPU; nobody for a root.
    store: Option<(usize, u64)>,
    /// Of a table entry: what was below it has residues of its own now.
    pub(super) entry_gone: bool,
    /// The residue of the table entry it can be walked through again.
    above: Option<u64>,
    /// On an erratum core: the CPU that has done the first of two invalidations.
    half: Option<usize>,
    /// What went wrong with the attempts to get rid of it so far.
    pub(super) blame: Rule,
}

/// A TLB invalidation of stage 1 EL1&0 entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlbi {
    /// Which CPUs it reaches.
    pub scope: Scope,
    /// Which entries.
    pub what: What,
}

/// How far an invalidation reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The CPU that executes it.
    Local,
    /// Every CPU of the inner shareable domain (the `IS` forms).
    InnerShareable,
}

/// What an invalidation covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// VMALLE1: everything of the VMID.
    All,
    /// ASIDE1: what belongs to one ASID.
    Asid(u16),
    /// The entries on the way to one address: VAE1 (with an ASID) and VAAE1, VALE1 and VAALE1.
    Address {
        /// Any address the entry covers.
        address: VirtAddr,
        /// This ASID and global entries only.
        asid: Option<u16>,
        /// Leaves only (the `L` forms), or table entries on the way as well.
        last: LastLevel,
        /// The TTL hint: the leaf is of this level.
        hint: Option<Level>,
    },
}

/// Whether table entries are covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastLevel {
    /// Every entry on the way.
    AllLevels,
    /// The leaf alone.
    Only,
}

impl Tlbi {
    /// TLBI VMALLE1IS.
    pub const VMALLE1IS: Self = Self { scope: Scope::InnerShareable, what: What::All };
    /// TLBI VMALLE1.
    pub const VMALLE1: Self = Self { scope: Scope::Local, what: What::All };

    /// TLBI ASIDE1IS.
    #[must_use]
    pub const fn aside1is(asid: u16) -> Self {
        Self { scope: Scope::InnerShareable, what: What::Asid(asid) }
    }

    /// TLBI VAAE1IS: leaf and table entries for the address, whatever the ASID.
    #[must_use]
    pub const fn vaae1is(address: VirtAddr) -> Self {
        let what = What::Address { address, asid: None, last: LastLevel::AllLevels, hint: None };
        Self { scope: Scope::InnerShareable, what }
    }

    /// TLBI VAALE1IS: the leaf alone.
    #[must_use]
    pub const fn vaale1is(address: VirtAddr) -> Self {
        let what = What::Address { address, asid: None, last: LastLevel::Only, hint: None };
        Self { scope: Scope::InnerShareable, what }
    }

    /// What TLBI VAE1IS, or VALE1IS, does with this operand: VA\[55:12\] in bits 43:0 whatever the granule, the TTL hint
    /// in bits 47:44, the ASID in bits 63:48.
    #[must_use]
    pub fn from_operand(operand: u64, last: LastLevel, geometry: Geometry) -> Self {
        let page = (operand & 0xfff_ffff_ffff) << 12;
        // Bit 55 says which half it is, and is copied upwards.
        let address = VirtAddr(((page << 8) as i64 >> 8) as u64 & !(geometry.page_size() - 1));
        let (granule, level) = ((operand >> 46) & 3, (operand >> 44) & 3);
        let hint = (granule != 0).then(|| Level::ALL[level as usize]);
        let what = What::Address { address, asid: Some((operand >> 48) as u16), last, hint };
        Self { scope: Scope::InnerShareable, what }
    }

    /// The same on the CPU that executes it only.
    #[must_use]
    pub const fn local(self) -> Self {
        Self { scope: Scope::Local, ..self }
    }

    /// The same with a TTL hint.
    #[must_use]
    pub const fn at_level(self, level: Level) -> Self {
        match self.what {
            What::Address { address, asid, last, .. } => {
                Self { what: What::Address { address, asid, last, hint: Some(level) }, ..self }
            }
            What::All | What::Asid(_) => self,
        }
    }
}

/// A TLBI that counts for a residue and waits for its DSB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued {
    residue: u64,
    scope: Scope,
    second: bool,
}

impl State {
    pub(super) fn is_table(&self, residue: &Residue) -> bool {
        match residue.level {
            None => true,
            Some(level) => matches!(residue.old.kind(self.geometry, level), Kind::Table(_)),
        }
    }

    /// How many bytes a residue covers.
    pub(super) fn bytes(&self, residue: &Residue) -> u128 {
        residue.level.map_or(1 << self.geometry.address_bits(), |level| 1 << self.geometry.shift(level))
    }

    pub(super) fn covers(&self, residue: &Residue, address: VirtAddr) -> bool {
        u128::from(address.0.wrapping_sub(residue.address.0)) < self.bytes(residue)
    }

    /// Remembers what a store replaced.
    pub(super) fn remember(&mut self, cpu: usize, slot: PhysAddr, old: Descriptor, place: Place, address: VirtAddr) {
        let store = Some((cpu, self.cpus[cpu].order.stores));
        self.remember_as(slot, old, Some(place.level), None, address, place.holders, place.restrictions, store);
    }

    /// Remembers that a CPU's base register held another root before.
    pub(super) fn remember_root(&mut self, cpu: usize, root: PhysAddr, base: VirtAddr) {
        self.remember_as(root, Descriptor(root.0), None, Some(root), base, 1 << cpu, 0, None);
    }

    fn remember_as(
        &mut self,
        slot: PhysAddr,
        old: Descriptor,
        level: Option<Level>,
        root: Option<PhysAddr>,
        address: VirtAddr,
        holders: Cpus,
        restrictions: u64,
        store: Option<(usize, u64)>,
    ) {
        // One for each ASID that some of them walk under.
        let mut left = holders;
        while left != 0 {
            let asid = self.cpus[left.trailing_zeros() as usize].registers.asid;
            let alike: Cpus =
                self.of(left).filter(|(_, cpu)| cpu.registers.asid == asid).map(|(number, _)| 1 << number).sum();
            left &= !alike;
            self.residue_number += 1;
            self.residues.push(Residue {
                number: self.residue_number,
                slot,
                old,
                level,
                root,
                address,
                holders: alike,
                restrictions,
                asid,
                store,
                entry_gone: false,
                above: None,
                half: None,
                blame: Rule::M3,
            });
        }
    }

    /// Whether the store that replaced it is complete.
    pub(super) fn is_ordered(&self, residue: &Residue) -> bool {
        residue.store.is_none_or(|(writer, store)| store <= self.cpus[writer].order.completed)
    }

    /// Remembers a residue at another place of its table, unless it is known there.
    pub(super) fn find_again(&mut self, residue: &Residue, place: Place) {
        let address = self.address_in(place, self.index_of(residue.slot));
        let is_known = |known: &Residue| {
            (known.slot, known.old, known.store) == (residue.slot, residue.old, residue.store)
                && (known.address, known.restrictions) == (address, place.restrictions)
                && known.holders & place.holders == place.holders
        };
        if residue.level == Some(place.level) && !self.residues.iter().any(is_known) {
            let (level, store) = (residue.level, residue.store);
            self.remember_as(residue.slot, residue.old, level, None, address, place.holders, place.restrictions, store);
        }
    }

    /// M5: does the invalidation cover the residue?
    fn is_covered(&self, residue: &Residue, what: What, reached: Cpus) -> bool {
        let local_leaf = !self.is_table(residue) && residue.old.0 & NOT_GLOBAL != 0;
        match what {
            What::All => true,
            What::Asid(asid) => residue.asid == asid && (local_leaf || self.leads_to_one_asid(residue)),
            What::Address { address, asid, last, hint } => {
                self.covers(residue, address)
                    && !(self.is_table(residue) && last == LastLevel::Only)
                    // A hint speaks of the leaf; entries above it go as well when all levels are asked for.
                    && hint.is_none_or(|hint| if self.is_table(residue) { residue.level < Some(hint) } else { residue.level == Some(hint) })
                    && asid.is_none_or(|asid| !local_leaf || residue.asid == asid)
                    && (last == LastLevel::AllLevels || !self.can_be_walked_again(residue, residue.holders & reached))
            }
        }
    }

    /// True for a leaf that these CPUs can walk again through a cached table entry: it is not gone for good.
    fn can_be_walked_again(&self, residue: &Residue, holders: Cpus) -> bool {
        let is_above =
            |other: &Residue| Some(other.number) == residue.above && !other.entry_gone && other.holders & holders != 0;
        self.memory.get(residue.slot) == residue.old && self.residues.iter().any(is_above)
    }

    /// True for a table entry, or a root, below which no leaf is global.
    fn leads_to_one_asid(&self, residue: &Residue) -> bool {
        self.below(residue).is_some_and(|(table, place)| self.is_of_one_asid(table, place))
    }

    fn is_of_one_asid(&self, table: PhysAddr, place: Place) -> bool {
        self.valid_in(table, place.level).all(|(_, entry)| {
            match (entry.kind(self.geometry, place.level), place.level.next()) {
                (Kind::Table(below), Some(level)) => self.is_of_one_asid(below, Place { level, ..place }),
                _ => entry.0 & NOT_GLOBAL != 0,
            }
        })
    }

    fn of(&self, holders: Cpus) -> impl Iterator<Item = (usize, &CpuState)> + '_ {
        self.cpus.iter().enumerate().filter(move |(number, _)| holders >> number & 1 == 1)
    }

    /// A TLBI begins. It counts for what it covers and was ordered before it; the rest is noted for the blame.
    pub(super) fn invalidate(&mut self, cpu: usize, tlbi: Tlbi) {
        if matches!(tlbi.what, What::Address { .. }) {
            self.expand_for(tlbi.what);
        }
        let vmid = self.cpus[cpu].registers.vmid;
        let reached: Cpus = match tlbi.scope {
            Scope::Local => 1 << cpu,
            Scope::InnerShareable => {
                let same = |other: &&CpuState| other.registers.vmid == vmid;
                (0..self.cpus.len()).filter(|&n| same(&&self.cpus[n])).map(|n| 1 << n).sum()
            }
        };
        let mut blames = Vec::new();
        for (index, residue) in self.residues.iter().enumerate() {
            if tlbi.scope == Scope::InnerShareable && residue.half == Some(cpu) {
                self.cpus[cpu].issued.push(Issued { residue: residue.number, scope: tlbi.scope, second: true });
                continue;
            }
            let counts = self.is_covered(residue, tlbi.what, reached) && residue.holders & reached != 0;
            let ordered = self.is_ordered(residue);
            let blame = match (counts, ordered) {
                (false, _) => Rule::M5,
                (true, false) => Rule::M4,
                (true, true) => {
                    self.cpus[cpu].issued.push(Issued { residue: residue.number, scope: tlbi.scope, second: false });
                    // Whom it does not reach keeps it, whatever comes after.
                    if residue.holders & !reached == 0 { Rule::M6 } else { Rule::M5 }
                }
            };
            blames.push((index, blame));
        }
        for (index, blame) in blames {
            let residue = &mut self.residues[index];
            // The attempt that came nearest is the one to name.
            if residue.blame == Rule::M3 || blame == Rule::M6 || residue.blame == Rule::M5 && blame == Rule::M4 {
                residue.blame = blame;
            }
        }
        self.cpus[cpu].unfinished_local |= tlbi.what == What::All;
    }

    /// Gives what is below a table entry residues of its own, before an invalidation of one address takes the entry.
    fn expand_for(&mut self, what: What) {
        let What::Address { address, .. } = what else { return };
        let mut next = 0;
        while let Some(found) = self.residues[next..].iter().position(|residue| {
            self.is_table(residue) && !residue.entry_gone && residue.above.is_none() && self.covers(residue, address)
        }) {
            let parent = self.residues[next + found];
            next += found + 1;
            if let Some((table, place)) = self.below(&parent) {
                self.expand(&parent, table, place);
            }
        }
    }

    fn expand(&mut self, parent: &Residue, table: PhysAddr, place: Place) {
        let entries: Vec<_> = self.valid_in(table, place.level).collect();
        for (index, old) in entries {
            let address = self.address_in(place, index);
            let at = slot(table, index);
            let is_known = |known: &Residue| {
                known.above == Some(parent.number) && (known.slot, known.old, known.address) == (at, old, address)
            };
            if self.residues.iter().any(is_known) {
                self.expand_below(parent, old, address, place);
                continue;
            }
            self.remember_as(
                at,
                old,
                Some(place.level),
                None,
                address,
                parent.holders,
                place.restrictions,
                parent.store,
            );
            // What is under way for the one above takes this as well.
            let number = self.residue_number;
            for cpu in &mut self.cpus {
                let issued = cpu.issued.iter().filter(|one| one.residue == parent.number);
                let issued: Vec<_> = issued.map(|&one| Issued { residue: number, ..one }).collect();
                cpu.issued.extend(issued);
            }
            if let Some(last) = self.residues.last_mut() {
                // Its holders are of one ASID already, and that may be another than theirs now.
                last.above = Some(parent.number);
                last.asid = parent.asid;
                last.root = parent.root;
                (last.half, last.blame) = (parent.half, parent.blame);
            }
            self.expand_below(parent, old, address, place);
        }
    }

    fn expand_below(&mut self, parent: &Residue, old: Descriptor, address: VirtAddr, place: Place) {
        if let (Kind::Table(below), Some(level)) = (old.kind(self.geometry, place.level), place.level.next()) {
            let restrictions = place.restrictions | old.0 & RESTRICTIONS;
            self.expand(parent, below, Place { level, base: address, restrictions, ..place });
        }
    }

    /// M6: a DSB completes the TLBIs its own CPU has issued, if it is one that waits for everything.
    pub(super) fn complete_invalidations(&mut self, cpu: usize, dsb: Dsb) {
        if !dsb.waits_for_everything() {
            return;
        }
        let issued = std::mem::take(&mut self.cpus[cpu].issued);
        let vmid = self.cpus[cpu].registers.vmid;
        let mut changed = false;
        for one in issued {
            if one.scope == Scope::InnerShareable && !dsb.is_inner_shareable() {
                self.cpus[cpu].issued.push(one);
                continue;
            }
            let Some(index) = self.residues.iter().position(|residue| residue.number == one.residue) else { continue };
            let broadcast = one.scope == Scope::InnerShareable;
            if broadcast && self.repeats && !one.second {
                self.residues[index].half = Some(cpu);
                continue;
            }
            let reached: Cpus = match one.scope {
                Scope::Local => 1 << cpu,
                Scope::InnerShareable => {
                    (0..self.cpus.len()).filter(|&n| self.cpus[n].registers.vmid == vmid).map(|n| 1 << n).sum()
                }
            };
            self.residues[index].holders &= !reached;
            changed |= self.is_table(&self.residues[index]);
        }
        self.residues.retain(|residue| residue.holders != 0);
        if changed {
            self.reach = None;
        }
        let state = &mut self.cpus[cpu];
        state.local_tlb_clean |= state.unfinished_local;
        state.unfinished_local = false;
    }
}
