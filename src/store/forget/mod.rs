//! Removes one customer from all tables, while other transactions run.
//!
//! The search reads each table in slices, each in its own snapshot. The writer removes the rows of
//! a slice in small transactions. The removal is recorded first, and [`resume_forgets`] continues a
//! removal that a crash interrupted. The submissions are removed last, because they connect the
//! other rows with the customer.
//!
//! See [`crate::store::tx::forget`] for the transactions, and [`search`] for the rows that belong
//! to a customer.

mod search;
mod visit;

use crate::domain::customer_names::CustomerNames;
use crate::domain::ids::FlowName;

use super::engine::Rows;
use super::rows::forgets::PendingForget;
use super::rows::schema::PENDING_FORGETS;
use super::tx::forget::{FinishForget, StartForget};
use super::{Store, StoreResult};
use visit::Forget;
pub use visit::ForgottenRows;

/// Counts the rows of a customer and changes nothing.
///
/// # Errors
/// If a table is unreadable.
pub fn count_customer_rows(
    store: &Store,
    names: CustomerNames,
    flows: Vec<FlowName>,
) -> StoreResult<ForgottenRows> {
    run(Forget::new(store, names, flows, false, &|| false))
}

/// Removes all rows of a customer. A form that arrives meanwhile may stay.
///
/// # Errors
/// If a table is unreadable or a transaction fails. The next start of the server, or
/// the next call, continues the removal.
pub fn forget_customer(
    store: &Store,
    names: CustomerNames,
    flows: Vec<FlowName>,
) -> StoreResult<ForgottenRows> {
    // All names are stored before the first row is removed: a removed row can't show them again.
    let mut survey = Forget::new(store, names, flows.clone(), true, &|| false);
    let names = survey.survey()?.into_names();
    let forget = PendingForget { names, flows };
    let (number, forget) = store.execute_blocking(StartForget { forget })?;
    finish_forget(store, number, forget, &|| false)
}

/// Continues the removals that a crash interrupted. `is_stopped` ends the work early.
///
/// # Errors
/// As [`forget_customer`].
pub fn resume_forgets(store: &Store, is_stopped: &dyn Fn() -> bool) -> StoreResult<()> {
    let pending = store.read()?.with_read_txn(|txn| {
        let table = txn.open(PENDING_FORGETS)?;
        let rows = table.all_rows()?.map(|row| {
            let row = row?;
            Ok((row.key(), row.value()?))
        });
        rows.collect::<StoreResult<Vec<_>>>()
    })?;
    for (number, forget) in pending {
        finish_forget(store, number, forget, is_stopped)?;
    }
    Ok(())
}

fn finish_forget(
    store: &Store,
    number: u64,
    forget: PendingForget,
    is_stopped: &dyn Fn() -> bool,
) -> StoreResult<ForgottenRows> {
    let PendingForget { names, flows } = forget;
    let counts = run(Forget::new(store, names, flows, true, is_stopped))?;
    if !is_stopped() {
        store.execute_blocking(FinishForget { number })?;
        tracing::info!(
            forget.rows = counts.total(),
            forget.submissions = counts.submissions,
            forget.deliveries = counts.deliveries,
            forget.bookings = counts.bookings,
            forget.unreadable = counts.unreadable,
            "customer forgotten"
        );
    }
    Ok(counts)
}

fn run(mut forget: Forget<'_>) -> StoreResult<ForgottenRows> {
    let search = forget.survey()?;
    forget.visit_outer_rows(&search)?;
    forget.visit_jobs(&search)?;
    forget.visit_submissions(&search)?;
    if forget.removes {
        // A submission may have caused a delivery since the tables were read.
        let unreadable = forget.counts.unreadable;
        forget.visit_jobs(&search)?;
        forget.counts.unreadable = unreadable;
    }
    Ok(forget.counts)
}
