//! Model test of bookings, drafts and retention, with plain lists as the model.
//!
//! No moment may have more bookings than the capacity of the calendar. A slot must be available
//! exactly if no booking overlaps it. A purge must remove all finished rows and no others.
//!
//! Two calendars with the same name represent a config before and after a change. Bookings of one
//! hour, and of half an hour with a buffer, share the same capacity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::clock::Clock;
use crate::domain::booking::Booking;
use crate::domain::booking::calendar::{Calendar, CalendarSpec, TimeRange};
use crate::domain::booking::slot_request::BookingSettings;
use crate::domain::ids::{BookingId, CalendarName, Customer, FlowToken, JobId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::{AbandonTimeouts, Draft};
use crate::domain::submission::inbound::{InboundSubmission, SlotRequest, SlotSelector};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    AcceptOutcome, BookingOutcome, CancelBooking, DraftOutcome, FinishJob, MoveBooking,
    PurgeCursor, PurgeSlice, SaveDraft, StoredSubmission,
};

use super::support::{START, StoreBench, attempt, flow, form, rows};

const HOUR: u64 = 60 * 60 * 1000;
const CAPACITY: u32 = 2;
const CAPACITY_USIZE: usize = 2;
const RETENTION: Millis = Millis::from_secs(6 * 60 * 60);

/// Step of the test. Numbers select among the existing rows.
#[derive(Clone, Debug)]
enum Step {
    Book {
        requested: RequestedTime,
        allows_new_choice: bool,
    },
    Cancel {
        booking: u8,
    },
    Move {
        booking: u8,
        requested: RequestedTime,
    },
    SaveScreen {
        token: u8,
        answer: u8,
    },
    SubmitLastScreen {
        token: u8,
    },
    Finish,
    Wait {
        hours: u8,
    },
    Purge,
    Restart,
}

/// Requested time: `half` half-hours after nine on one of the days.
#[derive(Clone, Copy, Debug)]
struct RequestedTime {
    long: bool,
    day: u8,
    half: u8,
}

