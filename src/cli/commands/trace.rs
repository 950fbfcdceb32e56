//! Defines the command `flowgate trace`, which shows the timeline of a form: from its receipt to
//! the last acknowledgement.

use clap::Args;
use serde_json::json;

use super::AdminCall;
use crate::admin::{AdminQuery, SearchLimits, TraceRow};
use crate::cli::args::ScanOption;
use crate::cli::output::{Column, TableRow};
use crate::domain::timeline::target::TraceTarget;

impl TableRow for TraceRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("OF", |row| match row.meanings.as_slice() {
            [] => json!(row.subject),
            meanings => json!(format!("{} ({})", row.subject, meanings.join(", "))),
        }),
        ("AT", |row| json!(row.at)),
        ("STEP", |row| json!(row.kind)),
        ("DETAIL", |row| json!(row.text)),
    ];
    const EMPTY: &'static str = "nothing to show";
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Phone number, customer ID, message ID, flow token, webhook ID (msg_…), or the number of a
    /// submission, job, lead, booking or delivery. A number shows all its meanings; a kind before
    /// it selects one: job:12
    #[arg(value_name = "ID", value_parser = parse_target, allow_hyphen_values = true)]
    text: String,
    /// Maximum number of submissions, newest first (0 = no limit)
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    scan: ScanOption,
}

/// Checks the text of `trace`. The server interprets it.
fn parse_target(text: &str) -> Result<String, String> {
    TraceTarget::parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

impl From<TraceArgs> for AdminCall {
    fn from(args: TraceArgs) -> Self {
        Self::table::<TraceRow>(AdminQuery::Trace {
            text: args.text,
            limits: SearchLimits {
                rows: args.limit,
                scan: args.scan.scan,
            },
        })
    }
}
