//! Reads the settings that all kinds of destinations have: pace, time limits, retries and order.

use super::kind_settings::KindDefaults;
use crate::config::reader::TableReader;
use crate::config::settings;
use crate::config::units::{days, hours};
use crate::domain::circuit_breaker::BreakerPolicy;
use crate::domain::job::retry::RetryPolicy;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Millis;

/// Pace, time limits, retries and order of the deliveries to a destination. The defaults depend on
/// the kind of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryPolicy {
    /// Maximum number of deliveries in flight. Default 8, or 2 for a mail server. Maximum 256.
    pub concurrency: usize,
    /// Maximum number of deliveries per period. Default: `None`, no limit. Default for WhatsApp: 20
    /// per second.
    pub rate: Option<Rate>,
    /// Maximum time for one response, from the DNS lookup to the last byte. Default 15 s, maximum
    /// 60 s. For a mail server: default 60 s, maximum 10 min.
    pub timeout: Millis,
    /// Policy of the circuit breaker. Default: open for 30 s after 5 failures in a row.
    pub breaker: BreakerPolicy,
    /// Retry policy of deliveries. Default: the policy of `[retry]`.
    pub retry: RetryPolicy,
    /// `true` if the events of one customer are delivered one at a time, in the order in which they
    /// happened. Default `false`.
    pub is_ordered: bool,
    /// Maximum age of an event. Older events are not sent, because late messages would do harm.
    /// Default: one day for messages to people (WhatsApp and gateway). Default for other kinds:
    /// `None`, no maximum.
    pub max_age: Option<Millis>,
}

impl DeliveryPolicy {
    pub(super) fn read(
        table: &TableReader<'_>,
        defaults: &KindDefaults,
        retry: RetryPolicy,
    ) -> Self {
        let timeouts = Millis::new(100)..=defaults.timeout_max;
        let ages = Millis::from_secs(1)..=days(30);
        Self {
            concurrency: table.integer("concurrency", defaults.concurrency, 1..=256),
            rate: read_rate(table, defaults),
            timeout: table.duration("timeout", defaults.timeout, timeouts),
            breaker: read_breaker(table, Millis::from_secs(30), hours(1)),
            retry: settings::read_retry_or(table, retry),
            is_ordered: table.boolean("ordered", false),
            max_age: table
                .get("max_age")
                .map_or(defaults.max_age, |item| item.duration(ages)),
        }
    }
}

fn read_rate(table: &TableReader<'_>, defaults: &KindDefaults) -> Option<Rate> {
    match (table.get("rate"), defaults.rate_refusal) {
        (Some(item), Some(why)) => {
            item.error(why);
            None
        }
        (Some(item), None) => item.parse(Rate::parse),
        (None, _) => defaults.rate,
    }
}

/// Reads the table `breaker` in `within`. `open_for` and `open_for_max` are the default and the
/// maximum of its key `open_for`.
pub(in crate::config) fn read_breaker(
    within: &TableReader<'_>,
    open_for: Millis,
    open_for_max: Millis,
) -> BreakerPolicy {
    within.read_table_or_empty("breaker", |table| BreakerPolicy {
        failure_threshold: table.integer("failure_threshold", 5, 1..=1000),
        open_for: table.duration("open_for", open_for, Millis::new(100)..=open_for_max),
    })
}
