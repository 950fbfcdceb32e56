//! Reloads the config: reads it again with everything that it names, and replaces the active one
//! without losing a request.
//!
//! See `config::restart_only` for the settings that need a restart.
//!
//! A reload changes everything or nothing. One swap of the active config replaces all parts. The
//! workers of destinations and the monitors of gateways follow right after the swap.
//!
//! After a failed reload, `flowgate status` shows a warning until a reload succeeds. Settings that
//! need a restart do not change, and the result names them. Requests and jobs in flight finish with
//! the config that they began with. `SIGHUP` and `flowgate reload` both run here, one after the
//! other.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::signal::unix::Signal;

use super::active_config::ActiveConfig;
use super::components::Components;
use super::error::ServeError;
use super::resolve::app_secrets::AppSecrets;
use super::serve_args::ServeArgs;
use crate::admin::{AdminError, ReloadRow};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::DeliveryService;
use crate::domain::time::Timestamp;
use crate::gateways::GatewayMonitors;
use crate::store::Store;

/// Reloads the config of a running server.
pub(super) struct Reloader {
    pub(super) args: ServeArgs,
    /// Config at the start of the server.
    pub(super) start_config: Config,
    /// Warning from the start of the server. No reload removes this warning.
    pub(super) permanent_warning: Option<String>,
    pub(super) active: Arc<ArcSwap<ActiveConfig>>,
    pub(super) delivery_service: Arc<DeliveryService>,
    pub(super) gateway_monitors: Arc<GatewayMonitors>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    /// Held during a reload.
    pub(super) in_progress: Mutex<()>,
}

/// Config that can replace the active one.
struct Candidate {
    config: ActiveConfig,
    /// Changed settings that need a restart.
    after_restart: Vec<&'static str>,
}

impl Reloader {
    /// Reloads on each `SIGHUP` until `stop` completes. A signal that arrived earlier counts.
    pub(super) async fn reload_on_signal(
        self: Arc<Self>,
        mut hangup: Signal,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                signal = hangup.recv() => if signal.is_none() { return },
            }
            let reloader = Arc::clone(&self);
            // The result is in the log. The panic hook has already logged a panic.
            let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
        }
    }

    /// Reads the config again and makes it the active one.
    ///
    /// # Errors
    /// Returns all problems of the new config, one a line. The active config stays unchanged.
    pub(super) fn reload(&self) -> Result<ReloadRow, AdminError> {
        let _one_at_a_time = self.in_progress.lock();
        let active = self.active.load_full();
        let reloaded_at = self.clock.now();
        match self.load_candidate(&active) {
            Ok(candidate) => Ok(self.activate(candidate, &active, reloaded_at)),
            Err(error) => Err(self.report_failure(&error, &active, reloaded_at)),
        }
    }

    fn load_candidate(&self, active: &ActiveConfig) -> Result<Candidate, ServeError> {
        let mut config = Config::load(&self.start_config.file)?;
        let override_warning = self.args.override_config(&mut config);
        // Unsigned flows must be safe for the current address and for the address of the next
        // start.
        let listens = [self.start_config.listen, config.listen];
        let after_restart = config.retain_restart_only(&self.start_config);
        let components = Components::resolve(
            config,
            &listens,
            &self.args,
            &self.clock,
            &active.components.resolved,
            |config| AppSecrets::reload_or_retain(config, &active.components.secrets),
        )?;
        let warnings = override_warning
            .into_iter()
            .chain(self.permanent_warning.clone())
            .chain(after_restart.iter().map(|key| restart_warning(key)));
        let limits = components.config.limits.clone();
        Ok(Candidate {
            config: ActiveConfig::new(components, limits, warnings, Some(&active.http)),
            after_restart,
        })
    }

    /// Makes the candidate the active config, and logs what has changed since `previous`.
    fn activate(
        &self,
        candidate: Candidate,
        previous: &ActiveConfig,
        reloaded_at: Timestamp,
    ) -> ReloadRow {
        let after_restart = candidate.after_restart;
        let active = Arc::new(candidate.config);
        self.active.store(Arc::clone(&active));
        let components = &active.components;
        self.delivery_service
            .reconcile(&components.resolved.targets);
        self.gateway_monitors
            .reconcile(&components.resolved.gateway_credentials);
        if let Err(error) = components.persist_secret(&self.store) {
            tracing::warn!(error = %error, "the use of the app secret could not be stored; the next start stores it");
        }
        let changed = components.diff(&previous.components);
        tracing::info!(
            config.changed = changed.join(", "),
            "the config was reloaded"
        );
        for warning in active.config_warnings.iter() {
            let is_about_restart = after_restart
                .iter()
                .any(|key| restart_warning(key) == *warning);
            // Other warnings of the previous config were already logged.
            if is_about_restart || !previous.config_warnings.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
        count_reload("reloaded");
        ReloadRow {
            reloaded_at,
            changed,
            after_restart: after_restart.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Logs why the config was not reloaded, and shows it in `flowgate status`. Returns the error
    /// for the operator.
    fn report_failure(
        &self,
        error: &ServeError,
        active: &ActiveConfig,
        reloaded_at: Timestamp,
    ) -> AdminError {
        let why = error.to_string();
        let line = why.replace('\n', "; ");
        tracing::error!(
            error = line,
            "the config was not reloaded, and nothing has changed"
        );
        let warning = format!(
            "the config was not reloaded at {reloaded_at}: {line}: fix the config, then run `flowgate reload` or send SIGHUP"
        );
        self.active
            .store(Arc::new(active.with_reload_warning(warning)));
        count_reload("refused");
        AdminError::invalid(format!(
            "the config was not reloaded, and nothing has changed:\n{why}"
        ))
    }
}

/// Formats the warning for a setting that needs a restart.
fn restart_warning(key: &str) -> String {
    let until = if key == "data" {
        "; until then other commands look for a server on the new data file"
    } else {
        ""
    };
    format!("{key} changed: takes effect after a restart{until}")
}

fn count_reload(outcome: &'static str) {
    metrics::counter!("flowgate_config_reloads_total", "outcome" => outcome).increment(1);
}
