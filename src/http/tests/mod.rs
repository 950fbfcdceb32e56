//! The listener over real sockets: what it says at each bound, and that it always says something.

mod budget;
mod ends;
mod refusals;
mod support;
mod upstream;
