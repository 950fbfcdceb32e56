//! Answers the requests about submissions, drafts and flow errors.

use std::cmp::Reverse;
use std::ops::ControlFlow::{Break, Continue};

use serde_json::json;

use super::list::{LimitedSink, check_state, for_each_page, send_list};
use crate::admin::context::{AdminContext, AgentNames, RowSink};
use crate::admin::error::AdminError;
use crate::admin::protocol::ListFilter;
use crate::admin::responses::{
    DraftRow, FlowErrorRow, LateArrivalRow, SubmissionDetails, SubmissionRow, stored_json,
};
use crate::domain::flow::ABANDONED_AFTER;
use crate::domain::ids::SubmissionId;
use crate::domain::submission::draft::Draft;
use crate::domain::submission::flow_error::FlowError;
use crate::store::{Snapshot, StoreError, StoredSubmission};

fn submission_row(
    snapshot: &Snapshot,
    names: &AgentNames,
    id: SubmissionId,
    stored: StoredSubmission,
) -> Result<SubmissionRow, StoreError> {
    let job = snapshot.job(stored.job_id)?;
    let lead = match job.as_ref().and_then(|job| job.lead_id) {
        Some(lead) => snapshot.lead(lead)?,
        None => None,
    };
    let agent = names.lookup(snapshot, lead.and_then(|lead| lead.agent));
    let mut row = SubmissionRow::new(id, stored, job.as_ref(), agent);
    if row.message_id.is_none() || row.customer.is_none() {
        // A late arrival by webhook has the message ID and the customer.
        for late_arrival in snapshot.late_arrivals(id)? {
            let late_arrival = LateArrivalRow::from(late_arrival);
            row.message_id = row.message_id.or(late_arrival.message_id);
            row.customer = row.customer.or(late_arrival.customer);
        }
    }
    row.customer = snapshot
        .renamed_customer(id)?
        .and_then(|customer| customer.name().map(str::to_owned))
        .or(row.customer);
    Ok(row)
}

pub(super) fn list_submissions(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let states = ["accepted", "done", "conflict", "dead"];
    let filter_row = |snapshot: &Snapshot, names: &AgentNames, id, stored: StoredSubmission| {
        if filter.starts_after(stored.received_at) {
            return Ok(Break(()));
        }
        if !filter.matches_flow(Some(&stored.submission.flow)) {
            return Ok(Continue(None));
        }
        let row = submission_row(snapshot, names, id, stored)?;
        let wanted = filter.matches_agent(row.agent.as_deref()) && filter.matches_state(&row.state);
        Ok(Continue(wanted.then_some(row)))
    };
    send_list(context, filter, &states, sink, filter_row)
}

pub(super) fn get_submission(
    context: &AdminContext,
    id: SubmissionId,
) -> Result<SubmissionDetails, AdminError> {
    let snapshot = context.snapshot()?;
    let Some(stored) = snapshot.submission(id)? else {
        return Err(AdminError::missing("submission", id));
    };
    let late_arrivals = snapshot.late_arrivals(id)?.into_iter();
    Ok(SubmissionDetails {
        screen: stored.submission.screen.clone(),
        extra: match &*stored.submission.unknown_fields {
            "" => json!({}),
            extra => stored_json(extra),
        },
        late_arrivals: late_arrivals.map(LateArrivalRow::from).collect(),
        submission: submission_row(&snapshot, &AgentNames::default(), id, stored)?,
    })
}

pub(super) fn list_drafts(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(filter, &["open", "abandoned"])?;
    let (catalog, now) = (context.catalog(), context.now());
    let state_of = |draft: &Draft| {
        let flow = catalog.flows.get(&draft.flow);
        let abandoned_after = flow.map_or(ABANDONED_AFTER, |flow| flow.abandoned_after);
        draft.state(now, abandoned_after)
    };
    let is_wanted = |draft: &Draft| {
        filter.matches_flow(Some(&draft.flow))
            && !filter.starts_after(draft.updated_at)
            && filter.matches_state(state_of(draft).as_str())
    };
    let (mut wanted, mut after) = (Vec::new(), None);
    loop {
        let (found, next) = context.snapshot()?.drafts(after, is_wanted)?;
        wanted.extend(found);
        after = next;
        if after.is_none() {
            break;
        }
    }
    wanted.sort_by_key(|(changed, _)| Reverse(*changed));
    let mut sink = LimitedSink::new(filter.limit, sink);
    for (_, key) in wanted {
        // The draft was completed or removed in the meantime.
        let Some(draft) = context.snapshot()?.draft(key)? else {
            continue;
        };
        let state = state_of(&draft);
        if !sink.send(DraftRow::new(draft, state))? {
            break;
        }
    }
    Ok(())
}

pub(super) fn list_flow_errors(
    context: &AdminContext,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut sink = LimitedSink::new(filter.limit, sink);
    let filter_row = |_: &_, _: &_, _, flow_error: FlowError| {
        if filter.starts_after(flow_error.received_at) {
            return Ok(Break(()));
        }
        let wanted = filter.matches_flow(Some(&flow_error.flow));
        Ok(Continue(wanted.then(|| FlowErrorRow::from(flow_error))))
    };
    for_each_page(context, filter_row, |row| sink.send(row))
}
