//! The settings of the program as a whole: what each means, its unit, its default and its range.
//!
//! Defaults and ranges stand once, in the `read` of each table; the shipped `config.toml` repeats the defaults, and a
//! test compares them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::graph;
use super::raw::Table;
use super::secrets::SecretRef;
use super::units;
use super::value::Item;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Millis;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A signature is tried with each secret: more than a rotation needs would only cost.
const SECRETS_MAX: usize = 8;

/// Where things are.
pub(super) struct Places {
    pub(super) listen: SocketAddr,
    pub(super) admin_listen: SocketAddr,
    pub(super) data: PathBuf,
}

/// What Meta and we share.
#[derive(Clone, Debug)]
pub struct Meta {
    /// The app's secrets, newest first. A signature may be made with any. One to eight; default
    /// `env:META_APP_SECRET`.
    pub app_secrets: Vec<SecretRef>,
    /// What `GET /webhook` must bring. Default `env:META_VERIFY_TOKEN`.
    pub verify_token: SecretRef,
    /// What flowgate shows the Graph API. Only what asks there needs it. Default `env:META_ACCESS_TOKEN`.
    pub access_token: SecretRef,
    /// The version of the Graph API, `v` and digits around a dot. Default `v26.0`.
    pub api_version: String,
    /// Where the Graph API is, without a slash at its end. Default `https://graph.facebook.com`.
    pub graph_url: String,
}

/// Bounds on what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one webhook. Meta sends up to 3 MB (*Throughput*).
    pub body: u64,
    /// Bytes of one request to a flow.
    pub flow_body: u64,
    /// Bytes of all bodies being read together. At least as many as the largest body may have.
    pub bodies: u64,
    /// For the head of a request, from its first byte; and for the first byte on a new connection.
    pub header_timeout: Millis,
    /// For a whole request, from its head to its answer. WhatsApp waits ten seconds.
    pub request: Millis,
    /// How long a connection may stay open between requests.
    pub idle: Millis,
    /// How long a connection that is open may still send a request when the server is asked to end. Up to five seconds: the end
    /// takes ten at the most.
    pub drain_timeout: Millis,
    /// Connections at once.
    pub connections: usize,
    /// Submissions waiting for the writer.
    pub intake: usize,
    /// Changes in one commit.
    pub batch: usize,
    /// Bytes free on the disk below which no new submission is taken. 0: never mind.
    pub free_space: u64,
    /// Idempotency keys in memory; older ones stay on disk.
    pub idempotency_keys: usize,
}

/// The background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Threads that run jobs.
    pub threads: usize,
    /// Jobs handed out at once.
    pub queue: usize,
}

/// How long things are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A form's key, from the first acceptance.
    pub idempotency: Millis,
    /// A webhook message's key. Meta sends again for seven days.
    pub message_ids: Millis,
    /// Submissions that are done, with all that belongs to them; and drafts.
    pub submissions: Millis,
    /// Attempts of jobs that are done, and complaints of clients.
    pub attempts: Millis,
}

/// The data file's engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes of memory for pages of the file.
    pub cache: u64,
    /// When the whole file is verified.
    pub verify: Verify,
}

/// When the whole file is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// At every start: about a second for each GB.
    Always,
    /// Only at a start after an unclean end.
    AfterCrash,
}

impl Places {
    pub(super) fn read(root: &Table<'_>, folder: &Path) -> Self {
        let address = |item: &Item<'_>| {
            item.parsed(|text| {
                text.parse().map_err(|_| format!("{text:?} is no address and port: write one like \"127.0.0.1:8080\""))
            })
        };
        let listen = root.get("listen").and_then(|item| address(&item));
        let admin = root.get("admin_listen");
        let admin_listen = admin.as_ref().and_then(address);
        let places = Self {
            listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
            admin_listen: admin_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8081))),
            data: folder.join(root.get("data").and_then(|item| item.some_text()).unwrap_or("flowgate.redb")),
        };
        if places.listen == places.admin_listen && places.listen.port() != 0 {
            let why = format!("`listen` and `admin_listen` are both {}: give one another port", places.listen);
            if let Some(item) = admin.or_else(|| root.get("listen")) {
                item.refuse(why);
            }
        }
        places
    }
}

