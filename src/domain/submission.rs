//! A completed form, and the key under which it is taken once.
//!
//! Where the bytes came from and whether they can be trusted is `crate::intake`'s business; remembering keys is the
//! store's.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{Customer, FlowName, FlowToken, GatewayName, MessageId, SubmissionId, without_mobile_digit};
use super::time::Timestamp;

/// The door a submission came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A flow's own path, plain JSON.
    Plain,
    /// `nfm_reply` in one of Meta's webhooks.
    Webhook,
    /// A flow's own path, in an encrypted envelope.
    Encrypted,
    /// A text message that an unofficial gateway brought.
    Gateway,
}

impl Channel {
    /// Returns `true` for the doors through which messages come.
    #[must_use]
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Webhook | Self::Gateway)
    }

    /// The name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Webhook => "webhook",
            Self::Encrypted => "encrypted",
            Self::Gateway => "gateway",
        }
    }
}

/// One completed form, as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The flow it is an answer to.
    pub flow: FlowName,
    /// The token as it came, usable or not.
    pub flow_token: Option<FlowToken>,
    /// Who filled it in.
    pub customer: Customer,
    /// How it came.
    pub channel: Channel,
    /// The message that carried it (webhook).
    pub message_id: Option<MessageId>,
    /// The screen it was sent from (plain).
    pub screen: Option<Box<str>>,
    /// The fields: the text of a JSON object, as it came, null fields and unknown ones included.
    pub data: Box<str>,
    /// Top-level fields of the body that we do not know: the text of a JSON object. Empty: there were none.
    pub extra: Box<str>,
    /// What is wrong with the fields where nobody could be asked again (webhook). One text each.
    pub problems: Vec<String>,
    /// When the user sent it, where that is told (webhook).
    pub sent_at: Option<Timestamp>,
}

impl Submission {
    /// Whether its token tells it from other forms.
    #[must_use]
    pub fn has_usable_token(&self) -> bool {
        self.flow_token.as_ref().is_some_and(FlowToken::usable)
    }
}

