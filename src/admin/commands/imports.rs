//! Imports agents and forms from another program.

use std::collections::BTreeSet;

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::protocol::{FormImport, ImportedAgent, ImportedForm};
use crate::admin::responses::{ImportProblem, ImportRow};
use crate::domain::flow::Flow;
use crate::domain::ids::FlowToken;
use crate::domain::lead::Agent;
use crate::domain::submission::inbound::{InboundSubmission, SlotRequest, SlotSelector};
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};
use crate::intake::Catalog;
use crate::store::{AddAgent, ImportAgents, ImportForms, ImportOutcome, NewLead, StoredSubmission};

use super::leads::{check_weight, limit};

/// Maximum number of agents in one transaction. Each of them may get waiting leads.
const AGENTS_PER_SLICE: usize = 10;
/// Maximum number of forms in one transaction.
const FORMS_PER_SLICE: usize = 25;
/// Number of submissions in a page.
const PAGE_ROWS: usize = 500;

/// Adds and changes agents, or only counts the changes.
pub(super) fn import_agents(
    context: &AdminContext,
    agents: Vec<ImportedAgent>,
    dry_run: bool,
) -> Result<ImportRow, AdminError> {
    let known: Vec<Agent> = context
        .snapshot()?
        .list_all_rows::<Agent>()?
        .into_iter()
        .filter_map(|(_, agent)| agent.ok())
        .filter(|agent| !agent.is_removed)
        .collect();
    let mut row = ImportRow::new(dry_run);
    let mut wanted = Vec::new();
    for agent in agents {
        if let Err(error) = check_weight(agent.settings.weight) {
            row.refuse(agent.line, error.message);
            continue;
        }
        let add = AddAgent {
            name: agent.name,
            team: agent.team,
            weight: agent.settings.weight.unwrap_or(1),
            max_leads: agent.settings.max_leads.and_then(limit),
            max_leads_per_day: agent.settings.max_leads_per_day.and_then(limit),
        };
        match known.iter().find(|known| known.name == add.name) {
            None => row.added += 1,
            Some(known) if has_settings(known, &add) => {
                row.unchanged += 1;
                continue;
            }
            Some(_) => row.changed += 1,
        }
        wanted.push(add);
    }
    if !dry_run && row.problems.is_empty() {
        for slice in wanted.chunks(AGENTS_PER_SLICE) {
            let agents = slice.to_vec();
            context.store.execute_blocking(ImportAgents { agents })?;
        }
    }
    Ok(row)
}

fn has_settings(known: &Agent, wanted: &AddAgent) -> bool {
    known.team == wanted.team
        && known.weight == wanted.weight
        && known.max_leads == wanted.max_leads
        && known.max_leads_per_day == wanted.max_leads_per_day
}

/// Stores forms, or only checks them.
pub(super) fn import_forms(
    context: &AdminContext,
    import: FormImport,
) -> Result<ImportRow, AdminError> {
    let FormImport {
        flow,
        books,
        rows,
        dry_run,
    } = import;
    let catalog = context.catalog();
    let Some(flow) = catalog.flows.get(&flow) else {
        return Err(AdminError::missing("flow", flow));
    };
    let selector = find_selector(&catalog, flow, books)?;
    let known = find_known_tokens(context, &rows)?;
    let mut row = ImportRow::new(dry_run);
    let mut forms = Vec::new();
    for form in rows {
        if known.contains(form.token.as_str()) {
            row.unchanged += 1;
            continue;
        }
        match check_slot(context, selector.as_ref(), &form) {
            Err(problem) => row.refuse(form.line, problem),
            Ok(()) => forms.push(form),
        }
    }
    if dry_run || !row.problems.is_empty() {
        row.added = forms.len();
        return Ok(row);
    }
    for slice in forms.chunks(FORMS_PER_SLICE) {
        let inbound = slice
            .iter()
            .map(|form| {
                (
                    to_inbound(flow, selector.as_ref(), form),
                    to_lead(flow, form),
                )
            })
            .collect();
        let outcomes = context
            .store
            .execute_blocking(ImportForms { forms: inbound })?;
        for (form, outcome) in slice.iter().zip(outcomes) {
            match outcome {
                ImportOutcome::Stored(_) => row.added += 1,
                ImportOutcome::Known => row.unchanged += 1,
                ImportOutcome::Refused(reason) => row.refuse(form.line, reason),
            }
        }
    }
    Ok(row)
}

