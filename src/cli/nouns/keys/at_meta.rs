//! `flowgate keys upload` and `flowgate keys check`: the public halves that Meta holds, put there and compared with ours.
//!
//! Meta holds one key for each phone number (*Business Encryption API*), whichever flows are sent from it. How it is asked
//! is `crate::cli::graph`'s.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write};

use serde_json::json;

use super::held::{self, Found, State};
use crate::cli::flow_keys::FlowKeys;
use crate::cli::graph::{Graph, GraphError};
use crate::config::{Config, SecretError};
use crate::domain::ids::FlowName;
use crate::intake::PrivateKey;

/// Which keys and numbers it is about.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only the key of this flow
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    pub flow: Option<FlowName>,
    /// The id of a phone number, as Meta's dashboard shows it, not the number itself; can be given several times.
    /// Unless given: `phone_number_ids` of the flow's `webhook`
    #[arg(long = "phone-number-id", value_name = "ID", value_parser = phone_number_id)]
    numbers: Vec<String>,
}

/// Why keys and Meta did not come together.
#[derive(Debug, thiserror::Error)]
pub enum AtMetaError {
    /// No flow needs a key.
    #[error("no flow of the config is encrypted: there is no key that Meta could hold")]
    NoFlow,
    /// Nobody says which numbers.
    #[error(
        "flow {0} names no phone numbers in its `webhook`: say which, with \
         --flow {0} --phone-number-id ID (Meta's dashboard shows the id beside the number)"
    )]
    NoNumbers(FlowName),
    /// Flows that would take the number from each other.
    #[error(
        "flows {one} and {other} have phone number {number} in common, which has one key for both, but their newest keys \
         differ: put the same one first in `private_keys` of both"
    )]
    TwoKeys {
        /// The number.
        number: String,
        /// A flow.
        one: FlowName,
        /// Another.
        other: FlowName,
    },
    /// A flow that would be shut out.
    #[error(
        "phone number {number} is also that of flow {other}, which does not have the newest key of flow {flow}, and would \
         open no form any more: add that key to `private_keys` of {other}"
    )]
    ShutOut {
        /// The number.
        number: String,
        /// The flow whose key it is.
        flow: FlowName,
        /// The flow that lacks it.
        other: FlowName,
    },
    /// No token is set.
    #[error(
        "no access token: {0} is not set, which `meta.access_token` names (one of a system user, with \
         whatsapp_business_messaging)"
    )]
    NoToken(String),
    /// The token can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Meta can't be asked at all.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Meta did not do everything.
    #[error("{}", each(.0))]
    Failed(Vec<(String, GraphError)>),
    /// What Meta holds does not do.
    #[error("Meta holds no key, or a wrong one, for {0} of the phone numbers: see above")]
    FormsFail(usize),
    /// The terminal is gone, or the system has no threads left.
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn each(failed: &[(String, GraphError)]) -> String {
    let lines: Vec<String> = failed.iter().map(|(number, why)| format!("phone number {number}: {why}")).collect();
    lines.join("\n")
}

/// Reads `--phone-number-id`.
fn phone_number_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 32 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it has digits only (and is not the phone number): Meta's dashboard shows it".to_owned());
    }
    Ok(text.to_owned())
}

/// A flow with its keys, newest first.
type Keyed<'a> = (&'a FlowName, &'a [PrivateKey]);

impl Which {
    /// The numbers that are meant, each with the flows whose forms are sent from it: one at least.
    fn numbers<'a>(
        &'a self,
        config: &'a Config,
        keys: &'a FlowKeys,
    ) -> Result<BTreeMap<&'a str, Vec<Keyed<'a>>>, AtMetaError> {
        let mut numbers: BTreeMap<&str, Vec<Keyed<'_>>> = BTreeMap::new();
        for (flow, keys) in keys.iter().filter(|(name, _)| self.flow.as_ref().is_none_or(|flow| flow == *name)) {
            let those_of_flow = if self.numbers.is_empty() { numbers_of(config, flow) } else { &self.numbers };
            if those_of_flow.is_empty() {
                return Err(AtMetaError::NoNumbers(flow.clone()));
            }
            for number in those_of_flow {
                let flows = numbers.entry(number).or_default();
                if flows.iter().all(|(known, _)| *known != flow) {
                    flows.push((flow, keys));
                }
            }
        }
        if numbers.is_empty() { Err(AtMetaError::NoFlow) } else { Ok(numbers) }
    }
}

fn numbers_of<'a>(config: &'a Config, flow: &FlowName) -> &'a [String] {
    config.flows.get(flow).map(|flow| flow.webhook.phone_number_ids.as_slice()).unwrap_or_default()
}