impl Default for Meta {
    fn default() -> Self {
        let shipped = |name: &str| SecretRef::Env(name.to_owned());
        Self {
            app_secrets: vec![shipped("META_APP_SECRET")],
            verify_token: shipped("META_VERIFY_TOKEN"),
            access_token: shipped("META_ACCESS_TOKEN"),
            api_version: graph::VERSION.to_owned(),
            graph_url: graph::URL.to_owned(),
        }
    }
}

impl Meta {
    pub(super) fn read(root: &Table<'_>, folder: &Path) -> Self {
        let mut meta = Self::default();
        root.table("meta", |table| {
            if let Some(item) = table.get("app_secrets")
                && let Some(items) = item.some_items()
            {
                if items.len() > SECRETS_MAX {
                    item.refuse(format!("has {} secrets, and may have {SECRETS_MAX}", items.len()));
                }
                meta.app_secrets = items.iter().filter_map(|item| secret(item, folder)).collect();
            }
            if let Some(token) = table.get("verify_token").and_then(|item| secret(&item, folder)) {
                meta.verify_token = token;
            }
            if let Some(token) = table.get("access_token").and_then(|item| secret(&item, folder)) {
                meta.access_token = token;
            }
            if let Some(version) = table.get("api_version").and_then(|item| item.parsed(graph::version)) {
                meta.api_version = version;
            }
            if let Some(url) = table.get("graph_url").and_then(|item| item.parsed(graph::url)) {
                meta.graph_url = url;
            }
        });
        meta
    }
}

pub(super) fn secret(item: &Item<'_>, folder: &Path) -> Option<SecretRef> {
    item.parsed(|text| SecretRef::parse(text, folder))
}

impl Limits {
    pub(super) fn read(root: &Table<'_>) -> Self {
        read_or_default(root, "limits", |table| {
            let time = |key, default, range: (u64, u64)| {
                table.length(key, Millis::new(default), Millis::new(range.0)..=Millis::new(range.1))
            };
            let limits = Self {
                body: table.size("body", 4 * MIB, KIB..=256 * MIB),
                flow_body: table.size("flow_body", 256 * KIB, KIB..=256 * MIB),
                bodies: table.size("bodies", 64 * MIB, KIB..=TIB),
                header_timeout: time("header_timeout", 10 * SECOND, (10, 10 * MINUTE)),
                request: time("request", 9 * SECOND, (10, 10 * MINUTE)),
                idle: time("idle", 150 * SECOND, (10, HOUR)),
                drain_timeout: time("drain_timeout", 2 * SECOND, (0, 5 * SECOND)),
                connections: table.count("connections", 10_000, 1..=1_000_000),
                intake: table.count("intake", 4096, 1..=1_000_000),
                batch: table.count("batch", 256, 1..=65_536),
                free_space: table.size("free_space", 256 * MIB, 0..=1024 * TIB),
                idempotency_keys: table.count("idempotency_keys", 10_000_000, 1..=1_000_000_000),
            };
            for (key, bytes) in [("body", limits.body), ("flow_body", limits.flow_body)] {
                let bodies = limits.bodies;
                if bytes > bodies {
                    let (bytes, bodies) = (units::show_size(bytes), units::show_size(bodies));
                    let why = format!("a {key} of {bytes} can never be read while all bodies together have {bodies}");
                    if let Some(item) = table.get("bodies").or_else(|| table.get(key)) {
                        item.refuse(why);
                    }
                }
            }
            limits
        })
    }
}

impl Workers {
    pub(super) fn read(root: &Table<'_>) -> Self {
        read_or_default(root, "workers", |table| Self {
            threads: table.count("threads", 2, 1..=256),
            queue: table.count("queue", 1024, 1..=1_000_000),
        })
    }
}

