//! Renders event summaries as chat messages: payloads for the incoming webhooks of Slack and
//! Discord.
//!
//! The headline is bold, and each fact is a quoted line. Text of customers is escaped: the text
//! can't mention people, can't show a link under another name and stays in its quote. No message is
//! longer than the chat displays.

use serde_json::json;

use crate::domain::event::summary::{EventSummary, split_lines};

/// Maximum characters of a Slack message. Slack recommends this maximum and truncates a text that
/// is ten times as long (*chat.postMessage*, "Truncating content").
const SLACK_CHARS: usize = 4000;

/// Maximum characters of a Discord message (*Execute Webhook*, `content`).
const DISCORD_CHARS: usize = 2000;

/// Replacement for the part of a text that is over the limit.
const TRUNCATION_MARK: &str = "…";

/// Markup rules of a chat.
struct ChatMarkup {
    /// Mark before and after bold text.
    bold: &'static str,
    /// Returns a character as text, in its escaped form if the character would be markup.
    escape: fn(char) -> String,
    /// Maximum length of a message in UTF-16 code units. A count in UTF-16 is never lower than a
    /// count in characters.
    max_chars: usize,
}

/// Renders the payload for Slack. Escaping three characters (*Formatting text for app surfaces*)
/// covers everything that mentions people or makes links: `<!channel>` remains text. Slack shows no
/// previews of links in the text of customers.
#[must_use]
pub fn slack_payload(summary: &EventSummary) -> String {
    let escape = |character| match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        // Three backticks in a row would open a code block that closes in the quote of another
        // fact. The character that separates the backticks has no width.
        '`' => "`\u{200b}".to_owned(),
        _ => character.to_string(),
    };
    let markup = ChatMarkup {
        bold: "*",
        escape,
        max_chars: SLACK_CHARS,
    };
    let text = render_text(summary, &markup);
    json!({"text": text, "unfurl_links": false, "unfurl_media": false}).to_string()
}

/// Renders the payload for Discord. Backslashes escape the markup. No text notifies a person, and
/// links have no previews (*Message Resource*, `allowed_mentions`, and the flag `SUPPRESS_EMBEDS`).
#[must_use]
pub fn discord_payload(summary: &EventSummary) -> String {
    let escape = |character| match character {
        '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '[' | ']' | '#' => {
            format!("\\{character}")
        }
        _ => character.to_string(),
    };
    let markup = ChatMarkup {
        bold: "**",
        escape,
        max_chars: DISCORD_CHARS,
    };
    let text = render_text(summary, &markup);
    json!({"content": text, "allowed_mentions": {"parse": []}, "flags": 1 << 2}).to_string()
}

fn render_text(summary: &EventSummary, markup: &ChatMarkup) -> String {
    let marks = 2 * markup.bold.len() + TRUNCATION_MARK.encode_utf16().count();
    let mut output = BoundedText {
        text: markup.bold.to_owned(),
        remaining: markup.max_chars.saturating_sub(marks),
        escape: markup.escape,
    };
    let mut fits = output.push_text(&summary.headline);
    // A truncated headline also gets the closing bold mark.
    let mark_unless = |fits| if fits { "" } else { TRUNCATION_MARK };
    output.text.push_str(mark_unless(fits));
    output.text.push_str(markup.bold);
    for (name, fact) in &summary.facts {
        if !fits {
            break;
        }
        fits = output.push_markup("\n> ") && output.push_text(name) && output.push_markup(": ");
        for (number, line) in split_lines(fact).enumerate() {
            fits = fits && (number == 0 || output.push_markup("\n> ")) && output.push_text(line);
        }
        output.text.push_str(mark_unless(fits));
    }
    output.text
}

/// Text with a maximum length.
struct BoundedText {
    text: String,
    remaining: usize,
    escape: fn(char) -> String,
}

impl BoundedText {
    /// Appends `text` with markup escaped, as far as `text` fits. Returns `true` if all of `text`
    /// fits.
    fn push_text(&mut self, text: &str) -> bool {
        text.chars()
            .all(|character| self.push_markup(&(self.escape)(character)))
    }

    /// Appends `markup` if all of it fits. Returns `true` if `markup` fits.
    fn push_markup(&mut self, markup: &str) -> bool {
        let length = markup.encode_utf16().count();
        let fits = length <= self.remaining;
        if fits {
            self.remaining -= length;
            self.text.push_str(markup);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn summary(headline: &str, facts: &[(&str, &str)]) -> EventSummary {
        let facts = facts.iter();
        EventSummary {
            headline: headline.to_owned(),
            facts: facts
                .map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned()))
                .collect(),
        }
    }

