//! `flowgate healthcheck`: succeeds if the running server can commit. Never opens the data file.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use crate::admin::{AdminError, AdminQuery, StatusRow};
use crate::cli::connect;

/// Health of a store that accepts submissions.
const READY: &str = "ready";

/// Asks the server of the data file `data` for its health, and writes the health.
///
/// # Errors
/// Returns [`AdminError`] if no server runs, or if it can't commit. The inner result has the error
/// of writing to `output`.
pub(crate) fn run(
    data: &Path,
    json: bool,
    output: &mut impl Write,
) -> Result<io::Result<()>, AdminError> {
    let mut health = None;
    let request = AdminQuery::Status.into();
    let answered = connect::send_to_server(data, &request, &mut |row| {
        let status = serde_json::from_value::<StatusRow>(row);
        health = status.ok().map(|status| status.health);
        true
    })?;
    answered.ok_or_else(AdminError::server_required)?;
    match health.as_deref() {
        Some(READY) if json => Ok(writeln!(output, "{}", json!({"health": READY}))),
        Some(READY) => Ok(writeln!(output, "{READY}")),
        other => Err(AdminError::failed(format!(
            "the server can't accept submissions ({}): see `flowgate status`",
            other.unwrap_or("unknown")
        ))),
    }
}
