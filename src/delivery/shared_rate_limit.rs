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

use crate::config::{Destination, DestinationKind, DestinationLimits};
use crate::domain::delivery::message::RecipientKind;
use crate::domain::ids::GatewayName;
use crate::domain::rate_limiter::{RateLimiter, RemoteQuota};

/// Time that a reservation lasts beyond the expected retry of a priority message.
const RESERVATION: Duration = Duration::from_secs(1);

/// Delay before a message without priority tries again.
const YIELD_DELAY: Duration = Duration::from_millis(50);

/// All shared limiters. The limiters are never removed, so the state of a rate survives a reload.
/// Their number is small.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedLimiters(Arc<Mutex<BTreeMap<LimiterKey, Arc<Mutex<LimiterState>>>>>);

/// Key of a shared limiter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LimiterKey {
    Number(String),
    Gateway(GatewayName),
}

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
    pub(crate) fn for_destination(&self, settings: &Destination) -> SharedLimiter {
        let key = match &settings.kind {
            DestinationKind::Whatsapp(settings) => {
                Some(LimiterKey::Number(settings.phone_number_id.clone()))
            }
            DestinationKind::Gateway(settings) => {
                Some(LimiterKey::Gateway(settings.gateway.clone()))
            }
            DestinationKind::Webhook(_) | DestinationKind::Smtp(_) => None,
        };
        let state = key.clone().map_or_else(Arc::default, |key| {
            let mut limiters = self.0.lock();
            Arc::clone(limiters.entry(key).or_default())
        });
        let has_priority = matches!(
            settings.kind.recipient_kind(),
            Some(RecipientKind::Customer)
        );
        SharedLimiter {
            own_limiter: RateLimiter::default(),
            state,
            key,
            has_priority,
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
    use crate::config::Config;
    use crate::domain::rate_limiter::{Rate, RateLimit};
    use crate::domain::time::Millis;

    const SECOND: Duration = Duration::from_secs(1);
    const NO_RATES: DestinationLimits = DestinationLimits {
        own: RateLimit::Unlimited,
        shared: RateLimit::Unlimited,
    };

    /// Returns the limiters of destinations by name. `thanks` and `notes` share a gateway, `other`
    /// uses another one. `crm` is a webhook.
    fn limiters_for(names: &[&str]) -> Vec<SharedLimiter> {
        let gateway = |name: &str| {
            format!(
                "[gateways.{name}]\nkind = \"waha\"\nurl = \"https://waha.example\"\napi_key = \"env:K\"\nwebhook_secret = \"env:W\"\n"
            )
        };
        let texts = |name: &str, gateway: &str, to: &str| {
            format!(
                "[destinations.{name}]\nkind = \"gateway\"\ngateway = \"{gateway}\"\nto = {to}\n\
                 messages = {{ \"lead.assigned\" = {{ text = \"a\" }} }}\n"
            )
        };
        let tables = [
            gateway("main"),
            gateway("second"),
            texts("thanks", "main", "\"customer\""),
            texts(
                "notes",
                "main",
                "\"agent\"\nagents = { Ann = \"+491511234567\" }",
            ),
            texts("other", "second", "\"customer\""),
            "[destinations.crm]\nurl = \"https://crm.example\"\n".to_owned(),
        ];
        let config = Config::parse("config.toml".as_ref(), &tables.concat()).unwrap();
        let limiters = SharedLimiters::default();
        let settings_of = |name: &&str| {
            config
                .destinations
                .iter()
                .find(|(known, _)| known.as_str() == *name)
                .unwrap()
                .1
        };
        names
            .iter()
            .map(|name| limiters.for_destination(settings_of(name)))
            .collect()
    }

    /// Returns a shared rate of one message per second.
    fn one_per_second() -> DestinationLimits {
        DestinationLimits {
            own: RateLimit::Unlimited,
            shared: RateLimit::Configured(Rate {
                count: 1,
                per: Millis::from_secs(1),
            }),
        }
    }

    #[test]
    fn destinations_of_one_gateway_share_limiter() {
        let [customers, agents, other, crm] =
            &mut limiters_for(&["thanks", "notes", "other", "crm"])[..]
        else {
            panic!()
        };
        let at = 100 * SECOND;
        assert_eq!(agents.try_acquire(one_per_second(), at), Ok(()));
        assert!(
            customers.try_acquire(one_per_second(), at).is_err(),
            "a second has one message"
        );
        assert_eq!(other.try_acquire(one_per_second(), at), Ok(()));
        assert_eq!(crm.try_acquire(one_per_second(), at), Ok(()));
        customers.apply_quota(
            RemoteQuota {
                remaining: 0,
                resets_in: Millis::from_secs(60),
            },
            at,
        );
        assert!(
            agents.try_acquire(NO_RATES, at + 59 * SECOND).is_err(),
            "what one learns, the other knows"
        );
    }

    #[test]
    fn slower_own_rate_slows_no_other() {
        let [customers, agents] = &mut limiters_for(&["thanks", "notes"])[..] else {
            panic!()
        };
        let slow = DestinationLimits {
            own: RateLimit::Configured(Rate {
                count: 10,
                per: Millis::from_secs(3600),
            }),
            ..one_per_second()
        };
        let at = 100 * SECOND;
        assert_eq!(agents.try_acquire(slow, at), Ok(()));
        assert_eq!(customers.try_acquire(one_per_second(), at + SECOND), Ok(()));
        assert!(
            agents.try_acquire(slow, at + 2 * SECOND).is_err(),
            "one in six minutes"
        );
        assert_eq!(
            customers.try_acquire(one_per_second(), at + 2 * SECOND),
            Ok(())
        );
    }

    #[test]
    fn pause_applies_to_all_and_survives_rate_change() {
        let [customers, agents, other] = &mut limiters_for(&["thanks", "notes", "other"])[..]
        else {
            panic!()
        };
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
        let [customers, agents] = &mut limiters_for(&["thanks", "notes"])[..] else {
            panic!()
        };
        let at = 100 * SECOND;
        customers.apply_quota(
            RemoteQuota {
                remaining: 0,
                resets_in: Millis::from_secs(3300),
            },
            at,
        );
        assert_eq!(agents.try_acquire(NO_RATES, at), Err(3300 * SECOND));
        agents.resume();
        assert_eq!(agents.try_acquire(NO_RATES, at), Ok(()));
        assert_eq!(customers.try_acquire(one_per_second(), at), Ok(()));
        assert!(
            customers.try_acquire(one_per_second(), at).is_err(),
            "a rate that somebody wrote stands"
        );
    }

    #[test]
    fn customer_messages_precede_agent_messages() {
        let [customers, agents] = &mut limiters_for(&["thanks", "notes"])[..] else {
            panic!()
        };
        let at = 100 * SECOND;
        assert_eq!(agents.try_acquire(one_per_second(), at), Ok(()));
        assert!(customers.try_acquire(one_per_second(), at).is_err());
        let next = at + SECOND;
        assert_eq!(
            agents.try_acquire(one_per_second(), next),
            Err(YIELD_DELAY),
            "a customer waits"
        );
        assert_eq!(customers.try_acquire(one_per_second(), next), Ok(()));
        assert_eq!(
            agents.try_acquire(one_per_second(), next + SECOND),
            Ok(()),
            "no customer waits any more"
        );

        assert!(
            customers
                .try_acquire(one_per_second(), next + SECOND)
                .is_err()
        );
        assert!(
            agents
                .try_acquire(one_per_second(), next + 2 * SECOND)
                .is_err()
        );
        assert_eq!(
            agents.try_acquire(one_per_second(), next + 3 * SECOND),
            Ok(()),
            "one that never comes again is not waited for"
        );
    }
}
