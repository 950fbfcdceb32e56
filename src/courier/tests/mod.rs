//! Lanes on a real store, moved by hand: a clock that stands still, chance that can fail, and receivers on this machine.

mod courier;
mod lane;
mod support;
