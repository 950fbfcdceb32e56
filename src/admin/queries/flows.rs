//! Handles the requests `flows` and `flows errors`.

use crate::domain::submission::flow_error::FlowError;

use super::{LimitedSink, RowFilter, for_each_page, is_before_since};
use crate::admin::handler::{AdminHandler, RowSink, send_row};
use crate::admin::protocol::{AdminError, ListFilter};
use crate::admin::responses::{FlowErrorRow, FlowRow};

pub(crate) fn list_flows(handler: &AdminHandler, sink: &mut RowSink<'_>) -> Result<(), AdminError> {
    handler
        .catalog()
        .flows
        .values()
        .try_for_each(|flow| send_row(sink, FlowRow::from(&**flow)))
}

pub(crate) fn list_flow_errors(
    handler: &AdminHandler,
    filter: &ListFilter,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let mut sink = LimitedSink::new(filter.max_rows(), sink);
    let pick = |_: &_, _: &_, _, flow_error: FlowError| {
        if is_before_since(filter, flow_error.received_at) {
            return Ok(RowFilter::Stop);
        }
        let wanted = filter
            .flow
            .as_ref()
            .is_none_or(|flow| *flow == flow_error.flow);
        Ok(RowFilter::include_if(wanted, || {
            FlowErrorRow::from(flow_error)
        }))
    };
    for_each_page(handler, pick, |view| sink.send(view))
}
