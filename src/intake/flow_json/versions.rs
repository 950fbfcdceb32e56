//! Checks the versions that a Flow JSON declares: of its own format and of the data API.

use serde_json::{Map, Value};

use super::findings::Findings;
use crate::domain::flow::{EncryptionMode, Flow};

/// Checks `version`, `data_api_version` and the location of the endpoint (*Flow JSON*, top-level
/// properties).
pub(super) fn check(root: &Map<String, Value>, flow: &Flow, report: &mut Findings) {
    let text = |name: &str| root.get(name).and_then(Value::as_str);
    let version = text("version").and_then(parse_version);
    if version.is_none() {
        report.add_error(
            "version",
            "is missing or not a version like \"7.1\": Meta requires it",
        );
    }
    let version_key = "data_api_version";
    match (flow.encryption, root.get(version_key)) {
        (EncryptionMode::Required, None) => report.add_error(
            version_key,
            "is missing, but the flow is encrypted and its screens must send requests: add \"data_api_version\": \"3.0\"",
        ),
        (EncryptionMode::None, Some(_)) => report.add_error(
            version_key,
            format!(
                "is set, so phones send encrypted requests to an endpoint, but flow {} expects plain JSON: set `encryption = \
                 \"required\"` in the config (`flowgate keys new` generates the key)",
                flow.name
            ),
        ),
        _ => {}
    }
    match text(version_key) {
        Some("4.0") if version.is_some_and(|version| version < (7, 3)) => {
            report.add_error(
                version_key,
                "\"4.0\" needs Flow JSON 7.3: write \"3.0\", or raise `version`",
            );
        }
        Some("3.0" | "4.0") => {}
        _ if root.contains_key(version_key) => {
            report.add_error(version_key, "must be \"3.0\" or \"4.0\"");
        }
        _ => {}
    }
    if root.contains_key("data_channel_uri") && version.is_none_or(|version| version >= (3, 0)) {
        report.add_error(
            "data_channel_uri",
            "is not allowed since Flow JSON 3.0: remove it, and set the endpoint in the Flow's settings (`endpoint_uri`)",
        );
    }
}

/// Parses a version: `7.1` is (7, 1).
fn parse_version(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
