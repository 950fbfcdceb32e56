//! Creates sample events of each kind, for checks of templates and tests of a destination. Nothing
//! in a sample has really happened.
//!
//! A test compares the samples with the schemas in `docs/events`.

use serde_json::{Map, Value, json};

use super::{BODY_VERSION, EventKind};
use crate::domain::time::Timestamp;

/// Number of optional parts and values in a sample event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Only the parts and values that every event of its kind has. Optional parts are missing,
    /// optional values are null.
    Minimal,
    /// The parts and values that most events have.
    Typical,
    /// All possible parts and values, including parts that exclude each other.
    Full,
}

/// Returns the fields of the body of a sample event of `kind` that happened at `at`.
#[must_use]
pub fn sample_event(
    kind: EventKind,
    at: Timestamp,
    completeness: Completeness,
) -> Map<String, Value> {
    let part = |name: &&'static str| (*name, sample_part(name, kind, at, completeness));
    let parts = part_names(kind, completeness).iter().map(part);
    let event = [
        ("type", json!(kind.as_str())),
        ("timestamp", json!(at)),
        ("version", json!(BODY_VERSION)),
        ("data", parts.collect()),
    ];
    Map::from_iter(event.map(|(name, value)| (name.to_owned(), value)))
}

/// Returns the names of the parts of `data`.
fn part_names(kind: EventKind, completeness: Completeness) -> &'static [&'static str] {
    use EventKind as Kind;
    let select = |least, usual, all| match completeness {
        Completeness::Minimal => least,
        Completeness::Typical => usual,
        Completeness::Full => all,
    };
    let form: [&[&str]; 3] = [
        &["flow", "submission"],
        &["flow", "submission", "booking"],
        &["flow", "submission", "booking", "conflict"],
    ];
    match kind {
        Kind::SubmissionAccepted | Kind::SubmissionUpdated => select(form[0], form[1], form[2]),
        Kind::LeadAssigned | Kind::LeadWaiting | Kind::LeadClosed => select(
            &["flow", "submission", "lead"],
            &["flow", "submission", "booking", "lead"],
            &["flow", "submission", "booking", "conflict", "lead"],
        ),
        Kind::BookingConfirmed | Kind::BookingCancelled => form[1],
        Kind::BookingConflict => &["flow", "submission", "conflict"],
        Kind::DraftAbandoned => &["flow", "draft"],
        Kind::GatewayDown | Kind::GatewayNeedsPerson => &["gateway"],
        Kind::FlowUnhealthy => select(&["health"], &["flow", "health"], &["flow", "health"]),
        Kind::NumberSilent => &["number"],
        Kind::JobDead => select(&["job"], &["flow", "job"], &["flow", "job"]),
        Kind::DestinationStopped => &["destination"],
        Kind::BackupFailed => &["backup"],
    }
}

fn sample_part(name: &str, kind: EventKind, at: Timestamp, completeness: Completeness) -> Value {
    let has_optional = completeness != Completeness::Minimal;
    // Optional values are null in a minimal sample.
    let optional = |value: Value| if has_optional { value } else { Value::Null };
    let customer = || json!({"id": optional(json!("US.13491208655302741918")), "phone": optional(json!("12025550123"))});
    let answers = || {
        if has_optional {
            json!({"name": "Test", "message": "No action is needed."})
        } else {
            json!({})
        }
    };
    match name {
        "submission" => json!({
            "id": 1, "flow_token": optional(json!("test")), "customer": customer(), "channel": "encrypted",
            "message_id": optional(json!("wamid.test")), "received_at": at, "answers": answers(),
            "problems": if completeness == Completeness::Full { json!(["message: is too short"]) } else { json!([]) },
        }),
        "draft" => json!({
            "flow_token": optional(json!("test")), "customer": customer(), "screen": "DETAILS", "answers": answers(),
            "updated_at": at,
        }),
        "booking" => sample_booking(kind, completeness),
        "conflict" => json!("This time has just been taken. Please choose another."),
        "lead" if kind == EventKind::LeadWaiting => {
            json!({"id": 1, "team": "sales", "agent": null, "reason": "no_agent_free"})
        }
        "lead" if kind == EventKind::LeadClosed => {
            json!({"id": 1, "team": "sales", "agent": optional(json!("Ann")), "reason": "least_loaded", "close_reason": "age"})
        }
        "lead" => json!({"id": 1, "team": "sales", "agent": "Ann", "reason": "least_loaded"}),
        "gateway" => {
            let state = if kind == EventKind::GatewayDown {
                "STOPPED"
            } else {
                "SCAN_QR_CODE"
            };
            let advice = "`flowgate gateways show office` shows the recovery actions so far";
            json!({"name": "office", "kind": "waha", "state": state, "since": at, "suggestion": advice})
        }
        "health" => json!({
            "source": "meta", "severity": "alert", "meta_flow_id": optional(json!("17")),
            "meta_event": optional(json!("ENDPOINT_LATENCY")), "state": optional(json!("ACTIVATED")),
            "threshold": optional(json!(5000.0)), "findings": if has_optional { json!(["It is slow"]) } else { json!([]) },
            "suggestion": optional(json!("`flowgate flows health` shows its figures")), "at": at,
        }),
        "job" => json!({
            "id": 1, "kind": "deliver", "submission_id": optional(json!(1)), "destination": optional(json!("crm")),
            "attempts": 24, "reason": "responded with 500 Internal Server Error",
        }),
        "number" => json!({
            "phone_number_id": "106540352242922", "phone": optional(json!("15550783881")), "last_message_at": at, "expected": 20,
            "suggestion": "check in Meta's dashboard whether the app is still subscribed to `messages` and `standby`",
        }),
        "destination" => {
            json!({"name": "crm", "reason": "the destination responded with 410 Gone"})
        }
        "backup" => json!({"reason": "the backup to s3://shop is late"}),
        _ => json!("appointment"),
    }
}

