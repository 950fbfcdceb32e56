//! Tests the admin server with a real store.

mod admin_address;
mod page;
mod requests;
mod socket;
