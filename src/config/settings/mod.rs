//! Reads the settings of the whole program, with the meaning, unit, default and range of each.
//!
//! The `read` function of each table is the only place of defaults and ranges. The shipped
//! `config.toml` repeats the defaults, and a test compares the two.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::graph_api;
use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::secrets::SecretRef;
use super::units;
use crate::domain::job::retry::RetryPolicy;
use crate::domain::time::Millis;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Maximum number of app secrets. A signature is checked with each secret, and a rotation needs no
/// more.
const SECRETS_MAX: usize = 8;

/// Addresses of the listeners, and path of the data file.
pub(super) struct Endpoints {
    pub(super) listen: SocketAddr,
    pub(super) admin_listen: SocketAddr,
    pub(super) data: PathBuf,
}

/// Meta's app secrets, tokens and the Graph API.
#[derive(Clone, Debug)]
pub struct MetaSettings {
    /// App secrets, newest first, 1 to 8. Any of them may sign a request. Default
    /// `env:META_APP_SECRET`.
    pub app_secrets: Vec<SecretRef>,
    /// Token that a `GET /webhook` must contain. Default `env:META_VERIFY_TOKEN`.
    pub verify_token: SecretRef,
    /// Access token for the Graph API. Only calls to the Graph API need the token. Default
    /// `env:META_ACCESS_TOKEN`.
    pub access_token: SecretRef,
    /// Version of the Graph API: `v`, digits, a dot and digits. Default `v26.0`.
    pub api_version: String,
    /// Base URL of the Graph API, without a slash at its end. Default `https://graph.facebook.com`.
    pub graph_url: String,
}

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

/// Settings of the workers that run jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Number of threads that run jobs. Default 2.
    pub threads: usize,
    /// Maximum number of jobs dispatched at the same time. Default 1024.
    pub queue: usize,
}

/// Retention times of stored rows and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Time for which a form's idempotency key is stored, from the first acceptance. Default 1 d.
    pub idempotency_ttl: Millis,
    /// Time for which a webhook message's idempotency key is stored. Default 8 d, because Meta
    /// resends for seven days.
    pub message_id_ttl: Millis,
    /// Time for which processed submissions are stored, with all rows that belong to them. Also
    /// applies to drafts. Default 90 d.
    pub submissions: Millis,
    /// Time for which flow errors, and attempts of done jobs, are stored. Default 30 d.
    pub attempt_history: Millis,
}

/// Settings of the data file's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Memory for pages of the data file, in bytes. Default 64 MiB.
    pub page_cache: u64,
    /// Policy for the verification of the whole data file. Default: at every start.
    pub verify: VerifyPolicy,
}

/// Policy for the verification of the whole data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyPolicy {
    /// Verification at every start. Takes about one second per GB.
    Always,
    /// Verification only at a start after an unclean shutdown.
    AfterCrash,
}

impl Endpoints {
    pub(super) fn read(root: &TableReader<'_>, folder: &Path) -> Self {
        let address = |item: &ValueReader<'_>| {
            item.parse(|text| {
                text.parse().map_err(|_| {
                    format!(
                        "{text:?} is not an address with a port: write one like \"127.0.0.1:8080\""
                    )
                })
            })
        };
        let listen = root.get("listen").and_then(|item| address(&item));
        let admin = root.get("admin_listen");
        let admin_listen = admin.as_ref().and_then(address);
        let endpoints = Self {
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            admin_listen: admin_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8081))),
            data: folder.join(
                root.get("data")
                    .and_then(|item| item.non_empty_text())
                    .unwrap_or("flowgate.redb"),
            ),
        };
        if endpoints.listen == endpoints.admin_listen && endpoints.listen.port() != 0 {
            let why = format!(
                "`listen` and `admin_listen` are both {}: change the port of one of them",
                endpoints.listen
            );
            if let Some(item) = admin.or_else(|| root.get("listen")) {
                item.error(why);
            }
        }
        endpoints
    }
}

impl Default for MetaSettings {
    fn default() -> Self {
        let env_secret = |name: &str| SecretRef::Env(name.to_owned());
        Self {
            app_secrets: vec![env_secret("META_APP_SECRET")],
            verify_token: env_secret("META_VERIFY_TOKEN"),
            access_token: env_secret("META_ACCESS_TOKEN"),
            api_version: graph_api::DEFAULT_VERSION.to_owned(),
            graph_url: graph_api::DEFAULT_URL.to_owned(),
        }
    }
}

