//! Entries of jobs and deliveries: each attempt, the state after it, and the receipt of a message.

use super::{EntryKind, TimelineEntry};
use crate::domain::delivery::cloud_error::CloudError;
use crate::domain::delivery::receipt::{DeliveryStage, Receipt};
use crate::domain::delivery::{Delivery, Event, ResponseRecord};
use crate::domain::ids::JobId;
use crate::domain::job::{Attempt, DeadLetter, Job, JobKind, JobState};
use crate::domain::time::Timestamp;
use crate::domain::truncation::truncate_chars;

/// Maximum characters of a response that an entry shows.
const RESPONSE_CHARS_MAX: usize = 120;

/// Stored rows of a job, as far as they are readable.
#[derive(Debug)]
pub struct JobRecord {
    /// Job ID.
    pub id: JobId,
    /// Job row.
    pub job: Job,
    /// `true` if the job is in flight.
    pub is_running: bool,
    /// Attempts in order, each with the response to it if the job is a delivery.
    pub attempts: Vec<(Attempt, Option<ResponseRecord>)>,
    /// Dead letter of the job.
    pub dead_letter: Option<DeadLetter>,
    /// Delivery and its event. `None`: the job delivers nothing.
    pub delivery: Option<(Delivery, Event)>,
    /// Receipt of the WhatsApp message that the delivery became.
    pub receipt: Option<Receipt>,
}

impl JobRecord {
    /// Returns the entries of the job.
    #[must_use]
    pub fn entries(&self) -> Vec<TimelineEntry> {
        let subject = self.subject();
        let mut entries = Vec::new();
        if let Some((delivery, event)) = &self.delivery {
            let text = format!(
                "event {}: queued for {} as delivery {}",
                event.kind.as_str(),
                delivery.destination,
                self.id
            );
            entries.push((self.job.created_at, EntryKind::Event, text));
        } else if self.job.kind == JobKind::Message {
            let text = format!("job {} stores a message of /webhook", self.id);
            entries.push((self.job.created_at, EntryKind::Job, text));
        }
        let attempts = self.attempts.iter();
        entries.extend(attempts.map(|(attempt, response)| {
            let text = describe_attempt(&subject, attempt, response.as_ref());
            (attempt.started_at, EntryKind::Attempt, text)
        }));
        entries.extend(self.dead_letter.as_ref().map(|dead| {
            let text = format!("{subject} is a dead letter: {}", dead.reason);
            (dead.died_at, EntryKind::DeadLetter, text)
        }));
        entries.extend(self.end_entry(&subject));
        entries.extend(self.receipt.as_ref().and_then(|receipt| {
            let (at, text) = describe_receipt(receipt)?;
            Some((at, EntryKind::Receipt, format!("{subject}: {text}")))
        }));
        let entries = entries.into_iter();
        entries
            .map(|(at, kind, text)| TimelineEntry::new(at, kind, text).of_job(self.id))
            .collect()
    }

    fn subject(&self) -> String {
        match &self.delivery {
            Some((delivery, _)) => format!("delivery {} to {}", self.id, delivery.destination),
            None => format!("job {}", self.id),
        }
    }

    /// Returns the entry of the current state. A success is the last attempt, and a dead letter has
    /// its own entry.
    fn end_entry(&self, subject: &str) -> Option<(Timestamp, EntryKind, String)> {
        let kind = if self.delivery.is_some() {
            EntryKind::Delivery
        } else {
            EntryKind::Job
        };
        let text = match self.job.state {
            JobState::Scheduled if self.is_running => format!("{subject} is running"),
            JobState::Scheduled if self.job.attempts > 0 => {
                let next = self.job.attempts.saturating_add(1);
                format!("{subject} is due again for attempt {next}")
            }
            JobState::Scheduled => format!("{subject} is due"),
            JobState::Discarded => format!("{subject} was discarded by an admin"),
            JobState::Expired => format!("{subject} was too old and was not sent"),
            JobState::Done if self.attempts.is_empty() => format!("{subject} is done"),
            JobState::Done | JobState::Dead => return None,
        };
        Some((self.job.due_at, kind, text))
    }
}

fn describe_attempt(subject: &str, attempt: &Attempt, response: Option<&ResponseRecord>) -> String {
    let Attempt {
        number, duration, ..
    } = attempt;
    let response = response.map(|response| {
        let status = response
            .status
            .map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
        let body = truncate_chars(response.body_excerpt.trim(), RESPONSE_CHARS_MAX);
        if body.is_empty() {
            status
        } else {
            format!("{status} {body}")
        }
    });
    let result = match (&attempt.error, response) {
        (None, None) => "succeeded".to_owned(),
        (None, Some(response)) => format!("succeeded: {response}"),
        (Some(error), None) => format!("failed: {error}"),
        (Some(error), Some(response)) => format!("failed: {error} ({response})"),
    };
    format!(
        "{subject}, attempt {number} {result}, {} ms",
        duration.get()
    )
}

