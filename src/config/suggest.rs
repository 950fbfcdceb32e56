//! Finds the known word that the user probably meant, for "did you mean" in messages.

/// Returns the candidate closest to `word`, or `None` if no candidate is close enough. Case is
/// ignored.
///
/// A candidate is close enough if it differs by few typing errors: one for every three characters
/// of `word`, and at least one. A candidate is also close enough if one of the two words begins
/// with the other (`monday`, `mon`).
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let errors = strsim::damerau_levenshtein(&word, &candidate);
        let shorter = word.len().min(candidate.len());
        let is_prefix =
            shorter >= 3 && (word.starts_with(&candidate) || candidate.starts_with(&word));
        (is_prefix || errors <= (word.chars().count() / 3).max(1)).then_some(errors)
    };
    let within_distance = candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(candidate)?, candidate)));
    within_distance
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

/// Returns the hint that follows a wrong word in a message: the closest candidate or, if none is
/// close, all candidates.
pub(super) fn suggestion<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(closest_word) = closest(word, candidates.clone()) {
        return format!(": did you mean `{closest_word}`?");
    }
    let all: Vec<String> = candidates
        .into_iter()
        .map(|candidate| format!("`{candidate}`"))
        .collect();
    match all.as_slice() {
        [] => String::new(),
        [single] => format!(": expected {single}"),
        _ => format!(": expected one of {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["path", "signature", "screens", "mon"];

    #[test]
    fn closest_word_is_found_within_distance() {
        for (typo, meant) in [
            ("paht", "path"),
            ("Path", "path"),
            ("signatur", "signature"),
            ("screen", "screens"),
            ("monday", "mon"),
        ] {
            assert_eq!(closest(typo, KEYS), Some(meant), "{typo}");
        }
        assert_eq!(closest("colour", KEYS), None);
        assert_eq!(closest("", KEYS), None);
    }

    #[test]
    fn suggestion_names_closest_or_all_words() {
        assert_eq!(suggestion("paht", KEYS), ": did you mean `path`?");
        assert_eq!(
            suggestion("colour", ["path", "mon"]),
            ": expected one of `path`, `mon`"
        );
        assert_eq!(suggestion("colour", ["path"]), ": expected `path`");
        assert_eq!(suggestion("colour", []), "");
    }
}
