//! One attempt to deliver: read, send, decide, note. It ends when what came of it is on disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, Id};

use crate::config::Means;
use crate::domain::delivery::{Exchange, Meaning};
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::Attempt;
use crate::domain::pace::Quota;
use crate::domain::retry::Verdict;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    BeginDelivery, HoldDelivery, NoteDeliveries, NoteDelivery, Outgoing, SettleDeliveries, StoreError, Trace,
};

use super::next::{self, Next};
use super::webhook::{Said, Sent};
use super::{Recipient, Tools, cloud, gateway};

/// Deliveries that are under way: one, or several that are told at once.
pub(super) struct Trial {
    pub(super) destination: DestinationName,
    pub(super) recipient: Arc<Recipient>,
    pub(super) tools: Tools,
    /// Never empty.
    pub(super) jobs: Vec<JobId>,
    /// Hears of its task as soon as it was taken, before that is noted.
    pub(super) taken: mpsc::UnboundedSender<Id>,
}

/// What its lane wants to know of an attempt.
pub(super) enum Answered {
    /// Nothing was sent: nothing is told there at this time.
    Standstill,
    /// Nothing was sent: it is over already, waits for something, or was given up.
    Rest,
    /// It was sent, and that is noted.
    Noted(Noted),
}

/// An attempt that was made.
pub(super) struct Noted {
    /// How many deliveries it told.
    pub(super) count: usize,
    pub(super) meaning: Meaning,
    pub(super) at: Timestamp,
    /// Why it failed, where it did.
    pub(super) why: String,
    /// What the answer leaves to be sent.
    pub(super) quota: Option<Quota>,
}

impl Trial {
    /// Makes the attempt.
    pub(super) async fn run(self) -> Result<Answered, StoreError> {
        let read = self.tools.store.look(|snapshot| {
            if !snapshot.standstill(&self.destination)?.is_over() {
                return Ok(None);
            }
            let Some((first, others)) = self.jobs.split_first() else { return Ok(None) };
            let first = snapshot.outgoing(*first)?;
            // Of the others, what can't be read is told when its own turn comes.
            let others = others.iter().filter_map(|job| snapshot.outgoing(*job).ok().flatten());
            Ok(Some(first.into_iter().chain(others).collect()))
        })?;
        let Some(waiting) = read else { return Ok(Answered::Standstill) };
        let at = self.tools.clock.now();
        let Some((told, body)) = self.prepare(waiting, at).await? else { return Ok(Answered::Rest) };
        let Some(first) = told.first() else { return Ok(Answered::Rest) };
        let began = self.tools.clock.elapsed();
        let sent = self.tools.sender.send(&self.recipient, &first.delivery.message_id, &body, at).await;
        let took = self.tools.clock.elapsed().saturating_sub(began);
        let meaning = sent.meaning(first.job.attempts_since_revival.saturating_add(1));
        let notes: Vec<_> = told.iter().map(|outgoing| self.note(outgoing, &sent, meaning, at, took)).collect();
        for (outgoing, note) in told.iter().zip(&notes) {
            self.tell(outgoing, note, took);
        }
        let (count, why, quota) = (notes.len(), sent.why(), sent.quota());
        if let (Meaning::Delivered, Some(task)) = (meaning, task::try_id()) {
            // Where the lane has ended, nobody waits for room.
            let _ = self.taken.send(task);
        }
        self.tools.store.commit(NoteDeliveries { notes }).await?;
        Ok(Answered::Noted(Noted { count, meaning, at, why, quota }))
    }

    /// Those of `waiting` that are told now, and what is sent. `None`: nothing now, which is noted.
    async fn prepare(
        &self,
        mut waiting: Vec<Outgoing>,
        now: Timestamp,
    ) -> Result<Option<(Vec<Outgoing>, String)>, StoreError> {
        let Some(first) = waiting.first() else { return Ok(None) };
        let job = first.id;
        let body = match next::look(&self.recipient.rule, first, now) {
            Next::Send(body) => body,
            Next::Hold { at, until } => {
                tracing::debug!(job.id = job.get(), job.next_at = %at, "a delivery waits");
                self.tools.store.commit(HoldDelivery { job, at, until }).await?;
                return Ok(None);
            }
            Next::Expire(why) => {
                let expired = vec![(job, why)];
                self.tools.store.commit(SettleDeliveries { expired, ..SettleDeliveries::default() }).await?;
                return Ok(None);
            }
            Next::Refuse(why) => {
                self.refuse(first, why, now).await?;
                return Ok(None);
            }
        };
        match &self.recipient.rule.means {
            Means::Webhook(_) | Means::Smtp(_) => Ok(Some((waiting, body))),
            // It is written down first that it may have been sent.
            Means::Whatsapp(_) => {
                let open = cloud::opened(&self.recipient.rule, first, now);
                let waits = self.tools.store.commit(BeginDelivery { job, open }).await?;
                Ok(waits.then_some((waiting, body)))
            }
            Means::Gateway(rule) => {
                let (body, count) = gateway::merged(rule, &waiting).unwrap_or((body, 1));
                waiting.truncate(count);
                Ok(Some((waiting, body)))
            }
        }
    }

    /// Gives it up, which is noted: it can't be sent as it is.
    async fn refuse(&self, outgoing: &Outgoing, why: String, now: Timestamp) -> Result<(), StoreError> {
        let number = outgoing.job.attempts.saturating_add(1);
        let note = NoteDelivery {
            job: outgoing.id,
            attempt: Attempt { number, started_at: now, took: Millis::ZERO, error: Some(why) },
            exchange: Exchange::default(),
            failed: Some(Verdict::Dead),
            disable: None,
            trace: None,
        };
        self.tell(outgoing, &note, Duration::ZERO);
        self.tools.store.commit(note).await.map(|_| ())
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
            Meaning::Unknown => {
                after(None).map(|verdict| verdict.not_before(cloud::opened(&self.recipient.rule, outgoing, at).until))
            }
        };
        let took = Millis::new(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let error = failed.map(|_| sent.why());
        let disable = match meaning {
            Meaning::Gone => Some("it answered 410 Gone: it wants no more".into()),
            Meaning::Stopped => Some(sent.why().into()),
            _ => None,
        };
        let trace = match &sent.said {
            Said::Cloud(cloud) => Some(match (meaning, &cloud.wamid) {
                (Meaning::Delivered, Some(wamid)) => Trace::Taken(wamid.clone()),
                (Meaning::Unknown, _) => Trace::Unknown,
                _ => Trace::None,
            }),
            Said::Nothing | Said::Gateway(_) | Said::Mail(_) => None,
        };
        NoteDelivery {
            job: outgoing.id,
            attempt: Attempt { number: outgoing.job.attempts.saturating_add(1), started_at: at, took, error },
            exchange: sent.exchange.clone(),
            failed,
            disable,
            trace,
        }
    }

    fn tell(&self, outgoing: &Outgoing, note: &NoteDelivery, took: Duration) {
        let (destination, number) = (self.destination.as_str(), note.attempt.number);
        let (id, event, status) = (outgoing.id.get(), outgoing.event.kind.as_str(), note.exchange.status);
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
