//! Implements the state machine of one gateway session. Its inputs are probes, results of recovery
//! actions and activity. Its outputs are recovery actions, history entries and alerts.
//!
//! The state machine is pure. Pauses and inactivity are measured by elapsed time. History and
//! alerts use wall-clock time. Rules:
//! - A session that is down is reconnected at once, then after pauses that double, up to an hour. A
//!   session that was up only for a moment does not reset the pauses.
//! - If a person is needed, there are no recovery actions until the session is up or an admin
//!   requests one. Each action would create a new code and invalidate the code that is being
//!   scanned.
//! - A session that reports `connected` may still be broken. Without activity for
//!   `inactivity_timeout`, then for two and four times that time, and so on, the session is
//!   restarted. The first restart raises no alert, because the day may just be quiet.
//! - A session that has been starting for too long gets a recovery action. A second action for this
//!   reason raises the alert "down". Evolution API also reports this state while a code waits to be
//!   scanned, so the number of actions is limited there.
//! - An alert is raised once, when the problem begins. "Needs a person" may follow "down". Recovery
//!   raises no alert.

mod input;

use std::time::Duration;

use super::{
    GatewayAlert, GatewayKind, HistoryEntry, RecoveryAction, SessionHealth, SessionState, states,
};
use crate::domain::job::retry::{RetryDecision, RetryPolicy};
use crate::domain::time::{Millis, Timestamp};
pub use input::{ActionResult, Probe, SessionTick};

/// Number of consecutive unanswered probes after which the session counts as unreachable. A single
/// unanswered probe may be a restart of the gateway.
const UNREACHABLE_AFTER_PROBES: u32 = 3;
/// Number of probe intervals after which a session in `starting` is stuck. After as many in `up`,
/// the pauses between recovery actions are reset.
const STUCK_AFTER_PROBES: u32 = 10;
/// Maximum number of recovery actions for a session that is starting and may be waiting for a
/// person. Each action would replace the code.
const STUCK_ATTEMPTS_MAX: u32 = 3;
/// Maximum pause between two recovery actions. A longer probe interval replaces this maximum.
const BACKOFF_MAX: Millis = Millis::from_secs(60 * 60);
/// Maximum inactivity limit that doubling reaches. A longer configured timeout replaces this
/// maximum.
const INACTIVITY_MAX: Duration = Duration::from_hours(24);

/// Configuration of a session's monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Gateway program of the session.
    pub kind: GatewayKind,
    /// Time between two probes.
    pub probe_interval: Millis,
    /// Time without activity after which the session is suspected to receive nothing. `None`:
    /// never.
    pub inactivity_timeout: Option<Millis>,
}

/// Effects of one input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionEffects {
    /// Recovery action to perform.
    pub action: Option<RecoveryAction>,
    /// Entries to add to the history.
    pub history: Vec<HistoryEntry>,
    /// Alert to raise.
    pub alert: Option<GatewayAlert>,
    /// `true` if the problem of the last alert is over.
    pub has_recovered: bool,
    /// `true` if the session state changed and must be stored.
    pub state_changed: bool,
}

/// State machine of one session.
#[derive(Clone, Debug)]
pub struct Session {
    policy: SessionPolicy,
    state: SessionState,
    /// Time when the current health began, by the process clock. After a start of the process: the
    /// time of that start.
    health_since: Duration,
    /// Time of the last activity, restart for inactivity or change to up, by the process clock.
    /// After a start of the process: the time of that start.
    last_activity: Duration,
    /// Number of consecutive unanswered probes.
    unanswered_probes: u32,
    /// Number of recovery actions for the current problem.
    actions: u32,
    /// Earliest time of the next recovery action, by the process clock.
    next_action_at: Duration,
    /// `true` if the gateway refused the last restart.
    restart_refused: bool,
}

impl Session {
    /// Creates the state machine from the stored state of the session.
    #[must_use]
    pub const fn new(policy: SessionPolicy, state: SessionState, elapsed: Duration) -> Self {
        Self {
            policy,
            state,
            health_since: elapsed,
            last_activity: elapsed,
            unanswered_probes: 0,
            actions: 0,
            next_action_at: Duration::ZERO,
            restart_refused: false,
        }
    }

    /// Returns the current state of the session.
    #[must_use]
    pub const fn state(&self) -> &SessionState {
        &self.state
    }

    /// Replaces the policy after a config reload.
    pub const fn set_policy(&mut self, policy: SessionPolicy) {
        self.policy = policy;
    }

