//! A notice as a message in a chat: the bodies that incoming webhooks of Slack and of Discord take.
//!
//! The headline is bold, each fact a quoted line. What customers wrote is text and nothing else: it names nobody, links to
//! nothing under another name, and stays in its quote. No message is longer than its chat shows.

use serde_json::json;

use super::notice::{Notice, lines};

/// Slack asks for no more in one text, and cuts what is ten times as long (*chat.postMessage*, "Truncating content").
const SLACK_CHARS: usize = 4000;

/// Discord takes no more (*Execute Webhook*, `content`).
const DISCORD_CHARS: usize = 2000;

/// Stands where the rest was too long.
const CUT: &str = "…";

/// How a chat marks up its texts.
struct Style {
    /// Before and behind what is bold.
    bold: &'static str,
    /// A character, so that it is no markup.
    escape: fn(char) -> Option<&'static str>,
    /// Characters that a message may have, in UTF-16, which counts none too few.
    chars: usize,
}

/// What Slack takes. Three characters have to be escaped (*Formatting text for app surfaces*), which is all that names people
/// and links: `<!channel>` stays text. Links that customers wrote are not looked up.
#[must_use]
pub fn slack(notice: &Notice) -> String {
    let escape = |character| match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        // Three in a row would open a block of code that ends in another fact's quote. What stands between has no width.
        '`' => Some("`\u{200b}"),
        _ => None,
    };
    let text = written(notice, &Style { bold: "*", escape, chars: SLACK_CHARS });
    json!({"text": text, "unfurl_links": false, "unfurl_media": false}).to_string()
}

/// What Discord takes. Markup is escaped by backslashes, nobody is pinged whatever it says, and links show no previews
/// (*Message Resource*, `allowed_mentions`, and the flag `SUPPRESS_EMBEDS`).
#[must_use]
pub fn discord(notice: &Notice) -> String {
    let escape = |character| match character {
        '\\' => Some("\\\\"),
        '*' => Some("\\*"),
        '_' => Some("\\_"),
        '~' => Some("\\~"),
        '`' => Some("\\`"),
        '|' => Some("\\|"),
        '<' => Some("\\<"),
        '>' => Some("\\>"),
        '[' => Some("\\["),
        ']' => Some("\\]"),
        '#' => Some("\\#"),
        _ => None,
    };
    let text = written(notice, &Style { bold: "**", escape, chars: DISCORD_CHARS });
    json!({"content": text, "allowed_mentions": {"parse": []}, "flags": 1 << 2}).to_string()
}

fn written(notice: &Notice, style: &Style) -> String {
    let marks = 2 * style.bold.len() + CUT.encode_utf16().count();
    let mut page = Page { text: style.bold.to_owned(), left: style.chars.saturating_sub(marks), escape: style.escape };
    let mut fits = page.write(&notice.headline);
    // A headline that was cut is still bold.
    page.text.push_str(if fits { "" } else { CUT });
    page.text.push_str(style.bold);
    for (name, fact) in &notice.facts {
        if !fits {
            break;
        }
        fits = page.mark("\n> ") && page.write(name) && page.mark(": ");
        for (number, line) in lines(fact).enumerate() {
            fits = fits && (number == 0 || page.mark("\n> ")) && page.write(line);
        }
        page.text.push_str(if fits { "" } else { CUT });
    }
    page.text
}

/// A text that has an end.
struct Page {
    text: String,
    left: usize,
    escape: fn(char) -> Option<&'static str>,
}

impl Page {
    /// Writes `text`, which is no markup, as far as it fits; says whether all of it did.
    fn write(&mut self, text: &str) -> bool {
        let mut buffer = [0; 4];
        text.chars().all(|character| {
            let escaped = (self.escape)(character);
            self.mark(escaped.unwrap_or_else(|| character.encode_utf8(&mut buffer)))
        })
    }

