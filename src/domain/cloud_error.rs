//! What an answer of Meta's Cloud API means, when a message was to be sent: by `error.code`, not by the HTTP status, since
//! rate limits come as 400 as well as 429.
//!
//! The table is that of *Cloud API error codes*, read for what a sender has to do. A code that is not in it is judged by the
//! status, as a webhook's answer would be; `is_transient` always means that another try is worth it.

use serde::{Deserialize, Serialize};

use super::delivery::{Ending, Meaning};
use super::time::Millis;

/// Attempts at the most where Meta says no more than that something went wrong: each may have reached the user.
const FEW: u32 = 5;

/// How long a limit of the app or of the business account is left alone: they count by the hour.
const MINUTES: Millis = Millis::from_secs(2 * 60);

/// How long a number's throughput is left alone: it counts by the second.
const MOMENT: Millis = Millis::from_secs(2);

/// A number that is in maintenance is back within that (*Throughput*).
const MAINTENANCE: Millis = Millis::from_secs(60);

/// The longest pause of the pair limit.
const PAIR_MAX: Millis = Millis::from_secs(60 * 60);

/// What Meta said went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudError {
    /// `error.code`.
    pub code: i64,
    /// `error.is_transient`.
    pub is_transient: bool,
}

/// What is to be done about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Again; Meta's servers are in trouble.
    Again,
    /// Again soon, and slower: the number sends too fast.
    Slower,
    /// Again, and the whole destination no sooner than this.
    Pause(Millis),
    /// Again after 4^X seconds, X = 0, 1, 2 …: too many to this one user, so nobody else waits.
    PairLimit,
    /// Again, a few times.
    Few,
    /// Again, no sooner than this; nobody else waits.
    Later(Millis),
    /// Not again: this message can't be sent as it is.
    Never,
    /// Nothing can be sent: somebody has to act first.
    Stop,
}

impl CloudError {
    /// Stands for a code where none was told.
    pub const NONE: i64 = -1;

    /// What the table says; `None`: the code is not in it.
    #[must_use]
    pub const fn remedy(self) -> Option<Remedy> {
        Some(match self.code {
            1 | 2 | 131_016 | 133_004 => Remedy::Again,
            130_429 => Remedy::Slower,
            4 | 80_007 => Remedy::Pause(MINUTES),
            131_057 => Remedy::Pause(MAINTENANCE),
            131_056 => Remedy::PairLimit,
            131_000 => Remedy::Few,
            132_069 => Remedy::Later(Millis::from_secs(60 * 60)),
            // The user, or Meta on their behalf, wants none; the recipient or a part is wrong; the template or flow is.
            131_048 | 131_049 | 130_472 | 131_026 | 131_047 | 131_050 | 131_030 | 131_021 | 131_051 | 131_008
            | 131_009 | 100 | 33 | 131_062 | 137_000 | 132_000 | 132_001 | 132_005 | 132_007 | 132_008 | 132_012
            | 132_015 | 132_016 | 132_068 => Remedy::Never,
            // The token and its permissions; the account.
            0
            | 3
            | 10
            | 190
            | 200..=299
            | 131_005
            | 131_031
            | 368
            | 130_497
            | 131_042
            | 131_045
            | 131_037
            | 131_064 => Remedy::Stop,
            _ => return None,
        })
    }

    /// Whether nothing can be sent until somebody has acted.
    #[must_use]
    pub fn stops(self) -> bool {
        self.remedy() == Some(Remedy::Stop)
    }

    /// What the code says, in words of our own: Meta's may repeat the token, or whom the message was for.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self.code {
            1 | 2 | 131_016 | 133_004 => "Meta's servers are in trouble",
            130_429 => "the number sends too fast",
            4 => "the app has reached its limit of calls",
            80_007 => "the business account has reached its rate limit",
            131_057 => "the number is in maintenance",
            131_056 => "too many messages to this one user",
            131_000 => "something went wrong at Meta's",
            131_048 => "the number is restricted because of spam reports",
            131_049 => "Meta withheld it to keep users from getting too many messages",
            130_472 => "the user is part of an experiment of Meta's and gets no such messages",
            131_026 => "it can't be delivered: no WhatsApp there, or an old one",
            131_047 => "more than 24 hours since the user wrote last: this needs a template",
            131_050 => "the user has stopped marketing messages",
            131_030 | 131_021 => "the recipient is none that this number may write to",
            131_051 | 131_008 | 131_009 | 100 | 131_062 | 137_000 => "a part of the message is wrong or missing",
            33 => "there is no such phone number id, or the access token may not use it",
            132_000 | 132_012 => "the parameters do not fit the template",
            132_001 => "there is no such template in this language",
            132_005 => "the text becomes too long for the template",
            132_007 | 132_008 => "the template breaks a policy, or has characters that it may not have",
            132_015 | 132_016 => "the template is paused or disabled",
            132_068 => "the flow is blocked",
            132_069 => "the flow is throttled",
            0 | 190 => "the access token is no good (any more): make a new one in Meta's business settings",
            3 | 10 | 200..=299 | 131_005 => "the access token lacks whatsapp_business_messaging for this number",
            131_031 | 368 | 131_064 => "the account is locked or restricted",
            130_497 => "the account may not write to users in this country",
            131_042 => "the account's payment has a problem",
            131_045 | 131_037 => "the number is not registered, or its display name is not approved",
            Self::NONE => "Meta does not say why",
            _ => "Meta does not document this",
        }
    }

    /// Why it failed, for lists, logs and alerts.
    #[must_use]
    pub fn why(self) -> String {
        format!("error {}: {}", self.code, self.words())
    }
}

