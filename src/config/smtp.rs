//! `[destinations.NAME]` with `kind = "smtp"`: e-mails through a mail server of the owner's or their provider's.
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
//! What a mail says is put together in `crate::domain::mail`, as octets in `crate::courier`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hyper::Uri;
use lettre::message::Mailbox;

use super::known::refuse_places;
use super::nearest::hint;
use super::posts::{PRIVATE, is_private};
use super::raw::Table;
use super::secrets::SecretRef;
use super::settings::secret;
use super::value::Item;
use crate::domain::address::{is_public, is_this_machine, literal};
use crate::domain::event::EventKind;
use crate::domain::mail::{MailRule, MailTls, SUBJECT_CHARS_MAX};
use crate::domain::message::Pattern;
use crate::domain::time::Millis;

/// Mails under way at once, if nothing else is said: each is a connection, and servers allow few from one client.
pub(super) const CONCURRENCY: usize = 2;
/// How long an exchange may take, if nothing else is said: filters look at a mail before it is taken, and one whose answer is
/// not awaited comes twice.
pub(super) const TIMEOUT: Millis = Millis::from_secs(60);
/// As long as a client should wait for the end of a mail (RFC 5321, 4.5.3.2.6).
pub(super) const TIMEOUT_MAX: Millis = Millis::from_secs(10 * 60);

/// Mailboxes that one mail goes to at the most.
const TO_MAX: usize = 20;
/// Characters of a text with places at the most.
const TEXT_CHARS_MAX: usize = 16 << 10;
/// Characters of a user's name at the most (RFC 4616, 2, has octets).
const USER_CHARS_MAX: usize = 255;
/// Characters of a host's name at the most (RFC 1035, 3.1).
const HOST_CHARS_MAX: usize = 253;

/// A mail server, who writes through it, to whom, and what.
#[derive(Clone, Debug)]
pub struct SmtpRule {
    /// Where it is: `smtp://HOST:PORT`.
    pub url: Uri,
    /// Its name or address, which its certificate must have.
    pub host: String,
    /// Default by `tls`: 587, 465 or 25.
    pub port: u16,
    /// How the way there is kept from others. Default `starttls`.
    pub tls: MailTls,
    /// What it wants to know first. Default: nothing.
    pub login: Option<Login>,
    /// Whom mails are from.
    pub from: Mailbox,
    /// Whom they go to, 1 to 20: each mail to all of them, or to none.
    pub to: Vec<Mailbox>,
    /// Whom answers go to. Default: `from`.
    pub reply_to: Option<Mailbox>,
    /// What is said of which event. Of the others it is told in words of our own.
    pub messages: BTreeMap<EventKind, MailRule>,
}

/// As whom it is spoken to.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub user: String,
    /// Where their password is.
    pub password: SecretRef,
}

impl SmtpRule {
    pub(super) fn read(table: &Table<'_>, allow_private: bool, folder: &Path) -> Option<Self> {
        let host = table.need("host").and_then(|item| item.parsed(|text| host(text, allow_private)));
        let tls = table.get("tls").map_or(Some(MailTls::Starttls), |item| tls(&item, host.as_deref(), allow_private));
        let port = tls.and_then(|tls| table.get("port").map_or(Some(tls.port()), |item| item.integer(1..=u16::MAX)));
        let login = login(table, folder);
        let from = table.need("from").and_then(|item| item.parsed(mailbox));
        let to = table.need("to").map(|item| mailboxes(&item));
        let reply_to = table.get("reply_to").map(|item| item.parsed(mailbox));
        let messages = table.get("messages").map(|item| messages(&item));
        let (host, port) = (host?, port?);
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
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

    /// What should be known of it.
    pub(super) fn notes(&self) -> Vec<String> {
        let password = self.login.as_ref().and_then(|login| login.password.note());
        let mut notes: Vec<String> = password.map(|note| format!("password: {note}")).into_iter().collect();
        if self.tls == MailTls::None && !is_this_machine(&self.host) {
            notes.push("its `tls` is \"none\": what customers wrote is readable on its way there".to_owned());
        }
        notes
    }
}

fn host(text: &str, allow_private: bool) -> Result<String, String> {
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(fits)
    };
    let is_name = text.len() <= HOST_CHARS_MAX && text.split('.').all(label);
    if !is_name && text.parse::<std::net::IpAddr>().is_err() {
        return Err(format!(
            "{text:?} is no host: write a name like \"mail.shop.example\", or an address, without a port"
        ));
    }
    if is_private(text) && !allow_private {
        return Err(PRIVATE.to_owned());
    }
    Ok(text.to_owned())
}

