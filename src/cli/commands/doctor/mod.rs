//! `flowgate doctor`: checks the machine, the service, the proxy and Meta's side, one line each,
//! with what to do.
//!
//! | module | checks |
//! |---|---|
//! | `service` | the running server, its warnings and its ports |
//! | `secrets` | secrets where the service sees them |
//! | `machine` | files, disk, clock, descriptors |
//! | `public_url` | certificate, proxy, headers and bodies |
//! | `meta` | app secret, subscription and keys at Meta |
//! | `destinations` | connections to destinations |
//! | `unit` | the systemd unit of the service |
//! | `report` | findings and their output |
//!
//! No check changes anything or leaves a row.

mod context;
mod destinations;
mod machine;
mod meta;
mod public_url;
mod report;
mod secrets;
mod service;
mod unit;

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use context::Context;
use report::Report;
use unit::ServiceUnit;

/// Arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// systemd unit of the service. Default: flowgate.service, where `init` or a package writes it
    #[arg(long, value_name = "FILE")]
    unit: Option<PathBuf>,
    /// Check only this machine: no connection to the public URL, to Meta and to destinations
    #[arg(long)]
    offline: bool,
}

impl DoctorArgs {
    /// Runs all checks and writes their findings to `output`. Returns the number of wrong ones.
    ///
    /// # Errors
    /// Returns the error of the output.
    pub fn run(
        &self,
        load: impl FnOnce() -> Result<Config, ConfigError>,
        json: bool,
        output: &mut impl Write,
    ) -> io::Result<usize> {
        let mut report = Report {
            output,
            json,
            wrong: 0,
            result: Ok(()),
        };
        match load() {
            Ok(config) => {
                report.right("config", format!("{} is valid", config.file.display()));
                self.check_all(config, &mut report);
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    report.wrong("config", line, "fix the config: nothing else was checked");
                }
            }
        }
        report.result.map(|()| report.wrong)
    }

    fn check_all(&self, config: Config, report: &mut Report<'_>) {
        let unit = ServiceUnit::find(self.unit.as_deref());
        let status = service::find_status(&config, report);
        let context = Context {
            config,
            unit,
            status,
            clock: Arc::new(SystemClock::new()),
        };
        service::check(&context, report);
        secrets::check(&context, report);
        machine::check(&context, report);
        if !self.offline {
            block_on(async {
                public_url::check(&context, report).await;
                meta::check(&context, report).await;
                destinations::check(&context, report).await;
            });
        }
    }
}

/// Runs the checks that need the network.
fn block_on(checks: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    if let Ok(runtime) = runtime {
        runtime.block_on(checks);
        // A DNS lookup can't be cancelled and may take long, so the runtime does not wait for it.
        runtime.shutdown_background();
    }
}
