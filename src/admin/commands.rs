//! Executes the requests that change data. Each request is one named transaction of the store or,
//! for many dead letters or deliveries, a series of them. The response consists of rows with the
//! result.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::domain::ids::{AgentName, BookingId, JobId, LeadId};
use crate::domain::job::{JobState, RETRY_SPREAD_MAX};
use crate::domain::lead::Absence;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;
use crate::store::{
    AddAgent, AgentChange, AgentOutcome, AssignLead, BookingOutcome, CancelBooking, ChangeAgent,
    CloseLead, DeadLetterOutcome, DiscardDeadLetter, DiscardDeadLetters, DiscardDeliveries,
    LeadOutcome, MoveBooking, RetryDeadLetter, RetryDeadLetters,
};

use super::handler::{AdminHandler, RowSink, send_row};
use super::protocol::{AdminError, AdminRequest, AgentSettings, JobSelector};
use super::queries;
use super::responses::{AgentRow, BookingRow};

/// Maximum number of dead letters or deliveries that a dry run shows.
const SAMPLES_MAX: usize = 3;

/// Maximum number of dead letters or deliveries that one transaction changes.
const SLICE_JOBS: usize = 100;

/// Executes one change and sends the new state.
pub(super) fn execute(
    handler: &AdminHandler,
    request: AdminRequest,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match request {
        AdminRequest::RetryDeadLetters(selector) => {
            apply_to_dead_letters(handler, &selector, DeadLetterAction::Retry, sink)
        }
        AdminRequest::DiscardDeadLetters(selector) => {
            apply_to_dead_letters(handler, &selector, DeadLetterAction::Discard, sink)
        }
        AdminRequest::DiscardDeliveries(selector) => discard_deliveries(handler, &selector, sink),
        AdminRequest::CloseLead { id } => update_lead(handler, id, None, sink),
        AdminRequest::AssignLead { id, agent } => update_lead(handler, id, Some(agent), sink),
        AdminRequest::AddAgent {
            name,
            team,
            settings,
        } => {
            let settings = check_settings(settings)?;
            let limit = |limit: Option<u32>| limit.filter(|limit| *limit > 0);
            let added = AddAgent {
                name: name.clone(),
                team,
                weight: settings.weight.unwrap_or(1),
                max_leads: limit(settings.max_leads),
                max_leads_per_day: limit(settings.max_leads_per_day),
            };
            send_agent_outcome(handler, &name, handler.store.execute_blocking(added)?, sink)
        }
        AdminRequest::SetAgent {
            name,
            team,
            settings,
        } => {
            let settings = check_settings(settings)?;
            let limit =
                |limit: Option<u32>| limit.map(|limit| Some(limit).filter(|limit| *limit > 0));
            let change = AgentChange::Set {
                team,
                weight: settings.weight,
                max_leads: limit(settings.max_leads),
                max_leads_per_day: limit(settings.max_leads_per_day),
            };
            change_agent(handler, &name, change, sink)
        }
        AdminRequest::PauseAgent { name } => change_agent(handler, &name, AgentChange::Pause, sink),
        AdminRequest::ResumeAgent { name } => {
            change_agent(handler, &name, AgentChange::Resume, sink)
        }
        AdminRequest::RemoveAgent { name } => {
            change_agent(handler, &name, AgentChange::Remove, sink)
        }
        AdminRequest::SetAgentAbsence { name, from, to } => {
            let absence = absence_from_dates(from, to)?;
            change_agent(handler, &name, AgentChange::AddAbsence(absence), sink)
        }
        AdminRequest::CancelBooking { id } => send_booking_outcome(
            id,
            handler
                .store
                .execute_blocking(CancelBooking { booking_id: id })?,
            sink,
        ),
        AdminRequest::MoveBooking { id, date, time } => move_booking(handler, id, date, time, sink),
        // The handler answers read-only requests before it calls this function.
        _ => Err(AdminError::invalid("this request changes nothing")),
    }
}

#[derive(Clone, Copy)]
enum DeadLetterAction {
    Retry,
    Discard,
}

