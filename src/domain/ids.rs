//! Defines a separate type for each kind of ID and name, so that the compiler refuses to mix them.
//!
//! The store assigns numeric IDs in ascending order and never reuses them. Names come from the
//! config, from Meta or from an admin, and are checked when the program receives them.

use std::borrow::Cow;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Error for a name or text that is not a valid ID.
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
            /// Creates the ID with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Returns the number, for keys and for display.
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

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
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
            /// Checks `text` and creates the name.
            ///
            /// # Errors
            /// [`InvalidId`] with the reason, if `text` is not a valid name.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(problem) => Err(InvalidId { what: $what, problem }),
                }
            }

            /// Returns the name as text.
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

/// Validates a name that people type: 1 to 64 letters, digits, `-`, `_` and `.`. Such a name needs
/// no quoting in a shell or URL.
fn validate_typed_name(text: &str) -> Result<(), &'static str> {
    match text.chars().count() {
        0 => Err("is empty"),
        1..=64
            if text
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) =>
        {
            Ok(())
        }
        1..=64 => Err("may have letters, digits, '-', '_' and '.' only"),
        _ => Err("is longer than 64 characters"),
    }
}

/// Validates a text from outside that identifies something: 1 byte to 4 KiB. Meta documents no
/// limit.
fn validate_foreign_text(text: &str) -> Result<(), &'static str> {
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

name!(/** A flow, as the config names it. */ FlowName, "flow name", validate_typed_name);
name!(/** A calendar, as the config names it. */ CalendarName, "calendar name", validate_typed_name);
name!(/** A destination, as the config names it. */ DestinationName, "destination name", validate_typed_name);
name!(/** An unofficial gateway, as the config names it. */ GatewayName, "gateway name", validate_typed_name);
name!(/** A team of agents. */ TeamName, "team name", validate_typed_name);
name!(/** An agent, as an admin named it. */ AgentName, "agent name", validate_typed_name);
name!(
    /// Flow token that identifies one flow message. The literal `unused` and the empty text
    /// identify none. See [`FlowToken::is_usable`].
    FlowToken, "flow_token", validate_foreign_text
);
name!(/** A WhatsApp message, `wamid.…`. Opaque. */ MessageId, "message id", validate_foreign_text);

impl FlowToken {
    /// Returns `true` if the token identifies a form. `unused` is Meta's default if the business
    /// sets no token, and thousands of customers share it (*Sending a Flow*, `flow_token`).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.as_str() != "unused"
    }
}

/// Customer who filled in a form: a phone number, a business-scoped ID, both or, in plain flows,
/// neither.
///
/// Since 2026 the phone number may be absent (*Business-scoped user IDs*). Neither value is
/// required; both are stored if present. `Debug` hides the values, because they are personal data.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Customer {
    /// Business-scoped ID, or the ID that the client of a plain flow uses.
    pub id: Option<Box<str>>,
    /// Phone number without `+`.
    pub phone: Option<Box<str>>,
}

impl Customer {
    /// Creates a customer from an ID and a phone number. The number is stored without the `+` that
    /// some clients write: Meta writes none, and without this, one number could become two
    /// customers. Empty texts count as absent.
    #[must_use]
    pub fn new(id: Option<&str>, phone: Option<&str>) -> Self {
        let non_empty = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(Box::from);
        Self {
            id: non_empty(id),
            phone: non_empty(phone.map(|phone| phone.strip_prefix('+').unwrap_or(phone))),
        }
    }

    /// Creates a customer from one text. A text of 7 to 15 digits, with an optional `+` in front
    /// (E.164), is a phone number. Any other text is an ID. The empty text is an unknown customer.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            Self::new(None, Some(text))
        } else {
            Self::new(Some(text), None)
        }
    }

    /// Returns the text that names this customer: the ID or, without an ID, the phone number.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.id.as_deref().or(self.phone.as_deref())
    }

    /// Returns all known names of the customer, the ID first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.id, &self.phone]
            .into_iter()
            .flatten()
            .map(AsRef::as_ref)
    }

    /// Compares two customers. IDs of the same kind decide first, then phone numbers. A client's
    /// own ID can't be compared with an ID of WhatsApp.
    #[must_use]
    pub fn compare(&self, other: &Self) -> CustomerMatch {
        let ids = self
            .id
            .as_deref()
            .zip(other.id.as_deref())
            .filter(|(one, two)| IdKind::classify(one) == IdKind::classify(two));
        let phones = self.phone.as_deref().zip(other.phone.as_deref());
        match (ids, phones) {
            (Some((one, two)), _) if one == two => CustomerMatch::Same,
            (Some(_), _) => CustomerMatch::Different,
            (None, Some((one, two))) => compare_numbers(one, two),
            (None, None) => CustomerMatch::Unknown,
        }
    }

    /// Returns `true` if neither ID nor phone number is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.id.is_none() && self.phone.is_none()
    }
}

/// Compares two phone numbers without `+`. A number that begins with 0 has no country code and
/// can't be compared with one that has.
fn compare_numbers(one: &str, two: &str) -> CustomerMatch {
    if without_mobile_digit(one) == without_mobile_digit(two) {
        CustomerMatch::Same
    } else if one.starts_with('0') == two.starts_with('0') {
        CustomerMatch::Different
    } else {
        CustomerMatch::Unknown
    }
}

