//! Reads the mailboxes and templates of an e-mail destination.

use std::collections::{BTreeMap, BTreeSet};

use lettre::message::Mailbox;

use crate::config::event_fields::{check_placeholders, parse_event_kind};
use crate::config::reader::value::ValueReader;
use crate::domain::delivery::email::{EmailTemplate, SUBJECT_CHARS_MAX};
use crate::domain::delivery::message::PlaceholderText;
use crate::domain::event::EventKind;

/// Maximum number of mailboxes in `to`.
const RECIPIENTS_MAX: usize = 20;

/// Maximum length of a text with placeholders, in characters.
const TEXT_CHARS_MAX: usize = 16 << 10;

/// Parses a mailbox: `ann@shop.example`, or `Ann <ann@shop.example>`. The address must be ASCII,
/// because every mail server accepts ASCII addresses.
pub(super) fn parse_mailbox(text: &str) -> Result<Mailbox, String> {
    let no_mailbox = || {
        format!(
            "{text:?} is not a valid e-mail address: write one like \"ann@shop.example\" or \
             \"Ann <ann@shop.example>\""
        )
    };
    if text.chars().any(char::is_control) {
        return Err(no_mailbox());
    }
    let mailbox: Mailbox = text.parse().map_err(|_| no_mailbox())?;
    let address: &str = mailbox.email.as_ref();
    if !address.is_ascii() {
        return Err(format!(
            "{address:?} has non-ASCII letters, which not every mail server supports: write its \
             domain as \"xn--…\""
        ));
    }
    Ok(mailbox)
}

/// Reads one mailbox, or a list of 1 to 20 mailboxes.
pub(super) fn read_mailboxes(item: &ValueReader<'_>) -> Vec<Mailbox> {
    if !item.is_list() {
        return item.parse(parse_mailbox).into_iter().collect();
    }
    let items = item.non_empty_list().unwrap_or_default();
    item.check_count(items.len(), RECIPIENTS_MAX, "mailboxes");
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

/// Reads the templates by kind of event.
pub(super) fn read_email_templates(item: &ValueReader<'_>) -> BTreeMap<EventKind, EmailTemplate> {
    let items = item.entries();
    if items.as_ref().is_some_and(Vec::is_empty) {
        item.error("is empty: remove it to use the default texts for all events");
    }
    let items = items.iter().flatten();
    items.filter_map(read_email_template).collect()
}

fn read_email_template(item: &ValueReader<'_>) -> Option<(EventKind, EmailTemplate)> {
    let kind = item.parse_key(|name| parse_event_kind(name, EventKind::ALL.into_iter()));
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
    use crate::config::tests::{assert_error, assert_errors, assert_errors_in};

    const FINE: &str = "[destinations.inbox]\nkind = \"smtp\"\nhost = \"a\"\n\
        from = \"flowgate@shop.example\"\nto = \"ann@shop.example\"";

    #[test]
    fn mailbox_errors_have_location() {
        assert_errors(
            FINE,
            r#"
            reply_to = "nobody"
            => 6:12: destinations.inbox.reply_to: "nobody" is not a valid e-mail address: write one like "ann@shop.example" or "Ann <ann@shop.example>"
            reply_to = "A <a@b.example>, c@d.example"
            => 6:12: destinations.inbox.reply_to: "A <a@b.example>, c@d.example" is not a valid e-mail address: write one like "ann@shop.example" or "Ann <ann@shop.example>"
            reply_to = "A\r\nBcc: x <a@b.example>"
            => 6:12: destinations.inbox.reply_to: "A\r\nBcc: x <a@b.example>" is not a valid e-mail address: write one like "ann@shop.example" or "Ann <ann@shop.example>"
            reply_to = "a@bücher.example"
            => 6:12: destinations.inbox.reply_to: "a@bücher.example" has non-ASCII letters, which not every mail server supports: write its domain as "xn--…"
            "#,
        );
        let with_to = |to: &str| FINE.replace("\"ann@shop.example\"", to);
        assert_errors_in(
            with_to,
            r#"
            []
            => 5:6: destinations.inbox.to: is empty: remove it, or add at least one entry
            ["a@b.example", "A@b.example"]
            => 5:22: destinations.inbox.to: A@b.example is listed twice
            "#,
        );
        let many: Vec<_> = (0..21).map(|n| format!("a{n}@b.example")).collect();
        let why = "has 21 mailboxes, the maximum is 20";
        assert_error(&with_to(&format!("{many:?}")), why);
    }

    #[test]
    fn email_message_errors_have_location() {
        let with_messages = |messages: &str| format!("{FINE}\nmessages = {{ {messages} }}");
        assert_errors_in(
            with_messages,
            r#"
            => 6:12: destinations.inbox.messages: is empty: remove it to use the default texts for all events
            "lead.asigned" = { text = "a" }
            => 6:14: destinations.inbox.messages.lead.asigned: there is no event "lead.asigned": did you mean `lead.assigned`?
            "lead.assigned" = {}
            => 6:32: destinations.inbox.messages.lead.assigned: needs a `subject`, a `text` or both
            "lead.assigned" = { subject = "a\nb" }
            => 6:44: destinations.inbox.messages.lead.assigned.subject: must be one line
            "lead.assigned" = { text = "{boking.date}" }
            => 6:41: destinations.inbox.messages.lead.assigned.text: {boking.date}: lead.assigned has no "boking": did you mean `booking`?
            "job.dead" = { text = "{lead.id}" }
            => 6:36: destinations.inbox.messages.job.dead.text: {lead.id}: job.dead has no "lead": expected one of `flow`, `job`
            "job.dead" = { body = "a" }
            => 6:27: destinations.inbox.messages.job.dead: needs a `subject`, a `text` or both
            => 6:29: unknown key `body` in destinations.inbox.messages.job.dead: expected one of `subject`, `text`
            "#,
        );
        let long = format!("\"job.dead\" = {{ subject = \"{}\" }}", "x".repeat(201));
        let why = "has 201 characters, the maximum is 200";
        assert_error(&with_messages(&long), why);
    }
}
