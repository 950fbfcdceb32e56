//! Defines the rows of calendars and of their feeds.

use serde::{Deserialize, Serialize};

use crate::domain::booking::calendar::Calendar;
use crate::domain::calendar_feed::{Feed, FeedSecret, FeedTarget};
use crate::domain::ids::CalendarName;
use crate::domain::time::Timestamp;

/// Response row of a calendar.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CalendarRow {
    pub(crate) name: CalendarName,
    pub(crate) time_zone: Option<String>,
    pub(crate) capacity: u32,
    /// Time when the address of the feed was made. `None`: the calendar has no feed.
    pub(crate) feed_since: Option<Timestamp>,
}

impl CalendarRow {
    pub(crate) fn new(calendar: &Calendar, feeds: &[Feed]) -> Self {
        let target = FeedTarget::Calendar(calendar.name().clone());
        let feed = feeds.iter().find(|feed| feed.target == target);
        Self {
            name: calendar.name().clone(),
            time_zone: calendar.time_zone().iana_name().map(str::to_owned),
            capacity: calendar.capacity(),
            feed_since: feed.map(|feed| feed.created_at),
        }
    }
}

/// Result of a change of a feed.
#[derive(Debug, Serialize)]
pub(crate) struct FeedRow {
    #[serde(flatten)]
    target: FeedTarget,
    /// State: `active` or `revoked`.
    state: &'static str,
    /// Path of the feed on the public address of the server. The path contains the secret and is
    /// shown only once.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
}

impl FeedRow {
    pub(crate) fn created(feed: &Feed, secret: &FeedSecret) -> Self {
        Self {
            target: feed.target.clone(),
            state: "active",
            path: Some(secret.path()),
            created_at: Some(feed.created_at),
        }
    }

    pub(crate) fn revoked(target: &FeedTarget) -> Self {
        Self {
            target: target.clone(),
            state: "revoked",
            path: None,
            created_at: None,
        }
    }
}
