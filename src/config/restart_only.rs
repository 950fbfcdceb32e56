//! Compares two configs: finds the changes that a reload makes, and retains the settings that only
//! a restart can change.
//!
//! Secrets are compared by their locations only. The code that resolves the secrets compares their
//! values.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Config;

impl Config {
    /// Replaces all settings that need a restart by the settings in `started`. Returns the keys of
    /// the settings that differed.
    pub fn retain_restart_only(&mut self, started: &Self) -> Vec<&'static str> {
        let mut retained = Vec::new();
        let mut retain = |key, differs: bool| retained.extend(differs.then_some(key));
        macro_rules! keep {
            ($($key:literal: $($field:ident).+;)+) => {$(
                retain($key, self.$($field).+ != started.$($field).+);
                self.$($field).+.clone_from(&started.$($field).+);
            )+};
        }
        keep! {
            "listen": listen;
            "admin_listen": admin_listen;
            "data": data;
            "limits.max_body_memory": limits.max_body_memory;
            "limits.header_timeout": limits.header_timeout;
            "limits.idle_timeout": limits.idle_timeout;
            "limits.drain_timeout": limits.drain_timeout;
            "limits.max_connections": limits.max_connections;
            "limits.intake_queue": limits.intake_queue;
            "limits.max_batch": limits.max_batch;
            "limits.min_free_space": limits.min_free_space;
            "limits.max_idempotency_keys": limits.max_idempotency_keys;
            "workers.threads": workers.threads;
            "workers.queue": workers.queue;
            "retention.idempotency_ttl": retention.idempotency_ttl;
            "retention.message_id_ttl": retention.message_id_ttl;
            "store.page_cache": store.page_cache;
            "store.verify": store.verify;
            "dashboard": dashboard;
            "backup": backup;
        }
        // The running server retains `max_body_memory`, and one body must fit into that memory.
        let (limits, retention) = (&mut self.limits, &mut self.retention);
        for bytes in [&mut limits.max_webhook_body, &mut limits.max_flow_body] {
            *bytes = (*bytes).min(started.limits.max_body_memory);
        }
        // A submission must be stored at least as long as its keys. The storage time of keys
        // changes only with a restart.
        let least = started.retention.idempotency_ttl;
        retention.submissions = retention.submissions.max(least);
        retained
    }

    /// Returns the changes since `before`, one text each. Settings that need a restart are not
    /// compared.
    #[must_use]
    pub fn diff(&self, before: &Self) -> Vec<String> {
        let (limits, old_limits) = (&self.limits, &before.limits);
        let (retention, old_retention) = (&self.retention, &before.retention);
        let single = [
            (
                "limits.max_webhook_body",
                limits.max_webhook_body != old_limits.max_webhook_body,
            ),
            (
                "limits.max_flow_body",
                limits.max_flow_body != old_limits.max_flow_body,
            ),
            (
                "limits.request_timeout",
                limits.request_timeout != old_limits.request_timeout,
            ),
            ("log", self.log != before.log),
            ("timezone", self.timezone != before.timezone),
            ("retry", self.retry != before.retry),
            (
                "retention.submissions",
                retention.submissions != old_retention.submissions,
            ),
            (
                "retention.attempt_history",
                retention.attempt_history != old_retention.attempt_history,
            ),
            (
                "retention.audit_log",
                retention.audit_log != old_retention.audit_log,
            ),
        ];
        let mut changes: Vec<String> = single
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(key, _)| format!("{key} changed"))
            .collect();
        let (old, new) = (&before.flows, &self.flows);
        changes.extend(named_changes("flows", old, new, PartialEq::eq));
        let (old, new) = (&before.calendars, &self.calendars);
        changes.extend(named_changes("calendars", old, new, PartialEq::eq));
        // Only added and removed names are found here. The code that resolves the secrets compares
        // the rest.
        let (old, new) = (&before.destinations, &self.destinations);
        changes.extend(named_changes("destinations", old, new, |_, _| true));
        let (old, new) = (&before.gateways, &self.gateways);
        changes.extend(named_changes("gateways", old, new, |_, _| true));
        for (flow, routes) in &self.subscriptions.flows {
            let old = before.subscriptions.flows.get(flow);
            if old.is_some_and(|old| old != routes) {
                changes.push(format!("flows.{flow}.deliver changed"));
            }
        }
        if self.subscriptions.alerts != before.subscriptions.alerts {
            changes.push("alerts changed".to_owned());
        }
        changes
    }
}

