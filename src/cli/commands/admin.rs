//! Defines the command `flowgate admin`, which invites people to the dashboard and changes their
//! accounts.

use clap::Subcommand;
use serde_json::{Value, json};

use super::AdminCall;
use crate::admin::{AccountInvite, AccountRow, AdminCommand, AdminQuery};
use crate::cli::args::parse_length;
use crate::cli::output::{Column, TableRow};
use crate::domain::access::Role;
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::Millis;

impl TableRow for AccountRow {
    const COLUMNS: &'static [Column<Self>] = &[
        ("NAME", |account| json!(account.name)),
        ("ROLE", |account| json!(account.role)),
        ("AGENT", |account| json!(account.agent)),
        ("STATE", |account| json!(account.state)),
        ("LINK UNTIL", |account| json!(account.invite_expires_at)),
        ("SIGN-INS", |account| json!(account.sign_ins)),
        ("LAST SEEN", |account| json!(account.last_seen_at)),
    ];
    const EMPTY: &'static str =
        "no accounts: `flowgate admin invite NAME --role owner` invites an owner";
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Invite a person: print a one-time link with which they set their password
    ///
    /// Send the link to this person only: whoever opens it first gets the account. The link begins
    /// with `dashboard.url` of the config. An earlier link of the same name becomes invalid.
    Invite {
        /// Name with which the person signs in
        #[arg(value_parser = AccountName::new)]
        name: AccountName,
        /// Role: `owner` changes everything, `viewer` reads everything, `agent` sees their own
        /// leads and bookings
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// Agent whose leads the account sees, for the role `agent`
        #[arg(long, value_parser = AgentName::new)]
        agent: Option<AgentName>,
        /// Time after which the link ends, from 1m to 30d
        #[arg(long, value_name = "TIME", value_parser = parse_length, default_value = "3d")]
        expires: Millis,
    },
    /// List the accounts
    List,
    /// Change the role of an account. Its browsers must sign in again
    SetRole {
        /// Account name
        #[arg(value_parser = AccountName::new)]
        name: AccountName,
        /// New role: `owner`, `agent` or `viewer`
        #[arg(value_parser = parse_role)]
        role: Role,
        /// Agent whose leads the account sees, for the role `agent`
        #[arg(long, value_parser = AgentName::new)]
        agent: Option<AgentName>,
    },
    /// Remove an account, and sign its browsers out
    Remove {
        /// Account name
        #[arg(value_parser = AccountName::new)]
        name: AccountName,
    },
    /// Remove the password of an account, sign its browsers out, and print a new one-time link
    Reset {
        /// Account name
        #[arg(value_parser = AccountName::new)]
        name: AccountName,
        /// Time after which the link ends, from 1m to 30d
        #[arg(long, value_name = "TIME", value_parser = parse_length, default_value = "3d")]
        expires: Millis,
    },
    /// Sign all browsers of an account out
    #[command(name = "sign-out")]
    SignOut {
        /// Account name
        #[arg(value_parser = AccountName::new, required_unless_present = "all")]
        name: Option<AccountName>,
        /// Sign all browsers of all accounts out
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

/// Replaces the path of an invite by the link for the browser.
pub(crate) fn with_link(mut row: Value, url: &str) -> Value {
    if let Some(fields) = row.as_object_mut()
        && let Some(Value::String(path)) = fields.remove("path")
    {
        fields.insert("link".to_owned(), Value::String(format!("{url}{path}")));
    }
    row
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "must be owner, agent or viewer".to_owned())
}

impl From<AdminVerb> for AdminCall {
    fn from(verb: AdminVerb) -> Self {
        match verb {
            AdminVerb::Invite {
                name,
                role,
                agent,
                expires,
            } => Self::record(AdminCommand::InviteAccount(AccountInvite {
                name,
                role,
                agent,
                expires_in: Some(expires.get()),
            })),
            AdminVerb::List => Self::table::<AccountRow>(AdminQuery::Accounts),
            AdminVerb::SetRole { name, role, agent } => {
                Self::record(AdminCommand::SetAccountRole { name, role, agent })
            }
            AdminVerb::Remove { name } => Self::record(AdminCommand::RemoveAccount { name }),
            AdminVerb::Reset { name, expires } => Self::record(AdminCommand::ResetAccount {
                name,
                expires_in: Some(expires.get()),
            }),
            AdminVerb::SignOut { name, all: _ } => {
                Self::record(AdminCommand::SignOutAccounts { name })
            }
        }
    }
}
