//! Tests outgoing HTTP over real sockets.

mod client;
mod happy_eyeballs;
mod proxy;
mod response;
mod support;
