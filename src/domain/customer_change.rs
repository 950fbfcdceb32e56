//! A customer whose number or business-scoped id has changed, and who that is from then on.
//!
//! Meta tells each change once, in a system message (*System messages*). What is stored of the customer before it has the old
//! names; the store keeps each change under the names that it replaces and follows them when it reads. A number may be given to
//! somebody else later, so a change counts only for what was sent before it.

use super::ids::Customer;
use super::submission::IdempotencyKey;
use super::time::Timestamp;

/// A change of a customer's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerChange {
    /// Key of the message that told it.
    pub message_key: Option<IdempotencyKey>,
    /// When it happened, by Meta's clock; `None`: not told.
    pub at: Option<Timestamp>,
    old: Customer,
    new: Customer,
}

impl CustomerChange {
    /// The change from `old` to `new`, each as far as it was told; `None` if nothing would change.
    ///
    /// An id that is not told anew stays. A number that `new` lacks is gone: the customer has another one, which Meta may not
    /// share, and the old one may be another person's soon. A change that leaves the number alone has it in `new`.
    #[must_use]
    pub fn new(old: Customer, new: Customer) -> Option<Self> {
        let new = Customer { id: new.id.or_else(|| old.id.clone()), phone: new.phone };
        let change = Self { message_key: None, at: None, old, new };
        let is_change = change.replaced().next().is_some() && !change.new.is_unknown();
        is_change.then_some(change)
    }

    /// The names that are no longer the customer's.
    pub fn replaced(&self) -> impl Iterator<Item = &str> {
        let kept = |name: &&str| [&self.new.id, &self.new.phone].into_iter().flatten().any(|new| **new == **name);
        let names = [&self.old.id, &self.old.phone].into_iter().flatten().map(AsRef::as_ref);
        names.filter(move |name| !kept(name))
    }

    /// The customer's names from now on.
    #[must_use]
    pub const fn current(&self) -> &Customer {
        &self.new
    }
}

/// What a customer whom something calls `known` is called now. `find` looks up the first change that replaced a name at or
/// after a time, and returns it with its time.
///
/// # Errors
/// Those of `find`.
pub fn follow<E>(
    known: Customer,
    sent_at: Timestamp,
    find: impl Fn(&str, Timestamp) -> Result<Option<(Timestamp, Customer)>, E>,
) -> Result<Customer, E> {
    /// Nobody changes more often within the time that submissions are kept.
    const CHANGES_MAX: usize = 64;
    let (mut current, mut from) = (known, sent_at);
    for _ in 0..CHANGES_MAX {
        let mut next: Option<(Timestamp, Customer)> = None;
        for name in [&current.id, &current.phone].into_iter().flatten() {
            let found = find(name, from)?;
            next = match (next, found) {
                (Some(one), Some(other)) if other.0 < one.0 => Some(other),
                (None, found) => found,
                (next, _) => next,
            };
        }
        let Some((at, to)) = next else { break };
        // What happened in the same second is followed once.
        from = at.plus(super::time::Millis::new(1));
        current = Customer { id: to.id.or(current.id), phone: to.phone };
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    fn customer(id: &str, phone: &str) -> Customer {
        let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Box::from);
        Customer { id: text(id), phone: text(phone) }
    }

    #[test]
    fn an_id_that_is_not_told_anew_stays_and_a_number_does_not() {
        let change = |old, new| {
            CustomerChange::new(old, new).map(|change| {
                let replaced: Vec<String> = change.replaced().map(str::to_owned).collect();
                (replaced.join(" "), change.current().clone())
            })
        };
        let told = |replaced: &str, id, phone| Some((replaced.to_owned(), customer(id, phone)));
        assert_eq!(change(customer("DE.1", "1"), customer("DE.2", "2")), told("DE.1 1", "DE.2", "2"));
        assert_eq!(change(customer("", "1"), customer("", "2")), told("1", "", "2"));
        assert_eq!(change(customer("DE.1", "1"), customer("", "2")), told("1", "DE.1", "2"));
        assert_eq!(change(customer("DE.1", "1"), customer("DE.2", "")), told("DE.1 1", "DE.2", ""));
        assert_eq!(change(customer("", ""), customer("DE.2", "2")), None, "nobody knows whose they are");
        assert_eq!(change(customer("", "1"), customer("", "")), None);
        assert_eq!(change(customer("DE.1", "1"), customer("DE.1", "1")), None);
    }

    #[test]
    fn changes_are_followed_in_order_and_only_by_what_was_sent_before_them() {
        let at = Timestamp::from_millis;
        let mut changes: BTreeMap<(&str, Timestamp), Customer> = BTreeMap::new();
        for (name, when, to) in [
            ("1", 10, customer("", "2")),
            ("2", 20, customer("DE.3", "3")),
            ("3", 30, customer("", "1")),
            // Somebody else has number 1 meanwhile, and gives it up again.
            ("1", 25, customer("", "9")),
        ] {
            changes.insert((name, at(when)), to);
        }
        let now = |known: Customer, sent: u64| {
            let find = |name: &str, from: Timestamp| {
                let first = changes.iter().find(|((known, when), _)| *known == name && *when >= from);
                Ok::<_, Infallible>(first.map(|((_, when), to)| (*when, to.clone())))
            };
            follow(known, at(sent), find).unwrap()
        };
        assert_eq!(now(customer("", "1"), 10), customer("DE.3", "1"), "three changes, and the number is theirs again");
        assert_eq!(now(customer("DE.1", "2"), 11), customer("DE.3", "1"));
        assert_eq!(now(customer("", "1"), 11), customer("", "9"), "the other one");
        assert_eq!(now(customer("", "1"), 40), customer("", "1"), "sent since");
        assert_eq!(now(customer("DE.7", "7"), 0), customer("DE.7", "7"));
    }
}
