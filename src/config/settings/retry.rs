//! Reads `[retry]`, and `retry` of a destination. See [`crate::domain::job::retry`] for the delays.

use crate::config::reader::TableReader;
use crate::config::units::{days, format_duration, hours};
use crate::domain::job::retry::RetryPolicy;
use crate::domain::time::Millis;

/// Default retry policy for flowgate's own jobs.
const DEFAULT: RetryPolicy = RetryPolicy {
    initial_delay: Millis::from_secs(5),
    max_delay: hours(6),
    max_attempts: 24,
};

/// Reads `[retry]`.
pub fn read_retry(root: &TableReader<'_>) -> RetryPolicy {
    read_retry_or(root, DEFAULT)
}

/// Reads the table `retry` in `within`. Missing keys have the values of `default`.
pub fn read_retry_or(within: &TableReader<'_>, default: RetryPolicy) -> RetryPolicy {
    within.read_table_or_empty("retry", |table| {
        let delay = |key, default, max| table.duration(key, default, Millis::new(1)..=max);
        let policy = RetryPolicy {
            initial_delay: delay("initial_delay", default.initial_delay, days(1)),
            max_delay: delay("max_delay", default.max_delay, days(7)),
            max_attempts: table.integer("max_attempts", default.max_attempts, 1..=1000),
        };
        if policy.max_delay < policy.initial_delay {
            let [initial, max] = [policy.initial_delay, policy.max_delay].map(format_duration);
            table.error_at(
                &["max_delay", "initial_delay"],
                format!("max_delay ({max}) is less than initial_delay ({initial})"),
            );
        }
        policy
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::assert_errors;

    #[test]
    fn retry_settings_are_consistent() {
        assert_errors(
            "[retry]",
            r#"
            initial_delay = "7h"
            => 2:17: retry.initial_delay: max_delay (6h) is less than initial_delay (7h)
            max_delay = "1s"
            => 2:13: retry.max_delay: max_delay (1s) is less than initial_delay (5s)
            max_attempts = 0
            => 2:16: retry.max_attempts: must be from 1 to 1000, and is 0
            "#,
        );
    }
}