fn tls(item: &Item<'_>, host: Option<&str>, allow_private: bool) -> Option<MailTls> {
    Some(match item.word(&["starttls", "tls", "none"])? {
        "starttls" => MailTls::Starttls,
        "tls" => MailTls::Implicit,
        _ => {
            let is_out_there = host.and_then(literal).is_some_and(is_public);
            if !allow_private || is_out_there {
                item.refuse(
                    "\"none\" is for a server on this machine or in a network of one's own, with `allow_private = true`: \
                     everywhere else the password and the mails would be readable",
                );
                return None;
            }
            MailTls::None
        }
    })
}

fn login(table: &Table<'_>, folder: &Path) -> Option<Login> {
    let (user, password) = (table.get("user"), table.get("password"));
    match (&user, &password) {
        (Some(user), None) => user.refuse("needs a `password`, as \"env:NAME\""),
        (None, Some(password)) => password.refuse("needs a `user`"),
        _ => {}
    }
    let user = user.and_then(|item| item.parsed(user_name));
    let password = password.and_then(|item| secret(&item, folder));
    Some(Login { user: user?, password: password? })
}

fn user_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) || text.chars().count() > USER_CHARS_MAX {
        return Err(format!("must be one line of 1 to {USER_CHARS_MAX} characters"));
    }
    Ok(text.to_owned())
}

/// One mailbox: `ann@shop.example`, or `Ann <ann@shop.example>`. Addresses in ASCII reach every server.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let no_mailbox =
        || format!("{text:?} is no mailbox: write one like \"ann@shop.example\" or \"Ann <ann@shop.example>\"");
    if text.chars().any(char::is_control) {
        return Err(no_mailbox());
    }
    let mailbox: Mailbox = text.parse().map_err(|_| no_mailbox())?;
    let address: &str = mailbox.email.as_ref();
    if !address.is_ascii() {
        return Err(format!("{address:?} has letters that not every mail server knows: write its domain as \"xn--…\""));
    }
    Ok(mailbox)
}

fn mailboxes(item: &Item<'_>) -> Vec<Mailbox> {
    if !item.is_list() {
        return item.parsed(mailbox).into_iter().collect();
    }
    let items = item.some_items().unwrap_or_default();
    if items.len() > TO_MAX {
        item.refuse(format!("has {} mailboxes, and may have {TO_MAX}", items.len()));
    }
    let mut seen = BTreeSet::new();
    let mut read = Vec::new();
    for item in &items {
        let Some(mailbox) = item.parsed(mailbox) else { continue };
        if !seen.insert(mailbox.email.to_string().to_ascii_lowercase()) {
            item.refuse(format!("{} is there twice", mailbox.email));
        }
        read.push(mailbox);
    }
    read
}

fn messages(item: &Item<'_>) -> BTreeMap<EventKind, MailRule> {
    let read = item.names(|table| {
        let items = table.named();
        if items.is_empty() {
            item.refuse("is empty: leave it out, and all events are told in words of flowgate's own");
        }
        items.iter().filter_map(message).collect()
    });
    read.unwrap_or_default()
}

fn message(item: &Item<'_>) -> Option<(EventKind, MailRule)> {
    let kind = EventKind::named(item.key);
    if kind.is_none() {
        let hint = hint(item.key, EventKind::ALL.into_iter().map(EventKind::as_str));
        item.refuse_key(format!("{}: there is no event {:?}{hint}", item.name, item.key));
    }
    let rule = item.table(|table| {
        let read = |key, parse: fn(&str) -> Result<Pattern, String>| {
            let item = table.get(key)?;
            let pattern = item.parsed(parse)?;
            if let Some(kind) = kind {
                refuse_places(&item, &pattern, kind);
            }
            Some(pattern)
        };
        let rule = MailRule { subject: read("subject", subject), text: read("text", text) };
        if table.get("subject").or_else(|| table.get("text")).is_none() {
            table.refuse("needs a `subject`, a `text` or both");
        }
        rule
    })?;
    Some((kind?, rule))
}

