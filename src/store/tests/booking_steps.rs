//! Steps of the model test of bookings, and its model: plain lists of slots, forms and drafts.
//!
//! `bookings_model` applies the steps to a store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::ids::JobId;
use crate::domain::time::{Millis, Timestamp};

use super::purge_rounds::hours;

pub const HOUR: u64 = 60 * 60 * 1000;
pub const CAPACITY: u32 = 2;
pub const CAPACITY_USIZE: usize = 2;
pub const RETENTION: Millis = hours(6);

/// Step of the test. Numbers select among the existing rows.
#[derive(Clone, Debug)]
pub enum Step {
    /// Books this time. `true` if the customer can choose again.
    Book(RequestedTime, bool),
    Cancel(u8),
    /// Moves a booking to this time.
    Move(u8, RequestedTime),
    /// Saves a screen of this token, with this answer.
    SaveScreen(u8, u8),
    SubmitLastScreen(u8),
    Finish,
    WaitHours(u8),
    Purge,
    Restart,
}

/// Requested time: `half` half-hours after nine on one of the days.
#[derive(Clone, Copy, Debug)]
pub struct RequestedTime {
    pub long: bool,
    pub day: u8,
    pub half: u8,
}

fn requested_time() -> impl Strategy<Value = RequestedTime> {
    (any::<bool>(), 24..27u8, 0..6u8).prop_map(|(long, day, half)| RequestedTime {
        long,
        day,
        half,
    })
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (requested_time(), any::<bool>()).prop_map(|(time, again)| Step::Book(time, again)),
        2 => (0..20u8).prop_map(Step::Cancel),
        4 => (0..20u8, requested_time()).prop_map(|(booking, time)| Step::Move(booking, time)),
        2 => (0..4u8, 0..3u8).prop_map(|(token, answer)| Step::SaveScreen(token, answer)),
        1 => (0..4u8).prop_map(Step::SubmitLastScreen),
        4 => Just(Step::Finish),
        1 => (1..20u8).prop_map(Step::WaitHours),
        2 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Reserved interval: first millisecond, first millisecond after it, and `true` if its booking is
/// confirmed.
#[derive(Clone, Copy, Debug)]
pub struct ReservedSlot {
    pub start: u64,
    pub end: u64,
    pub is_confirmed: bool,
}

/// Submission of the model, with its job and booking.
#[derive(Clone, Copy, Debug)]
pub struct StoredForm {
    /// Time at which the job finished. A purge that can't remove the submission yet sets a later
    /// time, and checks it again after [`RETENTION`].
    pub at: Timestamp,
    pub job: JobId,
    pub booking: Option<u64>,
    pub is_over: bool,
}

#[derive(Default)]
pub struct Model {
    pub forms: u64,
    pub reserved: BTreeMap<u64, ReservedSlot>,
    pub stored: BTreeMap<u64, StoredForm>,
    /// Token → time of the last change, and the answers.
    pub drafts: BTreeMap<u8, (Timestamp, BTreeMap<String, u8>)>,
    /// Submitted tokens → time of the submission. The store finds a token for one day.
    pub sent: BTreeMap<u8, Timestamp>,
}

impl Model {
    /// Returns `true` if no place is left. Counts minute by minute, which would be too slow in the
    /// store.
    pub fn is_full(&self, start: u64, end: u64, except: Option<u64>) -> bool {
        (start..end).step_by(60_000).any(|minute| {
            let overlapping = self.reserved.iter().filter(|(id, slot)| {
                slot.is_confirmed
                    && Some(**id) != except
                    && (slot.start..slot.end).contains(&minute)
            });
            overlapping.count() >= CAPACITY_USIZE
        })
    }

    pub fn is_sent(&self, token: u8, now: Timestamp) -> bool {
        self.sent
            .get(&token)
            .is_some_and(|at| now.since(*at).get() < 24 * HOUR)
    }

    pub fn choose(&self, choice: u8) -> Option<u64> {
        self.reserved
            .keys()
            .nth(usize::from(choice).checked_rem(self.reserved.len())?)
            .copied()
    }

    /// Removes the rows that a whole retention round removes.
    pub fn purge(&mut self, now: Timestamp) {
        let before = now.minus(RETENTION);
        let mut gone = Vec::new();
        for (id, stored) in self
            .stored
            .iter_mut()
            .filter(|(_, stored)| stored.is_over && stored.at < before)
        {
            let slot = stored.booking.map(|id| self.reserved[&id]);
            if slot.is_none_or(|slot| !slot.is_confirmed || slot.end < now.as_millis()) {
                gone.push(*id);
            } else {
                stored.at = now.minus(Millis::new(1));
            }
        }
        for id in gone {
            if let Some(booking) = self.stored.remove(&id).and_then(|stored| stored.booking) {
                self.reserved.remove(&booking);
            }
        }
        self.drafts.retain(|_, (at, _)| *at >= before);
    }
}
