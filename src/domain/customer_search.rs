//! Decides if a customer, or the answers of a form, match a text that an operator typed.

use serde_json::Value;

use super::contact::FormContact;
use super::customer::{Customer, without_mobile_digit};

/// Minimum digits by which a number without country code finds a number with one.
const SUFFIX_DIGITS_MIN: usize = 6;
/// Minimum digits by which a part of a number finds the number.
const PART_DIGITS_MIN: usize = 4;

/// Text by which an operator searches for a customer: a phone number in any spelling, an ID, or a
/// text of an answer.
#[derive(Clone)]
pub struct CustomerTerm {
    /// Text as typed, in lower case.
    text: String,
    /// Digits of a phone number without `+` and without leading zeros. `None`: no phone number.
    digits: Option<String>,
    /// `true` if the phone number was typed without country code: it begins with one 0.
    is_national: bool,
}

impl CustomerTerm {
    /// Interprets a text. Blanks, brackets, dots, dashes and slashes in a phone number are ignored.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        let plain: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && !"()-/.\u{2011}".contains(*c))
            .collect();
        let number = plain.strip_prefix('+').unwrap_or(&plain);
        let is_number =
            (1..=17).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            text: text.to_lowercase(),
            is_national: number.starts_with('0') && !number.starts_with("00"),
            digits: is_number.then(|| number.trim_start_matches('0').to_owned()),
        }
    }

    /// Returns `true` if the text may be a whole phone number.
    #[must_use]
    pub fn is_phone_number(&self) -> bool {
        self.digits
            .as_ref()
            .is_some_and(|digits| (SUFFIX_DIGITS_MIN..=15).contains(&digits.len()))
    }

    /// Returns `true` if the text is a name of the customer: the ID, or the phone number.
    #[must_use]
    pub fn is_name_of(&self, customer: &Customer) -> bool {
        let is_id = |id: &str| id.to_lowercase() == self.text;
        customer.id.as_deref().is_some_and(is_id)
            || customer.names().any(|name| self.is_number(name))
    }

    /// Returns `true` if this is the phone number `number`. A number without country code is
    /// compared with the end of `number`.
    #[must_use]
    pub fn is_number(&self, number: &str) -> bool {
        let Some(digits) = self.digits.as_deref().filter(|_| self.is_phone_number()) else {
            return false;
        };
        let stored = Self::new(number);
        let Some(stored_digits) = stored.digits.as_deref() else {
            return false;
        };
        without_mobile_digit(digits) == without_mobile_digit(stored_digits)
            || self.is_national && stored_digits.ends_with(digits)
            || stored.is_national
                && stored_digits.len() >= SUFFIX_DIGITS_MIN
                && digits.ends_with(stored_digits)
    }

    /// Returns the reason why a form matches: the name of the customer, or a field with its value.
    /// Returns `None` if the form does not match.
    #[must_use]
    pub fn find_match(&self, customer: &Customer, answers: &Value) -> Option<String> {
        let is_part = |name: &str| {
            let has_digits =
                |digits: &String| digits.len() >= PART_DIGITS_MIN && name.contains(digits.as_str());
            name.to_lowercase().contains(&self.text)
                || self.digits.as_ref().is_some_and(has_digits)
                || self.is_number(name)
        };
        if let Some(name) = customer.names().find(|name| is_part(name)) {
            return Some(name.to_owned());
        }
        if let Some(name) = FormContact::from_answers(answers).name
            && name.to_lowercase().contains(&self.text)
        {
            return Some(format!("name: {name}"));
        }
        let fields = answers.as_object()?.iter();
        fields
            .filter_map(|(key, value)| Some((key, self.find_in_answer(value)?)))
            .map(|(key, answer)| format!("{key}: {answer}"))
            .next()
    }

    fn find_in_answer<'a>(&self, value: &'a Value) -> Option<std::borrow::Cow<'a, str>> {
        match value {
            Value::String(text) => (text.to_lowercase().contains(&self.text)
                || self.is_number(text))
            .then(|| text.as_str().into()),
            Value::Number(number) => {
                let text = number.to_string();
                (text.contains(&self.text) || self.is_number(&text)).then(|| text.into())
            }
            Value::Array(items) => items.iter().find_map(|item| self.find_in_answer(item)),
            Value::Object(fields) => fields.values().find_map(|item| self.find_in_answer(item)),
            Value::Null | Value::Bool(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn number_is_found_in_any_spelling() {
        let ann = Customer::new(Some("DE.1x"), Some("491511234567"));
        for text in [
            "+49 151 1234567",
            "0049151/1234567",
            "491511234567",
            "(0151) 123-4567",
            "DE.1X",
        ] {
            assert!(CustomerTerm::new(text).is_name_of(&ann), "{text}");
        }
        for text in ["4915112345678", "1234", "DE.1", "", "Ann", "0152 1234567"] {
            assert!(!CustomerTerm::new(text).is_name_of(&ann), "{text}");
        }
        let brazilian = Customer::new(None, Some("5511987654321"));
        assert!(CustomerTerm::new("+55 11 8765 4321").is_name_of(&brazilian));
        // The client of a plain flow writes the number without country code.
        let national = Customer::new(None, Some("01511234567"));
        assert!(CustomerTerm::new("+49 151 1234567").is_name_of(&national));
    }

    #[test]
    fn search_finds_number_part_name_and_answer() {
        let ann = Customer::new(None, Some("491511234567"));
        let answers = json!({"name": "Ann Lee", "car": {"model": "Polo"}, "km": 120_500});
        let found = |text: &str| CustomerTerm::new(text).find_match(&ann, &answers);
        for (text, expected) in [
            ("4567", "491511234567"),
            ("ann", "name: Ann Lee"),
            ("polo", "car: Polo"),
            ("120500", "km: 120500"),
        ] {
            assert_eq!(found(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(found("Bob"), None);
        assert_eq!(found("567 8"), None);
    }
}
