//! Answers that change something: each is one of the store's named transactions, and its outcome as a row.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::domain::ids::{AgentName, BookingId, JobId, LeadId};
use crate::domain::job::{JobState, SPREAD_MAX};
use crate::domain::lead::Absence;
use crate::domain::pace::Rate;
use crate::domain::time::Timestamp;
use crate::store::{
    AddAgent, AgentChange, AgentChanged, AssignLead, BookingChanged, CancelBooking, ChangeAgent, CloseLead, Discard,
    DiscardMany, GiveUpDeliveries, JobChanged, LeadChanged, MoveBooking, Revive, ReviveMany,
};

use super::desk::{Desk, Out, row};
use super::lists;
use super::protocol::{AdminError, AgentSettings, Question, Selection};
use super::views::{AgentView, BookingView};

/// Dead letters shown by a dry run.
const SAMPLES: usize = 3;

/// Dead letters decided in one change.
const SLICE: usize = 100;

/// Makes one change and tells how things are now.
pub(super) fn make(desk: &Desk, question: Question, out: &mut Out<'_>) -> Result<(), AdminError> {
    match question {
        Question::Retry(selection) => dead_letters(desk, &selection, Fate::Retried, out),
        Question::Discard(selection) => dead_letters(desk, &selection, Fate::Discarded, out),
        Question::DiscardDeliveries(selection) => deliveries(desk, &selection, out),
        Question::CloseLead { id } => lead(desk, id, None, out),
        Question::AssignLead { id, agent } => lead(desk, id, Some(agent), out),
        Question::AddAgent { name, team, settings } => {
            let settings = checked(settings)?;
            let limit = |limit: Option<u32>| limit.filter(|limit| *limit > 0);
            let added = AddAgent {
                name: name.clone(),
                team,
                weight: settings.weight.unwrap_or(1),
                max: limit(settings.max),
                max_per_day: limit(settings.max_per_day),
            };
            agent(desk, &name, desk.store.ask(added)?, out)
        }
        Question::SetAgent { name, team, settings } => {
            let settings = checked(settings)?;
            let limit = |limit: Option<u32>| limit.map(|limit| Some(limit).filter(|limit| *limit > 0));
            let change = AgentChange::Set {
                team,
                weight: settings.weight,
                max: limit(settings.max),
                max_per_day: limit(settings.max_per_day),
            };
            change_agent(desk, &name, change, out)
        }
        Question::PauseAgent { name } => change_agent(desk, &name, AgentChange::Pause, out),
        Question::ResumeAgent { name } => change_agent(desk, &name, AgentChange::Resume, out),
        Question::RemoveAgent { name } => change_agent(desk, &name, AgentChange::Remove, out),
        Question::AgentAbsent { name, from, to } => {
            let absence = absence(from, to)?;
            change_agent(desk, &name, AgentChange::Absent(absence), out)
        }
        Question::CancelBooking { id } => booking(id, desk.store.ask(CancelBooking { booking: id })?, out),
        Question::MoveBooking { id, date, time } => move_booking(desk, id, date, time, out),
        // What only looks is answered before it comes here.
        _ => Err(AdminError::invalid("this question changes nothing")),
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Retried,
    Discarded,
}

fn dead_letters(desk: &Desk, selection: &Selection, fate: Fate, out: &mut Out<'_>) -> Result<(), AdminError> {
    match selection {
        Selection::One { id, payload } => {
            check_payload(payload.as_deref())?;
            match decide(desk, *id, fate, payload.clone())? {
                JobChanged::Now(state) => row(out, json!({"id": id, "state": state.as_str()})),
                JobChanged::NoPayload => Err(AdminError::failed(format!(
                    "job {id} carries a submission: its fields can't be replaced; leave --payload out"
                ))),
                JobChanged::Refused(_) | JobChanged::Unknown => Err(lists::no_letter(&desk.read()?, *id)?),
            }
        }
        Selection::All { filter, dry_run, rate } => {
            // First all numbers, then the changes: what dies again meanwhile is not taken twice.
            let mut chosen = Vec::new();
            let (mut samples, mut too_late) = (Vec::new(), 0_u64);
            let (catalog, now) = (desk.catalog(), desk.now());
            lists::each_dead_letter(desk, filter, |view| {
                chosen.push(view.job.id);
                let longest = view.destination.as_ref().and_then(|to| catalog.expires.get(to));
                too_late += u64::from(longest.is_some_and(|longest| now.since(view.job.created_at) >= *longest));
                if samples.len() < SAMPLES {
                    samples.push(view);
                }
                Ok(chosen.len() < filter.most())
            })?;
            check_spread(*rate, chosen.len())?;
            if *dry_run {
                let dry = json!({"would_change": chosen.len(), "expired_messages": too_late, "samples": samples});
                return row(out, dry);
            }
            // Oldest first: in the order in which they would have run.
            chosen.reverse();
            row(out, json!({"changed": decide_all(desk, &chosen, fate, *rate)?}))
        }
    }
}

/// Gives up what waits: one delivery, or all that is for one destination.
fn deliveries(desk: &Desk, selection: &Selection, out: &mut Out<'_>) -> Result<(), AdminError> {
    match selection {
        Selection::One { id, .. } => match desk.store.ask(GiveUpDeliveries { jobs: vec![*id] })?.as_slice() {
            [JobChanged::Now(state)] => row(out, json!({"id": id, "state": state.as_str()})),
            [JobChanged::Refused(refused)] => {
                let hint = if refused.state == JobState::Dead {
                    format!(": `flowgate dead discard {id}`")
                } else {
                    String::new()
                };
                Err(AdminError::failed(format!("delivery {id} is {}, and does not wait{hint}", refused.state.as_str())))
            }
            _ => Err(lists::no_delivery(*id)),
        },
        Selection::All { filter, dry_run, .. } => {
            let Some(destination) = &filter.destination else {
                return Err(AdminError::invalid("say which destination's deliveries are given up: --destination NAME"));
            };
            let chosen = desk.read()?.waiting_for(destination)?;
            if *dry_run {
                let samples = lists::delivery_views(desk, chosen.get(..SAMPLES).unwrap_or(&chosen))?;
                return row(out, json!({"would_change": chosen.len(), "samples": samples}));
            }
            // Newest first: those that wait for their turn go before the one whose turn it is, which then makes room for none.
            let mut changed = 0;
            for slice in chosen.chunks(SLICE) {
                let given_up = desk.store.ask(GiveUpDeliveries { jobs: slice.to_vec() })?;
                changed += given_up.iter().filter(|changed| matches!(changed, JobChanged::Now(_))).count();
            }
            row(out, json!({"changed": changed}))
        }
    }
}

/// Refuses a rate at which the last letters would wait for longer than any may.
fn check_spread(rate: Option<Rate>, letters: usize) -> Result<(), AdminError> {
    let Some(rate) = rate else { return Ok(()) };
    if rate.behind(u64::try_from(letters).unwrap_or(u64::MAX).saturating_sub(1)) <= SPREAD_MAX {
        return Ok(());
    }
    let days = SPREAD_MAX.get() / (24 * 60 * 60 * 1000);
    Err(AdminError::invalid(format!(
        "{letters} dead letters at {rate} would take longer than {days} days: choose a faster rate, or fewer of them (--since, --flow, \
         --destination)"
    )))
}

/// A slice at a time, each a commit of its own that leaves room for what comes in meanwhile. What was done stays done, and
/// what is revived at a rate is due when it is due: whatever happens to the process.
fn decide_all(desk: &Desk, letters: &[JobId], fate: Fate, rate: Option<Rate>) -> Result<usize, AdminError> {
    let start = desk.now();
    let mut places = 0_u64..;
    let mut changed = 0;
    for slice in letters.chunks(SLICE) {
        let decided = match fate {
            Fate::Discarded => desk.store.ask(DiscardMany { jobs: slice.to_vec() })?,
            Fate::Retried => {
                let due = |place| rate.map_or(start, |rate| start.plus(rate.behind(place)));
                let jobs = slice.iter().copied().zip(places.by_ref().map(due)).collect();
                desk.store.ask(ReviveMany { jobs })?
            }
        };
        changed += decided.changed;
        for (job, error) in decided.unreadable {
            tracing::warn!(job.id = job.get(), error = %error, "a dead letter can't be read, and is left as it is");
        }
    }
    Ok(changed)
}

fn decide(desk: &Desk, job: JobId, fate: Fate, payload: Option<String>) -> Result<JobChanged, AdminError> {
    Ok(match fate {
        Fate::Retried => desk.store.ask(Revive { job, payload })?,
        Fate::Discarded => desk.store.ask(Discard { job })?,
    })
}

fn check_payload(payload: Option<&str>) -> Result<(), AdminError> {
    match payload.map(serde_json::from_str::<serde::de::IgnoredAny>) {
        Some(Err(error)) => Err(AdminError::invalid(format!("the payload is no JSON: {error}"))),
        _ => Ok(()),
    }
}

fn lead(desk: &Desk, id: LeadId, to: Option<AgentName>, out: &mut Out<'_>) -> Result<(), AdminError> {
    let changed = match &to {
        Some(agent) => desk.store.ask(AssignLead { lead: id, agent: agent.clone() })?,
        None => desk.store.ask(CloseLead { lead: id })?,
    };
    match changed {
        LeadChanged::Now(_) => lists::lead(desk, id, out),
        LeadChanged::Closed => Err(AdminError::failed(format!("lead {id} is closed already"))),
        LeadChanged::Unknown => Err(lists::no_lead(id)),
        LeadChanged::NoAgent => Err(no_agent(&to.map(|name| name.to_string()).unwrap_or_default())),
    }
}

fn change_agent(desk: &Desk, name: &AgentName, change: AgentChange, out: &mut Out<'_>) -> Result<(), AdminError> {
    let changed = desk.store.ask(ChangeAgent { name: name.clone(), change })?;
    agent(desk, name, changed, out)
}

fn agent(desk: &Desk, name: &AgentName, changed: AgentChanged, out: &mut Out<'_>) -> Result<(), AdminError> {
    match changed {
        AgentChanged::Now(id, agent) => row(out, AgentView::new(id, &agent, desk.now())),
        AgentChanged::NameTaken => Err(AdminError::failed(format!(
            "there is an agent {name} already: choose another name, or `flowgate agents set {name} …` to change this one"
        ))),
        AgentChanged::Unknown => Err(no_agent(name.as_str())),
    }
}

fn no_agent(name: &str) -> AdminError {
    AdminError::not_found(format!("there is no agent {name}: `flowgate agents` lists them"))
}

fn checked(settings: AgentSettings) -> Result<AgentSettings, AdminError> {
    match settings.weight {
        Some(weight) if !(1..=1000).contains(&weight) => {
            Err(AdminError::invalid(format!("a weight is from 1 to 1000, not {weight}")))
        }
        _ => Ok(settings),
    }
}

/// Whole days, as UTC counts them.
fn absence(from: Date, to: Date) -> Result<Absence, AdminError> {
    if to < from {
        return Err(AdminError::invalid(format!("the absence ends on {to}, before it begins on {from}")));
    }
    let midnight =
        |day: Date| day.to_zoned_datetime(TimeZone::UTC).map(|zoned| Timestamp::from_jiff(zoned.timestamp()));
    let behind = to.saturating_add(jiff::Span::new().days(1));
    match (midnight(from), midnight(behind)) {
        (Ok(from), Ok(to)) => Ok(Absence { from, to }),
        _ => Err(AdminError::invalid(format!("{from} or {to} is no day that can be reckoned with"))),
    }
}

fn booking(id: BookingId, changed: BookingChanged, out: &mut Out<'_>) -> Result<(), AdminError> {
    match changed {
        BookingChanged::Now(booking) => row(out, BookingView::new(id, &booking)),
        BookingChanged::Refused(why) => Err(AdminError::failed(why.to_string())),
        BookingChanged::Cancelled => Err(AdminError::failed(format!("booking {id} was cancelled before"))),
        BookingChanged::OtherCalendar(calendar) => {
            Err(AdminError::failed(format!("booking {id} is in calendar {calendar}: move it there")))
        }
        BookingChanged::Unknown => Err(lists::no_booking(id)),
    }
}

fn move_booking(desk: &Desk, id: BookingId, date: Date, time: Time, out: &mut Out<'_>) -> Result<(), AdminError> {
    let Some(found) = desk.read()?.booking(id)? else { return Err(lists::no_booking(id)) };
    let catalog = desk.catalog();
    let Some(calendar) = catalog.calendars.get(&found.calendar) else {
        let calendar = found.calendar;
        return Err(AdminError::failed(format!(
            "calendar {calendar} of booking {id} is not in the config: put it back, or cancel the booking"
        )));
    };
    let moved = MoveBooking { booking: id, calendar: calendar.clone(), date, time };
    let changed = desk.store.ask(moved)?;
    if let BookingChanged::Refused(why) = changed {
        let free = desk.read()?.nearest_free(calendar, (date, time), desk.now())?;
        let free: Vec<String> = free.iter().map(|slot| format!("{} {}", slot.date, slot.clock_time())).collect();
        let free = if free.is_empty() { "none".to_owned() } else { free.join(", ") };
        return Err(AdminError::failed(format!("{why} Free near it: {free}")));
    }
    booking(id, changed, out)
}
