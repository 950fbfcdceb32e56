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
use crate::domain::booking::calendar::{Calendar, CalendarSpec};
use crate::domain::ids::{BookingId, Customer};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::{InboundSubmission, SlotRequest};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    AcceptOutcome, BookingOutcome, CancelBooking, DraftOutcome, MoveBooking, StoredSubmission,
};

use super::booking_forms::{booking_form, calendar_spec};
use super::booking_steps::{
    CAPACITY, CAPACITY_USIZE, HOUR, Model, RETENTION, RequestedTime, ReservedSlot, Step,
    StoredForm, steps,
};
use super::customer_forms::new_submission;
use super::purge_rounds::hours;
use super::support::{START, StoreBench, draft, form, rows, token_key};

/// Test fixture: a store, and the calendar in two versions of the config.
struct BookingFixture {
    bench: StoreBench,
    long: Arc<Calendar>,
    short: Arc<Calendar>,
}

fn calendar(slot_minutes: u64, buffer_minutes: u64) -> Arc<Calendar> {
    let calendar = Calendar::new(CalendarSpec {
        slot_length: Millis::from_secs(slot_minutes * 60),
        buffer: Millis::from_secs(buffer_minutes * 60),
        capacity: CAPACITY,
        ..calendar_spec("chair")
    });
    Arc::new(calendar.unwrap())
}

impl BookingFixture {
    fn new() -> Self {
        Self {
            bench: StoreBench::new(),
            long: calendar(60, 0),
            short: calendar(30, 15),
        }
    }

    fn now(&self) -> Timestamp {
        self.bench.clock.now()
    }

    fn slot_request(&self, requested: RequestedTime) -> SlotRequest {
        let RequestedTime { long, day, half } = requested;
        let calendar = if long { &self.long } else { &self.short };
        let time = format!("{:02}:{:02}", 9 + half / 2, half % 2 * 30);
        SlotRequest {
            calendar: Arc::clone(calendar),
            date: format!("2026-11-{day}").parse().unwrap(),
            time: time.parse().unwrap(),
        }
    }

    /// Returns the interval that a request would reserve, if the calendar offers it and the model
    /// has a place left. The booking `except` does not count.
    ///
    /// The rules of the calendar have their own tests.
    fn free_interval(
        &self,
        model: &Model,
        request: &SlotRequest,
        except: Option<u64>,
    ) -> Option<ReservedSlot> {
        let mut slots = request.calendar.available_starts(request.date, self.now());
        let slot = slots.find(|slot| slot.time == request.time)?;
        let midnight = START.as_millis() - 8 * HOUR;
        let day = u64::try_from(request.date.day()).unwrap() - 24;
        let minutes = u64::try_from(request.time.hour()).unwrap() * 60
            + u64::try_from(request.time.minute()).unwrap();
        let start = midnight + day * 24 * HOUR + minutes * 60_000;
        assert_eq!(slot.start.as_millis(), start);
        let is_long = Arc::ptr_eq(&request.calendar, &self.long);
        let end = start + if is_long { HOUR } else { HOUR * 3 / 4 };
        (!model.is_full(start, end, except)).then_some(ReservedSlot {
            start,
            end,
            is_confirmed: true,
        })
    }

    fn accept(
        &self,
        model: &mut Model,
        form: InboundSubmission,
        interval: Option<ReservedSlot>,
    ) -> AcceptOutcome {
        let accepted = self.bench.accept(form);
        if let AcceptOutcome::New {
            submission_id,
            job_id,
            booking_id,
        } = &accepted
        {
            let booking = booking_id.map(BookingId::get);
            let stored = StoredForm {
                at: self.now(),
                job: *job_id,
                booking,
                is_over: false,
            };
            model.stored.insert(submission_id.get(), stored);
            if let (Some(id), Some(slot)) = (booking, interval) {
                model.reserved.insert(id, slot);
            }
        }
        accepted
    }

    fn apply_step(&self, model: &mut Model, step: &Step) {
        match *step {
            Step::Book(requested, allows_new_choice) => {
                self.book(model, requested, allows_new_choice);
            }
            Step::Cancel(booking) => self.cancel(model, booking),
            Step::Move(booking, requested) => self.move_booking(model, booking, requested),
            Step::SaveScreen(token, answer) => self.save_screen(model, token, answer),
            Step::SubmitLastScreen(token) => self.submit_last_screen(model, token),
            Step::Finish => {
                if let Some(stored) = model.stored.values_mut().find(|stored| !stored.is_over) {
                    (stored.is_over, stored.at) = (true, self.now());
                    self.bench.finish_without_lead(stored.job);
                }
            }
            Step::WaitHours(count) => self.bench.clock.advance(hours(count.into())),
            Step::Purge => {
                self.bench.purge(3, RETENTION, RETENTION, Millis::MAX);
                model.purge(self.now());
            }
            Step::Restart => unreachable!("done by the caller, who owns the bench"),
        }
    }