impl MetaSettings {
    pub(super) fn read(root: &TableReader<'_>, folder: &Path) -> Self {
        let mut meta = Self::default();
        root.read_table("meta", |table| {
            if let Some(item) = table.get("app_secrets")
                && let Some(items) = item.non_empty_list()
            {
                if items.len() > SECRETS_MAX {
                    item.error(format!(
                        "has {} secrets, the maximum is {SECRETS_MAX}",
                        items.len()
                    ));
                }
                meta.app_secrets = items
                    .iter()
                    .filter_map(|item| read_secret(item, folder))
                    .collect();
            }
            if let Some(token) = table
                .get("verify_token")
                .and_then(|item| read_secret(&item, folder))
            {
                meta.verify_token = token;
            }
            if let Some(token) = table
                .get("access_token")
                .and_then(|item| read_secret(&item, folder))
            {
                meta.access_token = token;
            }
            if let Some(version) = table
                .get("api_version")
                .and_then(|item| item.parse(graph_api::parse_version))
            {
                meta.api_version = version;
            }
            if let Some(url) = table
                .get("graph_url")
                .and_then(|item| item.parse(graph_api::parse_graph_url))
            {
                meta.graph_url = url;
            }
        });
        meta
    }
}

pub(super) fn read_secret(item: &ValueReader<'_>, folder: &Path) -> Option<SecretRef> {
    item.parse(|text| SecretRef::parse(text, folder))
}

impl LimitSettings {
    pub(super) fn read(root: &TableReader<'_>) -> Self {
        read_or_default(root, "limits", |table| {
            let time = |key, default, range: (u64, u64)| {
                table.duration(
                    key,
                    Millis::new(default),
                    Millis::new(range.0)..=Millis::new(range.1),
                )
            };
            let limits = Self {
                max_webhook_body: table.size("max_webhook_body", 4 * MIB, KIB..=256 * MIB),
                max_flow_body: table.size("max_flow_body", 256 * KIB, KIB..=256 * MIB),
                max_body_memory: table.size("max_body_memory", 64 * MIB, KIB..=TIB),
                header_timeout: time("header_timeout", 10 * SECOND, (10, 10 * MINUTE)),
                request_timeout: time("request_timeout", 9 * SECOND, (10, 10 * MINUTE)),
                idle_timeout: time("idle_timeout", 150 * SECOND, (10, HOUR)),
                drain_timeout: time("drain_timeout", 2 * SECOND, (0, 5 * SECOND)),
                max_connections: table.integer("max_connections", 10_000, 1..=1_000_000),
                intake_queue: table.integer("intake_queue", 4096, 1..=1_000_000),
                max_batch: table.integer("max_batch", 256, 1..=65_536),
                min_free_space: table.size("min_free_space", 256 * MIB, 0..=1024 * TIB),
                max_idempotency_keys: table.integer(
                    "max_idempotency_keys",
                    10_000_000,
                    1..=1_000_000_000,
                ),
            };
            for (key, bytes) in [
                ("max_webhook_body", limits.max_webhook_body),
                ("max_flow_body", limits.max_flow_body),
            ] {
                let max_body_memory = limits.max_body_memory;
                if bytes > max_body_memory {
                    let (bytes, bodies) = (
                        units::format_size(bytes),
                        units::format_size(max_body_memory),
                    );
                    let why =
                        format!("{key} of {bytes} is more than max_body_memory, which is {bodies}");
                    if let Some(item) = table.get("max_body_memory").or_else(|| table.get(key)) {
                        item.error(why);
                    }
                }
            }
            limits
        })
    }
}

impl WorkerSettings {
    pub(super) fn read(root: &TableReader<'_>) -> Self {
        read_or_default(root, "workers", |table| Self {
            threads: table.integer("threads", 2, 1..=256),
            queue: table.integer("queue", 1024, 1..=1_000_000),
        })
    }
}

/// Default retry policy for flowgate's own jobs.
const DEFAULT_RETRY: RetryPolicy = RetryPolicy {
    initial_delay: Millis::new(5 * SECOND),
    max_delay: Millis::new(6 * HOUR),
    max_attempts: 24,
};

/// Reads `[retry]`.
pub(super) fn read_retry(root: &TableReader<'_>) -> RetryPolicy {
    read_retry_or(root, DEFAULT_RETRY)
}

