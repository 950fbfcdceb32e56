//! What the desk of a running server can say of the outside: how the lanes do, and what a destination answers to a test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::admin::{AdminError, LaneView, TestView};
use crate::cli::test_send::{self, Test};
use crate::clock::Clock;
use crate::courier::{Courier, LaneState};
use crate::current::Current;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::routes::Routes;
use crate::domain::time::{Millis, Timestamp};

/// The lanes of a running server, for its desk.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) courier: Arc<Courier>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) runtime: Handle,
    pub(super) routes: Current<Routes>,
}

impl Outside {
    /// How all lanes do.
    pub(super) fn lanes(&self) -> BTreeMap<DestinationName, LaneView> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let at = |point: Duration| {
            let ahead = point.saturating_sub(elapsed).as_millis();
            now.plus(Millis::new(u64::try_from(ahead).unwrap_or(u64::MAX)))
        };
        let lanes = self.courier.board().read();
        lanes.into_iter().map(|(name, state)| (name, view(state, at))).collect()
    }

    /// Sends a test to one of them, or an example of `event`. `to`: whom to write to.
    pub(super) fn test(
        &self,
        name: &DestinationName,
        to: Option<&PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<TestView, AdminError> {
        let recipient = self.courier.recipient(name).ok_or_else(|| AdminError::no_destination(name))?;
        let event = event.or_else(|| test_send::usual(&recipient.rule, &self.routes.get(), name));
        let test = Test { name: name.clone(), recipient, to: to.cloned(), event };
        test.send_on(&self.runtime, self.courier.sender(), Arc::clone(&self.clock))
    }
}

fn view(state: LaneState, at: impl Fn(Duration) -> Timestamp) -> LaneView {
    let (last_failure_at, last_failure) = state.last_failure.unzip();
    LaneView {
        in_flight: Some(state.out.len()),
        open_until: state.open_until.map(&at),
        held_until: state.held_until.map(&at),
        delivered: Some(state.delivered),
        failed: Some(state.failed),
        last_success_at: state.last_success,
        expired: Some(state.expired),
        last_expired_at: state.last_expired,
        last_failure_at,
        last_failure,
    }
}