    fn book(&self, model: &mut Model, requested: RequestedTime, allows_new_choice: bool) {
        let request = self.slot_request(requested);
        let interval = self.free_interval(model, &request, None);
        model.forms += 1;
        let time = request.time.strftime("%H:%M");
        let data = format!(r#"{{"date":"{}","time":"{time}"}}"#, request.date);
        let form = InboundSubmission {
            allows_new_choice,
            ..booking_form(&request.calendar, &format!("b{}", model.forms), &data)
        };
        match self.accept(model, form, interval) {
            AcceptOutcome::New { booking_id, .. } if interval.is_some() || !allows_new_choice => {
                assert_eq!(booking_id.is_some(), interval.is_some());
            }
            AcceptOutcome::SlotRefused { .. } if interval.is_none() && allows_new_choice => {}
            other => panic!("{other:?} for {interval:?}"),
        }
    }

    fn cancel(&self, model: &mut Model, booking: u8) {
        let Some(id) = model.choose(booking) else {
            return;
        };
        let booking_id = BookingId::new(id);
        let cancelled = self.bench.execute(CancelBooking { booking_id });
        let slot = model.reserved.get_mut(&id).unwrap();
        let is_updated = matches!(cancelled, BookingOutcome::Updated(_));
        assert_eq!(is_updated, slot.is_confirmed, "{cancelled:?}");
        slot.is_confirmed = false;
    }

    fn move_booking(&self, model: &mut Model, booking: u8, requested: RequestedTime) {
        let Some(id) = model.choose(booking) else {
            return;
        };
        let request = self.slot_request(requested);
        let interval = self.free_interval(model, &request, Some(id));
        let moved = self.bench.execute(MoveBooking {
            booking_id: BookingId::new(id),
            calendar: request.calendar,
            date: request.date,
            time: request.time,
        });
        match (moved, interval) {
            (BookingOutcome::Updated(_), Some(slot)) if model.reserved[&id].is_confirmed => {
                model.reserved.insert(id, slot);
            }
            (BookingOutcome::AlreadyCancelled, _) if !model.reserved[&id].is_confirmed => {}
            (BookingOutcome::SlotRefused { .. }, None) => {}
            other => panic!("{other:?}"),
        }
    }

    fn save_screen(&self, model: &mut Model, token: u8, answer: u8) {
        let data = format!("{{\"field-{answer}\":{answer}}}");
        let screen = draft(Some(&token_of(token)), Customer::default(), &data);
        let saved = self.bench.save_draft(draft_key(token), screen);
        let is_refused = saved == DraftOutcome::AlreadySubmitted;
        assert_eq!(is_refused, model.is_sent(token, self.now()), "{saved:?}");
        if saved == DraftOutcome::Saved {
            let (at, answers) = model.drafts.entry(token).or_default();
            *at = self.now();
            answers.insert(format!("field-{answer}"), answer);
        }
    }

    fn submit_last_screen(&self, model: &mut Model, token: u8) {
        if model.is_sent(token, self.now()) {
            return;
        }
        let last = InboundSubmission {
            draft_key: Some(draft_key(token)),
            ..form(&token_of(token), "{\"last\":9}")
        };
        let submission = new_submission(&self.accept(model, last, None));
        let (_, mut answers) = model.drafts.remove(&token).unwrap_or_default();
        answers.insert("last".to_owned(), 9);
        let stored = self.bench.submission(submission);
        let data: BTreeMap<String, u8> = serde_json::from_str(&stored.submission.data).unwrap();
        assert_eq!(data, answers);
        model.sent.insert(token, self.now());
    }

    fn assert_matches(&self, model: &Model) {
        self.bench.assert_invariants();
        let read = self.bench.read();
        let submissions = rows::<StoredSubmission>(&read);
        let found: Vec<u64> = submissions.iter().rev().map(|(id, _)| id.get()).collect();
        assert_eq!(found, model.stored.keys().copied().collect::<Vec<_>>());
        let bookings: BTreeMap<u64, Booking> = rows::<Booking>(&read)
            .into_iter()
            .map(|(id, booking)| (id.get(), booking))
            .collect();
        assert!(bookings.keys().eq(model.reserved.keys()), "{bookings:?}");
        for (booking, slot) in bookings.values().zip(model.reserved.values()) {
            let interval = (booking.start.as_millis(), booking.end.as_millis());
            assert_eq!(interval, (slot.start, slot.end), "{booking:?}");
        }
        let confirmed = || model.reserved.values().filter(|slot| slot.is_confirmed);
        let confirmed_count = u64::try_from(confirmed().count()).unwrap();
        assert_eq!(self.bench.counts().bookings_confirmed, confirmed_count);
        for minute in (START.as_millis()..START.as_millis() + 80 * HOUR).step_by(5 * 60_000) {
            let overlapping = confirmed().filter(|slot| slot.start <= minute && minute < slot.end);
            assert!(overlapping.count() <= CAPACITY_USIZE);
        }
        let drafts = read.drafts(None, |_| true).unwrap().0;
        let drafts: BTreeSet<IdempotencyKey> = drafts.into_iter().map(|(_, key)| key).collect();
        let expected = model.drafts.keys().map(|token| draft_key(*token));
        assert_eq!(drafts, expected.collect());
    }
}

fn token_of(number: u8) -> String {
    format!("d{number}")
}

fn draft_key(number: u8) -> IdempotencyKey {
    token_key(&token_of(number))
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
