//! Tests of the descriptions of metrics: they cover every metric of the code, and docs/metrics.md
//! repeats them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::{COUNTERS, GAUGES, HISTOGRAMS, parse_descriptions};

/// Variable that makes the test write the page instead of comparing it.
const WRITE_VARIABLE: &str = "FLOWGATE_WRITE_DOCS";

const HEAD: &str = "\
# Metrics

Prometheus reads the metrics at `http://127.0.0.1:8081/metrics` (`admin_listen` in the config). A
scrape costs the same however many rows wait. [monitoring/](monitoring/README.md) has a dashboard for
Grafana and rules for alerts.

A metric with labels appears when it has its first value. Each histogram has `_bucket`, `_sum` and
`_count`. Its unit is in its name.

The descriptions in `src/telemetry/mod.rs` are the source of this page:
`FLOWGATE_WRITE_DOCS=1 cargo test --lib metrics_page` writes it again.
";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, descriptions) in [
        ("Counters", COUNTERS),
        ("Gauges", GAUGES),
        ("Histograms", HISTOGRAMS),
    ] {
        let _ = write!(
            page,
            "\n## {title}\n| metric | labels | meaning |\n|---|---|---|\n"
        );
        for (name, labels, text) in parse_descriptions(descriptions) {
            let labels: Vec<String> = labels
                .split(',')
                .filter(|label| !label.is_empty())
                .map(|label| format!("`{label}`"))
                .collect();
            let labels = labels.join(", ");
            let _ = writeln!(page, "| `{name}` | {labels} | {text} |");
        }
    }
    page
}

#[test]
fn metrics_page_repeats_descriptions() {
    let (file, expected) = (project("docs/metrics.md"), page());
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        fs::write(&file, &expected).unwrap();
    }
    let text = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        text == expected,
        "docs/metrics.md differs from the descriptions: run `{WRITE_VARIABLE}=1 cargo test --lib metrics_page`"
    );
}

/// Collects the kind of each metric that a source file below `folder` names in a macro.
fn collect_metrics(folder: &Path, found: &mut BTreeMap<String, &'static str>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_metrics(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for kind in ["counter", "gauge", "histogram"] {
            for (_, rest) in text
                .match_indices(&format!("metrics::{kind}!("))
                .map(|(at, start)| text.split_at(at + start.len()))
            {
                let name = rest.trim_start().strip_prefix('"').map(|rest| {
                    let end = rest.find('"').unwrap();
                    rest[..end].to_owned()
                });
                let name = name.unwrap_or_else(|| {
                    panic!("{}: the name is not a literal", path.display());
                });
                found.insert(name, kind);
            }
        }
    }
}

#[test]
fn every_metric_is_described_once() {
    let mut in_code = BTreeMap::new();
    collect_metrics(&project("src"), &mut in_code);
    let mut described = BTreeMap::new();
    for (kind, descriptions) in [
        ("counter", COUNTERS),
        ("gauge", GAUGES),
        ("histogram", HISTOGRAMS),
    ] {
        for (name, _, _) in parse_descriptions(descriptions) {
            let earlier = described.insert(name.to_owned(), kind);
            assert_eq!(earlier, None, "{name}");
        }
    }
    assert_eq!(in_code, described);
}
