// SPDX-License-Identifier: MIT OR Apache-2.0
//! Range sets, against a bitmap.

use proptest::prelude::*;

use super::super::{RangeSet, RangeSetFull};
use super::fixtures::range;
use cleave::tables::{PhysAddr, PhysRange};

/// Addresses of the model: small, so that ranges meet often.
const SPACE: usize = 96;
/// Few ranges, so that the sets are often full.
const CAPACITY: usize = 5;

type Bitmap = [bool; SPACE];

/// Returns the set that a bitmap stands for, as ranges.
fn runs(bitmap: &Bitmap) -> Vec<PhysRange> {
    let mut runs = Vec::<PhysRange>::new();
    for (address, _) in bitmap.iter().enumerate().filter(|(_, held)| **held) {
        let address = address as u64;
        match runs.last_mut() {
            Some(last) if last.end.0 == address => last.end = PhysAddr(address + 1),
            _ => runs.push(range(address, address + 1)),
        }
    }
    runs
}

/// Returns the bitmap of a set.
fn bitmap<const N: usize>(set: &RangeSet<N>) -> Bitmap {
    core::array::from_fn(|address| set.iter().any(|range| range.contains(PhysAddr(address as u64))))
}

/// Something done to a set.
#[derive(Clone, Debug)]
enum Step {
    Insert(PhysRange),
    Remove(PhysRange),
    Subtract(Vec<PhysRange>),
}

fn some_range() -> impl Strategy<Value = PhysRange> {
    // Empty ones and ones that end before they start too.
    (0..SPACE as u64, 0..20u64, 0..3u64)
        .prop_map(|(start, length, back)| range(start, (start + length).saturating_sub(back).min(SPACE as u64)))
}

fn step() -> impl Strategy<Value = Step> {
    let several = || proptest::collection::vec(some_range(), 0..5);
    prop_oneof![
        4 => some_range().prop_map(Step::Insert),
        2 => some_range().prop_map(Step::Remove),
        1 => several().prop_map(Step::Subtract),
    ]
}

/// Returns a set of `ranges`, large enough for every test here.
fn set_of(ranges: &[PhysRange]) -> RangeSet<16> {
    let mut set = RangeSet::new();
    ranges.iter().for_each(|range| set.insert(*range).unwrap());
    set
}

