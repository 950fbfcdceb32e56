//! Defines customers, and decides if two customers are the same.
//!
//! See [`super::customer_change`] for a customer with a new number or ID.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::phone_number::PhoneNumber;

/// Customer who filled in a form: a phone number, a business-scoped ID, both or, in plain flows,
/// neither.
///
/// Since 2026 the phone number may be absent (*Business-scoped user IDs*). Neither value is
/// required; both are stored if present. `Debug` hides the values, because they are personal data.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
        if PhoneNumber::parse(text).is_ok() {
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

    /// Returns `true` if the decisive ID or phone number of both is equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.compare(other) == CustomerMatch::Same
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
    let (before, rest) = number.split_at(before);
    match rest.strip_prefix(digit) {
        Some(after) => format!("{before}{after}").into(),
        None => number.into(),
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
    use CustomerMatch::{Different, Same, Unknown};

    use super::*;

    #[test]
    fn customers_are_compared_by_same_kind_of_id() {
        let customer = |id, phone| Customer::new(id, phone);
        let number = |phone| customer(None, Some(phone));
        let ann = customer(Some("DE.1"), Some("491511234567"));
        let ann_phone = ann.phone.as_deref();
        let from_text = Customer::from_text("491511234567");
        let [seven, eight] = ["7@lid", "8@lid"].map(Customer::from_text);
        for (one, other, expected) in [
            (&number("+491511234567"), &from_text, Same),
            (&from_text, &number("491511234568"), Different),
            (&ann, &from_text, Same),
            (&ann, &customer(Some("DE.2"), ann_phone), Different),
            // Ann has a new number.
            (&ann, &customer(Some("DE.1"), Some("491511234568")), Same),
            // The sender of a plain flow made the ID.
            (&ann, &customer(Some("crm-7"), None), Unknown),
            (&seven, &eight, Different),
            (&ann, &Customer::default(), Unknown),
        ] {
            let names = |customer: &Customer| customer.names().collect::<Vec<_>>().join(" ");
            let pair = format!("{} and {}", names(one), names(other));
            assert_eq!(one.compare(other), expected, "{pair}");
        }
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
            assert_eq!(compare(dialled, id), Same, "{dialled}");
            assert_eq!(compare(id, &id.replace('5', "6")), Different, "{id}");
        }
        for (one, other, expected) in [
            ("5215512345678", "5215512345679", Different),
            // Numbers of Germany have no such digit.
            ("4915123456789", "491523456789", Different),
            // The first number has no country code.
            ("01511234567", "491511234567", Unknown),
            ("01511234567", "01511234568", Different),
            // The text is no number.
            ("55é1234567890", "55é1234567890", Same),
        ] {
            assert_eq!(compare(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn customer_text_is_number_or_id() {
        for (text, id, phone) in [
            ("1234567890", None, Some("1234567890")),
            ("+4915112345678", None, Some("4915112345678")),
            ("US.1349", Some("US.1349"), None),
        ] {
            let customer = Customer::from_text(text);
            let parts = (customer.id.as_deref(), customer.phone.as_deref());
            assert_eq!(parts, (id, phone));
            assert_eq!(format!("{customer:?}"), "Customer(…)");
        }
        assert!(Customer::from_text("").is_unknown());
    }
}
