//! Tests the HTTP server over real sockets: its response at each limit, and that it always
//! responds.

mod body_memory;
mod connections;
mod errors;
mod support;
mod upstream_client;
mod upstream_program;
