//! Answers the request `copy_data`: all rows of the file, for `flowgate backup`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::admin::context::{AdminContext, RowSink, to_json};
use crate::admin::error::AdminError;
use crate::admin::responses::CopyRow;
use crate::store::DataCopy;

/// Sends the rows of all tables, then the changes since the beginning, then the end of the copy.
pub(super) fn copy_data(context: &AdminContext, sink: &mut RowSink<'_>) -> Result<(), AdminError> {
    let sent = send_copy(context, sink);
    let tidied = context.store.tidy_change_log();
    sent?;
    Ok(tidied?)
}

fn send_copy(context: &AdminContext, sink: &mut RowSink<'_>) -> Result<(), AdminError> {
    let mut send = |row: CopyRow| Ok::<_, AdminError>(sink(to_json(row)?));
    let encode = |changes: Vec<u8>| CopyRow::Changes(STANDARD.encode(changes));
    let mut copy = DataCopy::begin(&context.store)?;
    while let Some(rows) = copy.next_rows()? {
        if !send(encode(rows))? {
            return Ok(());
        }
    }
    let end = copy.end()?;
    let mut last_entry = copy.begins_after();
    while let Some((last, changes)) = copy.changes_until(last_entry, &end)? {
        if !send(encode(changes))? {
            return Ok(());
        }
        last_entry = last;
    }
    send(CopyRow::End(end))?;
    Ok(())
}
