//! Defines changes of a customer's phone number or business-scoped ID, and looks up the current
//! names of a customer.
//!
//! Meta reports each change once, in a system message (*System messages*). Data that was stored
//! before the change contains the old names. The store records each change under the names that it
//! replaces, and follows the changes when it reads. Another person may get the old number later, so
//! a change applies only to data that was sent before the change.

use super::ids::Customer;
use super::submission::IdempotencyKey;
use super::time::Timestamp;

/// Change of the names of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerChange {
    /// Idempotency key of the message that reported the change.
    pub message_key: Option<IdempotencyKey>,
    /// Time of the change by Meta's clock. `None`: the message contains no time.
    pub changed_at: Option<Timestamp>,
    old: Customer,
    new: Customer,
}

impl CustomerChange {
    /// Creates the change from `old` to `new`, each with the names that Meta reported. Returns
    /// `None` if nothing changes.
    ///
    /// An ID without a new value stays. A number without a new value is removed. The customer then
    /// has another number that Meta may not share, and another person may soon have the old number.
    /// A change that does not affect the number must contain the number in `new`.
    #[must_use]
    pub fn new(old: Customer, new: Customer) -> Option<Self> {
        let new = Customer {
            id: new.id.or_else(|| old.id.clone()),
            phone: new.phone,
        };
        let change = Self {
            message_key: None,
            changed_at: None,
            old,
            new,
        };
        let is_change = change.replaced_names().next().is_some() && !change.new.is_unknown();
        is_change.then_some(change)
    }

    /// Returns the names that no longer belong to the customer.
    pub fn replaced_names(&self) -> impl Iterator<Item = &str> {
        let is_current = |name: &str| self.new.names().any(|new| new == name);
        self.old.names().filter(move |name| !is_current(name))
    }

    /// Returns the names of the customer after the change.
    #[must_use]
    pub const fn current(&self) -> &Customer {
        &self.new
    }
}

/// Returns the current names of the customer who has the names `customer` in data sent at
/// `sent_at`. `find_change` returns the first change that replaced a name at or after a time, with
/// the time of the change.
///
/// # Errors
/// The errors of `find_change`.
pub fn resolve_current<E>(
    customer: Customer,
    sent_at: Timestamp,
    find_change: impl Fn(&str, Timestamp) -> Result<Option<(Timestamp, Customer)>, E>,
) -> Result<Customer, E> {
    /// Maximum number of changes that are followed. No customer changes more often within the
    /// retention of submissions.
    const CHANGES_MAX: usize = 64;
    let (mut current, mut from) = (customer, sent_at);
    for _ in 0..CHANGES_MAX {
        let mut next: Option<(Timestamp, Customer)> = None;
        for name in current.names() {
            let found = find_change(name, from)?;
            // Of changes at the same time, the first one counts.
            next = next.into_iter().chain(found).min_by_key(|(at, _)| *at);
        }
        let Some((at, to)) = next else { break };
        // Changes at the same time are followed only once.
        from = at.plus(super::time::Millis::new(1));
        current = Customer {
            id: to.id.or(current.id),
            phone: to.phone,
        };
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    fn customer(id: &str, phone: &str) -> Customer {
        Customer::new(Some(id), Some(phone))
    }

    #[test]
    fn omitted_id_is_retained_and_omitted_number_is_dropped() {
        let change = |old, new| {
            CustomerChange::new(old, new).map(|change| {
                let replaced: Vec<String> = change.replaced_names().map(str::to_owned).collect();
                (replaced.join(" "), change.current().clone())
            })
        };
        let expected = |replaced: &str, id, phone| Some((replaced.to_owned(), customer(id, phone)));
        for (old, new, change_made) in [
            (
                ("DE.1", "1"),
                ("DE.2", "2"),
                expected("DE.1 1", "DE.2", "2"),
            ),
            (("", "1"), ("", "2"), expected("1", "", "2")),
            (("DE.1", "1"), ("", "2"), expected("1", "DE.1", "2")),
            (("DE.1", "1"), ("DE.2", ""), expected("DE.1 1", "DE.2", "")),
            // Nothing names the customer who has the new names.
            (("", ""), ("DE.2", "2"), None),
            (("", "1"), ("", ""), None),
            (("DE.1", "1"), ("DE.1", "1"), None),
        ] {
            let actual = change(customer(old.0, old.1), customer(new.0, new.1));
            assert_eq!(actual, change_made, "{old:?} {new:?}");
        }
    }

    #[test]
    fn later_submission_ignores_earlier_change() {
        let at = Timestamp::from_millis;
        let mut changes: BTreeMap<(&str, Timestamp), Customer> = BTreeMap::new();
        for (name, when, to) in [
            ("1", 10, customer("", "2")),
            ("2", 20, customer("DE.3", "3")),
            ("3", 30, customer("", "1")),
            // Another person has number 1 in the meantime, and later gets another number.
            ("1", 25, customer("", "9")),
        ] {
            changes.insert((name, at(when)), to);
        }
        let current_customer = |known: Customer, sent: u64| {
            let find = |name: &str, from: Timestamp| {
                let first = changes
                    .iter()
                    .find(|((known, when), _)| *known == name && *when >= from);
                Ok::<_, Infallible>(first.map(|((_, when), to)| (*when, to.clone())))
            };
            resolve_current(known, at(sent), find).unwrap()
        };
        for (known, sent_at, expected) in [
            // After three changes, the number is the customer's again.
            (("", "1"), 10, ("DE.3", "1")),
            (("DE.1", "2"), 11, ("DE.3", "1")),
            // The other person.
            (("", "1"), 11, ("", "9")),
            // Sent after all changes.
            (("", "1"), 40, ("", "1")),
            (("DE.7", "7"), 0, ("DE.7", "7")),
        ] {
            let current = current_customer(customer(known.0, known.1), sent_at);
            let expected = customer(expected.0, expected.1);
            assert_eq!(current, expected, "{known:?} {sent_at}");
        }
    }
}
