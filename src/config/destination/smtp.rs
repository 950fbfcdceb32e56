//! Reads `[destinations.NAME]` with `kind = "smtp"`: e-mails through a mail server of the owner or
//! of their provider.
//!
//! ```toml
//! [destinations.inbox]
//! kind = "smtp"
//! host = "mail.shop.example"
//! user = "flowgate@shop.example"
//! password = "env:MAIL_PASSWORD"
//! from = "Flowgate <flowgate@shop.example>"
//! to = ["Ann <ann@shop.example>"]
//! messages = { "lead.assigned" = { subject = "New lead: {submission.answers.name}" } }
//! ```
//!
//! See [`crate::domain::delivery::email`] for the content of an e-mail, and [`crate::delivery`] for
//! its bytes and transport.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper::Uri;
use lettre::message::Mailbox;

use super::webhook::{PRIVATE_HOST_ERROR, is_private_host};
use crate::config::event_fields::check_placeholders;
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::secrets::SecretRef;
use crate::config::settings::read_secret;
use crate::config::suggest::suggestion;
use crate::domain::delivery::email::{EmailTemplate, SUBJECT_CHARS_MAX, SmtpTls};
use crate::domain::delivery::message::PlaceholderText;
use crate::domain::event::EventKind;
use crate::domain::ip_range::{is_loopback_host, is_public, literal_ip};
use crate::domain::time::Millis;

/// Default number of e-mails in flight. Each e-mail needs a connection, and servers allow few
/// connections from one client.
pub(in crate::config) const CONCURRENCY: usize = 2;
/// Default maximum time for one SMTP exchange. Servers filter an e-mail before they accept it. A
/// client that does not wait for the response sends the e-mail twice.
pub(in crate::config) const TIMEOUT: Millis = Millis::from_secs(60);
/// Maximum of `timeout`: the time that a client should wait for the end of an e-mail (RFC 5321,
/// 4.5.3.2.6).
pub(in crate::config) const TIMEOUT_MAX: Millis = Millis::from_secs(10 * 60);

/// Maximum number of mailboxes in `to`.
const RECIPIENTS_MAX: usize = 20;
/// Maximum length of a text with placeholders, in characters.
const TEXT_CHARS_MAX: usize = 16 << 10;
/// Maximum length of a username, in characters (RFC 4616, 2, counts octets).
const USERNAME_CHARS_MAX: usize = 255;
/// Maximum length of a host name, in characters (RFC 1035, 3.1).
const HOST_CHARS_MAX: usize = 253;

/// Settings of a mail server: connection, sender, recipients and texts.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// URL of the mail server: `smtp://HOST:PORT`.
    pub url: Uri,
    /// Name or address of the mail server. The certificate of the server must have this name.
    pub host: String,
    /// Port of the mail server. Default by `tls`: 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub port: u16,
    /// Encryption of the connection. Default `starttls`.
    pub tls: SmtpTls,
    /// Login at the mail server. Default: `None`, no login.
    pub login: Option<SmtpLogin>,
    /// Sender of the e-mails.
    pub from: Mailbox,
    /// Recipients, 1 to 20. Each e-mail goes to all of them or to none.
    pub to: Vec<Mailbox>,
    /// Mailbox for replies. Default: `None`, replies go to `from`.
    pub reply_to: Option<Mailbox>,
    /// Templates by kind of event. Events without a template are sent with flowgate's default
    /// texts.
    pub messages: BTreeMap<EventKind, EmailTemplate>,
}

/// Credentials for the mail server.
#[derive(Clone, Debug)]
pub struct SmtpLogin {
    /// Username.
    pub username: String,
    /// Location of the password.
    pub password: SecretRef,
}

