//! Handles the requests `submissions` and `drafts`.

use serde_json::json;

use crate::domain::flow::ABANDONED_AFTER;
use crate::domain::ids::SubmissionId;
use crate::domain::submission::draft::Draft;
use crate::store::{Snapshot, StoreError, StoredSubmission};

use super::{
    LimitedSink, RowFilter, check_state, for_each_page, is_before_since, matches_name, to_json,
    with_details,
};
use crate::admin::handler::{AdminHandler, AgentNames, RowSink, send_row};
use crate::admin::protocol::{AdminError, ListFilter};
use crate::admin::responses::{DraftRow, LateArrivalRow, SubmissionRow, stored_json};

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
    let mut view = SubmissionRow::new(
        id,
        stored,
        job.as_ref(),
        names.lookup(snapshot, lead.and_then(|lead| lead.agent)),
    );
    if view.message_id.is_none() || view.customer.is_none() {
        // A late arrival by webhook has the message ID and the customer.
        for late_arrival in snapshot.late_arrivals(id)? {
            view.message_id = view
                .message_id
                .or_else(|| late_arrival.message_id.map(|id| id.to_string()));
            view.customer = view
                .customer
                .or_else(|| late_arrival.customer.name().map(str::to_owned));
        }
    }
    view.customer = snapshot
        .renamed_customer(id)?
        .and_then(|customer| customer.name().map(str::to_owned))
        .or(view.customer);
    Ok(view)
}

pub(crate) fn list_submissions(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(filter, &["accepted", "done", "conflict", "dead"])?;
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let pick = |snapshot: &Snapshot, names: &AgentNames, id, stored: StoredSubmission| {
        if is_before_since(filter, stored.received_at) {
            return Ok(RowFilter::Stop);
        }
        if filter
            .flow
            .as_ref()
            .is_some_and(|flow| *flow != stored.submission.flow)
        {
            return Ok(RowFilter::Skip);
        }
        let view = submission_row(snapshot, names, id, stored)?;
        let agent = filter
            .agent
            .as_ref()
            .is_none_or(|agent| view.agent.as_deref() == Some(agent.as_str()));
        let state = matches_name(filter.state.as_deref(), view.state.as_str());
        Ok(RowFilter::include_if(agent && state, || view))
    };
    for_each_page(handler, pick, |view| sink.send(view))
}

pub(crate) fn get_submission(
    handler: &AdminHandler,
    id: SubmissionId,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let snapshot = handler.snapshot()?;
    let Some(stored) = snapshot.submission(id)? else {
        return Err(AdminError::not_found(format!(
            "there is no submission {id}: `flowgate submissions` lists them"
        )));
    };
    let screen = json!(stored.submission.screen);
    let extra = match &*stored.submission.unknown_fields {
        "" => json!({}),
        extra => stored_json(extra),
    };
    let late_arrivals: Vec<LateArrivalRow> = snapshot
        .late_arrivals(id)?
        .into_iter()
        .map(LateArrivalRow::from)
        .collect();
    let more = [
        ("screen", screen),
        ("extra", extra),
        ("late_arrivals", to_json(late_arrivals)?),
    ];
    let whole = with_details(
        submission_row(&snapshot, &AgentNames::default(), id, stored)?,
        more,
    )?;
    drop(snapshot);
    send_row(sink, whole)
}

pub(crate) fn list_drafts(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_state(filter, &["open", "abandoned"])?;
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let (catalog, now) = (handler.catalog(), handler.now());
    let state = |draft: &Draft| {
        let flow = catalog.flows.get(&draft.flow);
        draft.state(
            now,
            flow.map_or(ABANDONED_AFTER, |flow| flow.abandoned_after),
        )
    };
    let is_wanted = |draft: &Draft| {
        filter.flow.as_ref().is_none_or(|flow| *flow == draft.flow)
            && !is_before_since(filter, draft.updated_at)
            && matches_name(filter.state.as_deref(), state(draft).as_str())
    };
    let (mut wanted, mut after) = (Vec::new(), None);
    loop {
        let (found, next) = handler.snapshot()?.drafts(after, is_wanted)?;
        wanted.extend(found);
        after = next;
        if after.is_none() {
            break;
        }
    }
    wanted.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
    for (_, key) in wanted {
        // The draft was completed or removed in the meantime.
        let Some(draft) = handler.snapshot()?.draft(key)? else {
            continue;
        };
        let state = state(&draft);
        if !sink.send(DraftRow::new(draft, state))? {
            break;
        }
    }
    Ok(())
}
