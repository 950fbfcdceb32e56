//! Monitors the session of one gateway: probes it on a schedule, performs recovery actions, and
//! stores the session's state and history.
//!
//! The store may be unable to commit a change, for example because the disk is full. The monitor
//! then retries with the next probe: an alert is late but not lost.
//!
//! See [`crate::domain::gateway::session`] for the decisions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::api::{GatewayApi, ProbeResult};
use super::credentials::GatewayCredentials;
use super::registry::{
    GatewayRegistry, MonitorChannels, RestartRequest, RestartResult, WebhookUpdates,
};
use crate::clock::{Clock, Entropy};
use crate::domain::gateway::session::{ActionResult, Probe, Session, SessionEffects, SessionTick};
use crate::domain::gateway::{GatewayAlert, RecoveryAction, SessionHealth, SessionState};
use crate::domain::ids::GatewayName;
use crate::domain::time::Millis;
use crate::store::{RecordSessionState, Store};

/// Dependencies that all monitors share.
#[derive(Clone)]
pub(super) struct GatewayContext {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) api: GatewayApi,
}

pub(super) struct SessionMonitor {
    name: GatewayName,
    credentials_rx: watch::Receiver<Arc<GatewayCredentials>>,
    credentials: Arc<GatewayCredentials>,
    updates: watch::Receiver<WebhookUpdates>,
    restart_requests: mpsc::Receiver<RestartRequest>,
    /// Updates that were already handled.
    handled: WebhookUpdates,
    context: GatewayContext,
    registry: GatewayRegistry,
    session: Session,
    /// Due time of the next probe, by the process clock.
    next_probe: Duration,
    /// Changes that are not committed yet.
    uncommitted: Option<RecordSessionState>,
}

impl SessionMonitor {
    pub(super) fn new(
        name: GatewayName,
        credentials_rx: watch::Receiver<Arc<GatewayCredentials>>,
        channels: MonitorChannels,
        context: GatewayContext,
        registry: GatewayRegistry,
    ) -> Self {
        let credentials = Arc::clone(&credentials_rx.borrow());
        let (kind, elapsed) = (credentials.settings.kind, context.clock.elapsed());
        let known = context
            .store
            .read_with(|snapshot| snapshot.session_state(&name))
            .unwrap_or_else(|error| {
                tracing::error!(
                    gateway = name.as_str(),
                    %error,
                    "the stored session state can't be read: the session is probed again"
                );
                None
            });
        let known = known.filter(|session_state| session_state.kind == kind);
        let session_state =
            known.unwrap_or_else(|| SessionState::unprobed(kind, context.clock.now()));
        let session = Session::new(credentials.session_settings(), session_state, elapsed);
        Self {
            name,
            credentials_rx,
            credentials,
            updates: channels.updates,
            restart_requests: channels.restart_requests,
            handled: WebhookUpdates::default(),
            context,
            registry,
            session,
            next_probe: elapsed,
            uncommitted: None,
        }
    }

    /// Monitors the session until the gateway is removed from the config or the server stops.
    pub(super) async fn run(mut self) {
        loop {
            // The gateway may have been removed while this monitor waited for the end of an earlier
            // one. In this case, the monitor must send no request.
            if self.credentials_rx.has_changed().is_err() {
                return self.set_up_gauge(f64::NAN);
            }
            let wait = self.next_probe.saturating_sub(self.context.clock.elapsed());
            tokio::select! {
                changed = self.credentials_rx.changed() => match changed {
                    Ok(()) => self.apply_credentials(),
                    Err(_) => return self.set_up_gauge(f64::NAN),
                },
                Ok(()) = self.updates.changed() => self.on_webhook().await,
                Some(request) = self.restart_requests.recv() => {
                    self.on_restart_request(request).await;
                }
                () = sleep(wait) => self.probe_session().await,
            }
        }
    }

    fn apply_credentials(&mut self) {
        self.credentials = Arc::clone(&self.credentials_rx.borrow_and_update());
        self.session.set_policy(self.credentials.session_settings());
        self.next_probe = self.context.clock.elapsed();
    }

    /// Probes the session and applies the effects.
    async fn probe_session(&mut self) {
        if let Some(probe) = self.probe().await {
            let effects = self.session.on_probe(probe, &self.clock_reading());
            self.apply(effects).await;
        }
    }

    /// Probes the session. Returns `None` if the gateway refused the request because of a rate
    /// limit. The next probe is then later.
    async fn probe(&mut self) -> Option<Probe> {
        let health = self.context.api.probe(&self.credentials).await;
        self.registry
            .record_probe(&self.name, self.context.clock.now());
        let (probe, wait) = match health {
            ProbeResult::Probed(probe) => (Some(probe), Millis::ZERO),
            ProbeResult::RateLimited(wait) => (None, wait),
        };
        let wait = self
            .credentials
            .settings
            .probe_interval
            .max(wait)
            .to_duration();
        self.next_probe = self.context.clock.elapsed().saturating_add(wait);
        probe
    }

