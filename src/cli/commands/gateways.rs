//! Defines the command `flowgate gateways`, which lists unofficial gateways with the state of their
//! sessions, and repairs a session.

use clap::{Args, Subcommand};

use super::AdminCall;
use crate::admin::AdminRequest;
use crate::cli::output::OutputFormat;
use crate::domain::ids::GatewayName;

/// List, show and repair unofficial gateways and their WhatsApp sessions
#[derive(Debug, Args)]
pub struct GatewaysCommand {
    #[command(subcommand)]
    subcommand: Option<GatewaysSubcommand>,
}

#[derive(Debug, Subcommand)]
enum GatewaysSubcommand {
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
struct GatewayArg {
    /// Name of the gateway in the config
    #[arg(value_parser = GatewayName::new)]
    name: GatewayName,
}

impl GatewaysCommand {
    /// Converts the arguments to an admin call.
    #[must_use]
    pub fn into_call(self) -> AdminCall {
        match self.subcommand {
            None | Some(GatewaysSubcommand::List) => {
                let columns = &[
                    ("NAME", "name"),
                    ("KIND", "kind"),
                    ("STATE", "state"),
                    ("HEALTH", "health"),
                    ("SINCE", "since"),
                    ("LAST EVENT", "last_event_at"),
                    ("SUGGESTION", "suggestion"),
                ];
                let empty = "no gateways in the config, or none was probed yet";
                AdminCall {
                    request: AdminRequest::Gateways,
                    format: OutputFormat::Table { columns, empty },
                }
            }
            Some(GatewaysSubcommand::Show(gateway)) => {
                AdminCall::single(AdminRequest::Gateway { name: gateway.name })
            }
            Some(GatewaysSubcommand::Restart(gateway)) => {
                AdminCall::single(AdminRequest::RestartGateway { name: gateway.name })
            }
        }
    }
}
