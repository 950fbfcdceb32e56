//! Defines the command `flowgate flows`, which lists the flows of the config, their errors and the
//! health of their endpoints.

mod check;
mod health;

use clap::Subcommand;
use serde_json::json;

use super::AdminCall;
use super::list::{Filter, FilteredRow, ListArgs};
use crate::admin::{AdminQuery, FlowErrorRow, FlowRow, ListFilter};
use crate::cli::args::FlowFilter;
use crate::cli::output::{Column, TableRow};
use health::HealthText;

pub(crate) use check::{FlowJsonCheck, FlowJsonCheckError};

impl TableRow for FlowRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("NAME", |flow| json!(flow.name)),
        ("PATH", |flow| json!(flow.path)),
        ("ENCRYPTED", |flow| json!(flow.encrypted)),
        ("SCREENS", |flow| json!(flow.screens)),
    ];
    const EMPTY: &'static str = "no flows in the config";
}

impl TableRow for FlowErrorRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("AT", |error| json!(error.at)),
        ("FLOW", |error| json!(error.flow)),
        ("SCREEN", |error| json!(error.screen)),
        ("ERROR", |error| json!(error.error)),
        ("MESSAGE", |error| json!(error.message)),
        ("TOKEN", |error| json!(error.flow_token)),
    ];
    const EMPTY: &'static str = "no flow errors";
}

impl FilteredRow for FlowErrorRow {
    const FILTERS: &'static [Filter] = &[Filter::Since, Filter::Flow];
    const QUERY: fn(ListFilter) -> AdminQuery = AdminQuery::FlowErrors;
}

#[derive(Debug, Subcommand)]
pub(crate) enum FlowsVerb {
    /// List flows of the config
    List,
    Check(FlowJsonCheck),
    /// List flow errors, newest first: error notifications from clients, and requests that the
    /// config can't serve
    Errors(ListArgs<FlowErrorRow>),
    /// Compare the endpoint health of encrypted flows with Meta's thresholds, and show the latest
    /// messages from Meta
    Health(FlowFilter),
}

/// Action of a `flows` subcommand.
#[derive(Debug)]
pub(crate) enum FlowsAction {
    /// An admin request, for the server or its data file.
    Call(Box<AdminCall>),
    /// A check of a Flow JSON against the config.
    CheckFlowJson(FlowJsonCheck),
}

impl From<FlowsVerb> for FlowsAction {
    fn from(verb: FlowsVerb) -> Self {
        Self::Call(Box::new(match verb {
            FlowsVerb::Check(check) => return Self::CheckFlowJson(check),
            FlowsVerb::List => AdminCall::table::<FlowRow>(AdminQuery::Flows),
            FlowsVerb::Errors(options) => options.into(),
            FlowsVerb::Health(FlowFilter { flow }) => AdminCall::text::<HealthText>(
                AdminQuery::FlowHealth { flow },
                "no encrypted flow in the config, and no health event from Meta: Meta monitors only encrypted flows",
            ),
        }))
    }
}