/// What the end of the attempt `number` means. `accepted`: the answer names the message that was made.
#[must_use]
pub fn meaning(ending: Ending, error: Option<CloudError>, accepted: bool, number: u32) -> Meaning {
    let again = |retry_after, holds_lane, is_failure| Meaning::Again { retry_after, holds_lane, is_failure };
    let Ending::Answered { status, retry_after: asked } = ending else {
        return if ending == Ending::Unknown { Meaning::Unknown } else { again(None, false, true) };
    };
    let least = |length: Millis| Some(asked.unwrap_or_default().max(length));
    let Some(error) = error else {
        return match status {
            200..=299 if accepted => Meaning::Delivered,
            // Something said yes, but not as the Cloud API does: the message may be on its way.
            200..=299 => Meaning::Unknown,
            _ => of_status(ending),
        };
    };
    match error.remedy() {
        Some(Remedy::Again) => again(asked, asked.is_some(), true),
        Some(Remedy::Slower) => again(least(MOMENT), true, false),
        Some(Remedy::Pause(length)) => again(least(length), true, false),
        Some(Remedy::PairLimit) => again(least(pair_pause(number)), false, false),
        Some(Remedy::Few) if number >= FEW => Meaning::Refused,
        Some(Remedy::Few) => again(asked, false, false),
        Some(Remedy::Later(length)) => again(least(length), false, false),
        Some(Remedy::Stop) => Meaning::Stopped,
        _ if error.is_transient => again(asked, false, true),
        Some(Remedy::Never) => Meaning::Refused,
        None => of_status(ending),
    }
}

/// An answer without a code that we know: 410 is no word of the Cloud API, and ends nothing but this message.
fn of_status(ending: Ending) -> Meaning {
    match ending.of_webhook() {
        Meaning::Gone | Meaning::Delivered => Meaning::Refused,
        meaning => meaning,
    }
}

/// What follows when a status says that a message failed which had been taken: the time until it is sent again, or `None`
/// for never. `attempts`: how often it was sent.
///
/// Each time it was really sent, so it is tried a few times only, whatever the code.
#[must_use]
pub fn after_failed_status(error: CloudError, attempts: u32) -> Option<Millis> {
    let pause = match error.remedy() {
        Some(Remedy::Never) if !error.is_transient => return None,
        // It goes on as soon as somebody has seen to the destination.
        Some(Remedy::Stop) => return Some(Millis::ZERO),
        Some(Remedy::Pause(length) | Remedy::Later(length)) => length.max(pair_pause(attempts)),
        Some(_) => pair_pause(attempts),
        None if error.is_transient => pair_pause(attempts),
        None => return None,
    };
    (attempts < FEW).then_some(pause)
}

