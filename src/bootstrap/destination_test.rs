//! Sends a test to a destination and shows the response.
//!
//! The running server sends the test, because it has the secrets. If no server runs, the command
//! sends it. See [`DeliveryTarget::test`] for the test of each kind of destination.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::admin::{AdminError, DestinationTestRow, HeaderRow};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::delivery::{DeliveryTarget, TestError, TestRequest};
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Millis;
use crate::net::HttpClients;

/// A test of one destination.
pub(crate) struct DestinationTest {
    /// Destination with its resolved secrets.
    target: Arc<DeliveryTarget>,
    request: TestRequest,
}

impl DestinationTest {
    /// Creates a test of `name` at `clock`'s time. `to` is the phone number that gets the test
    /// message. Without `event`, the test is the default of `target`.
    pub(crate) fn new(
        name: DestinationName,
        target: Arc<DeliveryTarget>,
        to: Option<PhoneNumber>,
        event: Option<EventKind>,
        subscriptions: &Subscriptions,
        clock: &dyn Clock,
    ) -> Self {
        let event = event.or_else(|| target.default_test_event(&subscriptions.events_for(&name)));
        let request = TestRequest {
            destination: name,
            to,
            event,
            now: clock.now(),
        };
        Self { target, request }
    }

    /// Sends a test of `name` from this process, with the secrets that this process can read.
    ///
    /// # Errors
    /// Returns an error if the destination is unknown, one of its secrets can't be read, or no
    /// request can be sent.
    pub(crate) fn send_offline(
        config: &Config,
        name: DestinationName,
        to: Option<PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<DestinationTestRow, AdminError> {
        let settings = config
            .destinations
            .get(&name)
            .ok_or_else(|| AdminError::missing("destination", &name))?;
        let target = DeliveryTarget::resolve(&name, settings).map_err(|errors| {
            let first = errors.first().map(ToString::to_string);
            AdminError::invalid(first.unwrap_or_default())
        })?;
        let failed = |error: &dyn std::error::Error| {
            AdminError::failed(format!("the test can't be sent: {error}"))
        };
        let clients = HttpClients::load().map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let clock = SystemClock::new();
        let test = Self::new(
            name,
            Arc::new(target),
            to,
            event,
            &config.subscriptions,
            &clock,
        );
        runtime.block_on(test.send(&clients, &clock))
    }

    /// Sends the test on `runtime` and waits for the result. The calling thread must not belong to
    /// the runtime.
    ///
    /// # Errors
    /// Returns an error if no request can be sent, or if the server stops before the result
    /// arrives.
    pub(crate) fn send_on(
        self,
        runtime: &Handle,
        clients: HttpClients,
        clock: Arc<dyn Clock>,
    ) -> Result<DestinationTestRow, AdminError> {
        let (result_tx, result_rx) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // The caller may no longer wait for the result.
            let _ = result_tx.send(self.send(&clients, &*clock).await);
        });
        result_rx
            .recv()
            .unwrap_or_else(|_| Err(AdminError::server_required()))
    }

    async fn send(
        &self,
        clients: &HttpClients,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        let began = clock.elapsed();
        let report = self.target.test(clients, &self.request).await;
        let duration = clock.elapsed().saturating_sub(began);
        let report = report.map_err(|error| match error {
            TestError::InvalidOptions(why) => AdminError::invalid(why),
            TestError::NotBuilt(why) => AdminError::failed(why),
        })?;
        Ok(DestinationTestRow {
            destination: self.request.destination.clone(),
            host: self.target.host(),
            request: report.request_line,
            delivered: report.delivered,
            status: report.response.status,
            duration_ms: Millis::from_duration(duration).get(),
            error: report.error,
            detail: report.detail,
            request_headers: header_rows(report.request_headers),
            body: report.body,
            response_headers: header_rows(report.response_headers),
            response: report.response.body_excerpt.into_string(),
        })
    }
}

fn header_rows(headers: Vec<(String, String)>) -> Vec<HeaderRow> {
    headers
        .into_iter()
        .map(|(name, value)| HeaderRow { name, value })
        .collect()
}
