// SPDX-License-Identifier: MIT OR Apache-2.0
//! Places in a guarded pool: pages, objects and the slack around an object, as numbers alone.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};

/// The size of a page: what an object may have at most.
pub(crate) const PAGE: u64 = 4096;
/// The alignment of an object.
const ALIGNMENT: u64 = 16;

/// Returns the number of pages of a pool of `objects` objects: one for each, and an unmapped one on each side.
pub(super) const fn count(objects: u64) -> u64 {
    2 * objects + 1
}

/// Returns the offset in the pool of the page of an object.
pub(super) const fn page(object: u64) -> u64 {
    (2 * object + 1) * PAGE
}

/// Returns the offset in its page of an object of `bytes` bytes, which ends as close to the end of the page as its alignment
/// allows; `None` when there is no such object.
pub(super) const fn offset(bytes: u64) -> Option<u64> {
    if bytes == 0 || bytes > PAGE { None } else { Some((PAGE - bytes) / ALIGNMENT * ALIGNMENT) }
}

/// A place in a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The page of an object, and the offset in it.
    Object(u64, u64),
    /// A guard page: the objects of the pages below and above it, the one that is nearer to the place first.
    Guard([Option<u64>; 2]),
}

/// Returns the place at `offset` in a pool of `objects` objects; `None` behind its end.
pub(super) fn place(offset: u64, objects: u64) -> Option<Place> {
    let (page, in_page) = (offset / PAGE, offset % PAGE);
    if page >= count(objects) {
        return None;
    }
    let object = page / 2;
    if page % 2 == 1 {
        return Some(Place::Object(object, in_page));
    }
    let sides = [object.checked_sub(1), Some(object).filter(|&object| object < objects)];
    Some(Place::Guard(if in_page < PAGE / 2 { sides } else { [sides[1], sides[0]] }))
}

/// Returns the byte that the slack has at `offset` in its page. Neighbours differ, so that a copy of slack is noticed too.
const fn slack(offset: usize) -> u8 {
    0xa5 ^ offset as u8
}

/// Fills `page` around the object in `object`.
pub(super) fn fill(page: &[AtomicU8], object: Range<usize>) {
    for (offset, byte) in page.iter().enumerate().filter(|(offset, _)| !object.contains(offset)) {
        byte.store(slack(offset), Ordering::Relaxed);
    }
}

/// Returns the offset in `page` of a byte around the object in `object` that is not as it was filled, the one nearest to the
/// object, with its value.
pub(super) fn damage(page: &[AtomicU8], object: Range<usize>) -> Option<(usize, u8)> {
    let changed = |offset: &usize| page[*offset].load(Ordering::Relaxed) != slack(*offset);
    let (before, after) = ((0..object.start).rev(), object.end..page.len());
    let found = before.clone().find(changed).into_iter().chain(after.clone().find(changed));
    let distance =
        |offset: &usize| if *offset < object.start { object.start - offset } else { offset + 1 - object.end };
    found.min_by_key(distance).map(|offset| (offset, page[offset].load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    #[test]
    fn an_object_ends_at_its_page_as_far_as_its_alignment_allows() {
        for bytes in 1..=PAGE {
            let offset = offset(bytes).unwrap();
            assert!(offset.is_multiple_of(16) && (0..16).contains(&(PAGE - bytes - offset)), "{bytes}");
        }
        assert_eq!([0, 16, 100, 4096, 4097].map(offset), [None, Some(4080), Some(3984), Some(0), None]);
    }

    /// Each page of a pool of three, and what lies on both sides of it.
    #[test]
    fn every_object_has_a_guard_page_on_each_side() {
        let at = |page: u64| place(page * PAGE + 8, 3).unwrap();
        for object in 0..3 {
            assert_eq!(place(page(object) + 17, 3), Some(Place::Object(object, 17)));
            let [below, above] = [2 * object, 2 * object + 2].map(at);
            assert!(matches!(below, Place::Guard(sides) if sides[1] == Some(object)), "{below:?}");
            assert!(matches!(above, Place::Guard(sides) if sides[0] == Some(object)), "{above:?}");
        }
        assert_eq!((at(0), at(6)), (Place::Guard([None, Some(0)]), Place::Guard([Some(2), None])));
        assert_eq!(place(count(3) * PAGE, 3), None);
    }

    #[test]
    fn a_guard_page_names_the_nearer_object_first() {
        assert_eq!(place(2 * PAGE + 2047, 3), Some(Place::Guard([Some(0), Some(1)])));
        assert_eq!(place(2 * PAGE + 2048, 3), Some(Place::Guard([Some(1), Some(0)])));
    }

    /// Every byte around the object is watched, on both sides, and none of the object itself.
    #[test]
    fn a_changed_byte_around_the_object_is_found_and_one_of_it_is_not() {
        let page: Vec<AtomicU8> = (0..PAGE).map(|_| AtomicU8::new(0)).collect();
        let object = 3984..4084;
        fill(&page, object.clone());
        for (offset, byte) in page.iter().enumerate() {
            let before = byte.fetch_xor(1, Ordering::Relaxed);
            let expected = if object.contains(&offset) { None } else { Some((offset, before ^ 1)) };
            assert_eq!(damage(&page, object.clone()), expected);
            byte.store(before, Ordering::Relaxed);
        }
        assert_eq!(damage(&page, object.clone()), None);
        // The nearest to the object is the one that an underflow or an overflow wrote first.
        [0, 3980, 3970].into_iter().for_each(|offset| page[offset].store(0, Ordering::Relaxed));
        assert_eq!(damage(&page, object.clone()), Some((3980, 0)));
        page[4085].store(0, Ordering::Relaxed);
        assert_eq!(damage(&page, object), Some((4085, 0)));
    }
}
