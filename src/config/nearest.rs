//! The word that somebody meant, for "did you mean".

/// The candidate nearest to `word`, if any is near enough to be meant: few typing errors apart (one in three letters),
/// or one the beginning of the other (`monday`, `mon`). Case does not count.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let errors = strsim::damerau_levenshtein(&word, &candidate);
        let shorter = word.len().min(candidate.len());
        let beginning = shorter >= 3 && (word.starts_with(&candidate) || candidate.starts_with(&word));
        (beginning || errors <= (word.chars().count() / 3).max(1)).then_some(errors)
    };
    let near = candidates.into_iter().filter_map(|candidate| Some((distance(candidate)?, candidate)));
    near.min_by_key(|(errors, _)| *errors).map(|(_, candidate)| candidate)
}

/// What to say behind a wrong word: the nearest right one, or all of them if they are few.
pub(super) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!(": did you mean `{near}`?");
    }
    let all: Vec<String> = candidates.into_iter().map(|candidate| format!("`{candidate}`")).collect();
    match all.as_slice() {
        [] => String::new(),
        [one] => format!(": there is {one}"),
        _ => format!(": there are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["path", "signature", "screens", "mon"];

    #[test]
    fn a_typo_finds_its_word_and_nonsense_finds_none() {
        for (typo, meant) in
            [("paht", "path"), ("Path", "path"), ("signatur", "signature"), ("screen", "screens"), ("monday", "mon")]
        {
            assert_eq!(nearest(typo, KEYS), Some(meant), "{typo}");
        }
        assert_eq!(nearest("colour", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
    }

    #[test]
    fn the_hint_is_the_nearest_word_or_all_of_them() {
        assert_eq!(hint("paht", KEYS), ": did you mean `path`?");
        assert_eq!(hint("colour", ["path", "mon"]), ": there are `path`, `mon`");
        assert_eq!(hint("colour", ["path"]), ": there is `path`");
        assert_eq!(hint("colour", []), "");
    }
}
