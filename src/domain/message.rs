//! What a WhatsApp message says: texts with places that an event's `data` fills in, and whom it goes to.
//!
//! A place is a dotted path in braces, `{booking.date}`; `{{` and `}}` are braces. Texts and numbers stand as they are, lists
//! with commas between. What is missing or null leaves nothing behind in a text, since a customer should not read of our
//! gaps; a parameter of a template can't be empty (*Cloud API*, error 131008), so there it is an error that says which. What
//! customers write is made to fit: a text is cut, a parameter is cut and put on one line.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::event::EventKind;
use super::ids::{AgentName, Customer, is_business_scoped};
use super::phone_number::PhoneNumber;

/// Characters that a text may have (*Messages*).
pub const TEXT_CHARS_MAX: usize = 4096;

/// Characters that a parameter of a template may have. A template's body has 1024 with all of its parameters where it has other
/// parts (*Templates*, error 132005).
pub const PARAMETER_CHARS_MAX: usize = 500;

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Vec<String>),
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Nothing, as a message can't be.
    #[error("is empty")]
    Empty,
    /// More than a message may have.
    #[error("has {0} characters, and may have {1}")]
    TooLong(usize, usize),
    /// `{` without `}`, or the other way round.
    #[error("has a brace without its other one: write {{{{ or }}}} for a brace that is to be seen")]
    Brace,
    /// `{}`, `{a..b}`.
    #[error("has {0:?}, which names nothing: write one like {{booking.date}}")]
    Path(String),
}

impl Pattern {
    /// Reads `Hello {submission.answers.name}`, with as many characters as WhatsApp takes.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        Self::parse_up_to(text, TEXT_CHARS_MAX)
    }

    /// The same, with up to `chars_max` characters.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn parse_up_to(text: &str, chars_max: usize) -> Result<Self, InvalidPattern> {
        let length = text.chars().count();
        if text.trim().is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if length > chars_max {
            return Err(InvalidPattern::TooLong(length, chars_max));
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inner = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
                let (path, after) = inner.ok_or(InvalidPattern::Brace)?;
                let names: Vec<String> = path.split('.').map(str::to_owned).collect();
                if names.iter().any(|name| name.is_empty() || name.contains(['{', ' '])) {
                    return Err(InvalidPattern::Path(format!("{{{path}}}")));
                }
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Place(names));
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Its places, each a path into `data`.
    pub fn places(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(path) => Some(path.as_slice()),
            Piece::Text(_) => None,
        })
    }

    /// Fills in what `data` has.
    #[must_use]
    pub fn render(&self, data: &Value) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Place(path) => {
                    let found = path.iter().try_fold(data, |value, name| value.get(name));
                    text.push_str(&found.map(shown).unwrap_or_default());
                }
            }
        }
        text
    }
}

/// A value as people read it: nothing for null, the items of a list one after the other.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What is said of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageRule {
    /// A text of one's own: for 24 hours after the user wrote.
    Text(Pattern),
    /// A template that Meta has approved.
    Template {
        /// Its name.
        name: String,
        /// Its language, as Meta writes it: `en_US`.
        language: String,
        /// What fills the places of its body, in order.
        parameters: Vec<Pattern>,
    },
}

/// Whom messages go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// Whoever filled in the form.
    Customer,
    /// The agent who has the lead, at these numbers.
    Agent(BTreeMap<AgentName, Box<str>>),
}

impl Addressee {
    /// Whether an event of this kind names such a one.
    #[must_use]
    pub const fn is_named_by(&self, kind: EventKind) -> bool {
        match self {
            Self::Customer => !kind.is_alert(),
            Self::Agent(_) => matches!(kind, EventKind::LeadAssigned),
        }
    }
}

/// Whom one message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A phone number.
    Phone(Box<str>),
    /// An id: a business-scoped one, or whatever else they are known by.
    Id(Box<str>),
}

/// Why a message can't be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// Nobody knows who filled in the form, so far.
    #[error("nobody knows who filled in the form: no message with their number or id has come")]
    CustomerUnknown,
    /// They are known by an id that is not WhatsApp's.
    #[error("the customer is known by an id that is neither a phone number nor a business-scoped id")]
    NoWhatsappId,
    /// They are known by an id that no gateway knows.
    #[error("the customer is known by an id that a gateway can't write to, and by no number")]
    NoGatewayId,
    /// The event names no agent.
    #[error("the event names no agent")]
    NoAgent,
    /// The agent has no number in the config.
    #[error("agent {0} has no number: put it into `agents` of the destination")]
    NoNumber(String),
    /// The body is no JSON.
    #[error("what is to be told is no JSON object with `data`")]
    NoData,
    /// The config has nothing to say.
    #[error("the destination has no message for {0}: write one into its `messages`")]
    NoMessage(EventKind),
    /// Nothing would be said.
    #[error("the text becomes empty: nothing that it names is in the event")]
    EmptyText,
    /// A parameter would be empty.
    #[error("parameter {0} of the template becomes empty: what it names is not in the event")]
    EmptyParameter(usize),
}