/// Reads `[retry]`.
/// How often the jobs of flowgate itself are tried, as shipped.
const RETRY: RetryPolicy = RetryPolicy { first: Millis::new(5 * SECOND), ceiling: Millis::new(6 * HOUR), attempts: 24 };

pub(super) fn retry(root: &Table<'_>) -> RetryPolicy {
    retry_within(root, RETRY)
}

/// Reads `retry` of `within`; what it does not say is as in `default`.
pub(super) fn retry_within(within: &Table<'_>, default: RetryPolicy) -> RetryPolicy {
    let read = within.table("retry", |table| {
        let policy = RetryPolicy {
            first: table.length("first", default.first, Millis::new(1)..=Millis::new(DAY)),
            ceiling: table.length("ceiling", default.ceiling, Millis::new(1)..=Millis::new(7 * DAY)),
            attempts: table.count("attempts", default.attempts, 1..=1000),
        };
        if policy.ceiling < policy.first {
            let (first, ceiling) = (units::show_length(policy.first), units::show_length(policy.ceiling));
            if let Some(item) = table.get("ceiling").or_else(|| table.get("first")) {
                item.refuse(format!("the ceiling ({ceiling}) is below the first pause ({first})"));
            }
        }
        policy
    });
    read.unwrap_or(default)
}

impl Retention {
    pub(super) fn read(root: &Table<'_>) -> Self {
        read_or_default(root, "retention", |table| {
            let time =
                |key, default| table.length(key, Millis::new(default), Millis::new(SECOND)..=Millis::new(3650 * DAY));
            let retention = Self {
                idempotency: time("idempotency", DAY),
                message_ids: time("message_ids", 8 * DAY),
                submissions: time("submissions", 90 * DAY),
                attempts: time("attempts", 30 * DAY),
            };
            // Without the stored submission, a form of another customer with the same token would count as its duplicate.
            if retention.submissions < retention.idempotency
                && let Some(item) = table.get("submissions").or_else(|| table.get("idempotency"))
            {
                let [kept, keys] = [retention.submissions, retention.idempotency].map(units::show_length);
                item.refuse(format!("submissions ({kept}) must be kept at least as long as their keys (idempotency, {keys})"));
            }
            retention
        })
    }
}

impl StoreSettings {
    pub(super) fn read(root: &Table<'_>) -> Self {
        read_or_default(root, "store", |table| {
            let verify = table.get("verify").and_then(|item| item.word(&["always", "after_crash"]));
            Self {
                cache: table.size("cache", 64 * MIB, MIB..=TIB),
                verify: if verify == Some("after_crash") { Verify::AfterCrash } else { Verify::Always },
            }
        })
    }
}

