//! Writes the log to standard error, and provides metrics for Prometheus.
//!
//! The log is text on a terminal, and JSON otherwise. The log never blocks the program: lines go
//! through a bounded queue to a separate thread. If the reader of the log is too slow, lines are
//! dropped and a warning gives their number. Callers must never log a secret. They may log personal
//! data only at level debug.

mod log_filter;
#[cfg(test)]
mod tests;
#[cfg(feature = "otel")]
mod traces;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use log_filter::{InvalidLogFilter, LogFilter, LogFilterState, check_log_filter};

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

/// Names, labels and descriptions of the counters. docs/metrics.md repeats them, and a test
/// compares the two.
const COUNTERS: &str = "\
flowgate_requests_total{route,outcome}: requests by route and outcome
flowgate_flow_errors_total{flow}: flow errors: error notifications and unserviceable requests, by flow
flowgate_flow_health_events_total{event}: stored events of Meta's flow monitoring, by event
flowgate_upstream_requests_total{flow,outcome}: requests to upstreams, by flow and outcome
flowgate_webhook_updates_total{kind}: updates in Meta's webhooks, by kind
flowgate_job_attempts_total{kind,outcome}: attempts of jobs by kind and outcome
flowgate_delivery_attempts_total{destination,outcome}: attempts of deliveries, by destination and outcome
flowgate_deliveries_expired_total{destination}: deliveries closed unsent because of their age, by destination
flowgate_gateway_messages_total{gateway,kind}: messages and forms from unofficial gateways
flowgate_gateway_actions_total{gateway,action,outcome}: recovery actions on the sessions of unofficial gateways
flowgate_config_reloads_total{outcome}: reloads of the config: reloaded or refused
flowgate_retention_deleted_rows_total: rows deleted by retention
flowgate_backup_segments_total: parts of the change log uploaded to the backup";
/// Names, labels and descriptions of the gauges.
const GAUGES: &str = "\
flowgate_build_info{version}: 1, with the version of the program
flowgate_idempotency_keys: idempotency keys in memory
flowgate_ready: 1 while submissions are accepted and stored
flowgate_intake_waiting: submissions waiting for the writer
flowgate_submissions: stored submissions
flowgate_bookings: confirmed bookings
flowgate_jobs{state}: jobs by state
flowgate_jobs_queue_depth: dispatched jobs that wait for a worker
flowgate_deliveries_waiting{destination}: queued deliveries by destination
flowgate_destination_breaker_open{destination}: 1 while the circuit breaker of a destination is open
flowgate_oldest_overdue_job_seconds: how long the oldest overdue job has been due
flowgate_leads_open: open leads, with or without an agent
flowgate_leads_unassigned: leads that wait for an agent
flowgate_gateway_up{gateway}: 1 while the session of an unofficial gateway is connected
flowgate_disk_free_bytes: free space of the disk with the data file, in bytes
flowgate_file_bytes: size of the data file on disk, in bytes
flowgate_backup_behind_seconds: age of the oldest commit that is not in the backup, 0 if none waits";
/// Names, labels and descriptions of the histograms.
const HISTOGRAMS: &str = "\
flowgate_request_duration_seconds: from the head of a request to its response
flowgate_request_verify_duration_seconds: verifying a signature
flowgate_request_decrypt_duration_seconds: decrypting a request, including the wait in the queue
flowgate_upstream_request_duration_seconds{flow}: one request to a flow's upstream
flowgate_request_queue_duration_seconds: a submission in the intake queue until its commit begins
flowgate_request_commit_duration_seconds: a submission's commit, until it is on disk
flowgate_commit_duration_seconds: a commit, from its begin until it is on disk
flowgate_commit_batch_size: transactions that share a commit
flowgate_job_duration_seconds{kind}: one attempt of a job
flowgate_job_queue_delay_seconds: from the due time of a job to its attempt
flowgate_delivery_duration_seconds{destination}: one attempt of a delivery";

