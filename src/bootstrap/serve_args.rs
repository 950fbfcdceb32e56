//! Defines the arguments of `flowgate serve`, and applies them to the config.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, units};
use crate::domain::time::Millis;

/// Arguments of `serve`. They override the config for one run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on, in place of the config (port 0 = any free port). Default: `listen` of
    /// the config
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address of the socket that the service manager passed for the admin listener. `None` if it
    /// passed none.
    #[arg(skip)]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Data file to use, in place of the config. Default: `data` of the config
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Listen for other machines even if a flow accepts forms without a signature
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Verify signatures with a development secret even if a real app secret was used with this
    /// data file before
    #[arg(long)]
    pub development: bool,
    /// Maximum time to wait until another command or server closes the data file (0s = do not wait)
    #[arg(long, value_name = "LENGTH", value_parser = parse_lock_timeout, default_value = "30s")]
    pub lock_timeout: Duration,
}

impl ServeArgs {
    /// Applies the arguments to `config`. Returns a warning if other commands would look for
    /// another data file.
    pub(crate) fn override_config(&self, config: &mut Config) -> Option<String> {
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin_listen = self.admin_listen.unwrap_or(config.admin_listen);
        let data = self.data.clone().filter(|data| *data != config.data)?;
        let warning = format!(
            "--data {} differs from `data` in the config: other commands look for a server on {}",
            data.display(),
            config.data.display()
        );
        config.data = data;
        Some(warning)
    }
}

fn parse_lock_timeout(text: &str) -> Result<Duration, String> {
    units::parse_duration(text)
        .map(Millis::to_duration)
        .map_err(|error| error.to_string())
}