/// What makes two arrivals the same: the first 16 bytes of a SHA-256 over all that must be equal.
///
/// Sixteen bytes keep the map in memory small; two different forms meet under one key only after about 2⁶⁴ of them. A phone
/// number that [`Customer::compare`] takes for another one gives the same key as that one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// The field in which the end of a form without a usable token refers to it, so that the message which follows by
    /// webhook can be told to be the same form.
    pub const REFERENCE: &'static str = "flowgate_ref";

    /// A form by its token: unique for each flow.
    #[must_use]
    pub fn of_token(flow: &FlowName, token: &FlowToken) -> Self {
        Self::of("token", &[flow.as_str(), token.as_str()])
    }

    /// A webhook message by its id. *Create a webhook endpoint*: dropping duplicates is the receiver's job.
    #[must_use]
    pub fn of_message(id: &MessageId) -> Self {
        Self::of("message", &[id.as_str()])
    }

    /// The dead letter of the message with this key. The letter has a key of its own: the message itself may still come where
    /// it can be read, and must not be taken for a copy of its letter.
    #[must_use]
    pub fn of_letter(self) -> Self {
        Self::of("dead letter", &[&self.to_string()])
    }

    /// A message that an unofficial gateway brought: its id tells it from the others of that gateway only.
    #[must_use]
    pub fn of_gateway_message(gateway: &GatewayName, id: &str) -> Self {
        Self::of("gateway message", &[gateway.as_str(), id])
    }

    /// A form without a usable token: the user and the answers.
    ///
    /// `data` is the text as it came: a sender that tries again sends the same text.
    #[must_use]
    pub fn of_answers(flow: &FlowName, screen: &str, customer: &Customer, data: &str) -> Self {
        let name = without_mobile_digit(customer.name().unwrap_or_default());
        Self::of("answers", &[flow.as_str(), screen, &name, data])
    }

    /// A form without a usable token and without a user, in one span of ten minutes (`span` counts them): nothing names
    /// its user, so the same answers are a second press for so long only.
    #[must_use]
    pub fn of_press(flow: &FlowName, screen: &str, data: &str, span: u64) -> Self {
        Self::of("press", &[flow.as_str(), screen, data, &span.to_string()])
    }

    /// A form in the making: by its token or, without a usable one, by its user. `None` where neither is known.
    #[must_use]
    pub fn of_draft(flow: &FlowName, token: Option<&FlowToken>, customer: &Customer) -> Option<Self> {
        match (token.filter(|token| token.usable()), customer.name()) {
            (Some(token), _) => Some(Self::of_token(flow, token)),
            (None, Some(name)) => Some(Self::of_draft_by(flow, name)),
            (None, None) => None,
        }
    }

    /// A form in the making without a usable token, by the name of its user.
    #[must_use]
    pub fn of_draft_by(flow: &FlowName, name: &str) -> Self {
        Self::of("draft of user", &[flow.as_str(), &without_mobile_digit(name)])
    }

    /// A name that a customer no longer has.
    #[must_use]
    pub fn of_former_name(name: &str) -> Self {
        Self::of("former name", &[&without_mobile_digit(name)])
    }

    /// A customer, by one of the texts that name them: for `sticky` flows.
    #[must_use]
    pub fn of_customer(flow: &FlowName, name: &str) -> Self {
        Self::of("customer", &[flow.as_str(), &without_mobile_digit(name)])
    }

    /// A delivery, by its number, time, destination and body.
    #[must_use]
    pub fn of_delivery(parts: [&str; 4]) -> Self {
        Self::of("delivery", &parts)
    }

    /// The customer behind a submission, as long as nothing names them: likewise.
    #[must_use]
    pub fn of_unnamed_customer(submission: SubmissionId) -> Self {
        Self::of("unnamed customer", &[&submission.to_string()])
    }

    /// An event of Meta's monitoring, by its flow, name, time and text: it has no id of its own.
    #[must_use]
    pub fn of_health_event(parts: [&str; 4]) -> Self {
        Self::of("health event", &parts)
    }

    /// The keys of one customer's form where this key is another customer's: one for each name of `customer`.
    pub fn of_customer_names(self, customer: &Customer) -> impl Iterator<Item = Self> {
        let key = self.to_string();
        customer.names().map(move |name| Self::of("of customer", &[&key, &without_mobile_digit(name)]))
    }

    /// The mark of a key under which several customers have submitted a form.
    #[must_use]
    pub fn of_many(self) -> Self {
        Self::of("of many customers", &[&self.to_string()])
    }

    /// Each part goes in behind its length, so that no two lists of parts give the same bytes.
    fn of(kind: &str, parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(&kind).chain(parts) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(key)
    }

    /// The key from the bytes of a stored row.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key that a reference names: 32 lower-case hex digits.
    #[must_use]
    pub fn from_reference(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = if is_hex { u128::from_str_radix(text, 16).ok()? } else { return None };
        Some(Self(number.to_be_bytes()))
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(name: &str) -> FlowName {
        FlowName::new(name).unwrap()
    }

    #[test]
    fn a_key_depends_on_the_flow_and_on_where_one_part_ends() {
        let token = |text| FlowToken::new(text).unwrap();
        let key = IdempotencyKey::of_token(&flow("a"), &token("bc"));
        assert_eq!(key, IdempotencyKey::of_token(&flow("a"), &token("bc")));
        assert_ne!(key, IdempotencyKey::of_token(&flow("ab"), &token("c")));
        assert_ne!(key, IdempotencyKey::of_message(&MessageId::new("bc").unwrap()));
    }

    #[test]
    fn a_reference_names_its_key_and_nothing_else_is_one() {
        let key = IdempotencyKey::of_message(&MessageId::new("m").unwrap());
        assert_eq!(IdempotencyKey::from_reference(&key.to_string()), Some(key));
        let small = IdempotencyKey::from_bytes([0; 16]);
        assert_eq!(IdempotencyKey::from_reference(&small.to_string()), Some(small));
        for other in ["", "+0000000000000000000000000000000", &key.to_string().to_uppercase(), "é"] {
            assert_eq!(IdempotencyKey::from_reference(other), None, "{other}");
        }
    }

    #[test]
    fn a_number_has_the_same_keys_with_the_mobile_digit_and_without_it() {
        let keys = |number: &str| {
            let customer = Customer::from_text(number);
            let token = IdempotencyKey::of_token(&flow("a"), &FlowToken::new("t").unwrap());
            let mut keys: Vec<_> = token.of_customer_names(&customer).collect();
            keys.extend(IdempotencyKey::of_draft(&flow("a"), None, &customer));
            keys.push(IdempotencyKey::of_customer(&flow("a"), customer.name().unwrap()));
            keys.push(IdempotencyKey::of_answers(&flow("a"), "S", &customer, "{}"));
            keys.push(IdempotencyKey::of_former_name(customer.name().unwrap()));
            keys
        };
        for (short, long) in
            [("525512345678", "5215512345678"), ("541123456789", "5491123456789"), ("551187654321", "5511987654321")]
        {
            assert_eq!(keys(short), keys(long));
        }
        assert!(keys("4915123456789").iter().zip(keys("491523456789")).all(|(one, other)| *one != other));
    }

    #[test]
    fn without_a_token_the_user_and_the_answers_are_the_key() {
        let (ann, bob) = (Customer::from_text("1234567890"), Customer::from_text("1234567891"));
        let key = |who, data| IdempotencyKey::of_answers(&flow("a"), "S", who, data);
        assert_eq!(key(&ann, "{}"), key(&ann, "{}"));
        assert_ne!(key(&ann, "{}"), key(&bob, "{}"));
        assert_ne!(key(&ann, "{}"), key(&ann, "{\"a\":1}"));
    }
}
