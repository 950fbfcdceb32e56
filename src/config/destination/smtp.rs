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

use std::collections::BTreeMap;

use hyper::Uri;
use lettre::message::Mailbox;

use super::email::{parse_mailbox, read_email_templates, read_mailboxes};
use super::kind_settings::{KindDefaults, KindSettings};
use super::webhook::{PRIVATE_HOST_ERROR, is_private_host};
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::secrets::SecretRef;
use crate::domain::delivery::email::{EmailTemplate, SmtpTls};
use crate::domain::event::EventKind;
use crate::domain::ip_range::{is_loopback_host, is_public, literal_ip};
use crate::domain::time::Millis;

pub(super) const DEFAULTS: KindDefaults = KindDefaults {
    // Each e-mail needs a connection, and servers allow few connections from one client.
    concurrency: 2,
    // Servers filter an e-mail before they accept it. A client that does not wait for the response
    // sends the e-mail twice.
    timeout: Millis::from_secs(60),
    // The time that a client should wait for the end of an e-mail (RFC 5321, 4.5.3.2.6).
    timeout_max: Millis::from_secs(10 * 60),
    proxy_refusal: Some("use a mail server that can be reached without a proxy"),
    ..KindDefaults::WEBHOOK
};

/// Maximum length of a username, in characters (RFC 4616, 2, counts octets).
const USERNAME_CHARS_MAX: usize = 255;
/// Maximum length of a host name, in characters (RFC 1035, 3.1).
const HOST_CHARS_MAX: usize = 253;

/// Settings of a mail server: connection, sender, recipients and texts.
#[derive(Clone, Debug, PartialEq)]
pub struct SmtpSettings {
    /// URL of the mail server: `smtp://HOST:PORT`.
    pub url: Uri,
    /// Name or address of the mail server. The certificate of the server must have this name.
    pub host: String,
    /// `true` if the host may be on this machine or in a private network.
    pub allow_private: bool,
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
#[derive(Clone, Debug, PartialEq)]
pub struct SmtpLogin {
    /// Username.
    pub username: String,
    /// Location of the password.
    pub password: SecretRef,
}

impl SmtpSettings {
    pub(super) fn read(table: &TableReader<'_>) -> Option<Self> {
        let allow_private = table.boolean("allow_private", false);
        let host = table.require_parsed("host", |text| parse_host(text, allow_private));
        let tls = table.get("tls").map_or(Some(SmtpTls::Starttls), |item| {
            read_tls(&item, host.as_deref(), allow_private)
        });
        let port = tls.and_then(|tls| match table.get("port") {
            Some(item) => item.integer(1..=u16::MAX),
            None => Some(tls.port()),
        });
        let login = read_login(table);
        let from = table.require_parsed("from", parse_mailbox);
        let to = table.require("to").map(|item| read_mailboxes(&item));
        let reply_to = table.parse("reply_to", parse_mailbox);
        let messages = table
            .get("messages")
            .map(|item| read_email_templates(&item));
        let (host, port) = (host?, port?);
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        Some(Self {
            url: format!("smtp://{bracketed}:{port}").parse().ok()?,
            host,
            allow_private,
            port,
            tls: tls?,
            login,
            from: from?,
            to: to?,
            reply_to,
            messages: messages.unwrap_or_default(),
        })
    }
}

impl KindSettings for SmtpSettings {
    fn kind(&self) -> &'static str {
        "smtp"
    }

    fn url(&self) -> Option<&Uri> {
        Some(&self.url)
    }

    fn mailboxes(&self) -> Vec<String> {
        self.to.iter().map(|to| to.email.to_string()).collect()
    }

    fn supports(&self, _kind: EventKind) -> bool {
        true
    }

