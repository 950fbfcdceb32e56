//! `[destinations.NAME]` with `kind = "whatsapp"`: messages through Meta's Cloud API, to customers or to agents.
//!
//! ```toml
//! [destinations.thanks]
//! kind = "whatsapp"
//! phone_number_id = "106540352242922"
//! to = "customer"
//! messages = { "booking.confirmed" = { text = "See you on {booking.date} at {booking.time}." } }
//! ```
//!
//! What a message says is put together in `crate::domain::message`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper::Uri;

use super::known::refuse_places;
use super::nearest::hint;
use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::{Meta, secret};
use super::value::Item;
use crate::domain::event::EventKind;
use crate::domain::ids::AgentName;
use crate::domain::message::{Addressee, MessageRule, Pattern};
use crate::domain::pace::Rate;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Millis;

/// Parameters of a template at the most: no body has more places.
const PARAMETERS_MAX: usize = 64;

/// What is asked of the number that writes (*WhatsApp Business Account > Phone Number*).
const NUMBER_FIELDS: &str = "display_phone_number,verified_name,quality_rating";

/// Whom the Cloud API is asked to write to, as whom, and what.
#[derive(Clone, Debug)]
pub struct WhatsappRule {
    /// Where messages are posted to.
    pub url: Uri,
    /// Where Meta tells of the number that writes: what users see of it, and how its quality is rated.
    pub number_url: Uri,
    /// The number that writes, by Meta's id of it.
    pub phone_number_id: String,
    /// How fast the number writes, for all destinations together: as fast as the fastest of them.
    pub number_rate: Option<Rate>,
    /// What is shown to the Graph API. Default: `meta.access_token`.
    pub access_token: SecretRef,
    /// Whom it writes to.
    pub to: Addressee,
    /// What it says of each event. Of the others it is not told.
    pub messages: BTreeMap<EventKind, MessageRule>,
    /// How long an attempt whose outcome is unknown waits for a status of its message before it is made again. There is no
    /// idempotency key, so sending again at once could tell a user twice. Statuses come within seconds while Meta's webhooks
    /// are on time. Default 5 min, up to an hour.
    pub status_wait: Millis,
    /// How long a customer of whom nothing is known is waited for. In an encrypted flow only the message that follows the
    /// form names them, and comes within seconds, or not at all. Default 1 h, up to a day.
    pub customer_wait: Millis,
}

impl WhatsappRule {
    pub(super) fn read(table: &Table<'_>, meta: &Meta, folder: &Path) -> Option<Self> {
        let number = table.need("phone_number_id").and_then(|item| item.parsed(phone_number_id));
        let access_token = table.get("access_token").and_then(|item| secret(&item, folder));
        let to = addressee(table);
        let messages = table.need("messages").map(|item| messages(&item, to.as_ref(), text_or_template));
        let status_wait =
            table.length("status_wait", Millis::from_secs(5 * 60), Millis::new(100)..=Millis::from_secs(3600));
        let customer_wait = customer_wait(table);
        let phone_number_id = number?;
        let number_url = format!("{}/{}/{phone_number_id}", meta.graph_url, meta.api_version);
        Some(Self {
            url: format!("{number_url}/messages").parse().ok()?,
            number_url: format!("{number_url}?fields={NUMBER_FIELDS}").parse().ok()?,
            phone_number_id,
            number_rate: None,
            access_token: access_token.unwrap_or_else(|| meta.access_token.clone()),
            to: to?,
            messages: messages?,
            status_wait,
            customer_wait,
        })
    }

    /// What it is told of.
    #[must_use]
    pub fn events(&self) -> BTreeSet<EventKind> {
        self.messages.keys().copied().collect()
    }
}

fn phone_number_id(text: &str) -> Result<String, String> {
    if (5..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no phone number id: WhatsApp Manager shows it, 15 or so digits (it is not the number itself)"
    ))
}

pub(super) fn customer_wait(table: &Table<'_>) -> Millis {
    table.length("customer_wait", Millis::from_secs(3600), Millis::new(100)..=Millis::from_secs(24 * 3600))
}

pub(super) fn addressee(table: &Table<'_>) -> Option<Addressee> {
    let to = table.need("to").and_then(|item| item.word(&["customer", "agent"]));
    let agents = table.get("agents");
    if to? == "customer" {
        if let Some(agents) = agents {
            agents.refuse("is for `to = \"agent\"`: customers have numbers of their own");
        }
        return Some(Addressee::Customer);
    }
    let Some(agents) = agents else {
        table.refuse("`agents` is missing: their numbers, as agents = { Ann = \"+491511234567\" }");
        return None;
    };
    let numbers = agents.names(|table| {
        let read = |item: &Item<'_>| Some((item.parsed_key(AgentName::new)?, item.parsed(PhoneNumber::parse)?.into()));
        table.named().iter().filter_map(read).collect()
    });
    numbers.map(Addressee::Agent)
}

