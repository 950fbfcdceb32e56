//! Keeps a token out of texts that come back: Meta repeats it, whole or in part, where it finds it malformed.

/// So many characters of a token at least are taken for the token.
const TOKEN_HEAD_CHARS: usize = 8;

/// `text` without `token`, and without what begins like it.
#[must_use]
pub fn without_token(text: &str, token: &str) -> String {
    let mut text = if token.is_empty() { text.to_owned() } else { text.replace(token, "…") };
    let head: String = token.chars().take(TOKEN_HEAD_CHARS).collect();
    if head.chars().count() == TOKEN_HEAD_CHARS {
        while let Some((before, after)) = text.split_once(&head) {
            let ends = |c: char| c.is_whitespace() || c == '"';
            let rest = after.find(ends).and_then(|end| after.get(end..)).unwrap_or_default();
            text = format!("{before}…{rest}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_repeated_is_not_shown() {
        let token = "EAAGm0PX4ZCpsBAKZCx";
        assert_eq!(without_token(&format!("Malformed access token {token}"), token), "Malformed access token …");
        assert_eq!(without_token("Malformed EAAGm0PX4ZC... and EAAGm0PX again", token), "Malformed … and … again");
        assert_eq!(
            without_token(r#"{"message":"no EAAGm0PX4","code":190}"#, token),
            r#"{"message":"no …","code":190}"#
        );
        assert_eq!(without_token("a two-word token was a two", "a two-word token"), "… was a two");
        assert_eq!(without_token("as it is", ""), "as it is");
    }
}