fn find_selector(
    catalog: &Catalog,
    flow: &Flow,
    books: bool,
) -> Result<Option<SlotSelector>, AdminError> {
    if !books {
        return Ok(None);
    }
    match catalog.slot_selector(flow) {
        Some(selector) => Ok(Some(selector)),
        None => Err(AdminError::invalid(format!(
            "flow {} books nothing: name a flow with `booking = {{ … }}`, or import leads",
            flow.name
        ))),
    }
}

/// Returns the tokens of the rows that were imported before. Without this search, a second import
/// after the dedup window would store all rows again.
fn find_known_tokens(
    context: &AdminContext,
    rows: &[ImportedForm],
) -> Result<BTreeSet<String>, AdminError> {
    let wanted: BTreeSet<&str> = rows.iter().map(|row| row.token.as_str()).collect();
    let (mut known, mut before) = (BTreeSet::new(), None);
    loop {
        let page = context
            .snapshot()?
            .list_rows::<StoredSubmission>(before, PAGE_ROWS)?;
        let Some((last, _)) = page.last() else {
            return Ok(known);
        };
        before = Some(*last);
        let stored = page.into_iter().filter_map(|(_, row)| row.ok());
        let tokens = stored.filter_map(|row| row.submission.flow_token);
        known.extend(
            tokens
                .filter(|token| wanted.contains(token.as_str()))
                .map(|token| token.as_str().to_owned()),
        );
    }
}

/// Checks that a row names a slot of the calendar. Whether a place is free is decided when the row
/// is stored.
fn check_slot(
    context: &AdminContext,
    selector: Option<&SlotSelector>,
    form: &ImportedForm,
) -> Result<(), String> {
    let Some(selector) = selector else {
        return Ok(());
    };
    let request = selector.slot_request(&form.data, true);
    let request = request.map_err(|error| error.to_string())?;
    let Some(SlotRequest {
        calendar,
        date,
        time,
    }) = request
    else {
        return Ok(());
    };
    let slot = calendar.slot_at(date, time, context.now());
    slot.map(|_| ()).map_err(|reason| reason.to_string())
}

fn to_inbound(
    flow: &Flow,
    selector: Option<&SlotSelector>,
    form: &ImportedForm,
) -> InboundSubmission {
    let flow_token = FlowToken::new(&form.token).ok();
    let key = |token: &FlowToken| IdempotencyKey::for_token(&flow.name, token);
    InboundSubmission {
        form_key: flow_token.as_ref().map(key),
        slot_selector: selector.cloned(),
        allows_new_choice: true,
        ..InboundSubmission::new(Submission {
            flow: flow.name.clone(),
            flow_token,
            customer: form.customer.clone(),
            channel: SubmissionChannel::Plain,
            message_id: None,
            screen: None,
            data: form.data.as_str().into(),
            unknown_fields: "".into(),
            problems: Vec::new(),
            sent_at: None,
        })
    }
}

fn to_lead(flow: &Flow, form: &ImportedForm) -> Option<NewLead> {
    let rule = flow.lead.as_ref()?;
    let answers = serde_json::from_str(&form.data).ok();
    Some(NewLead {
        flow: flow.name.clone(),
        team: rule.team.clone(),
        is_sticky: rule.is_sticky,
        customer: form.customer.clone(),
        chosen_agent: answers.and_then(|answers| rule.chosen_agent(&answers)),
    })
}

impl ImportRow {
    fn refuse(&mut self, line: u64, problem: String) {
        self.problems.push(ImportProblem { line, problem });
    }
}
