//! Provides the functions with which the admin handler of a running server reads delivery
//! statistics and tests destinations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::destination_test::DestinationTest;
use crate::admin::{AdminError, DestinationStatsRow, DestinationTestRow};
use crate::clock::Clock;
use crate::delivery::{DeliveryService, DestinationStats};
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::{Millis, Timestamp};
use crate::reloadable::Reloadable;

/// Hooks of the admin handler into the delivery service.
#[derive(Clone)]
pub(crate) struct DeliveryHooks {
    pub(crate) delivery_service: Arc<DeliveryService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
    pub(crate) subscriptions: Reloadable<Subscriptions>,
}

impl DeliveryHooks {
    /// Returns the statistics of each destination. Points of the monotonic clock are converted to
    /// UTC.
    pub(crate) fn destination_stats(&self) -> BTreeMap<DestinationName, DestinationStatsRow> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let at = |point: Duration| {
            let ahead = point.saturating_sub(elapsed).as_millis();
            now.plus(Millis::new(u64::try_from(ahead).unwrap_or(u64::MAX)))
        };
        let stats = self.delivery_service.stats().snapshot();
        stats
            .into_iter()
            .map(|(name, state)| (name, stats_row(state, at)))
            .collect()
    }

    /// Sends a test to a destination, or a sample of `event`. `to` is the phone number that gets
    /// the test message.
    pub(crate) fn send_test(
        &self,
        name: &DestinationName,
        to: Option<&PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<DestinationTestRow, AdminError> {
        let target = self
            .delivery_service
            .target(name)
            .ok_or_else(|| AdminError::missing("destination", name))?;
        let test = DestinationTest::new(
            name.clone(),
            target,
            to.cloned(),
            event,
            &self.subscriptions.load(),
            &*self.clock,
        );
        test.send_on(
            &self.runtime,
            self.delivery_service.clients(),
            Arc::clone(&self.clock),
        )
    }
}

fn stats_row(state: DestinationStats, at: impl Fn(Duration) -> Timestamp) -> DestinationStatsRow {
    let (last_failure_at, last_failure) = state.last_failure.unzip();
    DestinationStatsRow {
        in_flight: Some(state.in_flight.len()),
        open_until: state.open_until.map(&at),
        paused_until: state.paused_until.map(&at),
        delivered: Some(state.delivered),
        failed: Some(state.failed),
        last_success_at: state.last_success,
        expired: Some(state.expired),
        last_expired_at: state.last_expired,
        last_failure_at,
        last_failure,
    }
}
