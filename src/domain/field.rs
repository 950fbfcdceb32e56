//! One field of a form: what kind of value it takes, and what is wrong with one that does not fit.
//!
//! Made for what WhatsApp really sends: every kind of component may give strings, numbers, booleans, arrays or objects,
//! so a value is taken for what it says, not for its JSON type (`"42"` is an integer). Which fields a form has, and when
//! one is missing, is `super::flow`'s business. Problems are told to the sender and never repeat the value: it may be
//! personal, and it ends up in logs.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::{Date, Time};
use serde_json::Value;

pub use super::flaw::{FieldProblem, Flaw};
pub use super::pattern::Pattern;
use super::screen_data::NO_CHOICE;

/// Choices named in a problem at the most.
const CHOICES_SHOWN: usize = 8;

/// A declared field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in `data`.
    pub name: String,
    /// What it takes.
    pub kind: FieldKind,
    /// Whether it must be there when its screen is sent.
    pub required: bool,
    /// What a text must look like, besides.
    pub pattern: Option<Pattern>,
    /// What customers know it by; its name, unless given.
    pub label: Option<String>,
    /// What customers are told where a value does not fit, instead of the flow's own texts.
    pub error: Option<String>,
}

/// What a field takes. Bounds are inclusive.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldKind {
    /// Any text; lengths in characters. Numbers and booleans count as the text that JSON writes.
    Text {
        /// At least so many characters.
        min: Option<usize>,
        /// At most so many.
        max: Option<usize>,
    },
    /// An e-mail address, by a light check: up to 254 characters (RFC 5321), no spaces or control characters, one `@`
    /// with something on both sides. A domain without a dot is let through, quoted local parts with an `@` are not:
    /// only sending a message would tell more.
    Email,
    /// A phone number: 5 to 15 digits (E.164 has no longer ones), perhaps a `+` in front, and the usual separators.
    Phone,
    /// Any finite number.
    Number {
        /// Not below.
        min: Option<f64>,
        /// Not above.
        max: Option<f64>,
    },
    /// A whole number. `42.0` is one.
    Integer {
        /// Not below.
        min: Option<i64>,
        /// Not above.
        max: Option<i64>,
    },
    /// True or false, also as a text in any case, or 1 and 0.
    Boolean,
    /// A day, `2027-01-04`, or the id of a slot, which begins with one.
    Date,
    /// A time of day, `09:00`, or the id of a slot, which ends with one.
    Time,
    /// One of these texts.
    Choice(Vec<String>),
    /// Any of these texts, in an array; a single one may come without.
    Choices(Vec<String>),
}

impl Field {
    /// A field that may be left out, of this kind.
    #[must_use]
    pub fn new(name: &str, kind: FieldKind) -> Self {
        Self { name: name.to_owned(), kind, required: false, pattern: None, label: None, error: None }
    }

    /// What customers know it by.
    #[must_use]
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }

    /// What is wrong with `value`. One that is missing, null or empty is wrong only if the field `must_be_there`.
    #[must_use]
    pub fn problem(&self, value: Option<&Value>, must_be_there: bool) -> Option<FieldProblem> {
        // The line that says that nothing is free is no day and no time.
        let is_time = matches!(self.kind, FieldKind::Date | FieldKind::Time);
        let flaw = match value.filter(|value| is_given(value) && !(is_time && *value == NO_CHOICE)) {
            Some(value) => self.kind.refuses(value).or_else(|| {
                let fits = |pattern: &Pattern| text_of(value).is_some_and(|text| pattern.fits(&text));
                let off = self.pattern.as_ref().is_some_and(|pattern| !fits(pattern));
                off.then_some(Flaw::OffPattern)
            })?,
            None if must_be_there => Flaw::Missing,
            None => return None,
        };
        Some(FieldProblem { field: self.name.clone(), flaw })
    }
}

/// Whether there is anything in a value: forms send null, the empty text or an empty list for what was left out.
pub(super) fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

