// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress messages of a long reservation of frames.

use cleave::aarch64::timer;
use cleave::tables::{FrameSource, PhysAddr};

use super::MANY;

/// A frame source that says how far a long reservation is, once a second.
pub(super) struct WithProgress<'a, F> {
    frames: &'a mut F,
    said: u64,
}

impl<'a, F: FrameSource> WithProgress<'a, F> {
    /// Wraps `frames`.
    pub(super) fn new(frames: &'a mut F) -> Self {
        Self { frames, said: timer::count() }
    }
}

impl<F: FrameSource> FrameSource for WithProgress<'_, F> {
    fn available(&self) -> u64 {
        self.frames.available()
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        self.frames.allocate()
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        self.frames.owns(frame)
    }

    fn free(&mut self, frame: PhysAddr) {
        self.frames.free(frame);
    }

    fn allocate_each<E: FnMut(PhysAddr)>(&mut self, count: u64, mut each: E) -> u64 {
        let mut done = 0;
        while done < count {
            let part = (count - done).min(MANY / 4);
            let got = self.frames.allocate_each(part, &mut each);
            done += got;
            if got < part {
                break;
            }
            if timer::count().wrapping_sub(self.said) > timer::frequency() {
                self.said = timer::count();
                log::info!("reserved {done} of {count} frames");
            }
        }
        done
    }
}

/// A frame source that fails at its n-th frame.
pub(super) struct Failing<'a, F> {
    /// The source behind it.
    pub(super) frames: &'a mut F,
    /// The number of frames it still gives.
    pub(super) left: u64,
}

impl<F: FrameSource> FrameSource for Failing<'_, F> {
    fn available(&self) -> u64 {
        self.frames.available()
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        self.left = self.left.checked_sub(1)?;
        self.frames.allocate()
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        self.frames.owns(frame)
    }

    fn free(&mut self, frame: PhysAddr) {
        self.frames.free(frame);
    }
}