    /// Handles the result of a probe, or a state that the gateway reported by webhook.
    pub fn on_probe(&mut self, probe: Probe, now: &SessionTick) -> SessionEffects {
        self.unanswered_probes = match probe {
            Probe::Unanswered(_) => self.unanswered_probes.saturating_add(1),
            Probe::State(_) | Probe::Refused(_) => 0,
        };
        if (1..UNREACHABLE_AFTER_PROBES).contains(&self.unanswered_probes) {
            return SessionEffects::default();
        }
        let before = self.state.clone();
        let mut effects = SessionEffects::default();
        let named = |health: SessionHealth| (health, Box::from(health.as_str()));
        let ((health, state), why) = match probe {
            Probe::State(word) => (states::parse_state(self.policy.kind, &word), String::new()),
            Probe::Refused(why) => (named(SessionHealth::Refused), why),
            Probe::Unanswered(why) => (named(SessionHealth::Unreachable), why),
        };
        self.change_health(health, state, &why, now, &mut effects);
        effects.action = self.due_action(now, &mut effects);
        self.update_alert(now, &mut effects);
        effects.state_changed = before != self.state;
        effects
    }

    /// Handles the result of a recovery action. If the result names no state, the next probe shows
    /// the effect.
    pub fn on_action_result(
        &mut self,
        action: RecoveryAction,
        result: ActionResult,
        now: &SessionTick,
    ) -> SessionEffects {
        let before = self.state.clone();
        let mut effects = SessionEffects::default();
        let detail = result.describe(self.policy.kind);
        self.restart_refused =
            action == RecoveryAction::Restart && matches!(result, ActionResult::Failed(_));
        let entry = self.history_entry(Some(action), &detail, now);
        effects.history.push(entry);
        match result {
            ActionResult::State(word) => {
                let (health, state) = states::parse_state(self.policy.kind, &word);
                self.change_health(health, state, "", now, &mut effects);
            }
            ActionResult::NeedsScan => {
                self.require_person("a person must scan a code", now, &mut effects);
            }
            ActionResult::Accepted | ActionResult::Failed(_) => {}
        }
        self.update_alert(now, &mut effects);
        effects.state_changed = before != self.state;
        effects
    }

    /// Returns the recovery action for an admin's request, regardless of earlier actions. The
    /// request resets the pauses and limits.
    pub fn on_restart_requested(&mut self, now: &SessionTick) -> RecoveryAction {
        (self.state.awaits_person, self.state.stuck_attempts) = (false, 0);
        (self.actions, self.last_activity, self.health_since) = (1, now.elapsed, now.elapsed);
        self.next_action_at = now.elapsed.saturating_add(self.backoff(now));
        self.restart_refused = false;
        states::manual_action(self.policy.kind, self.state.health, &self.state.state)
    }

    /// Handles an event from WhatsApp: the session is not silent.
    pub fn on_activity(&mut self, now: &SessionTick) -> SessionEffects {
        let mut effects = SessionEffects::default();
        (self.last_activity, self.restart_refused) = (now.elapsed, false);
        if self.state.silence_restarts > 0 {
            self.state.silence_restarts = 0;
            let detail = "a message or event arrived: the session is not silent";
            effects.history.push(self.history_entry(None, detail, now));
            effects.state_changed = true;
            self.update_alert(now, &mut effects);
        }
        effects
    }

    fn require_person(&mut self, why: &str, now: &SessionTick, effects: &mut SessionEffects) {
        let state = self.state.state.clone();
        self.change_health(SessionHealth::NeedsPerson, state, why, now, effects);
    }

    fn change_health(
        &mut self,
        health: SessionHealth,
        state: Box<str>,
        why: &str,
        now: &SessionTick,
        effects: &mut SessionEffects,
    ) {
        match health {
            SessionHealth::NeedsPerson => self.state.awaits_person = true,
            SessionHealth::Up => (self.state.awaits_person, self.state.stuck_attempts) = (false, 0),
            _ => {}
        }
        // While the code waits to be scanned, or after it has expired, states such as `Down` or
        // `Starting` do not change this.
        let must_wait = self.state.awaits_person
            && matches!(health, SessionHealth::Down | SessionHealth::Starting);
        let effective_health = if must_wait {
            SessionHealth::NeedsPerson
        } else {
            health
        };
        if effective_health == SessionHealth::Up {
            if self.state.health != SessionHealth::Up {
                self.last_activity = now.elapsed;
            } else if self.state.silence_restarts == 0
                && now.elapsed.saturating_sub(self.health_since) >= self.stuck_after()
            {
                self.actions = 0;
            }
        }
        if self.state.health != effective_health {
            (self.health_since, self.state.since) = (now.elapsed, now.at);
        }
        if self.state.health != effective_health || self.state.state != state {
            (self.state.health, self.state.state) = (effective_health, state);
            effects.history.push(self.history_entry(None, why, now));
        }
    }

