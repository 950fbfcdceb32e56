//! Defines the idempotency keys under which each form and message is accepted once.
//!
//! See [`crate::store`] for the stored keys.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::domain::customer::{Customer, without_mobile_digit};
use crate::domain::ids::{FlowName, FlowToken, GatewayName, MessageId, SubmissionId};

/// Key that two copies of the same submission or message share: the first 16 bytes of a SHA-256
/// over all parts that must be equal.
///
/// A key of 16 bytes keeps the dedup index small. Two different forms get the same key only after
/// about 2⁶⁴ forms. Phone numbers that [`Customer::compare`] regards as the same give the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// Field in which the completion of a form without a usable token contains its key. The message
    /// that follows by webhook is recognized as the same form by this field.
    pub const REFERENCE_FIELD: &'static str = "flowgate_ref";

    /// Returns the key of a form by its flow and flow token.
    #[must_use]
    pub fn for_token(flow: &FlowName, token: &FlowToken) -> Self {
        Self::hash_parts("token", &[flow.as_str(), token.as_str()])
    }

    /// Returns the key of a webhook message by its ID. Receivers must drop duplicates themselves
    /// (*Create a webhook endpoint*).
    #[must_use]
    pub fn for_message(id: &MessageId) -> Self {
        Self::hash_parts("message", &[id.as_str()])
    }

    /// Returns the key of the dead letter of the message with this key. Without a separate key, the
    /// message would count as a duplicate of its dead letter if it arrives later in a readable
    /// form.
    #[must_use]
    pub fn for_dead_letter(self) -> Self {
        Self::hash_parts("dead letter", &[&self.to_string()])
    }

    /// Returns the key of a gateway's message by gateway and ID. The ID is unique only within the
    /// gateway.
    #[must_use]
    pub fn for_gateway_message(gateway: &GatewayName, id: &str) -> Self {
        Self::hash_parts("gateway message", &[gateway.as_str(), id])
    }

    /// Returns the key of a form without a usable token, by customer and answers.
    ///
    /// `data` is the text as received: a client that retries sends the same text.
    #[must_use]
    pub fn for_answers(flow: &FlowName, screen: &str, customer: &Customer, data: &str) -> Self {
        let name = without_mobile_digit(customer.name().unwrap_or_default());
        Self::hash_parts("answers", &[flow.as_str(), screen, &name, data])
    }

    /// Returns the key of a form without a usable token and without a customer, within a window of
    /// ten minutes. `window` is the number of the window. Nothing names the customer, so equal
    /// answers count as a repeated press only within the window.
    #[must_use]
    pub fn for_repeated_press(flow: &FlowName, screen: &str, data: &str, window: u64) -> Self {
        Self::hash_parts("press", &[flow.as_str(), screen, data, &window.to_string()])
    }

    /// Returns the key of a draft, by its token or, without a usable token, by its customer. `None`
    /// if neither is known.
    #[must_use]
    pub fn for_draft(
        flow: &FlowName,
        token: Option<&FlowToken>,
        customer: &Customer,
    ) -> Option<Self> {
        let token = token.filter(|token| token.is_usable());
        let key = token.map(|token| Self::for_token(flow, token));
        key.or_else(|| Some(Self::for_draft_of_customer(flow, customer.name()?)))
    }

    /// Returns the key of a draft without a usable token, by the name of its customer.
    #[must_use]
    pub fn for_draft_of_customer(flow: &FlowName, name: &str) -> Self {
        let name = without_mobile_digit(name);
        Self::hash_parts("draft of user", &[flow.as_str(), &name])
    }

    /// Returns the key of a name that a customer no longer has.
    #[must_use]
    pub fn for_former_name(name: &str) -> Self {
        Self::hash_parts("former name", &[&without_mobile_digit(name)])
    }

    /// Returns the key of a customer by one of the customer's names, for `sticky` flows.
    #[must_use]
    pub fn for_customer(flow: &FlowName, name: &str) -> Self {
        Self::hash_parts("customer", &[flow.as_str(), &without_mobile_digit(name)])
    }

    /// Returns the key of a delivery, by its job ID, time, destination and body.
    #[must_use]
    pub fn for_delivery(parts: [&str; 4]) -> Self {
        Self::hash_parts("delivery", &parts)
    }

    /// Returns the key of the customer of a submission as long as the customer is unknown, for
    /// `sticky` flows.
    #[must_use]
    pub fn for_unnamed_customer(submission: SubmissionId) -> Self {
        Self::hash_parts("unnamed customer", &[&submission.to_string()])
    }

    /// Returns the key of an event of Meta's monitoring, by flow, name, time and text. Such events
    /// have no ID.
    #[must_use]
    pub fn for_health_event(parts: [&str; 4]) -> Self {
        Self::hash_parts("health event", &parts)
    }

    /// Returns the keys of a form whose own key belongs to another customer: one key for each name
    /// of `customer`.
    pub fn for_customer_names(self, customer: &Customer) -> impl Iterator<Item = Self> {
        let key = self.to_string();
        let names = customer.names().map(without_mobile_digit);
        names.map(move |name| Self::hash_parts("of customer", &[&key, &name]))
    }

    /// Returns the key that marks this key as shared: several customers have submitted a form under
    /// it.
    #[must_use]
    pub fn for_shared_token(self) -> Self {
        Self::hash_parts("of many customers", &[&self.to_string()])
    }

    /// Hashes the parts, each after its length. Without the lengths, different lists of parts could
    /// give the same bytes.
    fn hash_parts(kind: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(&kind).chain(parts) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self::from_hash(hash)
    }

    /// Creates a key from the hash of all parts that must be equal.
    pub(crate) fn from_hash(hash: Sha256) -> Self {
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(key)
    }

    /// Creates a key from the bytes of a stored row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses the key from a reference of 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_reference(text: &str) -> Option<Self> {
        let key = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        // The comparison excludes signs, upper-case digits and other lengths.
        (key.to_string() == text).then_some(key)
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(name: &str) -> FlowName {
        FlowName::new(name).unwrap()
    }

    #[test]
    fn key_depends_on_flow_and_part_boundaries() {
        let token = |text| FlowToken::new(text).unwrap();
        let for_token = |name, text| IdempotencyKey::for_token(&flow(name), &token(text));
        let key = for_token("a", "bc");
        assert_eq!(key, for_token("a", "bc"));
        assert_ne!(key, for_token("ab", "c"));
        let message = MessageId::new("bc").unwrap();
        assert_ne!(key, IdempotencyKey::for_message(&message));
    }

    #[test]
    fn reference_round_trips_and_is_strict() {
        let key = IdempotencyKey::for_message(&MessageId::new("m").unwrap());
        for key in [key, IdempotencyKey::from_bytes([0; 16])] {
            assert_eq!(IdempotencyKey::from_reference(&key.to_string()), Some(key));
        }
        let upper_case = key.to_string().to_uppercase();
        for other in ["", "+0000000000000000000000000000000", &upper_case, "é"] {
            assert_eq!(IdempotencyKey::from_reference(other), None, "{other}");
        }
    }

    #[test]
    fn mobile_digit_does_not_change_keys_of_number() {
        let keys = |number: &str| {
            let (flow, customer) = (flow("a"), Customer::from_text(number));
            let name = customer.name().unwrap();
            let token = IdempotencyKey::for_token(&flow, &FlowToken::new("t").unwrap());
            let mut keys: Vec<_> = token.for_customer_names(&customer).collect();
            keys.extend([
                IdempotencyKey::for_draft(&flow, None, &customer).unwrap(),
                IdempotencyKey::for_customer(&flow, name),
                IdempotencyKey::for_answers(&flow, "S", &customer, "{}"),
                IdempotencyKey::for_former_name(name),
            ]);
            keys
        };
        for (short, long) in [
            ("525512345678", "5215512345678"),
            ("541123456789", "5491123456789"),
            ("551187654321", "5511987654321"),
        ] {
            assert_eq!(keys(short), keys(long));
        }
        let (with_digit, without) = (keys("4915123456789"), keys("491523456789"));
        let mut pairs = with_digit.iter().zip(&without);
        assert!(pairs.all(|(one, other)| one != other));
    }

    #[test]
    fn key_without_token_is_customer_and_answers() {
        let [ann, bob] = ["1234567890", "1234567891"].map(Customer::from_text);
        let key = |customer, data| IdempotencyKey::for_answers(&flow("a"), "S", customer, data);
        assert_eq!(key(&ann, "{}"), key(&ann, "{}"));
        assert_ne!(key(&ann, "{}"), key(&bob, "{}"));
        assert_ne!(key(&ann, "{}"), key(&ann, "{\"a\":1}"));
    }
}
