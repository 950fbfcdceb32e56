//! The dashboard, the alert rules and docs/metrics.md fit the metrics that the server really
//! serves. The log level changes while the server runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fake_services::{FakeReceiver, flow};
use crate::support::form::Form;
use crate::support::gateway::{Gateway, Kind};
use crate::support::http::signed_post;
use crate::support::{Server, eventually, get};

fn monitoring(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/monitoring")
        .join(file)
}

/// Runs promtool. Returns `None` if promtool is not installed, which is a failure in CI.
fn promtool(args: &[&str]) -> Option<std::process::Output> {
    match Command::new("promtool").args(args).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "promtool is not installed ({error}): the Debian package `prometheus` contains it"
            );
            None
        }
    }
}

#[test]
fn alert_rules_pass_promtool() {
    for (args, file) in [
        (["check", "rules"], "alerts.yml"),
        (["test", "rules"], "alerts.test.yml"),
    ] {
        let file = monitoring(file).display().to_string();
        let Some(output) = promtool(&[&args[..], &[&*file]].concat()) else {
            return;
        };
        assert!(output.status.success(), "{output:?}");
    }
}

/// Starts a server, and causes a value of each metric that the dashboard and the rules name.
fn busy_server() -> (Server, FakeReceiver, Gateway) {
    let (crm, gateway) = (FakeReceiver::well(), Gateway::start(Kind::Waha));
    let tables = [flow(&["crm"]), crm.table("crm", ""), gateway.config("")].concat();
    let server = Server::start(&tables);
    assert!(server.post("/form", &Form::new("one")).is_accepted());
    crm.wait_for_accepted(1);
    let update = br#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"account_update","value":{}}]}]}"#;
    let webhook = server.connect().exchange(&signed_post("/webhook", update));
    assert_eq!(webhook.unwrap().status, 200);
    server.row(&["reload"]);
    (server, crm, gateway)
}

/// Returns the served metrics with their labels. Histograms have one name.
fn served_metrics(server: &Server) -> BTreeMap<String, BTreeSet<String>> {
    let page = get(server.admin_address(), "/metrics");
    let mut kinds = BTreeMap::new();
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.text().lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (metric, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|name| kinds.get(*name).is_some_and(|kind| kind == "histogram"));
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once('='))
            .map(|(label, _)| label.to_owned())
            .filter(|label| label != "le");
        let name = histogram.unwrap_or(name).to_owned();
        metrics.entry(name).or_default().extend(labels);
    }
    metrics
}

/// Returns the names of metrics in a text. `_bucket` is removed.
fn named_metrics(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with("flowgate_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn dashboard_rules_and_docs_name_served_metrics() {
    let (server, _crm, _gateway) = busy_server();
    let files = ["grafana.json", "alerts.yml", "alerts.test.yml"];
    let texts = files.map(|file| std::fs::read_to_string(monitoring(file)).unwrap());
    let dashboard: serde_json::Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(dashboard["uid"], "flowgate");
    let metrics = eventually("the gateway has been probed", || {
        Some(served_metrics(&server)).filter(|metrics| metrics.contains_key("flowgate_gateway_up"))
    });
    for (file, text) in files.iter().zip(&texts) {
        let named = named_metrics(text);
        assert!(named.len() > 10, "{file}: {named:?}");
        for name in named {
            assert!(
                metrics.contains_key(&name),
                "{file} names {name}, which is not served: {:?}",
                metrics.keys()
            );
        }
    }
    // Each row of the page: | `name` | `label`, `label` | text |
    let page = include_str!("../../docs/metrics.md");
    let documented: BTreeMap<&str, BTreeSet<String>> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`');
            let labels = cells.next()?.split(", ");
            let labels = labels.map(|label| label.trim_matches('`').to_owned());
            Some((name, labels.filter(|label| !label.is_empty()).collect()))
        })
        .collect();
    for (name, labels) in &metrics {
        assert_eq!(documented.get(name.as_str()), Some(labels), "{name}");
    }
}

#[test]
fn log_level_changes_while_server_runs() {
    let mut server = Server::stopped(&flow(&[]));
    let stopped = server.cli(&["log-level"]);
    assert_eq!(stopped.code, 4, "{stopped:?}");
    server.start_again();
    let level = |args: &[&str]| server.row(&[&["log-level"], args].concat());
    let warnings = || server.row(&["status"])["warnings"].to_string();
    assert_eq!(level(&[])["filter"], "info");
    assert!(!warnings().contains("log filter"), "{}", warnings());
    // A request for the health is logged at level debug only.
    let debug_line = "\"request.path\":\"/healthz\"";
    server.get("/healthz");
    assert!(!server.log().contains(debug_line));
    let changed = level(&["flowgate=debug"]);
    assert_eq!(changed["filter"], "flowgate=debug");
    assert_eq!(changed["configured"], "info");
    assert!(
        warnings().contains("the log filter is flowgate=debug until the next start: `flowgate log-level info` restores it"),
        "{}",
        warnings()
    );
    eventually("a debug line is in the log", || {
        server.get("/healthz");
        server.log().contains(debug_line).then_some(())
    });
    for wrong in ["inof", "flowgate::store=verbose", "", "5"] {
        let output = server.cli(&["log-level", wrong]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(
            output
                .err
                .contains("write a level (off, error, warn, info, debug or trace)"),
            "{output:?}"
        );
    }
    assert_eq!(level(&[])["filter"], "flowgate=debug");

    // A reload changes the filter only if the config has another one than before.
    server.row(&["reload"]);
    assert_eq!(level(&[])["filter"], "flowgate=debug");
    crate::support::fake_services::add_top_level_keys(&server, "log = \"warn\"");
    let reload = server.row(&["reload"]);
    assert_eq!(reload["changed"], serde_json::json!(["log changed"]));
    assert_eq!(level(&[])["filter"], "warn");
    let text = server.cli(&["log-level"]).out;
    assert_eq!(text.trim(), "warn (from `log` in the config)");
}

#[test]
fn environment_sets_log_level_before_config() {
    let mut server = Server::stopped(&flow(&[]));
    server.start_with(&[("FLOWGATE_LOG", "error")]);
    let text = server.cli(&["log-level"]).out;
    assert_eq!(text.trim(), "error (from FLOWGATE_LOG)");
}