proptest! {
    #[test]
    fn a_set_is_the_bitmap_it_stands_for_or_full_and_unchanged(steps in proptest::collection::vec(step(), 1..40)) {
        let mut set = RangeSet::<CAPACITY>::new();
        let mut model = [false; SPACE];
        for step in steps {
            let before = set.clone();
            let mut wanted = model;
            let within = |ranges: &[PhysRange], address: usize| {
                ranges.iter().any(|range| range.contains(PhysAddr(address as u64)))
            };
            for (address, held) in wanted.iter_mut().enumerate() {
                *held = match &step {
                    Step::Insert(range) => *held || within(&[*range], address),
                    Step::Remove(range) => *held && !within(&[*range], address),
                    Step::Subtract(ranges) => *held && !within(ranges, address),
                };
            }
            let done = match &step {
                Step::Insert(range) => set.insert(*range),
                Step::Remove(range) => set.remove(*range),
                Step::Subtract(ranges) => set.subtract(&set_of(ranges)),
            };
            let ranges = runs(&wanted);
            if done.is_ok() {
                prop_assert_eq!(set.as_slice(), &ranges[..]);
                prop_assert_eq!(bitmap(&set), wanted);
                prop_assert_eq!(set.bytes(), wanted.iter().filter(|held| **held).count() as u64);
                model = wanted;
            } else {
                prop_assert!(ranges.len() > CAPACITY, "full with {} ranges", ranges.len());
                prop_assert_eq!(&set, &before);
            }
        }
    }

    /// As much is left out or added as must be, and it is counted.
    #[test]
    fn what_does_not_fit_is_left_out_or_added_and_counted(
        ranges in proptest::collection::vec(some_range(), 0..12),
        extra in some_range(),
        cuts in proptest::collection::vec(some_range(), 0..5),
        end in 0..SPACE as u64,
    ) {
        let count = |bitmap: &Bitmap| bitmap.iter().filter(|held| **held).count() as u64;
        let change = |bitmap: &Bitmap, range: PhysRange, held: bool| -> Bitmap {
            core::array::from_fn(|address| if range.contains(PhysAddr(address as u64)) { held } else { bitmap[address] })
        };
        let within = |inner: &Bitmap, outer: &Bitmap| inner.iter().zip(outer).all(|(inner, outer)| !inner || *outer);
        let mut set = RangeSet::<CAPACITY>::new();
        for range in ranges {
            let wanted = change(&bitmap(&set), range, true);
            let left_out = set.insert_most(range);
            prop_assert!(within(&bitmap(&set), &wanted));
            prop_assert_eq!(left_out, count(&wanted) - set.bytes());
            let runs = runs(&wanted);
            let least = if runs.len() > CAPACITY { runs.iter().map(|run| run.bytes()).min() } else { None };
            prop_assert_eq!(left_out, least.unwrap_or(0));
        }
        let held = bitmap(&set);

        let mut grown = set.clone();
        let gap = grown.insert_with_gap(extra);
        let wanted = change(&held, extra, true);
        prop_assert_eq!(bitmap(&grown), change(&wanted, gap, true));
        prop_assert_eq!(gap.is_empty(), runs(&wanted).len() <= CAPACITY);
        let gaps = runs(&wanted).windows(2).map(|pair| pair[1].start.0 - pair[0].end.0).min();
        prop_assert!(gap.is_empty() || Some(gap.bytes()) == gaps);

        let mut rest = set.clone();
        let left_out = rest.subtract_all(&set_of(&cuts));
        let wanted = cuts.iter().fold(held, |held, cut| change(&held, *cut, false));
        prop_assert!(within(&bitmap(&rest), &wanted));
        prop_assert_eq!(left_out, count(&wanted) - rest.bytes());
        prop_assert_eq!(left_out == 0, runs(&wanted).len() <= CAPACITY);

        let mut short = set.clone();
        let cut = short.truncate(PhysAddr(end));
        prop_assert_eq!(bitmap(&short), change(&held, range(end, SPACE as u64), false));
        prop_assert_eq!(cut, count(&held) - short.bytes());
    }

    #[test]
    fn shrinking_and_growing_are_to_whole_multiples(
        ranges in proptest::collection::vec(some_range(), 0..6),
        shift in 0u32..5,
    ) {
        let set = set_of(&ranges);
        let size = 1usize << shift;
        let held = bitmap(&set);
        let mut inner = [false; SPACE];
        let mut outer = [false; SPACE];
        for block in (0..SPACE).step_by(size) {
            let bytes = &held[block..(block + size).min(SPACE)];
            inner[block..block + bytes.len()].fill(bytes.iter().all(|held| *held));
            outer[block..block + bytes.len()].fill(bytes.iter().any(|held| *held));
        }
        let (shrunk, grown) = (set.shrink_to(size as u64), set.grow_to(size as u64));
        prop_assert_eq!(bitmap(&shrunk), inner);
        prop_assert_eq!(bitmap(&grown), outer);
        prop_assert_eq!(shrunk.as_slice(), &runs(&inner)[..]);
        prop_assert_eq!(grown.as_slice(), &runs(&outer)[..]);
    }

    #[test]
    fn questions_about_ranges_agree_with_the_bitmap(
        ranges in proptest::collection::vec(some_range(), 0..6),
        asked in some_range(),
    ) {
        let set = set_of(&ranges);
        let held = bitmap(&set);
        let mut bytes = (asked.start.0..asked.end.0).map(|address| held[address as usize]);
        prop_assert_eq!(set.overlaps(asked), bytes.clone().any(|held| held));
        prop_assert_eq!(set.contains_range(asked), bytes.all(|held| held));
        prop_assert_eq!(set.is_empty(), held.iter().all(|held| !held));
    }
}

#[test]
fn a_full_set_says_how_much_it_holds_and_what_was_too_much() {
    let mut set = RangeSet::<2>::new();
    set.insert(range(0, 1)).unwrap();
    set.insert(range(4, 8)).unwrap();
    let full = set.insert(range(2, 3)).unwrap_err();
    assert_eq!(full, RangeSetFull { capacity: 2, range: range(2, 3) });
    assert_eq!(full.to_string(), "more than 2 separate ranges of memory, at 0x2..0x3");
    assert_eq!(set.remove(range(5, 6)), Err(RangeSetFull { capacity: 2, range: range(6, 8) }));
    // What touches takes no room.
    set.insert(range(1, 4)).unwrap();
    assert_eq!(set.as_slice(), [range(0, 8)]);
}

#[test]
fn ranges_at_the_top_of_the_address_space_do_not_wrap() {
    let mut set = RangeSet::<4>::new();
    set.insert(range(u64::MAX - 0x2800, u64::MAX)).unwrap();
    assert_eq!(set.shrink_to(0x1000).as_slice(), [range(u64::MAX - 0x1fff, u64::MAX - 0xfff)]);
    assert_eq!(set.grow_to(0x1000).iter().next().unwrap().end, PhysAddr(u64::MAX - 0xfff));
}
