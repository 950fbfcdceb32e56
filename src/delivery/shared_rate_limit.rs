//! Limits the rate of destinations, alone and together with those that share a gateway or phone
//! number. A gateway or phone number accepts a limited number of messages in a period, for any
//! recipients.
//!
//! Messages to customers have priority over messages to agents. A customer who has just pressed a
//! button waits for the message. An agent can wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::channel::LimiterKey;
use super::target::{DeliveryTarget, DestinationLimits};
use crate::domain::rate_limiter::{RateLimiter, RemoteQuota};

/// Time that a reservation lasts beyond the expected retry of a priority message.
const RESERVATION: Duration = Duration::from_secs(1);

/// Delay before a message without priority tries again.
const YIELD_DELAY: Duration = Duration::from_millis(50);

/// All shared limiters. The limiters are never removed, so the state of a rate survives a reload.
/// Their number is small.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedLimiters(Arc<Mutex<BTreeMap<LimiterKey, Arc<Mutex<LimiterState>>>>>);

/// Rate limiter of one destination: its own rate, and the rate that it shares.
#[derive(Debug)]
pub(crate) struct SharedLimiter {
    /// Limiter for the destination's own rate.
    own_limiter: RateLimiter,
    /// State of the limiter that all sharing destinations use.
    state: Arc<Mutex<LimiterState>>,
    key: Option<LimiterKey>,
    has_priority: bool,
}

#[derive(Debug, Default)]
struct LimiterState {
    limiter: RateLimiter,
    /// End of the pause that the gateway or Meta asked for, by the process clock.
    paused_until: Duration,
    /// End of the reservation for a waiting priority message, by the process clock. Only priority
    /// messages may start until then.
    reserved_until: Duration,
}

impl SharedLimiters {
    /// Returns the limiter of a destination.
    pub(crate) fn for_target(&self, target: &DeliveryTarget) -> SharedLimiter {
        let key = target.channel.shared_rate().map(|shared| shared.key);
        let state = key.clone().map_or_else(Arc::default, |key| {
            let mut limiters = self.0.lock();
            Arc::clone(limiters.entry(key).or_default())
        });
        SharedLimiter {
            own_limiter: RateLimiter::default(),
            state,
            key,
            has_priority: target.is_for_customers(),
        }
    }
}

impl SharedLimiter {
    /// Returns `true` if both use the same shared limiter with the same priority.
    pub(crate) fn is_same_limiter(&self, other: &Self) -> bool {
        self.key == other.key && self.has_priority == other.has_priority
    }

