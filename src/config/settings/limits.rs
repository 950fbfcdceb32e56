//! Reads `[limits]`: limits for requests, connections and queues.

use crate::config::reader::TableReader;
use crate::config::units::{KIB, MIB, TIB, format_size, hours, minutes};
use crate::domain::time::Millis;

/// Limits for requests, connections and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Maximum size of one webhook request, in bytes. Default 4 MiB. Meta sends up to 3 MB
    /// (*Throughput*).
    pub max_webhook_body: u64,
    /// Maximum size of one request to a flow, in bytes. Default 256 KiB.
    pub max_flow_body: u64,
    /// Maximum memory for all bodies that are read at the same time, in bytes. Must not be less
    /// than the maximum size of one body. Default 64 MiB.
    pub max_body_memory: u64,
    /// Maximum time for the head of a request, from its first byte. Also the maximum wait for the
    /// first byte on a new connection. Default 10 s.
    pub header_timeout: Millis,
    /// Maximum time for a whole request, from its head to its response. Default 9 s, because
    /// WhatsApp waits for ten seconds.
    pub request_timeout: Millis,
    /// Maximum time that a connection may stay open between requests. Default 150 s.
    pub idle_timeout: Millis,
    /// Time in which open connections may still send a request after the server got a stop signal.
    /// Default 2 s. Maximum 5 s, because the shutdown takes at most 10 s.
    pub drain_timeout: Millis,
    /// Maximum number of connections at the same time. Default 10,000.
    pub max_connections: usize,
    /// Maximum number of submissions that wait for the writer. Default 4096.
    pub intake_queue: usize,
    /// Maximum number of transactions in one commit. Default 256.
    pub max_batch: usize,
    /// Minimum free disk space, in bytes. With less, no new submission is accepted. Default 256
    /// MiB. 0: no check.
    pub min_free_space: u64,
    /// Maximum number of idempotency keys in memory. Older keys are only on disk. Default
    /// 10,000,000.
    pub max_idempotency_keys: usize,
}

/// Reads `[limits]`.
pub fn read_limits(root: &TableReader<'_>) -> LimitSettings {
    root.read_table_or_empty("limits", |table| {
        let time = |key, default, range| table.duration(key, Millis::from_secs(default), range);
        let count = |key, default, max| table.integer(key, default, 1..=max);
        let limits = LimitSettings {
            max_webhook_body: table.size("max_webhook_body", 4 * MIB, KIB..=256 * MIB),
            max_flow_body: table.size("max_flow_body", 256 * KIB, KIB..=256 * MIB),
            max_body_memory: table.size("max_body_memory", 64 * MIB, KIB..=TIB),
            header_timeout: time("header_timeout", 10, Millis::new(10)..=minutes(10)),
            request_timeout: time("request_timeout", 9, Millis::new(10)..=minutes(10)),
            idle_timeout: time("idle_timeout", 150, Millis::new(10)..=hours(1)),
            drain_timeout: time("drain_timeout", 2, Millis::ZERO..=Millis::from_secs(5)),
            max_connections: count("max_connections", 10_000, 1_000_000),
            intake_queue: count("intake_queue", 4096, 1_000_000),
            max_batch: count("max_batch", 256, 65_536),
            min_free_space: table.size("min_free_space", 256 * MIB, 0..=1024 * TIB),
            max_idempotency_keys: count("max_idempotency_keys", 10_000_000, 1_000_000_000),
        };
        for (key, bytes) in [
            ("max_webhook_body", limits.max_webhook_body),
            ("max_flow_body", limits.max_flow_body),
        ] {
            if bytes > limits.max_body_memory {
                let [bytes, memory] = [bytes, limits.max_body_memory].map(format_size);
                table.error_at(
                    &["max_body_memory", key],
                    format!("{key} of {bytes} is more than max_body_memory, which is {memory}"),
                );
            }
        }
        limits
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn limits_have_units_and_ranges() {
        assert_errors(
            "[limits]",
            r#"
            max_webhook_body = "4MB"
            => 2:20: limits.max_webhook_body: "4MB" is not a valid size: write a whole number and its unit (B, KiB, MiB, GiB, TiB), like "4MiB"
            max_webhook_body = 4194304
            => 2:20: limits.max_webhook_body: must be a size with its unit, like "4MiB", and is a whole number
            max_webhook_body = "1B"
            => 2:20: limits.max_webhook_body: must be from 1KiB to 256MiB, and is 1B
            request_timeout = "9"
            => 2:19: limits.request_timeout: "9" is not a valid duration: write a whole number and its unit (ms, s, m, h, d), like "90s"
            request_timeout = 9.5
            => 2:19: limits.request_timeout: must be a duration with its unit, like "90s", and is a decimal number
            request_timeout = "90d"
            => 2:19: limits.request_timeout: must be from 10ms to 10m, and is 90d
            max_connections = 0
            => 2:19: limits.max_connections: must be from 1 to 1000000, and is 0
            max_connections = -1
            => 2:19: limits.max_connections: must be from 1 to 1000000, and is -1
            max_connections = 99999999999999999999
            => 2:19: limits.max_connections: must be from 1 to 1000000, and is 99999999999999999999
            max_connections = true
            => 2:19: limits.max_connections: must be a whole number, and is true or false
            "#,
        );
        let limits = parse_valid(
            "[limits]\nmax_connections = 0x10\nintake_queue = 1_000\nmin_free_space = \"0B\"",
        )
        .limits;
        assert_eq!((limits.max_connections, limits.intake_queue), (16, 1000));
        assert_eq!(limits.min_free_space, 0);
    }

    #[test]
    fn max_webhook_body_must_fit_max_body_memory() {
        assert_errors(
            "[limits]",
            r#"
            max_webhook_body = "65MiB"
            => 2:20: limits.max_webhook_body: max_webhook_body of 65MiB is more than max_body_memory, which is 64MiB
            max_body_memory = "1MiB"
            => 2:19: limits.max_body_memory: max_webhook_body of 4MiB is more than max_body_memory, which is 1MiB
            "#,
        );
    }
}
