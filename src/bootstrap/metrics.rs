//! Renders `/metrics`: counters that were recorded, and gauges that are read from the status on
//! each request.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::admin::{AdminHandler, DestinationRow, StatusRow};
use crate::domain::ids::DestinationName;

/// Interval in which recorded observations are folded into histogram buckets. Until then each
/// observation occupies memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Renderer of `/metrics`.
struct MetricsRenderer {
    handler: AdminHandler,
    recorder: Option<PrometheusHandle>,
    /// Destinations whose gauges the last rendering set.
    shown_destinations: Mutex<BTreeSet<DestinationName>>,
}

/// Returns a function that renders the text for a scraper. Starts a task that folds observations
/// into buckets until `stop` completes. The task bounds the memory of recorded observations.
pub(super) fn start_renderer(
    handler: AdminHandler,
    recorder: Option<PrometheusHandle>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    if let Some(recorder) = recorder.clone() {
        tokio::spawn(async move {
            let mut stop = pin!(stop);
            let mut timer = tokio::time::interval(UPKEEP_INTERVAL);
            loop {
                tokio::select! {
                    () = &mut stop => return,
                    _ = timer.tick() => recorder.run_upkeep(),
                }
            }
        });
    }
    let renderer = MetricsRenderer {
        handler,
        recorder,
        shown_destinations: Mutex::default(),
    };
    Arc::new(move || renderer.render())
}

impl MetricsRenderer {
    fn render(&self) -> String {
        match self.handler.metrics_rows() {
            Ok((status, destinations)) => {
                set_status_gauges(&status);
                self.set_destination_gauges(&destinations);
            }
            // The store is closed or being reopened. The counters are still valid.
            Err(_) => metrics::gauge!("flowgate_ready").set(0.0),
        }
        self.recorder
            .as_ref()
            .map(PrometheusHandle::render)
            .unwrap_or_default()
    }

    /// Sets the gauges of all destinations. A destination that is no longer listed gets 0 waiting
    /// deliveries and no open breaker.
    fn set_destination_gauges(&self, views: &[DestinationRow]) {
        let mut shown = self.shown_destinations.lock();
        let now: BTreeSet<DestinationName> = views.iter().map(|view| view.name.clone()).collect();
        for gone in shown.difference(&now) {
            set_destination_gauge(gone, 0, false);
        }
        for view in views {
            set_destination_gauge(&view.name, view.waiting, view.stats.open_until.is_some());
        }
        *shown = now;
    }
}

fn set_destination_gauge(name: &DestinationName, waiting: u64, is_open: bool) {
    metrics::gauge!("flowgate_deliveries_waiting", "destination" => name.to_string())
        .set(gauge_value(waiting));
    let open = if is_open { 1.0 } else { 0.0 };
    metrics::gauge!("flowgate_destination_breaker_open", "destination" => name.to_string())
        .set(open);
}

fn set_status_gauges(status: &StatusRow) {
    let up = if status.health == "ready" { 1.0 } else { 0.0 };
    metrics::gauge!("flowgate_ready").set(up);
    metrics::gauge!("flowgate_intake_waiting").set(gauge_value(
        u64::try_from(status.writer.queued).unwrap_or(u64::MAX),
    ));
    let jobs = status.jobs;
    for (state, count) in [
        ("scheduled", jobs.scheduled),
        ("running", jobs.running),
        ("done", jobs.done),
        ("dead", jobs.dead),
    ] {
        metrics::gauge!("flowgate_jobs", "state" => state).set(gauge_value(count));
    }
    metrics::gauge!("flowgate_oldest_overdue_job_seconds")
        .set(gauge_value(status.oldest_due_seconds.unwrap_or(0)));
    metrics::gauge!("flowgate_submissions").set(gauge_value(status.submissions));
    metrics::gauge!("flowgate_bookings").set(gauge_value(status.bookings));
    metrics::gauge!("flowgate_leads_open").set(gauge_value(status.leads.open));
    metrics::gauge!("flowgate_leads_unassigned").set(gauge_value(status.leads.unassigned));
    if let Some(free_bytes) = status.free_bytes {
        metrics::gauge!("flowgate_disk_free_bytes").set(gauge_value(free_bytes));
    }
    metrics::gauge!("flowgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!("flowgate_file_bytes").set(gauge_value(status.file_bytes));
}

/// Converts a count to a gauge value. The result is exact up to 2⁵³, like the numbers of
/// Prometheus.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "std has no other way, and gauges are f64"
)]
const fn gauge_value(count: u64) -> f64 {
    count as f64
}
