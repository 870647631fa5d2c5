//! Records made by hand.
