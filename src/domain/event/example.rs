//! What each kind of event may look like, for templates to be tried on and for tests of a destination. Nothing of it happened.
//!
//! The shapes are those of `docs/events`: a test here holds them against the schemas.

use serde_json::{Map, Value, json};

use super::{BODY_VERSION, EventKind};
use crate::domain::time::Timestamp;

/// How much an example tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What every event of its kind does: what may be missing is missing, what may be null is null.
    Least,
    /// What most do.
    Usual,
    /// All that one may tell, also what excludes each other.
    All,
}

/// An event of `kind` that became true at `at`, as its body has it.
#[must_use]
pub fn example(kind: EventKind, at: Timestamp, extent: Extent) -> Map<String, Value> {
    let data: Map<String, Value> =
        parts(kind, extent).iter().map(|name| ((*name).to_owned(), part(name, kind, at, extent))).collect();
    let event = [
        ("type", json!(kind.as_str())),
        ("timestamp", json!(at)),
        ("version", json!(BODY_VERSION)),
        ("data", Value::Object(data)),
    ];
    event.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// The parts of its `data`.
fn parts(kind: EventKind, extent: Extent) -> &'static [&'static str] {
    use EventKind as Kind;
    let pick = |least, usual, all| match extent {
        Extent::Least => least,
        Extent::Usual => usual,
        Extent::All => all,
    };
    let form: [&[&str]; 3] =
        [&["flow", "submission"], &["flow", "submission", "booking"], &["flow", "submission", "booking", "conflict"]];
    match kind {
        Kind::SubmissionAccepted | Kind::SubmissionUpdated => pick(form[0], form[1], form[2]),
        Kind::LeadAssigned | Kind::LeadWaiting => pick(
            &["flow", "submission", "lead"],
            &["flow", "submission", "booking", "lead"],
            &["flow", "submission", "booking", "conflict", "lead"],
        ),
        Kind::BookingConfirmed | Kind::BookingCancelled => form[1],
        Kind::BookingConflict => &["flow", "submission", "conflict"],
        Kind::DraftAbandoned => &["flow", "draft"],
        Kind::GatewayDown | Kind::GatewayNeedsPerson => &["gateway"],
        Kind::FlowUnhealthy => pick(&["health"], &["flow", "health"], &["flow", "health"]),
        Kind::NumberSilent => &["number"],
        Kind::JobDead => pick(&["job"], &["flow", "job"], &["flow", "job"]),
        Kind::DestinationStopped => &["destination"],
    }
}