/// What is said of each event: each message is one that `read` reads.
fn messages<T>(
    item: &Item<'_>,
    to: Option<&Addressee>,
    read: impl Fn(&Table<'_>, Option<EventKind>) -> Option<T>,
) -> BTreeMap<EventKind, T> {
    let all = item.names(|table| {
        let items = table.named();
        if items.is_empty() {
            item.refuse("is empty: it says what is sent on which event");
        }
        items.iter().filter_map(|item| message(item, to, &read)).collect()
    });
    all.unwrap_or_default()
}

/// As [`messages`], of texts alone.
pub(super) fn texts(item: &Item<'_>, to: Option<&Addressee>) -> BTreeMap<EventKind, Pattern> {
    messages(item, to, |table, kind| {
        if let Some(template) = table.get("template") {
            template.refuse("is for `kind = \"whatsapp\"`: a gateway sends texts, at any time");
        }
        table.need("text").and_then(|item| pattern(&item, kind))
    })
}

fn text_or_template(table: &Table<'_>, kind: Option<EventKind>) -> Option<MessageRule> {
    let text = table.get("text").map(|item| pattern(&item, kind).map(MessageRule::Text));
    let template = table.get("template").map(|item| template(&item, kind));
    if text.is_some() == template.is_some() {
        table.refuse("needs either `text` or `template`");
        return None;
    }
    text.or(template)?
}

fn message<T>(
    item: &Item<'_>,
    to: Option<&Addressee>,
    read: impl Fn(&Table<'_>, Option<EventKind>) -> Option<T>,
) -> Option<(EventKind, T)> {
    let known = EventKind::ALL.into_iter().filter(|kind| to.is_none_or(|to| to.is_named_by(*kind)));
    let kind = EventKind::named(item.key);
    let fits = kind.filter(|kind| to.is_none_or(|to| to.is_named_by(*kind)));
    if kind.is_none() {
        let hint = hint(item.key, known.map(EventKind::as_str));
        item.refuse_key(format!("{}: there is no event {:?}{hint}", item.name, item.key));
    } else if fits.is_none() {
        let names: Vec<&str> = known.map(EventKind::as_str).collect();
        item.refuse_key(format!("{}: names nobody to write to: write of {}", item.name, names.join(", ")));
    }
    let rule = item.table(|table| read(table, fits))?;
    Some((fits?, rule?))
}

fn template(item: &Item<'_>, kind: Option<EventKind>) -> Option<MessageRule> {
    item.table(|table| {
        let name = table.need("name").and_then(|item| item.parsed(template_name));
        let language = table.need("language").and_then(|item| item.parsed(language));
        let parameters = table.get("parameters").map(|item| {
            let items = item.items().unwrap_or_default();
            if items.len() > PARAMETERS_MAX {
                item.refuse(format!("has {} parameters, and may have {PARAMETERS_MAX}", items.len()));
            }
            items.iter().filter_map(|item| pattern(item, kind)).collect()
        });
        Some(MessageRule::Template { name: name?, language: language?, parameters: parameters.unwrap_or_default() })
    })?
}

fn template_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=512).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name of a template: they have small letters, digits and '_'"))
}

fn language(text: &str) -> Result<String, String> {
    let (language, region) = text.split_once('_').map_or((text, None), |(language, region)| (language, Some(region)));
    let fits = (2..=3).contains(&language.len()) && language.bytes().all(|byte| byte.is_ascii_lowercase());
    if fits && region.is_none_or(|region| (2..=4).contains(&region.len()) && region.is_ascii()) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no language of a template: write one like \"en\" or \"en_US\""))
}

