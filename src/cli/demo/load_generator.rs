//! Generates the load of the demo: sends each form when it is due, independent of earlier forms,
//! and repeats it until a response arrives. Meta and impatient customers repeat forms in the same
//! manner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::observed::FormOutcome;
use super::plan::{Workload, WorkloadForm};
use super::report::SendStats;
use crate::cli::meta_client::{FlowResponse, MetaClient, MetaClientError, signature};
use crate::clock::Clock;

/// Maximum number of requests in flight. The number exceeds that of the concurrent forms, so that
/// they really run in parallel. It is below the usual limit of open files of a process (often
/// 1024).
const IN_FLIGHT_MAX: usize = 256;

/// Pause between two attempts to send a form.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Time without a response after which a form counts as unanswered.
const UNANSWERED_AFTER: Duration = Duration::from_mins(1);

/// Forms that were sent so far, with their outcomes.
#[derive(Debug, Default)]
pub struct SendLog {
    /// Flow token and outcome of each form, in the order of the responses.
    pub outcomes: Vec<(String, FormOutcome)>,
    /// Statistics of the requests: counts and delays.
    pub stats: SendStats,
}

/// Load generator of one demo.
pub struct LoadGenerator {
    secret: String,
    clock: Arc<dyn Clock>,
    /// Address of the server. `None` while the server is down.
    server_address: watch::Receiver<Option<SocketAddr>>,
    in_flight: Semaphore,
    client: MetaClient,
    log: Mutex<SendLog>,
    on_response: Box<dyn Fn() + Send + Sync>,
}

impl LoadGenerator {
    /// Creates a load generator that signs with `secret` and sends to the current address of
    /// `server_address`. The generator calls `on_response` after each form gets its outcome.
    pub fn new(
        secret: String,
        clock: Arc<dyn Clock>,
        server_address: watch::Receiver<Option<SocketAddr>>,
        on_response: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            secret,
            clock,
            server_address,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            client: MetaClient::default(),
            log: Mutex::default(),
            on_response: Box::new(on_response),
        }
    }

    /// Sends the whole workload and waits until each form has an outcome.
    pub async fn run(self: &Arc<Self>, workload: Workload) {
        let start = self.clock.elapsed();
        let mut forms = JoinSet::new();
        for number in 0..workload.form_count() {
            let due = start + workload.due_at(number);
            tokio::time::sleep(due.saturating_sub(self.clock.elapsed())).await;
            let generator = Arc::clone(self);
            let form = WorkloadForm::enquiry(number);
            forms.spawn(async move { generator.send_scheduled(form, due).await });
            // Finished tasks are removed, so that memory does not grow with the duration of the
            // load.
            while forms.try_join_next().is_some() {}
        }
        while forms.join_next().await.is_some() {}
        self.with_log(|log| log.stats.total_duration = self.clock.elapsed().saturating_sub(start));
    }

    /// Sends all these forms at once and waits until each has an outcome.
    pub async fn run_concurrent(self: &Arc<Self>, concurrent: Vec<WorkloadForm>) {
        let start = self.clock.elapsed();
        let mut forms = JoinSet::new();
        for form in concurrent {
            let generator = Arc::clone(self);
            forms.spawn(async move { generator.send_until_answered(form, start).await });
        }
        while forms.join_next().await.is_some() {}
        self.with_log(|log| log.stats.race_duration = self.clock.elapsed().saturating_sub(start));
    }

    /// Returns the log. The log is empty afterwards.
    pub fn take_log(&self) -> SendLog {
        self.with_log(std::mem::take)
    }

    /// Sends a form of the workload and records the delay of its response.
    async fn send_scheduled(&self, form: WorkloadForm, due: Duration) {
        let at_once = self.send_until_answered(form, due).await;
        let delay = self.clock.elapsed().saturating_sub(due);
        self.with_log(|SendLog { stats: sending, .. }| {
            if at_once {
                sending.delays.push(delay);
            } else {
                sending.delayed += 1;
            }
        });
    }

    /// Sends one form until a response arrives. Returns `true` if the first attempt succeeded and
    /// the server was up.
    async fn send_until_answered(&self, form: WorkloadForm, due: Duration) -> bool {
        let mut tries = 0_u64;
        let mut met_outage = false;
        let outcome = loop {
            tries += 1;
            met_outage |= self.server_address.borrow().is_none();
            let failure = match self.attempt(&form).await {
                Ok(response) if response.status == 503 => "503 at every attempt".to_owned(),
                Ok(response) => break outcome_of(&response),
                Err(error) => error.to_string(),
            };
            if self.clock.elapsed() > due + UNANSWERED_AFTER {
                break FormOutcome::Unanswered(failure);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        };
        self.with_log(|log| {
            log.stats.requests += tries;
            log.stats.retries += tries - 1;
            log.outcomes.push((form.token, outcome));
        });
        (self.on_response)();
        tries == 1 && !met_outage
    }

    async fn attempt(&self, form: &WorkloadForm) -> Result<FlowResponse, MetaClientError> {
        let address = self.address().await?;
        // The semaphore is never closed, so a permit is always available in the end.
        let _permit = self.in_flight.acquire().await;
        let signature = signature(&self.secret, &form.body);
        self.client
            .post(address, form.path, &signature, form.body.clone())
            .await
    }

    /// Waits until the server is up and returns its address.
    async fn address(&self) -> Result<SocketAddr, MetaClientError> {
        let mut server = self.server_address.clone();
        let up = server.wait_for(Option::is_some).await;
        let stopped = || MetaClientError::Disconnected("the server did not start again".to_owned());
        up.ok().and_then(|address| *address).ok_or_else(stopped)
    }

    fn with_log<T>(&self, action: impl FnOnce(&mut SendLog) -> T) -> T {
        action(&mut self.log.lock())
    }
}

fn outcome_of(response: &FlowResponse) -> FormOutcome {
    if response.is_accepted() {
        FormOutcome::Accepted
    } else if response.is_duplicate() {
        FormOutcome::Duplicate
    } else if response.error_message().is_some() {
        FormOutcome::SlotTaken
    } else {
        FormOutcome::Refused(format!("{} {}", response.status, response.body))
    }
}
