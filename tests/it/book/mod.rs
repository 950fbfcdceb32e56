//! The book in `docs/`: each link leads somewhere, each command runs, and the generated pages match
//! the code.
//!
//! | file | rule |
//! |---|---|
//! | `links` | each page is in `SUMMARY.md`, each link and anchor exists |
//! | `commands` | each command of a page runs against a server, or is at least valid |
//! | `config_reference` | `docs/config-reference.md` is generated from `config.toml` and the code |
//! | `exit_codes` | the table of `docs/exit-codes.md` is that of the code |
//!
//! `pages` reads the Markdown files.

mod commands;
mod config_reference;
mod exit_codes;
mod links;
mod pages;
