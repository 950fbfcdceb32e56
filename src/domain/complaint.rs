//! What went wrong between a phone and a flow: the phone did not like our last answer, or its request does not fit the
//! config. Kept for the operator, never a submission.
//!
//! How one is told from a form is `crate::intake::flow_endpoint`'s; keeping few of them, and for how long, the store's.

use serde::{Deserialize, Serialize};

use super::ids::{FlowName, FlowToken};
use super::time::Timestamp;

/// Bytes of each text of it at the most: clients write sentences, and strangers must not fill the disk.
const TEXT_BYTES: usize = 1024;

/// An error notification (*Implementing Endpoint for Flows*, "Error Notification"), or what we say of a request that was
/// opened and can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// When it came.
    pub at: Timestamp,
    /// The flow.
    pub flow: FlowName,
    /// The screen that the client was on.
    pub screen: Option<Box<str>>,
    /// The token of the form.
    pub flow_token: Option<FlowToken>,
    /// Its code, such as `payload-schema-error`. More will come than are known. 1 KiB at the most.
    pub error: Box<str>,
    /// What it says for people. 1 KiB at the most.
    pub message: Box<str>,
}

impl Complaint {
    /// All that the data of an error notification may hold: its code under one of two names, and words for people.
    pub const NAMES: [&'static str; 3] = ["error", "error_key", "error_message"];

    /// A complaint about `flow`. Its time is set by whoever keeps it.
    #[must_use]
    pub fn new(
        flow: FlowName,
        screen: Option<&str>,
        flow_token: Option<FlowToken>,
        error: &str,
        message: &str,
    ) -> Self {
        Self {
            at: Timestamp::ZERO,
            flow,
            screen: screen.map(|screen| cut(screen, TEXT_BYTES)),
            flow_token,
            error: cut(error, TEXT_BYTES),
            message: cut(message, TEXT_BYTES),
        }
    }
}

/// `text` in `most` bytes; one that is longer ends in `…`.
pub(super) fn cut(text: &str, most: usize) -> Box<str> {
    const MARK: &str = "…";
    if text.len() <= most {
        return text.into();
    }
    let end = text.floor_char_boundary(most.saturating_sub(MARK.len()));
    format!("{}{MARK}", text.get(..end).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_complaint_is_longer_than_a_kibibyte() {
        let long = "é".repeat(TEXT_BYTES);
        let flow = FlowName::new("home").unwrap();
        let complaint = Complaint::new(flow, Some(&long), None, &long, &long[..TEXT_BYTES]);
        for text in [complaint.screen.as_deref().unwrap(), &complaint.error] {
            assert!(text.len() <= TEXT_BYTES && text.len() > TEXT_BYTES - 3 && text.ends_with("é…"));
        }
        assert_eq!(&*complaint.message, &long[..TEXT_BYTES], "what fits stays whole");
    }
}
