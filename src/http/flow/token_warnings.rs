//! Warns about missing and shared flow tokens, once per flow.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::ids::FlowName;

/// Warnings that were already logged for one flow.
#[derive(Debug, Default)]
pub(in crate::http) struct TokenWarnings {
    missing_token: AtomicBool,
    shared_token: AtomicBool,
}

impl TokenWarnings {
    /// Warns that the messages of `flow` set no flow token.
    ///
    /// Without a token, two forms of one customer look alike if their answers are equal.
    pub(super) fn warn_missing_token(&self, flow: &FlowName) {
        if !self.missing_token.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %flow,
                "a form arrived without a unique flow_token: set a different one in each flow \
                 message. Until then, duplicates are found by customer and answers, and an \
                 encrypted form contains only the fields that its final screen sends"
            );
        }
    }

    /// Warns that several customers of `flow` use one flow token.
    pub(super) fn warn_shared_token(&self, flow: &FlowName) {
        if !self.shared_token.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %flow,
                "several customers use the same flow_token: set a different one in each flow \
                 message. Until then, a form with this token and without a customer contains only \
                 the fields that its final screen sends"
            );
        }
    }
}