impl Addressee {
    /// Whom the message goes to that tells of `data`. `customer`: who filled in the form, as far as that is known by now, with
    /// the names that they have now.
    ///
    /// # Errors
    /// [`Unsendable`], where it can go to nobody.
    pub fn recipient(&self, data: &Value, customer: Option<&Customer>) -> Result<Recipient, Unsendable> {
        match self {
            Self::Customer => {
                // An event tells of the customer as they were then: by now they may have another number.
                let told = user_in(data);
                of_customer(customer.filter(|known| !known.is_unknown()).unwrap_or(&told))
            }
            Self::Agent(numbers) => {
                let name = data.pointer("/lead/agent").and_then(Value::as_str).ok_or(Unsendable::NoAgent)?;
                let number = numbers.iter().find(|(agent, _)| agent.as_str() == name).map(|(_, number)| number);
                number.cloned().map(Recipient::Phone).ok_or_else(|| Unsendable::NoNumber(name.to_owned()))
            }
        }
    }
}

/// The user that an event tells of, in its form or its draft.
fn user_in(data: &Value) -> Customer {
    let user = data.pointer("/submission/user").or_else(|| data.pointer("/draft/user"));
    let text = |name| user.and_then(|user| user.get(name)).and_then(Value::as_str);
    Customer::new(text("id"), text("phone"))
}

fn of_customer(customer: &Customer) -> Result<Recipient, Unsendable> {
    match customer {
        Customer { phone: Some(phone), .. } => Ok(Recipient::Phone(phone.clone())),
        Customer { id: Some(id), .. } => Ok(Recipient::Id(id.clone())),
        Customer { id: None, phone: None } => Err(Unsendable::CustomerUnknown),
    }
}

/// What `pattern` says on `data`, cut where it has more than [`TEXT_CHARS_MAX`] characters.
///
/// # Errors
/// [`Unsendable::EmptyText`].
pub fn text(pattern: &Pattern, data: &Value) -> Result<String, Unsendable> {
    let text = pattern.render(data);
    if text.trim().is_empty() {
        return Err(Unsendable::EmptyText);
    }
    Ok(cut(text, TEXT_CHARS_MAX))
}

/// `text`, cut where it has more than `most` characters.
fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// What `parameter` of a template says on `data`. Meta refuses some white space in it ("Param text cannot have new-line/tab
/// characters or more than 4 consecutive spaces"): each stretch of it becomes a single space. Cut
/// where it has more than [`PARAMETER_CHARS_MAX`] characters.
fn on_one_line(parameter: &Pattern, data: &Value) -> String {
    cut(parameter.render(data).split_whitespace().collect::<Vec<_>>().join(" "), PARAMETER_CHARS_MAX)
}

/// `number` with a `+` before its country code. Meta puts the business's own country code before a number without `+`
/// (Cloud API, *Phone numbers*, "WhatsApp user phone number formats"). A number that begins with 0 has no country code: it
/// stays as it is, and Meta completes it.
fn international(number: &str) -> String {
    if number.starts_with(['+', '0']) { number.to_owned() } else { format!("+{number}") }
}

/// The body of the request that sends `text` to `to` as a test (*Messages*): no delivery, so its statuses lead nowhere.
#[must_use]
pub fn test_request(text: &str, to: &PhoneNumber) -> Value {
    let text = json!({"preview_url": false, "body": text});
    let to = international(to.as_str());
    json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "text", "text": text})
}

