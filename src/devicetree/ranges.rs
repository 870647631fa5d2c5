// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sorted list of physical ranges with a fixed capacity: set arithmetic before there is a heap.

use core::fmt;

use cleave::tables::{PhysAddr, PhysRange};

/// A set of physical addresses, kept as at most `N` ranges.
///
/// The ranges are in ascending order, not empty, and neither overlap nor touch. An operation that would need more than
/// `N` of them is an error and leaves the set as it was.
///
/// # Examples
/// ```
/// use cleave::tables::{PhysAddr, PhysRange};
/// use crate::devicetree::RangeSet;
///
/// let range = |start, end| PhysRange::new(PhysAddr(start), PhysAddr(end));
/// let mut ram = RangeSet::<8>::new();
/// ram.insert(range(0x4000_0000, 0x8000_0000))?;
/// ram.remove(range(0x4800_0000, 0x4810_0000))?;
/// assert_eq!(ram.as_slice(), [range(0x4000_0000, 0x4800_0000), range(0x4810_0000, 0x8000_0000)]);
/// # Ok::<(), crate::devicetree::RangeSetFull>(())
/// ```
#[derive(Clone)]
pub(crate) struct RangeSet<const N: usize> {
    ranges: [PhysRange; N],
    len: usize,
}

/// A [`RangeSet`] would need more ranges than it can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeSetFull {
    /// The most ranges that it holds.
    pub(crate) capacity: usize,
    /// The range for which there was no room.
    pub(crate) range: PhysRange,
}

impl fmt::Display for RangeSetFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} separate ranges of memory, at {}", self.capacity, self.range)
    }
}

impl core::error::Error for RangeSetFull {}

