//! Row of a customer whose rows are being removed.

use serde::{Deserialize, Serialize};

use crate::domain::customer_names::CustomerNames;
use crate::domain::ids::FlowName;

/// Removal of a customer that is not complete. The row names the customer only until the end of the
/// removal. Without the row, a crash could remove the rows that connect the names of the customer,
/// and the rest would stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingForget {
    /// Names of the customer that were known when the removal started.
    pub names: CustomerNames,
    /// Flows of the config at that time.
    pub flows: Vec<FlowName>,
}
