//! One attempt to deliver: read, send, decide, note. It ends when what came of it is on disk.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{self, Id};
use tokio::time::sleep;

use crate::config::Means;
use crate::domain::delivery::{Ending, Exchange, Meaning};
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::job::Attempt;
use crate::domain::pace::Quota;
use crate::domain::retry::Verdict;
use crate::domain::time::{Millis, Timestamp};
use crate::guard::guarded_to_its_end;
use crate::store::{
    BeginDelivery, HoldDelivery, NoteDeliveries, NoteDelivery, Outgoing, SettleDeliveries, StoreError, Trace,
};

use super::next::{self, Moment, When};
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
    /// Nothing was sent: it is over already, waits for something, or was given up. What has expired, and why.
    Rest(Vec<(JobId, String)>),
    /// It was sent, and can't be noted: some row of it is damaged. To send it again would not change that.
    Unnoted(Vec<JobId>, StoreError),
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

/// What is to be done of an attempt.
enum Prepared {
    /// Sends this, which tells of these.
    Send(Vec<Outgoing>, String),
    /// Nothing now, which is noted. What has expired, and why.
    Rest(Vec<(JobId, String)>),
}

/// How long it is until what was sent is noted once more, while the store takes nothing.
const AGAIN: Duration = Duration::from_secs(1);

impl Trial {
    /// Makes the attempt. A panic is a failed one.
    pub(super) async fn run(mut self) -> Result<Answered, StoreError> {
        // Those that are left out are due as before: the lane reads them again.
        self.jobs.truncate(self.tools.suspects.count_together(&self.jobs));
        let (at, began) = (self.tools.clock.now(), self.tools.clock.elapsed());
        match guarded_to_its_end(self.make()).await {
            Ok(answered) => answered,
            Err(_) => self.note_panic(at, self.tools.clock.elapsed().saturating_sub(began)).await,
        }
    }

    /// Notes that the attempt panicked, which its hook has told. How far it came is not known.
    async fn note_panic(&self, at: Timestamp, took: Duration) -> Result<Answered, StoreError> {
        let waiting: Vec<Outgoing> = self
            .tools
            .store
            .look(|snapshot| Ok(self.jobs.iter().filter_map(|job| snapshot.outgoing(*job).ok().flatten()).collect()))?;
        let why = "the attempt panicked: the log has its text".to_owned();
        let sent = Sent::unanswered(Ending::Unknown, why, &self.recipient.credentials);
        let notes: Vec<_> = waiting
            .iter()
            .map(|outgoing| {
                let meaning = sent.meaning(outgoing.job.attempts_since_revival.saturating_add(1));
                self.note(outgoing, &sent, meaning, at, took)
            })
            .collect();
        for (outgoing, note) in waiting.iter().zip(&notes) {
            self.tell(outgoing, note, took);
        }
        match self.keep(notes).await {
            Ok(()) => Ok(Answered::Rest(Vec::new())),
            Err((jobs, error)) => Ok(Answered::Unnoted(jobs, error)),
        }
    }

    async fn make(&self) -> Result<Answered, StoreError> {
        let Some((job, others)) = self.jobs.split_first() else { return Ok(Answered::Rest(Vec::new())) };
        let read = self.tools.store.look(|snapshot| {
            let outgoing = |job| next::read(&snapshot, &self.recipient.rule, job);
            if !snapshot.standstill(&self.destination)?.is_over() {
                return Ok(None);
            }
            let first = outgoing(*job)?;
            // Of the others, what can't be read is told when its own turn comes.
            let others = others.iter().filter_map(|job| outgoing(*job).ok().flatten());
            Ok(Some(first.into_iter().chain(others).collect()))
        })?;
        let Some(waiting) = read else { return Ok(Answered::Standstill) };
        let moment = self.tools.since.moment(&*self.tools.clock);
        let preparing = self.prepare(waiting, moment);
        let Some(prepared) = self.tools.suspects.watch(&self.tools.store, *job, preparing).await? else {
            return Ok(Answered::Rest(Vec::new()));
        };
        let (told, body) = match prepared? {
            Prepared::Send(told, body) => (told, body),
            Prepared::Rest(expired) => return Ok(Answered::Rest(expired)),
        };
        let Some(first) = told.first() else { return Ok(Answered::Rest(Vec::new())) };
        let (at, began) = (moment.now, self.tools.clock.elapsed());
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
        if let Err((jobs, error)) = self.keep(notes).await {
            return Ok(Answered::Unnoted(jobs, error));
        }
        Ok(Answered::Noted(Noted { count, meaning, at, why, quota }))
    }

