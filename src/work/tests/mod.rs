//! The work, step by step: a real store, a clock that stands still, and, but for `threads`, no threads but the writer's.

mod feeder;
mod process;
mod support;
mod sweeper;
mod threads;
mod worker;
