//! Reads the settings of the whole program, with the meaning, unit, default and range of each.
//!
//! The `read` function of each table is the only place of defaults and ranges. The shipped
//! `config.toml` repeats the defaults, and a test compares the two. This file has the addresses,
//! `[workers]`, `[retention]` and `[store]`; the other tables have their own files.

mod backup;
mod base_url;
mod dashboard;
mod graph_api;
mod leads;
mod limits;
mod meta;
mod retry;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) use backup::read_backup;
pub use backup::{BackupLocation, BackupSettings, CopySettings, S3Settings};
pub use dashboard::DashboardSettings;
pub(super) use dashboard::read_dashboard;
pub use leads::LeadRequestSettings;
pub(super) use leads::read_leads;
pub use limits::LimitSettings;
pub(super) use limits::read_limits;
pub use meta::MetaSettings;
pub(super) use meta::read_meta;
pub(super) use retry::{read_retry, read_retry_or};

use super::reader::TableReader;
use super::units::{MIB, TIB, days, format_duration};
use crate::domain::time::Millis;
use crate::telemetry::check_log_filter;

/// Addresses of the server, and path of the data file.
pub(super) struct Endpoints {
    pub(super) listen: SocketAddr,
    pub(super) admin_listen: SocketAddr,
    pub(super) public_url: Option<String>,
    pub(super) data: PathBuf,
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
    /// Time for which entries of the audit log are stored. Default 1 y.
    pub audit_log: Millis,
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

/// Reads the addresses and the path of the data file.
pub(super) fn read_endpoints(root: &TableReader<'_>) -> Endpoints {
    let address = |key, port| {
        root.parse(key, parse_address)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let endpoints = Endpoints {
        listen: address("listen", 8080),
        admin_listen: address("admin_listen", 8081),
        public_url: root.parse("public_url", base_url::parse_public_url),
        data: root
            .folder()
            .join(root.text("data").as_deref().unwrap_or("flowgate.redb")),
    };
    if endpoints.listen == endpoints.admin_listen && endpoints.listen.port() != 0 {
        root.error_at(
            &["admin_listen", "listen"],
            format!(
                "`listen` and `admin_listen` are both {}: change the port of one of them",
                endpoints.listen
            ),
        );
    }
    endpoints
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address with a port: write one like \"127.0.0.1:8080\"")
    })
}

/// Reads the filter of the log.
pub(super) fn read_log(root: &TableReader<'_>) -> String {
    let filter = root.parse("log", check_log_filter);
    filter.unwrap_or("info").to_owned()
}

/// Reads `[workers]`.
pub(super) fn read_workers(root: &TableReader<'_>) -> WorkerSettings {
    root.read_table_or_empty("workers", |table| WorkerSettings {
        threads: table.integer("threads", 2, 1..=256),
        queue: table.integer("queue", 1024, 1..=1_000_000),
    })
}

/// Reads `[retention]`.
pub(super) fn read_retention(root: &TableReader<'_>) -> RetentionSettings {
    root.read_table_or_empty("retention", |table| {
        let time =
            |key, default| table.duration(key, days(default), Millis::from_secs(1)..=days(3650));
        let retention = RetentionSettings {
            idempotency_ttl: time("idempotency_ttl", 1),
            message_id_ttl: time("message_id_ttl", 8),
            submissions: time("submissions", 90),
            attempt_history: time("attempt_history", 30),
            audit_log: time("audit_log", 365),
        };
        // Without the stored submission, a form of another customer with the same token would
        // count as a duplicate.
        if retention.submissions < retention.idempotency_ttl {
            let [submissions, keys] =
                [retention.submissions, retention.idempotency_ttl].map(format_duration);
            table.error_at(
                &["submissions", "idempotency_ttl"],
                format!(
                    "submissions ({submissions}) must not be shorter than idempotency_ttl ({keys})"
                ),
            );
        }
        retention
    })
}

/// Reads `[store]`.
pub(super) fn read_store(root: &TableReader<'_>) -> StoreSettings {
    use VerifyPolicy::{AfterCrash, Always};
    root.read_table_or_empty("store", |table| {
        let verify = table.choice("verify", [("always", Always), ("after_crash", AfterCrash)]);
        StoreSettings {
            page_cache: table.size("page_cache", 64 * MIB, MIB..=TIB),
            verify: verify.unwrap_or(Always),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn addresses_and_data_path_are_checked() {
        assert_errors(
            "",
            r#"
            listen = "8080"
            => 2:10: listen: "8080" is not an address with a port: write one like "127.0.0.1:8080"
            listen = 8080
            => 2:10: listen: must be a text in quotes, and is a whole number
            listen = "127.0.0.1:8081"
            => 2:10: listen: `listen` and `admin_listen` are both 127.0.0.1:8081: change the port of one of them
            data = ""
            => 2:8: data: is empty
            log = "inof"
            => 2:7: log: "inof" has no log level: write a level (off, error, warn, info, debug or trace), or levels of modules such as "info,flowgate::store=debug"
            limits = 3
            => 2:10: limits: must be a table, and is a whole number
            "#,
        );
        parse_valid("listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"");
        assert!(parse_valid("listen = \"[::1]:8080\"").listen.is_ipv6());
    }

    #[test]
    fn worker_retention_and_store_settings_are_checked() {
        assert_errors(
            "",
            r#"
            workers.threads = 0
            => 2:19: workers.threads: must be from 1 to 256, and is 0
            retention.attempt_history = "0s"
            => 2:29: retention.attempt_history: must be from 1s to 3650d, and is 0s
            retention.submissions = "1h"
            => 2:25: retention.submissions: submissions (1h) must not be shorter than idempotency_ttl (1d)
            retention.idempotency_ttl = "91d"
            => 2:29: retention.idempotency_ttl: submissions (90d) must not be shorter than idempotency_ttl (91d)
            store.verify = "allways"
            => 2:16: store.verify: "allways" is not a valid value: did you mean `always`?
            store.verify = "no"
            => 2:16: store.verify: "no" is not a valid value: expected one of `always`, `after_crash`
            "#,
        );
        let equal = "[retention]\nsubmissions = \"2h\"\nidempotency_ttl = \"2h\"";
        let equal = parse_valid(equal).retention;
        assert_eq!(equal.submissions, equal.idempotency_ttl);
        let store = parse_valid("[store]\nverify = \"after_crash\"").store;
        assert_eq!(store.verify, VerifyPolicy::AfterCrash);
    }
}
