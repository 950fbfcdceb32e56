//! What flowgate tells: a log on standard error, and figures for Prometheus.
//!
//! Text on a terminal, JSON otherwise. The log never holds up the program: lines go through a bounded queue to a thread
//! of their own, and where whoever reads them is too slow, lines are left out and their number is told. Never a secret;
//! personal data at debug only, which is for each caller to keep.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const QUEUE: usize = 16 * 1024;
/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(2);
/// The environment variable that says what is logged, like `info` or `flowgate::store=debug`.
pub const FILTER: &str = "FLOWGATE_LOG";
/// Upper bounds of the buckets that durations fall into, in seconds: Meta waits for ten.
const SECONDS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];
/// Upper bounds of the buckets that batches fall into, in changes.
const CHANGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Keeps the log going. Writes what still waits when it is dropped.
#[derive(Debug)]
pub struct Log(Sender<Word>);

/// What the writing thread is told.
#[derive(Debug)]
enum Word {
    /// Write this.
    Line(Vec<u8>),
    /// Say when all before this is written.
    Flush(Sender<()>),
}

impl Log {
    /// Starts the log. A second one in the same process says nothing.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (words, written) = bounded(QUEUE);
        let left_out = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&left_out);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&written, &lost))?;
        let wanted = std::env::var(FILTER).unwrap_or_else(|_| "info".to_owned());
        let filter = EnvFilter::try_new(&wanted);
        let problem = filter.as_ref().err().map(ToString::to_string);
        let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
        let writer = Lines { words: words.clone(), left_out };
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        let _ = if io::stderr().is_terminal() {
            builder.with_target(false).try_init()
        } else {
            builder.json().flatten_event(true).with_ansi(false).with_current_span(false).try_init()
        };
        if let Some(problem) = problem {
            tracing::warn!(
                "{FILTER}={wanted:?} is no filter ({problem}): write it like `info` or `flowgate::store=debug`"
            );
        }
        Ok(Self(words))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (tell, told) = bounded(1);
        // A thread that is stuck on its reader must not keep the process from ending.
        if self.0.send_timeout(Word::Flush(tell), PATIENCE).is_ok() {
            let _ = told.recv_timeout(PATIENCE);
        }
    }
}

fn write_lines(words: &Receiver<Word>, left_out: &AtomicU64) {
    let mut out = io::BufWriter::with_capacity(64 * 1024, io::stderr());
    while let Ok(word) = words.recv() {
        // A log that nobody reads any more is no reason to end.
        match word {
            Word::Line(line) => {
                let _ = out.write_all(&line);
            }
            Word::Flush(tell) => {
                let _ = out.flush();
                let _ = tell.send(());
            }
        }
        if words.is_empty() {
            let lost = left_out.swap(0, Ordering::Relaxed);
            if lost > 0 {
                // The queue is empty, and this thread never waits for it.
                tracing::warn!(log.lines = lost, "lines were left out: whoever reads the log was too slow");
            }
            let _ = out.flush();
        }
    }
}

/// Hands each line to the thread that writes.
#[derive(Clone, Debug)]
struct Lines {
    words: Sender<Word>,
    left_out: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.words.try_send(Word::Line(line.to_vec())).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Starts counting. `None` where something else in this process counts already.
#[must_use]
pub fn start_metrics() -> Option<PrometheusHandle> {
    let durations = Matcher::Suffix("_seconds".to_owned());
    let changes = Matcher::Suffix("_changes".to_owned());
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(durations, &SECONDS).ok()?;
    let handle = builder.set_buckets_for_metric(changes, &CHANGES).ok()?.install_recorder().ok()?;
    describe();
    Some(handle)
}

fn describe() {
    metrics::describe_counter!("flowgate_requests_total", "requests by kind of path and outcome");
    metrics::describe_histogram!("flowgate_request_seconds", "from the head of a request to its answer");
    metrics::describe_histogram!("flowgate_request_verify_seconds", "comparing a signature");
    metrics::describe_histogram!("flowgate_request_decrypt_seconds", "opening an envelope, with the wait for it");
    metrics::describe_counter!("flowgate_flow_complaints_total", "answers that clients did not like, by flow");
    metrics::describe_counter!(
        "flowgate_flow_health_events_total",
        "events of Meta's flow monitoring that were kept, by event"
    );
    metrics::describe_counter!(
        "flowgate_upstream_requests_total",
        "requests to flows' own programs, by flow and outcome"
    );
    metrics::describe_histogram!("flowgate_upstream_request_seconds", "one request to a flow's own program");
    metrics::describe_histogram!("flowgate_request_wait_seconds", "a submission waiting for its batch to begin");
    metrics::describe_histogram!("flowgate_request_commit_seconds", "a submission's batch, until it is on disk");
    metrics::describe_counter!("flowgate_webhook_updates_total", "updates in Meta's webhooks, by kind");
    metrics::describe_histogram!("flowgate_commit_seconds", "a batch, from its begin until it is on disk");
    metrics::describe_histogram!("flowgate_batch_changes", "changes that share a commit");
    metrics::describe_gauge!("flowgate_idempotency_keys", "idempotency keys in memory");
    metrics::describe_gauge!("flowgate_up", "1 while submissions are taken and kept");
    metrics::describe_gauge!("flowgate_intake_waiting", "submissions waiting for the writer");
    metrics::describe_gauge!("flowgate_jobs", "jobs by state");
    metrics::describe_gauge!("flowgate_jobs_queue_depth", "jobs handed out that wait for a worker");
    metrics::describe_counter!("flowgate_jobs_attempts_total", "runs of jobs by kind and outcome");
    metrics::describe_histogram!("flowgate_job_seconds", "one run of a job");
    metrics::describe_histogram!("flowgate_job_lag_seconds", "from the moment a job was due to its run");
    metrics::describe_gauge!("flowgate_deliveries_waiting", "deliveries that wait for a destination");
    metrics::describe_gauge!(
        "flowgate_destination_breaker_open",
        "1 while a destination is left alone because it fails"
    );
    metrics::describe_counter!("flowgate_swept_rows_total", "rows that retention took away");
    metrics::describe_gauge!("flowgate_oldest_due_seconds", "how long the job that is due longest has been due");
    metrics::describe_gauge!("flowgate_leads_unassigned", "leads that wait for an agent");
    metrics::describe_gauge!("flowgate_file_bytes", "bytes that the data file takes on disk");
}
