//! Reads `[destinations.NAME]` with `kind = "whatsapp"`: messages through Meta's Cloud API, to
//! customers or to agents.
//!
//! ```toml
//! [destinations.thanks]
//! kind = "whatsapp"
//! phone_number_id = "106540352242922"
//! to = "customer"
//! messages = { "booking.confirmed" = { text = "See you on {booking.date} at {booking.time}." } }
//! ```
//!
//! See [`crate::domain::delivery::message`] for the content of a message.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::Uri;

use super::kind_settings::{KindDefaults, KindSettings};
use super::recipients::{Recipients, read_messages, read_placeholder_text};
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::secrets::SecretRef;
use crate::config::settings::{MetaSettings, read_secret};
use crate::domain::delivery::message::MessageContent;
use crate::domain::event::EventKind;
use crate::domain::ip_range::is_loopback_host;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Millis;

/// Default rate of a WhatsApp number. Every number may send at this rate, also a number that is
/// shared with the Business app (*Throughput*).
const DEFAULT_RATE: Rate = Rate {
    count: 20,
    per: Millis::from_secs(1),
};

pub(super) const DEFAULTS: KindDefaults = KindDefaults {
    rate: Some(DEFAULT_RATE),
    ..KindDefaults::MESSAGE
};

/// Maximum number of parameters of a template. No template has more placeholders.
const PARAMETERS_MAX: usize = 64;

/// Fields of the sending phone number to request (*WhatsApp Business Account > Phone Number*).
const NUMBER_FIELDS: &str = "display_phone_number,verified_name,quality_rating";

/// Settings of messages through the Cloud API: sender, recipients and contents.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatsappSettings {
    /// URL that messages are posted to.
    pub url: Uri,
    /// URL of the sending number at Meta: the data that customers see, and the quality rating.
    pub number_url: Uri,
    /// Meta's ID of the sending phone number.
    pub phone_number_id: String,
    /// Maximum send rate of the phone number, for all destinations together: the rate of the
    /// fastest of them. `None`: no limit.
    pub number_rate: Option<Rate>,
    /// Access token for the Graph API. Default: `meta.access_token`.
    pub access_token: SecretRef,
    /// `true` if the Graph API may be on this machine: its URL names this machine.
    pub allow_private: bool,
    /// People who get the messages.
    pub recipients: Recipients,
    /// Contents by kind of event. Events without a content are not sent.
    pub messages: BTreeMap<EventKind, MessageContent>,
    /// Time to wait for a status of the message after an attempt with an unknown outcome. The next
    /// attempt follows. The Cloud API has no idempotency key, so an immediate attempt could send
    /// the message twice. Statuses arrive within seconds if Meta's webhooks are on time. Default 5
    /// min, maximum 1 h.
    pub status_wait: Millis,
}

impl WhatsappSettings {
    pub(super) fn read(
        table: &TableReader<'_>,
        meta: &MetaSettings,
        folder: &Path,
    ) -> Option<Self> {
        let number = table
            .require("phone_number_id")
            .and_then(|item| item.parse(parse_phone_number_id));
        let access_token = table
            .get("access_token")
            .and_then(|item| read_secret(&item, folder));
        let recipients = Recipients::read(table);
        let to = recipients.as_ref().map(|recipients| &recipients.kind);
        let messages = table
            .require("messages")
            .map(|item| read_messages(&item, to, read_content));
        let status_wait = table.duration(
            "status_wait",
            Millis::from_secs(5 * 60),
            Millis::new(100)..=Millis::from_secs(3600),
        );
        let phone_number_id = number?;
        let number_url = format!("{}/{}/{phone_number_id}", meta.graph_url, meta.api_version);
        let url: Uri = format!("{number_url}/messages").parse().ok()?;
        Some(Self {
            allow_private: url.host().is_some_and(is_loopback_host),
            url,
            number_url: format!("{number_url}?fields={NUMBER_FIELDS}")
                .parse()
                .ok()?,
            phone_number_id,
            number_rate: None,
            access_token: access_token.unwrap_or_else(|| meta.access_token.clone()),
            recipients: recipients?,
            messages: messages?,
            status_wait,
        })
    }
}

impl KindSettings for WhatsappSettings {
    fn kind(&self) -> &'static str {
        "whatsapp"
    }

    fn url(&self) -> Option<&Uri> {
        Some(&self.url)
    }

    fn recipients(&self) -> Option<&Recipients> {
        Some(&self.recipients)
    }

    fn supports(&self, kind: EventKind) -> bool {
        self.messages.contains_key(&kind)
    }

    fn warnings(&self) -> Vec<String> {
        let warning = self.access_token.warning();
        warning
            .map(|warning| format!("access_token: {warning}"))
            .into_iter()
            .collect()
    }
}

