//! Defines the command `flowgate customers`, which finds customers by phone number, name or answer,
//! and shows everything that is stored about one.

use clap::{Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use crate::admin::{
    AdminQuery, BookingRow, CustomerFilter, CustomerRow, DeliveryRow, DraftRow, LeadRow,
    SearchLimits, SubmissionRow,
};
use crate::cli::args::{FlowFilter, LimitOption, ScanOption, SinceFilter};
use crate::cli::output::{Column, FieldTables, TableRow, build_list};

impl TableRow for CustomerRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("CUSTOMER", |row| json!(row.customer)),
        ("NAME", |row| json!(row.name)),
        ("PHONE", |row| json!(row.phone)),
        ("LAST FORM", |row| json!(row.received_at)),
        ("FLOW", |row| json!(row.flow)),
        ("SUBMISSION", |row| json!(row.submission_id)),
        ("MATCH", |row| json!(row.matched)),
    ];
    const EMPTY: &'static str = "no customers";
}

/// Tables of `customers show`.
const TABLES: FieldTables = &[
    ("submissions", build_list::<SubmissionRow>),
    ("bookings", build_list::<BookingRow>),
    ("leads", build_list::<LeadRow>),
    ("deliveries", build_list::<DeliveryRow>),
    ("drafts", build_list::<DraftRow>),
];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CustomersCommand {
    #[command(subcommand)]
    verb: Option<CustomersVerb>,
    #[command(flatten)]
    list: CustomerListArgs,
}

#[derive(Debug, Subcommand)]
enum CustomersVerb {
    /// List customers, the newest form first
    List(CustomerListArgs),
    /// Find customers by a part of their phone number, ID, name or any answer
    Find {
        /// Text to find. Capital letters, and blanks in a phone number, do not matter
        #[arg(value_parser = parse_text, allow_hyphen_values = true)]
        text: String,
        #[command(flatten)]
        list: CustomerListArgs,
    },
    /// Show everything about one customer: submissions, bookings, leads, deliveries, drafts, known
    /// numbers and IDs, and the agent to whom the customer returns
    Show {
        /// Phone number or ID of the customer
        #[arg(value_parser = parse_text, allow_hyphen_values = true)]
        customer: String,
        /// Maximum number of submissions and of deliveries, newest first (0 = no limit)
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        scan: ScanOption,
    },
}

#[derive(Debug, Args)]
struct CustomerListArgs {
    #[command(flatten)]
    limit: LimitOption,
    #[command(flatten)]
    since: SinceFilter,
    #[command(flatten)]
    flow: FlowFilter,
    #[command(flatten)]
    scan: ScanOption,
}

fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        return Err("must not be empty");
    }
    Ok(text.to_owned())
}

impl CustomerListArgs {
    fn into_call(self, text: Option<String>) -> AdminCall {
        AdminCall::table::<CustomerRow>(AdminQuery::Customers(CustomerFilter {
            text,
            flow: self.flow.flow,
            since: self.since.since,
            limits: SearchLimits {
                rows: self.limit.limit,
                scan: self.scan.scan,
            },
        }))
    }
}

impl From<CustomersCommand> for AdminCall {
    fn from(command: CustomersCommand) -> Self {
        match command.verb {
            None => command.list.into_call(None),
            Some(CustomersVerb::List(list)) => list.into_call(None),
            Some(CustomersVerb::Find { text, list }) => list.into_call(Some(text)),
            Some(CustomersVerb::Show {
                customer,
                limit,
                scan: ScanOption { scan },
            }) => {
                let limits = SearchLimits { rows: limit, scan };
                let query = AdminQuery::Customer {
                    name: customer,
                    limits,
                };
                Self::record_with_tables(query, TABLES)
            }
        }
    }
}