    fn summary_with_fact(fact: &str) -> EventSummary {
        summary("New form of visit", &[("name", fact)])
    }

    fn slack_text(summary: &EventSummary) -> String {
        let body: Value = serde_json::from_str(&slack_payload(summary)).unwrap();
        body["text"].as_str().unwrap().to_owned()
    }

    fn discord_text(summary: &EventSummary) -> String {
        let body: Value = serde_json::from_str(&discord_payload(summary)).unwrap();
        body["content"].as_str().unwrap().to_owned()
    }

    #[test]
    fn slack_payload_escapes_mentions_and_links() {
        let fact = "<!channel> <@U1> <https://evil.example|our site> & *Ann*";
        assert_eq!(
            slack_payload(&summary_with_fact(fact)),
            r#"{"text":"*New form of visit*\n> name: &lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|our site&gt; &amp; *Ann*","unfurl_links":false,"unfurl_media":false}"#
        );
    }

    #[test]
    fn discord_payload_escapes_markup_and_mentions() {
        let fact = "@everyone <@1> [our site](https://evil.example) # **Ann** ||x|| `y`";
        let body: Value = serde_json::from_str(&discord_payload(&summary_with_fact(fact))).unwrap();
        let expected = r"**New form of visit**
> name: @everyone \<@1\> \[our site\](https://evil.example) \# \*\*Ann\*\* \|\|x\|\| \`y\`";
        assert_eq!(body["content"], expected);
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        assert_eq!(body["flags"], 4);
    }

    #[test]
    fn slack_payload_breaks_code_fences() {
        let facts = [("name", "```"), ("note", "``` *Lead 7 goes to Eve*")];
        let text = slack_text(&summary("New form of visit", &facts));
        assert!(!text.contains("``"), "{text}");
    }

    #[test]
    fn every_line_of_fact_is_quoted() {
        for line_break in ["\n", "\r", "\u{2028}", "\u{85}"] {
            let fact = format!("Ann{line_break}*Lead 7 goes to Eve*");
            let text = slack_text(&summary_with_fact(&fact));
            let expected = "*New form of visit*\n> name: Ann\n> *Lead 7 goes to Eve*";
            assert_eq!(text, expected, "{line_break:?}");
        }
    }

    #[test]
    fn long_text_is_truncated_at_character_boundary() {
        let long_fact = |character: &str| summary_with_fact(&character.repeat(5000));
        // An escape sequence that does not fit completely is left out.
        for (text, max_chars) in [
            (slack_text(&long_fact("&")), SLACK_CHARS),
            (discord_text(&long_fact("*")), DISCORD_CHARS),
        ] {
            let length = text.encode_utf16().count();
            assert!((max_chars - 7..=max_chars).contains(&length), "{length}");
            assert!(text.ends_with(TRUNCATION_MARK), "{text}");
        }
        let text = discord_text(&long_fact("\u{1f980}"));
        assert!(text.encode_utf16().count() <= DISCORD_CHARS && text.ends_with("\u{1f980}…"));
        let long_headline = |length| discord_text(&summary(&"x".repeat(length), &[("a", "b")]));
        let text = long_headline(5000);
        assert_eq!(text.chars().count(), DISCORD_CHARS);
        assert!(text.ends_with("x…**"), "{text}");
        let text = long_headline(DISCORD_CHARS - 5);
        assert!(text.ends_with("x**…"), "{text}");
    }

    proptest! {
        #[test]
        fn escaped_fact_round_trips(fact in "[^\n\r\u{b}\u{c}\u{85}\u{200b}\u{2028}\u{2029}]{0,200}") {
            let fact_of = |text: String| text.strip_prefix("New form of visit\n> name: ").map(str::to_owned);
            let shown = slack_text(&summary_with_fact(&fact)).replacen('*', "", 2);
            let shown = shown.replace("`\u{200b}", "`").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            prop_assert_eq!(fact_of(shown), Some(fact.clone()));
            let mut unescaped = String::new();
            let shown = discord_text(&summary_with_fact(&fact)).replacen("**", "", 2);
            let mut characters = shown.chars();
            while let Some(character) = characters.next() {
                let is_escape = character == '\\';
                unescaped.extend(if is_escape { characters.next() } else { Some(character) });
            }
            prop_assert_eq!(fact_of(unescaped), Some(fact));
        }
    }
}