/// Removes the digit that marks a mobile phone in Mexico (521…), Argentina (549…) and Brazil (the
/// ninth digit of a subscriber, 55 AA 9…).
///
/// People write such a number with or without the digit, and WhatsApp's ID of a number may contain
/// it or lack it. Both forms are one number. Any other text, for example an ID, is returned
/// unchanged.
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
    match (
        number.get(..before),
        number
            .get(before..)
            .and_then(|rest| rest.strip_prefix(digit)),
    ) {
        (Some(before), Some(after)) => format!("{before}{after}").into(),
        _ => number.into(),
    }
}

/// Result of comparing two customers. See [`Customer::compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomerMatch {
    /// The decisive ID or phone number of both is equal.
    Same,
    /// The decisive ID or phone number of both is known and different.
    Different,
    /// No ID or phone number of the one can be compared with one of the other.
    Unknown,
}

/// Origin of a customer's ID. Only IDs of the same origin can be compared.
#[derive(PartialEq, Eq)]
enum IdKind {
    /// ID that WhatsApp assigned for one business.
    BusinessScoped,
    /// ID that WhatsApp uses in place of a phone number (gateways).
    Lid,
    /// ID that the client of a plain flow created.
    External,
}

impl IdKind {
    fn classify(id: &str) -> Self {
        match id {
            id if is_business_scoped(id) => Self::BusinessScoped,
            id if id.ends_with("@lid") => Self::Lid,
            _ => Self::External,
        }
    }
}

/// Returns `true` if `id` consists of two letters of a country, a dot, and up to 128 letters and
/// digits (*Business-scoped user IDs*).
#[must_use]
pub fn is_business_scoped(id: &str) -> bool {
    let Some((country, rest)) = id.split_once('.') else {
        return false;
    };
    let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    is_country
        && (1..=128).contains(&rest.len())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_unknown() {
            "Customer(unknown)"
        } else {
            "Customer(…)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_names_are_shell_safe() {
        assert!(FlowName::new("appointment").is_ok());
        assert!(AgentName::new("Zoë-2").is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert!(FlowName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn literal_unused_is_unusable_token() {
        assert!(!FlowToken::new("unused").unwrap().is_usable());
        assert!(FlowToken::new("Unused").unwrap().is_usable());
        assert!(FlowToken::new("").is_err());
    }

    #[test]
    fn customers_are_compared_by_same_kind_of_id() {
        let customer = |id, phone| Customer::new(id, phone);
        let number = |phone| customer(None, Some(phone));
        assert_eq!(
            number("+491511234567").compare(&Customer::from_text("491511234567")),
            CustomerMatch::Same
        );
        assert_eq!(
            number("491511234567").compare(&number("491511234568")),
            CustomerMatch::Different
        );
        let ann = customer(Some("DE.1"), Some("491511234567"));
        assert_eq!(ann.compare(&number("491511234567")), CustomerMatch::Same);
        assert_eq!(
            ann.compare(&customer(Some("DE.2"), Some("491511234567"))),
            CustomerMatch::Different
        );
        assert_eq!(
            ann.compare(&customer(Some("DE.1"), Some("491511234568"))),
            CustomerMatch::Same,
            "a new number"
        );
        assert_eq!(
            ann.compare(&customer(Some("crm-7"), None)),
            CustomerMatch::Unknown,
            "an id that its sender made"
        );
        assert_eq!(
            customer(Some("7@lid"), None).compare(&customer(Some("8@lid"), None)),
            CustomerMatch::Different
        );
        assert_eq!(ann.compare(&Customer::default()), CustomerMatch::Unknown);
    }

    #[test]
    fn number_spelling_variants_are_one_customer() {
        let compare = |one: &str, two: &str| {
            Customer::new(None, Some(one)).compare(&Customer::new(None, Some(two)))
        };
        for (dialled, id) in [
            ("525512345678", "5215512345678"),
            ("541123456789", "5491123456789"),
            ("551187654321", "5511987654321"),
        ] {
            assert_eq!(compare(dialled, id), CustomerMatch::Same, "{dialled}");
            assert_eq!(
                compare(id, &id.replace('5', "6")),
                CustomerMatch::Different,
                "{id}"
            );
        }
        assert_eq!(
            compare("5215512345678", "5215512345679"),
            CustomerMatch::Different
        );
        assert_eq!(
            compare("4915123456789", "491523456789"),
            CustomerMatch::Different,
            "other countries have no such digit"
        );
        assert_eq!(
            compare("01511234567", "491511234567"),
            CustomerMatch::Unknown,
            "no country code"
        );
        assert_eq!(
            compare("01511234567", "01511234568"),
            CustomerMatch::Different
        );
        assert_eq!(
            compare("55é1234567890", "55é1234567890"),
            CustomerMatch::Same,
            "a text that is no number"
        );
    }

    #[test]
    fn customer_text_is_number_or_id() {
        assert_eq!(
            Customer::from_text("1234567890").phone.as_deref(),
            Some("1234567890")
        );
        assert_eq!(
            Customer::from_text("+4915112345678").phone.as_deref(),
            Some("4915112345678")
        );
        assert_eq!(
            Customer::from_text("US.1349").id.as_deref(),
            Some("US.1349")
        );
        assert!(Customer::from_text("").is_unknown());
        assert_eq!(
            format!("{:?}", Customer::from_text("1234567890")),
            "Customer(…)"
        );
    }
}
