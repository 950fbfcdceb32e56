//! `submissions` and `drafts`.

use serde_json::json;

use crate::domain::draft::Draft;
use crate::domain::flow::ABANDONED_AFTER;
use crate::domain::ids::SubmissionId;
use crate::store::{Snapshot, StoreError, StoredSubmission};

use super::super::desk::{Desk, Names, Out, row};
use super::super::protocol::{AdminError, Filter};
use super::super::views::{DraftView, JoinView, SubmissionView, json as stored_json};
use super::{Counted, Pick, fits, is_before, known_state, value, walk, whole};

fn view(
    read: &Snapshot,
    names: &Names,
    id: SubmissionId,
    stored: StoredSubmission,
) -> Result<SubmissionView, StoreError> {
    let job = read.job(stored.job)?;
    let lead = match job.as_ref().and_then(|job| job.lead) {
        Some(lead) => read.lead(lead)?,
        None => None,
    };
    let mut view = SubmissionView::new(id, stored, job.as_ref(), names.of(read, lead.and_then(|lead| lead.agent)));
    if view.message_id.is_none() || view.user.is_none() {
        // What came by webhook later knows the message and its sender.
        for join in read.joins(id)? {
            view.message_id = view.message_id.or_else(|| join.message_id.map(|id| id.to_string()));
            view.user = view.user.or_else(|| join.customer.name().map(str::to_owned));
        }
    }
    view.user = read.renamed_customer(id)?.and_then(|customer| customer.name().map(str::to_owned)).or(view.user);
    Ok(view)
}

pub(in crate::admin) fn submissions(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["accepted", "done", "conflict", "dead"])?;
    let mut out = Counted::new(filter.most(), out);
    let pick = |read: &Snapshot, names: &Names, id, stored: StoredSubmission| {
        if is_before(filter, stored.received_at) {
            return Ok(Pick::Stop);
        }
        if filter.flow.as_ref().is_some_and(|flow| *flow != stored.submission.flow) {
            return Ok(Pick::Leave);
        }
        let view = view(read, names, id, stored)?;
        let agent = filter.agent.as_ref().is_none_or(|agent| view.agent.as_deref() == Some(agent.as_str()));
        let state = fits(filter.state.as_deref(), view.state.as_str());
        Ok(Pick::when(agent && state, || view))
    };
    walk(desk, pick, |view| out.send(view))
}

pub(in crate::admin) fn submission(desk: &Desk, id: SubmissionId, out: &mut Out<'_>) -> Result<(), AdminError> {
    let read = desk.read()?;
    let Some(stored) = read.submission(id)? else {
        return Err(AdminError::not_found(format!("there is no submission {id}: `flowgate submissions` lists them")));
    };
    let screen = json!(stored.submission.screen);
    let extra = match &*stored.submission.extra {
        "" => json!({}),
        extra => stored_json(extra),
    };
    let later: Vec<JoinView> = read.joins(id)?.into_iter().map(JoinView::from).collect();
    let more = [("screen", screen), ("extra", extra), ("later", value(later)?)];
    let whole = whole(view(&read, &Names::default(), id, stored)?, more)?;
    drop(read);
    row(out, whole)
}

pub(in crate::admin) fn drafts(desk: &Desk, filter: &Filter, out: &mut Out<'_>) -> Result<(), AdminError> {
    known_state(filter, &["open", "abandoned"])?;
    let mut out = Counted::new(filter.most(), out);
    let (catalog, now) = (desk.catalog(), desk.now());
    let state = |draft: &Draft| {
        let flow = catalog.flows.get(&draft.flow);
        draft.state(now, flow.map_or(ABANDONED_AFTER, |flow| flow.abandoned_after))
    };
    let is_wanted = |draft: &Draft| {
        filter.flow.as_ref().is_none_or(|flow| *flow == draft.flow)
            && !is_before(filter, draft.updated_at)
            && fits(filter.state.as_deref(), state(draft).as_str())
    };
    let (mut wanted, mut after) = (Vec::new(), None);
    loop {
        let (found, next) = desk.read()?.drafts(after, is_wanted)?;
        wanted.extend(found);
        after = next;
        if after.is_none() {
            break;
        }
    }
    wanted.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
    for (_, key) in wanted {
        // Finished or forgotten meanwhile: it is no draft any more.
        let Some(draft) = desk.read()?.draft(key)? else { continue };
        let state = state(&draft);
        if !out.send(DraftView::new(draft, state))? {
            break;
        }
    }
    Ok(())
}