impl FieldKind {
    /// The name that the config has for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Number { .. } => "number",
            Self::Integer { .. } => "integer",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time => "time",
            Self::Choice(_) => "choice",
            Self::Choices(_) => "choices",
        }
    }

    /// Why it does not take `value`; `None` if it does.
    fn refuses(&self, value: &Value) -> Option<Flaw> {
        let unless = |fits: bool, flaw: Flaw| (!fits).then_some(flaw);
        match self {
            Self::Text { min, max } => text_problem(value, *min, *max),
            Self::Email => unless(text_of(value).is_some_and(|text| is_email(&text)), Flaw::NotEmail),
            Self::Phone => unless(text_of(value).is_some_and(|text| is_phone(&text)), Flaw::NotPhone),
            Self::Number { min, max } => bounds_problem(read_number(value), Flaw::NotNumber, *min, *max),
            Self::Integer { min, max } => bounds_problem(read_integer(value), Flaw::NotInteger, *min, *max),
            Self::Boolean => unless(read_boolean(value).is_some(), Flaw::NotBoolean),
            Self::Date => unless(read_date(value).is_some() || read_slot_id(value).is_some(), Flaw::NotDate),
            Self::Time => unless(read_time(value).is_some() || read_slot_id(value).is_some(), Flaw::NotTime),
            Self::Choice(choices) => (!is_choice(value, choices)).then(|| not_one_of(choices)),
            Self::Choices(choices) => {
                let all = match value {
                    Value::Array(items) => items.iter().all(|item| is_choice(item, choices)),
                    single => is_choice(single, choices),
                };
                (!all).then(|| not_one_of(choices))
            }
        }
    }
}

/// A day as forms send it: `2027-01-04`, and nothing else that could be read as one.
#[must_use]
pub(super) fn read_date(value: &Value) -> Option<Date> {
    date_in(value.as_str()?.trim())
}

/// A time of day as forms send it: `09:00`.
#[must_use]
pub(super) fn read_time(value: &Value) -> Option<Time> {
    time_in(value.as_str()?.trim())
}

/// A slot by its id, as `calendar::Slot::id` writes it: `2027-01-04T09:00`.
#[must_use]
pub(super) fn read_slot_id(value: &Value) -> Option<(Date, Time)> {
    let (date, time) = value.as_str()?.trim().split_once('T')?;
    Some((date_in(date)?, time_in(time)?))
}

fn date_in(text: &str) -> Option<Date> {
    // jiff reads more forms than this one, `20270104` and whole points in time among them.
    let one_form = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if one_form { text.parse().ok() } else { None }
}

fn time_in(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// What a value says, where it is one text, number or boolean.
pub(super) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text.trim())),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
        _ => None,
    }
}

fn text_problem(value: &Value, min: Option<usize>, max: Option<usize>) -> Option<Flaw> {
    let Some(text) = text_of(value) else { return Some(Flaw::NotText) };
    let length = text.chars().count();
    match (min, max) {
        (Some(min), _) if length < min => Some(Flaw::Shorter(min)),
        (_, Some(max)) if length > max => Some(Flaw::Longer(max)),
        _ => None,
    }
}

fn is_email(text: &str) -> bool {
    let no_gaps = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let halves = text.split_once('@').filter(|(user, domain)| !user.is_empty() && !domain.is_empty());
    no_gaps && text.chars().count() <= 254 && halves.is_some_and(|(_, domain)| !domain.contains('@'))
}

fn is_phone(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    (5..=15).contains(&digits) && number.chars().all(|c| c.is_ascii_digit() || " -.()/".contains(c))
}

/// True or false, in one of the forms that [`FieldKind::Boolean`] takes.
pub(super) fn read_boolean(value: &Value) -> Option<bool> {
    let text = text_of(value)?;
    let is = |known: [&str; 2]| known.iter().any(|known| text.eq_ignore_ascii_case(known));
    if is(["true", "1"]) { Some(true) } else { is(["false", "0"]).then_some(false) }
}

