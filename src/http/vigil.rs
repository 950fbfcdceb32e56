//! Looks at the figures of encrypted flows from time to time, and hands the store what they come to: when one passes Meta's
//! thresholds, the outside is told before Meta throttles it. Whether our numbers still receive messages, `numbers` looks.
//!
//! What figures mean is `crate::domain::verdict`'s to say, and that trouble is told once the store's
//! ([`crate::store::NoteHealth`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::domain::gauge::Reading;
use crate::domain::ids::FlowName;
use crate::domain::verdict::{Judgement, Verdict, judge};
use crate::store::{NoteHealth, Store};

use super::numbers::Numbers;
use super::watch::Watch;

/// How often it looks. Meta's windows are ten and thirty minutes long.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps an eye on [`Watch`].
pub struct Vigil {
    watch: Watch,
    store: Store,
    clock: Arc<dyn Clock>,
    /// What the store was last handed of each flow.
    noted: BTreeMap<FlowName, Verdict>,
    numbers: Numbers,
}

impl Vigil {
    /// One that has handed over nothing yet. `store` must be open.
    #[must_use]
    pub fn new(watch: Watch, store: Store, clock: Arc<dyn Clock>) -> Self {
        let numbers = Numbers::new(clock.elapsed());
        Self { watch, store, clock, noted: BTreeMap::new(), numbers }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut beat = interval(LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = beat.tick() => {
                    self.look().await;
                    self.numbers.look(&self.watch, &self.store, &*self.clock).await;
                }
            }
        }
    }

    /// Hands over what has changed.
    pub(super) async fn look(&mut self) {
        for (flow, reading) in self.watch.read(self.clock.elapsed()) {
            let Some(judgement) = says(&reading) else { continue };
            let verdict = judgement.verdict;
            if self.noted.get(&flow) == Some(&verdict) {
                continue;
            }
            let (findings, advice) = (judgement.findings.join(", "), judgement.advice.clone());
            match self.store.commit(NoteHealth { flow: flow.clone(), judgement }).await {
                Ok(()) => {
                    if verdict == Verdict::Alert {
                        tracing::warn!(flow = flow.as_str(), findings, advice, "a flow is in trouble");
                    }
                    self.noted.insert(flow, verdict);
                }
                // It is handed over at the next look.
                Err(error) => tracing::debug!(error = %error, "how a flow does could not be noted"),
            }
        }
    }
}

/// What a reading says, if it says that the flow is in trouble or well. Half-way there is neither, and so is an endpoint that
/// nobody asked anything: also one that was just started.
fn says(reading: &Reading) -> Option<Judgement> {
    let judgement = judge(reading);
    match judgement.verdict {
        Verdict::Alert => Some(judgement),
        Verdict::Ok if reading.requests > 0 => Some(judgement),
        Verdict::Ok | Verdict::Watch => None,
    }
}
