//! Stories against the real executable, one file for each; and the shape of the source.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a story that can't go on fails; clippy's own exemption for tests does not reach their helpers"
)]

mod architecture;
mod support;
