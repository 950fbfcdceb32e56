//! Names and numbers of things, each a type of its own, so that one is never taken for another.
//!
//! Numbers are given by the store, ascending, and never reused. Names come from the config, from Meta or from an
//! admin, and are checked where they enter.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A name or number that is no valid identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidId {
    what: &'static str,
    problem: &'static str,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The identity with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number itself, for keys and for people.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and takes it as a name.
            ///
            /// # Errors
            /// [`InvalidId`] says what is wrong with it.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(problem) => Err(InvalidId { what: $what, problem }),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Names that people type: 1 to 64 of letters, digits, `-`, `_` and `.`, so that they need no quoting in a shell or URL.
fn typed_name(text: &str) -> Result<(), &'static str> {
    match text.chars().count() {
        0 => Err("is empty"),
        1..=64 if text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) => Ok(()),
        1..=64 => Err("may have letters, digits, '-', '_' and '.' only"),
        _ => Err("is longer than 64 characters"),
    }
}

/// Texts from outside that name something: anything but nothing, up to 4 KiB (Meta documents no limit).
fn foreign_text(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("is empty"),
        1..=4096 => Ok(()),
        _ => Err("is longer than 4096 bytes"),
    }
}

number!(/** A submission. */ SubmissionId);
number!(/** A job, alive or dead. */ JobId);
number!(/** A lead. */ LeadId);
number!(/** A booking. */ BookingId);
number!(/** An agent. */ AgentId);

name!(/** A flow, as the config names it. */ FlowName, "flow name", typed_name);
name!(/** A calendar, as the config names it. */ CalendarName, "calendar name", typed_name);
name!(/** A destination, as the config names it. */ DestinationName, "destination name", typed_name);
name!(/** An unofficial gateway, as the config names it. */ GatewayName, "gateway name", typed_name);
name!(/** A team of agents. */ TeamName, "team name", typed_name);
name!(/** An agent, as an admin named it. */ AgentName, "agent name", typed_name);
name!(
    /// A flow token that identifies one flow message. The literal `unused` and the empty text are none:
    /// see [`FlowToken::usable`].
    FlowToken, "flow_token", foreign_text
);
name!(/** A WhatsApp message, `wamid.…`. Opaque. */ MessageId, "message id", foreign_text);

impl FlowToken {
    /// Whether the token tells one form from another. `unused` is Meta's default where the sender of the flow message
    /// sets none, and thousands of users share it (*Sending a Flow*, `flow_token`).
    #[must_use]
    pub fn usable(&self) -> bool {
        self.as_str() != "unused"
    }
}

/// Who filled in a form: a phone number, a business-scoped id, both, or (plain flows) nobody known.
///
/// Since 2026 the number may be absent (*Business-scoped user IDs*): neither is required, both are kept. `Debug` hides
/// them: they are personal data.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Customer {
    /// The business-scoped id, or whatever id a plain flow's sender uses.
    pub id: Option<Box<str>>,
    /// The phone number, without a `+`.
    pub phone: Option<Box<str>>,
}

impl Customer {
    /// A customer with these names. A number is kept without the `+` that some senders write: Meta writes none, and one
    /// number must not be two customers. Empty texts name nobody.
    #[must_use]
    pub fn new(id: Option<&str>, phone: Option<&str>) -> Self {
        let kept = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(Box::from);
        Self { id: kept(id), phone: kept(phone.map(|phone| phone.strip_prefix('+').unwrap_or(phone))) }
    }

    /// A customer known by one text: a phone number if it has nothing but 7 to 15 digits and perhaps a `+` in front
    /// (E.164), an id otherwise. The empty text is nobody.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            Self::new(None, Some(text))
        } else {
            Self::new(Some(text), None)
        }
    }

    /// The one text that names this customer: the id where there is one, the number otherwise.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.id.as_deref().or(self.phone.as_deref())
    }

    /// Every name that is known, the id first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.id, &self.phone].into_iter().flatten().map(AsRef::as_ref)
    }

    /// Comparison with another customer. Ids of one kind decide, then numbers; a sender's own id says nothing of an id of
    /// WhatsApp's.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Likeness {
        let ids = self.id.as_deref().zip(other.id.as_deref()).filter(|(one, two)| IdKind::of(one) == IdKind::of(two));
        let phones = self.phone.as_deref().zip(other.phone.as_deref());
        match (ids, phones) {
            (Some((one, two)), _) if one == two => Likeness::Same,
            (Some(_), _) => Likeness::Different,
            (None, Some((one, two))) => compare_numbers(one, two),
            (None, None) => Likeness::Unknown,
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.id.is_none() && self.phone.is_none()
    }
}

/// Comparison of two phone numbers without `+`. A number that begins with 0 has no country code: it can't be compared with
/// one that has.
fn compare_numbers(one: &str, two: &str) -> Likeness {
    if without_mobile_digit(one) == without_mobile_digit(two) {
        Likeness::Same
    } else if one.starts_with('0') == two.starts_with('0') {
        Likeness::Different
    } else {
        Likeness::Unknown
    }
}