    /// Handles updates from the gateway's webhook.
    async fn on_webhook(&mut self) {
        let updates = self.updates.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.handled, updates.clone());
        if updates.activity_count != before.activity_count {
            let effects = self.session.on_activity(&self.clock_reading());
            self.apply(effects).await;
        }
        if updates.state_count != before.state_count {
            let effects = self
                .session
                .on_probe(Probe::State(updates.last_state), &self.clock_reading());
            self.apply(effects).await;
        }
    }

    /// Handles an admin's request for a recovery action.
    async fn on_restart_request(&mut self, request: RestartRequest) {
        let (action, detail) = match self.restart_session().await {
            Ok((action, result)) => (
                Some(action),
                result.describe(self.credentials.settings.kind),
            ),
            Err(why) => (None, why),
        };
        // The admin may have disconnected.
        let _ = request.reply.send(RestartResult {
            action,
            detail,
            session: self.session.state().clone(),
        });
    }

    /// Performs the recovery action that fits the current state. Returns an error with the reason
    /// if the state is not available.
    async fn restart_session(&mut self) -> Result<(RecoveryAction, ActionResult), String> {
        let busy = || "the gateway refused the request (rate limit): try again later".to_owned();
        let probe = self.probe().await.ok_or_else(busy)?;
        let unknown = match &probe {
            Probe::Unanswered(why) | Probe::Refused(why) => Some(why.clone()),
            Probe::State(_) => None,
        };
        // The automatic action for this state is skipped: the code below performs one action.
        let effects = SessionEffects {
            action: None,
            ..self.session.on_probe(probe, &self.clock_reading())
        };
        self.commit_effects(effects).await;
        if let Some(why) = unknown {
            return Err(why);
        }
        let action = self.session.on_restart_requested(&self.clock_reading());
        Ok((action, self.perform_action(action).await))
    }

    /// Stores the effects of an input, then performs their recovery action.
    async fn apply(&mut self, mut effects: SessionEffects) {
        let action = effects.action.take();
        self.commit_effects(effects).await;
        if let Some(action) = action {
            self.perform_action(action).await;
        }
    }

    async fn perform_action(&mut self, action: RecoveryAction) -> ActionResult {
        let result = self
            .context
            .api
            .perform_action(&self.credentials, action)
            .await;
        let outcome = if matches!(result, ActionResult::Failed(_)) {
            "failed"
        } else {
            "accepted"
        };
        let (gateway, name) = (self.name.as_str(), action.as_str());
        tracing::info!(
            gateway,
            gateway.action = name,
            outcome,
            answer = result.describe(self.credentials.settings.kind),
            "a recovery action was sent to a gateway"
        );
        let labels = [("gateway", gateway), ("action", name), ("outcome", outcome)];
        let labels = labels.map(|(key, value)| (key, value.to_owned()));
        metrics::counter!("flowgate_gateway_actions_total", &labels).increment(1);
        let effects = self
            .session
            .on_action_result(action, result.clone(), &self.clock_reading());
        self.commit_effects(effects).await;
        result
    }

    /// Stores new effects, together with earlier ones that could not be committed.
    async fn commit_effects(&mut self, effects: SessionEffects) {
        self.log_effects(&effects);
        let session_state = self.session.state().clone();
        self.set_up_gauge(f64::from(session_state.health == SessionHealth::Up));
        let is_new =
            effects.state_changed || !effects.history.is_empty() || effects.alert.is_some();
        let mut record = match self.uncommitted.take() {
            Some(pending) => pending,
            None if is_new => RecordSessionState {
                gateway: self.name.clone(),
                state: session_state.clone(),
                history: Vec::new(),
                alerts: Vec::new(),
            },
            None => return,
        };
        record.state = session_state;
        record.history.extend(effects.history);
        record.alerts.extend(effects.alert);
        if let Err(error) = self.context.store.execute(record.clone()).await {
            // The store has already logged why it is unavailable.
            if !error.is_unavailable() {
                let gateway = self.name.as_str();
                tracing::error!(gateway, %error, "the session state can't be stored");
            }
            self.uncommitted = Some(record);
        }
    }

    /// Sets the metric of the gateway: 1 if the session works, 0 if not. A gateway that is removed
    /// from the config gets NaN. Without this, an alert rule would report the gateway as down
    /// forever.
    fn set_up_gauge(&self, up: f64) {
        metrics::gauge!("flowgate_gateway_up", "gateway" => self.name.as_str().to_owned()).set(up);
    }

    fn log_effects(&self, effects: &SessionEffects) {
        let SessionState {
            state,
            health: condition,
            ..
        } = self.session.state();
        let (gateway, state, condition) = (self.name.as_str(), &**state, condition.as_str());
        for entry in effects
            .history
            .iter()
            .filter(|entry| entry.action.is_none())
        {
            tracing::info!(
                gateway,
                state = &*entry.state,
                why = &*entry.detail,
                "the state of a gateway's session changed"
            );
        }
        let advice = self.session.state().suggestion();
        match effects.alert {
            Some(GatewayAlert::Down) => {
                tracing::warn!(
                    gateway,
                    state,
                    condition,
                    advice,
                    "a gateway's session is down"
                );
            }
            Some(GatewayAlert::NeedsPerson) => {
                tracing::error!(
                    gateway,
                    state,
                    condition,
                    advice,
                    "a gateway's session needs manual action: see the suggestion"
                );
            }
            None => {}
        }
        if effects.has_recovered {
            tracing::info!(gateway, state, "a gateway's session has recovered");
        }
    }

    fn clock_reading(&self) -> SessionTick {
        let GatewayContext { clock, entropy, .. } = &self.context;
        SessionTick {
            at: clock.now(),
            elapsed: clock.elapsed(),
            jitter: entropy.fraction(),
        }
    }
}