    /// Notes what was sent, however long the store takes nothing: sent again, it might be there twice.
    ///
    /// # Errors
    /// Those that can't be noted, and why.
    async fn keep(&self, notes: Vec<NoteDelivery>) -> Result<(), (Vec<JobId>, StoreError)> {
        match self.commit_in_the_end(&notes).await {
            Ok(()) => return Ok(()),
            // One of several holds up the others.
            Err(error) if error.is_of_one_change() && notes.len() > 1 => {}
            Err(error) => return Err((notes.iter().map(|note| note.job).collect(), error)),
        }
        let mut failed = None;
        for note in &notes {
            if let Err(error) = self.commit_in_the_end(std::slice::from_ref(note)).await {
                let (jobs, _) = failed.get_or_insert_with(|| (Vec::new(), error));
                jobs.push(note.job);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Commits them as soon as the store takes anything.
    async fn commit_in_the_end(&self, notes: &[NoteDelivery]) -> Result<(), StoreError> {
        loop {
            match self.tools.store.commit(NoteDeliveries { notes: notes.to_vec() }).await {
                Err(error) if error.is_of_closed_store() => sleep(AGAIN).await,
                ended => return ended,
            }
        }
    }

    /// Those of `waiting` that are told now, and what is sent.
    async fn prepare(&self, waiting: Vec<Outgoing>, moment: Moment) -> Result<Prepared, StoreError> {
        let rule = &self.recipient.rule;
        let (mut settling, mut now) = (SettleDeliveries::default(), Vec::new());
        for outgoing in waiting {
            match next::when(rule, &outgoing, moment) {
                When::Now => now.push(outgoing),
                When::Hold { at, until } => settling.held.push(HoldDelivery { job: outgoing.id, at, until }),
                When::Never(why) => settling.expired.push((outgoing.id, why)),
            }
        }
        let expired = settling.expired.clone();
        if !settling.is_empty() {
            self.tools.store.commit(settling).await?;
        }
        // Where some of several have expired, the lane tells of those, and reads the others again.
        let Some(first) = now.first().filter(|_| expired.is_empty()) else { return Ok(Prepared::Rest(expired)) };
        let body = match next::what(rule, first, moment.now) {
            Ok(body) => body,
            Err(why) => {
                self.refuse(first, why, moment.now).await?;
                return Ok(Prepared::Rest(Vec::new()));
            }
        };
        match &rule.means {
            Means::Webhook(_) | Means::Smtp(_) => Ok(Prepared::Send(now, body)),
            // It is written down first that it may have been sent.
            Means::Whatsapp(_) => {
                let open = cloud::opened(rule, first, moment.now);
                let waits = self.tools.store.commit(BeginDelivery { job: first.id, open }).await?;
                Ok(if waits { Prepared::Send(now, body) } else { Prepared::Rest(Vec::new()) })
            }
            Means::Gateway(rule) => {
                let (body, count) = gateway::merged(rule, &now).unwrap_or((body, 1));
                now.truncate(count);
                Ok(Prepared::Send(now, body))
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
            Meaning::Gone | Meaning::Stopped => Some(Verdict::Again { at: now }),
            Meaning::Refused => Some(Verdict::Dead),
            // Also the last attempt waits for word of it.
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
