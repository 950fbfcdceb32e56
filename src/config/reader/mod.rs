//! Reads TOML tables with the location of each value, and collects all problems of a file.
//!
//! ```text
//! diagnostics (text and problems) ← value (one typed value) ← table (keys of one table)
//! ```
//!
//! A wrong value is reported and then ignored, so that one pass finds all problems of a file. The
//! valid keys of a table are the keys that the code reads: there is no second list of them. The
//! other modules of [`crate::config`] decide on the meaning of the values.

mod diagnostics;
mod table;
pub mod value;

pub use diagnostics::Diagnostics;
pub use table::TableReader;
