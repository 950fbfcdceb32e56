//! `flowgate compact`: shrinks the data file of a stopped server to the size of its content.

use std::io::{self, Write};

use serde_json::json;

use crate::admin::AdminError;
use crate::bootstrap::store_options::store_options;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::config::units::format_mebibytes;
use crate::store::{CompactedSizes, compact};

/// Compacts the data file of the config and writes its size in bytes before and after.
///
/// # Errors
/// Returns [`AdminError`] if the file can't be compacted. The inner result has the error of writing
/// to `output`.
pub(crate) fn run(
    config: &Config,
    json: bool,
    output: &mut impl Write,
) -> Result<io::Result<()>, AdminError> {
    let options = store_options(config, false)?;
    let CompactedSizes {
        before_bytes: before,
        after_bytes: after,
    } = compact(&options, SystemClock::new().now())?;
    if json {
        let row = json!({"before_bytes": before, "after_bytes": after});
        return Ok(writeln!(output, "{row}"));
    }
    let file = config.data.display();
    let (before, after) = (format_mebibytes(before), format_mebibytes(after));
    Ok(writeln!(output, "{file}: {before} before, {after} now"))
}
