//! Decides the disposition after an error response of Meta's Cloud API to a message.
//!
//! The meaning depends on `error.code`, not on the HTTP status, because rate limits have status 400
//! as well as 429. The table follows *Cloud API error codes* and lists the action of the sender. A
//! code that is not in the table is judged by the status, like the response of a webhook.
//! `is_transient` always means that a retry is useful.

use serde::{Deserialize, Serialize};

use super::disposition::{AttemptEnd, Disposition};
use crate::domain::time::Millis;

/// Maximum number of attempts if Meta gives no reason for the failure. Every attempt may have
/// reached the customer.
const UNCERTAIN_ATTEMPTS_MAX: u32 = 5;

/// Pause of the destination after a limit of the app or the business account, because Meta counts
/// these limits by the hour.
const HOURLY_LIMIT_PAUSE: Millis = Millis::from_secs(2 * 60);

/// Pause of the destination after a throughput limit of the number, because Meta counts throughput
/// by the second.
const THROUGHPUT_PAUSE: Millis = Millis::from_secs(2);

/// Pause of the destination while its number is in maintenance. The maintenance is over within this
/// time (*Throughput*).
const MAINTENANCE_PAUSE: Millis = Millis::from_secs(60);

/// Maximum delay after the pair limit.
const PAIR_BACKOFF_MAX: Millis = Millis::from_secs(60 * 60);

/// Error that Meta reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudError {
    /// Error code (`error.code`).
    pub code: i64,
    /// `true` if Meta marks the error as temporary (`error.is_transient`).
    pub is_transient: bool,
}

/// Action of the sender after an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudErrorAction {
    /// Retry. Meta's servers have a failure.
    Retry,
    /// Retry soon and send more slowly. The number sends too fast.
    SlowDown,
    /// Retry, and pause the whole destination for at least this time.
    PauseDestination(Millis),
    /// Retry after 4^X seconds, X = 0, 1, 2 … The limit counts messages to one customer, so other
    /// deliveries do not wait.
    PairBackoff,
    /// Retry a few times.
    RetryFewTimes,
    /// Retry after at least this time. Other deliveries do not wait.
    RetryLater(Millis),
    /// Do not retry. The message can't be sent without a change.
    GiveUp,
    /// Block the destination. Nothing can be sent until an admin acts.
    Block,
}

impl CloudError {
    /// Code that stands for a missing code.
    pub const NO_CODE: i64 = -1;

    /// Returns the action that the table lists for the code. Returns `None` if the code is not in
    /// the table.
    #[must_use]
    pub const fn action(self) -> Option<CloudErrorAction> {
        Some(match self.code {
            1 | 2 | 131_016 | 133_004 => CloudErrorAction::Retry,
            130_429 => CloudErrorAction::SlowDown,
            4 | 80_007 => CloudErrorAction::PauseDestination(HOURLY_LIMIT_PAUSE),
            131_057 => CloudErrorAction::PauseDestination(MAINTENANCE_PAUSE),
            131_056 => CloudErrorAction::PairBackoff,
            131_000 => CloudErrorAction::RetryFewTimes,
            132_069 => CloudErrorAction::RetryLater(Millis::from_secs(60 * 60)),
            // The customer, or Meta on behalf of the customer, refuses the message. The recipient
            // or a part of the message is wrong. The template or the flow can't be used.
            131_048 | 131_049 | 130_472 | 131_026 | 131_047 | 131_050 | 131_030 | 131_021
            | 131_051 | 131_008 | 131_009 | 100 | 33 | 131_062 | 137_000 | 132_000 | 132_001
            | 132_005 | 132_007 | 132_008 | 132_012 | 132_015 | 132_016 | 132_068 => {
                CloudErrorAction::GiveUp
            }
            code if is_account_problem(code) => CloudErrorAction::Block,
            _ => return None,
        })
    }

    /// Returns `true` if nothing can be sent until an admin acts.
    #[must_use]
    pub fn blocks_destination(self) -> bool {
        self.action() == Some(CloudErrorAction::Block)
    }

