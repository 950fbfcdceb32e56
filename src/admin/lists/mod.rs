//! Answers that only look: lists and single things.
//!
//! Long lists are read in pages, each in a short read of its own. Rows are sent when the read is over: whoever reads them
//! slowly (somebody pages through them) keeps nothing of the file from being used again.

mod bookings;
mod deliveries;
mod flows;
mod jobs;
mod leads;
mod submissions;

use serde::Serialize;
use serde_json::Value;

use crate::domain::time::Timestamp;
use crate::store::{Listed, Snapshot, StoreError};

use super::desk::{Desk, Names, Out};
use super::protocol::{AdminError, Filter};
use super::views::{RowKey, Seen, Unreadable};

pub(super) use bookings::{booking, bookings, no_booking, slots};
pub(super) use deliveries::{deliveries, delivery, delivery_views, no_delivery};
pub(super) use flows::{complaints, flows};
pub(super) use jobs::{dead_letter, dead_letters, each_dead_letter, job, jobs, no_letter};
pub(super) use leads::{agents, lead, leads, no_lead};
pub(super) use submissions::{drafts, submission, submissions};

/// Rows read at once, unless they are large.
pub(super) const PAGE: usize = 500;

/// What a list makes of one stored row.
enum Pick<T> {
    /// It belongs to the list.
    Take(T),
    /// It does not.
    Leave,
    /// It does not, and nothing behind it will.
    Stop,
}

impl<T> Pick<T> {
    /// `row`, if it is wanted.
    fn when(wanted: bool, row: impl FnOnce() -> T) -> Self {
        if wanted { Self::Take(row()) } else { Self::Leave }
    }
}

/// Walks a list newest first, page by page: `pick` chooses while the page is read, `send` gets what was chosen when it is
/// over, and says whether to go on. A row that can't be read is shown as that: it keeps nobody from the others.
fn walk<L: Listed, T>(
    desk: &Desk,
    mut pick: impl FnMut(&Snapshot, &Names, L::Id, L) -> Result<Pick<T>, StoreError>,
    mut send: impl FnMut(Seen<T>) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let (mut before, mut more) = (None, true);
    while more {
        let mut picked = Vec::new();
        {
            let read = desk.read()?;
            let names = Names::default();
            let rows = read.list::<L>(before, PAGE)?;
            more = !rows.is_empty();
            for (number, stored) in rows {
                before = Some(number);
                match stored.and_then(|stored| pick(&read, &names, L::id(number), stored)) {
                    Ok(Pick::Take(row)) => picked.push(Seen::Row(row)),
                    Ok(Pick::Leave) => {}
                    Ok(Pick::Stop) => {
                        more = false;
                        break;
                    }
                    Err(error) if error.is_of_one_change() => {
                        picked.push(Seen::Unreadable(Unreadable::new(RowKey::Id(number), &error)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for row in picked {
            if !send(row)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Sends rows until there are enough.
struct Counted<'a, 'b> {
    out: &'a mut Out<'b>,
    left: usize,
}

impl<'a, 'b> Counted<'a, 'b> {
    fn new(limit: usize, out: &'a mut Out<'b>) -> Self {
        Self { out, left: limit }
    }

    /// False: enough, or nobody reads.
    fn send(&mut self, row: impl Serialize) -> Result<bool, AdminError> {
        let value = value(row)?;
        self.left = self.left.saturating_sub(1);
        Ok((self.out)(value) && self.left > 0)
    }
}

fn is_before(filter: &Filter, at: Timestamp) -> bool {
    filter.since.is_some_and(|since| at < since)
}

fn fits<T: ?Sized + PartialEq<str>>(wanted: Option<&str>, found: &T) -> bool {
    wanted.is_none_or(|wanted| *found == *wanted)
}

/// A state that a list may be filtered by.
fn known_state(filter: &Filter, known: &[&str]) -> Result<(), AdminError> {
    match &filter.state {
        Some(state) if !known.contains(&state.as_str()) => {
            Err(AdminError::invalid(format!("there is no state {state:?} here: use one of {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

/// The object of a single thing, with what only its own page shows.
pub(super) fn whole(
    row: impl Serialize,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<Value, AdminError> {
    let mut whole = value(row)?;
    if let Value::Object(fields) = &mut whole {
        fields.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(whole)
}

pub(super) fn value(row: impl Serialize) -> Result<Value, AdminError> {
    serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))
}