impl SmtpSettings {
    pub(in crate::config) fn read(
        table: &TableReader<'_>,
        allow_private: bool,
        folder: &Path,
    ) -> Option<Self> {
        let host = table
            .require("host")
            .and_then(|item| item.parse(|text| parse_host(text, allow_private)));
        let tls = table.get("tls").map_or(Some(SmtpTls::Starttls), |item| {
            read_tls(&item, host.as_deref(), allow_private)
        });
        let port = tls.and_then(|tls| {
            table
                .get("port")
                .map_or(Some(tls.port()), |item| item.integer(1..=u16::MAX))
        });
        let login = read_login(table, folder);
        let from = table
            .require("from")
            .and_then(|item| item.parse(parse_mailbox));
        let to = table.require("to").map(|item| read_mailboxes(&item));
        let reply_to = table.get("reply_to").map(|item| item.parse(parse_mailbox));
        let messages = table.get("messages").map(|item| read_messages(&item));
        let (host, port) = (host?, port?);
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        Some(Self {
            url: format!("smtp://{bracketed}:{port}").parse().ok()?,
            host,
            port,
            tls: tls?,
            login,
            from: from?,
            to: to?,
            reply_to: reply_to.flatten(),
            messages: messages.unwrap_or_default(),
        })
    }

    /// Returns the warnings about the mail server, one sentence each.
    pub(in crate::config) fn warnings(&self) -> Vec<String> {
        let password = self
            .login
            .as_ref()
            .and_then(|login| login.password.warning());
        let mut warnings: Vec<String> = password
            .map(|warning| format!("password: {warning}"))
            .into_iter()
            .collect();
        if self.tls == SmtpTls::None && !is_loopback_host(&self.host) {
            warnings.push("its `tls` is \"none\": customer data is sent unencrypted".to_owned());
        }
        warnings
    }
}

fn parse_host(text: &str, allow_private: bool) -> Result<String, String> {
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(fits)
    };
    let is_name = text.len() <= HOST_CHARS_MAX && text.split('.').all(label);
    if !is_name && text.parse::<std::net::IpAddr>().is_err() {
        return Err(format!(
            "{text:?} is not a valid host name: write a name like \"mail.shop.example\", or an address, without a port"
        ));
    }
    if is_private_host(text) && !allow_private {
        return Err(PRIVATE_HOST_ERROR.to_owned());
    }
    Ok(text.to_owned())
}

fn read_tls(item: &ValueReader<'_>, host: Option<&str>, allow_private: bool) -> Option<SmtpTls> {
    Some(match item.one_of(&["starttls", "tls", "none"])? {
        "starttls" => SmtpTls::Starttls,
        "tls" => SmtpTls::Implicit,
        _ => {
            let is_public_address = host.and_then(literal_ip).is_some_and(is_public);
            if !allow_private || is_public_address {
                item.error(
                    "\"none\" is allowed only for a local or private server, with `allow_private = true`: \
                     otherwise the password and the mails would be sent unencrypted",
                );
                return None;
            }
            SmtpTls::None
        }
    })
}

fn read_login(table: &TableReader<'_>, folder: &Path) -> Option<SmtpLogin> {
    let (username_item, password) = (table.get("user"), table.get("password"));
    match (&username_item, &password) {
        (Some(username), None) => username.error("needs a `password`, as \"env:NAME\""),
        (None, Some(password)) => password.error("needs a `user`"),
        _ => {}
    }
    let username = username_item.and_then(|item| item.parse(parse_username));
    let password = password.and_then(|item| read_secret(&item, folder));
    Some(SmtpLogin {
        username: username?,
        password: password?,
    })
}

fn parse_username(text: &str) -> Result<String, String> {
    if text.is_empty()
        || text.chars().any(char::is_control)
        || text.chars().count() > USERNAME_CHARS_MAX
    {
        return Err(format!(
            "must be one line of 1 to {USERNAME_CHARS_MAX} characters"
        ));
    }
    Ok(text.to_owned())
}

/// Parses a mailbox: `ann@shop.example`, or `Ann <ann@shop.example>`. The address must be ASCII,
/// because every mail server accepts ASCII addresses.
fn parse_mailbox(text: &str) -> Result<Mailbox, String> {
    let no_mailbox = || {
        format!(
            "{text:?} is not a valid e-mail address: write one like \"ann@shop.example\" or \"Ann <ann@shop.example>\""
        )
    };
    if text.chars().any(char::is_control) {
        return Err(no_mailbox());
    }
    let mailbox: Mailbox = text.parse().map_err(|_| no_mailbox())?;
    let address: &str = mailbox.email.as_ref();
    if !address.is_ascii() {
        return Err(format!(
            "{address:?} has non-ASCII letters, which not every mail server supports: write its domain as \"xn--…\""
        ));
    }
    Ok(mailbox)
}