fn parse_phone_number_id(text: &str) -> Result<String, String> {
    if (5..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a phone number ID: copy the ID from WhatsApp Manager, about 15 digits (it is not the phone number)"
    ))
}

fn read_content(table: &TableReader<'_>, kind: Option<EventKind>) -> Option<MessageContent> {
    let text = table
        .get("text")
        .map(|item| read_placeholder_text(&item, kind).map(MessageContent::Text));
    let template = table.get("template").map(|item| read_template(&item, kind));
    if text.is_some() == template.is_some() {
        table.error("needs either `text` or `template`");
        return None;
    }
    text.or(template)?
}

fn read_template(item: &ValueReader<'_>, kind: Option<EventKind>) -> Option<MessageContent> {
    item.read_table(|table| {
        let name = table
            .require("name")
            .and_then(|item| item.parse(parse_template_name));
        let language = table
            .require("language")
            .and_then(|item| item.parse(parse_language));
        let parameters = table.get("parameters").map(|item| {
            let items = item.list().unwrap_or_default();
            if items.len() > PARAMETERS_MAX {
                item.error(format!(
                    "has {} parameters, the maximum is {PARAMETERS_MAX}",
                    items.len()
                ));
            }
            items
                .iter()
                .filter_map(|item| read_placeholder_text(item, kind))
                .collect()
        });
        Some(MessageContent::Template {
            name: name?,
            language: language?,
            parameters: parameters.unwrap_or_default(),
        })
    })?
}

fn parse_template_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=512).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a template name: it may have only lower case letters, digits and '_'"
    ))
}

