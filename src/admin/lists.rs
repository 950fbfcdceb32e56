//! Answers that only look: lists and single things. Long lists are read in pages, each in a short read of its own.

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::domain::booking::Interval;
use crate::domain::ids::{BookingId, CalendarName, JobId, LeadId, SubmissionId};
use crate::domain::job::{Job, JobState};
use crate::domain::lead::LeadState;
use crate::domain::time::Timestamp;
use crate::store::{Snapshot, StoreError};

use super::desk::{Desk, Names, Out, row};
use super::protocol::{AdminError, Filter};
use super::views::{
    AgentView, AttemptView, BookingView, ConsideredView, DeadView, DraftView, JobView, JoinView, LeadView, SlotView,
    SubmissionView,
};

/// Rows read at once.
const PAGE: usize = 500;
/// Days of slots in one answer at the most.
const DAYS_MAX: usize = 400;

/// Walks a list newest first, page by page. `see` gets each row and says whether to go on.
fn walk<I: Copy, R>(
    desk: &Desk,
    page: impl Fn(&Snapshot, Option<I>) -> Result<Vec<(I, R)>, StoreError>,
    mut see: impl FnMut(&Snapshot, &Names, I, R) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let mut before = None;
    loop {
        let read = desk.read()?;
        let names = Names::read(&read)?;
        let rows = page(&read, before)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        before = Some(*last);
        for (id, stored) in rows {
            if !see(&read, &names, id, stored)? {
                return Ok(());
            }
        }
    }
}

/// Sends rows until there are enough.
struct Counted<'a, 'b> {
    out: &'a mut Out<'b>,
    left: usize,
}

impl<'a, 'b> Counted<'a, 'b> {
    fn new(filter: &Filter, out: &'a mut Out<'b>) -> Self {
        Self { out, left: filter.most() }
    }

    /// False: enough, or nobody reads.
    fn send(&mut self, row: impl serde::Serialize) -> Result<bool, AdminError> {
        let value = serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))?;
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

fn view(
    read: &Snapshot,
    names: &Names,
    id: SubmissionId,
    stored: crate::store::StoredSubmission,
) -> Result<SubmissionView, StoreError> {
    let job = read.job(stored.job)?;
    let lead = match job.as_ref().and_then(|job| job.lead) {
        Some(lead) => read.lead(lead)?,
        None => None,
    };
    let mut view = SubmissionView::new(id, stored, job.as_ref(), names.of(lead.and_then(|lead| lead.agent)));
    if view.message_id.is_none() || view.user.is_none() {
        // What came by webhook later knows the message and its sender.
        for join in read.joins(id)? {
            view.message_id = view.message_id.or_else(|| join.message_id.map(|id| id.to_string()));
            view.user = view.user.or_else(|| join.customer.name().map(str::to_owned));
        }
    }
    Ok(view)
}

pub(super) fn submissions(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["accepted", "done", "conflict", "dead"])?;
    let mut out = Counted::new(filter, out);
    let page = |read: &Snapshot, before| read.submissions(before, PAGE);
    walk(desk, page, |read, names, id, stored| {
        if is_before(filter, stored.received_at) {
            return Ok(false);
        }
        let flow = filter.flow.as_ref().is_none_or(|flow| *flow == stored.submission.flow);
        if !flow {
            return Ok(true);
        }
        let view = view(read, names, id, stored)?;
        let agent = filter.agent.as_ref().is_none_or(|agent| view.agent.as_deref() == Some(agent.as_str()));
        let state = fits(filter.state.as_deref(), view.state.as_str());
        if agent && state { out.send(view) } else { Ok(true) }
    })
}

pub(super) fn submission(desk: &Desk, id: SubmissionId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(stored) = read.submission(id)? else {
        return Err(AdminError::not_found(format!("there is no submission {id}: `flowgate submissions` lists them")));
    };
    let screen = stored.submission.screen.clone();
    let extra = stored.submission.extra.clone();
    let mut whole = object(view(&read, &Names::read(&read)?, id, stored)?)?;
    if let Value::Object(fields) = &mut whole {
        fields.insert("screen".to_owned(), json!(screen));
        fields.insert("extra".to_owned(), if extra.is_empty() { json!({}) } else { super::views::json(&extra) });
        let joins: Vec<JoinView> = read.joins(id)?.into_iter().map(JoinView::from).collect();
        fields.insert("later".to_owned(), object(joins)?);
    }
    row(out, whole)
}