/// Returns the entries that were added, removed or changed, of a table whose keys are user-defined
/// names.
fn named_changes<K: Ord + Display, V>(
    table: &str,
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    is_equal: impl Fn(&V, &V) -> bool,
) -> Vec<String> {
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let removed = removed.map(|name| (name, "removed"));
    let new = after
        .iter()
        .filter_map(|(name, value)| match before.get(name) {
            None => Some((name, "added")),
            Some(other) => (!is_equal(other, value)).then_some((name, "changed")),
        });
    let changes = removed.chain(new);
    changes
        .map(|(name, what)| format!("{table}.{name} {what}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse_valid;

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"UTC\"\nslot_length = \"1h\"\nhours = { mon = [\"09:00-17:00\"] }\n";

    #[test]
    fn restart_only_settings_are_retained_and_named() {
        let started = parse_valid("");
        let mut new = parse_valid(
            "listen = \"127.0.0.1:9\"\nadmin_listen = \"127.0.0.1:10\"\ndata = \"other\"\n\
             [limits]\nmax_webhook_body = \"3MiB\"\nmax_body_memory = \"65MiB\"\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\ndrain_timeout = \"1s\"\nmax_connections = 1\n\
             intake_queue = 1\nmax_batch = 1\nmin_free_space = \"0B\"\nmax_idempotency_keys = 1\n[workers]\nthreads = 3\nqueue = 1\n\
             [retention]\nidempotency_ttl = \"1h\"\nmessage_id_ttl = \"7d\"\nsubmissions = \"1h\"\n\
             [store]\npage_cache = \"1MiB\"\nverify = \"after_crash\"\n[backup]\nurl = \"nas\"\n",
        );
        let retained = new.retain_restart_only(&started);
        assert_eq!(retained.len(), 19, "{retained:?}");
        assert_eq!(
            new.diff(&started),
            [
                "limits.max_webhook_body changed",
                "retention.submissions changed"
            ]
        );
        assert_eq!(new.retention.submissions, started.retention.idempotency_ttl);
        assert_eq!(
            (new.limits.max_body_memory, new.data.as_path()),
            (started.limits.max_body_memory, started.data.as_path())
        );
        assert!(
            new.retain_restart_only(&started).is_empty(),
            "now it is as it was"
        );
    }

    #[test]
    fn max_webhook_body_is_capped_by_running_max_body_memory() {
        let started = parse_valid("");
        let mut new =
            parse_valid("[limits]\nmax_webhook_body = \"100MiB\"\nmax_body_memory = \"200MiB\"\n");
        assert_eq!(
            new.retain_restart_only(&started),
            ["limits.max_body_memory"]
        );
        assert_eq!(new.limits.max_webhook_body, started.limits.max_body_memory);
    }

    #[test]
    fn diff_lists_flow_and_calendar_changes() {
        let before = parse_valid(&format!("{CHAIR}[flows.a]\n[flows.b]\n[flows.c]\n"));
        let after = parse_valid(&format!(
            "{}[flows.b]\npath = \"/b\"\n[flows.c]\n[flows.d]\n",
            CHAIR.replace("17", "18")
        ));
        let expected = [
            "flows.a removed",
            "flows.b changed",
            "flows.d added",
            "calendars.chair changed",
        ];
        assert_eq!(after.diff(&before), expected);
        assert!(after.diff(&after).is_empty());
    }
}
