//! Defines the rows of a copy of the data, which the command line turns into a file.

use serde::{Deserialize, Serialize};

use crate::store::CopyEnd;

/// Part of a copy. The parts must be applied in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyRow {
    /// Changes in the format of the change log, in base64.
    Changes(String),
    /// End of the copy.
    End(CopyEnd),
}