    /// Returns a description of the code in our own words. Meta's text may contain the token or the
    /// recipient of the message.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self.code {
            1 | 2 | 131_016 | 133_004 => "Meta's servers are temporarily unavailable",
            130_429 => "the number sends too fast",
            4 => "the app has reached its limit of calls",
            80_007 => "the business account has reached its rate limit",
            131_057 => "the number is in maintenance",
            131_056 => "too many messages to this customer",
            131_000 => "Meta reports an unknown error",
            131_048 => "the number is restricted because of spam reports",
            131_049 => "Meta withheld it to protect customers from too many messages",
            130_472 => "the customer is part of a Meta experiment and gets no such messages",
            131_026 => {
                "the message can't be delivered: the recipient has no WhatsApp, or an old version"
            }
            131_047 => {
                "more than 24 hours since the last message of the customer: this needs a template"
            }
            131_050 => "the customer has stopped marketing messages",
            131_030 | 131_021 => "this number is not allowed to send to this recipient",
            131_051 | 131_008 | 131_009 | 100 | 131_062 | 137_000 => {
                "a part of the message is wrong or missing"
            }
            33 => "there is no such phone number id, or the access token may not use it",
            132_000 | 132_012 => "the parameters do not fit the template",
            132_001 => "there is no such template in this language",
            132_005 => "the text becomes too long for the template",
            132_007 | 132_008 => "the template violates a policy, or has invalid characters",
            132_015 | 132_016 => "the template is paused or disabled",
            132_068 => "the flow is blocked",
            132_069 => "the flow is throttled",
            0 | 190 => {
                "the access token is invalid or expired: create a new one in Meta's business settings"
            }
            3 | 10 | 200..=299 | 131_005 => {
                "the access token lacks whatsapp_business_messaging for this number"
            }
            131_031 | 368 | 131_064 => "the account is locked or restricted",
            130_497 => "the account may not write to customers in this country",
            131_042 => "the account's payment has a problem",
            131_045 | 131_037 => {
                "the number is not registered, or its display name is not approved"
            }
            Self::NO_CODE => "Meta does not say why",
            _ => "Meta does not document this",
        }
    }

    /// Returns the reason of the failure for lists, logs and alerts.
    #[must_use]
    pub fn summary(self) -> String {
        format!("error {}: {}", self.code, self.description())
    }
}

/// Returns `true` if the token or its permissions are wrong, or if the account has a problem.
const fn is_account_problem(code: i64) -> bool {
    matches!(code, 0 | 3 | 10 | 190 | 200..=299 | 368 | 130_497)
        || matches!(
            code,
            131_005 | 131_031 | 131_037 | 131_042 | 131_045 | 131_064
        )
}

/// Returns the disposition after an attempt. `attempt_number` starts at 1. `accepted` is `true` if
/// the response contains the ID of the created message.
#[must_use]
pub fn disposition(
    attempt_end: AttemptEnd,
    error: Option<CloudError>,
    accepted: bool,
    attempt_number: u32,
) -> Disposition {
    let retry = Disposition::retry;
    let (status, requested_delay) = match attempt_end {
        AttemptEnd::Responded {
            status,
            retry_after,
        } => (status, retry_after),
        AttemptEnd::NotSent => return retry(None, false, true),
        AttemptEnd::Unknown => return Disposition::Unconfirmed,
    };
    let at_least = |length: Millis| Some(requested_delay.unwrap_or_default().max(length));
    let Some(error) = error else {
        return match status {
            200..=299 if accepted => Disposition::Delivered,
            // A server accepted the request, but the response is not a response of the Cloud API.
            // The message may have been sent.
            200..=299 => Disposition::Unconfirmed,
            _ => status_disposition(attempt_end),
        };
    };
    match error.action() {
        Some(CloudErrorAction::Retry) => retry(requested_delay, requested_delay.is_some(), true),
        Some(CloudErrorAction::SlowDown) => retry(at_least(THROUGHPUT_PAUSE), true, false),
        Some(CloudErrorAction::PauseDestination(length)) => retry(at_least(length), true, false),
        Some(CloudErrorAction::PairBackoff) => {
            retry(at_least(pair_backoff(attempt_number)), false, false)
        }
        Some(CloudErrorAction::RetryFewTimes) if attempt_number >= UNCERTAIN_ATTEMPTS_MAX => {
            Disposition::Refused
        }
        Some(CloudErrorAction::RetryFewTimes) => retry(requested_delay, false, false),
        Some(CloudErrorAction::RetryLater(length)) => retry(at_least(length), false, false),
        Some(CloudErrorAction::Block) => Disposition::Block,
        _ if error.is_transient => retry(requested_delay, false, true),
        Some(CloudErrorAction::GiveUp) => Disposition::Refused,
        None => status_disposition(attempt_end),
    }
}

