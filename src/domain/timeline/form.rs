//! Entries of a form, its copies, its booking and its lead.

use super::{EntryKind, TimelineEntry};
use crate::domain::booking::Booking;
use crate::domain::flow::SignaturePolicy;
use crate::domain::ids::{AgentId, BookingId, Customer, LeadId, MessageId};
use crate::domain::lead::{AssignmentReason, CandidateOutcome, Lead};
use crate::domain::submission::draft::{Draft, DraftState};
use crate::domain::submission::{Submission, SubmissionChannel};
use crate::domain::time::Timestamp;

/// Returns the entries of a form that was accepted at `received_at`. `policy` is the signature
/// policy of its flow in the config, or `None` if the config no longer has the flow.
#[must_use]
pub fn submission_entries(
    form: &Submission,
    received_at: Timestamp,
    policy: Option<SignaturePolicy>,
    conflict: Option<&str>,
) -> Vec<TimelineEntry> {
    let entry = |kind, text: String| TimelineEntry::new(received_at, kind, text);
    let sent = form.sent_at.map(|at| {
        let text = "the customer sent the form, by WhatsApp's clock";
        TimelineEntry::new(at, EntryKind::Sent, text)
    });
    let mut received = format!(
        "form of flow {} accepted and stored, {}",
        form.flow,
        describe_channel(form.channel)
    );
    if let Some(token) = &form.flow_token {
        received.extend([", flow token ", token.as_str()]);
    }
    if let Some(id) = &form.message_id {
        received.extend([", message ", id.as_str()]);
    }
    if let Some(screen) = &form.screen {
        received.extend([", screen ", &**screen]);
    }
    let mut entries = Vec::from_iter(sent);
    entries.push(entry(EntryKind::Received, received));
    entries.push(entry(
        EntryKind::Signature,
        describe_signature(form.channel, policy).to_owned(),
    ));
    let problems = form.problems.iter();
    entries.extend(
        problems.map(|problem| entry(EntryKind::Problem, format!("invalid answer: {problem}"))),
    );
    entries.extend(
        conflict.map(|reason| entry(EntryKind::Conflict, format!("no slot was booked: {reason}"))),
    );
    entries
}

const fn describe_channel(channel: SubmissionChannel) -> &'static str {
    match channel {
        SubmissionChannel::Plain => "by the plain path of the flow",
        SubmissionChannel::Encrypted => "by the encrypted path of the flow",
        SubmissionChannel::Webhook => "by /webhook",
        SubmissionChannel::Gateway => "by a gateway",
    }
}

const fn describe_signature(
    channel: SubmissionChannel,
    policy: Option<SignaturePolicy>,
) -> &'static str {
    match (channel, policy) {
        (SubmissionChannel::Gateway, _) => "the request had the secret of its gateway",
        (SubmissionChannel::Webhook, _) => "Meta's signature was valid: /webhook requires it",
        (_, Some(SignaturePolicy::Required)) => "Meta's signature was valid: the flow requires it",
        (_, Some(SignaturePolicy::None)) => {
            "not checked: the flow has signature = \"none\" in the config"
        }
        (_, None) => "unknown: the config no longer has this flow",
    }
}

/// Returns the entry of a later arrival of a form. `is_different` is `true` if its answers differ.
#[must_use]
pub fn copy_entry(
    at: Timestamp,
    channel: SubmissionChannel,
    message_id: Option<&MessageId>,
    customer: &Customer,
    is_different: bool,
) -> TimelineEntry {
    let mut text = format!("a copy arrived, {}", describe_channel(channel));
    if let Some(id) = message_id {
        text.extend([", message ", id.as_str()]);
    }
    if let Some(name) = customer.name() {
        text.extend([", from ", name]);
    }
    text.push_str(if is_different {
        ": its answers differ and are stored beside the first; it was not processed again"
    } else {
        ": it was not processed again"
    });
    TimelineEntry::new(at, EntryKind::Copy, text)
}

