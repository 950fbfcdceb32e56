//! Defines the command `flowgate gateways`, which lists unofficial gateways with the state of their
//! sessions, and repairs a session.

use clap::{Args, Subcommand};
use serde_json::json;

use super::AdminCall;
use crate::admin::{AdminQuery, GatewayRow, ServerCommand};
use crate::cli::output::{Column, TableRow};
use crate::domain::ids::GatewayName;

impl TableRow for GatewayRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("NAME", |gateway| json!(gateway.name)),
        ("KIND", |gateway| json!(gateway.kind)),
        ("STATE", |gateway| json!(gateway.state)),
        ("HEALTH", |gateway| json!(gateway.health)),
        ("SINCE", |gateway| json!(gateway.since)),
        ("LAST EVENT", |gateway| json!(gateway.last_event_at)),
        ("SUGGESTION", |gateway| json!(gateway.suggestion)),
    ];
    const EMPTY: &'static str = "no gateways in the config, or none was probed yet";
}

#[derive(Debug, Subcommand)]
pub(crate) enum GatewaysVerb {
    /// List gateways with the state of their sessions
    List,
    /// Show a gateway with the history of its session
    Show(GatewayArg),
    /// Repair the session of a gateway now, with the recovery action for its state
    ///
    /// The gateway shows a new code if a person must link the phone.
    Restart(GatewayArg),
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArg {
    /// Name of the gateway in the config
    #[arg(value_parser = GatewayName::new)]
    name: GatewayName,
}

impl From<GatewaysVerb> for AdminCall {
    fn from(verb: GatewaysVerb) -> Self {
        match verb {
            GatewaysVerb::List => Self::table::<GatewayRow>(AdminQuery::Gateways),
            GatewaysVerb::Show(GatewayArg { name }) => Self::record(AdminQuery::Gateway { name }),
            GatewaysVerb::Restart(GatewayArg { name }) => {
                Self::record(ServerCommand::RestartGateway { name })
            }
        }
    }
}