fn subject(text: &str) -> Result<Pattern, String> {
    if text.chars().any(char::is_control) {
        return Err("must be one line".to_owned());
    }
    Pattern::parse_up_to(text, SUBJECT_CHARS_MAX).map_err(|error| error.to_string())
}

fn text(text: &str) -> Result<Pattern, String> {
    Pattern::parse_up_to(text, TEXT_CHARS_MAX).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};
    use super::super::{Destination, Means};
    use super::*;

    const HEAD: &str =
        "[destinations.inbox]\nkind = \"smtp\"\nfrom = \"flowgate@shop.example\"\nto = \"ann@shop.example\"";

    fn one(table: &str) -> (Destination, SmtpRule) {
        let destination = accepted(table).destinations.into_values().next().unwrap();
        let Means::Smtp(rule) = destination.means.clone() else { panic!("{destination:?}") };
        (destination, rule)
    }

    #[test]
    fn a_server_and_two_mailboxes_suffice_and_the_rest_has_defaults() {
        let (destination, rule) = one(&format!("{HEAD}\nhost = \"mail.shop.example\""));
        assert_eq!((rule.host.as_str(), rule.port, rule.tls), ("mail.shop.example", 587, MailTls::Starttls));
        assert_eq!(
            (rule.url.to_string(), destination.host()),
            ("smtp://mail.shop.example:587/".to_owned(), "mail.shop.example:587".to_owned())
        );
        assert!(rule.login.is_none() && rule.reply_to.is_none() && rule.messages.is_empty());
        assert_eq!((destination.concurrency, destination.timeout.get(), destination.rate), (2, 60_000, None));
        assert!(!destination.allow_private);
    }

    #[test]
    fn all_that_can_be_set_is_set() {
        let (destination, rule) = one(
            "[destinations.inbox]\nkind = \"smtp\"\nhost = \"::1\"\nallow_private = true\ntls = \"tls\"\n\
             user = \"flowgate\"\npassword = \"env:MAIL\"\nfrom = \"Blümchen <a@b.example>\"\n\
             to = [\"ann@shop.example\", '\"Bob, B.\" <bob@shop.example>']\nreply_to = \"desk@shop.example\"\ntimeout = \"5m\"\n\
             messages = { \"job.dead\" = { subject = \"{job.id} died\" }, \"lead.assigned\" = { text = \"{lead.id}\" } }",
        );
        assert_eq!((rule.port, rule.tls, destination.timeout.get()), (465, MailTls::Implicit, 300_000));
        assert_eq!(destination.host(), "[::1]:465");
        assert_eq!(rule.from.name.as_deref(), Some("Blümchen"));
        assert_eq!(rule.to[1].name.as_deref(), Some("Bob, B."));
        assert_eq!(rule.reply_to.unwrap().email.to_string(), "desk@shop.example");
        let login = rule.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.place()), ("flowgate", "env:MAIL".to_owned()));
        let told: Vec<_> = rule.messages.iter().map(|(kind, rule)| (kind.as_str(), rule.text.is_some())).collect();
        assert_eq!(told, [("lead.assigned", true), ("job.dead", false)]);
    }

    #[test]
    fn it_is_told_of_all_that_leads_to_it_and_of_alerts() {
        let flow = "[flows.form]\npath = \"/form\"\nencryption = \"none\"\nscreens = [{ name = \"A\", final = true }]\ndeliver = [\"inbox\"]";
        let config = accepted(&format!(
            "alerts = [\"inbox\"]\n{flow}\n{HEAD}\nhost = \"a\"\nmessages = {{ \"job.dead\" = {{ text = \"a\" }} }}"
        ));
        let told = config.routes.flows.values().flatten().chain(&config.routes.alerts);
        assert_eq!(told.map(|route| route.events.len()).sum::<usize>(), EventKind::ALL.len());
    }

    #[test]
    fn without_tls_it_is_near_and_that_is_said() {
        let (_, rule) = one(&format!("{HEAD}\nhost = \"mail.lan\"\ntls = \"none\"\nallow_private = true"));
        assert_eq!((rule.port, rule.notes().len()), (25, 1));
        let (_, rule) = one(&format!("{HEAD}\nhost = \"localhost\"\ntls = \"none\"\nallow_private = true"));
        assert!(rule.notes().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let fine = format!("{HEAD}\nhost = \"mail.shop.example\"");
        let long = format!("to = [{}]", (0..21).map(|n| format!("\"a{n}@b.example\"")).collect::<Vec<_>>().join(", "));
        for (typed, why) in [
            (HEAD.to_owned(), "1:15: destinations.inbox: `host` is missing"),
            (
                format!("{fine}\nproxy = \"http://a:1\""),
                "6:9: destinations.inbox.proxy: is for webhooks and WhatsApp: take a mail server",
            ),
            (
                format!("{fine}\nproxy_auth = \"env:A\""),
                "6:14: destinations.inbox.proxy_auth: is for webhooks and WhatsApp: take a mail server",
            ),
            (
                format!("{HEAD}\nhost = \"mail.example:25\""),
                "5:8: destinations.inbox.host: \"mail.example:25\" is no host",
            ),
            (format!("{HEAD}\nhost = \"\""), "is no host"),
            (format!("{HEAD}\nhost = \"10.0.0.7\""), "destinations.inbox.host: is on this machine or in a network"),
            (format!("{HEAD}\nhost = \"localhost\""), "`allow_private = true`"),
            (format!("{fine}\ntls = \"ssl\""), "tls: \"ssl\" is not known here"),
            (
                format!("{fine}\ntls = \"none\""),
                "6:7: destinations.inbox.tls: \"none\" is for a server on this machine",
            ),
            (format!("{HEAD}\nhost = \"8.8.8.8\"\ntls = \"none\"\nallow_private = true"), "\"none\" is for a server"),
            (format!("{fine}\nport = 0"), "port: must be from 1 to 65535"),
            (format!("{fine}\nuser = \"a\""), "6:8: destinations.inbox.user: needs a `password`"),
            (format!("{fine}\npassword = \"env:A\""), "password: needs a `user`"),
            (format!("{fine}\nuser = \"a\\nb\"\npassword = \"env:A\""), "user: must be one line"),
            (format!("{fine}\nreply_to = \"nobody\""), "reply_to: \"nobody\" is no mailbox"),
            (format!("{fine}\nreply_to = \"A <a@b.example>, c@d.example\""), "is no mailbox"),
            (format!("{fine}\nreply_to = \"A\\r\\nBcc: x <a@b.example>\""), "is no mailbox"),
            (format!("{fine}\nreply_to = \"a@bücher.example\""), "\"xn--…\""),
            (fine.replace("\"ann@shop.example\"", "[]"), "to: is empty"),
            (fine.replace("\"ann@shop.example\"", "[\"a@b.example\", \"A@b.example\"]"), "is there twice"),
            (fine.replace("to = \"ann@shop.example\"", &long), "has 21 mailboxes, and may have 20"),
            (format!("{fine}\ntimeout = \"11m\""), "timeout: must be from 100ms to 10m"),
            (format!("{fine}\nmessages = {{}}"), "messages: is empty"),
            (
                format!("{fine}\nmessages = {{ \"lead.asigned\" = {{ text = \"a\" }} }}"),
                "did you mean `lead.assigned`?",
            ),
            (format!("{fine}\nmessages = {{ \"lead.assigned\" = {{}} }}"), "needs a `subject`, a `text` or both"),
            (
                format!("{fine}\nmessages = {{ \"lead.assigned\" = {{ subject = \"a\\nb\" }} }}"),
                "subject: must be one line",
            ),
            (
                format!("{fine}\nmessages = {{ \"lead.assigned\" = {{ subject = \"{}\" }} }}", "x".repeat(201)),
                "has 201 characters, and may have 200",
            ),
            (
                format!("{fine}\nmessages = {{ \"lead.assigned\" = {{ text = \"{{boking.date}}\" }} }}"),
                "did you mean `booking`?",
            ),
            (
                format!("{fine}\nmessages = {{ \"job.dead\" = {{ text = \"{{lead.id}}\" }} }}"),
                "job.dead has no \"lead\": there are `flow`, `job`",
            ),
            (format!("{fine}\nmessages = {{ \"job.dead\" = {{ body = \"a\" }} }}"), "unknown key `body`"),
            (format!("{fine}\nurl = \"https://a.example\""), "unknown key `url`"),
        ] {
            let said = refused(&typed);
            assert!(said.contains(why), "{typed}\n{said}");
        }
    }
}
