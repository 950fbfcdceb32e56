//! Defines calendar feeds: bookings as an iCalendar file (RFC 5545) under a secret address.
//!
//! Calendar programs fetch a feed again and again without a login. So the address contains a
//! secret, and only a hash of the secret is stored.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex::to_hex;
use super::ids::{AgentName, CalendarName};
use super::time::{Millis, Timestamp};

/// Path of a feed, without the secret.
pub const FEED_PATH: &str = "/ical/";
/// End of the path of a feed.
pub const FEED_SUFFIX: &str = ".ics";
/// Age of the oldest booking in a feed.
pub const FEED_PAST: Millis = Millis::from_secs(30 * 24 * 60 * 60);
/// Maximum number of bookings in a feed. Calendar programs refuse larger files.
pub const FEED_EVENTS_MAX: usize = 5000;
/// Maximum bytes of a line without its end (RFC 5545, 3.1).
const LINE_BYTES_MAX: usize = 75;

/// Bookings that a feed shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedTarget {
    /// All bookings of a calendar.
    Calendar(CalendarName),
    /// Bookings whose lead has this agent.
    Agent(AgentName),
}

/// Feed as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Bookings of the feed.
    pub target: FeedTarget,
    /// Hash of the secret.
    pub secret_hash: [u8; 32],
    /// Time when the address was made.
    pub created_at: Timestamp,
}

/// Secret in the address of a feed.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedSecret(String);

impl FeedSecret {
    /// Creates a secret from random bytes.
    #[must_use]
    pub fn new(random: [u8; 20]) -> Self {
        Self(to_hex(&random))
    }

    /// Returns the secret in the path of a request. Returns `None` if the path is of no feed.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let secret = path.strip_prefix(FEED_PATH)?.strip_suffix(FEED_SUFFIX)?;
        Some(Self(secret.to_owned()))
    }

    /// Returns the path of the feed.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{FEED_PATH}{}{FEED_SUFFIX}", self.0)
    }

    /// Returns the hash that is stored.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl FeedTarget {
    /// Returns the name of the calendar or agent.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Calendar(name) => name.as_str(),
            Self::Agent(name) => name.as_str(),
        }
    }
}

/// Booking in a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// ID of the event. The same booking has the same ID in every feed, also after a move.
    pub uid: String,
    /// Start of the appointment.
    pub starts_at: Timestamp,
    /// End of the occupied time.
    pub ends_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
    /// Number of changes since the reservation. A calendar program ignores an event with a lower
    /// number than the one it knows (RFC 5545, 3.8.7.4).
    pub revision: u32,
    /// `true` if the booking is cancelled.
    pub is_cancelled: bool,
    /// Title in one line.
    pub summary: String,
    /// Details, with a line for each fact.
    pub description: String,
}

/// Renders a feed as an iCalendar file.
#[must_use]
pub fn render_feed(name: &str, events: &[FeedEvent]) -> String {
    let mut file = String::new();
    push_line(&mut file, "BEGIN:VCALENDAR");
    push_line(&mut file, "VERSION:2.0");
    push_line(&mut file, "PRODID:-//flowgate//flowgate//EN");
    push_line(&mut file, "CALSCALE:GREGORIAN");
    push_line(&mut file, "METHOD:PUBLISH");
    push_line(&mut file, &format!("X-WR-CALNAME:{}", escape_text(name)));
    push_line(&mut file, "REFRESH-INTERVAL;VALUE=DURATION:PT15M");
    for event in events {
        push_event(&mut file, event);
    }
    push_line(&mut file, "END:VCALENDAR");
    file
}

