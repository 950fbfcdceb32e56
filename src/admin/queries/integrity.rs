//! Answers the request `check_integrity`.

use crate::admin::context::{AdminContext, RowSink, send_row};
use crate::admin::error::AdminError;
use crate::admin::responses::CheckRow;
use crate::store;

/// Sends one row for each violated invariant, then the summary. An error follows if there was a
/// violation.
pub(super) fn check_integrity(
    context: &AdminContext,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let report = store::check_integrity(&context.store)?;
    for violation in report.violations {
        let row = CheckRow::Violation {
            invariant: violation.invariant.to_owned(),
            location: violation.location,
        };
        send_row(sink, row)?;
    }
    let violations = report.violation_count;
    let summary = CheckRow::Summary {
        rows: report.rows_read,
        violations,
    };
    send_row(sink, summary)?;
    match (report.damage, violations) {
        (Some(damage), _) => Err(damage.into()),
        (None, 0) => Ok(()),
        (None, _) => Err(AdminError::failed(format!(
            "{violations} things are not as they should be: keep a copy of the file"
        ))),
    }
}
