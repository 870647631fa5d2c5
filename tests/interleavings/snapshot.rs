// SPDX-License-Identifier: MIT OR Apache-2.0
//! The snapshot of counts that belong together: what a reader finds was put there at once.

use crate::atomics::Loom;
use crate::model::{Bound, Model};
use cleave::snapshot::Snapshot;
use loom::sync::Arc;
use loom::thread;

pub(crate) const MODEL: Model = Model { name: "the snapshot", bound: Bound::None, scenario: a_reader };

/// Two replacements: the second writes to the copy that a reader of the first state may still be reading.
fn a_reader() {
    let snapshot = Arc::new(Snapshot::<2, Loom>::new([0, 0]));
    let writer = {
        let snapshot = snapshot.clone();
        thread::spawn(move || {
            snapshot.replace(&[1, 1]);
            snapshot.replace(&[2, 2]);
        })
    };
    let [first, second] = snapshot.read();
    assert_eq!(first, second, "half of one state and half of another");
    writer.join().unwrap();
    assert_eq!(snapshot.read(), [2, 2]);
}

#[test]
fn a_snapshot_is_never_read_torn() {
    MODEL.check();
}
