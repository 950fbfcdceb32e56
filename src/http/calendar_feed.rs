//! Handles `GET /ical/SECRET.ics`, the calendar feed of a calendar or of an agent.
//!
//! The feed is read in pages, each in its own snapshot. Between two pages other requests run. See
//! [`crate::domain::calendar_feed`] for the file.

use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::request::RequestContext;
use super::response::{self, HttpError, HttpResponse};
use crate::domain::booking::{Booking, BookingState};
use crate::domain::calendar_feed::{
    FEED_EVENTS_MAX, FEED_PAST, Feed, FeedEvent, FeedSecret, FeedTarget, render_feed,
};
use crate::domain::ids::BookingId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;
use crate::store::{Snapshot, Store, StoreError, StoreResult};

/// Number of bookings in a page.
const PAGE_ROWS: usize = 500;
/// Names of answers that contain the name of the customer, most likely first.
const NAME_FIELDS: [&str; 5] = [
    "name",
    "full_name",
    "fullname",
    "customer_name",
    "first_name",
];

/// Returns the feed, or 304 if the program has the current one.
pub(super) async fn handle_get(
    context: &mut RequestContext<'_>,
    secret: &FeedSecret,
    headers: &HeaderMap,
) -> Result<HttpResponse, HttpError> {
    context.log.outcome = "feed";
    let (store, now) = (&context.app.store, context.app.clock.now());
    let feed = store.read_with(|snapshot| snapshot.feed(secret));
    let Some(feed) = feed.map_err(|_| HttpError::CommitFailed)? else {
        return Err(HttpError::NotFound);
    };
    let events = read_events(store, &feed, now).await;
    let events = events.map_err(|error| {
        tracing::error!(error = %error, "calendar feed can't be read");
        HttpError::CommitFailed
    })?;
    let body = render_feed(feed.target.name(), &events);
    let etag = etag_of(&body);
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|value| value.to_str().ok());
    let is_known = known.any(|value| value.contains(&etag));
    let status = if is_known {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let mut answer = response::calendar(status, if is_known { String::new() } else { body });
    let headers = answer.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=300"),
    );
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    Ok(answer)
}

/// Returns the quoted tag of a body.
fn etag_of(body: &str) -> String {
    let hash = Sha256::new_with_prefix(body.as_bytes());
    format!("\"{}\"", IdempotencyKey::from_hash(hash))
}

/// Reads the bookings of a feed in order of their start.
async fn read_events(store: &Store, feed: &Feed, now: Timestamp) -> StoreResult<Vec<FeedEvent>> {
    let oldest = now.minus(FEED_PAST);
    let (mut events, mut before) = (Vec::new(), None);
    while events.len() < FEED_EVENTS_MAX {
        let page = store.read_with(|snapshot| read_page(&snapshot, feed, oldest, before))?;
        events.extend(page.events);
        before = page.last;
        if before.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    events.truncate(FEED_EVENTS_MAX);
    events.sort_by(|one, other| (one.starts_at, &one.uid).cmp(&(other.starts_at, &other.uid)));
    Ok(events)
}

struct FeedPage {
    events: Vec<FeedEvent>,
    /// Number of the last booking of the page. `None` after the last page.
    last: Option<u64>,
}

fn read_page(
    snapshot: &Snapshot,
    feed: &Feed,
    oldest: Timestamp,
    before: Option<u64>,
) -> StoreResult<FeedPage> {
    let rows = snapshot.list_rows::<Booking>(before, PAGE_ROWS)?;
    let last = rows.last().map(|(number, _)| *number);
    let mut events = Vec::new();
    for (number, booking) in rows {
        let event = booking.and_then(|booking| {
            if booking.end < oldest || !is_of_target(snapshot, feed, &booking)? {
                return Ok(None);
            }
            feed_event(snapshot, BookingId::new(number), &booking).map(Some)
        });
        match event {
            Ok(event) => events.extend(event),
            // One unreadable row must not hide the other bookings.
            Err(error) if is_one_row(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(FeedPage { events, last })
}

const fn is_one_row(error: &StoreError) -> bool {
    matches!(error, StoreError::Row { .. })
}

fn is_of_target(snapshot: &Snapshot, feed: &Feed, booking: &Booking) -> StoreResult<bool> {
    let wanted = match &feed.target {
        FeedTarget::Calendar(name) => return Ok(booking.calendar == *name),
        FeedTarget::Agent(name) => name,
    };
    let Some(agent) = snapshot.agent_of_submission(booking.submission_id)? else {
        return Ok(false);
    };
    let agent = snapshot.agent(agent)?;
    Ok(agent.is_some_and(|agent| !agent.is_removed && agent.name == *wanted))
}

fn feed_event(snapshot: &Snapshot, id: BookingId, booking: &Booking) -> StoreResult<FeedEvent> {
    let submission = snapshot.submission(booking.submission_id)?;
    let data = submission.map(|stored| stored.submission.data);
    let answers: Value = data
        .and_then(|data| serde_json::from_str(&data).ok())
        .unwrap_or_default();
    let customer = snapshot.current_customer(booking.submission_id)?;
    let customer = customer.unwrap_or_default();
    let phone = customer.phone.as_deref().map(|phone| format!("+{phone}"));
    let name = NAME_FIELDS
        .iter()
        .find_map(|field| answers.get(field).and_then(Value::as_str))
        .map(str::to_owned);
    let summary = name.or_else(|| phone.clone());
    let mut facts: Vec<String> = phone
        .map(|phone| format!("phone: {phone}"))
        .into_iter()
        .collect();
    for (field, value) in answers.as_object().into_iter().flatten() {
        facts.push(format!("{field}: {}", display_answer(value)));
    }
    facts.push(format!("booking: {id}"));
    Ok(FeedEvent {
        uid: format!("booking-{id}-{}@flowgate", booking.created_at.as_millis()),
        starts_at: booking.start,
        ends_at: booking.end,
        changed_at: booking.changed_at(),
        revision: booking.revision(),
        is_cancelled: booking.state == BookingState::Cancelled,
        summary: summary.unwrap_or_else(|| format!("Booking {id}")),
        description: facts.join("\n"),
    })
}

fn display_answer(value: &Value) -> String {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string())
}