/// 4^X seconds, X = 0 for the first attempt.
fn pair_pause(number: u32) -> Millis {
    Millis::from_secs(4_u64.saturating_pow(number.saturating_sub(1))).min(PAIR_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(code: i64, number: u32) -> Meaning {
        let error = CloudError { code, is_transient: false };
        meaning(Ending::Answered { status: 400, retry_after: None }, Some(error), false, number)
    }

    fn again(seconds: Option<u64>, holds_lane: bool, is_failure: bool) -> Meaning {
        Meaning::Again { retry_after: seconds.map(Millis::from_secs), holds_lane, is_failure }
    }

    #[test]
    fn every_row_of_the_table_has_its_remedy() {
        for (codes, expected) in [
            (&[4, 80_007][..], again(Some(120), true, false)),
            (&[130_429], again(Some(2), true, false)),
            (&[131_056], again(Some(1), false, false)),
            (&[131_000], again(None, false, false)),
            (&[131_057], again(Some(60), true, false)),
            (&[1, 2, 131_016, 133_004], again(None, false, true)),
            (&[132_069], again(Some(3600), false, false)),
            (&[131_048, 131_049, 130_472, 131_026, 131_047, 131_050], Meaning::Refused),
            (&[131_030, 131_021, 131_051, 131_008, 131_009, 100, 33, 131_062, 137_000], Meaning::Refused),
            (&[132_000, 132_001, 132_005, 132_007, 132_008, 132_012, 132_015, 132_016, 132_068], Meaning::Refused),
            (&[0, 3, 10, 190, 200, 250, 299, 131_005], Meaning::Stopped),
            (&[131_031, 368, 130_497, 131_042, 131_045, 131_037, 131_064], Meaning::Stopped),
        ] {
            for code in codes {
                assert_eq!(after(*code, 1), expected, "{code}");
                let words = CloudError { code: *code, is_transient: false }.words();
                assert_ne!(words, "Meta does not document this", "{code}");
            }
        }
    }

    #[test]
    fn the_pair_limit_grows_for_this_message_alone_and_ends_at_an_hour() {
        for (number, seconds) in [(1, 1), (2, 4), (3, 16), (4, 64), (7, 3600), (4_000_000_000, 3600)] {
            assert_eq!(after(131_056, number), again(Some(seconds), false, false), "{number}");
        }
    }

    #[test]
    fn what_went_wrong_without_a_reason_is_tried_a_few_times() {
        assert_eq!(after(131_000, 4), again(None, false, false));
        assert_eq!(after(131_000, 5), Meaning::Refused);
    }

    #[test]
    fn the_code_counts_and_not_the_status_unless_it_is_unknown() {
        let with = |status, code, is_transient| {
            let error = CloudError { code, is_transient };
            meaning(Ending::Answered { status, retry_after: None }, Some(error), false, 1)
        };
        assert_eq!(with(500, 131_047, false), Meaning::Refused);
        assert_eq!(with(200, 190, false), Meaning::Stopped);
        assert_eq!(with(400, 999_999, false), Meaning::Refused);
        assert_eq!(with(429, 999_999, false), again(None, true, false));
        assert_eq!(with(503, 999_999, false), again(None, false, true));
        assert_eq!(with(410, 999_999, false), Meaning::Refused, "no destination ends with that");
        assert_eq!(with(400, 999_999, true), again(None, false, true));
        assert_eq!(with(400, 131_026, true), again(None, false, true), "Meta says itself that it may pass");
        assert_eq!(with(400, 190, true), Meaning::Stopped, "trying with the same token is for nothing");
    }

    #[test]
    fn an_answer_without_a_code_says_whether_the_message_is_there() {
        let of = |status, accepted| meaning(Ending::Answered { status, retry_after: None }, None, accepted, 1);
        assert_eq!(of(200, true), Meaning::Delivered);
        assert_eq!(of(200, false), Meaning::Unknown, "a stranger's yes");
        assert_eq!(of(500, false), again(None, false, true));
        assert_eq!(of(404, false), Meaning::Refused);
        assert_eq!(meaning(Ending::NotSent, None, false, 1), again(None, false, true));
        assert_eq!(meaning(Ending::Unknown, None, false, 1), Meaning::Unknown);
    }

    #[test]
    fn a_wish_of_a_proxy_is_honoured_where_it_is_longer() {
        let asked = |seconds, code| {
            let ending = Ending::Answered { status: 429, retry_after: Some(Millis::from_secs(seconds)) };
            meaning(ending, Some(CloudError { code, is_transient: false }), false, 1)
        };
        assert_eq!(asked(600, 4), again(Some(600), true, false));
        assert_eq!(asked(5, 4), again(Some(120), true, false));
        assert_eq!(asked(5, 2), again(Some(5), true, true));
    }

    #[test]
    fn a_status_that_says_failed_is_followed_by_a_few_attempts_or_by_none() {
        let of = |code, attempts| after_failed_status(CloudError { code, is_transient: false }, attempts);
        assert_eq!(of(131_026, 1), None);
        assert_eq!(of(131_000, 1), Some(Millis::from_secs(1)));
        assert_eq!(of(131_016, 3), Some(Millis::from_secs(16)));
        assert_eq!(of(131_016, 5), None, "each of them was sent");
        assert_eq!(of(80_007, 1), Some(Millis::from_secs(120)));
        assert_eq!(of(131_042, 9), Some(Millis::ZERO), "when somebody has paid");
        assert_eq!(of(999_999, 1), None);
        assert_eq!(
            after_failed_status(CloudError { code: 999_999, is_transient: true }, 1),
            Some(Millis::from_secs(1))
        );
    }
}