/// Guard of the log. Dropping the guard writes all waiting lines.
#[derive(Debug)]
pub struct LogGuard {
    messages: Sender<WriterMessage>,
    filter: LogFilter,
    #[cfg(feature = "otel")]
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Message to the thread that writes the log.
#[derive(Debug)]
enum WriterMessage {
    /// Line that the thread must write.
    Line(Vec<u8>),
    /// Request to confirm that all earlier lines are written.
    Flush(Sender<()>),
}

impl LogGuard {
    /// Starts the log with the filter of the config, unless the environment variable sets another
    /// one. A second log in the same process writes nothing.
    ///
    /// # Errors
    /// Error of the system if the thread can't be started.
    pub fn start(configured: &str) -> io::Result<Self> {
        let (messages, received) = bounded(QUEUE_LINES);
        let dropped_lines = Arc::new(AtomicU64::new(0));
        let dropped_by_writer = Arc::clone(&dropped_lines);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&received, &dropped_by_writer))?;
        let variable = std::env::var(FILTER_VARIABLE).ok();
        let filter_text = variable.as_deref().unwrap_or(configured);
        let problem = check_log_filter(filter_text).err();
        let (filter, handle) = LogFilter::create(filter_text, variable.is_some());
        let writer = NonBlockingWriter {
            messages: messages.clone(),
            dropped_lines,
        };
        let format = fmt::layer().with_writer(writer);
        let format = if io::stderr().is_terminal() {
            format.with_target(false).boxed()
        } else {
            format
                .json()
                .flatten_event(true)
                .with_ansi(false)
                .with_current_span(false)
                .with_span_list(false)
                .boxed()
        };
        let subscriber = tracing_subscriber::registry().with(filter).with(format);
        #[cfg(feature = "otel")]
        let (traces, trace_problem) = match traces::start() {
            Ok(traces) => (traces, None),
            Err(problem) => (None, Some(problem)),
        };
        #[cfg(feature = "otel")]
        let subscriber = subscriber.with(traces.as_ref().map(|traces| {
            use opentelemetry::trace::TracerProvider;
            tracing_opentelemetry::layer().with_tracer(traces.tracer("flowgate"))
        }));
        let _ = subscriber.try_init();
        #[cfg(feature = "otel")]
        if let Some(problem) = trace_problem {
            tracing::warn!("{problem}");
        }
        if let Some(problem) = problem {
            tracing::warn!(
                "{FILTER_VARIABLE} is not a valid log filter, so `info` is used: {problem}"
            );
        }
        Ok(Self {
            messages,
            filter: handle,
            #[cfg(feature = "otel")]
            traces,
        })
    }

    /// Sends the last spans. Must be called before the runtime ends.
    #[cfg(feature = "otel")]
    pub fn finish_traces(&self) {
        let traces = self.traces.as_ref();
        let ended = traces.map(opentelemetry_sdk::trace::SdkTracerProvider::shutdown);
        if let Some(Err(error)) = ended {
            tracing::warn!(error = %error, "the last traces could not be sent");
        }
    }

    /// Returns the filter of the log.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, flushed) = bounded(1);
        // A log thread that waits for its reader must not prevent the process from ending.
        let flush = WriterMessage::Flush(done);
        if self.messages.send_timeout(flush, FLUSH_TIMEOUT).is_ok() {
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
    for (name, _, text) in parse_descriptions(COUNTERS) {
        metrics::describe_counter!(name, text);
    }
    for (name, _, text) in parse_descriptions(GAUGES) {
        metrics::describe_gauge!(name, text);
    }
    for (name, _, text) in parse_descriptions(HISTOGRAMS) {
        metrics::describe_histogram!(name, text);
    }
}

/// Parses one `NAME{LABELS}: TEXT` a line, into name, labels and text.
fn parse_descriptions(
    text: &'static str,
) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    text.lines().filter_map(|line| {
        let (metric, text) = line.split_once(": ")?;
        let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
        Some((name, labels.trim_end_matches('}'), text))
    })
}
