//! Answers the request `trace`: finds what a text means, and sends the timeline of each form, job
//! or draft.

use std::collections::{BTreeMap, BTreeSet};

use super::jobs::delivery_of_job;
use super::search::{self, ScanBudget};
use super::submissions::draft_state;
use crate::admin::context::{AdminContext, AgentNames, RowSink, send_row};
use crate::admin::error::AdminError;
use crate::admin::protocol::{SearchLimits, max_rows};
use crate::admin::responses::TraceRow;
use crate::domain::customer_search::CustomerTerm;
use crate::domain::ids::{FlowToken, JobId, SubmissionId};
use crate::domain::submission::draft::Draft;
use crate::domain::timeline::form;
use crate::domain::timeline::target::TraceTarget;
use crate::domain::timeline::work::JobRecord;
use crate::domain::timeline::{TimelineEntry, sort_entries};
use crate::store::{FoundSubmission, Snapshot, StoreError};

/// Thing that has a timeline, in the order of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Submission(SubmissionId),
    /// Job without a stored submission.
    Job(JobId),
}

impl Subject {
    fn describe(self) -> String {
        match self {
            Self::Submission(id) => format!("submission {id}"),
            Self::Job(id) => format!("job {id}"),
        }
    }
}

/// Subjects that a text means, each with its meanings, and drafts.
#[derive(Default)]
struct Subjects {
    found: BTreeMap<Subject, BTreeSet<String>>,
    drafts: Vec<Draft>,
}

impl Subjects {
    fn add(&mut self, subject: Subject, meaning: String) {
        self.found.entry(subject).or_default().insert(meaning);
    }
}

/// Sends the timelines of everything that `text` means, oldest form first.
pub(super) fn send_timelines(
    context: &AdminContext,
    text: &str,
    limits: SearchLimits,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let targets =
        TraceTarget::parse(text).map_err(|error| AdminError::invalid(error.to_string()))?;
    let mut budget = ScanBudget::new(limits.scan);
    let subjects = find_subjects(context, &targets, limits, &mut budget)?;
    if subjects.found.is_empty() && subjects.drafts.is_empty() {
        budget.check_complete()?;
        return Err(AdminError::not_found(format!(
            "nothing stored has the ID, token, number or name {text:?}: \
             `flowgate customers find TEXT` also searches the answers"
        )));
    }
    send_subjects(context, subjects, &mut budget, sink)?;
    budget.check_complete()
}

fn find_subjects(
    context: &AdminContext,
    targets: &[TraceTarget],
    limits: SearchLimits,
    budget: &mut ScanBudget,
) -> Result<Subjects, AdminError> {
    let mut subjects = Subjects::default();
    for target in targets {
        if let Some(subject) = find_by_id(context, target, budget)? {
            subjects.add(subject, target.describe());
        }
    }
    // An ID that was found can't also be a text of a form.
    let texts: Vec<&TraceTarget> = targets.iter().filter(|target| is_text(target)).collect();
    if texts.is_empty() {
        return Ok(subjects);
    }
    let is_unique = matches!(texts.as_slice(), [TraceTarget::Message(_)]);
    if is_unique && !subjects.found.is_empty() {
        return Ok(subjects);
    }
    let matching = |found: &FoundSubmission| texts.iter().find(|target| is_of(target, found));
    let max = if is_unique { 1 } else { max_rows(limits.rows) };
    let mut count = 0_usize;
    search::search_submissions(
        context,
        budget,
        None,
        |found| matching(found).is_some(),
        |found| {
            let meaning = matching(&found).map(|target| target.describe());
            subjects.add(Subject::Submission(found.id), meaning.unwrap_or_default());
            count = count.saturating_add(1);
            Ok(count < max)
        },
    )?;
    let needles = needles(&texts);
    for id in search::search_dead_messages(context, budget, &needles)?
        .into_iter()
        .take(max)
    {
        subjects.add(
            subject_of_job(&context.snapshot()?, id)?,
            "message".to_owned(),
        );
    }
    subjects.drafts = search::search_drafts(context, |draft| {
        texts.iter().any(|target| is_of_draft(target, draft))
    })?;
    Ok(subjects)
}

const fn is_text(target: &TraceTarget) -> bool {
    matches!(
        target,
        TraceTarget::Message(_) | TraceTarget::Token(_) | TraceTarget::Customer(_)
    )
}