fn part(name: &str, kind: EventKind, at: Timestamp, extent: Extent) -> Value {
    let is_more = extent != Extent::Least;
    // Null where no more is told than must be.
    let known = |value: Value| if is_more { value } else { Value::Null };
    let user = || json!({"id": known(json!("US.13491208655302741918")), "phone": known(json!("12025550123"))});
    let answers = || if is_more { json!({"name": "Test", "message": "Nothing is to be done."}) } else { json!({}) };
    match name {
        "submission" => json!({
            "id": 1, "flow_token": known(json!("test")), "user": user(), "channel": "encrypted",
            "message_id": known(json!("wamid.test")), "received_at": at, "answers": answers(),
            "problems": if extent == Extent::All { json!(["message: is too short"]) } else { json!([]) },
        }),
        "draft" => json!({
            "flow_token": known(json!("test")), "user": user(), "screen": "DETAILS", "answers": answers(),
            "updated_at": at,
        }),
        "booking" => {
            let state = if kind == EventKind::BookingCancelled { "cancelled" } else { "confirmed" };
            let mut booking = json!({
                "id": 1, "calendar": "chair", "date": "2027-01-04", "time": "09:00",
                "starts_at": "2027-01-04T08:00:00.000Z", "state": state,
            });
            if let (Extent::All, Some(booking)) = (extent, booking.as_object_mut()) {
                booking.insert("moved_from".to_owned(), json!({"date": "2027-01-03", "time": "10:00"}));
            }
            booking
        }
        "conflict" => json!("This time has just been taken. Please choose another."),
        "lead" if kind == EventKind::LeadWaiting => {
            json!({"id": 1, "team": "sales", "agent": null, "reason": "nobody_free"})
        }
        "lead" => json!({"id": 1, "team": "sales", "agent": "Ann", "reason": "least_loaded"}),
        "gateway" => {
            let state = if kind == EventKind::GatewayDown { "STOPPED" } else { "SCAN_QR_CODE" };
            let advice = "`flowgate gateways show office` says what was tried";
            json!({"name": "office", "kind": "waha", "state": state, "since": at, "advice": advice})
        }
        "health" => json!({
            "source": "meta", "verdict": "alert", "meta_flow_id": known(json!("17")),
            "meta_event": known(json!("ENDPOINT_LATENCY")), "state": known(json!("ACTIVATED")),
            "threshold": known(json!(5000.0)), "findings": if is_more { json!(["It is slow"]) } else { json!([]) },
            "advice": known(json!("`flowgate flows health` shows its figures")), "at": at,
        }),
        "job" => json!({
            "id": 1, "kind": "deliver", "submission_id": known(json!(1)), "destination": known(json!("crm")),
            "attempts": 24, "reason": "answered 500 Internal Server Error",
        }),
        "number" => json!({
            "phone_number_id": "106540352242922", "phone": known(json!("15550783881")), "last_message_at": at, "expected": 20,
            "advice": "look in Meta's dashboard whether the app is still subscribed to `messages` and `standby`",
        }),
        "destination" => json!({"name": "crm", "reason": "it answered 410 Gone: it wants no more"}),
        _ => json!("appointment"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const EXTENTS: [Extent; 3] = [Extent::Least, Extent::Usual, Extent::All];

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events")
    }

    fn read(name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
    }

    /// The properties that `schema` and those that it refers to have, and `told` has not.
    fn missing_of(schema: &Value, told: &Value, at: &str, parts: &Value, missing: &mut Vec<String>) {
        if let Some(to) = schema["$ref"].as_str() {
            let part = parts.pointer(to.split_once('#').unwrap().1).unwrap_or_else(|| panic!("{to}"));
            missing_of(part, told, at, parts, missing);
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            match told.get(name) {
                None | Some(Value::Null) => missing.push(format!("{at}.{name}")),
                Some(told) => missing_of(below, told, &format!("{at}.{name}"), parts, missing),
            }
        }
    }

    #[test]
    fn each_has_the_shape_that_the_schema_of_its_kind_says() {
        for kind in EventKind::ALL {
            let file = folder().join(format!("{kind}.schema.json"));
            let options = jsonschema::options().with_base_uri(format!("file://{}", file.display()));
            let schema = options.should_validate_formats(true).build(&read(&format!("{kind}.schema.json"))).unwrap();
            for extent in EXTENTS {
                let event = Value::Object(example(kind, Timestamp::from_millis(1_800_000_000_000), extent));
                let wrong: Vec<_> = schema.iter_errors(&event).map(|e| format!("{}: {e}", e.instance_path())).collect();
                assert_eq!(wrong, [""; 0], "{kind}, {extent:?}: {event}");
            }
        }
    }

    #[test]
    fn the_longest_tells_all_that_a_schema_knows() {
        let parts = read("parts.schema.json");
        for kind in EventKind::ALL {
            let event = Value::Object(example(kind, Timestamp::ZERO, Extent::All));
            let mut missing = Vec::new();
            missing_of(&read(&format!("{kind}.schema.json")), &event, "", &parts, &mut missing);
            // Nobody has a lead that waits.
            missing.retain(|path| kind != EventKind::LeadWaiting || path != ".data.lead.agent");
            missing.dedup();
            assert_eq!(missing, [""; 0], "{kind}");
        }
    }

    #[test]
    fn the_shortest_tells_nothing_that_can_be_left_out() {
        for kind in EventKind::ALL {
            let file = folder().join(format!("{kind}.schema.json"));
            let options = jsonschema::options().with_base_uri(format!("file://{}", file.display()));
            let schema = options.build(&read(&format!("{kind}.schema.json"))).unwrap();
            let event = Value::Object(example(kind, Timestamp::ZERO, Extent::Least));
            for part in event["data"].as_object().unwrap().keys() {
                let mut less = event.clone();
                less["data"].as_object_mut().unwrap().remove(part);
                assert!(!schema.is_valid(&less), "{kind} can do without {part}");
            }
        }
    }
}
