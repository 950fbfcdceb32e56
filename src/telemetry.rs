//! Writes the log to standard error, and provides metrics for Prometheus.
//!
//! The log is text on a terminal, and JSON otherwise. The log never blocks the program: lines go
//! through a bounded queue to a separate thread. If the reader of the log is too slow, lines are
//! dropped and a warning gives their number. Callers must never log a secret. They may log personal
//! data only at level debug.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Maximum number of lines that wait to be written.
const QUEUE_LINES: usize = 16 * 1024;
/// Maximum wait for the last lines when the process ends: once to queue a flush, once for its
/// result.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Environment variable with the log filter, such as `info` or `flowgate::store=debug`.
pub const FILTER_VARIABLE: &str = "FLOWGATE_LOG";
/// Upper bounds of the histogram buckets for durations, in seconds. Meta waits for ten seconds.
const DURATION_BUCKETS_SECONDS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0,
];
/// Upper bounds of the histogram buckets for batches, in transactions per batch.
const BATCH_SIZE_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Names and descriptions of the counters.
const COUNTERS: &str = "\
flowgate_requests_total: requests by route and outcome
flowgate_flow_errors_total: flow errors: error notifications and unserviceable requests, by flow
flowgate_flow_health_events_total: stored events of Meta's flow monitoring, by event
flowgate_upstream_requests_total: requests to upstreams, by flow and outcome
flowgate_webhook_updates_total: updates in Meta's webhooks, by kind
flowgate_job_attempts_total: attempts of jobs by kind and outcome
flowgate_retention_deleted_rows_total: rows deleted by retention";
/// Names and descriptions of the gauges.
const GAUGES: &str = "\
flowgate_idempotency_keys: idempotency keys in memory
flowgate_ready: 1 while submissions are accepted and stored
flowgate_intake_waiting: submissions waiting for the writer
flowgate_jobs: jobs by state
flowgate_jobs_queue_depth: dispatched jobs that wait for a worker
flowgate_deliveries_waiting: queued deliveries by destination
flowgate_destination_breaker_open: 1 while the circuit breaker of a destination is open
flowgate_oldest_overdue_job_seconds: how long the oldest overdue job has been due
flowgate_leads_unassigned: leads that wait for an agent
flowgate_file_bytes: size of the data file on disk, in bytes";
/// Names and descriptions of the histograms.
const HISTOGRAMS: &str = "\
flowgate_request_duration_seconds: from the head of a request to its response
flowgate_request_verify_duration_seconds: verifying a signature
flowgate_request_decrypt_duration_seconds: decrypting a request, including the wait in the queue
flowgate_upstream_request_duration_seconds: one request to a flow's upstream
flowgate_request_queue_duration_seconds: a submission in the intake queue until its commit begins
flowgate_request_commit_duration_seconds: a submission's commit, until it is on disk
flowgate_commit_duration_seconds: a commit, from its begin until it is on disk
flowgate_commit_batch_size: transactions that share a commit
flowgate_job_duration_seconds: one attempt of a job
flowgate_job_queue_delay_seconds: from the due time of a job to its attempt";

/// Guard of the log. Dropping the guard writes all waiting lines.
#[derive(Debug)]
pub struct LogGuard(Sender<WriterMessage>);

/// Message to the thread that writes the log.
#[derive(Debug)]
enum WriterMessage {
    /// Line that the thread must write.
    Line(Vec<u8>),
    /// Request to confirm that all earlier lines are written.
    Flush(Sender<()>),
}

impl LogGuard {
    /// Starts the log. A second log in the same process writes nothing.
    ///
    /// # Errors
    /// Error of the system if the thread can't be started.
    pub fn start() -> io::Result<Self> {
        let (messages, received) = bounded(QUEUE_LINES);
        let dropped_lines = Arc::new(AtomicU64::new(0));
        let dropped_by_writer = Arc::clone(&dropped_lines);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&received, &dropped_by_writer))?;
        let filter_text = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| "info".to_owned());
        let (filter, problem) = match EnvFilter::try_new(&filter_text) {
            Ok(filter) => (filter, None),
            Err(problem) => (EnvFilter::new("info"), Some(problem)),
        };
        let writer = NonBlockingWriter {
            messages: messages.clone(),
            dropped_lines,
        };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer);
        let _ = if io::stderr().is_terminal() {
            builder.with_target(false).try_init()
        } else {
            builder
                .json()
                .flatten_event(true)
                .with_ansi(false)
                .with_current_span(false)
                .try_init()
        };
        if let Some(problem) = problem {
            tracing::warn!(
                "{FILTER_VARIABLE}={filter_text:?} is not a valid log filter ({problem}), so `info` is used: set it to a value such as `info` or `flowgate::store=debug`"
            );
        }
        Ok(Self(messages))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, flushed) = bounded(1);
        // A log thread that waits for its reader must not prevent the process from ending.
        let flush = WriterMessage::Flush(done);
        if self.0.send_timeout(flush, FLUSH_TIMEOUT).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

fn write_lines(messages: &Receiver<WriterMessage>, left_out: &AtomicU64) {
    let mut output = io::BufWriter::with_capacity(64 * 1024, io::stderr());
    while let Ok(message) = messages.recv() {
        // Write errors are ignored: the program must continue when the log has no reader.
        match message {
            WriterMessage::Line(line) => {
                let _ = output.write_all(&line);
            }
            WriterMessage::Flush(done) => {
                let _ = output.flush();
                let _ = done.send(());
            }
        }
        if messages.is_empty() {
            let dropped = left_out.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                // This warning goes through the same queue. The queue is empty now, and sending
                // never waits, so the thread can't block itself.
                tracing::warn!(
                    log.lines = dropped,
                    "log lines dropped: the reader of standard error is too slow"
                );
            }
            let _ = output.flush();
        }
    }
}

/// Writer that passes each line to the log thread without waiting.
#[derive(Clone, Debug)]
struct NonBlockingWriter {
    messages: Sender<WriterMessage>,
    dropped_lines: Arc<AtomicU64>,
}

impl Write for NonBlockingWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let message = WriterMessage::Line(line.to_vec());
        if self.messages.try_send(message).is_err() {
            self.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for NonBlockingWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Installs the recorder of metrics. Returns `None` if this process already has one.
#[must_use]
pub fn install_metrics() -> Option<PrometheusHandle> {
    let durations = Matcher::Suffix("_seconds".to_owned());
    let batch_sizes = Matcher::Suffix("_batch_size".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(durations, &DURATION_BUCKETS_SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(batch_sizes, &BATCH_SIZE_BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .ok()?;
    describe_metrics();
    Some(handle)
}

fn describe_metrics() {
    for (name, text) in parse_descriptions(COUNTERS) {
        metrics::describe_counter!(name, text);
    }
    for (name, text) in parse_descriptions(GAUGES) {
        metrics::describe_gauge!(name, text);
    }
    for (name, text) in parse_descriptions(HISTOGRAMS) {
        metrics::describe_histogram!(name, text);
    }
}

fn parse_descriptions(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().filter_map(|line| line.split_once(": "))
}
