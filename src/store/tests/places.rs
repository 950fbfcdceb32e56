//! Bookings, forms in the making, and what time takes away, against a model made of plain lists: no moment is ever fuller
//! than the calendar allows, a place is free exactly when nothing stands there, and a sweep takes what is over and no more.
//!
//! Two calendars of one name stand for a config that was changed: bookings of an hour and of half an hour with a pause
//! behind it share the same chair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::clock::Clock;
use crate::domain::arrival::{Asks, Form, Wish};
use crate::domain::booking::Booking;
use crate::domain::booking_rule::BookingRule;
use crate::domain::calendar::{Calendar, CalendarSpec, Span};
use crate::domain::draft::{Draft, Patience};
use crate::domain::ids::{BookingId, CalendarName, Customer, FlowToken, JobId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    Accepted, BookingChanged, CancelBooking, DraftKept, Finish, KeepDraft, MoveBooking, Place, StoredSubmission, Sweep,
};

use super::support::{Bench, START, attempt, flow, form, rows};

const HOUR: u64 = 60 * 60 * 1000;
const CAPACITY: u32 = 2;
const PLACES: usize = 2;
const KEPT: Millis = Millis::from_secs(6 * 60 * 60);

/// What may happen. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Book { wish: Asked, answerable: bool },
    Cancel { booking: u8 },
    Move { booking: u8, wish: Asked },
    Screen { token: u8, answer: u8 },
    LastScreen { token: u8 },
    Finish,
    Wait { hours: u8 },
    Sweep,
    Restart,
}

/// A time on the chair's clock: `half` hours after nine on a day of the week.
#[derive(Clone, Copy, Debug)]
struct Asked {
    long: bool,
    day: u8,
    half: u8,
}

fn asked() -> impl Strategy<Value = Asked> {
    (any::<bool>(), 24..27u8, 0..6u8).prop_map(|(long, day, half)| Asked { long, day, half })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (asked(), any::<bool>()).prop_map(|(wish, answerable)| Step::Book { wish, answerable }),
        2 => (0..20u8).prop_map(|booking| Step::Cancel { booking }),
        4 => (0..20u8, asked()).prop_map(|(booking, wish)| Step::Move { booking, wish }),
        2 => (0..4u8, 0..3u8).prop_map(|(token, answer)| Step::Screen { token, answer }),
        1 => (0..4u8).prop_map(|token| Step::LastScreen { token }),
        4 => Just(Step::Finish),
        1 => (1..20u8).prop_map(|hours| Step::Wait { hours }),
        2 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A place: its first millisecond, the first one behind it, and whether its booking stands.
#[derive(Clone, Copy, Debug)]
struct Held {
    start: u64,
    end: u64,
    stands: bool,
}

/// A submission: when it came, its job and booking, whether the job is over.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// When its job ended, or as if it had ended: a sweep that can't take it yet looks again after [`KEPT`].
    at: Timestamp,
    job: JobId,
    booking: Option<u64>,
    over: bool,
}

#[derive(Default)]
struct Model {
    forms: u64,
    held: BTreeMap<u64, Held>,
    kept: BTreeMap<u64, Kept>,
    /// Token → when it last changed, and the answers so far.
    drafts: BTreeMap<u8, (Timestamp, BTreeMap<String, u8>)>,
    /// Tokens that were sent to the end, and when: a day later nobody remembers.
    sent: BTreeMap<u8, Timestamp>,
}

impl Model {
    /// Counted minute by minute, as nobody would in earnest.
    fn is_full(&self, start: u64, end: u64, except: Option<u64>) -> bool {
        let others: Vec<_> =
            self.held.iter().filter(|(id, held)| held.stands && Some(**id) != except).map(|(_, held)| held).collect();
        (start..end)
            .step_by(60_000)
            .any(|minute| others.iter().filter(|held| held.start <= minute && minute < held.end).count() >= PLACES)
    }

    fn is_sent(&self, token: u8, now: Timestamp) -> bool {
        self.sent.get(&token).is_some_and(|at| now.since(*at).get() < 24 * HOUR)
    }

    fn choose(&self, choice: u8) -> Option<u64> {
        self.held.keys().nth(usize::from(choice).checked_rem(self.held.len())?).copied()
    }
}

/// The model's own bench: a store, and the chair as two configs have it.
struct Salon {
    bench: Bench,
    long: Arc<Calendar>,
    short: Arc<Calendar>,
}

fn calendar(slot_minutes: u64, buffer_minutes: u64) -> Arc<Calendar> {
    let day = || vec![Span::parse("09:00-12:00").unwrap()];
    let calendar = Calendar::new(CalendarSpec {
        name: CalendarName::new("chair").unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        week: std::array::from_fn(|_| day()),
        closed: BTreeSet::new(),
        opened: BTreeMap::new(),
        slot: Millis::from_secs(slot_minutes * 60),
        buffer: Millis::from_secs(buffer_minutes * 60),
        capacity: CAPACITY,
        ahead: Millis::from_secs(60 * 24 * 3600),
        notice: Millis::ZERO,
    });
    Arc::new(calendar.unwrap())
}