    /// Returns the recovery action that is due now. `None` if no action is due.
    fn due_action(
        &mut self,
        now: &SessionTick,
        effects: &mut SessionEffects,
    ) -> Option<RecoveryAction> {
        let kind = self.policy.kind;
        if now.elapsed < self.next_action_at || self.state.awaits_person {
            return None;
        }
        let action = match self.state.health {
            SessionHealth::Down => states::recovery_action(kind, &self.state.state)?,
            SessionHealth::Starting => self.action_if_stuck(now, effects)?,
            SessionHealth::Up => self.action_if_silent(now, effects)?,
            _ => return None,
        };
        self.actions = self.actions.saturating_add(1);
        self.next_action_at = now.elapsed.saturating_add(self.backoff(now));
        let restart_was_refused = std::mem::take(&mut self.restart_refused);
        Some(match action {
            RecoveryAction::Restart if restart_was_refused => {
                states::action_after_refused_restart(kind)
            }
            action => action,
        })
    }

    /// Returns the recovery action for a session that has been starting for too long.
    fn action_if_stuck(
        &mut self,
        now: &SessionTick,
        effects: &mut SessionEffects,
    ) -> Option<RecoveryAction> {
        let kind = self.policy.kind;
        (now.elapsed.saturating_sub(self.health_since) >= self.stuck_after()).then_some(())?;
        if self.state.stuck_attempts >= STUCK_ATTEMPTS_MAX && states::starting_may_need_scan(kind) {
            let why = "recovery actions do not help: a code may have to be scanned";
            self.require_person(why, now, effects);
            return None;
        }
        self.state.stuck_attempts = self.state.stuck_attempts.saturating_add(1);
        Some(states::action_when_stuck(kind))
    }

    /// Returns the recovery action for a session that is connected and receives nothing.
    fn action_if_silent(
        &mut self,
        now: &SessionTick,
        effects: &mut SessionEffects,
    ) -> Option<RecoveryAction> {
        let quiet = now.elapsed.saturating_sub(self.last_activity);
        // A refused restart has repaired nothing, so the next action does not wait for another
        // inactivity timeout.
        if !self.restart_refused {
            (quiet >= self.inactivity_limit()?).then_some(())?;
            self.state.silence_restarts = self.state.silence_restarts.saturating_add(1);
            self.last_activity = now.elapsed;
            let seconds = quiet.as_secs();
            let detail = format!("its state is connected, but nothing arrived for {seconds} s");
            effects.history.push(self.history_entry(None, &detail, now));
        }
        Some(RecoveryAction::Restart)
    }

    /// Returns the time in `starting` after which the session is stuck.
    fn stuck_after(&self) -> Duration {
        let interval = self.policy.probe_interval.to_duration();
        interval.saturating_mul(STUCK_AFTER_PROBES)
    }

    /// Returns the time without activity after which the session is restarted. `None`: never.
    fn inactivity_limit(&self) -> Option<Duration> {
        let first = self.policy.inactivity_timeout?.to_duration();
        let doubled = first.saturating_mul(2_u32.saturating_pow(self.state.silence_restarts));
        Some(doubled.min(INACTIVITY_MAX.max(first)))
    }

    /// Returns the pause before the next recovery action, computed from the number of earlier
    /// actions.
    fn backoff(&self, now: &SessionTick) -> Duration {
        let first = self.policy.probe_interval;
        let policy = RetryPolicy {
            initial_delay: first,
            max_delay: BACKOFF_MAX.max(first),
            max_attempts: u32::MAX,
        };
        match policy.decide(self.actions, now.jitter, None, Timestamp::ZERO) {
            RetryDecision::RetryAt { at } => at.since(Timestamp::ZERO).to_duration(),
            RetryDecision::GiveUp => BACKOFF_MAX.to_duration(),
        }
    }

    /// Raises the alert that the current health demands, unless the alert was raised before. Clears
    /// the alert after recovery.
    fn update_alert(&mut self, now: &SessionTick, effects: &mut SessionEffects) {
        let sent = self.state.alert;
        let due = match self.state.health {
            SessionHealth::Up if self.state.silence_restarts > 1 => Some(GatewayAlert::Down),
            SessionHealth::Up if self.state.silence_restarts == 0 => {
                if sent.is_some() {
                    self.state.alert = None;
                    effects.has_recovered = true;
                    let entry = self.history_entry(None, "recovered", now);
                    effects.history.push(entry);
                }
                return;
            }
            SessionHealth::Down | SessionHealth::Unreachable => Some(GatewayAlert::Down),
            SessionHealth::Starting if self.state.is_stuck() => Some(GatewayAlert::Down),
            SessionHealth::NeedsPerson | SessionHealth::Unrecognized | SessionHealth::Refused => {
                Some(GatewayAlert::NeedsPerson)
            }
            SessionHealth::Up | SessionHealth::Starting | SessionHealth::Unknown => None,
        };
        if due > sent {
            self.state.alert = due;
            effects.alert = due;
        }
    }

    fn history_entry(
        &self,
        action: Option<RecoveryAction>,
        detail: &str,
        now: &SessionTick,
    ) -> HistoryEntry {
        HistoryEntry {
            at: now.at,
            state: self.state.state.clone(),
            action,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests;