fn push_event(file: &mut String, event: &FeedEvent) {
    let changed_at = utc_time(event.changed_at);
    let status = if event.is_cancelled {
        "CANCELLED"
    } else {
        "CONFIRMED"
    };
    push_line(file, "BEGIN:VEVENT");
    push_line(file, &format!("UID:{}", escape_text(&event.uid)));
    push_line(file, &format!("DTSTAMP:{changed_at}"));
    push_line(file, &format!("LAST-MODIFIED:{changed_at}"));
    push_line(file, &format!("SEQUENCE:{}", event.revision));
    push_line(file, &format!("DTSTART:{}", utc_time(event.starts_at)));
    push_line(file, &format!("DTEND:{}", utc_time(event.ends_at)));
    push_line(file, &format!("STATUS:{status}"));
    push_line(file, &format!("SUMMARY:{}", escape_text(&event.summary)));
    let description = escape_text(&event.description);
    push_line(file, &format!("DESCRIPTION:{description}"));
    push_line(file, "END:VEVENT");
}

/// Adds a line. A long line continues on the next one, which begins with a space.
fn push_line(file: &mut String, line: &str) {
    let mut length = 0;
    for c in line.chars() {
        if length + c.len_utf8() > LINE_BYTES_MAX {
            file.push_str("\r\n ");
            length = 1;
        }
        file.push(c);
        length += c.len_utf8();
    }
    file.push_str("\r\n");
}

/// Escapes a text value. Control characters, which no value may contain, are removed.
fn escape_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

fn utc_time(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(summary: &str) -> FeedEvent {
        FeedEvent {
            uid: "booking-1@flowgate".to_owned(),
            starts_at: Timestamp::from_millis(1_795_507_200_000),
            ends_at: Timestamp::from_millis(1_795_510_800_000),
            changed_at: Timestamp::from_millis(1_795_500_000_000),
            revision: 0,
            is_cancelled: false,
            summary: summary.to_owned(),
            description: "phone: 1\nnote: a,b;c\\d".to_owned(),
        }
    }

    #[test]
    fn feed_is_an_icalendar_file() {
        let cancelled = FeedEvent {
            revision: 1,
            is_cancelled: true,
            ..event("Bob\r")
        };
        let file = render_feed("chair", &[event("Ann"), cancelled]);
        assert!(file.split("\r\n").all(|line| !line.contains(['\r', '\n'])));
        insta::assert_snapshot!(file.replace("\r\n", "\n"), @r"
        BEGIN:VCALENDAR
        VERSION:2.0
        PRODID:-//flowgate//flowgate//EN
        CALSCALE:GREGORIAN
        METHOD:PUBLISH
        X-WR-CALNAME:chair
        REFRESH-INTERVAL;VALUE=DURATION:PT15M
        BEGIN:VEVENT
        UID:booking-1@flowgate
        DTSTAMP:20261124T060000Z
        LAST-MODIFIED:20261124T060000Z
        SEQUENCE:0
        DTSTART:20261124T080000Z
        DTEND:20261124T090000Z
        STATUS:CONFIRMED
        SUMMARY:Ann
        DESCRIPTION:phone: 1\nnote: a\,b\;c\\d
        END:VEVENT
        BEGIN:VEVENT
        UID:booking-1@flowgate
        DTSTAMP:20261124T060000Z
        LAST-MODIFIED:20261124T060000Z
        SEQUENCE:1
        DTSTART:20261124T080000Z
        DTEND:20261124T090000Z
        STATUS:CANCELLED
        SUMMARY:Bob
        DESCRIPTION:phone: 1\nnote: a\,b\;c\\d
        END:VEVENT
        END:VCALENDAR
        ");
    }

    #[test]
    fn long_line_is_folded_between_characters() {
        let summary = "é".repeat(200);
        let file = render_feed("chair", &[event(&summary)]);
        assert!(file.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX));
        assert!(file.replace("\r\n ", "").contains(&summary));
    }

    #[test]
    fn secret_is_in_the_path_and_only_its_hash_is_stored() {
        let secret = FeedSecret::new([7; 20]);
        let path = secret.path();
        assert_eq!(path, format!("/ical/{}.ics", "07".repeat(20)));
        assert_eq!(FeedSecret::from_path(&path).unwrap().hash(), secret.hash());
        assert_ne!(FeedSecret::new([8; 20]).hash(), secret.hash());
        for other in ["/ical/", "/ical/x", "/ics/x.ics", "/x.ics"] {
            assert!(FeedSecret::from_path(other).is_none(), "{other}");
        }
    }
}
