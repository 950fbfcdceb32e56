//! One attempt to deliver: read, send, decide, note. It ends when what came of it is on disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::{Means, WhatsappRule};
use crate::domain::delivery::{Exchange, Meaning};
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::Attempt;
use crate::domain::retry::Verdict;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{BeginDelivery, HoldDelivery, NoteDelivery, Outgoing, StoreError, Trace, Transaction};

use super::cloud::{self, Next};
use super::webhook::Sent;
use super::{Recipient, Tools};

/// A delivery that is under way.
pub(super) struct Trial {
    pub(super) destination: DestinationName,
    pub(super) recipient: Arc<Recipient>,
    pub(super) tools: Tools,
    pub(super) job: JobId,
}

/// What its lane wants to know of an attempt.
pub(super) enum Answered {
    /// Nothing was sent: it is over already, or its destination was paused.
    Over,
    /// It was sent, and that is noted.
    Noted { meaning: Meaning, at: Timestamp, why: String },
}

impl Trial {
    /// Makes the attempt.
    pub(super) async fn run(self) -> Result<Answered, StoreError> {
        let outgoing = self.tools.store.look(|snapshot| {
            if snapshot.standstill(&self.destination)?.is_over() { snapshot.outgoing(self.job) } else { Ok(None) }
        })?;
        let Some(outgoing) = outgoing else { return Ok(Answered::Over) };
        let at = self.tools.clock.now();
        let body = match &self.recipient.rule.means {
            Means::Webhook(_) | Means::Smtp(_) => outgoing.body.clone(),
            Means::Whatsapp(rule) => match self.prepare(rule, &outgoing, at).await? {
                Some(body) => body,
                None => return Ok(Answered::Over),
            },
        };
        let began = self.tools.clock.elapsed();
        let sent = self.tools.sender.send(&self.recipient, &outgoing.delivery.message_id, &body, at).await;
        let took = self.tools.clock.elapsed().saturating_sub(began);
        let meaning = sent.meaning(outgoing.job.attempts_since_revival.saturating_add(1));
        let note = self.note(&outgoing, &sent, meaning, at, took);
        self.tell(&outgoing, &note, took);
        let why = sent.why();
        self.store(note).await?;
        Ok(Answered::Noted { meaning, at, why })
    }

    /// What is sent by WhatsApp, once it is written down that it may have been sent. `None`: nothing now, which is noted.
    async fn prepare(
        &self,
        rule: &WhatsappRule,
        outgoing: &Outgoing,
        now: Timestamp,
    ) -> Result<Option<Box<str>>, StoreError> {
        match cloud::next(rule, self.recipient.rule.retry, outgoing, now) {
            Next::Send(body) => {
                let open = cloud::opened(&self.recipient.rule, outgoing, now);
                let waits = self.store(BeginDelivery { job: self.job, open }).await?;
                Ok(waits.then(|| body.into()))
            }
            Next::Hold { at, until } => {
                tracing::debug!(job.id = self.job.get(), job.next_at = %at, "a delivery waits");
                self.store(HoldDelivery { job: self.job, at, until }).await.map(|()| None)
            }
            Next::Refuse(why) => {
                let attempt = Attempt { number: 0, started_at: now, took: Millis::ZERO, error: Some(why) };
                let note = NoteDelivery {
                    job: self.job,
                    attempt: Attempt { number: outgoing.job.attempts.saturating_add(1), ..attempt },
                    exchange: Exchange::default(),
                    failed: Some(Verdict::Dead),
                    disable: None,
                    trace: None,
                };
                self.tell(outgoing, &note, Duration::ZERO);
                self.store(note).await.map(|_| None)
            }
        }
    }

    /// What is written down.
    fn note(&self, outgoing: &Outgoing, sent: &Sent, meaning: Meaning, at: Timestamp, took: Duration) -> NoteDelivery {
        let number = outgoing.job.attempts_since_revival.saturating_add(1);
        let now = self.tools.clock.now();
        let after = |retry_after| {
            let chance = self.tools.entropy.fraction();
            Some(self.recipient.rule.retry.after(number, chance, retry_after, now))
        };
        let failed = match meaning {
            Meaning::Delivered => None,
            Meaning::Again { retry_after, .. } => after(retry_after),
            // As soon as somebody lets the destination go on, also where this was the last attempt.
            Meaning::Gone => Some(Verdict::Again { at: self.tools.clock.now() }),
            Meaning::Refused => Some(Verdict::Dead),
            // As soon as somebody lets the destination go on, however often that takes.
            Meaning::Stopped => Some(Verdict::Again { at: now }),
            // Also the last attempt waits for word of it.
            Meaning::Unknown => Some(Verdict::Again { at: cloud::opened(&self.recipient.rule, outgoing, at).until }),
        };
        let took = Millis::new(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let error = failed.map(|_| sent.why());
        let disable = match meaning {
            Meaning::Gone => Some("it answered 410 Gone: it wants no more".into()),
            Meaning::Stopped => Some(sent.why().into()),
            _ => None,
        };
        let trace = sent.cloud.as_ref().map(|cloud| match (meaning, &cloud.wamid) {
            (Meaning::Delivered, Some(wamid)) => Trace::Taken(wamid.clone()),
            (Meaning::Unknown, _) => Trace::Unknown,
            _ => Trace::None,
        });
        NoteDelivery {
            job: self.job,
            attempt: Attempt { number: outgoing.job.attempts.saturating_add(1), started_at: at, took, error },
            exchange: sent.exchange.clone(),
            failed,
            disable,
            trace,
        }
    }

    /// Hands it to the writer and waits for the commit.
    async fn store<T: Transaction>(&self, change: T) -> Result<T::Outcome, StoreError> {
        let (tell, told) = oneshot::channel();
        self.tools.store.send(change, move |result, _| {
            // Where the lane has ended, what is on disk stays there.
            let _ = tell.send(result);
        });
        told.await.unwrap_or(Err(StoreError::NotOpen))
    }

    fn tell(&self, outgoing: &Outgoing, note: &NoteDelivery, took: Duration) {
        let (destination, number) = (self.destination.as_str(), note.attempt.number);
        let (id, event, status) = (self.job.get(), outgoing.event.kind.as_str(), note.exchange.status);
        let error = note.attempt.error.as_deref().unwrap_or_default();
        let outcome = match note.failed {
            None => {
                tracing::debug!(job.id = id, destination, event, job.attempt = number, status, "delivered");
                "delivered"
            }
            Some(Verdict::Again { at }) => {
                tracing::warn!(job.id = id, destination, event, job.attempt = number, job.next_at = %at, error, "a delivery failed and will be tried again");
                "failed"
            }
            Some(Verdict::Dead) => {
                tracing::error!(
                    job.id = id,
                    destination,
                    event,
                    job.attempt = number,
                    error,
                    "a delivery failed and will not be tried again: it is a dead letter now"
                );
                "dead"
            }
        };
        let destination = destination.to_owned();
        metrics::counter!("flowgate_deliveries_attempts_total", "destination" => destination.clone(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("flowgate_delivery_seconds", "destination" => destination).record(took.as_secs_f64());
    }
}