/// Returns the disposition after a response without a known code. The Cloud API does not use status
/// 410, so 410 refuses only this message.
fn status_disposition(attempt_end: AttemptEnd) -> Disposition {
    match attempt_end.webhook_disposition() {
        Disposition::Disable | Disposition::Delivered => Disposition::Refused,
        meaning => meaning,
    }
}

/// Returns the delay before a message is sent again after a status update reported it as failed.
/// Returns `None` if the message must not be sent again. `attempts` is the number of times that the
/// message was sent.
///
/// Meta had accepted each of these attempts. The number of attempts is therefore limited for every
/// code.
#[must_use]
pub fn retry_after_failed_status(error: CloudError, attempts: u32) -> Option<Millis> {
    let pause = match error.action() {
        Some(CloudErrorAction::GiveUp) | None if !error.is_transient => return None,
        // The delivery continues as soon as an admin has repaired the destination.
        Some(CloudErrorAction::Block) => return Some(Millis::ZERO),
        Some(CloudErrorAction::PauseDestination(length) | CloudErrorAction::RetryLater(length)) => {
            length.max(pair_backoff(attempts))
        }
        Some(_) | None => pair_backoff(attempts),
    };
    (attempts < UNCERTAIN_ATTEMPTS_MAX).then_some(pause)
}

