// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allocator against a naive model: a set of free frames.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    One,
    Each(u64),
    /// Behind an address, in parts of a thousand of all memory.
    Behind(u64),
    Adjacent(u64),
    /// Allocates the frame at an address, in parts of a thousand of all memory.
    At(u64),
    /// Claims the lowest run of that length.
    Claim(u64),
    /// Gives back the n-th of the frames that are out.
    Free(prop::sample::Index),
    /// Gives back so many of them.
    FreeMany(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::One),
        prop_oneof![0..9u64, 60..70u64, 0..400u64, Just(u64::MAX)].prop_map(Step::Each),
        (0..1050u64).prop_map(Step::Behind),
        prop_oneof![1..9u64, 60..130u64].prop_map(Step::Adjacent),
        (0..1050u64).prop_map(Step::At),
        (1..130u64).prop_map(Step::Claim),
        any::<prop::sample::Index>().prop_map(Step::Free),
        (0..200u64).prop_map(Step::FreeMany),
    ]
}

/// Returns ranges that do not overlap, some that touch, with ends that are not whole frames, in any order.
fn ranges() -> impl Strategy<Value = Vec<PhysRange>> {
    let piece = (prop_oneof![Just(0), 0..0x8000u64, 0..0x10_0000u64], prop_oneof![0..0x2000u64, 0..0x9_0000u64]);
    (proptest::collection::vec(piece, 1..6), any::<bool>()).prop_map(|(pieces, reversed)| {
        let mut end = 0;
        let mut ranges = Vec::new();
        for (gap, length) in pieces {
            let start = end + gap;
            end = start + length;
            ranges.push(PhysRange::new(PhysAddr(start), PhysAddr(end)));
        }
        if reversed {
            ranges.reverse();
        }
        ranges
    })
}

