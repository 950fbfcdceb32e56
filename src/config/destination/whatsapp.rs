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

use hyper::Uri;

use super::kind_settings::{KindDefaults, KindSettings};
use super::recipients::{Recipients, read_messages, read_placeholder_text};
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::secrets::SecretRef;
use crate::config::settings::MetaSettings;
use crate::config::units::{hours, minutes};
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
    pub(super) fn read(table: &TableReader<'_>, meta: &MetaSettings) -> Option<Self> {
        let number = table.require_parsed("phone_number_id", parse_phone_number_id);
        let access_token = table.secret("access_token");
        let recipients = Recipients::read(table);
        let to = recipients.as_ref().map(|recipients| &recipients.kind);
        let messages = table
            .require("messages")
            .map(|item| read_messages(&item, to, read_content));
        let waits = Millis::new(100)..=hours(1);
        let status_wait = table.duration("status_wait", minutes(5), waits);
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
        Vec::from_iter(self.access_token.labelled_warning("access_token"))
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
        let name = table.require_parsed("name", parse_template_name);
        let language = table.require_parsed("language", parse_language);
        let parameters = table.get("parameters").map(|item| {
            let items = item.list().unwrap_or_default();
            item.check_count(items.len(), PARAMETERS_MAX, "parameters");
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
    use crate::config::tests::{
        assert_error, assert_errors, assert_errors_in, assert_errors_in_table, parse_destination,
        parse_valid,
    };
    use crate::config::{Destination, DestinationKind};
    use crate::domain::delivery::message::RecipientKind;

    const HEAD: &str =
        "[destinations.wa]\nkind = \"whatsapp\"\nphone_number_id = \"106540352242922\"";

    fn whatsapp_destination(table: &str) -> (Destination, WhatsappSettings) {
        let destination = parse_destination(&format!("{HEAD}\n{table}"));
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
        let numbers = numbers
            .iter()
            .map(|(name, number)| format!("{name} {number}"));
        assert_eq!(numbers.collect::<Vec<_>>(), ["Ann +491511234567"]);
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
        let config = parse_valid(&format!(
            "[flows.form]\ndeliver = [\"wa\"]\n{HEAD}\nto = \"customer\"\nmessages = {{ \"lead.waiting\" = {{ text = \"a\" }} }}"
        ));
        let routes = config.subscriptions.flows.values().flatten();
        let events = routes.flat_map(|route| route.events.clone());
        assert_eq!(events.collect::<Vec<_>>(), [EventKind::LeadWaiting]);
    }

    const FINE: &str = "to = \"customer\"\nmessages = { \"lead.assigned\" = { text = \"a\" } }";

    #[test]
    fn whatsapp_errors_have_location() {
        assert_errors_in_table(
            HEAD,
            FINE,
            r#"
            to = "customers"
            => 5:6: destinations.wa.to: "customers" is not a valid value: did you mean `customer`?
            status_wait = "2h"
            => 6:15: destinations.wa.status_wait: must be from 100ms to 1h, and is 2h
            to = "agent"
            => 1:15: destinations.wa: `agents` is missing: set the phone numbers of the agents, like agents = { Ann = "+491511234567" }
            agents = {}
            => 6:10: destinations.wa.agents: is allowed only with `to = "agent"`
            to = "agent"
            agents = { Ann = "no" }
            => 6:18: destinations.wa.agents.Ann: is not a phone number: write it with its country code, as "+491511234567"
            "#,
        );
        for key in ["url", "secrets"] {
            let config = format!("{HEAD}\n{FINE}\n{key} = 1");
            assert_error(&config, &format!("unknown key `{key}`"));
        }
        assert_errors(
            "[destinations.wa]",
            r#"
            kind = "whatsap"
            => 2:8: destinations.wa.kind: "whatsap" is not a valid value: did you mean `whatsapp`?
            "#,
        );
        assert_error(
            &format!("alerts = [\"wa\"]\n{HEAD}\n{FINE}"),
            "alerts: \"wa\" sends to customers or agents",
        );
    }

    #[test]
    fn whatsapp_message_errors_have_location() {
        assert_errors(
            &format!("{HEAD}\nto = \"customer\""),
            r"
            => 1:15: destinations.wa: `messages` is missing
            messages = {}
            => 5:12: destinations.wa.messages: is empty: add at least one event with its message
            ",
        );
        let with_message =
            |event: &str| format!("{HEAD}\nto = \"customer\"\nmessages = {{ {event} }}");
        assert_errors_in(
            with_message,
            r#"
            "booking.confirm" = { text = "a" }
            => 5:14: destinations.wa.messages.booking.confirm: there is no event "booking.confirm": did you mean `booking.confirmed`?
            "job.dead" = { text = "a" }
            => 5:14: destinations.wa.messages.job.dead: this event has no recipient: use one of submission.accepted, submission.updated, lead.assigned, lead.waiting, booking.confirmed, booking.cancelled, booking.conflict, draft.abandoned
            "lead.assigned" = {}
            => 5:32: destinations.wa.messages.lead.assigned: needs either `text` or `template`
            "lead.assigned" = { text = "{boking.date}" }
            => 5:41: destinations.wa.messages.lead.assigned.text: {boking.date}: lead.assigned has no "boking": did you mean `booking`?
            "submission.accepted" = { text = "{lead.agent}" }
            => 5:47: destinations.wa.messages.submission.accepted.text: {lead.agent}: submission.accepted has no "lead": expected one of `booking`, `conflict`, `flow`, `submission`
            "lead.assigned" = { text = "a", more = 1 }
            => 5:46: unknown key `more` in destinations.wa.messages.lead.assigned: expected one of `text`, `template`
            "lead.assigned" = { template = { name = "A b", language = "en" } }
            => 5:54: destinations.wa.messages.lead.assigned.template.name: "A b" is not a template name: it may have only lower case letters, digits and '_'
            "lead.assigned" = { template = { name = "a", language = "English" } }
            => 5:70: destinations.wa.messages.lead.assigned.template.language: "English" is not a language of a template: write one like "en" or "en_US"
            "#,
        );
        let long = format!("\"lead.assigned\" = {{ text = \"{}\" }}", "x".repeat(4097));
        assert_error(&with_message(&long), "has 4097 characters");
    }
}