/// A form that names its place by these two fields.
fn asks(calendar: &Arc<Calendar>) -> Asks {
    let rule = BookingRule { calendar: calendar.name().clone(), date: "date".to_owned(), time: "time".to_owned() };
    Asks { rule, calendar: Arc::clone(calendar) }
}

impl Salon {
    fn new() -> Self {
        let (long, short) = (calendar(60, 0), calendar(30, 15));
        Self { bench: Bench::new(), long, short }
    }

    fn now(&self) -> Timestamp {
        self.bench.clock.now()
    }

    fn wish(&self, asked: Asked) -> Wish {
        let calendar = Arc::clone(if asked.long { &self.long } else { &self.short });
        let date = format!("2026-11-{}", asked.day).parse().unwrap();
        let time = format!("{:02}:{:02}", 9 + asked.half / 2, asked.half % 2 * 30).parse().unwrap();
        Wish { calendar, date, time }
    }

    /// The place that a wish would hold, if the calendar offers it at all: the calendar's own rules are tested beside them.
    fn offered(&self, wish: &Wish) -> Option<(u64, u64)> {
        let slots = wish.calendar.offered_on(wish.date, self.now());
        let slot = slots.into_iter().find(|slot| slot.time == wish.time)?;
        let midnight = START.as_millis() - 8 * HOUR;
        let day = u64::try_from(wish.date.day()).unwrap() - 24;
        let minutes = u64::try_from(wish.time.hour()).unwrap() * 60 + u64::try_from(wish.time.minute()).unwrap();
        let start = midnight + day * 24 * HOUR + minutes * 60_000;
        assert_eq!(slot.start.as_millis(), start);
        let lasts = if Arc::ptr_eq(&wish.calendar, &self.long) { HOUR } else { HOUR * 3 / 4 };
        Some((start, start + lasts))
    }

    fn accept(&self, model: &mut Model, form: Form, place: Option<(u64, u64)>) -> Accepted {
        let accepted = self.bench.accept(form);
        if let Accepted::New { submission, job, booking } = &accepted {
            let booking = booking.map(BookingId::get);
            model.kept.insert(submission.get(), Kept { at: self.now(), job: *job, booking, over: false });
            if let (Some(id), Some((start, end))) = (booking, place) {
                model.held.insert(id, Held { start, end, stands: true });
            }
        }
        accepted
    }

