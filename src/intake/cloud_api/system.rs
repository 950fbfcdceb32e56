//! Parses system messages: a customer has a new phone number or a new business-scoped ID (*System
//! messages*).
//!
//! `from` and `system.previous_user_id` are the old values. `system.wa_id` and `system.user_id` are
//! the new values. Each may be missing. Older versions have `new_wa_id` for the new number and
//! `customer` for the old number. A message with a new ID and no new number does not change the
//! number.

use crate::domain::customer_change::CustomerChange;
use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;

use super::{JsonFields, from_unix_seconds, parse_message_id};

/// Parses a message. Returns `None` if the message reports no change of a customer's number or ID.
pub(super) fn parse_customer_change(message: &JsonFields<'_>) -> Option<CustomerChange> {
    let system = message.object("system");
    let kind = system.text("type")?;
    if !matches!(
        kind.as_str(),
        "user_changed_number" | "user_changed_user_id" | "customer_changed_number"
    ) {
        return None;
    }
    let first_non_empty = |fields: [(&JsonFields<'_>, &str); 2]| {
        let texts = fields
            .into_iter()
            .filter_map(|(fields, name)| fields.text(name));
        texts.into_iter().find(|text| !text.is_empty())
    };
    let customer =
        |id: Option<String>, phone: Option<String>| Customer::new(id.as_deref(), phone.as_deref());
    let new_id = first_non_empty([(&system, "user_id"), (&system, "new_user_id")]);
    // Meta does not document whether `from_user_id` is the old ID or the new ID. The ID counts as
    // old if the message has a new ID.
    let old_id = first_non_empty([(&system, "previous_user_id"), (message, "from_user_id")])
        .filter(|_| new_id.is_some());
    let old_phone = first_non_empty([(message, "from"), (&system, "customer")]);
    let new_phone = first_non_empty([(&system, "new_wa_id"), (&system, "wa_id")]);
    let unchanged_phone = old_phone.clone().filter(|_| kind == "user_changed_user_id");
    let old = customer(old_id, old_phone);
    let new = customer(new_id, new_phone.or(unchanged_phone));
    let mut change = CustomerChange::new(old, new)?;
    change.message_key = parse_message_id(message)
        .as_ref()
        .map(IdempotencyKey::for_message);
    change.changed_at = message
        .text("timestamp")
        .and_then(|text| text.parse().ok())
        .map(from_unix_seconds);
    Some(change)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns the replaced names and the new customer of a change.
    fn parsed_change(message: &Value) -> Option<(Vec<String>, Customer)> {
        let text = message.to_string();
        let change = parse_customer_change(&JsonFields::parse(&text).unwrap())?;
        Some((
            change.replaced_names().map(str::to_owned).collect(),
            change.current().clone(),
        ))
    }

    fn expected_change(
        replaced: &[&str],
        id: Option<&str>,
        phone: Option<&str>,
    ) -> (Vec<String>, Customer) {
        let replaced = replaced.iter().map(|name| (*name).to_owned()).collect();
        (
            replaced,
            Customer {
                id: id.map(Box::from),
                phone: phone.map(Box::from),
            },
        )
    }

    #[test]
    fn every_change_message_shape_is_parsed() {
        let message = |from: Value, system: Value| json!({"from": from, "id": "wamid.1", "timestamp": "1739321024", "type": "system", "system": system});
        let number = json!({"body": "User Ann changed from 16505551234 to 12195555358", "wa_id": "12195555358", "type": "user_changed_number"});
        assert_eq!(
            parsed_change(&message("16505551234".into(), number)),
            Some(expected_change(&["16505551234"], None, Some("12195555358")))
        );
        let both = json!({"type": "user_changed_number", "wa_id": "2", "user_id": "US.2", "previous_user_id": "US.1"});
        assert_eq!(
            parsed_change(&message("+1".into(), both)),
            Some(expected_change(&["US.1", "1"], Some("US.2"), Some("2")))
        );
        let id =
            json!({"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1"});
        assert_eq!(
            parsed_change(&message(Value::Null, id.clone())),
            Some(expected_change(&["US.1"], Some("US.2"), None))
        );
        assert_eq!(
            parsed_change(&message("1".into(), id)),
            Some(expected_change(&["US.1"], Some("US.2"), Some("1"))),
            "the number stays"
        );
        let both = json!({"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1", "wa_id": "2"});
        assert_eq!(
            parsed_change(&message("1".into(), both)),
            Some(expected_change(&["US.1", "1"], Some("US.2"), Some("2")))
        );
        let hidden =
            json!({"type": "user_changed_number", "user_id": "US.2", "previous_user_id": "US.1"});
        assert_eq!(
            parsed_change(&message("1".into(), hidden)),
            Some(expected_change(&["US.1", "1"], Some("US.2"), None))
        );
        let old = json!({"type": "customer_changed_number", "customer": "1", "new_wa_id": "2", "identity": "x", "wa_id": "1"});
        assert_eq!(
            parsed_change(&message(Value::Null, old)),
            Some(expected_change(&["1"], None, Some("2")))
        );
    }

    #[test]
    fn other_system_messages_are_ignored() {
        let message = |system: Value| json!({"from": "1", "id": "wamid.1", "type": "system", "system": system});
        for system in [
            json!({"type": "user_identity_changed", "wa_id": "2"}),
            json!({"type": "user_changed_number"}),
            json!({"type": "user_changed_number", "wa_id": "1"}),
            json!({"type": "user_changed_number", "wa_id": ""}),
            json!({"wa_id": "2"}),
            json!(null),
        ] {
            assert_eq!(parsed_change(&message(system.clone())), None, "{system}");
        }
    }

    #[test]
    fn change_has_message_key_and_time() {
        let message = json!({"from": "1", "id": "wamid.1", "timestamp": "1739321024",
            "system": {"type": "user_changed_number", "wa_id": "2"}});
        let text = message.to_string();
        let change = parse_customer_change(&JsonFields::parse(&text).unwrap()).unwrap();
        assert!(change.message_key.is_some());
        assert_eq!(change.changed_at, Some(from_unix_seconds(1_739_321_024)));
    }
}
