//! Parses system messages: a customer has a new phone number or a new business-scoped ID (*System
//! messages*).
//!
//! `from` and `system.previous_user_id` are the old values. `system.wa_id` and `system.user_id` are
//! the new values. Each may be missing. Older versions have `new_wa_id` for the new number and
//! `customer` for the old number. A message with a new ID and no new number does not change the
//! number.

use crate::domain::customer_change::CustomerChange;
use crate::domain::ids::{Customer, MessageId};
use crate::domain::submission::IdempotencyKey;
use crate::intake::json::JsonFields;

/// Parses the message `id`. Returns `None` if the message reports no change of a customer's number
/// or ID.
pub(super) fn parse_customer_change(
    message: &JsonFields<'_>,
    id: Option<&MessageId>,
) -> Option<CustomerChange> {
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
    change.message_key = id.map(IdempotencyKey::for_message);
    change.changed_at = message.unix_time_text("timestamp");
    Some(change)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::time::Timestamp;

    fn parse(message: &Value) -> Option<CustomerChange> {
        let text = message.to_string();
        let id = MessageId::new("wamid.1").unwrap();
        parse_customer_change(&JsonFields::parse(&text).unwrap(), Some(&id))
    }

    #[test]
    fn every_change_message_shape_is_parsed() {
        // Sender, system message, replaced names, new ID and new number. `-`: none.
        let table = r#"
            16505551234 | {"type":"user_changed_number","wa_id":"12195555358","body":"User Ann changed from 16505551234 to 12195555358"} | 16505551234 | - | 12195555358
            +1 | {"type":"user_changed_number","wa_id":"2","user_id":"US.2","previous_user_id":"US.1"} | US.1 1 | US.2 | 2
            - | {"type":"user_changed_user_id","user_id":"US.2","previous_user_id":"US.1"} | US.1 | US.2 | -
            1 | {"type":"user_changed_user_id","user_id":"US.2","previous_user_id":"US.1"} | US.1 | US.2 | 1
            1 | {"type":"user_changed_user_id","user_id":"US.2","previous_user_id":"US.1","wa_id":"2"} | US.1 1 | US.2 | 2
            1 | {"type":"user_changed_number","user_id":"US.2","previous_user_id":"US.1"} | US.1 1 | US.2 | -
            - | {"type":"customer_changed_number","customer":"1","new_wa_id":"2","identity":"x","wa_id":"1"} | 1 | - | 2
        "#;
        for row in table.trim().lines() {
            let cells: Vec<&str> = row.trim().split(" | ").collect();
            let [from, system, replaced, id, phone] = cells[..] else {
                panic!("{row}")
            };
            let [from, id, phone] =
                [from, id, phone].map(|cell| Some(cell).filter(|cell| *cell != "-"));
            let system: Value = serde_json::from_str(system).unwrap();
            let change = parse(&json!({"from": from, "type": "system", "system": system})).unwrap();
            let names: Vec<&str> = change.replaced_names().collect();
            assert_eq!(names.join(" "), replaced, "{row}");
            assert_eq!(*change.current(), Customer::new(id, phone), "{row}");
        }
    }

    #[test]
    fn other_system_messages_are_ignored() {
        for system in [
            json!({"type": "user_identity_changed", "wa_id": "2"}),
            json!({"type": "user_changed_number"}),
            json!({"type": "user_changed_number", "wa_id": "1"}),
            json!({"type": "user_changed_number", "wa_id": ""}),
            json!({"wa_id": "2"}),
            json!(null),
        ] {
            let message = json!({"from": "1", "type": "system", "system": system});
            assert_eq!(parse(&message), None, "{system}");
        }
    }

    #[test]
    fn change_has_message_key_and_time() {
        let system = json!({"type": "user_changed_number", "wa_id": "2"});
        let message = json!({"from": "1", "timestamp": "1739321024", "system": system});
        let change = parse(&message).unwrap();
        assert!(change.message_key.is_some());
        let time = Timestamp::from_millis(1_739_321_024_000);
        assert_eq!(change.changed_at, Some(time));
    }
}