impl<const N: usize> RangeSet<N> {
    /// Returns the empty set.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { ranges: [PhysRange::new(PhysAddr(0), PhysAddr(0)); N], len: 0 }
    }

    /// Returns the ranges in ascending order, as a slice.
    #[must_use]
    pub(crate) fn as_slice(&self) -> &[PhysRange] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    /// Iterates over the ranges in ascending order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = PhysRange> + ExactSizeIterator + '_ {
        self.as_slice().iter().copied()
    }

    /// Returns true when the set holds no address.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of bytes in the set.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(PhysRange::bytes).sum()
    }

    /// Returns true when every byte of `range` is in the set. An empty range is in every set.
    pub(crate) fn contains_range(&self, range: PhysRange) -> bool {
        range.is_empty() || self.iter().any(|own| own.contains_range(range))
    }

    /// Returns true when some byte of `range` is in the set.
    #[must_use]
    pub(crate) fn overlaps(&self, range: PhysRange) -> bool {
        self.iter().any(|own| own.overlaps(range))
    }

    /// Adds a range at the upper end. `range` starts at or above every range there is.
    fn push(&mut self, range: PhysRange) -> Result<(), RangeSetFull> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.len.checked_sub(1).and_then(|last| self.ranges.get_mut(last))
            && last.end >= range.start
        {
            last.end = last.end.max(range.end);
            return Ok(());
        }
        let slot = self.ranges.get_mut(self.len).ok_or(RangeSetFull { capacity: N, range })?;
        *slot = range;
        self.len += 1;
        Ok(())
    }

    /// Adds every byte of `range`.
    ///
    /// # Errors
    /// When that would take more than `N` ranges. The set is then as before.
    pub(crate) fn insert(&mut self, range: PhysRange) -> Result<(), RangeSetFull> {
        if range.is_empty() {
            return Ok(());
        }
        let mut sum = Self::new();
        let full = |_| RangeSetFull { capacity: N, range };
        for own in self.iter().filter(|own| own.start <= range.start) {
            sum.push(own).map_err(full)?;
        }
        sum.push(range).map_err(full)?;
        for own in self.iter().filter(|own| own.start > range.start) {
            sum.push(own).map_err(full)?;
        }
        *self = sum;
        Ok(())
    }

    /// Adds every byte of `range`. Where that would take more than `N` ranges, the smallest of them all is left out, which may
    /// be `range` itself.
    ///
    /// Returns how many bytes were left out.
    pub(crate) fn insert_most(&mut self, range: PhysRange) -> u64 {
        if self.insert(range).is_ok() {
            return 0;
        }
        // The set is full, and `range` meets none of its ranges.
        let Some(smallest) = self.iter().min_by_key(|own| own.bytes()).filter(|own| own.bytes() < range.bytes()) else {
            return range.bytes();
        };
        // To take a whole range out leaves one less; then there is room.
        let done = self.remove(smallest).and_then(|()| self.insert(range));
        debug_assert!(done.is_ok());
        smallest.bytes()
    }

    /// Adds every byte of `range`. Where that would take more than `N` ranges, the smallest gap between two of them is
    /// added as well.
    ///
    /// Returns the gap.
    pub(crate) fn insert_with_gap(&mut self, range: PhysRange) -> PhysRange {
        if self.insert(range).is_ok() {
            return PhysRange::default();
        }
        // The set is full, and `range` meets none of its ranges.
        let below = self.iter().filter(|own| own.start < range.start);
        let above = self.iter().filter(|own| own.start > range.start);
        let mut gap = PhysRange::new(PhysAddr(0), PhysAddr(u64::MAX));
        let mut end = None;
        for own in below.chain([range]).chain(above) {
            let before = end.replace(own.end).map(|end| PhysRange::new(end, own.start));
            gap = before.filter(|before| before.bytes() < gap.bytes()).unwrap_or(gap);
        }
        // The gap meets a range on either side, one of them `range` or not: one range less in the end.
        let done = self.insert(gap).and_then(|()| self.insert(range));
        debug_assert!(done.is_ok());
        gap
    }

    /// Takes out every byte from `end` on.
    ///
    /// Returns how many there were.
    pub(crate) fn truncate(&mut self, end: PhysAddr) -> u64 {
        let before = self.bytes();
        // It cannot be full: what is cut off at its end is one range as before, or none.
        let done = self.cut(&[PhysRange::new(end, PhysAddr(u64::MAX))]);
        debug_assert!(done.is_ok());
        before - self.bytes()
    }

    /// Takes out every range of `other`. Where that would leave more than `N` ranges, the smallest are taken out as well.
    ///
    /// Returns how many bytes that were.
    pub(crate) fn subtract_all<const M: usize>(&mut self, other: &RangeSet<M>) -> u64 {
        if self.subtract(other).is_ok() {
            return 0;
        }
        let mut rest = Self::new();
        let mut left_out = 0;
        for own in self.iter() {
            let mut start = own.start;
            for cut in other.iter() {
                left_out += rest.insert_most(PhysRange::new(start, own.end.min(cut.start)));
                start = start.max(cut.end);
            }
            left_out += rest.insert_most(PhysRange::new(start, own.end));
        }
        *self = rest;
        left_out
    }

    /// Takes out every byte of `range`.
    ///
    /// # Errors
    /// When that would take more than `N` ranges: a hole makes two of one. The set is then as before.
    pub(crate) fn remove(&mut self, range: PhysRange) -> Result<(), RangeSetFull> {
        if range.is_empty() {
            return Ok(());
        }
        self.cut(&[range])
    }

    /// Takes out every range of `other`.
    ///
    /// # Errors
    /// When that would take more than `N` ranges. The set is then as before.
    pub(crate) fn subtract<const M: usize>(&mut self, other: &RangeSet<M>) -> Result<(), RangeSetFull> {
        self.cut(other.as_slice())
    }

    /// Takes out ranges that are in ascending order, apart and not empty.
    fn cut(&mut self, cuts: &[PhysRange]) -> Result<(), RangeSetFull> {
        let mut rest = Self::new();
        for own in self.iter() {
            let mut start = own.start;
            for cut in cuts {
                rest.push(PhysRange::new(start, own.end.min(cut.start)))?;
                start = start.max(cut.end);
            }
            rest.push(PhysRange::new(start, own.end))?;
        }
        *self = rest;
        Ok(())
    }

    /// Returns the set with every range cut down to whole multiples of `size`, a power of two; what is smaller goes.
    #[must_use]
    pub(crate) fn shrink_to(&self, size: u64) -> Self {
        self.map(|range| range.shrink_to(size))
    }

    /// Returns the set with every range grown to whole multiples of `size`, a power of two.
    #[must_use]
    pub(crate) fn grow_to(&self, size: u64) -> Self {
        self.map(|range| range.grow_to(size))
    }

    /// Returns the set with every range changed in a way that keeps their order: never more ranges than before.
    fn map(&self, change: impl Fn(PhysRange) -> PhysRange) -> Self {
        let mut changed = Self::new();
        for range in self.iter() {
            // It cannot be full: there is at most one push for each range of a set of the same capacity.
            let pushed = changed.push(change(range));
            debug_assert!(pushed.is_ok());
        }
        changed
    }
}

impl<const N: usize> Default for RangeSet<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> PartialEq for RangeSet<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<const N: usize> Eq for RangeSet<N> {}

impl<const N: usize> fmt::Debug for RangeSet<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}