fn sample_booking(kind: EventKind, completeness: Completeness) -> Value {
    let state = match kind {
        EventKind::BookingCancelled => "cancelled",
        _ => "confirmed",
    };
    let mut booking = json!({
        "id": 1, "calendar": "chair", "date": "2027-01-04", "time": "09:00",
        "starts_at": "2027-01-04T08:00:00.000Z", "state": state,
    });
    if let (Completeness::Full, Some(booking)) = (completeness, booking.as_object_mut()) {
        let before = json!({"date": "2027-01-03", "time": "10:00"});
        booking.insert("moved_from".to_owned(), before);
    }
    booking
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use Completeness::{Full, Minimal, Typical};

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events")
    }

    fn read_schema(name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
    }

    /// Collects the properties of `schema`, and of the schemas that it refers to, that are missing
    /// in `sample`.
    fn collect_missing(
        schema: &Value,
        sample: &Value,
        at: &str,
        parts: &Value,
        missing: &mut Vec<String>,
    ) {
        if let Some(reference) = schema["$ref"].as_str() {
            let part = parts
                .pointer(reference.split_once('#').unwrap().1)
                .unwrap_or_else(|| panic!("{reference}"));
            collect_missing(part, sample, at, parts, missing);
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            match sample.get(name) {
                None | Some(Value::Null) => missing.push(format!("{at}.{name}")),
                Some(inner) => {
                    collect_missing(below, inner, &format!("{at}.{name}"), parts, missing);
                }
            }
        }
    }

    fn validator(kind: EventKind) -> jsonschema::Validator {
        let file = folder().join(format!("{kind}.schema.json"));
        jsonschema::options()
            .with_base_uri(format!("file://{}", file.display()))
            .should_validate_formats(true)
            .build(&read_schema(&format!("{kind}.schema.json")))
            .unwrap()
    }

    #[test]
    fn sample_events_match_their_schemas() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        for kind in EventKind::ALL {
            let schema = validator(kind);
            for completeness in [Minimal, Typical, Full] {
                let event = Value::Object(sample_event(kind, at, completeness));
                let errors = schema.iter_errors(&event);
                let errors = errors.map(|e| format!("{}: {e}", e.instance_path()));
                let wrong: Vec<_> = errors.collect();
                assert_eq!(wrong, [""; 0], "{kind}, {completeness:?}: {event}");
            }
        }
    }

    #[test]
    fn full_sample_has_every_schema_property() {
        let parts = read_schema("parts.schema.json");
        for kind in EventKind::ALL {
            let event = Value::Object(sample_event(kind, Timestamp::ZERO, Full));
            let schema = read_schema(&format!("{kind}.schema.json"));
            let mut missing = Vec::new();
            collect_missing(&schema, &event, "", &parts, &mut missing);
            // A waiting lead has no agent.
            missing.retain(|path| kind != EventKind::LeadWaiting || path != ".data.lead.agent");
            missing.dedup();
            assert_eq!(missing, [""; 0], "{kind}");
        }
    }

    #[test]
    fn minimal_sample_has_only_required_parts() {
        for kind in EventKind::ALL {
            let schema = validator(kind);
            let event = Value::Object(sample_event(kind, Timestamp::ZERO, Minimal));
            for part in event["data"].as_object().unwrap().keys() {
                let mut less = event.clone();
                less["data"].as_object_mut().unwrap().remove(part);
                assert!(!schema.is_valid(&less), "{kind} can do without {part}");
            }
        }
    }
}