fn apply_to_dead_letters(
    handler: &AdminHandler,
    selector: &JobSelector,
    action: DeadLetterAction,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match selector {
        JobSelector::One { id, payload } => {
            check_payload(payload.as_deref())?;
            match apply_to_one(handler, *id, action, payload.clone())? {
                DeadLetterOutcome::Updated(state) => {
                    send_row(sink, json!({"id": id, "state": state.as_str()}))
                }
                DeadLetterOutcome::PayloadNotEditable => Err(AdminError::failed(format!(
                    "job {id} belongs to a submission: its fields can't be replaced; retry it without --payload"
                ))),
                DeadLetterOutcome::Refused(_) | DeadLetterOutcome::NotFound => {
                    Err(queries::dead_letter_not_found(&handler.snapshot()?, *id)?)
                }
            }
        }
        JobSelector::All {
            filter,
            dry_run,
            rate,
        } => {
            // All IDs are collected before the first change. A dead letter that fails again
            // meanwhile is not processed twice.
            let mut chosen = Vec::new();
            let (mut samples, mut expired) = (Vec::new(), 0_u64);
            let (catalog, now) = (handler.catalog(), handler.now());
            queries::for_each_dead_letter(handler, filter, |view| {
                chosen.push(view.job.id);
                let longest = view
                    .destination
                    .as_ref()
                    .and_then(|to| catalog.max_ages.get(to));
                expired += u64::from(
                    longest.is_some_and(|longest| now.since(view.job.created_at) >= *longest),
                );
                if samples.len() < SAMPLES_MAX {
                    samples.push(view);
                }
                Ok(chosen.len() < filter.max_rows())
            })?;
            check_rate(*rate, chosen.len())?;
            if *dry_run {
                let dry = json!({"would_change": chosen.len(), "expired_messages": expired, "samples": samples});
                return send_row(sink, dry);
            }
            // The oldest job comes first, so the order of execution stays the same.
            chosen.reverse();
            send_row(
                sink,
                json!({"changed": apply_in_slices(handler, &chosen, action, *rate)?}),
            )
        }
    }
}

/// Discards waiting deliveries: one delivery, or all deliveries to one destination.
fn discard_deliveries(
    handler: &AdminHandler,
    selector: &JobSelector,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match selector {
        JobSelector::One { id, .. } => {
            match handler
                .store
                .execute_blocking(DiscardDeliveries { job_ids: vec![*id] })?
                .as_slice()
            {
                [DeadLetterOutcome::Updated(state)] => {
                    send_row(sink, json!({"id": id, "state": state.as_str()}))
                }
                [DeadLetterOutcome::Refused(refused)] => {
                    let suggestion = if refused.state == JobState::Dead {
                        format!(": `flowgate dead-letters discard {id}`")
                    } else {
                        String::new()
                    };
                    Err(AdminError::failed(format!(
                        "delivery {id} is {}, not scheduled{suggestion}",
                        refused.state.as_str()
                    )))
                }
                _ => Err(queries::delivery_not_found(*id)),
            }
        }
        JobSelector::All {
            filter, dry_run, ..
        } => {
            let Some(destination) = &filter.destination else {
                return Err(AdminError::invalid(
                    "name the destination whose deliveries are discarded: --destination NAME",
                ));
            };
            let chosen = handler.snapshot()?.waiting_deliveries(destination)?;
            if *dry_run {
                let samples =
                    queries::delivery_rows(handler, chosen.get(..SAMPLES_MAX).unwrap_or(&chosen))?;
                return send_row(
                    sink,
                    json!({"would_change": chosen.len(), "samples": samples}),
                );
            }
            // The newest delivery comes first. In an ordered queue, later deliveries are discarded
            // before the one in front. If the one in front were first, another delivery would move
            // up.
            let mut changed = 0;
            for slice in chosen.chunks(SLICE_JOBS) {
                let outcomes = handler.store.execute_blocking(DiscardDeliveries {
                    job_ids: slice.to_vec(),
                })?;
                changed += outcomes
                    .iter()
                    .filter(|changed| matches!(changed, DeadLetterOutcome::Updated(_)))
                    .count();
            }
            send_row(sink, json!({"changed": changed}))
        }
    }
}

