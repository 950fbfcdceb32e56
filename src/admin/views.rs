//! The shape of what scripts read: one object a row. Names that are here stay as they are; more may come.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::booking::{Booking, Interval};
use crate::domain::calendar::Slot;
use crate::domain::draft::Draft;
use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::job::{Attempt, DeadLetter, Job, JobState};
use crate::domain::lead::{Agent, Lead, Verdict};
use crate::domain::time::Timestamp;
use crate::store::{Join, StoredSubmission, WriterFigures};

/// A submission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubmissionView {
    /// Its number.
    pub id: SubmissionId,
    /// The flow.
    pub flow: String,
    /// The token as it came.
    pub flow_token: Option<String>,
    /// Who sent it: the id where there is one, the number otherwise.
    pub user: Option<String>,
    /// `plain` or `webhook`.
    pub channel: String,
    /// `accepted`, `done`, `conflict`, `dead`.
    pub state: String,
    /// When it was taken.
    pub received_at: Timestamp,
    /// The fields as they came.
    pub data: Value,
    /// The lead it led to.
    pub lead_id: Option<LeadId>,
    /// Who has the lead.
    pub agent: Option<String>,
    /// The slot it got.
    pub booking_id: Option<BookingId>,
    /// Its job.
    pub job_id: JobId,
    /// The message that carried it.
    pub message_id: Option<String>,
    /// When the user sent it, where that is told.
    pub sent_at: Option<Timestamp>,
    /// Why it did not get the slot that it asked for.
    pub conflict: Option<String>,
    /// What is wrong with its fields.
    pub problems: Vec<String>,
}

/// Whether a submission is on its way, over, or stuck.
#[must_use]
pub fn submission_state(stored: &StoredSubmission, job: Option<&Job>) -> &'static str {
    match job.map(|job| job.state) {
        Some(JobState::Dead | JobState::Discarded) => "dead",
        _ if stored.conflict.is_some() => "conflict",
        Some(JobState::Done) => "done",
        _ => "accepted",
    }
}

impl SubmissionView {
    /// The view of one submission.
    pub(super) fn new(id: SubmissionId, stored: StoredSubmission, job: Option<&Job>, agent: Option<String>) -> Self {
        let state = submission_state(&stored, job).to_owned();
        let StoredSubmission { received_at, job: job_id, booking, conflict, submission } = stored;
        Self {
            id,
            flow: submission.flow.to_string(),
            flow_token: submission.flow_token.map(|token| token.to_string()),
            user: submission.customer.name().map(str::to_owned),
            channel: submission.channel.as_str().to_owned(),
            state,
            received_at,
            data: json(&submission.data),
            lead_id: job.and_then(|job| job.lead),
            agent,
            booking_id: booking,
            job_id,
            message_id: submission.message_id.map(|id| id.to_string()),
            sent_at: submission.sent_at,
            conflict,
            problems: submission.problems,
        }
    }
}

/// What came later for a submission.
#[derive(Clone, Debug, Serialize)]
pub(super) struct JoinView {
    at: Timestamp,
    channel: &'static str,
    message_id: Option<String>,
    user: Option<String>,
    differing: Option<Value>,
}

impl From<Join> for JoinView {
    fn from(join: Join) -> Self {
        Self {
            at: join.at,
            channel: join.channel.as_str(),
            message_id: join.message_id.map(|id| id.to_string()),
            user: join.customer.name().map(str::to_owned),
            differing: join.differing.as_deref().map(json),
        }
    }
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub id: JobId,
    /// `process` or `message`.
    pub kind: String,
    /// `scheduled`, `running`, `done`, `dead`, `discarded`.
    pub state: String,
    /// Runs so far.
    pub attempts: u32,
    /// When it is to run, or when it ended.
    pub due_at: Timestamp,
    /// The submission it carries.
    pub submission_id: Option<SubmissionId>,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The lead it led to.
    pub lead_id: Option<LeadId>,
}

impl JobView {
    /// The view of one job. `running`: it runs right now.
    pub(super) fn new(id: JobId, job: &Job, running: bool) -> Self {
        let running = running && job.state == JobState::Scheduled;
        Self {
            id,
            kind: job.kind.as_str().to_owned(),
            state: if running { "running" } else { job.state.as_str() }.to_owned(),
            attempts: job.attempts,
            due_at: job.due_at,
            submission_id: job.submission,
            last_error: job.last_error.clone(),
            created_at: job.created_at,
            lead_id: job.lead,
        }
    }
}

/// One run of a job.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AttemptView {
    number: u32,
    started_at: Timestamp,
    took_ms: u64,
    error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            took_ms: attempt.took.get(),
            error: attempt.error,
        }
    }
}

/// A dead letter: its job, and what it was to carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadView {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// When it died.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
    /// What it was to carry.
    pub payload: Value,
    /// What an admin put in its place.
    pub corrected: Option<Value>,
}

impl DeadView {
    /// The view of one dead letter.
    pub(super) fn new(job: JobView, letter: &DeadLetter) -> Self {
        Self {
            job,
            died_at: letter.died_at,
            reason: letter.reason.clone(),
            payload: json(&letter.payload),
            corrected: letter.corrected.as_deref().map(json),
        }
    }
}

/// A lead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeadView {
    /// Its number.
    pub id: LeadId,
    /// Its submission.
    pub submission_id: SubmissionId,
    /// Who has it; null while it waits.
    pub agent: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The flow of its submission.
    pub flow: String,
    /// The team whose agents may have it.
    pub team: String,
    /// When its agent got it.
    pub assigned_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// The rule that decided who has it.
    pub reason: String,
}

