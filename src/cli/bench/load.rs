//! Sends the forms of a measurement: as fast as the server answers, or at a steady rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::error::BenchError;
use crate::cli::demo::load_generator::{LoadGenerator, SendLog};
use crate::cli::demo::observed::FormOutcome;
use crate::cli::demo::plan::{Workload, WorkloadForm};
use crate::cli::demo::report::quantile;
use crate::clock::Clock;

/// Number of forms that are created at once. The generator limits how many are in flight.
const BATCH_FORMS: u32 = 2_000;

/// Latencies of one measurement.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds latencies and sorts all of them.
    pub(super) fn extend(&mut self, more: Vec<Duration>) {
        self.0.extend(more);
        self.0.sort_unstable();
    }

    pub(super) fn sorted(&self) -> &[Duration] {
        &self.0
    }

    /// Returns the latency that `percent` of 100 latencies do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        quantile(&self.0, percent, 100)
    }
}

impl From<Vec<Duration>> for Latencies {
    fn from(unsorted: Vec<Duration>) -> Self {
        let mut latencies = Self::default();
        latencies.extend(unsorted);
        latencies
    }
}

/// Result of the load at a steady rate.
#[derive(Debug, Clone)]
pub(super) struct SteadyLoad {
    /// Forms per second that were due.
    pub(super) rate: u32,
    /// Time from the due time of each form to its response.
    pub(super) latencies: Latencies,
    /// Number of forms that were not accepted at the first attempt.
    pub(super) failed: u64,
}

/// Sender of forms to one server.
pub(super) struct Load {
    generator: Arc<LoadGenerator>,
    clock: Arc<dyn Clock>,
    /// Keeps the address valid.
    _address: watch::Sender<Option<SocketAddr>>,
}

impl Load {
    pub(super) fn new(secret: &str, clock: &Arc<dyn Clock>, server: SocketAddr) -> Self {
        let (sender, address) = watch::channel(Some(server));
        let generator = LoadGenerator::new(secret.to_owned(), Arc::clone(clock), address, || {});
        Self {
            generator: Arc::new(generator),
            clock: Arc::clone(clock),
            _address: sender,
        }
    }

    /// Returns the number of responses per second if the next form is sent as soon as a response
    /// arrives.
    pub(super) async fn max_rate(&self, duration: Duration) -> Result<f64, BenchError> {
        let start = self.clock.elapsed();
        let mut sent = 0_u32;
        while self.clock.elapsed() < start + duration {
            // The tokens differ from those of the steady load.
            let forms =
                (sent..sent + BATCH_FORMS).map(|number| WorkloadForm::enquiry(number + (1 << 30)));
            self.generator.run_concurrent(forms.collect()).await;
            sent += BATCH_FORMS;
            if let Some(refusal) = first_refusal(&self.generator.take_log()) {
                return Err(BenchError::Refused(refusal));
            }
        }
        let seconds = self.clock.elapsed().saturating_sub(start).as_secs_f64();
        Ok(f64::from(sent) / seconds)
    }

    /// Sends `rate` forms per second, independent of the responses.
    pub(super) async fn steady(&self, rate: u32, seconds: u32) -> SteadyLoad {
        self.generator.run(Workload { rate, seconds }).await;
        let log = self.generator.take_log();
        let refused = log
            .outcomes
            .iter()
            .filter(|(_, outcome)| refusal(outcome).is_some());
        let refused = u64::try_from(refused.count()).unwrap_or(u64::MAX);
        SteadyLoad {
            rate,
            latencies: Latencies::from(log.stats.delays),
            failed: refused.saturating_add(log.stats.delayed),
        }
    }
}

fn first_refusal(log: &SendLog) -> Option<String> {
    log.outcomes
        .iter()
        .find_map(|(_, outcome)| refusal(outcome))
}

fn refusal(outcome: &FormOutcome) -> Option<String> {
    match outcome {
        FormOutcome::Accepted | FormOutcome::Duplicate => None,
        FormOutcome::SlotTaken => Some("its slot was taken".to_owned()),
        FormOutcome::Refused(why) | FormOutcome::Unanswered(why) => Some(why.clone()),
    }
}