/// Refuses a rate at which the last dead letter would be due later than the maximum allows.
fn check_rate(rate: Option<Rate>, dead_letters: usize) -> Result<(), AdminError> {
    let Some(rate) = rate else { return Ok(()) };
    if rate.offset_of(
        u64::try_from(dead_letters)
            .unwrap_or(u64::MAX)
            .saturating_sub(1),
    ) <= RETRY_SPREAD_MAX
    {
        return Ok(());
    }
    let days = RETRY_SPREAD_MAX.get() / (24 * 60 * 60 * 1000);
    Err(AdminError::invalid(format!(
        "{dead_letters} dead letters at {rate} would take longer than {days} days: choose a higher rate, or select fewer dead letters (--since, --flow, \
         --destination)"
    )))
}

/// Changes dead letters in slices. Each slice is one transaction, so that other transactions can
/// run between the slices. If the process dies, the committed slices stay. The due times of a retry
/// at a rate are stored in the file.
fn apply_in_slices(
    handler: &AdminHandler,
    dead_letters: &[JobId],
    action: DeadLetterAction,
    rate: Option<Rate>,
) -> Result<usize, AdminError> {
    let start = handler.now();
    let mut positions = 0_u64..;
    let mut changed = 0;
    for slice in dead_letters.chunks(SLICE_JOBS) {
        let decided = match action {
            DeadLetterAction::Discard => handler.store.execute_blocking(DiscardDeadLetters {
                job_ids: slice.to_vec(),
            })?,
            DeadLetterAction::Retry => {
                let due =
                    |position| rate.map_or(start, |rate| start.plus(rate.offset_of(position)));
                let jobs = slice
                    .iter()
                    .copied()
                    .zip(positions.by_ref().map(due))
                    .collect();
                handler.store.execute_blocking(RetryDeadLetters { jobs })?
            }
        };
        changed += decided.changed;
        for (job, error) in decided.unreadable {
            tracing::warn!(job.id = job.get(), error = %error, "unreadable dead letter skipped: run `flowgate check`");
        }
    }
    Ok(changed)
}

fn apply_to_one(
    handler: &AdminHandler,
    job: JobId,
    action: DeadLetterAction,
    payload: Option<String>,
) -> Result<DeadLetterOutcome, AdminError> {
    Ok(match action {
        DeadLetterAction::Retry => handler.store.execute_blocking(RetryDeadLetter {
            job_id: job,
            payload,
        })?,
        DeadLetterAction::Discard => handler
            .store
            .execute_blocking(DiscardDeadLetter { job_id: job })?,
    })
}

fn check_payload(payload: Option<&str>) -> Result<(), AdminError> {
    match payload.map(serde_json::from_str::<serde::de::IgnoredAny>) {
        Some(Err(error)) => Err(AdminError::invalid(format!(
            "the payload is not valid JSON: {error}"
        ))),
        _ => Ok(()),
    }
}

fn update_lead(
    handler: &AdminHandler,
    id: LeadId,
    to: Option<AgentName>,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let changed = match &to {
        Some(agent) => handler.store.execute_blocking(AssignLead {
            lead_id: id,
            agent: agent.clone(),
        })?,
        None => handler.store.execute_blocking(CloseLead { lead_id: id })?,
    };
    match changed {
        LeadOutcome::Updated(_) => queries::get_lead(handler, id, sink),
        LeadOutcome::AlreadyClosed => {
            Err(AdminError::failed(format!("lead {id} is closed already")))
        }
        LeadOutcome::NotFound => Err(queries::lead_not_found(id)),
        LeadOutcome::AgentNotFound => Err(agent_not_found(
            &to.map(|name| name.to_string()).unwrap_or_default(),
        )),
    }
}

