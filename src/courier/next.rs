//! Whether a delivery that is due is to be sent now, and as what. The first is asked of all that are due, the second only of
//! what is sent.
//!
//! What a message says is put together in `super::{cloud, gateway}`, as each means needs it; that what is decided here is done,
//! and noted, is `super::{lane, shelf, attempt}`'s.

use serde_json::Value;

use crate::clock::Clock;
use crate::config::units::show_length;
use crate::config::{Destination, Means};
use crate::domain::ids::JobId;
use crate::domain::message::{Addressee, Recipient, Unsendable};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Outgoing, Snapshot, StoreError, Until};

use super::{cloud, gateway, mail};

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the wall clock.
    pub(super) now: Timestamp,
    /// The same, or earlier where the wall clock was set forward since the start: nothing gets older than it is.
    pub(super) unhurried: Timestamp,
}

/// What is to be done about a delivery that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It is to be sent.
    Now,
    /// It waits, without an attempt.
    Hold { at: Timestamp, until: Until },
    /// It is closed, for this reason: it is too late, or can go to nobody.
    Never(String),
}

/// Tells moments: knows by both clocks when the process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    wall: Timestamp,
    elapsed: std::time::Duration,
}

impl Since {
    /// From now on.
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), elapsed: clock.elapsed() }
    }

    /// This moment.
    pub(super) fn moment(self, clock: &dyn Clock) -> Moment {
        let now = clock.now();
        let went_by = clock.elapsed().saturating_sub(self.elapsed).as_millis();
        let by_process = self.wall.plus(Millis::new(u64::try_from(went_by).unwrap_or(u64::MAX)));
        Moment { now, unhurried: now.min(by_process) }
    }
}

/// Reads what is to be sent to `to` for `job`; `None` if it does not wait for that any more. The customer is read only if `to`
/// writes to customers.
///
/// # Errors
/// As [`Snapshot::outgoing`].
pub(super) fn read(snapshot: &Snapshot, to: &Destination, job: JobId) -> Result<Option<Outgoing>, StoreError> {
    match to.means.addressee() {
        Some(Addressee::Customer) => snapshot.outgoing_with_customer(job),
        Some(Addressee::Agent(_)) | None => snapshot.outgoing(job),
    }
}

/// Whether `outgoing` is to be sent.
pub(super) fn when(to: &Destination, outgoing: &Outgoing, moment: Moment) -> When {
    // Should it have been sent already, that is soon known.
    if let Some(at) = cloud::awaited(outgoing, moment.now) {
        return When::Hold { at, until: Until::Status };
    }
    if let Some(longest) = late(to, outgoing, moment) {
        return When::Never(format!("it was not sent within {}", show_length(longest)));
    }
    match customer_wait(&to.means) {
        Some(longest) if recipient(to, outgoing) == Err(Unsendable::CustomerUnknown) => {
            let known_by = outgoing.event.at.plus(longest);
            match outgoing.job.submission {
                // Nobody will ever know: only what follows a form that was sent names its customer.
                None => When::Never("nobody to write to: nothing says who filled in the form".to_owned()),
                Some(submission) if moment.now < known_by => {
                    When::Hold { at: known_by, until: Until::Customer(submission) }
                }
                Some(_) => When::Now,
            }
        }
        _ => When::Now,
    }
}

/// The body to send at `now` for `outgoing`.
///
/// # Errors
/// Why it can't be sent as it is.
pub(super) fn what(to: &Destination, outgoing: &Outgoing, now: Timestamp) -> Result<String, String> {
    let words = |why: Unsendable| why.to_string();
    let id = &outgoing.delivery.message_id;
    match &to.means {
        Means::Webhook(rule) => {
            let body = rule.body.render(outgoing.event.kind, id, &outgoing.body);
            body.map(Into::into).map_err(|why| why.to_string())
        }
        Means::Smtp(rule) => mail::whole_mail(rule, id, &outgoing.body, now),
        Means::Whatsapp(rule) => cloud::request(rule, to.retry, outgoing),
        Means::Gateway(rule) => gateway::request(rule, outgoing).map_err(words),
    }
}

/// Whom it is for, where all that is for them goes out together: an agent, through a gateway. What customers are told is about
/// one thing each.
pub(super) fn together(to: &Destination, outgoing: &Outgoing) -> Option<Recipient> {
    match &to.means {
        Means::Gateway(rule) if matches!(rule.to, Addressee::Agent(_)) => recipient(to, outgoing).ok(),
        _ => None,
    }
}

/// How long it may wait, where it has waited for longer. What an admin runs again is wanted, however late.
fn late(to: &Destination, outgoing: &Outgoing, moment: Moment) -> Option<Millis> {
    let waited = moment.unhurried.since(outgoing.event.at);
    to.expires.filter(|longest| waited >= *longest && !outgoing.job.was_revived())
}

