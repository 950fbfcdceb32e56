//! Defines the command `flowgate audit`, which lists who changed what.

use clap::Args;
use serde_json::json;

use super::AdminCall;
use crate::admin::{AdminQuery, AuditFilter, AuditRow};
use crate::cli::args::{LimitOption, SinceFilter, parse_since};
use crate::cli::output::{Column, TableRow};
use crate::domain::time::Timestamp;

impl TableRow for AuditRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("ID", |entry| json!(entry.id)),
        ("TIME", |entry| json!(entry.at)),
        ("BY", |entry| json!(entry.by)),
        ("REQUEST", |entry| json!(entry.request)),
        ("OBJECT", |entry| json!(entry.object)),
        ("OUTCOME", |entry| json!(entry.outcome)),
    ];
    const EMPTY: &'static str = "no entries";
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    since: SinceFilter,
    /// Only rows until this time, written as --since. Default: no limit
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    until: Option<Timestamp>,
    /// Only entries of this account, or `shell` for the command line. Default: all
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    limit: LimitOption,
}

impl From<AuditArgs> for AdminCall {
    fn from(args: AuditArgs) -> Self {
        Self::table::<AuditRow>(AdminQuery::AuditLog(AuditFilter {
            by: args.by,
            since: args.since.since,
            until: args.until,
            before: None,
            limit: args.limit.limit,
        }))
    }
}
