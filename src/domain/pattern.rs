//! What a text must look like: a regular expression that all of it must fit.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled pattern at the most.
const BYTES_MAX: usize = 1 << 20;

/// A regular expression that the whole of a text must fit.
#[derive(Clone, Debug)]
pub struct Pattern {
    typed: String,
    regex: Regex,
}

impl Pattern {
    /// Reads an expression, in the syntax of the `regex` crate: no look-around, so no text takes long.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(typed: &str) -> Result<Self, String> {
        let compile = |text: &str| RegexBuilder::new(text).size_limit(BYTES_MAX).build();
        // By itself first, so that no bracket of it ends the group around it.
        let compiled = compile(typed).and_then(|_| compile(&format!("^(?:{typed})$")));
        let regex = compiled.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "is too complex".to_owned(),
            // The last line says what is wrong; those before it draw where.
            error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        })?;
        Ok(Self { typed: typed.to_owned(), regex })
    }

    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// The names of its groups.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// The named groups of `text`, in the order of the expression, if all of it fits.
    #[must_use]
    pub fn groups<'t>(&self, text: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let found = self.regex.captures(text)?;
        Some(self.group_names().filter_map(|name| Some((name, found.name(name)?.as_str()))).collect())
    }

    /// Whether all of `text` fits it.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.typed == other.typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_a_text_must_fit() {
        let pattern = Pattern::new("[A-Z]{2}-[0-9]+|none").unwrap();
        assert!(pattern.fits("AB-1") && pattern.fits("none"));
        assert!(!pattern.fits("xAB-1") && !pattern.fits("AB-1 none") && !pattern.fits("AB-1\n"));
    }

    #[test]
    fn what_is_no_expression_is_refused_in_one_line() {
        assert_eq!(Pattern::new("[a").unwrap_err(), "unclosed character class");
        assert_eq!(Pattern::new("(?:a{1000}){1000}").unwrap_err(), "is too complex");
        assert!(Pattern::new("a)|(b").is_err(), "it can't break out of its anchors");
    }
}
