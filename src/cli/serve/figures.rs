//! The figures of `/metrics`: counters as they were counted, and how things stand at the moment of the question.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::admin::{Desk, DestinationView, StatusView};
use crate::domain::ids::DestinationName;

/// How often what was recorded is folded into its buckets: between two scrapes it lies in memory, observation by
/// observation.
const UPKEEP: Duration = Duration::from_secs(5);

/// What `/metrics` shows.
#[derive(Clone)]
pub(super) struct Figures {
    desk: Desk,
    handle: Option<PrometheusHandle>,
    /// Destinations that were shown last.
    shown: Arc<Mutex<BTreeSet<DestinationName>>>,
}

impl Figures {
    /// Keeps the memory that counting takes small, until `stop`.
    pub(super) fn start(
        desk: Desk,
        handle: Option<PrometheusHandle>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        if let Some(handle) = handle.clone() {
            tokio::spawn(async move {
                let mut stop = pin!(stop);
                let mut beat = tokio::time::interval(UPKEEP);
                loop {
                    tokio::select! {
                        () = &mut stop => return,
                        _ = beat.tick() => handle.run_upkeep(),
                    }
                }
            });
        }
        Self { desk, handle, shown: Arc::default() }
    }

    /// Makes the text that a scraper gets.
    pub(super) fn renderer(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let figures = self.clone();
        Arc::new(move || figures.render())
    }

    fn render(&self) -> String {
        match self.desk.figures() {
            Ok((status, destinations)) => {
                set_gauges(&status);
                self.set_destinations(&destinations);
            }
            // The store is closed or being opened again: the counters still say what they counted.
            Err(_) => metrics::gauge!("flowgate_up").set(0.0),
        }
        self.handle.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// One that is gone from the list has nothing waiting any more, and no breaker.
    fn set_destinations(&self, views: &[DestinationView]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<DestinationName> = views.iter().map(|view| view.name.clone()).collect();
        for gone in shown.difference(&now) {
            set_destination(gone, 0, false);
        }
        for view in views {
            set_destination(&view.name, view.waiting, view.lane.open_until.is_some());
        }
        *shown = now;
    }
}

fn set_destination(name: &DestinationName, waiting: u64, is_open: bool) {
    metrics::gauge!("flowgate_deliveries_waiting", "destination" => name.to_string()).set(figure(waiting));
    let open = if is_open { 1.0 } else { 0.0 };
    metrics::gauge!("flowgate_destination_breaker_open", "destination" => name.to_string()).set(open);
}

fn set_gauges(status: &StatusView) {
    let up = if status.health == "ready" { 1.0 } else { 0.0 };
    metrics::gauge!("flowgate_up").set(up);
    metrics::gauge!("flowgate_intake_waiting").set(figure(u64::try_from(status.writer.waiting).unwrap_or(u64::MAX)));
    let jobs = status.jobs;
    for (state, count) in
        [("scheduled", jobs.scheduled), ("running", jobs.running), ("done", jobs.done), ("dead", jobs.dead)]
    {
        metrics::gauge!("flowgate_jobs", "state" => state).set(figure(count));
    }
    metrics::gauge!("flowgate_oldest_due_seconds").set(figure(status.oldest_due_seconds.unwrap_or(0)));
    metrics::gauge!("flowgate_leads_unassigned").set(figure(status.leads.unassigned));
    metrics::gauge!("flowgate_file_bytes").set(figure(status.file_bytes));
}

/// Exact up to 2⁵³, as Prometheus's own numbers are.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "std has no other way, and gauges are f64")]
const fn figure(count: u64) -> f64 {
    count as f64
}