/// Uploads the newest key for each number.
///
/// # Errors
/// [`AtMetaError`]; before anything is uploaded, unless it is [`AtMetaError::Failed`].
pub fn upload(
    config: &Config,
    keys: &FlowKeys,
    which: &Which,
    json: bool,
    out: &mut impl Write,
) -> Result<(), AtMetaError> {
    let numbers = which.numbers(config, keys)?;
    for (number, flows) in &numbers {
        refuse_to_shut_out(config, keys, number, flows)?;
    }
    let graph = graph(config)?;
    let mut failed = Vec::new();
    wait_for(async {
        for (number, flows) in &numbers {
            let Some((flow, keys)) = flows.first() else { continue };
            let error = graph.upload(number, newest(keys)).await.err();
            if json {
                let why = error.as_ref().map(ToString::to_string);
                let row = json!({
                    "flow": flow, "phone_number_id": number, "uploaded": error.is_none(), "error": why,
                });
                writeln!(out, "{row}")?;
            } else if error.is_none() {
                writeln!(out, "phone number {number}: Meta has the newest key of flow {flow} now")?;
            }
            if !note(&mut failed, number, error) {
                break;
            }
        }
        Ok(())
    })?;
    if !failed.is_empty() {
        return Err(AtMetaError::Failed(failed));
    }
    if !json {
        writeln!(
            out,
            "Phones go over to it by and by. A server that runs without it needs `flowgate reload` first: until then it opens nothing sealed for it."
        )?;
    }
    Ok(())
}

/// The public half of the newest key. A flow without any is not in the config.
fn newest(keys: &[PrivateKey]) -> &str {
    keys.first().map(PrivateKey::public_pem).unwrap_or_default()
}

/// Refuses where the key that would be uploaded for a number would cost another flow its forms.
fn refuse_to_shut_out(config: &Config, keys: &FlowKeys, number: &str, flows: &[Keyed<'_>]) -> Result<(), AtMetaError> {
    let Some(((flow, keys_of_flow), others)) = flows.split_first() else { return Ok(()) };
    let (number, flow, key) = (number.to_owned(), FlowName::clone(flow), newest(keys_of_flow));
    if let Some((other, _)) = others.iter().find(|(_, keys)| newest(keys) != key) {
        return Err(AtMetaError::TwoKeys { number, one: flow, other: FlowName::clone(other) });
    }
    // Of flows that were not meant it is enough that they have it.
    let shut_out = keys.iter().find(|(other, keys)| {
        let meant = flows.iter().any(|(flow, _)| flow == other);
        !meant && numbers_of(config, other).contains(&number) && keys.iter().all(|ours| ours.public_pem() != key)
    });
    match shut_out {
        Some((other, _)) => Err(AtMetaError::ShutOut { number, flow, other: other.clone() }),
        None => Ok(()),
    }
}

/// Compares what Meta holds for each number with the keys of its flows.
///
/// # Errors
/// [`AtMetaError`]; [`AtMetaError::FormsFail`] where Meta was asked and a form would fail.
pub fn check(
    config: &Config,
    keys: &FlowKeys,
    which: &Which,
    json: bool,
    out: &mut impl Write,
) -> Result<(), AtMetaError> {
    let numbers = which.numbers(config, keys)?;
    let graph = graph(config)?;
    let (mut failed, mut bad) = (Vec::new(), 0);
    wait_for(async {
        for (number, flows) in &numbers {
            let held = graph.key_of(number).await;
            let mut forms_fail = false;
            for (flow, keys) in flows {
                match &held {
                    Ok(held) => {
                        let found = Found { flow, number, state: State::of(keys, held.as_ref()), held: held.as_ref() };
                        forms_fail |= found.state.forms_fail();
                        if json { writeln!(out, "{}", found.row())? } else { writeln!(out, "{found}")? }
                    }
                    Err(why) if json => writeln!(out, "{}", held::unknown(flow, number, why))?,
                    Err(_) => {}
                }
            }
            bad += usize::from(forms_fail);
            if !note(&mut failed, number, held.err()) {
                break;
            }
        }
        Ok(())
    })?;
    match bad {
        _ if !failed.is_empty() => Err(AtMetaError::Failed(failed)),
        0 => Ok(()),
        bad => Err(AtMetaError::FormsFail(bad)),
    }
}

/// The Graph API, with the token of the config.
fn graph(config: &Config) -> Result<Graph<'_>, AtMetaError> {
    let place = &config.meta.access_token;
    let token = place.resolve()?.ok_or_else(|| AtMetaError::NoToken(place.place()))?;
    Ok(Graph::new(&config.meta, token)?)
}

/// Keeps a failure for the end; false where going on makes no sense.
fn note(failed: &mut Vec<(String, GraphError)>, number: &str, error: Option<GraphError>) -> bool {
    let Some(error) = error else { return true };
    let go_on = !error.concerns_all();
    failed.push((number.to_owned(), error));
    go_on
}

fn wait_for(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // The look-up of a name can't be called off, and may take longer than anybody waits.
    runtime.shutdown_background();
    done
}