/// A text whose places an event of this kind can fill.
fn pattern(item: &Item<'_>, kind: Option<EventKind>) -> Option<Pattern> {
    let pattern = item.parsed(Pattern::parse)?;
    refuse_places(item, &pattern, kind?);
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::super::Means;
    use super::super::tests::{accepted, assert_refused};
    use super::*;

    const HEAD: &str = "[destinations.wa]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"";

    fn one(table: &str) -> (super::super::Destination, WhatsappRule) {
        let destination = accepted(&format!("{HEAD}\n{table}")).destinations.into_values().next().unwrap();
        let Means::Whatsapp(rule) = destination.means.clone() else { panic!("{destination:?}") };
        (destination, rule)
    }

    #[test]
    fn what_is_said_of_each_event_is_read() {
        let (destination, rule) = one(
            "to = \"customer\"\n[destinations.wa.messages]\n\"booking.confirmed\" = { text = \"See you on {booking.date}\" }\n\
             \"submission.accepted\" = { template = { name = \"thanks\", language = \"en_US\", parameters = [\"{submission.answers.name}\"] } }",
        );
        assert_eq!(rule.url, "https://graph.facebook.com/v26.0/106540352242922/messages");
        assert_eq!(rule.to, Addressee::Customer);
        let names: Vec<_> = rule.events().into_iter().map(EventKind::as_str).collect();
        assert_eq!(names, ["submission.accepted", "booking.confirmed"]);
        assert!(!destination.allow_private);
        assert_eq!((rule.status_wait.get(), rule.customer_wait.get()), (300_000, 3_600_000));
        assert_eq!(destination.rate.unwrap().to_string(), "20/s");
        let SecretRef::Env(name) = rule.access_token else { panic!() };
        assert_eq!(name, "META_ACCESS_TOKEN");
    }

    #[test]
    fn agents_have_their_numbers_here() {
        let (_, rule) = one("access_token = \"text:t\"\nto = \"agent\"\nagents = { Ann = \"+491511234567\" }\n\
             messages = { \"lead.assigned\" = { text = \"{lead.id}\" } }");
        let Addressee::Agent(numbers) = rule.to else { panic!() };
        assert_eq!(
            numbers.into_iter().map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>(),
            ["Ann +491511234567"]
        );
    }

    #[test]
    fn a_graph_on_this_machine_is_reached_without_being_said_twice() {
        let head = "[meta]\ngraph_url = \"http://localhost:9\"";
        let tables =
            format!("{head}\n{HEAD}\nto = \"customer\"\nmessages = {{ \"lead.waiting\" = {{ text = \"a\" }} }}");
        assert!(accepted(&tables).destinations.into_values().next().unwrap().allow_private);
    }

    #[test]
    fn it_is_told_of_what_it_has_a_message_for_and_of_nothing_else() {
        let flow = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]";
        let config = accepted(&format!(
            "{flow}\ndeliver = [\"wa\"]\n{HEAD}\nto = \"customer\"\nmessages = {{ \"lead.waiting\" = {{ text = \"a\" }} }}"
        ));
        let events: Vec<_> = config.routes.flows.values().flatten().flat_map(|route| route.events.clone()).collect();
        assert_eq!(events, [EventKind::LeadWaiting]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let fine = "messages = { \"lead.assigned\" = { text = \"a\" } }";
        let message = |event: &str, rule: &str| format!("to = \"customer\"\nmessages = {{ \"{event}\" = {rule} }}");
        let long = "x".repeat(4097);
        for (typed, why) in [
            (format!("to = \"customers\"\n{fine}"), "is not known here: did you mean `customer`?"),
            (format!("to = \"customer\"\nstatus_wait = \"2h\"\n{fine}"), "status_wait: must be from 100ms to 1h"),
            (format!("to = \"agent\"\n{fine}"), "`agents` is missing"),
            (format!("to = \"customer\"\nagents = {{}}\n{fine}"), "is for `to = \"agent\"`"),
            (format!("to = \"agent\"\nagents = {{ Ann = \"no\" }}\n{fine}"), "agents.Ann: is no phone number"),
            ("to = \"customer\"\nmessages = {}".to_owned(), "messages: is empty"),
            ("to = \"customer\"".to_owned(), "`messages` is missing"),
            (message("booking.confirm", "{ text = \"a\" }"), "did you mean `booking.confirmed`?"),
            (message("job.dead", "{ text = \"a\" }"), "names nobody to write to"),
            (message("lead.assigned", "{}"), "needs either `text` or `template`"),
            (
                message("lead.assigned", "{ text = \"{boking.date}\" }"),
                "lead.assigned has no \"boking\": did you mean `booking`?",
            ),
            (message("submission.accepted", "{ text = \"{lead.agent}\" }"), "submission.accepted has no \"lead\""),
            (message("lead.assigned", &format!("{{ text = \"{long}\" }}")), "has 4097 characters"),
            (message("lead.assigned", "{ text = \"a\", more = 1 }"), "unknown key `more`"),
            (
                message("lead.assigned", "{ template = { name = \"A b\", language = \"en\" } }"),
                "is no name of a template",
            ),
            (message("lead.assigned", "{ template = { name = \"a\", language = \"English\" } }"), "is no language"),
            (format!("to = \"customer\"\n{fine}\nurl = \"https://crm.example\""), "unknown key `url`"),
            (format!("to = \"customer\"\n{fine}\nsecrets = [\"env:A\"]"), "unknown key `secrets`"),
        ] {
            let said = super::super::tests::refused(&format!("{HEAD}\n{typed}"));
            assert!(said.contains(why), "{typed}\n{said}");
        }
        assert_refused(
            "[destinations.wa]",
            &[(
                "kind = \"whatsap\"",
                "2:8: destinations.wa.kind: \"whatsap\" is not known here: did you mean `whatsapp`?",
            )],
        );
        let alerts = super::super::tests::refused(&format!("alerts = [\"wa\"]\n{HEAD}\nto = \"customer\"\n{fine}"));
        assert!(alerts.contains("alerts: \"wa\" writes to customers or agents"), "{alerts}");
    }
}
