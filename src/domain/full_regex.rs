//! Matches whole texts against a regular expression.
//!
//! Callers prepare the text, and decide what a match and its groups mean.

use regex::{Regex, RegexBuilder};

/// Maximum size of a compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub struct FullRegex {
    source: String,
    regex: Regex,
}

impl FullRegex {
    /// Compiles an expression in the syntax of the `regex` crate. The syntax has no look-around, so
    /// matching takes linear time.
    ///
    /// # Errors
    /// A description of the mistake in one line.
    pub fn new(source: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(COMPILED_BYTES_MAX)
                .build()
        };
        // Compiles the expression alone first. Without this, a parenthesis of the expression could
        // close the group around it.
        let compiled = compile(source).and_then(|_| compile(&format!("^(?:{source})$")));
        let regex = compiled.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "is too complex".to_owned(),
            // The last line describes the mistake. The lines before show its position.
            error => {
                let text = error.to_string();
                let mistake = text.lines().last().unwrap_or_default();
                mistake.trim_start_matches("error: ").to_owned()
            }
        })?;
        Ok(Self {
            source: source.to_owned(),
            regex,
        })
    }

    /// Returns the expression as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns the names of the expression's groups.
    pub fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// Returns the named groups of `text` in the order of the expression. `None` if the expression
    /// does not match the whole text.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let found = self.regex.captures(text)?;
        let names = self.capture_names();
        let groups = names.filter_map(|name| Some((name, found.name(name)?.as_str())));
        Some(groups.collect())
    }

    /// Returns `true` if the expression matches the whole text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for FullRegex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regex_matches_whole_text_only() {
        let pattern = FullRegex::new("[A-Z]{2}-[0-9]+|none").unwrap();
        assert!(pattern.is_match("AB-1") && pattern.is_match("none"));
        for text in ["xAB-1", "AB-1 none", "AB-1\n"] {
            assert!(!pattern.is_match(text), "{text:?}");
        }
    }

    #[test]
    fn invalid_regex_error_is_one_line() {
        let error = |source| FullRegex::new(source).unwrap_err();
        assert_eq!(error("[a"), "unclosed character class");
        assert_eq!(error("(?:a{1000}){1000}"), "is too complex");
        // The expression can't close the group around it.
        assert!(FullRegex::new("a)|(b").is_err());
    }
}
