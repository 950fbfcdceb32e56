//! Recognizes the rows of one customer, so that an admin can have the customer forgotten.
//!
//! An admin knows one name of a customer. The rows name the others. IDs decide first, as in
//! [`Customer::compare`], because a phone number may belong to another person later.

use serde::{Deserialize, Serialize};

use super::customer::is_business_scoped;
use super::ids::Customer;

/// Maximum number of names that are learned about one customer.
const LEARNED_MAX: usize = 64;

/// Known names of one customer: the name that an admin gave, and the names in rows of the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerNames {
    given: Customer,
    learned: Vec<Customer>,
}

impl CustomerNames {
    /// Creates the names of a customer of whom one name is known.
    #[must_use]
    pub const fn new(given: Customer) -> Self {
        Self {
            given,
            learned: Vec::new(),
        }
    }

    /// Returns the name that the admin gave.
    #[must_use]
    pub const fn given(&self) -> &Customer {
        &self.given
    }

    /// Returns `true` if `customer` is this customer.
    #[must_use]
    pub fn matches(&self, customer: &Customer) -> bool {
        self.known().any(|known| known.is_same(customer))
    }

    /// Adds the names of a customer who is this customer. Returns `true` if they were unknown.
    pub fn learn(&mut self, customer: &Customer) -> bool {
        let is_new = self.matches(customer)
            && self.learned.len() < LEARNED_MAX
            && self.known().all(|known| known != customer);
        if is_new {
            self.learned.push(customer.clone());
        }
        is_new
    }

    /// Adds the names that were learned about the same customer before.
    pub fn learn_all(&mut self, other: &Self) {
        for customer in &other.learned {
            self.learn(customer);
        }
    }

    /// Lists all known IDs and phone numbers.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.known().flat_map(Customer::names)
    }

    /// Returns `true` if `text` contains a phone number of the customer, or an ID of WhatsApp. The
    /// client of a plain flow may use any text as an ID, so such an ID does not count.
    #[must_use]
    pub fn are_mentioned_in(&self, text: &str) -> bool {
        self.known().any(|known| {
            let id = known.id.as_deref().filter(|id| is_whatsapp_id(id));
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric();
            let is_digit = |byte: u8| byte.is_ascii_digit();
            id.is_some_and(|id| has_whole(text, id, is_letter))
                || (known.phone.as_deref()).is_some_and(|phone| has_whole(text, phone, is_digit))
        })
    }

    fn known(&self) -> impl Iterator<Item = &Customer> {
        std::iter::once(&self.given).chain(&self.learned)
    }
}

fn is_whatsapp_id(id: &str) -> bool {
    is_business_scoped(id) || id.ends_with("@lid")
}

/// Returns `true` if `text` contains `name` between bytes that can't be part of such a name.
fn has_whole(text: &str, name: &str, is_part: impl Fn(u8) -> bool) -> bool {
    let (bytes, length) = (text.as_bytes(), name.len());
    text.match_indices(name).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = bytes.get(at.saturating_add(length));
        [before, after]
            .into_iter()
            .flatten()
            .all(|byte| !is_part(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(phone: &str) -> Customer {
        Customer::new(None, Some(phone))
    }

    #[test]
    fn names_follow_the_id_and_not_a_passed_on_number() {
        let mut names = CustomerNames::new(Customer::from_text("DE.1"));
        let ann = Customer::new(Some("DE.1"), Some("4915112345678"));
        assert!(!names.matches(&number("4915112345678")));
        assert!(names.learn(&ann) && !names.learn(&ann));
        assert!(names.matches(&number("4915112345678")));
        // The number belongs to another person.
        let bob = Customer::new(Some("DE.2"), Some("4915112345678"));
        assert!(!names.matches(&bob) && !names.learn(&bob));
        assert!(!names.matches(&Customer::default()));
    }

    #[test]
    fn only_whole_numbers_and_whatsapp_ids_are_mentions() {
        let names = CustomerNames::new(number("4915112345678"));
        for (text, is_mentioned) in [
            (r#"{"from":"4915112345678"}"#, true),
            ("call +4915112345678, please", true),
            ("14915112345678", false),
            ("49151123456789", false),
            ("", false),
        ] {
            assert_eq!(names.are_mentioned_in(text), is_mentioned, "{text}");
        }
        let names = CustomerNames::new(Customer::from_text("DE.1"));
        assert!(names.are_mentioned_in(r#"{"user_id":"DE.1"}"#));
        assert!(!names.are_mentioned_in(r#"{"user_id":"DE.12"}"#));
        let names = CustomerNames::new(Customer::from_text("yes"));
        assert!(!names.are_mentioned_in(r#"{"agreed":"yes"}"#));
    }
}