/// `number` without the digit that marks a mobile phone in Mexico (521…), Argentina (549…) and Brazil (the ninth digit of
/// a subscriber, 55 AA 9…). People write such a number with or without the digit, and WhatsApp's id of a number has it or
/// lacks it: both are one number. Returns any other text, an id for example, as it is.
pub(super) fn without_mobile_digit(number: &str) -> Cow<'_, str> {
    if number.len() != 13 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.into();
    }
    let (before, digit) = match number.get(..2) {
        Some("52") => (2, '1'),
        Some("54") => (2, '9'),
        Some("55") => (4, '9'),
        _ => return number.into(),
    };
    match (number.get(..before), number.get(before..).and_then(|rest| rest.strip_prefix(digit))) {
        (Some(before), Some(after)) => format!("{before}{after}").into(),
        _ => number.into(),
    }
}

/// Result of comparing two customers. See [`Customer::compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// An id or a number of both is equal.
    Same,
    /// An id or a number of both is known and not equal.
    Different,
    /// No name of the one can be compared with a name of the other.
    Unknown,
}

/// Origin of a customer's id. Only ids of one origin can be compared.
#[derive(PartialEq, Eq)]
enum IdKind {
    /// WhatsApp's, for one business.
    BusinessScoped,
    /// WhatsApp's, in place of a number (gateways).
    Lid,
    /// A plain flow's sender made it.
    Own,
}

impl IdKind {
    fn of(id: &str) -> Self {
        match id {
            id if is_business_scoped(id) => Self::BusinessScoped,
            id if id.ends_with("@lid") => Self::Lid,
            _ => Self::Own,
        }
    }
}

/// Returns `true` for two letters of a country, a dot, up to 128 letters and digits (*Business-scoped user IDs*).
#[must_use]
pub fn is_business_scoped(id: &str) -> bool {
    let Some((country, rest)) = id.split_once('.') else { return false };
    let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    is_country && (1..=128).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_unknown() { "Customer(unknown)" } else { "Customer(…)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_type_need_no_quoting() {
        assert!(FlowName::new("appointment").is_ok());
        assert!(AgentName::new("Zoë-2").is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(FlowName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_literal_unused_is_no_usable_token() {
        assert!(!FlowToken::new("unused").unwrap().usable());
        assert!(FlowToken::new("Unused").unwrap().usable());
        assert!(FlowToken::new("").is_err());
    }

    #[test]
    fn names_of_one_kind_tell_customers_apart() {
        let customer = |id, phone| Customer::new(id, phone);
        let number = |phone| customer(None, Some(phone));
        assert_eq!(number("+491511234567").compare(&Customer::from_text("491511234567")), Likeness::Same);
        assert_eq!(number("491511234567").compare(&number("491511234568")), Likeness::Different);
        let ann = customer(Some("DE.1"), Some("491511234567"));
        assert_eq!(ann.compare(&number("491511234567")), Likeness::Same);
        assert_eq!(ann.compare(&customer(Some("DE.2"), Some("491511234567"))), Likeness::Different);
        assert_eq!(ann.compare(&customer(Some("DE.1"), Some("491511234568"))), Likeness::Same, "a new number");
        assert_eq!(ann.compare(&customer(Some("crm-7"), None)), Likeness::Unknown, "an id that its sender made");
        assert_eq!(customer(Some("7@lid"), None).compare(&customer(Some("8@lid"), None)), Likeness::Different);
        assert_eq!(ann.compare(&Customer::default()), Likeness::Unknown);
    }

    #[test]
    fn a_number_written_in_another_way_is_no_other_customer() {
        let compare = |one: &str, two: &str| Customer::new(None, Some(one)).compare(&Customer::new(None, Some(two)));
        for (dialled, id) in
            [("525512345678", "5215512345678"), ("541123456789", "5491123456789"), ("551187654321", "5511987654321")]
        {
            assert_eq!(compare(dialled, id), Likeness::Same, "{dialled}");
            assert_eq!(compare(id, &id.replace('5', "6")), Likeness::Different, "{id}");
        }
        assert_eq!(compare("5215512345678", "5215512345679"), Likeness::Different);
        assert_eq!(compare("4915123456789", "491523456789"), Likeness::Different, "other countries have no such digit");
        assert_eq!(compare("01511234567", "491511234567"), Likeness::Unknown, "no country code");
        assert_eq!(compare("01511234567", "01511234568"), Likeness::Different);
        assert_eq!(compare("55é1234567890", "55é1234567890"), Likeness::Same, "a text that is no number");
    }

    #[test]
    fn a_customer_is_a_number_or_an_id() {
        assert_eq!(Customer::from_text("1234567890").phone.as_deref(), Some("1234567890"));
        assert_eq!(Customer::from_text("+4915112345678").phone.as_deref(), Some("4915112345678"));
        assert_eq!(Customer::from_text("US.1349").id.as_deref(), Some("US.1349"));
        assert!(Customer::from_text("").is_unknown());
        assert_eq!(format!("{:?}", Customer::from_text("1234567890")), "Customer(…)");
    }
}
