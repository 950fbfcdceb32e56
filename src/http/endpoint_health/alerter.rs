//! Assesses the health of encrypted flows at an interval, and records changes in the store. An
//! alert is sent when a flow passes Meta's thresholds, before Meta throttles the flow.
//!
//! See [`crate::domain::health::assessment`] for the assessment, `crate::store::tx::flow_events`
//! for sending an alert only once, and [`super::number_monitor`] for silent
//! phone numbers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::domain::health::assessment::{Assessment, Severity, assess};
use crate::domain::health::window::WindowStats;
use crate::domain::ids::FlowName;
use crate::store::{RecordHealth, Store};

use super::monitor::HealthMonitor;
use super::number_monitor::NumberMonitor;

/// Interval of the checks. Meta's windows are ten and thirty minutes long.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Task that assesses the data of [`HealthMonitor`].
pub struct HealthAlerter {
    health_monitor: HealthMonitor,
    store: Store,
    clock: Arc<dyn Clock>,
    /// Severity of each flow that was last recorded in the store.
    recorded: BTreeMap<FlowName, Severity>,
    number_monitor: NumberMonitor,
}

impl HealthAlerter {
    /// Creates the task with nothing recorded yet. `store` must be open.
    #[must_use]
    pub fn new(health_monitor: HealthMonitor, store: Store, clock: Arc<dyn Clock>) -> Self {
        let number_monitor = NumberMonitor::new(clock.elapsed());
        Self {
            health_monitor,
            store,
            clock,
            recorded: BTreeMap::new(),
            number_monitor,
        }
    }

    /// Checks at the interval until `stop` resolves.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut timer = interval(CHECK_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = timer.tick() => {
                    self.check().await;
                    self.number_monitor
                        .check(&self.health_monitor, &self.store, &*self.clock)
                        .await;
                }
            }
        }
    }

    /// Records the flows whose severity has changed.
    pub(in crate::http) async fn check(&mut self) {
        for (flow, reading) in self.health_monitor.window_stats(self.clock.elapsed()) {
            let Some(judgement) = actionable_assessment(&reading) else {
                continue;
            };
            let verdict = judgement.severity;
            if self.recorded.get(&flow) == Some(&verdict) {
                continue;
            }
            let (findings, advice) = (judgement.findings.join(", "), judgement.suggestion.clone());
            let record = RecordHealth {
                flow: flow.clone(),
                assessment: judgement,
            };
            match self.store.execute(record).await {
                Ok(()) => {
                    if verdict == Severity::Alert {
                        tracing::warn!(
                            flow = flow.as_str(),
                            findings,
                            advice,
                            "the endpoint of a flow is unhealthy"
                        );
                    }
                    self.recorded.insert(flow, verdict);
                }
                // The next check tries again.
                Err(error) => {
                    tracing::debug!(error = %error, "the health of a flow could not be stored");
                }
            }
        }
    }
}

/// Returns the assessment if the flow is healthy or has an alert.
///
/// Returns `None` for a warning, and for an endpoint that had no requests, for example after a
/// start.
fn actionable_assessment(reading: &WindowStats) -> Option<Assessment> {
    let judgement = assess(reading);
    match judgement.severity {
        Severity::Alert => Some(judgement),
        Severity::Ok if reading.requests > 0 => Some(judgement),
        Severity::Ok | Severity::Warning => None,
    }
}