/// Reads the table `retry` in `within`. Missing keys have the values of `default`.
pub(super) fn read_retry_or(within: &TableReader<'_>, default: RetryPolicy) -> RetryPolicy {
    let read = within.read_table("retry", |table| {
        let policy = RetryPolicy {
            initial_delay: table.duration(
                "initial_delay",
                default.initial_delay,
                Millis::new(1)..=Millis::new(DAY),
            ),
            max_delay: table.duration(
                "max_delay",
                default.max_delay,
                Millis::new(1)..=Millis::new(7 * DAY),
            ),
            max_attempts: table.integer("max_attempts", default.max_attempts, 1..=1000),
        };
        if policy.max_delay < policy.initial_delay {
            let (initial_delay, max_delay) = (
                units::format_duration(policy.initial_delay),
                units::format_duration(policy.max_delay),
            );
            if let Some(item) = table
                .get("max_delay")
                .or_else(|| table.get("initial_delay"))
            {
                item.error(format!(
                    "max_delay ({max_delay}) is less than initial_delay ({initial_delay})"
                ));
            }
        }
        policy
    });
    read.unwrap_or(default)
}

impl RetentionSettings {
    pub(super) fn read(root: &TableReader<'_>) -> Self {
        read_or_default(root, "retention", |table| {
            let time = |key, default| {
                table.duration(
                    key,
                    Millis::new(default),
                    Millis::new(SECOND)..=Millis::new(3650 * DAY),
                )
            };
            let retention = Self {
                idempotency_ttl: time("idempotency_ttl", DAY),
                message_id_ttl: time("message_id_ttl", 8 * DAY),
                submissions: time("submissions", 90 * DAY),
                attempt_history: time("attempt_history", 30 * DAY),
            };
            // Without the stored submission, a form of another customer with the same token would
            // count as a duplicate.
            if retention.submissions < retention.idempotency_ttl
                && let Some(item) = table
                    .get("submissions")
                    .or_else(|| table.get("idempotency_ttl"))
            {
                let [submissions, keys] =
                    [retention.submissions, retention.idempotency_ttl].map(units::format_duration);
                item.error(format!(
                    "submissions ({submissions}) must not be shorter than idempotency_ttl ({keys})"
                ));
            }
            retention
        })
    }
}

impl StoreSettings {
    pub(super) fn read(root: &TableReader<'_>) -> Self {
        read_or_default(root, "store", |table| {
            let verify = table
                .get("verify")
                .and_then(|item| item.one_of(&["always", "after_crash"]));
            Self {
                page_cache: table.size("page_cache", 64 * MIB, MIB..=TIB),
                verify: if verify == Some("after_crash") {
                    VerifyPolicy::AfterCrash
                } else {
                    VerifyPolicy::Always
                },
            }
        })
    }
}

