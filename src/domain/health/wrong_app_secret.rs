//! Detects a wrong app secret: many consecutive requests with a wrong signature.
//!
//! With a wrong app secret, the server refuses every form. No other number shows this: disk and
//! queue look normal. A stranger can cause the same with invalid signatures. The first valid
//! signature therefore resets the count.

/// Minimum number of consecutive requests with a wrong signature before the app secret is
/// suspected.
pub const SIGNATURE_FAILURES_MIN: u64 = 5;

/// Suggestion for a wrong app secret. [`is_app_secret_warning`] recognizes the warning by this
/// text.
pub const APP_SECRET_WARNING: &str = "compare the app secret in the config (meta.app_secrets) with the one in Meta's dashboard \
     (App settings → Basic) of the app that sends";

/// Number of consecutive signed requests with a wrong signature.
#[derive(Debug, Default)]
pub struct SignatureFailures(u64);

impl SignatureFailures {
    /// Records the verification of a well-formed signature. Returns `true` if the number of
    /// consecutive failures has just reached the minimum for a warning.
    pub fn record(&mut self, fits: bool) -> bool {
        self.0 = if fits { 0 } else { self.0.saturating_add(1) };
        self.0 == SIGNATURE_FAILURES_MIN
    }

    /// Returns the number of failures, or 0 below the minimum for a warning.
    #[must_use]
    pub const fn suspicious_count(&self) -> u64 {
        match self.0 {
            ..SIGNATURE_FAILURES_MIN => 0,
            failures => failures,
        }
    }
}

/// Returns the warning for the operator, or `None` if `suspicious_count` is 0.
#[must_use]
pub fn warning(suspicious_count: u64) -> Option<String> {
    (suspicious_count > 0).then(|| {
        format!(
            "the last {suspicious_count} signed requests were all refused (bad_signature): {APP_SECRET_WARNING}"
        )
    })
}

/// Returns `true` if `text` is the [`warning`] about the app secret.
#[must_use]
pub fn is_app_secret_warning(text: &str) -> bool {
    text.contains(APP_SECRET_WARNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_app_secret_is_reported_after_five_failures() {
        let mut failures = SignatureFailures::default();
        let results = [false; 7].map(|fits| failures.record(fits));
        // There is one warning.
        assert_eq!(results, [false, false, false, false, true, false, false]);
        assert_eq!(failures.suspicious_count(), 7);
        let shown = warning(failures.suspicious_count()).unwrap();
        assert!(shown.starts_with("the last 7 signed requests"), "{shown}");
        assert!(is_app_secret_warning(&shown));
        failures.record(true);
        assert_eq!(warning(failures.suspicious_count()), None);
        let results = [false; 5].map(|fits| failures.record(fits));
        // A later failure warns again.
        assert_eq!(results, [false, false, false, false, true]);
    }
}
