//! Reloads the config: reads it again with everything that it names, and replaces the active one
//! without losing a request.
//!
//! A reload changes everything or nothing. After a failed reload, `flowgate status` shows a warning
//! until a reload succeeds. Settings that need a restart do not change, and the result names them.
//! Requests and jobs in flight finish with the config that they began with. `SIGHUP` and
//! `flowgate reload` both run here, one after the other.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;

use tokio::signal::unix::Signal;

use super::components::{self, Components};
use super::serve::{ServeArgs, ServeError};
use crate::admin::{AdminError, ReloadRow};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::DeliveryService;
use crate::domain::event::subscriptions::Subscriptions;
use crate::gateways::GatewayMonitors;
use crate::http::AppState;
use crate::intake::Catalog;
use crate::jobs::JobSettings;
use crate::reloadable::Reloadable;
use crate::store::Store;

/// Values of the running server that a reload replaces.
pub(crate) struct ReloadTargets {
    pub(crate) app: Reloadable<AppState>,
    pub(crate) job_settings: Reloadable<JobSettings>,
    pub(crate) catalog: Reloadable<Catalog>,
    pub(crate) warnings: Reloadable<Vec<String>>,
    pub(crate) subscriptions: Reloadable<Subscriptions>,
    pub(crate) delivery_service: Arc<DeliveryService>,
    pub(crate) gateway_monitors: Arc<GatewayMonitors>,
    pub(crate) store: Store,
}

/// Reloads the config of a running server.
pub(crate) struct Reloader {
    args: ServeArgs,
    /// Config at the start of the server.
    start_config: Config,
    /// Warning from the start of the server. No reload removes this warning.
    permanent_warning: Option<String>,
    targets: ReloadTargets,
    clock: Arc<dyn Clock>,
    active: Mutex<ActiveConfig>,
}

/// The active components and their warnings.
struct ActiveConfig {
    components: Components,
    warnings: Vec<String>,
}

/// Resolved components that can replace the active ones.
struct CandidateConfig {
    components: Components,
    warnings: Vec<String>,
    after_restart: Vec<&'static str>,
}

impl Reloader {
    /// Creates a reloader for a server that started with `components`, which `targets` contains.
    pub(crate) fn new(
        args: &ServeArgs,
        components: Components,
        permanent_warning: Option<String>,
        targets: ReloadTargets,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (start_config, warnings) =
            (components.config.clone(), targets.warnings.load().to_vec());
        Self {
            args: args.clone(),
            start_config,
            permanent_warning,
            targets,
            clock,
            active: Mutex::new(ActiveConfig {
                components,
                warnings,
            }),
        }
    }

    /// Reloads on each `SIGHUP` until `stop` completes. A signal that arrived earlier counts.
    pub(crate) async fn reload_on_signal(
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
    pub(crate) fn reload(&self) -> Result<ReloadRow, AdminError> {
        let mut active = self.active.lock();
        let reloaded_at = self.clock.now();
        let candidate = self.load_candidate(&active.components).map_err(|error| {
            let why = error.to_string();
            let line = why.replace('\n', "; ");
            tracing::error!(error = line, "the config was not reloaded, and nothing has changed");
            count_reload("refused");
            let warning =
                format!("the config was not reloaded at {reloaded_at}: {line}: fix the config, then run `flowgate reload` or send SIGHUP");
            self.targets.warnings.store(active.warnings.iter().cloned().chain([warning]).collect());
            AdminError::invalid(format!("the config was not reloaded, and nothing has changed:\n{why}"))
        })?;
        let CandidateConfig {
            components,
            warnings: new_warnings,
            after_restart,
        } = candidate;
        let changed = components.diff(&active.components);
        self.apply(&components);
        if let Err(error) = components.persist_secret(&self.targets.store) {
            tracing::warn!(error = %error, "the use of the app secret could not be stored; the next start stores it");
        }
        tracing::info!(
            config.changed = changed.join(", "),
            "the config was reloaded"
        );
        let restart_warnings: Vec<String> = after_restart
            .iter()
            .map(|key| restart_warning(key))
            .collect();
        // Warnings of the previous config were already logged.
        for warning in new_warnings
            .iter()
            .filter(|warning| !active.warnings.contains(warning))
            .chain(&restart_warnings)
        {
            tracing::warn!("{warning}");
        }
        let warnings: Vec<String> = new_warnings.into_iter().chain(restart_warnings).collect();
        self.targets.warnings.store(warnings.clone());
        *active = ActiveConfig {
            components,
            warnings,
        };
        count_reload("reloaded");
        let after_restart = after_restart.into_iter().map(str::to_owned).collect();
        Ok(ReloadRow {
            reloaded_at,
            changed,
            after_restart,
        })
    }

    fn load_candidate(&self, active: &Components) -> Result<CandidateConfig, ServeError> {
        let mut config = Config::load(&self.start_config.file)?;
        let override_warning = components::apply_overrides(&self.args, &mut config);
        // Unsigned flows must be safe for the current address and for the address of the next
        // start.
        let listens = [self.start_config.listen, config.listen];
        let after_restart = config.retain_restart_only(&self.start_config);
        let reload_secrets = |config: &Config| active.reload_secrets(config);
        let components = Components::resolve(
            config,
            &listens,
            &self.args,
            &self.clock,
            &active.previous(),
            reload_secrets,
        )?;
        let mut warnings = components.warnings();
        warnings.extend(
            override_warning
                .into_iter()
                .chain(self.permanent_warning.clone()),
        );
        Ok(CandidateConfig {
            components,
            warnings,
            after_restart,
        })
    }

    /// Replaces the components. Delivery and gateways come first, so that the destinations of a new
    /// flow are ready for its first form.
    fn apply(&self, components: &Components) {
        let ReloadTargets {
            app,
            job_settings,
            catalog,
            subscriptions,
            delivery_service,
            gateway_monitors,
            ..
        } = &self.targets;
        delivery_service.reconcile(&components.targets);
        gateway_monitors.reconcile(&components.gateway_credentials);
        subscriptions.store(components.config.subscriptions.clone());
        job_settings.store(JobSettings::from(&components.config));
        catalog.store(Catalog::from(&components.config));
        app.store(components.app_for_reload(&app.load()));
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
