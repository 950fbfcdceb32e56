//! One status of a message that went out: `sent`, `delivered`, `read`, `failed` (*Webhooks*, "Message status").

use serde_json::value::RawValue;

use crate::domain::cloud_error::CloudError;
use crate::domain::receipt::{Callback, Reached, Said, StatusUpdate};

use super::{Fields, seconds};

/// A wamid with more is none of Meta's, and no key of a table.
const WAMID_BYTES_MAX: usize = 512;

/// Reads a status. `None`: it is none that says anything of a message that may be ours. A message that went out with somebody
/// else's data is theirs: one number may serve several programs.
pub(super) fn read(status: &RawValue) -> Option<StatusUpdate> {
    let fields = Fields::of(status.get()).ok()?;
    let wamid = fields.text("id").filter(|id| (1..=WAMID_BYTES_MAX).contains(&id.len()))?;
    let callback = match fields.text("biz_opaque_callback_data").filter(|text| !text.is_empty()) {
        Some(text) => Some(Callback::parse(&text)?),
        None => None,
    };
    let said = match fields.text("status")?.as_str() {
        "sent" => Said::Reached(Reached::Sent),
        "delivered" => Said::Reached(Reached::Delivered),
        "read" => Said::Reached(Reached::Read),
        "failed" => Said::Failed(error_of(&fields)),
        _ => return None,
    };
    let at = fields.text("timestamp").and_then(|text| text.parse().ok()).map(seconds);
    Some(StatusUpdate { wamid: wamid.into(), callback, said, at })
}

/// The first error of a failure. One without a code is none that may pass.
fn error_of(status: &Fields<'_>) -> CloudError {
    let errors = status.items("errors").unwrap_or_default();
    let first = errors.first().and_then(|error| Fields::of(error.get()).ok()).unwrap_or_default();
    let number = |name| first.get(name).and_then(|value| value.get().parse().ok());
    let is_transient = first.get("is_transient").is_some_and(|value| value.get() == "true");
    CloudError { code: number("code").unwrap_or(CloudError::NONE), is_transient }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ids::JobId;
    use crate::domain::time::Timestamp;

    fn of(status: &Value) -> Option<StatusUpdate> {
        read(&serde_json::value::to_raw_value(status).unwrap())
    }

    #[test]
    fn each_kind_of_status_is_read() {
        let status = |word: &str| {
            json!({"id": "wamid.1", "status": word, "timestamp": "1767225601", "recipient_id": "1",
            "biz_opaque_callback_data": "msg_0a.7"})
        };
        let read = of(&status("delivered")).unwrap();
        assert_eq!((&*read.wamid, read.said), ("wamid.1", Said::Reached(Reached::Delivered)));
        assert_eq!(read.at, Some(Timestamp::from_millis(1_767_225_601_000)));
        assert_eq!(read.callback, Some(Callback { job: JobId::new(7), message_id: "msg_0a".into() }));
        assert_eq!(of(&status("sent")).unwrap().said, Said::Reached(Reached::Sent));
        assert_eq!(of(&status("read")).unwrap().said, Said::Reached(Reached::Read));
        for other in ["warning", "deleted", ""] {
            assert_eq!(of(&status(other)), None, "{other}");
        }
    }

    #[test]
    fn a_failure_has_its_code() {
        let failed = |errors: Value| of(&json!({"id": "wamid.1", "status": "failed", "errors": errors})).unwrap().said;
        let error = |code, is_transient| Said::Failed(CloudError { code, is_transient });
        assert_eq!(failed(json!([{"code": 131_026, "title": "Undeliverable"}])), error(131_026, false));
        assert_eq!(failed(json!([{"code": 5, "is_transient": true}])), error(5, true));
        for odd in [json!([]), json!("no"), json!([{"code": "x"}]), json!([7])] {
            assert_eq!(failed(odd.clone()), error(CloudError::NONE, false), "{odd}");
        }
    }

    #[test]
    fn what_somebody_else_sent_is_not_ours() {
        let sent = |data: &str| of(&json!({"id": "wamid.1", "status": "sent", "biz_opaque_callback_data": data}));
        assert_eq!(sent("order-7"), None);
        assert!(sent("").is_some_and(|status| status.callback.is_none()), "its id may be known");
        assert_eq!(of(&json!({"status": "sent"})), None);
        assert_eq!(of(&json!({"id": "x".repeat(513), "status": "sent"})), None);
        assert_eq!(of(&json!(["sent"])), None);
    }
}