/// Returns the start of the lowest run of `count` frames that are free and in one region of `regions`, taken in their
/// order.
fn first_run(regions: &[PhysRange], free: &BTreeSet<u64>, count: u64) -> Option<u64> {
    regions.iter().find_map(|region| {
        let starts = (region.start.0..region.end.0).step_by(FRAME_SIZE as usize);
        starts.into_iter().find(|start| {
            start + count * FRAME_SIZE <= region.end.0
                && (0..count).all(|number| free.contains(&(start + number * FRAME_SIZE)))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_gives_out_what_is_free_and_nothing_else(
        ranges in ranges(), steps in proptest::collection::vec(steps(), 1..60),
    ) {
        // Every bit of the bitmap's memory is wrong at first.
        let mut bitmap = vec![0xaaaa_5555_aaaa_5555; BitmapFrames::words(ranges.iter().copied())];
        let regions: Vec<_> = ranges.iter().map(|range| range.shrink_to(FRAME_SIZE)).collect();
        let mut free: BTreeSet<u64> =
            regions.iter().flat_map(|region| (region.start.0..region.end.0).step_by(FRAME_SIZE as usize)).collect();
        let mut out: Vec<u64> = Vec::new();
        let top = ranges.iter().map(|range| range.end.0).max().unwrap_or(0);
        let mut frames = BitmapFrames::new(ranges.iter().copied(), &mut bitmap).unwrap();
        for step in steps {
            match step {
                Step::One => match frames.allocate() {
                    Some(frame) => {
                        prop_assert!(free.remove(&frame.0), "{} was not free", frame);
                        out.push(frame.0);
                    }
                    None => prop_assert!(free.is_empty()),
                },
                Step::Each(count) => {
                    let expected = count.min(free.len() as u64);
                    let mut got = Vec::new();
                    prop_assert_eq!(frames.allocate_each(count, |frame| got.push(frame.0)), expected);
                    prop_assert_eq!(got.len() as u64, expected);
                    for frame in got {
                        prop_assert!(free.remove(&frame), "{:#x} was not free", frame);
                        out.push(frame);
                    }
                }
                Step::Behind(part) => {
                    let address = PhysAddr(top * part / 1000);
                    let expected = free.range(address.align_down(FRAME_SIZE).0..).next().copied();
                    prop_assert_eq!(frames.allocate_behind(address).map(|frame| frame.0), expected);
                    if let Some(frame) = expected {
                        free.remove(&frame);
                        out.push(frame);
                    }
                }
                Step::Adjacent(count) => {
                    let expected = first_run(&regions, &free, count);
                    prop_assert_eq!(frames.longest_run() >= count, expected.is_some());
                    let run = frames.allocate_adjacent(count);
                    prop_assert_eq!(run.map(|run| (run.start.0, run.bytes())), expected.map(|at| (at, count * FRAME_SIZE)));
                    for frame in expected.into_iter().flat_map(|at| (0..count).map(move |n| at + n * FRAME_SIZE)) {
                        free.remove(&frame);
                        out.push(frame);
                    }
                }
                Step::At(part) => {
                    let frame = PhysAddr(top * part / 1000).align_down(FRAME_SIZE);
                    let expected = free.remove(&frame.0);
                    prop_assert_eq!(frames.allocate_at(frame), expected);
                    if expected {
                        out.push(frame.0);
                    }
                }
                Step::Claim(count) => {
                    let Some(start) = first_run(&regions, &free, count) else { continue };
                    frames.claim(PhysRange::new(PhysAddr(start), PhysAddr(start + count * FRAME_SIZE)));
                    for frame in (0..count).map(|number| start + number * FRAME_SIZE) {
                        free.remove(&frame);
                        out.push(frame);
                    }
                }
                Step::Free(index) if !out.is_empty() => {
                    let frame = out.swap_remove(index.index(out.len()));
                    frames.free(PhysAddr(frame));
                    free.insert(frame);
                }
                Step::Free(_) => {}
                Step::FreeMany(count) => {
                    for frame in out.split_off(out.len().saturating_sub(count as usize)) {
                        frames.free(PhysAddr(frame));
                        free.insert(frame);
                    }
                }
            }
            prop_assert_eq!(frames.available(), free.len() as u64);
        }
        let mut rest = BTreeSet::new();
        frames.allocate_each(u64::MAX, |frame| assert!(rest.insert(frame.0)));
        prop_assert_eq!(rest, free);
    }
}

#[test]
#[should_panic(expected = "not the start of a frame")]
fn an_address_inside_a_frame_is_not_taken_for_the_frame() {
    let range = PhysRange::new(PhysAddr(0), PhysAddr(0x4000));
    let mut bitmap = [0];
    let mut frames = BitmapFrames::new([range].into_iter(), &mut bitmap).unwrap();
    let frame = frames.allocate().unwrap();
    frames.free(frame.offset(0x800));
}

#[test]
#[should_panic(expected = "in use already")]
fn a_frame_in_use_cannot_be_claimed() {
    let range = PhysRange::new(PhysAddr(0), PhysAddr(0x4000));
    let mut bitmap = [0];
    let mut frames = BitmapFrames::new([range].into_iter(), &mut bitmap).unwrap();
    frames.allocate_behind(PhysAddr(0x2000)).unwrap();
    frames.claim(range);
}

#[test]
fn too_many_ranges_and_too_little_bitmap_are_named() {
    let ranges = |count: u64| (0..count).map(|n| PhysRange::new(PhysAddr(n * 0x4000), PhysAddr(n * 0x4000 + 0x1000)));
    let mut bitmap = [0; MAX_REGIONS + 1];
    assert!(BitmapFrames::new(ranges(MAX_REGIONS as u64), &mut bitmap).is_ok());
    let refused = BitmapFrames::new(ranges(MAX_REGIONS as u64 + 1), &mut bitmap);
    assert_eq!(refused.err(), Some(FramesError::TooManyRegions));
    let refused = BitmapFrames::new(ranges(3), &mut bitmap[..2]);
    assert_eq!(refused.err(), Some(FramesError::BitmapTooSmall));
    assert_eq!(BitmapFrames::new(ranges(0), &mut []).unwrap().allocate(), None);
}