fn requested_time() -> impl Strategy<Value = RequestedTime> {
    (any::<bool>(), 24..27u8, 0..6u8).prop_map(|(long, day, half)| RequestedTime {
        long,
        day,
        half,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (requested_time(), any::<bool>()).prop_map(|(requested, allows_new_choice)| Step::Book { requested, allows_new_choice }),
        2 => (0..20u8).prop_map(|booking| Step::Cancel { booking }),
        4 => (0..20u8, requested_time()).prop_map(|(booking, requested)| Step::Move { booking, requested }),
        2 => (0..4u8, 0..3u8).prop_map(|(token, answer)| Step::SaveScreen { token, answer }),
        1 => (0..4u8).prop_map(|token| Step::SubmitLastScreen { token }),
        4 => Just(Step::Finish),
        1 => (1..20u8).prop_map(|hours| Step::Wait { hours }),
        2 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Reserved interval: first millisecond, first millisecond after it, and `true` if its booking is
/// confirmed.
#[derive(Clone, Copy, Debug)]
struct ReservedSlot {
    start: u64,
    end: u64,
    is_confirmed: bool,
}

/// Submission of the model, with its job and booking.
#[derive(Clone, Copy, Debug)]
struct StoredForm {
    /// Time at which the job finished. A purge that can't remove the submission yet sets a later
    /// time, and checks it again after [`RETENTION`].
    at: Timestamp,
    job: JobId,
    booking: Option<u64>,
    is_over: bool,
}

#[derive(Default)]
struct Model {
    forms: u64,
    reserved: BTreeMap<u64, ReservedSlot>,
    stored: BTreeMap<u64, StoredForm>,
    /// Token → time of the last change, and the answers.
    drafts: BTreeMap<u8, (Timestamp, BTreeMap<String, u8>)>,
    /// Submitted tokens → time of the submission. The store finds a token for one day.
    sent: BTreeMap<u8, Timestamp>,
}

impl Model {
    /// Returns `true` if no place is left. Counts minute by minute, which would be too slow in the
    /// store.
    fn is_full(&self, start: u64, end: u64, except: Option<u64>) -> bool {
        let others: Vec<_> = self
            .reserved
            .iter()
            .filter(|(id, slot)| slot.is_confirmed && Some(**id) != except)
            .map(|(_, slot)| slot)
            .collect();
        (start..end).step_by(60_000).any(|minute| {
            others
                .iter()
                .filter(|slot| slot.start <= minute && minute < slot.end)
                .count()
                >= CAPACITY_USIZE
        })
    }

    fn is_sent(&self, token: u8, now: Timestamp) -> bool {
        self.sent
            .get(&token)
            .is_some_and(|at| now.since(*at).get() < 24 * HOUR)
    }

    fn choose(&self, choice: u8) -> Option<u64> {
        self.reserved
            .keys()
            .nth(usize::from(choice).checked_rem(self.reserved.len())?)
            .copied()
    }
}

/// Test fixture: a store, and the calendar in two versions of the config.
struct BookingFixture {
    bench: StoreBench,
    long: Arc<Calendar>,
    short: Arc<Calendar>,
}

fn calendar(slot_minutes: u64, buffer_minutes: u64) -> Arc<Calendar> {
    let day = || vec![TimeRange::parse("09:00-12:00").unwrap()];
    let calendar = Calendar::new(CalendarSpec {
        name: CalendarName::new("chair").unwrap(),
        time_zone: jiff::tz::TimeZone::UTC,
        weekly_hours: std::array::from_fn(|_| day()),
        closed_dates: BTreeSet::new(),
        special_hours: BTreeMap::new(),
        slot_length: Millis::from_secs(slot_minutes * 60),
        buffer: Millis::from_secs(buffer_minutes * 60),
        capacity: CAPACITY,
        max_advance: Millis::from_secs(60 * 24 * 3600),
        min_notice: Millis::ZERO,
    });
    Arc::new(calendar.unwrap())
}

/// Slot selector that reads the slot from these two fields.
fn slot_selector_for(calendar: &Arc<Calendar>) -> SlotSelector {
    let settings = BookingSettings {
        calendar: calendar.name().clone(),
        date_field: "date".to_owned(),
        time_field: "time".to_owned(),
    };
    SlotSelector {
        settings,
        calendar: Arc::clone(calendar),
    }
}

impl BookingFixture {
    fn new() -> Self {
        let (long, short) = (calendar(60, 0), calendar(30, 15));
        Self {
            bench: StoreBench::new(),
            long,
            short,
        }
    }

    fn now(&self) -> Timestamp {
        self.bench.clock.now()
    }

    fn slot_request(&self, time_of_day: RequestedTime) -> SlotRequest {
        let calendar = Arc::clone(if time_of_day.long {
            &self.long
        } else {
            &self.short
        });
        let date = format!("2026-11-{}", time_of_day.day).parse().unwrap();
        let time = format!(
            "{:02}:{:02}",
            9 + time_of_day.half / 2,
            time_of_day.half % 2 * 30
        )
        .parse()
        .unwrap();
        SlotRequest {
            calendar,
            date,
            time,
        }
    }

    /// Returns the interval that a request would reserve, if the calendar offers it.
    ///
    /// The rules of the calendar have their own tests.
    fn offered_interval(&self, request: &SlotRequest) -> Option<(u64, u64)> {
        let slots = request
            .calendar
            .collect_available_starts(request.date, self.now());
        let slot = slots.into_iter().find(|slot| slot.time == request.time)?;
        let midnight = START.as_millis() - 8 * HOUR;
        let day = u64::try_from(request.date.day()).unwrap() - 24;
        let minutes = u64::try_from(request.time.hour()).unwrap() * 60
            + u64::try_from(request.time.minute()).unwrap();
        let start = midnight + day * 24 * HOUR + minutes * 60_000;
        assert_eq!(slot.start.as_millis(), start);
        let lasts = if Arc::ptr_eq(&request.calendar, &self.long) {
            HOUR
        } else {
            HOUR * 3 / 4
        };
        Some((start, start + lasts))
    }

    fn accept(
        &self,
        model: &mut Model,
        form: InboundSubmission,
        interval: Option<(u64, u64)>,
    ) -> AcceptOutcome {
        let accepted = self.bench.accept(form);
        if let AcceptOutcome::New {
            submission_id: submission,
            job_id: job,
            booking_id: booking,
        } = &accepted
        {
            let booking = booking.map(BookingId::get);
            model.stored.insert(
                submission.get(),
                StoredForm {
                    at: self.now(),
                    job: *job,
                    booking,
                    is_over: false,
                },
            );
            if let (Some(id), Some((start, end))) = (booking, interval) {
                model.reserved.insert(
                    id,
                    ReservedSlot {
                        start,
                        end,
                        is_confirmed: true,
                    },
                );
            }
        }
        accepted
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    fn apply_step(&self, model: &mut Model, step: &Step) {
        match *step {
            Step::Book {
                requested,
                allows_new_choice,
            } => {
                let requested = self.slot_request(requested);
                let interval = self
                    .offered_interval(&requested)
                    .filter(|(start, end)| !model.is_full(*start, *end, None));
                model.forms += 1;
                let data = format!(
                    r#"{{"date":"{}","time":"{:02}:{:02}"}}"#,
                    requested.date,
                    requested.time.hour(),
                    requested.time.minute()
                );
                let slot_selector = Some(slot_selector_for(&requested.calendar));
                let form = InboundSubmission {
                    slot_selector,
                    allows_new_choice,
                    ..form(&format!("b{}", model.forms), &data)
                };
                match (self.accept(model, form, interval), interval) {
                    (
                        AcceptOutcome::New {
                            booking_id: booking,
                            ..
                        },
                        interval,
                    ) if interval.is_some() || !allows_new_choice => {
                        assert_eq!(booking.is_some(), interval.is_some());
                    }
                    (AcceptOutcome::SlotRefused { .. }, None) if allows_new_choice => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Cancel { booking } => {
                let Some(id) = model.choose(booking) else {
                    return;
                };
                let cancelled = self
                    .bench
                    .store
                    .execute_blocking(CancelBooking {
                        booking_id: BookingId::new(id),
                    })
                    .unwrap();
                let slot = model.reserved.get_mut(&id).unwrap();
                assert_eq!(
                    matches!(cancelled, BookingOutcome::Updated(_)),
                    slot.is_confirmed,
                    "{cancelled:?}"
                );
                slot.is_confirmed = false;
            }
            Step::Move { booking, requested } => {
                let Some(id) = model.choose(booking) else {
                    return;
                };
                let requested = self.slot_request(requested);
                let interval = self
                    .offered_interval(&requested)
                    .filter(|(start, end)| !model.is_full(*start, *end, Some(id)));
                let SlotRequest {
                    calendar,
                    date,
                    time,
                } = requested;
                let moving = MoveBooking {
                    booking_id: BookingId::new(id),
                    calendar,
                    date,
                    time,
                };
                let moved = self.bench.store.execute_blocking(moving).unwrap();
                match (moved, interval) {
                    (BookingOutcome::Updated(_), Some((start, end)))
                        if model.reserved[&id].is_confirmed =>
                    {
                        model.reserved.insert(
                            id,
                            ReservedSlot {
                                start,
                                end,
                                is_confirmed: true,
                            },
                        );
                    }
                    (BookingOutcome::AlreadyCancelled, _) if !model.reserved[&id].is_confirmed => {}
                    (BookingOutcome::SlotRefused { .. }, None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::SaveScreen { token, answer } => {
                let data = format!("{{\"field-{answer}\":{answer}}}");
                let saved = self
                    .bench
                    .store
                    .execute_blocking(SaveDraft {
                        key: draft_key(token),
                        draft: draft(token, &data),
                        encrypted_request_key: None,
                        reject_resubmission: false,
                    })
                    .unwrap();
                assert_eq!(
                    saved == DraftOutcome::AlreadySubmitted,
                    model.is_sent(token, self.now()),
                    "{saved:?}"
                );
                if saved == DraftOutcome::Saved {
                    let (at, answers) = model.drafts.entry(token).or_default();
                    *at = self.now();
                    answers.insert(format!("field-{answer}"), answer);
                }
            }
            Step::SubmitLastScreen { token } => {
                if model.is_sent(token, self.now()) {
                    return;
                }
                let last = InboundSubmission {
                    draft_key: Some(draft_key(token)),
                    ..form(&format!("d{token}"), "{\"last\":9}")
                };
                let AcceptOutcome::New {
                    submission_id: submission,
                    ..
                } = self.accept(model, last, None)
                else {
                    panic!("a new one")
                };
                let (_, mut answers) = model.drafts.remove(&token).unwrap_or_default();
                answers.insert("last".to_owned(), 9);
                let stored = self
                    .bench
                    .store
                    .read()
                    .unwrap()
                    .submission(submission)
                    .unwrap()
                    .unwrap();
                let data: BTreeMap<String, u8> =
                    serde_json::from_str(&stored.submission.data).unwrap();
                assert_eq!(data, answers);
                model.sent.insert(token, self.now());
            }
            Step::Finish => {
                let Some(saved) = model.stored.values_mut().find(|saved| !saved.is_over) else {
                    return;
                };
                (saved.is_over, saved.at) = (true, self.bench.clock.now());
                self.bench
                    .store
                    .execute_blocking(FinishJob {
                        job_id: saved.job,
                        attempt: attempt(None),
                        lead: None,
                    })
                    .unwrap();
            }
            Step::Wait { hours } => self
                .bench
                .clock
                .advance(Millis::from_secs(3600 * u64::from(hours))),
            Step::Purge => {
                self.purge();
                model.purge(self.now());
            }
            Step::Restart => unreachable!("done by the caller, who owns the bench"),
        }
    }

    fn purge(&self) {
        let mut from = Some(PurgeCursor::Keys);
        while let Some(cursor) = from {
            let slice = PurgeSlice {
                cursor,
                max_rows: 3,
                submission_retention: RETENTION,
                attempt_retention: RETENTION,
                abandon_timeouts: AbandonTimeouts::default(),
            };
            from = self.bench.store.execute_blocking(slice).unwrap().next;
        }
    }

    fn assert_matches(&self, model: &Model) {
        self.bench.assert_invariants();
        let read = self.bench.store.read().unwrap();
        let submissions = rows::<StoredSubmission>(&read);
        let found: Vec<u64> = submissions.iter().rev().map(|(id, _)| id.get()).collect();
        assert_eq!(found, model.stored.keys().copied().collect::<Vec<_>>());
        let mut standing = BTreeMap::new();
        for (id, booking) in rows::<Booking>(&read) {
            let slot = model.reserved[&id.get()];
            assert_eq!(
                (booking.start.as_millis(), booking.end.as_millis()),
                (slot.start, slot.end),
                "{booking:?}"
            );
            standing.insert(id.get(), slot);
        }
        assert_eq!(
            standing.keys().collect::<Vec<_>>(),
            model.reserved.keys().collect::<Vec<_>>()
        );
        let confirmed = model
            .reserved
            .values()
            .filter(|slot| slot.is_confirmed)
            .count();
        assert_eq!(
            read.counts().unwrap().bookings_confirmed,
            u64::try_from(confirmed).unwrap()
        );
        for minute in (START.as_millis()..START.as_millis() + 80 * HOUR).step_by(5 * 60_000) {
            let overlapping = model
                .reserved
                .values()
                .filter(|slot| slot.is_confirmed && slot.start <= minute && minute < slot.end);
            assert!(overlapping.count() <= CAPACITY_USIZE);
        }
        let drafts: BTreeSet<IdempotencyKey> = read
            .drafts(None, |_| true)
            .unwrap()
            .0
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        assert_eq!(
            drafts,
            model.drafts.keys().map(|token| draft_key(*token)).collect()
        );
    }
}

impl Model {
    /// Removes the rows that a whole retention round removes.
    fn purge(&mut self, now: Timestamp) {
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

fn token(of: u8) -> FlowToken {
    FlowToken::new(&format!("d{of}")).unwrap()
}

fn draft_key(of: u8) -> IdempotencyKey {
    IdempotencyKey::for_draft(&flow(), Some(&token(of)), &Customer::default()).unwrap()
}

fn draft(of: u8, data: &str) -> Draft {
    Draft {
        flow: flow(),
        flow_token: Some(token(of)),
        customer: Customer::default(),
        screen: "FIRST".into(),
        data: data.into(),
        updated_at: START,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bookings_drafts_and_purge_match_the_model(steps in steps()) {
        let mut fixture = BookingFixture::new();
        let mut model = Model::default();
        for step in &steps {
            if matches!(step, Step::Restart) {
                fixture.bench = fixture.bench.reopen();
            } else {
                fixture.apply_step(&mut model, step);
            }
        }
        fixture.assert_matches(&model);
        fixture.bench = fixture.bench.reopen();
        fixture.assert_matches(&model);
    }
}
