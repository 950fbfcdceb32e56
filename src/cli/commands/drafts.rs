//! Defines the command `flowgate drafts`, which lists forms that customers began and did not
//! complete.

use clap::Subcommand;
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs, RowsVerb};
use crate::admin::{AdminQuery, DraftRow, ListFilter};
use crate::cli::output::{Column, TableRow};

impl TableRow for DraftRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("UPDATED", |draft| json!(draft.updated_at)),
        ("FLOW", |draft| json!(draft.flow)),
        ("CUSTOMER", |draft| json!(draft.customer)),
        ("STATE", |draft| json!(draft.state)),
        ("SCREEN", |draft| json!(draft.screen)),
        ("DATA", |draft| draft.data.clone()),
    ];
    const EMPTY: &'static str = "no drafts";
}

impl FilteredRow for DraftRow {
    const FILTERS: &'static [Filter] = &[
        Filter::Since,
        Filter::Flow,
        Filter::State(
            "Only drafts in this state: open, or abandoned (unchanged for longer than \
             `abandoned_after` of the flow). Default: both",
        ),
    ];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::Drafts;
}

#[derive(Debug, Subcommand)]
pub(crate) enum DraftsVerb {
    /// List drafts, the most recently changed first
    List(ListArgs<DraftRow>),
}

impl RowsVerb for DraftsVerb {
    type Row = DraftRow;

    fn into_call(self) -> AdminCall {
        let Self::List(options) = self;
        options.into()
    }
}