fn parse_language(text: &str) -> Result<String, String> {
    let (language, region) = text
        .split_once('_')
        .map_or((text, None), |(language, region)| (language, Some(region)));
    let fits =
        (2..=3).contains(&language.len()) && language.bytes().all(|byte| byte.is_ascii_lowercase());
    if fits && region.is_none_or(|region| (2..=4).contains(&region.len()) && region.is_ascii()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a language of a template: write one like \"en\" or \"en_US\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DestinationKind;
    use crate::config::tests::{assert_refused, error_of, parse_valid};
    use crate::domain::delivery::message::RecipientKind;

    const HEAD: &str =
        "[destinations.wa]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"";

    fn whatsapp_destination(table: &str) -> (crate::config::Destination, WhatsappSettings) {
        let destination = parse_valid(&format!("{HEAD}\n{table}"))
            .destinations
            .into_values()
            .next()
            .unwrap();
        let DestinationKind::Whatsapp(settings) = destination.kind.clone() else {
            panic!("{destination:?}")
        };
        (destination, settings)
    }

    #[test]
    fn whatsapp_messages_are_read() {
        let (destination, settings) = whatsapp_destination(
            "to = \"customer\"\n[destinations.wa.messages]\n\"booking.confirmed\" = { text = \"See you on {booking.date}\" }\n\
             \"submission.accepted\" = { template = { name = \"thanks\", language = \"en_US\", parameters = [\"{submission.answers.name}\"] } }",
        );
        assert_eq!(
            settings.url,
            "https://graph.facebook.com/v26.0/106540352242922/messages"
        );
        let Recipients {
            kind,
            customer_wait,
        } = settings.recipients;
        assert_eq!(kind, RecipientKind::Customer);
        let names: Vec<_> = settings.messages.keys().map(|kind| kind.as_str()).collect();
        assert_eq!(names, ["submission.accepted", "booking.confirmed"]);
        assert!(!settings.allow_private);
        assert_eq!(
            (settings.status_wait.get(), customer_wait.get()),
            (300_000, 3_600_000)
        );
        assert_eq!(destination.policy.rate.unwrap().to_string(), "20/s");
        let SecretRef::Env(name) = settings.access_token else {
            panic!()
        };
        assert_eq!(name, "META_ACCESS_TOKEN");
    }

    #[test]
    fn agent_numbers_are_read() {
        let (_, settings) = whatsapp_destination(
            "access_token = \"text:t\"\nto = \"agent\"\nagents = { Ann = \"+491511234567\" }\n\
             messages = { \"lead.assigned\" = { text = \"{lead.id}\" } }",
        );
        let RecipientKind::Agent(numbers) = settings.recipients.kind else {
            panic!()
        };
        assert_eq!(
            numbers
                .into_iter()
                .map(|(name, number)| format!("{name} {number}"))
                .collect::<Vec<_>>(),
            ["Ann +491511234567"]
        );
    }

    #[test]
    fn loopback_graph_url_implies_allow_private() {
        let (_, settings) = whatsapp_destination(
            "to = \"customer\"\nmessages = { \"lead.waiting\" = { text = \"a\" } }\n\
             [meta]\ngraph_url = \"http://localhost:9\"",
        );
        assert!(settings.allow_private);
    }

    #[test]
    fn subscription_is_restricted_to_messages() {
        let flow = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]";
        let config = parse_valid(&format!(
            "{flow}\ndeliver = [\"wa\"]\n{HEAD}\nto = \"customer\"\nmessages = {{ \"lead.waiting\" = {{ text = \"a\" }} }}"
        ));
        let events: Vec<_> = config
            .subscriptions
            .flows
            .values()
            .flatten()
            .flat_map(|route| route.events.clone())
            .collect();
        assert_eq!(events, [EventKind::LeadWaiting]);
    }

    const FINE: &str = "messages = { \"lead.assigned\" = { text = \"a\" } }";

    /// Asserts that the keys are refused with an error that contains `why`.
    fn assert_error(keys: &str, why: &str) {
        let error = error_of(&format!("{HEAD}\n{keys}"));
        assert!(error.contains(why), "{keys}\n{error}");
    }

    #[test]
    fn whatsapp_errors_have_location() {
        for (keys, why) in [
            (
                "to = \"customers\"",
                "is not a valid value: did you mean `customer`?",
            ),
            (
                "to = \"customer\"\nstatus_wait = \"2h\"",
                "status_wait: must be from 100ms to 1h",
            ),
            ("to = \"agent\"", "`agents` is missing"),
            (
                "to = \"customer\"\nagents = {}",
                "is allowed only with `to = \"agent\"`",
            ),
            (
                "to = \"agent\"\nagents = { Ann = \"no\" }",
                "agents.Ann: is not a phone number",
            ),
            (
                "to = \"customer\"\nurl = \"https://crm.example\"",
                "unknown key `url`",
            ),
            (
                "to = \"customer\"\nsecrets = [\"env:A\"]",
                "unknown key `secrets`",
            ),
        ] {
            assert_error(&format!("{keys}\n{FINE}"), why);
        }
        assert_refused(
            "[destinations.wa]",
            &[(
                "kind = \"whatsap\"",
                "2:8: destinations.wa.kind: \"whatsap\" is not a valid value: did you mean `whatsapp`?",
            )],
        );
        let alerts = error_of(&format!(
            "alerts = [\"wa\"]\n{HEAD}\nto = \"customer\"\n{FINE}"
        ));
        assert!(
            alerts.contains("alerts: \"wa\" sends to customers or agents"),
            "{alerts}"
        );
    }

    #[test]
    fn whatsapp_message_errors_have_location() {
        assert_error("to = \"customer\"", "`messages` is missing");
        assert_error("to = \"customer\"\nmessages = {}", "messages: is empty");
        let long = format!("text = \"{}\"", "x".repeat(4097));
        for (event, keys, why) in [
            (
                "booking.confirm",
                "text = \"a\"",
                "did you mean `booking.confirmed`?",
            ),
            ("job.dead", "text = \"a\"", "this event has no recipient"),
            ("lead.assigned", "", "needs either `text` or `template`"),
            (
                "lead.assigned",
                "text = \"{boking.date}\"",
                "lead.assigned has no \"boking\": did you mean `booking`?",
            ),
            (
                "submission.accepted",
                "text = \"{lead.agent}\"",
                "submission.accepted has no \"lead\"",
            ),
            ("lead.assigned", &long, "has 4097 characters"),
            (
                "lead.assigned",
                "text = \"a\", more = 1",
                "unknown key `more`",
            ),
            (
                "lead.assigned",
                "template = { name = \"A b\", language = \"en\" }",
                "is not a template name",
            ),
            (
                "lead.assigned",
                "template = { name = \"a\", language = \"English\" }",
                "is not a language",
            ),
        ] {
            let messages = format!("messages = {{ \"{event}\" = {{ {keys} }} }}");
            assert_error(&format!("to = \"customer\"\n{messages}"), why);
        }
    }
}