/// A finite number, which may have come as a text.
pub(super) fn read_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// A whole number, which may have come as a text.
pub(super) fn read_integer(value: &Value) -> Option<i64> {
    let text = match value {
        Value::Number(_) | Value::String(_) => text_of(value)?,
        _ => return None,
    };
    // `42.0` and `1e3` are whole too. Written out and read again: a cast would cut silently what does not fit.
    let written_out = || read_number(value).filter(|number| number.fract() == 0.0)?.to_string().parse().ok();
    text.parse().ok().or_else(written_out)
}

fn bounds_problem<N: PartialOrd + fmt::Display>(
    number: Option<N>,
    otherwise: Flaw,
    min: Option<N>,
    max: Option<N>,
) -> Option<Flaw> {
    match (number, min, max) {
        (None, ..) => Some(otherwise),
        (Some(number), Some(min), _) if number < min => Some(Flaw::Below(min.to_string())),
        (Some(number), _, Some(max)) if number > max => Some(Flaw::Above(max.to_string())),
        _ => None,
    }
}

fn is_choice(value: &Value, choices: &[String]) -> bool {
    text_of(value).is_some_and(|text| choices.iter().any(|choice| choice.trim() == text))
}

fn not_one_of(choices: &[String]) -> Flaw {
    let shown: Vec<&str> = choices.iter().take(CHOICES_SHOWN).map(String::as_str).collect();
    let more = if choices.len() > shown.len() { ", …" } else { "" };
    Flaw::NotChoice(format!("{}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn takes(kind: &FieldKind, values: &[Value]) {
        for value in values {
            assert_eq!(kind.refuses(value), None, "{} {value}", kind.as_str());
        }
    }

    fn refuses(kind: &FieldKind, why: &str, values: &[Value]) {
        for value in values {
            let flaw = kind.refuses(value).map(|flaw| flaw.to_string());
            assert_eq!(flaw.as_deref(), Some(why), "{} {value}", kind.as_str());
        }
    }

    #[test]
    fn a_text_is_measured_in_characters_and_may_come_as_a_number() {
        let kind = FieldKind::Text { min: Some(2), max: Some(4) };
        takes(&kind, &[json!("Zoë"), json!("王小明"), json!(42), json!(true)]);
        refuses(&kind, "is shorter than 2 characters", &[json!("é"), json!(" a ")]);
        refuses(&kind, "is longer than 4 characters", &[json!("abcde"), json!(false)]);
        refuses(&kind, "is not a text", &[json!(["ab"]), json!({"a": 1})]);
    }

    #[test]
    fn an_address_has_one_at_sign_and_no_gaps() {
        let why = "is not an e-mail address";
        takes(&FieldKind::Email, &[json!("user@example.com"), json!("a+b@localhost"), json!("  zoë@exämple.de ")]);
        let long = format!("{}@example.com", "a".repeat(250));
        let bad = ["user", "@example.com", "user@", "a@b@c", "a b@c.de", "a\u{7}@c.de", &long];
        refuses(&FieldKind::Email, why, &bad.map(Value::from));
        refuses(&FieldKind::Email, why, &[json!(["a@b.de"]), json!(7)]);
    }

    #[test]
    fn a_phone_number_has_digits_and_separators() {
        takes(&FieldKind::Phone, &[json!("+1 (650) 555-1234"), json!("16505551234"), json!(16_505_551_234_u64)]);
        let bad = ["1234", "+1234567890123456", "call me", "++49301234", "030 12 34 ext 5"];
        refuses(&FieldKind::Phone, "is not a phone number", &bad.map(Value::from));
    }

    #[test]
    fn numbers_may_come_as_texts_and_have_bounds() {
        let number = FieldKind::Number { min: Some(0.5), max: Some(1e6) };
        takes(&number, &[json!(0.5), json!("0.5"), json!(" 1000000 "), json!(250_000)]);
        refuses(&number, "is not a number", &[json!("NaN"), json!("inf"), json!("1,5"), json!(true), json!([1])]);
        refuses(&number, "is less than 0.5", &[json!(0.4), json!("-1")]);
        refuses(&number, "is more than 1000000", &[json!(1_000_001)]);

        let integer = FieldKind::Integer { min: Some(1), max: Some(10) };
        takes(&integer, &[json!(1), json!("10"), json!(10.0), json!("1e1")]);
        refuses(&integer, "is not a whole number", &[json!(1.5), json!("x"), json!(1e300), json!(u64::MAX)]);
        refuses(&integer, "is more than 10", &[json!("11")]);
    }

    #[test]
    fn a_boolean_may_come_as_a_text_or_a_number() {
        takes(&FieldKind::Boolean, &[json!(true), json!("False"), json!(0), json!("1")]);
        refuses(&FieldKind::Boolean, "is neither true nor false", &[json!("yes"), json!(2), json!([true])]);
    }

    #[test]
    fn dates_and_times_have_one_form_each_besides_a_slots_id() {
        takes(&FieldKind::Date, &[json!("2027-01-04"), json!("2027-01-04T09:00")]);
        let bad = ["2027-02-30", "04.01.2027", "20270104", "2027-1-4", "2027-01-04T9:00", "tomorrow"];
        refuses(&FieldKind::Date, "is not a date like 2027-01-04", &bad.map(Value::from));
        takes(&FieldKind::Time, &[json!("09:00"), json!("23:59"), json!("2027-01-04T09:00")]);
        let bad = ["9:00", "24:00", "09:60", "09:00:00", "+9:00", "noon"];
        refuses(&FieldKind::Time, "is not a time like 09:00", &bad.map(Value::from));
    }

    #[test]
    fn choices_are_compared_as_texts_and_named_when_they_do_not_fit() {
        let sizes = || ["s", "m", "42"].map(str::to_owned).to_vec();
        takes(&FieldKind::Choice(sizes()), &[json!("s"), json!(42)]);
        refuses(&FieldKind::Choice(sizes()), "is not one of: s, m, 42", &[json!("xl"), json!(["s"])]);
        takes(&FieldKind::Choices(sizes()), &[json!(["s", "m"]), json!("s"), json!([42])]);
        refuses(&FieldKind::Choices(sizes()), "is not one of: s, m, 42", &[json!(["s", "xl"]), json!({"s": 1})]);
        let many = FieldKind::Choice((0..20).map(|number| format!("c{number}")).collect());
        refuses(&many, "is not one of: c0, c1, c2, c3, c4, c5, c6, c7, …", &[json!("x")]);
    }

    #[test]
    fn what_was_left_out_comes_as_null_or_empty() {
        let field = Field::new("when", FieldKind::Date);
        for nothing in [None, Some(json!(null)), Some(json!("")), Some(json!(" ")), Some(json!([]))] {
            assert_eq!(field.problem(nothing.as_ref(), false), None);
            assert_eq!(field.problem(nothing.as_ref(), true).unwrap().to_string(), "when: is missing");
        }
        let no = Field::new("agree", FieldKind::Boolean);
        assert_eq!(no.problem(Some(&json!(false)), true), None, "false is an answer");
    }

    #[test]
    fn a_pattern_is_asked_last_and_only_of_what_is_there() {
        let pattern = Pattern::new("[A-Z]{2}-[0-9]+").unwrap();
        let kind = FieldKind::Text { min: None, max: Some(6) };
        let field = Field { pattern: Some(pattern), ..Field::new("plate", kind) };
        let flaw = |value: &str| field.problem(Some(&json!(value)), false).map(|problem| problem.flaw);
        assert_eq!((flaw("AB-1"), flaw(" AB-1 "), flaw("")), (None, None, None));
        assert_eq!((flaw("x"), flaw("far too long")), (Some(Flaw::OffPattern), Some(Flaw::Longer(6))));
    }
}
