//! Renders the body of an event and of a test.
//!
//! A body follows *Standard Webhooks* (`type`, `timestamp`, `data`) and adds the version of its
//! shape. The body is written once, when the event happens, and is the same in all attempts. A late
//! delivery therefore describes the state at the time of the event.

use serde::Serialize;
use serde_json::json;

use super::data::EventData;
use super::kind::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::time::Timestamp;

/// Version of the shape of event bodies. Within one version, parts may be added. No part is removed
/// or changes its meaning.
pub const BODY_VERSION: u8 = 1;

/// Complete body of an event or of a test.
#[derive(Serialize)]
struct Body<D> {
    r#type: &'static str,
    timestamp: Timestamp,
    version: u8,
    data: D,
}

fn render(r#type: &'static str, timestamp: Timestamp, data: impl Serialize) -> Box<str> {
    let body = Body {
        r#type,
        timestamp,
        version: BODY_VERSION,
        data,
    };
    // The serialization of names and texts can't fail.
    serde_json::to_string(&body).unwrap_or_default().into()
}

/// Renders the body of an event of `kind` that happened at `at`, as JSON text.
#[must_use]
pub fn render_body(kind: EventKind, at: Timestamp, data: &EventData<'_>) -> Box<str> {
    render(kind.as_str(), at, data)
}

/// Renders the body of a test, as JSON text. The body states that nothing has happened.
#[must_use]
pub fn render_test_body(destination: &DestinationName, at: Timestamp) -> Box<str> {
    let data = json!({"test": true, "message": test_message(destination)});
    render("test", at, data)
}

/// Returns the message of a test for people.
#[must_use]
pub fn test_message(destination: &DestinationName) -> String {
    format!(
        "This is a test of destination {destination}. Nothing has happened, and no action is needed."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    #[test]
    fn test_body_is_marked_as_test() {
        let crm = DestinationName::new("crm").unwrap();
        assert_eq!(
            &*render_test_body(&crm, AT),
            r#"{"type":"test","timestamp":"2023-11-14T22:13:20.123Z","version":1,"data":{"test":true,"message":"This is a test of destination crm. Nothing has happened, and no action is needed."}}"#
        );
        assert_eq!(EventKind::from_name("test"), None, "no event has its name");
    }

    #[test]
    fn body_has_type_timestamp_version_and_data() {
        assert_eq!(
            &*render_body(EventKind::JobDead, AT, &EventData::default()),
            r#"{"type":"job.dead","timestamp":"2023-11-14T22:13:20.123Z","version":1,"data":{}}"#
        );
    }
}