pub(super) fn drafts(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter, out);
    for draft in desk.read()?.drafts()? {
        let flow = filter.flow.as_ref().is_none_or(|flow| *flow == draft.flow);
        if flow && !is_before(filter, draft.updated_at) && !out.send(DraftView::from(draft))? {
            break;
        }
    }
    Ok(())
}

pub(super) fn jobs(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["scheduled", "running", "done", "dead", "discarded"])?;
    let running = desk.running();
    let mut out = Counted::new(filter, out);
    let page = |read: &Snapshot, before| read.jobs(before, PAGE);
    walk(desk, page, |read, _, id, job: Job| {
        if is_before(filter, job.created_at) {
            return Ok(false);
        }
        let view = JobView::new(id, &job, running.contains(&id));
        let wanted = fits(filter.state.as_deref(), view.state.as_str()) && of_flow(read, filter, &job)?;
        if wanted { out.send(view) } else { Ok(true) }
    })
}

/// Whether the job's submission is of the flow that is asked for.
fn of_flow(read: &Snapshot, filter: &Filter, job: &Job) -> Result<bool, StoreError> {
    let Some(flow) = &filter.flow else { return Ok(true) };
    let submission = match job.submission {
        Some(id) => read.submission(id)?,
        None => None,
    };
    Ok(submission.is_some_and(|stored| stored.submission.flow == *flow))
}

pub(super) fn job(desk: &Desk, id: JobId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(job) = read.job(id)? else {
        return Err(AdminError::not_found(format!("there is no job {id}: `flowgate jobs` lists them")));
    };
    let mut whole = object(JobView::new(id, &job, desk.running().contains(&id)))?;
    if let Value::Object(fields) = &mut whole {
        let attempts: Vec<AttemptView> = read.attempts(id)?.into_iter().map(AttemptView::from).collect();
        fields.insert("history".to_owned(), object(attempts)?);
    }
    row(out, whole)
}

pub(super) fn dead_letters(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter, out);
    each_dead_letter(desk, filter, |view| out.send(view))
}

/// Every dead letter that `filter` lets through, newest first, until `see` has enough. Its limit is not looked at.
pub(super) fn each_dead_letter(
    desk: &Desk,
    filter: &Filter,
    mut see: impl FnMut(DeadView) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let page = |read: &Snapshot, before| read.dead_letters(before, PAGE);
    walk(desk, page, |read, _, id, letter| {
        let Some(job) = read.job(id)? else { return Ok(true) };
        let wanted = !is_before(filter, letter.died_at) && of_flow(read, filter, &job)?;
        if wanted { see(DeadView::new(JobView::new(id, &job, false), &letter)) } else { Ok(true) }
    })
}

pub(super) fn dead_letter(desk: &Desk, id: JobId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let (Some(letter), Some(job)) = (read.dead(id)?, read.job(id)?) else { return Err(no_letter(&read, id)?) };
    let mut whole = object(DeadView::new(JobView::new(id, &job, false), &letter))?;
    if let Value::Object(fields) = &mut whole {
        let attempts: Vec<AttemptView> = read.attempts(id)?.into_iter().map(AttemptView::from).collect();
        fields.insert("history".to_owned(), object(attempts)?);
    }
    row(out, whole)
}

/// Why there is no dead letter of that number.
pub(super) fn no_letter(read: &Snapshot, id: JobId) -> Result<AdminError, StoreError> {
    let message = match read.job(id)?.map(|job| job.state) {
        None => format!("there is no dead letter {id}: `flowgate dead list` lists them"),
        Some(JobState::Dead) => format!("the dead letter of job {id} is gone: `flowgate check` tells more"),
        Some(state) => format!("job {id} is {}, no dead letter: `flowgate jobs show {id}`", state.as_str()),
    };
    Ok(AdminError::not_found(message))
}