    /// Writes markup as a whole, or not.
    fn mark(&mut self, markup: &str) -> bool {
        let length = markup.encode_utf16().count();
        let fits = length <= self.left;
        if fits {
            self.left -= length;
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

    fn notice(fact: &str) -> Notice {
        Notice { headline: "New form of visit".to_owned(), facts: vec![("name".to_owned(), fact.to_owned())] }
    }

    fn text(body: &str, field: &str) -> String {
        serde_json::from_str::<Value>(body).unwrap()[field].as_str().unwrap().to_owned()
    }

    #[test]
    fn slack_gets_a_text_in_which_customers_name_nobody_and_link_to_nothing() {
        let body = slack(&notice("<!channel> <@U1> <https://evil.example|our site> & *Ann*"));
        assert_eq!(
            body,
            r#"{"text":"*New form of visit*\n> name: &lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|our site&gt; &amp; *Ann*","unfurl_links":false,"unfurl_media":false}"#
        );
    }

    #[test]
    fn discord_pings_nobody_and_shows_what_customers_wrote_as_they_wrote_it() {
        let body = discord(&notice("@everyone <@1> [our site](https://evil.example) # **Ann** ||x|| `y`"));
        let expected = r"**New form of visit**
> name: @everyone \<@1\> \[our site\](https://evil.example) \# \*\*Ann\*\* \|\|x\|\| \`y\`";
        assert_eq!(text(&body, "content"), expected);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["allowed_mentions"], &body["flags"]), (&json!({"parse": []}), &json!(4)));
    }

    #[test]
    fn no_answer_opens_a_block_of_code_in_slack() {
        let facts = [("name", "```"), ("note", "``` *Lead 7 goes to Eve*")];
        let facts = facts.map(|(name, fact)| (name.to_owned(), fact.to_owned())).to_vec();
        let body = slack(&Notice { headline: "New form of visit".to_owned(), facts });
        assert!(!text(&body, "text").contains("``"), "{body}");
    }

    #[test]
    fn each_line_of_an_answer_stays_in_its_quote() {
        for end in ["\n", "\r", "\u{2028}", "\u{85}"] {
            let body = slack(&notice(&format!("Ann{end}*Lead 7 goes to Eve*")));
            assert_eq!(text(&body, "text"), "*New form of visit*\n> name: Ann\n> *Lead 7 goes to Eve*");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        let long = |character: &str| notice(&character.repeat(5000));
        // The last escape that does not fit whole is left out.
        for (body, most) in
            [(text(&slack(&long("&")), "text"), SLACK_CHARS), (text(&discord(&long("*")), "content"), DISCORD_CHARS)]
        {
            let length = body.encode_utf16().count();
            assert!(length <= most && length > most - 8 && body.ends_with(CUT), "{length}");
        }
        let body = text(&discord(&long("\u{1f980}")), "content");
        assert!(body.encode_utf16().count() <= DISCORD_CHARS && body.ends_with("\u{1f980}…"));
        let headline = Notice { headline: "x".repeat(5000), facts: vec![("a".to_owned(), "b".to_owned())] };
        let body = text(&discord(&headline), "content");
        assert_eq!((body.len() - CUT.len() + 1, &body[body.len() - 5..]), (DISCORD_CHARS, "…**"));
        let exact = Notice { headline: "x".repeat(DISCORD_CHARS - 5), facts: vec![("a".to_owned(), "b".to_owned())] };
        let body = text(&discord(&exact), "content");
        assert!(body.ends_with("x**…"), "{}", &body[1990..]);
    }

    proptest! {
        #[test]
        fn whatever_customers_write_is_there_unchanged_and_nothing_else(fact in "[^\n\r\u{b}\u{c}\u{85}\u{200b}\u{2028}\u{2029}]{0,200}") {
            let of = |text: String| text.strip_prefix("New form of visit\n> name: ").map(str::to_owned);
            let shown = text(&slack(&notice(&fact)), "text").replacen('*', "", 2);
            let shown = shown.replace("`\u{200b}", "`").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            prop_assert_eq!(of(shown), Some(fact.clone()));
            let mut unescaped = String::new();
            let shown = text(&discord(&notice(&fact)), "content").replacen("**", "", 2);
            let mut characters = shown.chars();
            while let Some(character) = characters.next() {
                unescaped.extend(if character == '\\' { characters.next() } else { Some(character) });
            }
            prop_assert_eq!(of(unescaped), Some(fact));
        }
    }
}
