//! `flowgate gateways`: unofficial gateways, how they stand, and a call that brings one back.

use clap::{Args, Subcommand};

use super::Asked;
use crate::admin::Question;
use crate::cli::show::Look;
use crate::domain::ids::GatewayName;

/// Unofficial gateways and their WhatsApp sessions
#[derive(Debug, Args)]
pub struct Gateways {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists them, and how they stand
    List,
    /// Shows one, with what became of it
    Show(Which),
    /// Brings the session of one back now, by the call that fits its state
    ///
    /// Where somebody must link the phone this makes the gateway show a new code.
    Restart(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// The gateway, as the config names it
    #[arg(value_parser = GatewayName::new)]
    name: GatewayName,
}

impl Gateways {
    /// The question it comes to.
    #[must_use]
    pub fn asked(self) -> Asked {
        match self.verb {
            None | Some(Verb::List) => {
                let columns = &[
                    ("NAME", "name"),
                    ("KIND", "kind"),
                    ("STATE", "state"),
                    ("CONDITION", "condition"),
                    ("SINCE", "since"),
                    ("LAST EVENT", "last_event_at"),
                    ("WHAT TO DO", "advice"),
                ];
                let empty = "no gateways in the config, or none that was asked yet";
                Asked { question: Question::Gateways, look: Look::Table { columns, empty } }
            }
            Some(Verb::Show(which)) => Asked::whole(Question::Gateway { name: which.name }),
            Some(Verb::Restart(which)) => Asked::whole(Question::RestartGateway { name: which.name }),
        }
    }
}