fn change_agent(
    handler: &AdminHandler,
    name: &AgentName,
    change: AgentChange,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let changed = handler.store.execute_blocking(ChangeAgent {
        name: name.clone(),
        change,
    })?;
    send_agent_outcome(handler, name, changed, sink)
}

fn send_agent_outcome(
    handler: &AdminHandler,
    name: &AgentName,
    changed: AgentOutcome,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match changed {
        AgentOutcome::Updated(id, agent) => {
            send_row(sink, AgentRow::new(id, &agent, handler.now()))
        }
        AgentOutcome::NameTaken => Err(AdminError::failed(format!(
            "agent {name} exists: choose another name, or `flowgate agents set {name} …` to change this one"
        ))),
        AgentOutcome::NotFound => Err(agent_not_found(name.as_str())),
    }
}

fn agent_not_found(name: &str) -> AdminError {
    AdminError::not_found(format!(
        "there is no agent {name}: `flowgate agents` lists them"
    ))
}

fn check_settings(settings: AgentSettings) -> Result<AgentSettings, AdminError> {
    match settings.weight {
        Some(weight) if !(1..=1000).contains(&weight) => Err(AdminError::invalid(format!(
            "the weight must be from 1 to 1000, not {weight}"
        ))),
        _ => Ok(settings),
    }
}

/// Creates an absence of whole days in UTC.
fn absence_from_dates(from: Date, to: Date) -> Result<Absence, AdminError> {
    if to < from {
        return Err(AdminError::invalid(format!(
            "the absence ends on {to}, before it begins on {from}"
        )));
    }
    let midnight = |day: Date| {
        day.to_zoned_datetime(TimeZone::UTC)
            .map(|zoned| Timestamp::from_jiff(zoned.timestamp()))
    };
    let day_after = to.saturating_add(jiff::Span::new().days(1));
    match (midnight(from), midnight(day_after)) {
        (Ok(from), Ok(to)) => Ok(Absence { from, to }),
        _ => Err(AdminError::invalid(format!(
            "{from} or {to} is out of the supported range of dates"
        ))),
    }
}

fn send_booking_outcome(
    id: BookingId,
    changed: BookingOutcome,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    match changed {
        BookingOutcome::Updated(booking) => send_row(sink, BookingRow::new(id, &booking)),
        BookingOutcome::SlotRefused(why) => Err(AdminError::failed(why.to_string())),
        BookingOutcome::AlreadyCancelled => Err(AdminError::failed(format!(
            "booking {id} is already cancelled"
        ))),
        BookingOutcome::OtherCalendar(calendar) => Err(AdminError::failed(format!(
            "booking {id} is in calendar {calendar}: move it within that calendar"
        ))),
        BookingOutcome::NotFound => Err(queries::booking_not_found(id)),
    }
}

fn move_booking(
    handler: &AdminHandler,
    id: BookingId,
    date: Date,
    time: Time,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let Some(found) = handler.snapshot()?.booking(id)? else {
        return Err(queries::booking_not_found(id));
    };
    let catalog = handler.catalog();
    let Some(calendar) = catalog.calendars.get(&found.calendar) else {
        let calendar = found.calendar;
        return Err(AdminError::failed(format!(
            "calendar {calendar} of booking {id} is not in the config: add it again, or cancel the booking"
        )));
    };
    let moved = MoveBooking {
        booking_id: id,
        calendar: calendar.clone(),
        date,
        time,
    };
    let changed = handler.store.execute_blocking(moved)?;
    if let BookingOutcome::SlotRefused(why) = changed {
        let free = handler
            .snapshot()?
            .nearest_free_slots(calendar, (date, time), handler.now())?;
        let free: Vec<String> = free
            .iter()
            .map(|slot| format!("{} {}", slot.date, slot.clock_time()))
            .collect();
        let free = if free.is_empty() {
            "none".to_owned()
        } else {
            free.join(", ")
        };
        return Err(AdminError::failed(format!(
            "{why} Nearest free slots: {free}"
        )));
    }
    send_booking_outcome(id, changed, sink)
}
