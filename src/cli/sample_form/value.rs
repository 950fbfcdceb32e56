//! Generates a sample value for a field: the default value of its kind, or a text that matches its
//! pattern. The functions are pure.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Value, json};

use crate::domain::flow::field::{Field, FieldKind, FullRegex};

/// Characters to choose from a character class, in this order. Without them, a class like `.` would
/// give a control character.
const PREFERRED_CHARS: [char; 4] = ['A', 'a', '1', '-'];

/// Maximum number of repetitions, unless the pattern requires more.
const REPEATS_MAX: u32 = 64;

/// Size limit of a generated text in bytes. Repetitions stop at the limit, so a longer text no
/// longer matches.
const TEXT_BYTES_MAX: usize = 4096;

/// Returns a value that the field accepts. Returns `None` if none can be generated for its pattern.
pub(crate) fn sample_value(field: &Field) -> Option<Value> {
    let texts = field.pattern.iter().flat_map(texts_matching);
    let values = [default_value(&field.kind)].into_iter();
    values
        .chain(texts.map(Value::String))
        .find(|value| field.validate(Some(value), true).is_none())
}

/// Returns the default value of a kind of field.
fn default_value(kind: &FieldKind) -> Value {
    match kind {
        FieldKind::Text { min, max } => {
            json!(text_of_length(min.unwrap_or(0), max.unwrap_or(usize::MAX)))
        }
        FieldKind::Email => json!("try@example.com"),
        // Numbers with 555 01 are reserved for examples (North American Numbering Plan).
        FieldKind::Phone => json!("+12025550123"),
        FieldKind::Number { min, max } => {
            json!(1.0_f64.max(min.unwrap_or(1.0)).min(max.unwrap_or(f64::MAX)))
        }
        FieldKind::Integer { min, max } => {
            json!(1.max(min.unwrap_or(1)).min(max.unwrap_or(i64::MAX)))
        }
        FieldKind::Boolean => json!(true),
        FieldKind::Date => json!("2027-01-04"),
        FieldKind::Time => json!("09:00"),
        FieldKind::Choice(choices) => choices.first().map_or(Value::Null, |first| json!(first)),
        FieldKind::Choices(choices) => json!(choices.first().into_iter().collect::<Vec<_>>()),
    }
}

/// Returns a text of `min` to `max` characters.
fn text_of_length(min: usize, max: usize) -> String {
    "flowgate try "
        .chars()
        .cycle()
        .take("flowgate try".len().max(min).min(max))
        .collect()
}

/// Returns texts generated from `pattern`, shortest first. Most texts match. A text for a pattern
/// with `\b` or with an inner `^` may not match, so the caller must check it.
fn texts_matching(pattern: &FullRegex) -> impl Iterator<Item = String> {
    let parsed = regex_syntax::parse(pattern.as_str()).ok();
    (1..=REPEATS_MAX).filter_map(move |repeats| {
        let mut text = String::new();
        append_sample(parsed.as_ref()?, repeats, &mut text);
        Some(text)
    })
}

/// Appends the first text of `hir` to `text`. Repeatable parts repeat `repeats` times, within their
/// own limits.
fn append_sample(hir: &Hir, repeats: u32, text: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |c: &char| {
                class
                    .ranges()
                    .iter()
                    .any(|range| (range.start()..=range.end()).contains(c))
            };
            let first = class
                .ranges()
                .first()
                .map(regex_syntax::hir::ClassUnicodeRange::start);
            text.extend(PREFERRED_CHARS.into_iter().find(has).or(first));
        }
        HirKind::Repetition(part) => {
            let times = part.min.max(repeats.min(part.max.unwrap_or(repeats)));
            for _ in 0..times {
                // Nested repetitions grow exponentially with their depth.
                if text.len() < TEXT_BYTES_MAX {
                    append_sample(&part.sub, repeats, text);
                }
            }
        }
        HirKind::Capture(group) => append_sample(&group.sub, repeats, text),
        HirKind::Concat(parts) => parts
            .iter()
            .for_each(|part| append_sample(part, repeats, text)),
        HirKind::Alternation(parts) => parts
            .iter()
            .take(1)
            .for_each(|part| append_sample(part, repeats, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_generated_for_all_pattern_elements() {
        for (typed, shortest) in [
            ("[A-Z]{2}-[0-9]+", "AA-1"),
            ("(?:none|some) (x)?", "none x"),
            ("\\+49\\d{3,}", "+49111"),
            ("(?i)ab.", "ABA"),
            ("[^a-zA-Z0-9-]é{2}", "\0éé"),
        ] {
            let pattern = FullRegex::new(typed).unwrap();
            let found = texts_matching(&pattern).find(|text| pattern.is_match(text));
            assert_eq!(found.as_deref(), Some(shortest), "{typed}");
        }
        let pattern = FullRegex::new("a+b{0,2}").unwrap();
        let longer: Vec<_> = texts_matching(&pattern).take(3).collect();
        assert_eq!(longer, ["ab", "aabb", "aaabb"]);
    }

    #[test]
    fn unmatchable_pattern_yields_no_text() {
        for typed in ["a\\bb", "((((a+b)+b)+b)+b)+\\bb"] {
            let pattern = FullRegex::new(typed).unwrap();
            let mut texts = texts_matching(&pattern);
            assert!(!texts.any(|text| pattern.is_match(&text)), "{typed}");
        }
    }
}
