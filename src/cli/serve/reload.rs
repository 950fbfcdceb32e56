//! A reload: the config is read again, with all that it names, and takes the place of the old one without a lost request.
//!
//! All or nothing: whatever is wrong, nothing changes, and `flowgate status` says so until a reload succeeds. What counts
//! only at a start stays as it was there, and is named. Requests and jobs under way end with what they began with.
//! `SIGHUP` and `flowgate reload` both come here, one after the other.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::Signal;

use super::parts::{self, Parts};
use super::{ServeArgs, ServeError};
use crate::admin::{AdminError, ReloadView};
use crate::clock::Clock;
use crate::config::Config;
use crate::courier::Courier;
use crate::current::Current;
use crate::domain::routes::Routes;
use crate::gateways::Gateways;
use crate::http::App;
use crate::intake::Catalog;
use crate::store::Store;
use crate::work::Rules;

/// What a reload changes, where those who go by it find it.
pub(super) struct Held {
    pub(super) app: Current<App>,
    pub(super) rules: Current<Rules>,
    pub(super) catalog: Current<Catalog>,
    pub(super) hints: Current<Vec<String>>,
    pub(super) routes: Current<Routes>,
    pub(super) courier: Arc<Courier>,
    pub(super) gateways: Arc<Gateways>,
    pub(super) store: Store,
}

/// Reloads the config of a running server.
pub(super) struct Reloader {
    args: ServeArgs,
    /// The config of the start.
    started: Config,
    /// What was noted at the start and no reload changes.
    lasting: Option<String>,
    held: Held,
    clock: Arc<dyn Clock>,
    now: Mutex<Now>,
}

/// What counts at the moment, and what is noted of it.
struct Now {
    parts: Parts,
    hints: Vec<String>,
}

/// A config that can take the place of the one that counts.
struct Next {
    parts: Parts,
    notes: Vec<String>,
    after_restart: Vec<&'static str>,
}

impl Reloader {
    /// For a server that began with `parts`, which are in `held`.
    pub(super) fn new(
        args: &ServeArgs,
        parts: Parts,
        lasting: Option<String>,
        held: Held,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (started, hints) = (parts.config.clone(), held.hints.get().to_vec());
        Self { args: args.clone(), started, lasting, held, clock, now: Mutex::new(Now { parts, hints }) }
    }

    /// Reloads at each `SIGHUP`, until `stop`. One that came before counts.
    pub(super) async fn reload_on(self: Arc<Self>, mut hangup: Signal, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                heard = hangup.recv() => if heard.is_none() { return },
            }
            let reloader = Arc::clone(&self);
            // What came of it is in the log. A panic has been told by its own hook.
            let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
        }
    }

    /// Reads the config again and puts it in place.
    ///
    /// # Errors
    /// All that is wrong with it, a line each. Nothing has changed then.
    pub(super) fn reload(&self) -> Result<ReloadView, AdminError> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded_at = self.clock.now();
        let next = self.read(&now.parts).map_err(|error| {
            let why = error.to_string();
            let line = why.replace('\n', "; ");
            tracing::error!(error = line, "the config was not reloaded, and nothing has changed");
            count("refused");
            let hint =
                format!("the config was not reloaded at {reloaded_at}: {line}: fix it and send SIGHUP again (or `flowgate reload`)");
            self.held.hints.set(now.hints.iter().cloned().chain([hint]).collect());
            AdminError::invalid(format!("the config was not reloaded, and nothing has changed:\n{why}"))
        })?;
        let Next { parts, notes, after_restart } = next;
        let changed = parts.changes_since(&now.parts);
        self.put_in_place(&parts);
        if let Err(error) = parts.keep_secret(&self.held.store) {
            tracing::warn!(error = %error, "the data file can't note that there is an app secret; the next start notes it");
        }
        tracing::info!(config.changed = changed.join(", "), "the config was reloaded");
        let restarts: Vec<String> = after_restart.iter().map(|key| restart(key)).collect();
        // What was noted before is known.
        for note in notes.iter().filter(|note| !now.hints.contains(note)).chain(&restarts) {
            tracing::warn!("{note}");
        }
        let hints: Vec<String> = notes.into_iter().chain(restarts).collect();
        self.held.hints.set(hints.clone());
        *now = Now { parts, hints };
        count("reloaded");
        let after_restart = after_restart.into_iter().map(str::to_owned).collect();
        Ok(ReloadView { reloaded_at, changed, after_restart })
    }

    fn read(&self, now: &Parts) -> Result<Next, ServeError> {
        let mut config = Config::load(&self.started.file)?;
        let note = parts::override_with(&self.args, &mut config);
        // Neither where it listens, nor where it would at the next start.
        let listens = [self.started.listen, config.listen];
        let after_restart = config.keep_fixed(&self.started);
        let renew = |config: &Config| now.renew_secrets(config);
        let parts = Parts::read(config, &listens, &self.args, &self.clock, &now.before(), renew)?;
        let mut notes = parts.notes();
        notes.extend(note.into_iter().chain(self.lasting.clone()));
        Ok(Next { parts, notes, after_restart })
    }

    /// The lanes and the workers first: a form of a flow that is new finds them prepared.
    fn put_in_place(&self, parts: &Parts) {
        let Held { app, rules, catalog, routes, courier, gateways, .. } = &self.held;
        courier.renew(&parts.recipients);
        gateways.renew(&parts.gateways);
        routes.set(parts.config.routes.clone());
        rules.set(Rules::from(&parts.config));
        catalog.set(Catalog::from(&parts.config));
        app.set(parts.renewed(&app.get()));
    }
}

/// What is said of a key that counts only at a start.
fn restart(key: &str) -> String {
    let until = if key == "data" { "; until then other commands look for the server of the new file" } else { "" };
    format!("{key} changed: takes effect after a restart{until}")
}

fn count(outcome: &'static str) {
    metrics::counter!("flowgate_config_reloads_total", "outcome" => outcome).increment(1);
}
