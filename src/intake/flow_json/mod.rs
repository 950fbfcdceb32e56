//! A Flow JSON (what Meta's Flow Builder exports) held against the flow of the config that is to answer for it.
//!
//! Meta's own validation looks at the Flow JSON alone, and at a phone it is too late: what does not fit there is a generic
//! error for the customer and an error notification for us. So this says beforehand what a phone would refuse, and what
//! would never reach us. What Meta refuses by itself at upload is left to Meta, but for routes, which are ours to keep.
//!
//! Pure: a text and a flow in, findings out. Rules are those of *Flow JSON* (Meta's reference), of its published validator
//! and of the web client, as far as both are named beside them.

mod complaints;
mod data;
mod document;
mod routes;
mod screens;
mod selects;
mod tokens;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::flow::{Encryption, Flow};
use document::Screen;

/// Something that does not fit, or should be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where in the Flow JSON: `screens[2].DATE.data.slots`.
    pub place: String,
    /// What is wrong there and what to do, as a sentence that goes on from the place.
    pub what: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Forms will fail.
    Error,
    /// It works, perhaps not as expected.
    Note,
}

/// A text that is no Flow JSON at all.
#[derive(Debug, thiserror::Error)]
pub enum NotFlowJson {
    /// No JSON.
    #[error("it is no JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but no object.
    #[error("it is JSON, but no object")]
    NotAnObject,
}

/// What there is to say of a Flow JSON for `flow`, in its order. Nothing: it fits.
///
/// # Errors
/// [`NotFlowJson`] for a text that has nothing to look at.
pub fn check(text: &str, flow: &Flow) -> Result<Vec<Finding>, NotFlowJson> {
    let whole: Value = serde_json::from_str(text)?;
    let root = whole.as_object().ok_or(NotFlowJson::NotAnObject)?;
    let mut report = Report::default();
    versions(root, flow, &mut report);
    let screens = document::screens(root, &mut report);
    if !screens.is_empty() {
        routes::check(root, &screens, flow, &mut report);
        screens::check(&screens, flow, &mut report);
        complaints::check(&screens, flow, &mut report);
        data::check(&screens, flow, &mut report);
        tokens::check(&screens, flow, &mut report);
    }
    Ok(report.0)
}

/// The findings so far.
#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn error(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Error, place: place.into(), what: what.into() });
    }

    fn note(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Note, place: place.into(), what: what.into() });
    }
}

/// Whether phones ask an endpoint: Meta's validator tells flows with one by their `data_api_version`.
fn has_endpoint(root: &Map<String, Value>, flow: &Flow) -> bool {
    flow.encryption == Encryption::Required || root.contains_key("data_api_version")
}

/// The screen of this id.
fn named<'s, 'a>(screens: &'s [Screen<'a>], id: &str) -> Option<&'s Screen<'a>> {
    screens.iter().find(|screen| screen.id == id)
}

/// `version`, `data_api_version` and where the endpoint is (*Flow JSON*, top-level properties).
fn versions(root: &Map<String, Value>, flow: &Flow, report: &mut Report) {
    let text = |name: &str| root.get(name).and_then(Value::as_str);
    let version = text("version").and_then(numbers);
    if version.is_none() {
        report.error("version", "is missing, or no text like \"7.1\": Meta reads the Flow JSON by it");
    }
    let place = "data_api_version";
    match (flow.encryption, root.get(place)) {
        (Encryption::Required, None) => report.error(
            place,
            "is missing, so that no screen asks for an answer, and the flow is encrypted: write \"data_api_version\": \"3.0\"",
        ),
        (Encryption::None, Some(_)) => report.error(
            place,
            format!(
                "is there, so that phones ask an endpoint, encrypted; flow {} takes plain JSON: set `encryption = \
                 \"required\"` in the config (`flowgate keys new` makes the key)",
                flow.name
            ),
        ),
        _ => {}
    }
    match text(place) {
        Some("4.0") if version.is_some_and(|version| version < (7, 3)) => {
            report.error(place, "\"4.0\" needs Flow JSON 7.3: write \"3.0\", or raise `version`");
        }
        Some("3.0" | "4.0") => {}
        _ if root.contains_key(place) => report.error(place, "must be \"3.0\" or \"4.0\""),
        _ => {}
    }
    if root.contains_key("data_channel_uri") && version.is_none_or(|version| version >= (3, 0)) {
        report.error(
            "data_channel_uri",
            "is refused since Flow JSON 3.0: take it out, and set the endpoint in the Flow's settings (`endpoint_uri`)",
        );
    }
}

/// `7.1` as (7, 1).
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests;
