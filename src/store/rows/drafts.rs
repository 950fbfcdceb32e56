//! Row of a draft.

use serde::{Deserialize, Serialize};

use crate::domain::submission::draft::Draft;
use crate::domain::time::Timestamp;

/// Draft as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredDraft {
    /// Expiry clock when the last screen arrived.
    pub stamp: Timestamp,
    pub draft: Draft,
}
