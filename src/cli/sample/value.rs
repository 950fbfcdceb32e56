//! One value that a field takes: the usual one of its kind or, where that does not fit the field's pattern, a text made from
//! the pattern itself. Pure.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Value, json};

use crate::domain::field::{Field, FieldKind, Pattern};

/// Taken of a class, in this order, where it has them: a class like `.` begins with control characters.
const PREFERRED: [char; 4] = ['A', 'a', '1', '-'];

/// What repeats is repeated so often at the most, unless the pattern asks for more.
const REPEATS_MAX: u32 = 64;

/// Longer texts are cut short, and fit no more.
const TEXT_BYTES_MAX: usize = 4096;

/// A value that the field takes; nothing where its pattern is beyond what is made up here.
pub(super) fn fitting(field: &Field) -> Option<Value> {
    let texts = field.pattern.iter().flat_map(texts).map(Value::String);
    [usual(&field.kind)].into_iter().chain(texts).find(|value| field.problem(Some(value), true).is_none())
}

/// A value that fits the kind.
fn usual(kind: &FieldKind) -> Value {
    match kind {
        FieldKind::Text { min, max } => json!(text(min.unwrap_or(0), max.unwrap_or(usize::MAX))),
        FieldKind::Email => json!("try@example.com"),
        // Numbers with 555 01 are set aside for examples (North American Numbering Plan).
        FieldKind::Phone => json!("+12025550123"),
        FieldKind::Number { min, max } => json!(1.0_f64.max(min.unwrap_or(1.0)).min(max.unwrap_or(f64::MAX))),
        FieldKind::Integer { min, max } => json!(1.max(min.unwrap_or(1)).min(max.unwrap_or(i64::MAX))),
        FieldKind::Boolean => json!(true),
        FieldKind::Date => json!("2027-01-04"),
        FieldKind::Time => json!("09:00"),
        FieldKind::Choice(choices) => choices.first().map_or(Value::Null, |first| json!(first)),
        FieldKind::Choices(choices) => json!(choices.first().into_iter().collect::<Vec<_>>()),
    }
}

/// A text of `min` to `max` characters.
fn text(min: usize, max: usize) -> String {
    "flowgate try ".chars().cycle().take("flowgate try".len().max(min).min(max)).collect()
}

/// Texts made from `pattern`, short ones first. Most fit; one of a pattern with `\b` or `^` inside may not, so whoever takes
/// one asks the pattern again.
fn texts(pattern: &Pattern) -> impl Iterator<Item = String> {
    let parsed = regex_syntax::parse(pattern.as_str()).ok();
    (1..=REPEATS_MAX).filter_map(move |repeats| {
        let mut text = String::new();
        add(parsed.as_ref()?, repeats, &mut text);
        Some(text)
    })
}

/// Adds the first text of `hir`. What may repeat does so `repeats` times, as far as it may.
fn add(hir: &Hir, repeats: u32, text: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |c: &char| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(c));
            let first = class.ranges().first().map(regex_syntax::hir::ClassUnicodeRange::start);
            text.extend(PREFERRED.into_iter().find(has).or(first));
        }
        HirKind::Repetition(part) => {
            let times = part.min.max(repeats.min(part.max.unwrap_or(repeats)));
            for _ in 0..times {
                // What repeats inside of what repeats grows with the power of its depth.
                if text.len() < TEXT_BYTES_MAX {
                    add(&part.sub, repeats, text);
                }
            }
        }
        HirKind::Capture(group) => add(&group.sub, repeats, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| add(part, repeats, text)),
        HirKind::Alternation(parts) => parts.iter().take(1).for_each(|part| add(part, repeats, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_from_all_that_patterns_are_made_of() {
        for (typed, shortest) in [
            ("[A-Z]{2}-[0-9]+", "AA-1"),
            ("(?:none|some) (x)?", "none x"),
            ("\\+49\\d{3,}", "+49111"),
            ("(?i)ab.", "ABA"),
            ("[^a-zA-Z0-9-]é{2}", "\0éé"),
        ] {
            let pattern = Pattern::new(typed).unwrap();
            assert_eq!(texts(&pattern).find(|text| pattern.fits(text)).as_deref(), Some(shortest), "{typed}");
        }
        let longer: Vec<_> = texts(&Pattern::new("a+b{0,2}").unwrap()).take(3).collect();
        assert_eq!(longer, ["ab", "aabb", "aaabb"]);
    }

    #[test]
    fn one_that_nothing_fits_gets_no_text_that_does() {
        for typed in ["a\\bb", "((((a+b)+b)+b)+b)+\\bb"] {
            let pattern = Pattern::new(typed).unwrap();
            assert!(!texts(&pattern).any(|text| pattern.fits(&text)), "{typed}");
        }
    }
}
