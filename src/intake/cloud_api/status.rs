//! Parses one status of an outgoing message: `sent`, `delivered`, `read`, `failed` (*Webhooks*,
//! "Message status").

use serde_json::value::RawValue;

use crate::domain::delivery::cloud_error::CloudError;
use crate::domain::delivery::receipt::{CallbackData, DeliveryStage, StatusKind, StatusUpdate};
use crate::intake::json::JsonFields;

/// Maximum bytes of a wamid. A longer text is not from Meta and must not become a table key.
const WAMID_BYTES_MAX: usize = 512;

/// Parses a status. Returns `None` if flowgate does not use the status, or if its message can't be
/// from flowgate. A message with callback data of another program belongs to that program, because
/// several programs may use one number.
pub(super) fn parse_status(status: &RawValue) -> Option<StatusUpdate> {
    let fields = JsonFields::parse(status.get()).ok()?;
    let wamid = fields
        .text("id")
        .filter(|id| (1..=WAMID_BYTES_MAX).contains(&id.len()))?;
    let callback = match fields
        .text("biz_opaque_callback_data")
        .filter(|text| !text.is_empty())
    {
        Some(text) => Some(CallbackData::parse(&text)?),
        None => None,
    };
    let status_kind = match fields.text("status")?.as_str() {
        "sent" => StatusKind::Reached(DeliveryStage::Sent),
        "delivered" => StatusKind::Reached(DeliveryStage::Delivered),
        "read" => StatusKind::Reached(DeliveryStage::Read),
        "failed" => StatusKind::Failed(first_error(&fields)),
        _ => return None,
    };
    Some(StatusUpdate {
        wamid: wamid.into(),
        callback,
        status: status_kind,
        occurred_at: fields.unix_time_text("timestamp"),
    })
}

/// Returns the first error of a failure. If the error has no code, the code is
/// [`CloudError::NO_CODE`], which does not count as temporary.
fn first_error(status: &JsonFields<'_>) -> CloudError {
    let errors = status.items("errors").unwrap_or_default();
    let first = errors
        .first()
        .and_then(|error| JsonFields::parse(error.get()).ok())
        .unwrap_or_default();
    let number = |name| first.get(name).and_then(|value| value.get().parse().ok());
    let is_transient = first
        .get("is_transient")
        .is_some_and(|value| value.get() == "true");
    CloudError {
        code: number("code").unwrap_or(CloudError::NO_CODE),
        is_transient,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ids::JobId;
    use crate::domain::time::Timestamp;

    fn parse(status: &Value) -> Option<StatusUpdate> {
        parse_status(&serde_json::value::to_raw_value(status).unwrap())
    }

    #[test]
    fn every_status_kind_is_parsed() {
        let parse_kind = |kind: &str| {
            parse(
                &json!({"id": "wamid.1", "status": kind, "timestamp": "1767225601",
                "recipient_id": "1", "biz_opaque_callback_data": "msg_0a.7"}),
            )
        };
        for (kind, stage) in [
            ("sent", DeliveryStage::Sent),
            ("delivered", DeliveryStage::Delivered),
            ("read", DeliveryStage::Read),
        ] {
            let expected = StatusUpdate {
                wamid: "wamid.1".into(),
                callback: Some(CallbackData {
                    job_id: JobId::new(7),
                    webhook_id: "msg_0a".into(),
                }),
                status: StatusKind::Reached(stage),
                occurred_at: Some(Timestamp::from_millis(1_767_225_601_000)),
            };
            assert_eq!(parse_kind(kind), Some(expected));
        }
        for other in ["warning", "deleted", ""] {
            assert_eq!(parse_kind(other), None, "{other}");
        }
    }

    #[test]
    fn failed_status_has_error_code() {
        let no_code = CloudError::NO_CODE;
        for (errors, code, is_transient) in [
            (
                json!([{"code": 131_026, "title": "Undeliverable"}]),
                131_026,
                false,
            ),
            (json!([{"code": 5, "is_transient": true}]), 5, true),
            (json!([]), no_code, false),
            (json!("no"), no_code, false),
            (json!([{"code": "x"}]), no_code, false),
            (json!([7]), no_code, false),
        ] {
            let status = parse(&json!({"id": "wamid.1", "status": "failed", "errors": errors}));
            let expected = StatusKind::Failed(CloudError { code, is_transient });
            assert_eq!(status.unwrap().status, expected, "{errors}");
        }
    }

    #[test]
    fn status_of_foreign_message_is_ignored() {
        let sent = |data: &str| {
            parse(&json!({"id": "wamid.1", "status": "sent", "biz_opaque_callback_data": data}))
        };
        assert_eq!(sent("order-7"), None);
        // The store may know the ID of the message.
        assert!(sent("").is_some_and(|status| status.callback.is_none()));
        let long_id = json!({"id": "x".repeat(513), "status": "sent"});
        for other in [json!({"status": "sent"}), long_id, json!(["sent"])] {
            assert_eq!(parse(&other), None, "{other}");
        }
    }
}