/// Returns the progress of a WhatsApp message and its time. `None` if Meta has sent no status.
fn describe_receipt(receipt: &Receipt) -> Option<(Timestamp, String)> {
    let message = receipt.wamid.as_deref().unwrap_or("the message");
    if let Some(pending) = &receipt.pending_attempt {
        let text = format!("{message}: no answer came, so a status of Meta must show if it exists");
        return Some((pending.deadline, text));
    }
    let state = match (receipt.error, receipt.stage) {
        (Some(error), _) => format!("did not arrive: {}", CloudError::summary(error)),
        (None, Some(DeliveryStage::Sent)) => "is on Meta's servers".to_owned(),
        (None, Some(DeliveryStage::Delivered)) => "is on the phone of the customer".to_owned(),
        (None, Some(DeliveryStage::Read)) => "was read by the customer".to_owned(),
        (None, None) => return None,
    };
    Some((receipt.updated_at?, format!("{message} {state}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventKind;
    use crate::domain::ids::DestinationName;
    use crate::domain::time::Millis;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn record(kind: JobKind, state: JobState) -> JobRecord {
        JobRecord {
            id: JobId::new(4),
            job: Job {
                state,
                due_at: at(90),
                ..Job::new(kind, None, at(10))
            },
            is_running: false,
            attempts: Vec::new(),
            dead_letter: None,
            delivery: None,
            receipt: None,
        }
    }

    fn attempt(number: u32, error: Option<&str>) -> Attempt {
        Attempt {
            number,
            started_at: at(u64::from(number) * 20),
            duration: Millis::new(5),
            error: error.map(str::to_owned),
        }
    }

    fn texts(record: &JobRecord) -> String {
        let entries = record.entries();
        let lines = entries.iter().map(|entry| {
            let TimelineEntry { at, kind, text, .. } = entry;
            format!("{} {}: {text}", at.as_millis(), kind.as_str())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn delivery_shows_each_attempt_response_and_receipt() {
        let mut record = record(JobKind::Deliver, JobState::Done);
        record.delivery = Some((
            Delivery {
                destination: DestinationName::new("crm").unwrap(),
                event_id: JobId::new(4),
                ordering_key: None,
                webhook_id: "msg_1".into(),
            },
            Event {
                kind: EventKind::LeadAssigned,
                occurred_at: at(10),
                flow: None,
                body: "{}".into(),
                delivery_count: 1,
            },
        ));
        let response = |status, body: &str| {
            Some(ResponseRecord {
                status: Some(status),
                body_excerpt: body.into(),
            })
        };
        record.attempts = vec![
            (attempt(1, Some("answered 503")), response(503, "busy\n")),
            (attempt(2, None), response(200, "")),
        ];
        record.receipt = Some(Receipt {
            wamid: Some("wamid.9".into()),
            stage: Some(DeliveryStage::Read),
            updated_at: Some(at(70)),
            ..Receipt::default()
        });
        insta::assert_snapshot!(texts(&record), @"
        10 event: event lead.assigned: queued for crm as delivery 4
        20 attempt: delivery 4 to crm, attempt 1 failed: answered 503 (HTTP 503 busy), 5 ms
        40 attempt: delivery 4 to crm, attempt 2 succeeded: HTTP 200, 5 ms
        70 receipt: delivery 4 to crm: wamid.9 was read by the customer
        ");
    }

    #[test]
    fn job_shows_its_current_state() {
        let mut waiting = record(JobKind::Process, JobState::Scheduled);
        assert_eq!(texts(&waiting), "90 job: job 4 is due");
        waiting.job.attempts = 2;
        assert_eq!(texts(&waiting), "90 job: job 4 is due again for attempt 3");
        waiting.is_running = true;
        assert_eq!(texts(&waiting), "90 job: job 4 is running");

        let mut dead = record(JobKind::Message, JobState::Dead);
        dead.dead_letter = Some(DeadLetter {
            died_at: at(80),
            reason: "no flow matches".to_owned(),
            payload: "{}".to_owned(),
            corrected_payload: None,
        });
        insta::assert_snapshot!(texts(&dead), @"
        10 job: job 4 stores a message of /webhook
        80 dead_letter: job 4 is a dead letter: no flow matches
        ");
    }
}