impl LeadView {
    /// The view of one lead.
    pub(super) fn new(id: LeadId, lead: &Lead, agent: Option<String>) -> Self {
        Self {
            id,
            submission_id: lead.submission,
            agent,
            state: lead.state.as_str().to_owned(),
            created_at: lead.created_at,
            flow: lead.flow.to_string(),
            team: lead.team.to_string(),
            assigned_at: lead.assigned_at,
            closed_at: lead.closed_at,
            reason: lead.why.reason.as_str().to_owned(),
        }
    }
}

/// An agent that was looked at for a lead.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ConsideredView {
    pub(super) agent: String,
    pub(super) current_leads: u32,
    pub(super) weight: u32,
    pub(super) verdict: &'static str,
}

/// An agent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AgentView {
    id: AgentId,
    name: String,
    team: String,
    active: bool,
    weight: u32,
    current_leads: u32,
    max_leads: Option<u32>,
    total_leads: u64,
    max_per_day: Option<u32>,
    absences: Vec<(Timestamp, Timestamp)>,
    /// What keeps the agent from taking another lead now; null: nothing does.
    obstacle: Option<&'static str>,
}

impl AgentView {
    pub(super) fn new(id: AgentId, agent: &Agent, now: Timestamp) -> Self {
        Self {
            id,
            name: agent.name.to_string(),
            team: agent.team.to_string(),
            active: agent.active,
            weight: agent.weight,
            current_leads: agent.current,
            max_leads: agent.max,
            total_leads: agent.total,
            max_per_day: agent.max_per_day,
            absences: agent.absences.iter().map(|absence| (absence.from, absence.to)).collect(),
            obstacle: agent.obstacle(now).map(Verdict::as_str),
        }
    }
}

/// A booking.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BookingView {
    id: BookingId,
    calendar: String,
    date: String,
    time: String,
    submission_id: SubmissionId,
    state: &'static str,
    start: Timestamp,
    /// Until when its place is taken, the buffer included.
    end: Timestamp,
    made_at: Timestamp,
    cancelled_at: Option<Timestamp>,
}

impl BookingView {
    pub(super) fn new(id: BookingId, booking: &Booking) -> Self {
        Self {
            id,
            calendar: booking.calendar.to_string(),
            date: booking.date.clone(),
            time: booking.time.clone(),
            submission_id: booking.submission,
            state: booking.state.as_str(),
            start: booking.start,
            end: booking.end,
            made_at: booking.made_at,
            cancelled_at: booking.ended_at,
        }
    }
}

/// A slot that may be booked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SlotView {
    calendar: String,
    date: String,
    time: String,
    capacity: u32,
    taken: u32,
    start: Timestamp,
    end: Timestamp,
}

impl SlotView {
    pub(super) fn new(calendar: &crate::domain::calendar::Calendar, slot: &Slot, taken: &[Interval]) -> Self {
        Self {
            calendar: calendar.name().to_string(),
            date: slot.date.to_string(),
            time: slot.clock_time(),
            capacity: calendar.capacity(),
            taken: crate::domain::booking::peak(calendar.blocked(slot), taken),
            start: slot.start,
            end: slot.end,
        }
    }
}

/// A form in the making.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DraftView {
    flow: String,
    flow_token: Option<String>,
    user: Option<String>,
    screen: String,
    data: Value,
    updated_at: Timestamp,
}

impl From<Draft> for DraftView {
    fn from(draft: Draft) -> Self {
        Self {
            flow: draft.flow.to_string(),
            flow_token: draft.flow_token.map(|token| token.to_string()),
            user: draft.customer.name().map(str::to_owned),
            screen: draft.screen.into(),
            data: json(&draft.data),
            updated_at: draft.updated_at,
        }
    }
}

/// How things stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// `ready`, `low_space`, `no_space`, `opening`, `failed`, `closed`; `stopped`: no server runs on the file.
    pub health: String,
    /// Where it takes submissions; null: no server runs on the file.
    pub listen: Option<SocketAddr>,
    /// Submissions kept.
    pub submissions: u64,
    /// Forms in the making.
    pub drafts: u64,
    /// Jobs by state.
    pub jobs: JobCounts,
    /// How long the job that is due longest has been due, in seconds; null: none is.
    pub oldest_due_seconds: Option<u64>,
    /// Leads.
    pub leads: LeadCounts,
    /// Places taken by bookings that stand.
    pub bookings: u64,
    /// What the writer has done since the start.
    pub writer: WriterView,
    /// Bytes that the file takes on disk.
    pub file_bytes: u64,
    /// Bytes free on that disk; null where the system can't tell.
    pub free_bytes: Option<u64>,
    /// What is wrong, and what to type: one text each.
    pub hints: Vec<String>,
}

/// Jobs by state.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JobCounts {
    /// Waiting.
    pub scheduled: u64,
    /// Handed to a worker.
    pub running: u64,
    /// Over, discarded ones included.
    pub done: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Leads by what they wait for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LeadCounts {
    /// Open, with or without an agent.
    pub open: u64,
    /// Open, without an agent.
    pub unassigned: u64,
}

/// The writer and its queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WriterView {
    /// Submissions waiting for it.
    pub waiting: usize,
    /// How many may wait.
    pub room: usize,
    /// Its figures.
    #[serde(flatten)]
    pub figures: WriterFigures,
}

/// The value of a stored JSON text; the text itself where it is none (a message that could not be read).
pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