/// Returns the entries of a booking.
#[must_use]
pub fn booking_entries(id: BookingId, booking: &Booking) -> Vec<TimelineEntry> {
    let Booking {
        calendar,
        date,
        time,
        ..
    } = booking;
    let entry = |at, text: String| TimelineEntry {
        booking_id: Some(id),
        ..TimelineEntry::new(at, EntryKind::Booking, text)
    };
    let reserved = format!("booking {id}: {date} at {time} in calendar {calendar}");
    let mut entries = vec![entry(booking.created_at, reserved)];
    let cancelled = booking.cancelled_at;
    entries.extend(cancelled.map(|at| entry(at, format!("booking {id} cancelled"))));
    entries
}

/// Returns the entries of a lead. `agent_name` returns the name of an agent.
#[must_use]
pub fn lead_entries(
    id: LeadId,
    lead: &Lead,
    agent_name: impl Fn(AgentId) -> String,
) -> Vec<TimelineEntry> {
    let entry = |at, text: String| TimelineEntry {
        lead_id: Some(id),
        ..TimelineEntry::new(at, EntryKind::Lead, text)
    };
    let team = &lead.team;
    let mut entries = vec![entry(
        lead.created_at,
        format!("lead {id} created for team {team}"),
    )];
    let reason = describe_reason(lead.assignment.reason);
    let mut text = match lead.agent {
        Some(agent) => format!("lead {id} assigned to {}: {reason}", agent_name(agent)),
        None => format!("lead {id} waits for an agent: {reason}"),
    };
    let candidates = lead.assignment.candidates.iter();
    let candidates: Vec<String> = candidates
        .map(|one| {
            let state = format!("{} open, weight {}", one.current_leads, one.weight);
            let outcome = describe_outcome(one.outcome);
            format!("{} ({state}) {outcome}", agent_name(one.agent))
        })
        .collect();
    if !candidates.is_empty() {
        text.extend([". Considered: ", &*candidates.join("; ")]);
    }
    if lead.assignment.omitted > 0 {
        text.extend(["; and ", &*lead.assignment.omitted.to_string(), " more"]);
    }
    entries.push(entry(lead.assigned_at.unwrap_or(lead.created_at), text));
    entries.extend(
        lead.closed_at
            .map(|at| entry(at, format!("lead {id} closed"))),
    );
    entries
}

/// Describes the rule that decided an assignment.
#[must_use]
pub const fn describe_reason(reason: AssignmentReason) -> &'static str {
    match reason {
        AssignmentReason::LeastLoaded => "fewest open leads by weight",
        AssignmentReason::KnownCustomer => "had this customer before",
        AssignmentReason::Manual => "assigned by an admin",
        AssignmentReason::NoAgentFree => "no agent of the team can accept a lead",
        AssignmentReason::Queued => "older leads of the team wait too",
        AssignmentReason::Chosen => "chosen by the customer, or shown in the form",
    }
}

const fn describe_outcome(outcome: CandidateOutcome) -> &'static str {
    match outcome {
        CandidateOutcome::Chosen => "got it",
        CandidateOutcome::MoreLoaded => "has more open leads by weight",
        CandidateOutcome::WaitedLess => "got a lead more recently",
        CandidateOutcome::AddedLater => "was added later",
        CandidateOutcome::NotTheirCustomer => "did not have this customer",
        CandidateOutcome::Full => "is at the maximum of open leads",
        CandidateOutcome::FullToday => "is at the maximum of the day",
        CandidateOutcome::Absent => "is absent",
        CandidateOutcome::Paused => "is paused",
        CandidateOutcome::OtherTeam => "is in another team now",
        CandidateOutcome::Removed => "was removed",
        CandidateOutcome::NotChosen => "was not chosen by the customer",
    }
}

