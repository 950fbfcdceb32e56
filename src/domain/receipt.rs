//! What Meta's statuses say of a message that went out: sent, delivered, read, or failed after all.
//!
//! Statuses come late, twice and out of order; what a message has reached is never taken back. What follows from a failure
//! is `super::cloud_error`'s.

use serde::{Deserialize, Serialize};

use super::cloud_error::CloudError;
use super::ids::JobId;
use super::job::Attempt;
use super::time::{Millis, Timestamp};

/// How far a message has come, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Meta's servers have it.
    Sent,
    /// The user's phone has it.
    Delivered,
    /// The user has read it.
    Read,
}

impl Reached {
    /// The name that Meta and lists have for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }
}

/// What one status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// The message: `wamid.…`.
    pub wamid: Box<str>,
    /// What it was sent with, where that is ours.
    pub callback: Option<Callback>,
    /// What it says.
    pub said: Said,
    /// When Meta says it became so.
    pub at: Option<Timestamp>,
}

/// What a status says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has come so far.
    Reached(Reached),
    /// It did not reach its user.
    Failed(CloudError),
}

/// What goes with each message as `biz_opaque_callback_data`, and comes back with its statuses: the job, and the delivery's
/// id, so that a status of another file's message is not taken for one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The job.
    pub job: JobId,
    /// The delivery's id.
    pub message_id: Box<str>,
}

impl Callback {
    /// Reads what [`Callback::to_text`] wrote. `None`: somebody else's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (message_id, job) = text.rsplit_once('.')?;
        let is_ours = message_id.starts_with("msg_");
        is_ours.then_some(())?;
        Some(Self { job: JobId::new(job.parse().ok()?), message_id: message_id.into() })
    }

    /// Its text: far below the 512 characters that Meta takes.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.message_id, self.job)
    }
}

/// What is known of the message that a delivery became, as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The message, once Meta or a status has named it.
    pub wamid: Option<Box<str>>,
    /// How far it has come.
    pub reached: Option<Reached>,
    /// Why it failed after it was taken.
    pub failed: Option<CloudError>,
    /// When the last of these became so.
    pub at: Option<Timestamp>,
    /// An attempt that is under way, or broke off and left open whether there is a message.
    pub open: Option<Open>,
}

/// An attempt of which nobody knows yet what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its number.
    pub attempt: u32,
    /// When it began.
    pub since: Timestamp,
    /// Until then a status may tell; then it is made again.
    pub until: Timestamp,
}

/// What a status changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing that was not known.
    Nothing,
    /// That there is a message, or how far it has come.
    Reached,
    /// That the message was lost.
    Failed(CloudError),
}

impl Open {
    /// The attempt as it is noted, with why it failed or `None`. How long it took, only its own answer could tell.
    #[must_use]
    pub const fn attempt(self, error: Option<String>) -> Attempt {
        Attempt { number: self.attempt, started_at: self.since, took: Millis::ZERO, error }
    }
}

impl Receipt {
    /// Takes in what a status says.
    pub fn learn(&mut self, update: &StatusUpdate) -> Learned {
        let is_same = self.wamid.as_ref().is_none_or(|wamid| *wamid == update.wamid);
        match update.said {
            // An earlier message of this delivery: what followed it counts.
            Said::Failed(_) if !is_same => return Learned::Nothing,
            // Told again, or contradicted: it has reached the phone.
            Said::Failed(_) if self.failed.is_some() || self.reached >= Some(Reached::Delivered) => {
                return Learned::Nothing;
            }
            Said::Failed(error) => self.failed = Some(error),
            // A status that was overtaken by the failure.
            Said::Reached(_) if is_same && self.failed.is_some() => return Learned::Nothing,
            Said::Reached(reached) if Some(reached) <= self.reached => return Learned::Nothing,
            Said::Reached(reached) => self.reached = Some(reached),
        }
        self.wamid = Some(update.wamid.clone());
        self.at = update.at;
        match update.said {
            Said::Failed(error) => Learned::Failed(error),
            Said::Reached(_) => Learned::Reached,
        }
    }

    /// Whether the message `wamid` is known to be lost.
    #[must_use]
    pub fn is_lost(&self, wamid: &str) -> bool {
        self.failed.is_some() && self.wamid.as_deref() == Some(wamid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: CloudError = CloudError { code: 131_026, is_transient: false };

    fn update(wamid: &str, said: Said) -> StatusUpdate {
        StatusUpdate { wamid: wamid.into(), callback: None, said, at: None }
    }

    fn reached(wamid: &str, reached: Reached) -> StatusUpdate {
        update(wamid, Said::Reached(reached))
    }

    #[test]
    fn a_message_never_goes_back() {
        let mut receipt = Receipt::default();
        for (status, expected) in [
            (Reached::Sent, Learned::Reached),
            (Reached::Read, Learned::Reached),
            (Reached::Delivered, Learned::Nothing),
            (Reached::Read, Learned::Nothing),
        ] {
            assert_eq!(receipt.learn(&reached("a", status)), expected, "{status:?}");
        }
        assert_eq!(receipt.reached, Some(Reached::Read));
        assert_eq!(receipt.learn(&update("a", Said::Failed(LOST))), Learned::Nothing, "it was read");
    }

    #[test]
    fn a_failure_is_told_once_and_what_it_overtook_says_nothing() {
        let mut receipt = Receipt::default();
        assert_eq!(receipt.learn(&update("a", Said::Failed(LOST))), Learned::Failed(LOST));
        assert!(receipt.is_lost("a") && !receipt.is_lost("b"));
        assert_eq!(receipt.learn(&update("a", Said::Failed(LOST))), Learned::Nothing);
        assert_eq!(receipt.learn(&reached("a", Reached::Sent)), Learned::Nothing);
    }

    #[test]
    fn the_failure_of_an_earlier_message_says_nothing_of_the_next() {
        let mut receipt = Receipt { wamid: Some("b".into()), ..Receipt::default() };
        assert_eq!(receipt.learn(&update("a", Said::Failed(LOST))), Learned::Nothing);
        assert_eq!(receipt.learn(&reached("b", Reached::Sent)), Learned::Reached);
    }

    #[test]
    fn what_goes_with_a_message_comes_back_as_it_was() {
        let ours = Callback { job: JobId::new(42), message_id: "msg_0a".into() };
        assert_eq!(ours.to_text(), "msg_0a.42");
        assert_eq!(Callback::parse(&ours.to_text()), Some(ours));
        for other in ["", "42", "msg_0a", "msg_0a.", "msg_0a.x", "order.42"] {
            assert_eq!(Callback::parse(other), None, "{other}");
        }
    }
}