/// The table under `key` or, where there is none, the defaults of an empty one.
fn read_or_default<T>(root: &Table<'_>, key: &'static str, read: impl Fn(&Table<'_>) -> T) -> T {
    match root.table(key, &read) {
        Some(settings) => settings,
        None => Table::empty(&read),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};
    use super::*;

    #[test]
    fn addresses_and_the_data_file_are_checked() {
        assert_refused(
            "",
            &[
                (
                    "listen = \"8080\"",
                    "2:10: listen: \"8080\" is no address and port: write one like \"127.0.0.1:8080\"",
                ),
                ("listen = 8080", "2:10: listen: must be a text in quotes, and is a whole number"),
                (
                    "listen = \"127.0.0.1:8081\"",
                    "2:10: listen: `listen` and `admin_listen` are both 127.0.0.1:8081: give one another port",
                ),
                ("data = \"\"", "2:8: data: is empty"),
                ("limits = 3", "2:10: limits: must be a table, and is a whole number"),
            ],
        );
        accepted("listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"");
        assert!(accepted("listen = \"[::1]:8080\"").listen.is_ipv6());
    }

    #[test]
    fn sizes_times_and_counts_have_units_and_ranges() {
        let size = "\"4MB\" is no size: write a whole number and its unit (B, KiB, MiB, GiB, TiB), like \"4MiB\"";
        let length = "\"9\" is no length of time: write a whole number and its unit (ms, s, m, h, d), like \"90s\"";
        assert_refused(
            "[limits]",
            &[
                ("body = \"4MB\"", &format!("2:8: limits.body: {size}")),
                (
                    "body = 4194304",
                    "2:8: limits.body: must be a size with its unit, like \"4MiB\", and is a whole number",
                ),
                ("body = \"1B\"", "2:8: limits.body: must be from 1KiB to 256MiB, and is 1B"),
                ("request = \"9\"", &format!("2:11: limits.request: {length}")),
                (
                    "request = 9.5",
                    "2:11: limits.request: must be a length of time with its unit, like \"90s\", and is a decimal number",
                ),
                ("request = \"90d\"", "2:11: limits.request: must be from 10ms to 10m, and is 90d"),
                ("connections = 0", "2:15: limits.connections: must be from 1 to 1000000, and is 0"),
                ("connections = -1", "2:15: limits.connections: must be from 1 to 1000000, and is -1"),
                (
                    "connections = 99999999999999999999",
                    "2:15: limits.connections: must be from 1 to 1000000, and is 99999999999999999999",
                ),
                ("connections = true", "2:15: limits.connections: must be a whole number, and is true or false"),
            ],
        );
        let limits = accepted("[limits]\nconnections = 0x10\nintake = 1_000\nfree_space = \"0B\"").limits;
        assert_eq!((limits.connections, limits.intake, limits.free_space), (16, 1000, 0));
    }

    #[test]
    fn one_body_must_fit_into_what_all_bodies_have() {
        let why = "can never be read while all bodies together have";
        assert_refused(
            "[limits]",
            &[
                ("body = \"65MiB\"", &format!("2:8: limits.body: a body of 65MiB {why} 64MiB")),
                ("bodies = \"1MiB\"", &format!("2:10: limits.bodies: a body of 4MiB {why} 1MiB")),
            ],
        );
    }

    #[test]
    fn retries_end_and_their_pauses_grow() {
        assert_refused(
            "[retry]",
            &[
                ("first = \"7h\"", "2:9: retry.first: the ceiling (6h) is below the first pause (7h)"),
                ("ceiling = \"1s\"", "2:11: retry.ceiling: the ceiling (1s) is below the first pause (5s)"),
                ("attempts = 0", "2:12: retry.attempts: must be from 1 to 1000, and is 0"),
            ],
        );
    }

    #[test]
    fn the_rest_is_checked_too() {
        assert_refused("[workers]", &[("threads = 0", "2:11: workers.threads: must be from 1 to 256, and is 0")]);
        assert_refused(
            "[retention]",
            &[
                ("attempts = \"0s\"", "2:12: retention.attempts: must be from 1s to 3650d, and is 0s"),
                (
                    "submissions = \"1h\"",
                    "2:15: retention.submissions: submissions (1h) must be kept at least as long as their keys (idempotency, 1d)",
                ),
                (
                    "idempotency = \"91d\"",
                    "2:15: retention.idempotency: submissions (90d) must be kept at least as long as their keys (idempotency, 91d)",
                ),
            ],
        );
        assert_refused(
            "[store]",
            &[
                ("verify = \"allways\"", "2:10: store.verify: \"allways\" is not known here: did you mean `always`?"),
                ("verify = \"no\"", "2:10: store.verify: \"no\" is not known here: there are `always`, `after_crash`"),
            ],
        );
        let equal = accepted("[retention]\nsubmissions = \"2h\"\nidempotency = \"2h\"").retention;
        assert_eq!(equal.submissions, equal.idempotency);
        assert_eq!(accepted("[store]\nverify = \"after_crash\"").store.verify, Verify::AfterCrash);
        assert_refused(
            "[meta]",
            &[
                ("app_secrets = []", "2:15: meta.app_secrets: is empty: leave it out, or put something in"),
                ("app_secrets = \"env:A\"", "2:15: meta.app_secrets: must be a list in brackets, and is a text"),
                (
                    &format!("app_secrets = [{}]", "\"env:A\",".repeat(9)),
                    "2:15: meta.app_secrets: has 9 secrets, and may have 8",
                ),
            ],
        );
    }
}
