//! Decides the consequence of an attempt: the disposition.
//!
//! See [`super::cloud_error`] for messages of Meta's Cloud API, [`super::smtp_reply`] for e-mails
//! and [`crate::domain::gateway::text`] for texts through a gateway.

use crate::domain::time::Millis;

/// End of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The destination sent a response.
    Responded {
        /// HTTP status.
        status: u16,
        /// Minimum delay before the next attempt that the response requests.
        retry_after: Option<Millis>,
    },
    /// Nothing was sent.
    NotSent,
    /// The request was sent at least in part, but no complete response arrived. The destination may
    /// have accepted the delivery.
    Unknown,
}

/// Disposition: consequence of the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The destination accepted the delivery.
    Delivered,
    /// The destination did not accept the delivery, but may accept it later.
    Retry {
        /// Minimum delay before the next attempt.
        retry_after: Option<Millis>,
        /// `true` if the delay applies to the whole destination. `false`: the delay applies to this
        /// delivery only.
        pauses_destination: bool,
        /// `true` if the circuit breaker of the destination counts the attempt as a failure.
        is_failure: bool,
    },
    /// The destination will never accept the delivery in its present form.
    Refused,
    /// The destination refuses all further deliveries.
    Disable,
    /// The destination can't receive anything until an admin acts: a token has expired, or an
    /// account is locked.
    Block,
    /// The destination may have accepted the delivery, and a second send would be wrong. The worker
    /// waits for a confirmation.
    Unconfirmed,
}

impl Disposition {
    /// Creates [`Disposition::Retry`].
    pub(crate) const fn retry(
        retry_after: Option<Millis>,
        pauses_destination: bool,
        is_failure: bool,
    ) -> Self {
        Self::Retry {
            retry_after,
            pauses_destination,
            is_failure,
        }
    }
}

impl AttemptEnd {
    /// Returns the disposition for a webhook (*Standard Webhooks*, "Deliverability and
    /// reliability").
    ///
    /// - 2xx is success. 410 disables the destination. 429, 502, 503 and 504 ask for fewer
    ///   requests.
    /// - 401, 403 and 407 mean that our credentials are wrong, so the next delivery would fail as
    ///   well.
    /// - Redirects are not followed. After a permanent redirect (301, 308), the owner must change
    ///   the config.
    #[must_use]
    pub fn webhook_disposition(self) -> Disposition {
        let retry = |delay, is_failure| Disposition::retry(delay, false, is_failure);
        let Self::Responded {
            status,
            retry_after,
        } = self
        else {
            return retry(None, true);
        };
        match status {
            200..=299 => Disposition::Delivered,
            401 | 403 | 407 => Disposition::Block,
            410 => Disposition::Disable,
            429 => Disposition::retry(retry_after, true, false),
            502..=504 => Disposition::retry(retry_after, retry_after.is_some(), true),
            // These statuses mean too early, too slow, a lock or a conflict at the receiver. All of
            // them may be temporary. A redirect to a maintenance page may also be temporary.
            302 | 303 | 307 | 408 | 409 | 423 | 425 => retry(retry_after, false),
            300..=499 => Disposition::Refused,
            _ => retry(retry_after, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Option<Millis> = Some(Millis::from_secs(7));

    #[test]
    fn webhook_status_maps_to_disposition() {
        let retry = |pauses, is_failure| Disposition::retry(DELAY, pauses, is_failure);
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], Disposition::Delivered),
            (&[300, 301, 304, 308, 400, 402, 404], Disposition::Refused),
            (&[405, 413, 415, 422, 451], Disposition::Refused),
            (&[410], Disposition::Disable),
            (&[401, 403, 407], Disposition::Block),
            (&[302, 303, 307, 408, 409, 423, 425], retry(false, false)),
            (&[429], retry(true, false)),
            (&[502, 503, 504], retry(true, true)),
            (&[500, 501, 599, 199, 999], retry(false, true)),
        ] {
            for status in statuses {
                let end = AttemptEnd::Responded {
                    status: *status,
                    retry_after: DELAY,
                };
                assert_eq!(end.webhook_disposition(), expected, "{status}");
            }
        }
    }

    #[test]
    fn attempt_without_response_is_retried() {
        // The circuit breaker decides how long an overloaded destination is left alone.
        let overloaded = AttemptEnd::Responded {
            status: 503,
            retry_after: None,
        };
        for end in [AttemptEnd::NotSent, AttemptEnd::Unknown, overloaded] {
            let expected = Disposition::retry(None, false, true);
            assert_eq!(end.webhook_disposition(), expected, "{end:?}");
        }
    }
}