pub(super) fn leads(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &[LeadState::Open.as_str(), LeadState::Closed.as_str()])?;
    let mut out = Counted::new(filter, out);
    let page = |read: &Snapshot, before| read.leads(before, PAGE);
    walk(desk, page, |_, names, id, lead| {
        if is_before(filter, lead.created_at) {
            return Ok(false);
        }
        let agent = names.of(lead.agent);
        let wanted = fits(filter.state.as_deref(), lead.state.as_str())
            && filter.flow.as_ref().is_none_or(|flow| *flow == lead.flow)
            && filter.agent.as_ref().is_none_or(|wanted| agent.as_deref() == Some(wanted.as_str()));
        if wanted { out.send(LeadView::new(id, &lead, agent)) } else { Ok(true) }
    })
}

pub(super) fn lead(desk: &Desk, id: LeadId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(lead) = read.lead(id)? else { return Err(no_lead(id)) };
    let names = Names::read(&read)?;
    let mut whole = object(LeadView::new(id, &lead, names.of(lead.agent)))?;
    if let Value::Object(fields) = &mut whole {
        let considered = lead.why.considered.iter().map(|one| ConsideredView {
            agent: names.of(Some(one.agent)).unwrap_or_else(|| one.agent.to_string()),
            current_leads: one.current,
            weight: one.weight,
            verdict: one.verdict.as_str(),
        });
        fields.insert("considered".to_owned(), object(considered.collect::<Vec<_>>())?);
        fields.insert("more_agents".to_owned(), json!(lead.why.more));
    }
    row(out, whole)
}

pub(super) fn no_lead(id: LeadId) -> AdminError {
    AdminError::not_found(format!("there is no lead {id}: `flowgate leads` lists them"))
}

pub(super) fn agents(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    let mut out = Counted::new(filter, out);
    for (id, agent) in desk.read()?.agents()? {
        let named = filter.agent.as_ref().is_none_or(|wanted| agent.name == *wanted);
        if named && !agent.removed && !out.send(AgentView::new(id, &agent, desk.now()))? {
            break;
        }
    }
    Ok(())
}

pub(super) fn bookings(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["confirmed", "cancelled"])?;
    let mut out = Counted::new(filter, out);
    let page = |read: &Snapshot, before| read.bookings(before, PAGE);
    walk(desk, page, |_, _, id, booking| {
        if is_before(filter, booking.made_at) {
            return Ok(false);
        }
        let wanted = fits(filter.state.as_deref(), booking.state.as_str());
        if wanted { out.send(BookingView::new(id, &booking)) } else { Ok(true) }
    })
}

pub(super) fn booking(desk: &Desk, id: BookingId, out: &mut Out<'_>) -> Result<(), AdminError> {
    match desk.read()?.booking(id)? {
        Some(booking) => row(out, BookingView::new(id, &booking)),
        None => Err(no_booking(id)),
    }
}

pub(super) fn no_booking(id: BookingId) -> AdminError {
    AdminError::not_found(format!("there is no booking {id}: `flowgate bookings` lists them"))
}

pub(super) fn slots(
    desk: &Desk,
    calendar: Option<&CalendarName>,
    (from, to): (Option<Date>, Option<Date>),
    limit: usize,
    out: &mut Out<'_>,
) -> Result<(), AdminError> {
    if let Some(name) = calendar
        && !desk.calendars.contains_key(name)
    {
        let known: Vec<&str> = desk.calendars.keys().map(CalendarName::as_str).collect();
        return Err(AdminError::not_found(format!("there is no calendar {name}: the config has {}", or_none(&known))));
    }
    let mut out = Counted::new(&Filter { limit, ..Filter::default() }, out);
    let now = desk.now();
    for calendar in desk.calendars.values().filter(|one| calendar.is_none_or(|name| one.name() == name)) {
        let first = from.unwrap_or_else(|| calendar.day_of(now)).max(calendar.day_of(now));
        let last = to.unwrap_or_else(|| first.saturating_add(jiff::Span::new().days(6))).min(calendar.last_day(now));
        for date in first.series(jiff::Span::new().days(1)).take_while(|date| *date <= last).take(DAYS_MAX) {
            let slots = calendar.offered_on(date, now);
            let (Some(earliest), Some(latest)) = (slots.first(), slots.last()) else { continue };
            let day = Interval { start: earliest.start, end: calendar.blocked(latest).end };
            let taken = desk.read()?.taken(calendar.name(), day)?;
            for slot in &slots {
                if !out.send(SlotView::new(calendar, slot, &taken))? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn object(row: impl serde::Serialize) -> Result<Value, AdminError> {
    serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))
}
