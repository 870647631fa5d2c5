// SPDX-License-Identifier: MIT OR Apache-2.0
//! The map lock: one holder at a time, and what one did is seen by the next.

use crate::atomics::Loom;
use crate::model::{Bound, Model};
use cleave::linear_map::MapLock;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct World {
    lock: MapLock<Loom>,
    map: UnsafeCell<u32>,
}

// SAFETY: loom checks each access of the cell; finding two at a time is what it is there for.
#[allow(unsafe_code, reason = "the cell is what the model watches")]
unsafe impl Sync for World {}

impl World {
    #[allow(unsafe_code, reason = "the cell is what the model watches")]
    fn change(&self) {
        if let Ok(_held) = self.lock.try_lock() {
            // SAFETY: loom panics when another thread accesses the cell at the same time.
            self.map.with_mut(|value| unsafe { *value += 1 });
        }
    }
}

pub(crate) const MODEL: Model = Model { name: "the map lock", bound: Bound::None, scenario: three_callers };

fn three_callers() {
    let world = Arc::new(World { lock: MapLock::default(), map: UnsafeCell::new(0) });
    let others = [(); 2].map(|()| {
        let world = world.clone();
        thread::spawn(move || world.change())
    });
    world.change();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(world.lock.try_lock().is_ok());
}

#[test]
fn the_map_lock_has_one_holder_at_a_time() {
    MODEL.check();
}
