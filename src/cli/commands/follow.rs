//! `flowgate follow` and `flowgate promote`: a second machine that is ready to serve.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::restore::find_location;
use crate::admin::{AdminError, AdminQuery, ErrorCode, ServerCommand, StatusRow};
use crate::admin_server::{AdminClient, socket_path};
use crate::backup::{Promotion, promote_file};
use crate::bootstrap;
use crate::cli::exit_code::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;

/// Maximum time until the promoted process serves.
const SERVE_TIMEOUT: Duration = Duration::from_mins(2);
/// Pause between two looks at it.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Arguments of `flowgate follow`.
#[derive(Debug, clap::Args)]
pub(crate) struct FollowArgs {
    /// Place of the continuous backup: its folder, or
    /// `s3://BUCKET/PREFIX`. Default: `backup.url` of the config
    source: Option<String>,
}

impl FollowArgs {
    /// Follows the backup. Returns only at the end of the process.
    ///
    /// # Errors
    /// Returns the reason why the file can't follow the backup.
    pub(in crate::cli) fn run(
        &self,
        config: &Config,
        named: Option<&Path>,
    ) -> Result<(), CliError> {
        let location = find_location(config, self.source.as_deref())?;
        Ok(bootstrap::follow::run(config, named, &location)?)
    }
}

/// Promotes the process that follows the backup, or the file if there is no process.
///
/// # Errors
/// Returns the reason why the file can't be promoted.
pub(in crate::cli) fn promote(
    config: &Config,
    json: bool,
    output: &mut impl Write,
) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let socket = socket_path(&config.data);
    let Some(follower) = AdminClient::connect(&socket)? else {
        let committed_at = promote_file(&config.data, &clock)?;
        let file = config.data.display();
        if json {
            let row = json!({"file": config.data, "listen": null, "committed_at": committed_at});
            writeln!(output, "{row}")?;
        } else {
            writeln!(
                output,
                "{file} was promoted; next: `flowgate serve`\n! its data is as of {committed_at}; later commits in the backup were not fetched"
            )?;
        }
        return Ok(());
    };
    let mut promotion = None;
    let answered = follower.send(&ServerCommand::Promote.into(), &mut |row| {
        promotion = Promotion::deserialize(row).ok();
        true
    });
    match answered {
        // The process may become the server before it has sent its answer.
        Err(error) if error.code != ErrorCode::Unreachable => return Err(error.into()),
        _ => {}
    }
    let server = wait_for_server(&socket, &*clock)?;
    let (committed_at, incomplete) =
        promotion.map_or((None, None), |done| (done.committed_at, done.incomplete));
    if json {
        let row = json!({
            "file": config.data, "listen": server.listen, "committed_at": committed_at,
            "submissions": server.submissions, "incomplete": incomplete,
        });
        return Ok(writeln!(output, "{row}")?);
    }
    let listen = server
        .listen
        .map_or(String::new(), |listen| listen.to_string());
    write!(
        output,
        "promoted: this machine serves on http://{listen}, with {} submissions",
        server.submissions
    )?;
    if let Some(at) = committed_at {
        write!(output, ", as of {at}")?;
    }
    writeln!(
        output,
        "\nnext: send Meta's requests to this machine (DNS or reverse proxy), and keep the old one stopped"
    )?;
    if let Some(why) = incomplete {
        writeln!(
            output,
            "! the last commits may be missing, because the backup could not be read: {why}"
        )?;
    }
    Ok(())
}

/// Waits until a server answers on the socket.
fn wait_for_server(socket: &Path, clock: &dyn Clock) -> Result<StatusRow, AdminError> {
    let deadline = clock.elapsed().saturating_add(SERVE_TIMEOUT);
    while clock.elapsed() < deadline {
        let mut status = None;
        if let Ok(Some(server)) = AdminClient::connect(socket) {
            let _ = server.send(&AdminQuery::Status.into(), &mut |row| {
                status = StatusRow::deserialize(row).ok();
                true
            });
        }
        if let Some(status) = status {
            return Ok(status);
        }
        thread::park_timeout(RETRY_INTERVAL);
    }
    Err(AdminError::unreachable(
        "the file was promoted, but no server answers: see the log of `flowgate follow`, then start `flowgate serve`",
    ))
}