/// Finds the subject of a target that an index serves, or of a webhook ID.
fn find_by_id(
    context: &AdminContext,
    target: &TraceTarget,
    budget: &mut ScanBudget,
) -> Result<Option<Subject>, AdminError> {
    let snapshot = context.snapshot()?;
    let submission = match target {
        TraceTarget::Submission(id) => Some(*id),
        TraceTarget::Lead(id) => snapshot.lead(*id)?.map(|lead| lead.submission_id),
        TraceTarget::Booking(id) => snapshot.booking(*id)?.map(|booking| booking.submission_id),
        TraceTarget::Job(id) => {
            return Ok(match snapshot.job(*id)? {
                Some(_) => Some(subject_of_job(&snapshot, *id)?),
                None => None,
            });
        }
        TraceTarget::WebhookId(webhook_id) => {
            drop(snapshot);
            let id = search::find_webhook_id(context, budget, webhook_id)?;
            return id
                .map(|id| Ok(subject_of_job(&context.snapshot()?, id)?))
                .transpose();
        }
        TraceTarget::Message(wamid) => {
            let id = snapshot.delivery_of_message(wamid)?;
            return Ok(id.map(|id| subject_of_job(&snapshot, id)).transpose()?);
        }
        TraceTarget::Token(_) | TraceTarget::Customer(_) => None,
    };
    let Some(id) = submission else {
        return Ok(None);
    };
    Ok(snapshot
        .submission(id)?
        .is_some()
        .then_some(Subject::Submission(id)))
}

/// Returns the submission of a job or, if none is stored, the job.
fn subject_of_job(snapshot: &Snapshot, id: JobId) -> Result<Subject, StoreError> {
    let submission = snapshot.job(id)?.and_then(|job| job.submission_id);
    Ok(match submission {
        Some(submission) if snapshot.submission(submission)?.is_some() => {
            Subject::Submission(submission)
        }
        _ => Subject::Job(id),
    })
}

/// Returns `true` if a form has this message, token or customer.
fn is_of(target: &TraceTarget, found: &FoundSubmission) -> bool {
    let form = &found.stored.submission;
    match target {
        TraceTarget::Message(id) => {
            let arrivals = found.late_arrivals.iter();
            let mut ids = arrivals
                .filter_map(|arrival| arrival.message_id.as_ref())
                .chain(&form.message_id);
            ids.any(|known| known.as_str() == id)
        }
        TraceTarget::Token(token) => is_token(form.flow_token.as_ref(), token),
        TraceTarget::Customer(name) => {
            super::customers::is_customer(&CustomerTerm::new(name), found)
        }
        _ => false,
    }
}

fn is_of_draft(target: &TraceTarget, draft: &Draft) -> bool {
    match target {
        TraceTarget::Token(token) => is_token(draft.flow_token.as_ref(), token),
        TraceTarget::Customer(name) => CustomerTerm::new(name).is_name_of(&draft.customer),
        _ => false,
    }
}

fn is_token(known: Option<&FlowToken>, token: &str) -> bool {
    known.is_some_and(|known| known.as_str() == token)
}

/// Lists the texts by which an unparsable message may name the targets.
fn needles(targets: &[&TraceTarget]) -> Vec<String> {
    let texts = targets.iter().filter_map(|target| match target {
        TraceTarget::Message(text) | TraceTarget::Token(text) | TraceTarget::Customer(text) => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let is_phone = CustomerTerm::new(text).is_phone_number();
            Some(if is_phone { digits } else { text.clone() })
        }
        _ => None,
    });
    texts.collect()
}

fn send_subjects(
    context: &AdminContext,
    subjects: Subjects,
    budget: &mut ScanBudget,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut jobs_by_submission = jobs_of_subjects(context, &subjects, budget)?;
    for (subject, meanings) in subjects.found {
        let (mut entries, jobs) = match subject {
            Subject::Submission(id) => {
                let entries = form_entries(context, id)?;
                (entries, jobs_by_submission.remove(&id).unwrap_or_default())
            }
            Subject::Job(id) => (Vec::new(), vec![id]),
        };
        for id in jobs {
            entries.extend(job_record(context, id)?.iter().flat_map(JobRecord::entries));
        }
        sort_entries(&mut entries);
        let name = subject.describe();
        let meanings: Vec<String> = meanings.into_iter().filter(|one| *one != name).collect();
        let submission = match subject {
            Subject::Submission(id) => Some(id),
            Subject::Job(_) => None,
        };
        for entry in entries {
            send_row(sink, TraceRow::new(&name, &meanings, submission, entry))?;
        }
    }
    for draft in subjects.drafts {
        let entry = form::draft_entry(&draft, draft_state(context, &draft));
        send_row(sink, TraceRow::new("draft", &[], None, entry))?;
    }
    Ok(())
}

