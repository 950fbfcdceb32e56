//! `flowgate keys upload` and `flowgate keys check`: upload public keys to Meta, and compare the
//! registered ones with the config.
//!
//! Meta stores one public key for each phone number (*Business Encryption API*). All flows that are
//! sent from the number share it. See `crate::cli::graph_api` for the requests.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Write};

use serde_json::json;

use super::compare::{self, KeyComparison, KeyMatch};
use crate::bootstrap::resolve::flow_keys::FlowPrivateKeys;
use crate::cli::graph_api::{GraphApi, GraphApiError};
use crate::config::{Config, SecretError};
use crate::domain::ids::FlowName;
use crate::intake::PrivateKey;

/// Flow and phone numbers of an upload or a check.
#[derive(Debug, clap::Args)]
pub struct MetaKeyArgs {
    /// Only the key of this flow. Default: all encrypted flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    pub flow: Option<FlowName>,
    /// Phone number ID, as Meta's dashboard shows it (not the phone number itself). The option can
    /// be repeated. Default: `phone_number_ids` of the flow's `webhook`
    #[arg(long = "phone-number-id", value_name = "ID", value_parser = phone_number_id)]
    phone_number_ids: Vec<String>,
}

/// Errors of an upload or a check at Meta.
#[derive(Debug, thiserror::Error)]
pub enum MetaKeyError {
    /// No selected flow is encrypted.
    #[error("no flow of the config is encrypted: there is no key to upload or check")]
    NoFlow,
    /// The flow has no phone number IDs in the config, and the command names none.
    #[error(
        "flow {0} has no phone_number_ids in its `webhook`: pass them with \
         --flow {0} --phone-number-id ID (Meta's dashboard shows the id beside the number)"
    )]
    NoNumbers(FlowName),
    /// Two selected flows share a phone number, but their newest keys differ.
    #[error(
        "flows {one} and {other} have phone number {number} in common. Meta stores one key for each number, but their newest keys \
         differ: put the same key first in `private_keys` of both"
    )]
    TwoKeys {
        /// Phone number ID.
        number: String,
        /// Name of the first flow.
        one: FlowName,
        /// Name of the second flow.
        other: FlowName,
    },
    /// The upload would make every form of another flow fail, because that flow does not have the
    /// uploaded key.
    #[error(
        "phone number {number} is also used by flow {other}, which does not have the newest key of flow {flow}, and would \
         fail to decrypt all forms: add that key to `private_keys` of {other}"
    )]
    BreaksOtherFlow {
        /// Phone number ID.
        number: String,
        /// Flow of the key that would be uploaded.
        flow: FlowName,
        /// Flow that does not have the key.
        other: FlowName,
    },
    /// The access token is not set. The text names its location.
    #[error(
        "no access token: {0} is not set (`meta.access_token`): use the token of a system user with \
         whatsapp_business_messaging"
    )]
    NoToken(String),
    /// The access token can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No request to Meta is possible.
    #[error(transparent)]
    Graph(#[from] GraphApiError),
    /// Requests failed. Each entry has the phone number ID and its error.
    #[error("{}", format_failures(.0))]
    Failed(Vec<(String, GraphApiError)>),
    /// Meta has no key, or a wrong one, for some phone numbers. The value counts these phone
    /// numbers.
    #[error("Meta has no key or a wrong key for {0} of the phone numbers: see above")]
    FormsFail(usize),
    /// Standard output can't be written, or the system has no threads left.
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn format_failures(failed: &[(String, GraphApiError)]) -> String {
    let lines: Vec<String> = failed
        .iter()
        .map(|(number, why)| format!("phone number {number}: {why}"))
        .collect();
    lines.join("\n")
}

/// Parses `--phone-number-id`: 1 to 32 digits.
fn phone_number_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 32 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(
            "must be the phone number ID, digits only (not the phone number itself): Meta's dashboard shows it"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Flow name and private keys of the flow, newest first.
type FlowWithKeys<'a> = (&'a FlowName, &'a [PrivateKey]);

impl MetaKeyArgs {
    /// Returns the selected phone number IDs, each with the flows whose forms are sent from it. The
    /// map is never empty.
    fn numbers_with_flows<'a>(
        &'a self,
        config: &'a Config,
        keys: &'a FlowPrivateKeys,
    ) -> Result<BTreeMap<&'a str, Vec<FlowWithKeys<'a>>>, MetaKeyError> {
        let mut numbers: BTreeMap<&str, Vec<FlowWithKeys<'_>>> = BTreeMap::new();
        let is_selected = |name: &FlowName| self.flow.as_ref().is_none_or(|flow| flow == name);
        for (flow, keys) in keys.iter().filter(|(name, _)| is_selected(name)) {
            let those_of_flow = if self.phone_number_ids.is_empty() {
                configured_numbers(config, flow)
            } else {
                &self.phone_number_ids
            };
            if those_of_flow.is_empty() {
                return Err(MetaKeyError::NoNumbers(flow.clone()));
            }
            for number in those_of_flow {
                let flows = numbers.entry(number).or_default();
                if flows.iter().all(|(known, _)| *known != flow) {
                    flows.push((flow, keys));
                }
            }
        }
        if numbers.is_empty() {
            Err(MetaKeyError::NoFlow)
        } else {
            Ok(numbers)
        }
    }
}

fn configured_numbers<'a>(config: &'a Config, flow: &FlowName) -> &'a [String] {
    let flow = config.flows.get(flow);
    flow.map_or(&[], |flow| &flow.matcher.phone_number_ids)
}

