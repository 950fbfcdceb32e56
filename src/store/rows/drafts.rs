//! Row of a draft.

use serde::{Deserialize, Serialize};

use crate::domain::submission::draft::Draft;
use crate::domain::time::Timestamp;

/// Draft as stored.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct StoredDraft {
    /// Expiry clock when the last screen arrived.
    pub(in crate::store) stamp: Timestamp,
    pub(in crate::store) draft: Draft,
}
