//! System messages: a customer has another number or another business-scoped id (*System messages*).
//!
//! `from` and `system.previous_user_id` are the old ones, `system.wa_id` and `system.user_id` the new ones; each may be missing.
//! Older versions have `new_wa_id` for the new number and `customer` for the old one. A message that tells a new id and no
//! new number leaves the number as it is.

use crate::domain::customer_change::CustomerChange;
use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;

use super::{Fields, message_id, seconds};

/// Reads a message. `None`: it tells of no change of a customer's names.
pub(super) fn read(message: &Fields<'_>) -> Option<CustomerChange> {
    let system = message.object("system");
    let kind = system.text("type")?;
    if !matches!(kind.as_str(), "user_changed_number" | "user_changed_user_id" | "customer_changed_number") {
        return None;
    }
    let first = |fields: [(&Fields<'_>, &str); 2]| {
        let texts = fields.into_iter().filter_map(|(fields, name)| fields.text(name));
        texts.into_iter().find(|text| !text.is_empty())
    };
    let customer = |id: Option<String>, phone: Option<String>| Customer::new(id.as_deref(), phone.as_deref());
    let new_id = first([(&system, "user_id"), (&system, "new_user_id")]);
    // Whether `from_user_id` is the old one or the new one is not said: it is the old one if another one is the new one.
    let old_id = first([(&system, "previous_user_id"), (message, "from_user_id")]).filter(|_| new_id.is_some());
    let old_phone = first([(message, "from"), (&system, "customer")]);
    let new_phone = first([(&system, "new_wa_id"), (&system, "wa_id")]);
    let kept_phone = old_phone.clone().filter(|_| kind == "user_changed_user_id");
    let old = customer(old_id, old_phone);
    let new = customer(new_id, new_phone.or(kept_phone));
    let mut change = CustomerChange::new(old, new)?;
    change.message_key = message_id(message).as_ref().map(IdempotencyKey::of_message);
    change.at = message.text("timestamp").and_then(|text| text.parse().ok()).map(seconds);
    Some(change)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The names that go, and those that come.
    fn told(message: &Value) -> Option<(Vec<String>, Customer)> {
        let text = message.to_string();
        let change = read(&Fields::of(&text).unwrap())?;
        Some((change.replaced().map(str::to_owned).collect(), change.current().clone()))
    }

    fn expect(replaced: &[&str], id: Option<&str>, phone: Option<&str>) -> (Vec<String>, Customer) {
        let replaced = replaced.iter().map(|name| (*name).to_owned()).collect();
        (replaced, Customer { id: id.map(Box::from), phone: phone.map(Box::from) })
    }

    #[test]
    fn all_shapes_of_a_changed_number_or_id_are_read() {
        let message = |from: Value, system: Value| json!({"from": from, "id": "wamid.1", "timestamp": "1739321024", "type": "system", "system": system});
        let number = json!({"body": "User Ann changed from 16505551234 to 12195555358", "wa_id": "12195555358", "type": "user_changed_number"});
        assert_eq!(
            told(&message("16505551234".into(), number)),
            Some(expect(&["16505551234"], None, Some("12195555358")))
        );
        let both = json!({"type": "user_changed_number", "wa_id": "2", "user_id": "US.2", "previous_user_id": "US.1"});
        assert_eq!(told(&message("+1".into(), both)), Some(expect(&["US.1", "1"], Some("US.2"), Some("2"))));
        let id = json!({"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1"});
        assert_eq!(told(&message(Value::Null, id.clone())), Some(expect(&["US.1"], Some("US.2"), None)));
        assert_eq!(
            told(&message("1".into(), id)),
            Some(expect(&["US.1"], Some("US.2"), Some("1"))),
            "the number stays"
        );
        let both = json!({"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1", "wa_id": "2"});
        assert_eq!(told(&message("1".into(), both)), Some(expect(&["US.1", "1"], Some("US.2"), Some("2"))));
        let hidden = json!({"type": "user_changed_number", "user_id": "US.2", "previous_user_id": "US.1"});
        assert_eq!(told(&message("1".into(), hidden)), Some(expect(&["US.1", "1"], Some("US.2"), None)));
        let old = json!({"type": "customer_changed_number", "customer": "1", "new_wa_id": "2", "identity": "x", "wa_id": "1"});
        assert_eq!(told(&message(Value::Null, old)), Some(expect(&["1"], None, Some("2"))));
    }

    #[test]
    fn other_system_messages_and_empty_ones_change_nobody() {
        let message = |system: Value| json!({"from": "1", "id": "wamid.1", "type": "system", "system": system});
        for system in [
            json!({"type": "user_identity_changed", "wa_id": "2"}),
            json!({"type": "user_changed_number"}),
            json!({"type": "user_changed_number", "wa_id": "1"}),
            json!({"type": "user_changed_number", "wa_id": ""}),
            json!({"wa_id": "2"}),
            json!(null),
        ] {
            assert_eq!(told(&message(system.clone())), None, "{system}");
        }
    }

    #[test]
    fn the_message_and_its_time_are_kept() {
        let message = json!({"from": "1", "id": "wamid.1", "timestamp": "1739321024",
            "system": {"type": "user_changed_number", "wa_id": "2"}});
        let text = message.to_string();
        let change = read(&Fields::of(&text).unwrap()).unwrap();
        assert!(change.message_key.is_some());
        assert_eq!(change.at, Some(seconds(1_739_321_024)));
    }
}
