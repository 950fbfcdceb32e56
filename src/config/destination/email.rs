//! Reads the mailboxes and templates of an e-mail destination.

use std::collections::{BTreeMap, BTreeSet};

use lettre::message::Mailbox;

use crate::config::event_fields::check_placeholders;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
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

/// Reads the templates by kind of event.
pub(super) fn read_email_templates(item: &ValueReader<'_>) -> BTreeMap<EventKind, EmailTemplate> {
    let read = item.read_named_table(|table| {
        let items = table.entries();
        if items.is_empty() {
            item.error("is empty: remove it to use the default texts for all events");
        }
        items.iter().filter_map(read_email_template).collect()
    });
    read.unwrap_or_default()
}

fn read_email_template(item: &ValueReader<'_>) -> Option<(EventKind, EmailTemplate)> {
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
    use crate::config::tests::error_of;

    const FINE: &str = "[destinations.inbox]\nkind = \"smtp\"\nhost = \"a\"\n\
        from = \"flowgate@shop.example\"\nto = \"ann@shop.example\"";

    /// Asserts that the config is refused with an error that contains `why`.
    fn assert_error(typed: &str, why: &str) {
        let error = error_of(typed);
        assert!(error.contains(why), "{typed}\n{error}");
    }

    #[test]
    fn mailbox_errors_have_location() {
        for (reply_to, why) in [
            (
                "nobody",
                "reply_to: \"nobody\" is not a valid e-mail address",
            ),
            (
                "A <a@b.example>, c@d.example",
                "is not a valid e-mail address",
            ),
            (
                "A\\r\\nBcc: x <a@b.example>",
                "is not a valid e-mail address",
            ),
            ("a@bücher.example", "\"xn--…\""),
        ] {
            assert_error(&format!("{FINE}\nreply_to = \"{reply_to}\""), why);
        }
        let many: Vec<_> = (0..21).map(|n| format!("a{n}@b.example")).collect();
        for (to, why) in [
            ("[]", "to: is empty"),
            ("[\"a@b.example\", \"A@b.example\"]", "is listed twice"),
            (&format!("{many:?}"), "has 21 mailboxes, the maximum is 20"),
        ] {
            assert_error(&FINE.replace("\"ann@shop.example\"", to), why);
        }
    }

    #[test]
    fn email_message_errors_have_location() {
        assert_error(&format!("{FINE}\nmessages = {{}}"), "messages: is empty");
        let long_subject = format!("subject = \"{}\"", "x".repeat(201));
        for (event, keys, why) in [
            (
                "lead.asigned",
                "text = \"a\"",
                "did you mean `lead.assigned`?",
            ),
            ("lead.assigned", "", "needs a `subject`, a `text` or both"),
            (
                "lead.assigned",
                "subject = \"a\\nb\"",
                "subject: must be one line",
            ),
            (
                "lead.assigned",
                &long_subject,
                "has 201 characters, the maximum is 200",
            ),
            (
                "lead.assigned",
                "text = \"{boking.date}\"",
                "did you mean `booking`?",
            ),
            (
                "job.dead",
                "text = \"{lead.id}\"",
                "job.dead has no \"lead\": expected one of `flow`, `job`",
            ),
            ("job.dead", "body = \"a\"", "unknown key `body`"),
        ] {
            let messages = format!("messages = {{ \"{event}\" = {{ {keys} }} }}");
            assert_error(&format!("{FINE}\n{messages}"), why);
        }
    }
}