/// Reads the table under `key`. If there is none, an empty table gives the defaults.
fn read_or_default<T>(
    root: &TableReader<'_>,
    key: &'static str,
    read: impl Fn(&TableReader<'_>) -> T,
) -> T {
    match root.read_table(key, &read) {
        Some(settings) => settings,
        None => TableReader::read_empty(&read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_refused, parse_valid};

    #[test]
    fn addresses_and_data_path_are_checked() {
        assert_refused(
            "",
            &[
                (
                    "listen = \"8080\"",
                    "2:10: listen: \"8080\" is not an address with a port: write one like \"127.0.0.1:8080\"",
                ),
                (
                    "listen = 8080",
                    "2:10: listen: must be a text in quotes, and is a whole number",
                ),
                (
                    "listen = \"127.0.0.1:8081\"",
                    "2:10: listen: `listen` and `admin_listen` are both 127.0.0.1:8081: change the port of one of them",
                ),
                ("data = \"\"", "2:8: data: is empty"),
                (
                    "limits = 3",
                    "2:10: limits: must be a table, and is a whole number",
                ),
            ],
        );
        parse_valid("listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"");
        assert!(parse_valid("listen = \"[::1]:8080\"").listen.is_ipv6());
    }

    #[test]
    fn limits_have_units_and_ranges() {
        let size = "\"4MB\" is not a valid size: write a whole number and its unit (B, KiB, MiB, GiB, TiB), like \"4MiB\"";
        let length = "\"9\" is not a valid duration: write a whole number and its unit (ms, s, m, h, d), like \"90s\"";
        assert_refused(
            "[limits]",
            &[
                (
                    "max_webhook_body = \"4MB\"",
                    &format!("2:20: limits.max_webhook_body: {size}"),
                ),
                (
                    "max_webhook_body = 4194304",
                    "2:20: limits.max_webhook_body: must be a size with its unit, like \"4MiB\", and is a whole number",
                ),
                (
                    "max_webhook_body = \"1B\"",
                    "2:20: limits.max_webhook_body: must be from 1KiB to 256MiB, and is 1B",
                ),
                (
                    "request_timeout = \"9\"",
                    &format!("2:19: limits.request_timeout: {length}"),
                ),
                (
                    "request_timeout = 9.5",
                    "2:19: limits.request_timeout: must be a duration with its unit, like \"90s\", and is a decimal number",
                ),
                (
                    "request_timeout = \"90d\"",
                    "2:19: limits.request_timeout: must be from 10ms to 10m, and is 90d",
                ),
                (
                    "max_connections = 0",
                    "2:19: limits.max_connections: must be from 1 to 1000000, and is 0",
                ),
                (
                    "max_connections = -1",
                    "2:19: limits.max_connections: must be from 1 to 1000000, and is -1",
                ),
                (
                    "max_connections = 99999999999999999999",
                    "2:19: limits.max_connections: must be from 1 to 1000000, and is 99999999999999999999",
                ),
                (
                    "max_connections = true",
                    "2:19: limits.max_connections: must be a whole number, and is true or false",
                ),
            ],
        );
        let limits = parse_valid(
            "[limits]\nmax_connections = 0x10\nintake_queue = 1_000\nmin_free_space = \"0B\"",
        )
        .limits;
        assert_eq!(
            (
                limits.max_connections,
                limits.intake_queue,
                limits.min_free_space
            ),
            (16, 1000, 0)
        );
    }

    #[test]
    fn max_webhook_body_must_fit_max_body_memory() {
        let why = "is more than max_body_memory, which is";
        assert_refused(
            "[limits]",
            &[
                (
                    "max_webhook_body = \"65MiB\"",
                    &format!(
                        "2:20: limits.max_webhook_body: max_webhook_body of 65MiB {why} 64MiB"
                    ),
                ),
                (
                    "max_body_memory = \"1MiB\"",
                    &format!("2:19: limits.max_body_memory: max_webhook_body of 4MiB {why} 1MiB"),
                ),
            ],
        );
    }

    #[test]
    fn retry_settings_are_consistent() {
        assert_refused(
            "[retry]",
            &[
                (
                    "initial_delay = \"7h\"",
                    "2:17: retry.initial_delay: max_delay (6h) is less than initial_delay (7h)",
                ),
                (
                    "max_delay = \"1s\"",
                    "2:13: retry.max_delay: max_delay (1s) is less than initial_delay (5s)",
                ),
                (
                    "max_attempts = 0",
                    "2:16: retry.max_attempts: must be from 1 to 1000, and is 0",
                ),
            ],
        );
    }

    #[test]
    fn worker_retention_store_and_meta_settings_are_checked() {
        assert_refused(
            "[workers]",
            &[(
                "threads = 0",
                "2:11: workers.threads: must be from 1 to 256, and is 0",
            )],
        );
        assert_refused(
            "[retention]",
            &[
                (
                    "attempt_history = \"0s\"",
                    "2:19: retention.attempt_history: must be from 1s to 3650d, and is 0s",
                ),
                (
                    "submissions = \"1h\"",
                    "2:15: retention.submissions: submissions (1h) must not be shorter than idempotency_ttl (1d)",
                ),
                (
                    "idempotency_ttl = \"91d\"",
                    "2:19: retention.idempotency_ttl: submissions (90d) must not be shorter than idempotency_ttl (91d)",
                ),
            ],
        );
        assert_refused(
            "[store]",
            &[
                (
                    "verify = \"allways\"",
                    "2:10: store.verify: \"allways\" is not a valid value: did you mean `always`?",
                ),
                (
                    "verify = \"no\"",
                    "2:10: store.verify: \"no\" is not a valid value: expected one of `always`, `after_crash`",
                ),
            ],
        );
        let equal =
            parse_valid("[retention]\nsubmissions = \"2h\"\nidempotency_ttl = \"2h\"").retention;
        assert_eq!(equal.submissions, equal.idempotency_ttl);
        assert_eq!(
            parse_valid("[store]\nverify = \"after_crash\"")
                .store
                .verify,
            VerifyPolicy::AfterCrash
        );
        assert_refused(
            "[meta]",
            &[
                (
                    "app_secrets = []",
                    "2:15: meta.app_secrets: is empty: remove it, or add at least one entry",
                ),
                (
                    "app_secrets = \"env:A\"",
                    "2:15: meta.app_secrets: must be a list in brackets, and is a text",
                ),
                (
                    &format!("app_secrets = [{}]", "\"env:A\",".repeat(9)),
                    "2:15: meta.app_secrets: has 9 secrets, the maximum is 8",
                ),
            ],
        );
    }
}