/// Lists the jobs of all submissions among the subjects.
fn jobs_of_subjects(
    context: &AdminContext,
    subjects: &Subjects,
    budget: &mut ScanBudget,
) -> Result<BTreeMap<SubmissionId, Vec<JobId>>, AdminError> {
    let mut submissions = BTreeSet::new();
    let mut first: Option<JobId> = None;
    for subject in subjects.found.keys() {
        if let Subject::Submission(id) = subject
            && let Some(stored) = context.snapshot()?.submission(*id)?
        {
            submissions.insert(*id);
            first = Some(first.map_or(stored.job_id, |first| first.min(stored.job_id)));
        }
    }
    let mut jobs: BTreeMap<SubmissionId, Vec<JobId>> = BTreeMap::new();
    let Some(first) = first else { return Ok(jobs) };
    for id in search::search_jobs(context, budget, first, &submissions)? {
        let job = context.snapshot()?.job(id)?;
        if let Some(submission) = job.and_then(|job| job.submission_id) {
            jobs.entry(submission).or_default().push(id);
        }
    }
    Ok(jobs)
}

/// Returns the entries of a form, its copies, its booking and its lead.
fn form_entries(
    context: &AdminContext,
    id: SubmissionId,
) -> Result<Vec<TimelineEntry>, AdminError> {
    let snapshot = context.snapshot()?;
    let Some(found) = snapshot.found_submission(id)? else {
        return Ok(Vec::new());
    };
    let FoundSubmission {
        stored,
        late_arrivals,
        ..
    } = found;
    let catalog = context.catalog();
    let flow = catalog.flows.get(&stored.submission.flow);
    let mut entries = form::submission_entries(
        &stored.submission,
        stored.received_at,
        flow.map(|flow| flow.signature),
        stored.conflict.as_deref(),
    );
    for arrival in &late_arrivals {
        entries.push(form::copy_entry(
            arrival.at,
            arrival.channel,
            arrival.message_id.as_ref(),
            &arrival.customer,
            arrival.differing_data.is_some(),
        ));
    }
    if let Some(id) = stored.booking_id
        && let Some(booking) = snapshot.booking(id)?
    {
        entries.extend(form::booking_entries(id, &booking));
    }
    let job = snapshot.job(stored.job_id)?;
    if let Some(id) = job.and_then(|job| job.lead_id)
        && let Some(lead) = snapshot.lead(id)?
    {
        let names = AgentNames::default();
        let agent_name = |agent| {
            let name = names.lookup(&snapshot, Some(agent));
            name.unwrap_or_else(|| format!("agent {agent}"))
        };
        entries.extend(form::lead_entries(id, &lead, agent_name));
    }
    Ok(entries)
}

/// Returns the readable rows of a job. `None`: no job has this ID.
fn job_record(context: &AdminContext, id: JobId) -> Result<Option<JobRecord>, AdminError> {
    let snapshot = context.snapshot()?;
    let Some(job) = snapshot.job(id)? else {
        return Ok(None);
    };
    let responses = snapshot.delivery_responses(id)?;
    let response_to = |number: u32| {
        let response = responses.iter().find(|(known, _)| *known == number);
        response.and_then(|(_, row)| row.as_ref().ok().cloned())
    };
    let attempts = snapshot.attempts(id)?.into_iter();
    Ok(Some(JobRecord {
        id,
        job,
        is_running: context.running_jobs().contains(&id),
        attempts: attempts
            .filter_map(|(number, attempt)| Some((attempt.ok()?, response_to(number))))
            .collect(),
        dead_letter: snapshot.dead_letter(id)?,
        delivery: delivery_of_job(&snapshot, id)?,
        receipt: snapshot.receipt(id)?,
    }))
}