    fn warnings(&self) -> Vec<String> {
        let password = self.login.as_ref().map(|login| &login.password);
        let password = password.and_then(|secret| secret.labelled_warning("password"));
        let mut warnings = Vec::from_iter(password);
        if self.tls == SmtpTls::None && !is_loopback_host(&self.host) {
            let warning =
                "`tls` is \"none\", so customer data is sent unencrypted: use \"implicit\"";
            warnings.push(warning.to_owned());
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

fn read_login(table: &TableReader<'_>) -> Option<SmtpLogin> {
    let (username_item, password) = (table.get("user"), table.get("password"));
    match (&username_item, &password) {
        (Some(username), None) => username.error("needs a `password`, as \"env:NAME\""),
        (None, Some(password)) => password.error("needs a `user`"),
        _ => {}
    }
    let username = username_item.and_then(|item| item.parse(parse_username));
    let password = password.and_then(|item| item.secret());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{
        assert_error, assert_errors, assert_errors_in_table, parse_destination, parse_valid,
    };
    use crate::config::{DeliveryPolicy, DestinationKind};

    const HEAD: &str = "[destinations.inbox]\nkind = \"smtp\"\nfrom = \"flowgate@shop.example\"\nto = \"ann@shop.example\"";

    fn smtp_destination(table: &str) -> (DeliveryPolicy, SmtpSettings) {
        let destination = parse_destination(table);
        let DestinationKind::Smtp(settings) = destination.kind else {
            panic!("{destination:?}")
        };
        (destination.policy, settings)
    }

    #[test]
    fn smtp_requires_host_and_mailboxes_and_has_defaults() {
        let (policy, settings) = smtp_destination(&format!("{HEAD}\nhost = \"mail.shop.example\""));
        assert_eq!(
            (settings.host.as_str(), settings.port, settings.tls),
            ("mail.shop.example", 587, SmtpTls::Starttls)
        );
        assert_eq!(settings.url, "smtp://mail.shop.example:587/");
        assert_eq!(settings.host(), "mail.shop.example:587");
        assert!(
            settings.login.is_none() && settings.reply_to.is_none() && settings.messages.is_empty()
        );
        assert_eq!(
            (policy.concurrency, policy.timeout.get(), policy.rate),
            (2, 60_000, None)
        );
        assert!(!settings.allow_private);
    }

    #[test]
    fn every_smtp_setting_is_read() {
        let (policy, settings) = smtp_destination(
            "[destinations.inbox]\nkind = \"smtp\"\nhost = \"::1\"\nallow_private = true\ntls = \"tls\"\n\
             user = \"flowgate\"\npassword = \"env:MAIL\"\nfrom = \"Blümchen <a@b.example>\"\n\
             to = [\"ann@shop.example\", '\"Bob, B.\" <bob@shop.example>']\nreply_to = \"office@shop.example\"\ntimeout = \"5m\"\n\
             messages = { \"job.dead\" = { subject = \"{job.id} died\" }, \"lead.assigned\" = { text = \"{lead.id}\" } }",
        );
        assert_eq!(
            (settings.port, settings.tls, policy.timeout.get()),
            (465, SmtpTls::Implicit, 300_000)
        );
        assert_eq!(settings.host(), "[::1]:465");
        assert_eq!(settings.from.name.as_deref(), Some("Blümchen"));
        assert_eq!(settings.to[1].name.as_deref(), Some("Bob, B."));
        let reply_to = settings.reply_to.unwrap().email;
        assert_eq!(reply_to.to_string(), "office@shop.example");
        let login = settings.login.unwrap();
        assert_eq!(login.username, "flowgate");
        assert_eq!(login.password.location(), "env:MAIL");
        let messages = settings.messages.iter();
        let texts = messages.map(|(kind, template)| (kind.as_str(), template.text.is_some()));
        let expected = [("lead.assigned", true), ("job.dead", false)];
        assert_eq!(texts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn smtp_destination_supports_every_event() {
        let config = parse_valid(&format!(
            "alerts = [\"inbox\"]\n[flows.form]\ndeliver = [\"inbox\"]\n{HEAD}\nhost = \"a\"\nmessages = {{ \"job.dead\" = {{ text = \"a\" }} }}"
        ));
        let flows = config.subscriptions.flows.values().flatten();
        let routes = flows.chain(&config.subscriptions.alerts);
        let events: usize = routes.map(|route| route.events.len()).sum();
        assert_eq!(events, EventKind::ALL.len());
    }

    #[test]
    fn unencrypted_smtp_gets_warning() {
        for (host, warnings) in [("mail.lan", 1), ("localhost", 0)] {
            let (_, settings) = smtp_destination(&format!(
                "{HEAD}\nhost = \"{host}\"\ntls = \"none\"\nallow_private = true"
            ));
            assert_eq!((settings.port, settings.warnings().len()), (25, warnings));
        }
    }

    #[test]
    fn smtp_errors_have_location() {
        assert_errors(
            HEAD,
            r"
            => 1:15: destinations.inbox: `host` is missing
            ",
        );
        let host = "host = \"mail.shop.example\"";
        assert_errors_in_table(
            HEAD,
            host,
            r#"
            proxy = "http://a:1"
            => 6:9: destinations.inbox.proxy: is supported only for webhooks and WhatsApp: use a mail server that can be reached without a proxy
            proxy_auth = "env:A"
            => 6:14: destinations.inbox.proxy_auth: is supported only for webhooks and WhatsApp: use a mail server that can be reached without a proxy
            host = "mail.example:25"
            => 6:8: destinations.inbox.host: "mail.example:25" is not a valid host name: write a name like "mail.shop.example", or an address, without a port
            host = ""
            => 6:8: destinations.inbox.host: "" is not a valid host name: write a name like "mail.shop.example", or an address, without a port
            host = "10.0.0.7"
            => 6:8: destinations.inbox.host: is a local or private address: if that is intended, set `allow_private = true`
            host = "localhost"
            => 6:8: destinations.inbox.host: is a local or private address: if that is intended, set `allow_private = true`
            tls = "ssl"
            => 6:7: destinations.inbox.tls: "ssl" is not a valid value: expected one of `starttls`, `tls`, `none`
            tls = "none"
            => 6:7: destinations.inbox.tls: "none" is allowed only for a local or private server, with `allow_private = true`: otherwise the password and the mails would be sent unencrypted
            host = "8.8.8.8"
            tls = "none"
            allow_private = true
            => 7:7: destinations.inbox.tls: "none" is allowed only for a local or private server, with `allow_private = true`: otherwise the password and the mails would be sent unencrypted
            port = 0
            => 6:8: destinations.inbox.port: must be from 1 to 65535, and is 0
            user = "a"
            => 6:8: destinations.inbox.user: needs a `password`, as "env:NAME"
            password = "env:A"
            => 6:12: destinations.inbox.password: needs a `user`
            user = "a\nb"
            password = "env:A"
            => 6:8: destinations.inbox.user: must be one line of 1 to 255 characters
            timeout = "11m"
            => 6:11: destinations.inbox.timeout: must be from 100ms to 10m, and is 11m
            "#,
        );
        let with_url = format!("{HEAD}\n{host}\nurl = \"https://a.example\"");
        assert_error(&with_url, "unknown key `url`");
    }
}