/// Returns the entry of a form that is begun and not completed.
#[must_use]
pub fn draft_entry(draft: &Draft, state: DraftState) -> TimelineEntry {
    let Draft { flow, screen, .. } = draft;
    let state = match state {
        DraftState::Open => "not completed yet",
        DraftState::Abandoned => "abandoned",
    };
    let text = format!("form of flow {flow} is {state}: the last screen was {screen}");
    TimelineEntry::new(draft.updated_at, EntryKind::Draft, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{FlowName, FlowToken, SubmissionId, TeamName};
    use crate::domain::lead::{AgentCandidate, Assignment, LeadState};

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn texts(entries: &[TimelineEntry]) -> String {
        let lines = entries.iter().map(|entry| {
            let TimelineEntry { at, kind, text, .. } = entry;
            format!("{} {}: {text}", at.as_millis(), kind.as_str())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn form_names_its_origin_and_signature() {
        let mut form = Submission {
            flow: FlowName::new("visit").unwrap(),
            flow_token: FlowToken::new("t1").ok(),
            customer: Customer::default(),
            channel: SubmissionChannel::Webhook,
            message_id: MessageId::new("wamid.1").ok(),
            screen: None,
            data: "{}".into(),
            unknown_fields: "".into(),
            problems: vec!["age: is missing".to_owned()],
            sent_at: Some(at(3)),
        };
        let conflict = Some("09:00 is taken");
        insta::assert_snapshot!(texts(&submission_entries(&form, at(9), None, conflict)), @"
        3 sent: the customer sent the form, by WhatsApp's clock
        9 received: form of flow visit accepted and stored, by /webhook, flow token t1, message wamid.1
        9 signature: Meta's signature was valid: /webhook requires it
        9 problem: invalid answer: age: is missing
        9 conflict: no slot was booked: 09:00 is taken
        ");
        form.channel = SubmissionChannel::Plain;
        for (policy, expected) in [
            (Some(SignaturePolicy::Required), "was valid"),
            (Some(SignaturePolicy::None), "not checked"),
            (None, "no longer has this flow"),
        ] {
            let entries = submission_entries(&form, at(9), policy, None);
            assert!(texts(&entries).contains(expected), "{expected}");
        }
    }

    #[test]
    fn lead_names_agent_reason_and_candidates() {
        let candidate = |agent, current_leads, outcome| AgentCandidate {
            agent: AgentId::new(agent),
            current_leads,
            weight: 1,
            outcome,
        };
        let mut lead = Lead {
            submission_id: SubmissionId::new(1),
            flow: FlowName::new("visit").unwrap(),
            team: TeamName::new("sales").unwrap(),
            agent: Some(AgentId::new(1)),
            state: LeadState::Closed,
            created_at: at(5),
            assigned_at: Some(at(6)),
            closed_at: Some(at(9)),
            close_reason: None,
            assignment: Assignment {
                agent: Some(AgentId::new(1)),
                reason: AssignmentReason::LeastLoaded,
                candidates: vec![
                    candidate(1, 0, CandidateOutcome::Chosen),
                    candidate(2, 3, CandidateOutcome::MoreLoaded),
                ],
                omitted: 4,
            },
        };
        let entries =
            |lead: &Lead| lead_entries(LeadId::new(7), lead, |agent| format!("agent {agent}"));
        insta::assert_snapshot!(texts(&entries(&lead)), @"
        5 lead: lead 7 created for team sales
        6 lead: lead 7 assigned to agent 1: fewest open leads by weight. Considered: agent 1 (0 open, weight 1) got it; agent 2 (3 open, weight 1) has more open leads by weight; and 4 more
        9 lead: lead 7 closed
        ");
        (lead.agent, lead.assigned_at, lead.closed_at) = (None, None, None);
        lead.assignment = Assignment::default();
        let waiting = "5 lead: lead 7 waits for an agent: older leads of the team wait too";
        assert!(texts(&entries(&lead)).ends_with(waiting));
    }
}