fn read_mailboxes(item: &ValueReader<'_>) -> Vec<Mailbox> {
    if !item.is_list() {
        return item.parse(parse_mailbox).into_iter().collect();
    }
    let items = item.non_empty_list().unwrap_or_default();
    if items.len() > RECIPIENTS_MAX {
        item.error(format!(
            "has {} mailboxes, the maximum is {RECIPIENTS_MAX}",
            items.len()
        ));
    }
    let mut seen = BTreeSet::new();
    let mut read = Vec::new();
    for item in &items {
        let Some(mailbox) = item.parse(parse_mailbox) else {
            continue;
        };
        if !seen.insert(mailbox.email.to_string().to_ascii_lowercase()) {
            item.error(format!("{} is listed twice", mailbox.email));
        }
        read.push(mailbox);
    }
    read
}

fn read_messages(item: &ValueReader<'_>) -> BTreeMap<EventKind, EmailTemplate> {
    let read = item.read_named_table(|table| {
        let items = table.entries();
        if items.is_empty() {
            item.error("is empty: remove it to use the default texts for all events");
        }
        items.iter().filter_map(read_message).collect()
    });
    read.unwrap_or_default()
}

fn read_message(item: &ValueReader<'_>) -> Option<(EventKind, EmailTemplate)> {
    let kind = EventKind::from_name(item.key);
    if kind.is_none() {
        let suggestion = suggestion(item.key, EventKind::ALL.into_iter().map(EventKind::as_str));
        item.key_error(format!(
            "{}: there is no event {:?}{suggestion}",
            item.path, item.key
        ));
    }
    let template = item.read_table(|table| {
        let read = |key, parse: fn(&str) -> Result<PlaceholderText, String>| {
            let item = table.get(key)?;
            let pattern = item.parse(parse)?;
            if let Some(kind) = kind {
                check_placeholders(&item, &pattern, kind);
            }
            Some(pattern)
        };
        let template = EmailTemplate {
            subject: read("subject", parse_subject),
            text: read("text", parse_text),
        };
        if table.get("subject").or_else(|| table.get("text")).is_none() {
            table.error("needs a `subject`, a `text` or both");
        }
        template
    })?;
    Some((kind?, template))
}

fn parse_subject(text: &str) -> Result<PlaceholderText, String> {
    if text.chars().any(char::is_control) {
        return Err("must be one line".to_owned());
    }
    PlaceholderText::parse_with_limit(text, SUBJECT_CHARS_MAX).map_err(|error| error.to_string())
}

