//! Formats numbers, dates and times in the language and the time zone of a page.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::texts::{CommonTexts, fill};
use crate::domain::time::Timestamp;

const MINUTE_SECONDS: u64 = 60;
const HOUR_SECONDS: u64 = 60 * MINUTE_SECONDS;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

/// Formats the digits of a whole number with separators of thousands.
pub(super) fn number(texts: &CommonTexts, digits: &str) -> String {
    let mut formatted = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            formatted.push_str(texts.thousands);
        }
        formatted.push(digit);
    }
    formatted
}

/// Formats a date with its weekday. Dates of another year than `today` also show their year.
pub(super) fn date(texts: &CommonTexts, date: Date, today: Date) -> String {
    let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
    let month = usize::try_from(date.month().saturating_sub(1)).unwrap_or(0);
    let pattern = if date.year() == today.year() {
        texts.date
    } else {
        texts.date_with_year
    };
    let named = |names: &[&'static str], at: usize| names.get(at).copied().unwrap_or_default();
    pattern
        .replace("{weekday}", named(&texts.weekdays, weekday))
        .replace("{day}", &date.day().to_string())
        .replace("{month}", named(&texts.months, month))
        .replace("{year}", &date.year().to_string())
}

/// Formats a date as today, tomorrow or yesterday, or else as a date.
pub(super) fn near_date(texts: &CommonTexts, day: Date, today: Date) -> String {
    if day == today {
        texts.today.to_owned()
    } else if today.tomorrow().is_ok_and(|tomorrow| day == tomorrow) {
        texts.tomorrow.to_owned()
    } else if today.yesterday().is_ok_and(|yesterday| day == yesterday) {
        texts.yesterday.to_owned()
    } else {
        date(texts, day, today)
    }
}

/// Formats the time of day, with hours and minutes.
pub(super) fn clock_time(at: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(at.to_jiff()).strftime("%H:%M").to_string()
}

/// Formats a point in time as day and time.
pub(super) fn day_and_time(
    texts: &CommonTexts,
    at: Timestamp,
    now: Timestamp,
    zone: &TimeZone,
) -> String {
    let day = local_date(at, zone);
    let today = local_date(now, zone);
    format!("{} {}", near_date(texts, day, today), clock_time(at, zone))
}

/// Formats a point in the past as the time since then, up to one week. Older points are dates.
pub(super) fn age(texts: &CommonTexts, at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let seconds = now.since(at).get() / 1000;
    let (pattern, unit) = match seconds {
        0..MINUTE_SECONDS => return texts.just_now.to_owned(),
        MINUTE_SECONDS..HOUR_SECONDS => (texts.minutes_ago, MINUTE_SECONDS),
        HOUR_SECONDS..DAY_SECONDS => (texts.hours_ago, HOUR_SECONDS),
        _ if seconds < 2 * DAY_SECONDS => return texts.yesterday.to_owned(),
        _ if seconds < 7 * DAY_SECONDS => (texts.days_ago, DAY_SECONDS),
        _ => return date(texts, local_date(at, zone), local_date(now, zone)),
    };
    fill(pattern, &[&(seconds / unit).to_string()])
}

/// Returns the date of a point in time.
pub(super) fn local_date(at: Timestamp, zone: &TimeZone) -> Date {
    zone.to_datetime(at.to_jiff()).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::texts::Language;
    use crate::domain::time::Millis;

    fn common(language: Language) -> &'static CommonTexts {
        &language.texts().common
    }

    #[test]
    fn numbers_have_separators() {
        for (value, english, german) in [
            ("0", "0", "0"),
            ("999", "999", "999"),
            ("1000", "1,000", "1.000"),
            ("1234567", "1,234,567", "1.234.567"),
        ] {
            assert_eq!(number(common(Language::English), value), english);
            assert_eq!(number(common(Language::German), value), german);
        }
    }

    #[test]
    fn dates_are_named_in_each_language() {
        let today = jiff::civil::date(2026, 12, 1);
        let day = jiff::civil::date(2026, 11, 24);
        let next = jiff::civil::date(2027, 3, 1);
        for (language, this_year, next_year) in [
            (Language::English, "Tue 24 Nov", "Mon 1 Mar 2027"),
            (Language::German, "Di, 24. Nov.", "Mo, 1. März 2027"),
            (Language::Spanish, "mar 24 nov", "lun 1 mar 2027"),
            (
                Language::Portuguese,
                "ter., 24 de nov.",
                "seg., 1 de mar. de 2027",
            ),
        ] {
            let texts = common(language);
            assert_eq!(date(texts, day, today), this_year);
            assert_eq!(date(texts, next, today), next_year);
        }
        let texts = common(Language::English);
        assert_eq!(near_date(texts, today, today), "Today");
        assert_eq!(
            near_date(texts, today.tomorrow().unwrap(), today),
            "Tomorrow"
        );
        assert_eq!(
            near_date(texts, today.yesterday().unwrap(), today),
            "Yesterday"
        );
        assert_eq!(near_date(texts, day, today), "Tue 24 Nov");
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = Timestamp::from_jiff("2026-12-01T22:30:00Z".parse().unwrap());
        let texts = common(Language::English);
        assert_eq!(clock_time(now, &zone), "23:30");
        let later = now.plus(Millis::from_secs(3600));
        assert_eq!(day_and_time(texts, later, now, &zone), "Tomorrow 00:30");
        for (seconds, shown) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 min ago"),
            (7199, "1 h ago"),
            (90_000, "Yesterday"),
            (200_000, "2 days ago"),
            (700_000, "Mon 23 Nov"),
        ] {
            let at = now.minus(Millis::from_secs(seconds));
            assert_eq!(age(texts, at, now, &zone), shown, "{seconds}");
        }
    }
}
