//! Defines the errors of a start: reasons why the server can't run with a config, and failures of
//! the system.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::resolve::app_secrets::AppSecretError;
use super::resolve::flow_keys::FlowKeyError;
use super::resolve::gateways::GatewayError;
use super::resolve::lead_secrets::LeadSecretError;
use super::resolve::upstreams::UpstreamSecretError;
use crate::backup::BackupError;
use crate::config::{ConfigError, SecretError};
use crate::delivery::DestinationError;
use crate::domain::ids::FlowName;
use crate::jobs::JobSystemError;
use crate::net::NetError;
use crate::store::StoreError;

/// Reason why the server can't run with a valid config.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// A flow accepts forms without a signature, and the server listens for other machines. Any of
    /// them could send forms.
    #[error(
        "flow {flow} accepts forms without a signature, and {listen} is open to other machines: anybody could send \
         forms. Set `signature = \"required\"`, listen on 127.0.0.1, or confirm with --allow-unsigned"
    )]
    Unsigned {
        /// Flow name.
        flow: FlowName,
        /// Address that is open to other machines.
        listen: SocketAddr,
    },
    /// A secret can't be read from its location in the config.
    #[error(transparent)]
    SecretUnreadable(#[from] SecretError),
    /// No app secret for the verification of signatures is available.
    #[error(transparent)]
    AppSecret(#[from] AppSecretError),
    /// An encrypted flow has no private key that can be used.
    #[error(transparent)]
    FlowKey(#[from] FlowKeyError),
    /// The upstream of a flow has no secret that can sign requests.
    #[error(transparent)]
    Upstream(#[from] UpstreamSecretError),
    /// A destination can't be used.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A secret of requests that close leads can't be used.
    #[error(transparent)]
    LeadSecret(#[from] LeadSecretError),
    /// A gateway can't be used.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

impl StartupError {
    /// Returns `true` if an environment variable is not set.
    const fn is_unset_variable(&self) -> bool {
        matches!(
            self,
            Self::FlowKey(FlowKeyError::NotSet { .. })
                | Self::Upstream(UpstreamSecretError::NotSet { .. })
                | Self::Destination(DestinationError::NotSet { .. })
                | Self::Gateway(GatewayError::NotSet { .. })
                | Self::LeadSecret(LeadSecretError::NotSet(_))
        )
    }
}

/// All reasons why the server can't run with a config. The list is never empty.
#[derive(Debug)]
pub struct StartupErrors(pub(super) Vec<StartupError>);

impl fmt::Display for StartupErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        if self.0.iter().any(StartupError::is_unset_variable) {
            let suggestion = "if a variable is set only for the service, load the environment file of the service \
                        into this shell: `set -a; . ENVFILE; set +a`";
            lines.push(suggestion.to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for StartupErrors {}

/// Errors of the server at its start or stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The config can't be loaded.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server can't run with the config, or with the secrets that it names.
    #[error(transparent)]
    Startup(#[from] StartupErrors),
    /// The address is in use, or does not belong to this machine.
    #[error(
        "can't listen on {address}: {source}; if a flowgate server already listens there, `flowgate status` shows its state"
    )]
    Listen {
        /// Address of the listener.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// A socket of the service manager can't be used.
    #[error("can't use a socket from the service manager (LISTEN_FDS): {0}")]
    InheritedSocket(#[source] io::Error),
    /// Another process has the data file open.
    #[error("another flowgate command or server has {} open: if it is a server, check it with `flowgate status`; if it is a command, wait until it ends", .0.display())]
    InUse(PathBuf),
    /// The data file can't be opened or used.
    #[error(transparent)]
    Store(StoreError),
    /// The workers can't start.
    #[error(transparent)]
    Jobs(#[from] JobSystemError),
    /// The backups can't start.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The TLS client for outbound requests can't be set up.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The admin socket can't be opened.
    #[error("can't open the admin socket: {0}")]
    Socket(#[source] io::Error),
    /// The system provides no threads or signals.
    #[error("the server can't start: {0}")]
    System(#[source] io::Error),
}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse(path) => Self::InUse(path),
            other => Self::Store(other),
        }
    }
}