fn parse_text(text: &str) -> Result<PlaceholderText, String> {
    PlaceholderText::parse_with_limit(text, TEXT_CHARS_MAX).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{error_of, parse_valid};
    use crate::config::{Destination, DestinationKind};

    const HEAD: &str = "[destinations.inbox]\nkind = \"smtp\"\nfrom = \"flowgate@shop.example\"\nto = \"ann@shop.example\"";

    fn smtp_destination(table: &str) -> (Destination, SmtpSettings) {
        let destination = parse_valid(table)
            .destinations
            .into_values()
            .next()
            .unwrap();
        let DestinationKind::Smtp(settings) = destination.kind.clone() else {
            panic!("{destination:?}")
        };
        (destination, settings)
    }

    #[test]
    fn smtp_requires_host_and_mailboxes_and_has_defaults() {
        let (destination, settings) =
            smtp_destination(&format!("{HEAD}\nhost = \"mail.shop.example\""));
        assert_eq!(
            (settings.host.as_str(), settings.port, settings.tls),
            ("mail.shop.example", 587, SmtpTls::Starttls)
        );
        assert_eq!(
            (settings.url.to_string(), destination.host()),
            (
                "smtp://mail.shop.example:587/".to_owned(),
                "mail.shop.example:587".to_owned()
            )
        );
        assert!(
            settings.login.is_none() && settings.reply_to.is_none() && settings.messages.is_empty()
        );
        assert_eq!(
            (
                destination.concurrency,
                destination.timeout.get(),
                destination.rate
            ),
            (2, 60_000, None)
        );
        assert!(!destination.allow_private);
    }

    #[test]
    fn every_smtp_setting_is_read() {
        let (destination, settings) = smtp_destination(
            "[destinations.inbox]\nkind = \"smtp\"\nhost = \"::1\"\nallow_private = true\ntls = \"tls\"\n\
             user = \"flowgate\"\npassword = \"env:MAIL\"\nfrom = \"Blümchen <a@b.example>\"\n\
             to = [\"ann@shop.example\", '\"Bob, B.\" <bob@shop.example>']\nreply_to = \"office@shop.example\"\ntimeout = \"5m\"\n\
             messages = { \"job.dead\" = { subject = \"{job.id} died\" }, \"lead.assigned\" = { text = \"{lead.id}\" } }",
        );
        assert_eq!(
            (settings.port, settings.tls, destination.timeout.get()),
            (465, SmtpTls::Implicit, 300_000)
        );
        assert_eq!(destination.host(), "[::1]:465");
        assert_eq!(settings.from.name.as_deref(), Some("Blümchen"));
        assert_eq!(settings.to[1].name.as_deref(), Some("Bob, B."));
        assert_eq!(
            settings.reply_to.unwrap().email.to_string(),
            "office@shop.example"
        );
        let login = settings.login.unwrap();
        assert_eq!(
            (login.username.as_str(), login.password.location()),
            ("flowgate", "env:MAIL".to_owned())
        );
        let texts: Vec<_> = settings
            .messages
            .iter()
            .map(|(kind, template)| (kind.as_str(), template.text.is_some()))
            .collect();
        assert_eq!(texts, [("lead.assigned", true), ("job.dead", false)]);
    }

    #[test]
    fn smtp_destination_supports_every_event() {
        let flow = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]\ndeliver = [\"inbox\"]";
        let config = parse_valid(&format!(
            "alerts = [\"inbox\"]\n{flow}\n{HEAD}\nhost = \"a\"\nmessages = {{ \"job.dead\" = {{ text = \"a\" }} }}"
        ));
        let subscriptions = config
            .subscriptions
            .flows
            .values()
            .flatten()
            .chain(&config.subscriptions.alerts);
        assert_eq!(
            subscriptions.map(|route| route.events.len()).sum::<usize>(),
            EventKind::ALL.len()
        );
    }

    #[test]
    fn unencrypted_smtp_gets_warning() {
        let (_, settings) = smtp_destination(&format!(
            "{HEAD}\nhost = \"mail.lan\"\ntls = \"none\"\nallow_private = true"
        ));
        assert_eq!((settings.port, settings.warnings().len()), (25, 1));
        let (_, settings) = smtp_destination(&format!(
            "{HEAD}\nhost = \"localhost\"\ntls = \"none\"\nallow_private = true"
        ));
        assert!(settings.warnings().is_empty());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one case after the other")]
    fn smtp_errors_have_location() {
        let fine = format!("{HEAD}\nhost = \"mail.shop.example\"");
        let long = format!(
            "to = [{}]",
            (0..21)
                .map(|n| format!("\"a{n}@b.example\""))
                .collect::<Vec<_>>()
                .join(", ")
        );
        for (typed, why) in [
            (
                HEAD.to_owned(),
                "1:15: destinations.inbox: `host` is missing",
            ),
            (
                format!("{fine}\nproxy = \"http://a:1\""),
                "6:9: destinations.inbox.proxy: is supported only for webhooks and WhatsApp: use a mail server",
            ),
            (
                format!("{fine}\nproxy_auth = \"env:A\""),
                "6:14: destinations.inbox.proxy_auth: is supported only for webhooks and WhatsApp: use a mail server",
            ),
            (
                format!("{HEAD}\nhost = \"mail.example:25\""),
                "5:8: destinations.inbox.host: \"mail.example:25\" is not a valid host name",
            ),
            (format!("{HEAD}\nhost = \"\""), "is not a valid host name"),
            (
                format!("{HEAD}\nhost = \"10.0.0.7\""),
                "destinations.inbox.host: is a local or private address",
            ),
            (
                format!("{HEAD}\nhost = \"localhost\""),
                "`allow_private = true`",
            ),
            (
                format!("{fine}\ntls = \"ssl\""),
                "tls: \"ssl\" is not a valid value",
            ),
            (
                format!("{fine}\ntls = \"none\""),
                "6:7: destinations.inbox.tls: \"none\" is allowed only for a local or private server",
            ),
            (
                format!("{HEAD}\nhost = \"8.8.8.8\"\ntls = \"none\"\nallow_private = true"),
                "\"none\" is allowed only for a local or private server",
            ),
            (format!("{fine}\nport = 0"), "port: must be from 1 to 65535"),
            (
                format!("{fine}\nuser = \"a\""),
                "6:8: destinations.inbox.user: needs a `password`",
            ),
            (
                format!("{fine}\npassword = \"env:A\""),
                "password: needs a `user`",
            ),
            (
                format!("{fine}\nuser = \"a\\nb\"\npassword = \"env:A\""),
                "user: must be one line",
            ),
            (
                format!("{fine}\nreply_to = \"nobody\""),
                "reply_to: \"nobody\" is not a valid e-mail address",
            ),
            (
                format!("{fine}\nreply_to = \"A <a@b.example>, c@d.example\""),
                "is not a valid e-mail address",
            ),
            (
                format!("{fine}\nreply_to = \"A\\r\\nBcc: x <a@b.example>\""),
                "is not a valid e-mail address",
            ),
            (
                format!("{fine}\nreply_to = \"a@bücher.example\""),
                "\"xn--…\"",
            ),
            (fine.replace("\"ann@shop.example\"", "[]"), "to: is empty"),
            (
                fine.replace("\"ann@shop.example\"", "[\"a@b.example\", \"A@b.example\"]"),
                "is listed twice",
            ),
            (
                fine.replace("to = \"ann@shop.example\"", &long),
                "has 21 mailboxes, the maximum is 20",
            ),
            (
                format!("{fine}\ntimeout = \"11m\""),
                "timeout: must be from 100ms to 10m",
            ),
            (format!("{fine}\nmessages = {{}}"), "messages: is empty"),
            (
                format!("{fine}\nmessages = {{ \"lead.asigned\" = {{ text = \"a\" }} }}"),
                "did you mean `lead.assigned`?",
            ),
            (
                format!("{fine}\nmessages = {{ \"lead.assigned\" = {{}} }}"),
                "needs a `subject`, a `text` or both",
            ),
            (
                format!("{fine}\nmessages = {{ \"lead.assigned\" = {{ subject = \"a\\nb\" }} }}"),
                "subject: must be one line",
            ),
            (
                format!(
                    "{fine}\nmessages = {{ \"lead.assigned\" = {{ subject = \"{}\" }} }}",
                    "x".repeat(201)
                ),
                "has 201 characters, the maximum is 200",
            ),
            (
                format!(
                    "{fine}\nmessages = {{ \"lead.assigned\" = {{ text = \"{{boking.date}}\" }} }}"
                ),
                "did you mean `booking`?",
            ),
            (
                format!("{fine}\nmessages = {{ \"job.dead\" = {{ text = \"{{lead.id}}\" }} }}"),
                "job.dead has no \"lead\": expected one of `flow`, `job`",
            ),
            (
                format!("{fine}\nmessages = {{ \"job.dead\" = {{ body = \"a\" }} }}"),
                "unknown key `body`",
            ),
            (
                format!("{fine}\nurl = \"https://a.example\""),
                "unknown key `url`",
            ),
        ] {
            let error = error_of(&typed);
            assert!(error.contains(why), "{typed}\n{error}");
        }
    }
}