/// Returns 4^X seconds, with X = 0 for the first attempt. The maximum is `PAIR_BACKOFF_MAX`.
fn pair_backoff(attempt_number: u32) -> Millis {
    Millis::from_secs(4_u64.saturating_pow(attempt_number.saturating_sub(1))).min(PAIR_BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn error(code: i64) -> CloudError {
        let is_transient = false;
        CloudError { code, is_transient }
    }

    const fn transient_error(code: i64) -> CloudError {
        let is_transient = true;
        CloudError { code, is_transient }
    }

    const fn response(status: u16) -> AttemptEnd {
        AttemptEnd::Responded {
            status,
            retry_after: None,
        }
    }

    fn disposition_of(code: i64, number: u32) -> Disposition {
        disposition(response(400), Some(error(code)), false, number)
    }

    fn retry(seconds: Option<u64>, pauses_destination: bool, is_failure: bool) -> Disposition {
        let delay = seconds.map(Millis::from_secs);
        Disposition::retry(delay, pauses_destination, is_failure)
    }

    #[test]
    fn every_documented_code_has_an_action() {
        for (codes, expected) in [
            (&[4, 80_007][..], retry(Some(120), true, false)),
            (&[130_429], retry(Some(2), true, false)),
            (&[131_056], retry(Some(1), false, false)),
            (&[131_000], retry(None, false, false)),
            (&[131_057], retry(Some(60), true, false)),
            (&[1, 2, 131_016, 133_004], retry(None, false, true)),
            (&[132_069], retry(Some(3600), false, false)),
            (&[131_048, 131_049, 130_472, 131_026], Disposition::Refused),
            (&[131_047, 131_050, 131_030, 131_021], Disposition::Refused),
            (&[131_051, 131_008, 131_009, 100, 33], Disposition::Refused),
            (&[131_062, 137_000, 132_000, 132_001], Disposition::Refused),
            (&[132_005, 132_007, 132_008, 132_012], Disposition::Refused),
            (&[132_015, 132_016, 132_068], Disposition::Refused),
            (&[0, 3, 10, 190, 200, 250, 299, 131_005], Disposition::Block),
            (&[131_031, 368, 130_497, 131_042], Disposition::Block),
            (&[131_045, 131_037, 131_064], Disposition::Block),
        ] {
            for code in codes {
                assert_eq!(disposition_of(*code, 1), expected, "{code}");
                let words = error(*code).description();
                assert_ne!(words, "Meta does not document this", "{code}");
            }
        }
    }

    #[test]
    fn pair_backoff_is_capped_at_an_hour() {
        let last = 4_000_000_000;
        for (number, seconds) in [(1, 1), (2, 4), (3, 16), (4, 64), (7, 3600), (last, 3600)] {
            let expected = retry(Some(seconds), false, false);
            assert_eq!(disposition_of(131_056, number), expected, "{number}");
        }
    }

    #[test]
    fn unspecific_error_is_retried_a_few_times() {
        assert_eq!(disposition_of(131_000, 4), retry(None, false, false));
        assert_eq!(disposition_of(131_000, 5), Disposition::Refused);
    }

    #[test]
    fn known_code_overrides_http_status() {
        let failure = retry(None, false, true);
        for (status, error, expected) in [
            (500, error(131_047), Disposition::Refused),
            (200, error(190), Disposition::Block),
            (400, error(999_999), Disposition::Refused),
            (429, error(999_999), retry(None, true, false)),
            (503, error(999_999), failure),
            // The Cloud API disables no destination with this status.
            (410, error(999_999), Disposition::Refused),
            (400, transient_error(999_999), failure),
            (400, transient_error(131_026), failure),
            // A retry with the same token is useless.
            (400, transient_error(190), Disposition::Block),
        ] {
            let actual = disposition(response(status), Some(error), false, 1);
            assert_eq!(actual, expected, "{status} {error:?}");
        }
    }

    #[test]
    fn response_without_code_is_judged_by_status() {
        let failure = retry(None, false, true);
        for (end, accepted, expected) in [
            (response(200), true, Disposition::Delivered),
            // Another server than Meta's may have responded.
            (response(200), false, Disposition::Unconfirmed),
            (response(500), false, failure),
            (response(404), false, Disposition::Refused),
            (AttemptEnd::NotSent, false, failure),
            (AttemptEnd::Unknown, false, Disposition::Unconfirmed),
        ] {
            assert_eq!(disposition(end, None, accepted, 1), expected, "{end:?}");
        }
    }

    #[test]
    fn longer_retry_after_is_honoured() {
        let with_retry_after = |seconds, code| {
            let end = AttemptEnd::Responded {
                status: 429,
                retry_after: Some(Millis::from_secs(seconds)),
            };
            disposition(end, Some(error(code)), false, 1)
        };
        assert_eq!(with_retry_after(600, 4), retry(Some(600), true, false));
        assert_eq!(with_retry_after(5, 4), retry(Some(120), true, false));
        assert_eq!(with_retry_after(5, 2), retry(Some(5), true, true));
    }

    #[test]
    fn failed_status_is_retried_a_few_times() {
        for (error, attempts, seconds, why) in [
            (error(131_026), 1, None, ""),
            (error(131_000), 1, Some(1), ""),
            (error(131_016), 3, Some(16), ""),
            (error(131_016), 5, None, "each of them was sent"),
            (error(80_007), 1, Some(120), ""),
            (error(131_042), 9, Some(0), "when somebody has paid"),
            (error(999_999), 1, None, ""),
            (transient_error(999_999), 1, Some(1), ""),
        ] {
            let delay = retry_after_failed_status(error, attempts);
            assert_eq!(delay, seconds.map(Millis::from_secs), "{error:?} {why}");
        }
    }
}
