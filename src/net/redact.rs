//! Makes the texts of a response fit for reasons and logs: bounded, printable and without a token.
//! Meta's errors may repeat a malformed token, completely or in part.

/// Minimum number of characters that count as the beginning of a token.
const TOKEN_PREFIX_CHARS: usize = 8;

/// Maximum length, in characters, of a text from a server within a reason.
const REASON_CHARS_MAX: usize = 160;

/// Returns the beginning of `text`, without control characters, for a reason.
#[must_use]
pub fn printable_excerpt(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(REASON_CHARS_MAX).collect()
}

/// Returns `text` without `token`, and without words that begin like `token`.
#[must_use]
pub fn redact_token(text: &str, token: &str) -> String {
    let mut text = if token.is_empty() {
        text.to_owned()
    } else {
        text.replace(token, "…")
    };
    let prefix: String = token.chars().take(TOKEN_PREFIX_CHARS).collect();
    if prefix.chars().count() == TOKEN_PREFIX_CHARS {
        while let Some((before, after)) = text.split_once(&prefix) {
            let is_delimiter = |c: char| c.is_whitespace() || c == '"';
            let tail = after
                .find(is_delimiter)
                .and_then(|index| after.get(index..))
                .unwrap_or_default();
            text = format!("{before}…{tail}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_token_is_redacted() {
        let token = "EAAGm0PX4ZCpsBAKZCx";
        let complete = format!("Malformed access token {token}");
        for (text, token, redacted) in [
            (&*complete, token, "Malformed access token …"),
            ("two EAAGm0PX4ZC... and EAAGm0PX", token, "two … and …"),
            (
                r#"{"a":"no EAAGm0PX4","b":1}"#,
                token,
                r#"{"a":"no …","b":1}"#,
            ),
            (
                "a two-word token was a two",
                "a two-word token",
                "… was a two",
            ),
            ("as it is", "", "as it is"),
        ] {
            assert_eq!(redact_token(text, token), redacted);
        }
    }
}
