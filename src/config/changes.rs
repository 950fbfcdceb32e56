//! One config after another: what a running server can't change, and what has changed.
//!
//! Secrets are told by their places only; whoever has read them compares them.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Config;

impl Config {
    /// Keeps all that takes effect only at a start as it is in `started`. Gives the names of the keys where that makes a
    /// difference.
    pub fn keep_fixed(&mut self, started: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = |key, differs: bool| kept.extend(differs.then_some(key));
        macro_rules! keep {
            ($($key:literal: $($field:ident).+;)+) => {$(
                keep($key, self.$($field).+ != started.$($field).+);
                self.$($field).+.clone_from(&started.$($field).+);
            )+};
        }
        keep! {
            "listen": listen;
            "admin_listen": admin_listen;
            "data": data;
            "limits.bodies": limits.bodies;
            "limits.header_timeout": limits.header_timeout;
            "limits.idle": limits.idle;
            "limits.drain_timeout": limits.drain_timeout;
            "limits.connections": limits.connections;
            "limits.intake": limits.intake;
            "limits.batch": limits.batch;
            "limits.free_space": limits.free_space;
            "limits.idempotency_keys": limits.idempotency_keys;
            "workers.threads": workers.threads;
            "workers.queue": workers.queue;
            "retention.idempotency": retention.idempotency;
            "retention.message_ids": retention.message_ids;
            "store.cache": store.cache;
            "store.verify": store.verify;
        }
        // One body must fit into what all bodies have, which is still what it was.
        for bytes in [&mut self.limits.body, &mut self.limits.flow_body] {
            *bytes = (*bytes).min(started.limits.bodies);
        }
        // A submission must stay at least as long as its keys, which stay as long as they did.
        self.retention.submissions = self.retention.submissions.max(started.retention.idempotency);
        kept
    }

    /// What is not as it was in `before`, one text each, of all that takes effect without a start.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let single = [
            ("limits.body", self.limits.body != before.limits.body),
            ("limits.flow_body", self.limits.flow_body != before.limits.flow_body),
            ("limits.request", self.limits.request != before.limits.request),
            ("retry", self.retry != before.retry),
            ("retention.submissions", self.retention.submissions != before.retention.submissions),
            ("retention.attempts", self.retention.attempts != before.retention.attempts),
        ];
        let mut changes: Vec<String> =
            single.iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("{key} changed")).collect();
        changes.extend(named("flows", &before.flows, &self.flows));
        changes.extend(named("calendars", &before.calendars, &self.calendars));
        // Which have come and gone: who has read their secrets compares the rest.
        let names = |config: &Self| config.destinations.keys().map(|name| (name.clone(), ())).collect();
        changes.extend(named::<_, ()>("destinations", &names(before), &names(self)));
        let names = |config: &Self| config.gateways.keys().map(|name| (name.clone(), ())).collect();
        changes.extend(named::<_, ()>("gateways", &names(before), &names(self)));
        for (flow, routes) in &self.routes.flows {
            let old = before.routes.flows.get(flow);
            changes.extend(old.filter(|old| *old != routes).map(|_| format!("flows.{flow}.deliver changed")));
        }
        if self.routes.alerts != before.routes.alerts {
            changes.push("alerts changed".to_owned());
        }
        changes
    }
}

/// Tables under names that the user gave: which have come, gone, or are not what they were.
fn named<K: Ord + Display, V: PartialEq>(table: &str, before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> Vec<String> {
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name, "removed"));
    let come = after.iter().filter_map(|(name, value)| match before.get(name) {
        None => Some((name, "added")),
        Some(other) => (other != value).then_some((name, "changed")),
    });
    gone.chain(come).map(|(name, what)| format!("{table}.{name} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::accepted;

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }\n";

    #[test]
    fn what_needs_a_start_is_kept_and_named_and_the_rest_goes_through() {
        let started = accepted("");
        let mut new = accepted(
            "listen = \"127.0.0.1:9\"\nadmin_listen = \"127.0.0.1:10\"\ndata = \"other\"\n\
             [limits]\nbody = \"3MiB\"\nbodies = \"65MiB\"\nheader_timeout = \"1s\"\nidle = \"1s\"\ndrain_timeout = \"1s\"\nconnections = 1\n\
             intake = 1\nbatch = 1\nfree_space = \"0B\"\nidempotency_keys = 1\n[workers]\nthreads = 3\nqueue = 1\n\
             [retention]\nidempotency = \"1h\"\nmessage_ids = \"7d\"\nsubmissions = \"1h\"\n\
             [store]\ncache = \"1MiB\"\nverify = \"after_crash\"\n",
        );
        let kept = new.keep_fixed(&started);
        assert_eq!(kept.len(), 18, "{kept:?}");
        assert_eq!(new.changes_since(&started), ["limits.body changed", "retention.submissions changed"]);
        assert_eq!(new.retention.submissions, started.retention.idempotency);
        assert_eq!((new.limits.bodies, new.data.as_path()), (started.limits.bodies, started.data.as_path()));
        assert!(new.keep_fixed(&started).is_empty(), "now it is as it was");
    }

    #[test]
    fn a_body_that_would_never_fit_is_too_large() {
        let started = accepted("");
        let mut new = accepted("[limits]\nbody = \"100MiB\"\nbodies = \"200MiB\"\n");
        assert_eq!(new.keep_fixed(&started), ["limits.bodies"]);
        assert_eq!(new.limits.body, started.limits.bodies);
    }

    #[test]
    fn flows_and_calendars_come_go_and_change() {
        let before = accepted(&format!("{CHAIR}[flows.a]\n[flows.b]\n[flows.c]\n"));
        let after = accepted(&format!("{}[flows.b]\npath = \"/b\"\n[flows.c]\n[flows.d]\n", CHAIR.replace("17", "18")));
        let expected = ["flows.a removed", "flows.b changed", "flows.d added", "calendars.chair changed"];
        assert_eq!(after.changes_since(&before), expected);
        assert!(after.changes_since(&after).is_empty());
    }
}