const fn customer_wait(means: &Means) -> Option<Millis> {
    match means {
        Means::Whatsapp(rule) => Some(rule.customer_wait),
        Means::Gateway(rule) => Some(rule.customer_wait),
        Means::Webhook(_) | Means::Smtp(_) => None,
    }
}

fn recipient(to: &Destination, outgoing: &Outgoing) -> Result<Recipient, Unsendable> {
    let addressee = to.means.addressee().ok_or(Unsendable::NoAgent)?;
    addressee.recipient(&data_of(outgoing)?, outgoing.customer.as_ref())
}

/// What an event says of itself.
pub(super) fn data_of(outgoing: &Outgoing) -> Result<Value, Unsendable> {
    let mut body: Value = serde_json::from_str(&outgoing.body).map_err(|_| Unsendable::NoData)?;
    let data = body.get_mut("data").map(Value::take);
    data.filter(Value::is_object).ok_or(Unsendable::NoData)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::delivery::{Delivery, Event};
    use crate::domain::event::EventKind;
    use crate::domain::ids::{DestinationName, JobId, SubmissionId};
    use crate::domain::job::{Job, JobKind};

    /// 2026-11-24T08:00:00Z.
    const AT: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    fn destination(table: &str) -> Destination {
        let text = format!("[destinations.thanks]\n{table}");
        Config::parse("config.toml".as_ref(), &text).unwrap().destinations.into_values().next().unwrap()
    }

    /// A delivery of an event that became true at [`AT`].
    fn outgoing(kind: EventKind, submission: Option<SubmissionId>, data: &str) -> Outgoing {
        let body: Box<str> = format!(r#"{{"type":"{}","data":{data}}}"#, kind.as_str()).into();
        let id = JobId::new(1);
        let destination = DestinationName::new("thanks").unwrap();
        Outgoing {
            id,
            job: Job::new(JobKind::Deliver, submission, AT),
            delivery: Delivery { destination, event: id, queue: None, message_id: "msg_1".into() },
            event: Event { kind, at: AT, flow: None, body: body.clone(), deliveries: 1 },
            body,
            receipt: None,
            customer: None,
        }
    }

    /// When a message to a customer is sent that nobody knows.
    fn when_nobody_is_known(kind: EventKind, submission: Option<SubmissionId>, data: &str, minutes: u64) -> When {
        let to = destination(&format!(
            "kind = \"whatsapp\"\nphone_number_id = \"106540352242922\"\naccess_token = \"env:T\"\n\
             to = \"customer\"\nmessages = {{ \"{kind}\" = {{ text = \"Hello\" }} }}"
        ));
        let now = AT.plus(Millis::from_secs(60 * minutes));
        when(&to, &outgoing(kind, submission, data), Moment { now, unhurried: now })
    }

    #[test]
    fn a_mail_is_whole_before_it_is_sent() {
        let inbox = destination(
            "kind = \"smtp\"\nhost = \"mail.shop.example\"\nfrom = \"a@shop.example\"\nto = \"b@shop.example\"\n\
             messages = { \"lead.waiting\" = { subject = \"For {lead.team}\", text = \"A lead waits\" } }",
        );
        let mail = what(&inbox, &outgoing(EventKind::LeadWaiting, None, r#"{"lead":{"team":"sales"}}"#), AT).unwrap();
        for line in ["Subject: For sales", "Message-ID: <msg_1@shop.example>", "A lead waits"] {
            assert!(mail.split("\r\n").any(|found| found == line), "{line} is not in {mail}");
        }
    }

    #[test]
    fn a_message_about_a_draft_that_names_nobody_is_closed_and_one_about_a_form_waits_to_learn_who_it_was() {
        let draft = r#"{"draft":{"user":{"id":null,"phone":null}}}"#;
        let closed = when_nobody_is_known(EventKind::DraftAbandoned, None, draft, 0);
        assert!(matches!(&closed, When::Never(why) if why.starts_with("nobody to write to")), "{closed:?}");
        let named = r#"{"draft":{"user":{"id":null,"phone":"491511234567"}}}"#;
        assert_eq!(when_nobody_is_known(EventKind::DraftAbandoned, None, named, 0), When::Now);
        let form = r#"{"submission":{"user":{"id":null,"phone":null}}}"#;
        let of_form =
            |minutes| when_nobody_is_known(EventKind::SubmissionAccepted, Some(SubmissionId::new(1)), form, minutes);
        assert!(matches!(of_form(59), When::Hold { until: Until::Customer(_), .. }));
        assert_eq!(of_form(60), When::Now, "it becomes a dead letter that says so");
    }
}
