//! Defines the command `flowgate forget`, which removes a customer from all tables.

use clap::Args;

use super::AdminCall;
use crate::admin::AdminCommand;
use crate::cli::args::parse_customer;
use crate::cli::confirmation::{Confirmation, Question};
use crate::domain::ids::Customer;

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Phone number with country code (+491511234567), or user ID
    #[arg(value_parser = parse_customer)]
    customer: Customer,
    /// Change nothing. Show the number of rows of each kind
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation. A script needs this
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

impl From<ForgetArgs> for AdminCall {
    fn from(args: ForgetArgs) -> Self {
        let request = |dry_run| AdminCommand::ForgetCustomer {
            customer: args.customer.clone(),
            dry_run,
        };
        let question = Question {
            action_and_objects: ["remove", "rows of this customer"],
            count: |preview| preview.would_change,
            consequence: "can't be restored, and upcoming appointments are cancelled",
            requires_yes_flag: true,
        };
        let confirmation = (!args.dry_run && !args.yes).then(|| Confirmation {
            dry_run: request(true).into(),
            question,
        });
        Self {
            confirmation,
            ..Self::record(request(args.dry_run))
        }
    }
}
