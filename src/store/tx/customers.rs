//! Finds the customer of a submission by the customer's current phone number and user ID.
//!
//! See [`super::customer_changes`] for the change of a name.

use crate::domain::ids::{Customer, SubmissionId};

use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::submissions::{find_named_customer, resolve_customer};
use crate::store::writer::write_context::WriteContext;

/// Returns the customer of a submission under their current names. `first` is the customer whom the
/// submission itself names.
pub fn customer_of_submission(
    ctx: &WriteContext<'_>,
    id: SubmissionId,
    first: &Customer,
) -> StoreResult<Customer> {
    let known = find_named_customer(&ctx.tables.late_arrivals, id, first)?.unwrap_or_default();
    if known.is_unknown() || ctx.tables.renamed_customers.is_empty()? {
        return Ok(known);
    }
    match ctx.tables.submissions.get(id) {
        Ok(Some(row)) => resolve_customer(&ctx.tables.renamed_customers, known, &row),
        Err(error) if !error.affects_one_row() => Err(error),
        _ => Ok(known),
    }
}