/// The body of the request that sends a message of `rule` on `data` to `recipient` (*Messages*). `callback` comes back with
/// each status.
///
/// # Errors
/// [`Unsendable`], where nothing can be said.
pub fn request(rule: &MessageRule, data: &Value, recipient: &Recipient, callback: &str) -> Result<String, Unsendable> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("messaging_product", json!("whatsapp"));
    put("recipient_type", json!("individual"));
    match recipient {
        Recipient::Phone(number) => put("to", json!(international(number))),
        Recipient::Id(id) if is_business_scoped(id) => put("recipient", json!(id)),
        Recipient::Id(_) => return Err(Unsendable::NoWhatsappId),
    };
    match rule {
        MessageRule::Text(pattern) => {
            put("type", json!("text"));
            put("text", json!({"preview_url": false, "body": text(pattern, data)?}));
        }
        MessageRule::Template { name, language, parameters } => {
            let mut filled = Vec::new();
            for (number, parameter) in (1..).zip(parameters) {
                let text = on_one_line(parameter, data);
                if text.is_empty() {
                    return Err(Unsendable::EmptyParameter(number));
                }
                filled.push(json!({"type": "text", "text": text}));
            }
            let components =
                if filled.is_empty() { json!([]) } else { json!([{"type": "body", "parameters": filled}]) };
            put("type", json!("template"));
            put("template", json!({"name": name, "language": {"code": language}, "components": components}));
        }
    }
    put("biz_opaque_callback_data", json!(callback));
    Ok(Value::Object(body).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn rendered(text: &str) -> String {
        let data = json!({
            "submission": {"user": {"id": null, "phone": "491511234567"},
                "answers": {"name": "Ann", "count": 2, "days": ["mon", "tue"], "none": null}},
            "booking": {"date": "2027-01-04", "time": "09:00"},
        });
        pattern(text).render(&data)
    }

    #[test]
    fn places_are_filled_and_what_is_missing_leaves_nothing() {
        assert_eq!(rendered("Hello {submission.answers.name}: {booking.date}!"), "Hello Ann: 2027-01-04!");
        assert_eq!(rendered("{submission.answers.count} on {submission.answers.days}"), "2 on mon, tue");
        assert_eq!(rendered("[{submission.answers.none}{submission.answers.gone}{booking.a.b}]"), "[]");
        assert_eq!(rendered("{{{booking.time}}} {{x}}"), "{09:00} {x}");
    }

    #[test]
    fn an_answer_with_braces_is_no_pattern_itself() {
        let data = json!({"submission": {"answers": {"name": "{booking.date}"}}, "booking": {"date": "today"}});
        assert_eq!(pattern("{submission.answers.name}").render(&data), "{booking.date}");
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for (text, why) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("a { b", "a brace without"),
            ("a } b", "a brace without"),
            ("{}", "names nothing"),
            ("{a..b}", "names nothing"),
            ("{a b}", "names nothing"),
        ] {
            let said = Pattern::parse(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(Pattern::parse(&"é".repeat(4096)).is_ok());
        assert_eq!(Pattern::parse(&"é".repeat(4097)), Err(InvalidPattern::TooLong(4097, 4096)));
        assert_eq!(pattern("{a.b} {c} {{d}}").places().map(|place| place.join(".")).collect::<Vec<_>>(), ["a.b", "c"]);
    }

    #[test]
    fn a_text_has_the_shape_that_meta_documents() {
        let rule = MessageRule::Text(pattern("Booked: {booking.date}"));
        let data = json!({"booking": {"date": "2027-01-04"}});
        let body = request(&rule, &data, &Recipient::Phone("16505551234".into()), "msg_1.1").unwrap();
        assert_eq!(
            body,
            r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"+16505551234","type":"text","text":{"preview_url":false,"body":"Booked: 2027-01-04"},"biz_opaque_callback_data":"msg_1.1"}"#
        );
        let long = json!({"booking": {"date": "é".repeat(5000)}});
        let told = |data| request(&rule, data, &Recipient::Id("DE.1".into()), "");
        let told_of = |data| serde_json::from_str::<Value>(&told(data).unwrap()).unwrap()["text"]["body"].clone();
        let fitting = json!({"booking": {"date": "é".repeat(TEXT_CHARS_MAX - 8)}});
        assert_eq!(told_of(&fitting), format!("Booked: {}", "é".repeat(4088)), "it is sent whole");
        assert_eq!(told_of(&long), format!("Booked: {}…", "é".repeat(4087)), "it is cut");
        assert!(told(&data).unwrap().contains(r#""recipient":"DE.1""#));
        let only = MessageRule::Text(pattern("{booking.date}"));
        assert_eq!(request(&only, &json!({}), &Recipient::Id("DE.1".into()), ""), Err(Unsendable::EmptyText));
    }

    #[test]
    fn a_template_has_its_parameters_and_none_of_them_is_empty() {
        let rule = |parameters: &[&str]| MessageRule::Template {
            name: "slot".to_owned(),
            language: "en_US".to_owned(),
            parameters: parameters.iter().map(|text| pattern(text)).collect(),
        };
        let (data, ann) = (json!({"booking": {"date": "2027-01-04"}}), Recipient::Phone("1650555123".into()));
        let body: Value = serde_json::from_str(&request(&rule(&["{booking.date}"]), &data, &ann, "").unwrap()).unwrap();
        let expected = json!({"name": "slot", "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "2027-01-04"}]}]});
        assert_eq!((&body["type"], &body["template"]), (&json!("template"), &expected));
        let refused = request(&rule(&["x", "{booking.time}"]), &data, &ann, "");
        assert_eq!(refused, Err(Unsendable::EmptyParameter(2)));
        let blank = json!({"booking": {"time": "\r\n\t"}});
        assert_eq!(request(&rule(&["{booking.time}"]), &blank, &ann, ""), Err(Unsendable::EmptyParameter(1)));
    }

    #[test]
    fn a_parameter_is_one_line_however_a_customer_wrote_it() {
        let data = json!({"submission": {"answers": {"note": " two\r\nlines,\ttabs \u{2028}and      a gap\n"}}});
        let rule = MessageRule::Template {
            name: "note".to_owned(),
            language: "en".to_owned(),
            parameters: vec![pattern("Note: {submission.answers.note}")],
        };
        let body = request(&rule, &data, &Recipient::Phone("1650555123".into()), "").unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let parameter = body.pointer("/template/components/0/parameters/0/text").unwrap();
        assert_eq!(parameter, "Note: two lines, tabs and a gap");
    }

    #[test]
    fn a_parameter_is_cut_where_it_is_too_long() {
        let rule = MessageRule::Template {
            name: "note".to_owned(),
            language: "en".to_owned(),
            parameters: vec![pattern("{submission.answers.note}")],
        };
        for (length, expected) in [(500, "é".repeat(500)), (2000, format!("{}…", "é".repeat(499)))] {
            let data = json!({"submission": {"answers": {"note": "é".repeat(length)}}});
            let body = request(&rule, &data, &Recipient::Phone("1650555123".into()), "").unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body.pointer("/template/components/0/parameters/0/text").unwrap(), &json!(expected));
        }
    }

    #[test]
    fn a_customer_is_reached_by_number_or_by_an_id_of_whatsapps() {
        let to = |user: Value, known: Option<&Customer>| {
            Addressee::Customer.recipient(&json!({"submission": {"user": user}}), known)
        };
        let phone = json!({"id": "DE.1", "phone": "491511234567"});
        assert_eq!(to(phone, None), Ok(Recipient::Phone("491511234567".into())));
        assert_eq!(to(json!({"id": "DE.1a", "phone": null}), None), Ok(Recipient::Id("DE.1a".into())));
        let other = to(json!({"id": "user-7", "phone": null}), None).unwrap();
        let rule = MessageRule::Text(pattern("Hello"));
        assert_eq!(request(&rule, &json!({}), &other, ""), Err(Unsendable::NoWhatsappId));
        let nobody = json!({"id": null, "phone": null});
        assert_eq!(to(nobody.clone(), None), Err(Unsendable::CustomerUnknown));
        assert_eq!(to(nobody.clone(), Some(&Customer::default())), Err(Unsendable::CustomerUnknown));
        let known = Customer::from_text("491511234567");
        assert_eq!(to(nobody, Some(&known)), Ok(Recipient::Phone("491511234567".into())));
        let left = json!({"draft": {"user": {"id": "DE.2", "phone": null}}});
        assert_eq!(Addressee::Customer.recipient(&left, None), Ok(Recipient::Id("DE.2".into())));
    }

    #[test]
    fn an_agent_is_reached_at_the_number_in_the_config() {
        let ann = AgentName::new("Ann").unwrap();
        let agents = Addressee::Agent(BTreeMap::from([(ann, "+491511234567".into())]));
        let to = |agent: Value| agents.recipient(&json!({"lead": {"agent": agent}}), None);
        assert_eq!(to(json!("Ann")), Ok(Recipient::Phone("+491511234567".into())));
        assert_eq!(to(json!("Bob")), Err(Unsendable::NoNumber("Bob".to_owned())));
        assert_eq!(to(Value::Null), Err(Unsendable::NoAgent));
        let named: Vec<_> = EventKind::ALL.into_iter().filter(|kind| agents.is_named_by(*kind)).collect();
        assert_eq!(named, [EventKind::LeadAssigned]);
        assert!(!Addressee::Customer.is_named_by(EventKind::JobDead));
    }
}
