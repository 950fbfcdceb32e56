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
            error => error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
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
        Some(
            self.capture_names()
                .filter_map(|name| Some((name, found.name(name)?.as_str())))
                .collect(),
        )
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
        assert!(
            !pattern.is_match("xAB-1")
                && !pattern.is_match("AB-1 none")
                && !pattern.is_match("AB-1\n")
        );
    }

    #[test]
    fn invalid_regex_error_is_one_line() {
        assert_eq!(
            FullRegex::new("[a").unwrap_err(),
            "unclosed character class"
        );
        assert_eq!(
            FullRegex::new("(?:a{1000}){1000}").unwrap_err(),
            "is too complex"
        );
        // The expression can't close the group around it.
        assert!(FullRegex::new("a)|(b").is_err());
    }
}
