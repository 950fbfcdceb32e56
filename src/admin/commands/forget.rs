//! Removes a customer from all tables.

use crate::admin::context::AdminContext;
use crate::admin::error::AdminError;
use crate::admin::responses::ForgetRow;
use crate::domain::customer_names::CustomerNames;
use crate::domain::ids::Customer;
use crate::store::{count_customer_rows, forget_customer};

/// Removes a customer, or only counts the rows of the customer.
pub(super) fn forget(
    context: &AdminContext,
    customer: Customer,
    dry_run: bool,
) -> Result<ForgetRow, AdminError> {
    if customer.is_unknown() {
        return Err(AdminError::invalid(
            "name the customer: a phone number such as +491511234567, or a user ID",
        ));
    }
    let flows = context.catalog().flows.keys().cloned().collect();
    let names = CustomerNames::new(customer);
    let rows = if dry_run {
        count_customer_rows(&context.store, names, flows)?
    } else {
        forget_customer(&context.store, names, flows)?
    };
    if rows.total() == 0 && rows.unreadable == 0 {
        return Err(AdminError::not_found(
            "nothing is stored about this customer: a phone number needs its country code, as +491511234567",
        ));
    }
    Ok(ForgetRow::new(rows, dry_run))
}
