//! `flowgate compact`: makes a stopped server's file as small as what is in it.

use std::io::{self, Write};

use serde_json::json;

use super::reach;
use crate::admin::AdminError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::config::units::show_mebibytes;
use crate::store::{Compacted, compact};

/// Compacts the config's file and tells its size before and after.
///
/// # Errors
/// [`AdminError`]; within it those of `out`.
pub(super) fn run(config: &Config, json: bool, out: &mut impl Write) -> Result<io::Result<()>, AdminError> {
    let options = reach::store_options(config, false)?;
    let Compacted { before, after } = compact(&options, SystemClock::new().now())?;
    Ok(if json {
        writeln!(out, "{}", json!({"before_bytes": before, "after_bytes": after}))
    } else {
        writeln!(out, "{}: {} before, {} now", config.data.display(), show_mebibytes(before), show_mebibytes(after))
    })
}