    fn run(&self, model: &mut Model, step: &Step) {
        match *step {
            Step::Book { wish, answerable } => {
                let wish = self.wish(wish);
                let place = self.offered(&wish).filter(|(start, end)| !model.is_full(*start, *end, None));
                model.forms += 1;
                let data =
                    format!(r#"{{"date":"{}","time":"{:02}:{:02}"}}"#, wish.date, wish.time.hour(), wish.time.minute());
                let asks = Some(asks(&wish.calendar));
                let form = Form { asks, answerable, ..form(&format!("b{}", model.forms), &data) };
                match (self.accept(model, form, place), place) {
                    (Accepted::New { booking, .. }, place) if place.is_some() || !answerable => {
                        assert_eq!(booking.is_some(), place.is_some());
                    }
                    (Accepted::SlotRefused { .. }, None) if answerable => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Cancel { booking } => {
                let Some(id) = model.choose(booking) else { return };
                let cancelled = self.bench.store.ask(CancelBooking { booking: BookingId::new(id) }).unwrap();
                let held = model.held.get_mut(&id).unwrap();
                assert_eq!(matches!(cancelled, BookingChanged::Now(_)), held.stands, "{cancelled:?}");
                held.stands = false;
            }
            Step::Move { booking, wish } => {
                let Some(id) = model.choose(booking) else { return };
                let wish = self.wish(wish);
                let place = self.offered(&wish).filter(|(start, end)| !model.is_full(*start, *end, Some(id)));
                let Wish { calendar, date, time } = wish;
                let moving = MoveBooking { booking: BookingId::new(id), calendar, date, time };
                let moved = self.bench.store.ask(moving).unwrap();
                match (moved, place) {
                    (BookingChanged::Now(_), Some((start, end))) if model.held[&id].stands => {
                        model.held.insert(id, Held { start, end, stands: true });
                    }
                    (BookingChanged::Cancelled, _) if !model.held[&id].stands => {}
                    (BookingChanged::Refused { .. }, None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Screen { token, answer } => {
                let data = format!("{{\"field-{answer}\":{answer}}}");
                let kept = self
                    .bench
                    .store
                    .ask(KeepDraft {
                        key: draft_key(token),
                        draft: draft(token, &data),
                        request: None,
                        for_good: false,
                    })
                    .unwrap();
                assert_eq!(kept == DraftKept::AlreadySubmitted, model.is_sent(token, self.now()), "{kept:?}");
                if kept == DraftKept::Kept {
                    let (at, answers) = model.drafts.entry(token).or_default();
                    *at = self.now();
                    answers.insert(format!("field-{answer}"), answer);
                }
            }
            Step::LastScreen { token } => {
                if model.is_sent(token, self.now()) {
                    return;
                }
                let last = Form { draft_key: Some(draft_key(token)), ..form(&format!("d{token}"), "{\"last\":9}") };
                let Accepted::New { submission, .. } = self.accept(model, last, None) else { panic!("a new one") };
                let (_, mut answers) = model.drafts.remove(&token).unwrap_or_default();
                answers.insert("last".to_owned(), 9);
                let stored = self.bench.store.read().unwrap().submission(submission).unwrap().unwrap();
                let data: BTreeMap<String, u8> = serde_json::from_str(&stored.submission.data).unwrap();
                assert_eq!(data, answers);
                model.sent.insert(token, self.now());
            }
            Step::Finish => {
                let Some(kept) = model.kept.values_mut().find(|kept| !kept.over) else { return };
                (kept.over, kept.at) = (true, self.bench.clock.now());
                self.bench.store.ask(Finish { job: kept.job, attempt: attempt(None), lead: None }).unwrap();
            }
            Step::Wait { hours } => self.bench.clock.advance(Millis::from_secs(3600 * u64::from(hours))),
            Step::Sweep => {
                self.sweep();
                model.forget(self.now());
            }
            Step::Restart => unreachable!("done by the caller, who owns the bench"),
        }
    }

    fn sweep(&self) {
        let mut from = Some(Place::Keys);
        while let Some(place) = from {
            let slice =
                Sweep { from: place, most: 3, submissions: KEPT, attempts: KEPT, patience: Patience::default() };
            from = self.bench.store.ask(slice).unwrap().next;
        }
    }

    fn compare(&self, model: &Model) {
        self.bench.check();
        let read = self.bench.store.read().unwrap();
        let submissions = rows::<StoredSubmission>(&read);
        let found: Vec<u64> = submissions.iter().rev().map(|(id, _)| id.get()).collect();
        assert_eq!(found, model.kept.keys().copied().collect::<Vec<_>>());
        let mut standing = BTreeMap::new();
        for (id, booking) in rows::<Booking>(&read) {
            let held = model.held[&id.get()];
            assert_eq!((booking.start.as_millis(), booking.end.as_millis()), (held.start, held.end), "{booking:?}");
            standing.insert(id.get(), held);
        }
        assert_eq!(standing.keys().collect::<Vec<_>>(), model.held.keys().collect::<Vec<_>>());
        let places = model.held.values().filter(|held| held.stands).count();
        assert_eq!(read.counts().unwrap().places_taken, u64::try_from(places).unwrap());
        for minute in (START.as_millis()..START.as_millis() + 80 * HOUR).step_by(5 * 60_000) {
            let there = model.held.values().filter(|held| held.stands && held.start <= minute && minute < held.end);
            assert!(there.count() <= PLACES);
        }
        let drafts: BTreeSet<IdempotencyKey> =
            read.drafts(None, |_| true).unwrap().0.into_iter().map(|(_, key)| key).collect();
        assert_eq!(drafts, model.drafts.keys().map(|token| draft_key(*token)).collect());
    }
}

impl Model {
    /// What a whole round of sweeps takes away.
    fn forget(&mut self, now: Timestamp) {
        let before = now.minus(KEPT);
        let mut gone = Vec::new();
        for (id, kept) in self.kept.iter_mut().filter(|(_, kept)| kept.over && kept.at < before) {
            let place = kept.booking.map(|id| self.held[&id]);
            if place.is_none_or(|held| !held.stands || held.end < now.as_millis()) {
                gone.push(*id);
            } else {
                kept.at = now.minus(Millis::new(1));
            }
        }
        for id in gone {
            if let Some(booking) = self.kept.remove(&id).and_then(|kept| kept.booking) {
                self.held.remove(&booking);
            }
        }
        self.drafts.retain(|_, (at, _)| *at >= before);
    }
}

fn token(of: u8) -> FlowToken {
    FlowToken::new(&format!("d{of}")).unwrap()
}

fn draft_key(of: u8) -> IdempotencyKey {
    IdempotencyKey::of_draft(&flow(), Some(&token(of)), &Customer::default()).unwrap()
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
    fn a_place_is_free_exactly_when_nothing_stands_there(steps in steps()) {
        let mut salon = Salon::new();
        let mut model = Model::default();
        for step in &steps {
            if matches!(step, Step::Restart) {
                salon.bench = salon.bench.reopen();
            } else {
                salon.run(&mut model, step);
            }
        }
        salon.compare(&model);
        salon.bench = salon.bench.reopen();
        salon.compare(&model);
    }
}