/// Uploads the newest public key for each selected phone number and writes the results to `output`.
///
/// # Errors
/// Returns [`MetaKeyError`]. All variants except [`MetaKeyError::Failed`] and [`MetaKeyError::Io`]
/// arise before the first upload.
pub fn upload(
    config: &Config,
    keys: &FlowPrivateKeys,
    args: &MetaKeyArgs,
    json: bool,
    output: &mut impl Write,
) -> Result<(), MetaKeyError> {
    let numbers = args.numbers_with_flows(config, keys)?;
    for (number, flows) in &numbers {
        check_other_flows(config, keys, number, flows)?;
    }
    let graph = connect_graph_api(config)?;
    let mut failed = Vec::new();
    block_on(async {
        for (number, flows) in &numbers {
            let Some((flow, keys)) = flows.first() else {
                continue;
            };
            let uploaded = graph.upload_public_key(number, newest_public_pem(keys));
            let error = uploaded.await.err();
            if json {
                let why = error.as_ref().map(ToString::to_string);
                let row = json!({
                    "flow": flow, "phone_number_id": number, "uploaded": error.is_none(), "error": why,
                });
                writeln!(output, "{row}")?;
            } else if error.is_none() {
                writeln!(
                    output,
                    "phone number {number}: Meta has the newest key of flow {flow} now"
                )?;
            }
            if !record_failure(&mut failed, number, error) {
                break;
            }
        }
        Ok(())
    })?;
    if !failed.is_empty() {
        return Err(MetaKeyError::Failed(failed));
    }
    if !json {
        writeln!(
            output,
            "Phones switch to the new key gradually. If the running server has not loaded the key, run `flowgate reload` now: otherwise forms fail."
        )?;
    }
    Ok(())
}

/// Returns the newest public key as PEM. A flow without keys is not in the config.
fn newest_public_pem(keys: &[PrivateKey]) -> &str {
    keys.first().map(PrivateKey::public_pem).unwrap_or_default()
}

/// Returns an error if the upload of the newest key for `number` would make the forms of another
/// flow fail.
fn check_other_flows(
    config: &Config,
    keys: &FlowPrivateKeys,
    number: &str,
    flows: &[FlowWithKeys<'_>],
) -> Result<(), MetaKeyError> {
    let Some(((flow, keys_of_flow), others)) = flows.split_first() else {
        return Ok(());
    };
    let (number, flow) = (number.to_owned(), FlowName::clone(flow));
    let key = newest_public_pem(keys_of_flow);
    let has_other_key = |(_, keys): &&FlowWithKeys<'_>| newest_public_pem(keys) != key;
    if let Some((other, _)) = others.iter().find(has_other_key) {
        return Err(MetaKeyError::TwoKeys {
            number,
            one: flow,
            other: FlowName::clone(other),
        });
    }
    // For flows that are not selected, any of their keys may be the uploaded one.
    let broken_flow = keys.iter().find(|(other, keys)| {
        let meant = flows.iter().any(|(flow, _)| flow == other);
        !meant
            && configured_numbers(config, other).contains(&number)
            && keys.iter().all(|ours| ours.public_pem() != key)
    });
    match broken_flow {
        Some((other, _)) => Err(MetaKeyError::BreaksOtherFlow {
            number,
            flow,
            other: other.clone(),
        }),
        None => Ok(()),
    }
}

/// Compares the public key that Meta has for each selected phone number with the keys of its flows.
///
/// # Errors
/// Returns [`MetaKeyError`]. [`MetaKeyError::FormsFail`] means that Meta answered for all numbers
/// and at least one form would fail.
pub fn check(
    config: &Config,
    keys: &FlowPrivateKeys,
    args: &MetaKeyArgs,
    json: bool,
    output: &mut impl Write,
) -> Result<(), MetaKeyError> {
    let numbers = args.numbers_with_flows(config, keys)?;
    let graph = connect_graph_api(config)?;
    let (mut failed, mut bad) = (Vec::new(), 0);
    block_on(async {
        for (number, flows) in &numbers {
            let registered = graph.get_public_key(number).await;
            let mut forms_fail = false;
            for (flow, keys) in flows {
                match &registered {
                    Ok(registered) => {
                        let found = KeyComparison {
                            flow,
                            number,
                            key_match: KeyMatch::compare(keys, registered.as_ref()),
                            registered: registered.as_ref(),
                        };
                        forms_fail |= found.key_match.forms_fail();
                        if json {
                            writeln!(output, "{}", found.to_row())?;
                        } else {
                            writeln!(output, "{found}")?;
                        }
                    }
                    Err(why) if json => {
                        writeln!(output, "{}", compare::unknown_row(flow, number, why))?;
                    }
                    Err(_) => {}
                }
            }
            bad += usize::from(forms_fail);
            if !record_failure(&mut failed, number, registered.err()) {
                break;
            }
        }
        Ok(())
    })?;
    match bad {
        _ if !failed.is_empty() => Err(MetaKeyError::Failed(failed)),
        0 => Ok(()),
        bad => Err(MetaKeyError::FormsFail(bad)),
    }
}

/// Creates a Graph API client with the access token of the config.
fn connect_graph_api(config: &Config) -> Result<GraphApi<'_>, MetaKeyError> {
    let location = &config.meta.access_token;
    let token = location
        .resolve()?
        .ok_or_else(|| MetaKeyError::NoToken(location.location()))?;
    Ok(GraphApi::new(&config.meta, token)?)
}

/// Records a failure for the end of the command. Returns `false` if every further request would
/// fail as well.
fn record_failure(
    failed: &mut Vec<(String, GraphApiError)>,
    number: &str,
    error: Option<GraphApiError>,
) -> bool {
    let Some(error) = error else { return true };
    let continues = !error.concerns_all();
    failed.push((number.to_owned(), error));
    continues
}

fn block_on(future: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(future);
    // A DNS lookup can't be cancelled and may take long, so the runtime does not wait for it.
    runtime.shutdown_background();
    done
}