    /// Allows one message at `now`. Returns the time to wait if the own rate or the shared rate
    /// does not allow a message.
    pub(crate) fn try_acquire(
        &mut self,
        rates: DestinationLimits,
        now: Duration,
    ) -> Result<(), Duration> {
        let own_wait = self.own_limiter.wait_time(rates.own, now);
        if !own_wait.is_zero() {
            return Err(own_wait);
        }
        let mut state = self.state.lock();
        if !self.has_priority && now < state.reserved_until {
            return Err(YIELD_DELAY);
        }
        let wait = state
            .limiter
            .wait_time(rates.shared, now)
            .max(state.paused_until.saturating_sub(now));
        if wait.is_zero() {
            state.limiter.record_acquired(rates.shared, now);
            self.own_limiter.record_acquired(rates.own, now);
        }
        if self.has_priority {
            // Usually the worker tries again before this time. If the worker does not, for example
            // because the destination was paused, the reservation expires soon.
            let next_try = now.saturating_add(wait).saturating_add(RESERVATION);
            state.reserved_until = if wait.is_zero() {
                Duration::ZERO
            } else {
                next_try
            };
        }
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Pauses all destinations that share the limiter.
    pub(crate) fn pause(&self, until: Duration) {
        let mut state = self.state.lock();
        state.paused_until = state.paused_until.max(until);
    }

    /// Lifts the pause and drops the announced quota. The account may have changed, or an admin
    /// resumed the destination.
    pub(crate) fn resume(&self) {
        let mut state = self.state.lock();
        state.paused_until = Duration::ZERO;
        state.limiter.clear_quota();
    }

    /// Applies the quota that a response announced.
    pub(crate) fn apply_quota(&self, quota: RemoteQuota, now: Duration) {
        self.state.lock().limiter.apply_quota(quota, now);
    }

    /// Clears the record of recent messages, because the rate has changed.
    pub(crate) fn reset(&mut self) {
        self.own_limiter.reset();
        self.state.lock().limiter.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::tests::support::resolve_targets;
    use crate::domain::ids::DestinationName;
    use crate::domain::rate_limiter::{Rate, RateLimit};
    use crate::domain::time::Millis;

    const SECOND: Duration = Duration::from_secs(1);
    const NO_RATES: DestinationLimits = DestinationLimits {
        own: RateLimit::Unlimited,
        shared: RateLimit::Unlimited,
    };

    /// Returns the limiters of destinations by name. `thanks` and `notes` share a gateway, `other`
    /// uses another one. `crm` is a webhook.
    fn limiters_for<const N: usize>(names: [&str; N]) -> [SharedLimiter; N] {
        let gateway = |name: &str| {
            format!(
                "[gateways.{name}]\nkind = \"waha\"\nurl = \"https://waha.example\"\napi_key = \"text:k\"\nwebhook_secret = \"text:w\"\n"
            )
        };
        let texts = |name: &str, gateway: &str, to: &str| {
            format!(
                "[destinations.{name}]\nkind = \"gateway\"\ngateway = \"{gateway}\"\nto = {to}\n\
                 messages = {{ \"lead.assigned\" = {{ text = \"a\" }} }}\n"
            )
        };
        let agents = "\"agent\"\nagents = { Ann = \"+491511234567\" }";
        let tables = [
            gateway("main"),
            gateway("second"),
            texts("thanks", "main", "\"customer\""),
            texts("notes", "main", agents),
            texts("other", "second", "\"customer\""),
            "[destinations.crm]\nurl = \"https://crm.example\"\n".to_owned(),
        ];
        let (targets, limiters) = (resolve_targets(&tables.concat()), SharedLimiters::default());
        names.map(|name| limiters.for_target(&targets[&DestinationName::new(name).unwrap()]))
    }

    /// Shared rate of one message per second.
    const ONE_PER_SECOND: DestinationLimits = DestinationLimits {
        own: RateLimit::Unlimited,
        shared: RateLimit::Configured(Rate {
            count: 1,
            per: Millis::from_secs(1),
        }),
    };

    /// Returns an announced quota that is used up for this number of seconds.
    const fn used_up_for(seconds: u64) -> RemoteQuota {
        RemoteQuota {
            remaining: 0,
            resets_in: Millis::from_secs(seconds),
        }
    }

    #[test]
    fn destinations_of_one_gateway_share_limiter() {
        let [mut customers, mut agents, mut other, mut crm] =
            limiters_for(["thanks", "notes", "other", "crm"]);
        let at = 100 * SECOND;
        assert_eq!(agents.try_acquire(ONE_PER_SECOND, at), Ok(()));
        assert!(
            customers.try_acquire(ONE_PER_SECOND, at).is_err(),
            "a second has one message"
        );
        assert_eq!(other.try_acquire(ONE_PER_SECOND, at), Ok(()));
        assert_eq!(crm.try_acquire(ONE_PER_SECOND, at), Ok(()));
        customers.apply_quota(used_up_for(60), at);
        assert!(
            agents.try_acquire(NO_RATES, at + 59 * SECOND).is_err(),
            "what one learns, the other knows"
        );
    }

    #[test]
    fn slower_own_rate_slows_no_other() {
        let [mut customers, mut agents] = limiters_for(["thanks", "notes"]);
        let slow = DestinationLimits {
            own: RateLimit::Configured(Rate {
                count: 10,
                per: Millis::from_secs(3600),
            }),
            ..ONE_PER_SECOND
        };
        let at = 100 * SECOND;
        assert_eq!(agents.try_acquire(slow, at), Ok(()));
        assert_eq!(customers.try_acquire(ONE_PER_SECOND, at + SECOND), Ok(()));
        assert!(
            agents.try_acquire(slow, at + 2 * SECOND).is_err(),
            "one in six minutes"
        );
        let next = at + 2 * SECOND;
        assert_eq!(customers.try_acquire(ONE_PER_SECOND, next), Ok(()));
    }

    #[test]
    fn pause_applies_to_all_and_survives_rate_change() {
        let [customers, mut agents, mut other] = limiters_for(["thanks", "notes", "other"]);
        let at = 100 * SECOND;
        customers.pause(at + 30 * SECOND);
        agents.reset();
        assert_eq!(agents.try_acquire(NO_RATES, at), Err(30 * SECOND));
        assert_eq!(other.try_acquire(NO_RATES, at), Ok(()));
        agents.resume();
        assert_eq!(agents.try_acquire(NO_RATES, at), Ok(()));
    }

    #[test]
    fn remote_quota_is_dropped_on_resume() {
        let [mut customers, mut agents] = limiters_for(["thanks", "notes"]);
        let at = 100 * SECOND;
        customers.apply_quota(used_up_for(3300), at);
        assert_eq!(agents.try_acquire(NO_RATES, at), Err(3300 * SECOND));
        agents.resume();
        assert_eq!(agents.try_acquire(NO_RATES, at), Ok(()));
        assert_eq!(customers.try_acquire(ONE_PER_SECOND, at), Ok(()));
        assert!(
            customers.try_acquire(ONE_PER_SECOND, at).is_err(),
            "a rate that somebody wrote stands"
        );
    }

    #[test]
    fn customer_messages_precede_agent_messages() {
        let [mut customers, mut agents] = limiters_for(["thanks", "notes"]);
        let at = 100 * SECOND;
        assert_eq!(agents.try_acquire(ONE_PER_SECOND, at), Ok(()));
        assert!(customers.try_acquire(ONE_PER_SECOND, at).is_err());
        let next = at + SECOND;
        assert_eq!(
            agents.try_acquire(ONE_PER_SECOND, next),
            Err(YIELD_DELAY),
            "a customer waits"
        );
        assert_eq!(customers.try_acquire(ONE_PER_SECOND, next), Ok(()));
        assert_eq!(
            agents.try_acquire(ONE_PER_SECOND, next + SECOND),
            Ok(()),
            "no customer waits any more"
        );

        let (later, latest) = (next + SECOND, next + 2 * SECOND);
        assert!(customers.try_acquire(ONE_PER_SECOND, later).is_err());
        assert!(agents.try_acquire(ONE_PER_SECOND, latest).is_err());
        assert_eq!(
            agents.try_acquire(ONE_PER_SECOND, next + 3 * SECOND),
            Ok(()),
            "one that never comes again is not waited for"
        );
    }
}
