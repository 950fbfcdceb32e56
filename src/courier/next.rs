//! Whether a delivery that is due is to be sent now, and as what.
//!
//! What a message says is put together in `super::{cloud, gateway}`, as each means needs it; that what is decided here is done,
//! and noted, is `super::{lane, attempt}`'s.

use crate::config::units::show_length;
use crate::config::{Destination, Means};
use crate::domain::message::{Recipient, Unsendable};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Outgoing, Until};

use super::{cloud, gateway};

/// What is to be done about a delivery that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this.
    Send(String),
    /// Wait, without an attempt.
    Hold { at: Timestamp, until: Until },
    /// Give it up: it can't be sent as it is.
    Refuse(String),
    /// Close it: it is too late, for this reason.
    Expire(String),
}

/// Looks at `outgoing`, which is due at `now`.
pub(super) fn look(to: &Destination, outgoing: &Outgoing, now: Timestamp) -> Next {
    let next = match &to.means {
        Means::Webhook(rule) => {
            match rule.body.render(outgoing.event.kind, &outgoing.delivery.message_id, &outgoing.body) {
                Ok(body) => Next::Send(body.into()),
                Err(why) => Next::Refuse(why.to_string()),
            }
        }
        // What it says is put into a mail as it is sent.
        Means::Smtp(_) => Next::Send(outgoing.body.to_string()),
        Means::Whatsapp(rule) => cloud::next(rule, to.retry, outgoing, now),
        Means::Gateway(rule) => gateway::next(rule, outgoing, now),
    };
    match (&next, late(to, outgoing, now)) {
        // Should it have been sent, that is soon known.
        (Next::Hold { until: Until::Status, .. }, _) | (_, None) => next,
        (_, Some(longest)) => Next::Expire(format!("it was not sent within {}", show_length(longest))),
    }
}

/// How long it may wait, where it has waited for longer. What an admin runs again is wanted, however late.
fn late(to: &Destination, outgoing: &Outgoing, now: Timestamp) -> Option<Millis> {
    to.expires.filter(|longest| now >= outgoing.event.at.plus(*longest) && !outgoing.job.was_revived())
}

/// What follows where `why` stands against sending it: a customer whom nobody knows yet is waited for.
pub(super) fn instead(why: &Unsendable, outgoing: &Outgoing, customer_wait: Millis, now: Timestamp) -> Next {
    let known_by = outgoing.event.at.plus(customer_wait);
    if *why == Unsendable::CustomerUnknown && outgoing.job.submission.is_some() && now < known_by {
        return Next::Hold { at: known_by, until: Until::Customer };
    }
    Next::Refuse(why.to_string())
}

/// Whom it is for, where all that is for them goes out together.
pub(super) fn together(to: &Destination, outgoing: &Outgoing) -> Option<Recipient> {
    match &to.means {
        Means::Gateway(rule) => gateway::together(rule, outgoing),
        Means::Webhook(_) | Means::Whatsapp(_) | Means::Smtp(_) => None,
    }
}
