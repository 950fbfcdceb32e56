//! The programs behind flows, made ready to be asked: their secrets, from the places that the config names.
//!
//! What a secret's text may look like is `crate::signing`'s, asking is `crate::http`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{Config, SecretError, UpstreamRule};
use crate::domain::ids::FlowName;
use crate::http::Upstream;
use crate::signing::{InvalidSigningKey, SigningKey};

/// A flow's program that can't be asked: requests to it can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum NoUpstream {
    /// The secret can't be read.
    #[error("flow {flow}: upstream.secret: {source}")]
    Secret {
        /// The flow.
        flow: FlowName,
        /// Why not.
        #[source]
        source: SecretError,
    },
    /// It is not there.
    #[error("flow {flow}: no secret for its upstream, {place} is not set: requests to it must be signed")]
    NotSet {
        /// The flow.
        flow: FlowName,
        /// Where it was looked for.
        place: String,
    },
    /// It is no secret to sign with.
    #[error("flow {flow}: the secret for its upstream in {place} can't be used: {source}")]
    Invalid {
        /// The flow.
        flow: FlowName,
        /// Where it is.
        place: String,
        /// Why not.
        #[source]
        source: InvalidSigningKey,
    },
}

/// The program of each flow that has one.
pub type Upstreams = BTreeMap<FlowName, Arc<Upstream>>;

/// Those that can be asked, and what is wrong with the others. One that is asked as before stays the one that it was in
/// `before`: what is known of how it does outlives a reload.
pub(super) fn read_all(config: &Config, clock: &Arc<dyn Clock>, before: &Upstreams) -> (Upstreams, Vec<NoUpstream>) {
    let (mut upstreams, mut problems) = (Upstreams::new(), Vec::new());
    for (flow, rule) in &config.upstreams {
        match key_of(flow, rule) {
            Ok(key) => {
                let kept = before.get(flow).filter(|upstream| upstream.goes_by(rule, &key)).map(Arc::clone);
                let new = || Arc::new(Upstream::new(flow.clone(), rule.clone(), key, Arc::clone(clock)));
                upstreams.insert(flow.clone(), kept.unwrap_or_else(new));
            }
            Err(problem) => problems.push(problem),
        }
    }
    (upstreams, problems)
}

fn key_of(flow: &FlowName, rule: &UpstreamRule) -> Result<SigningKey, NoUpstream> {
    let text = rule.secret.resolve().map_err(|source| NoUpstream::Secret { flow: flow.clone(), source })?;
    let text = text.ok_or_else(|| NoUpstream::NotSet { flow: flow.clone(), place: rule.secret.place() })?;
    SigningKey::read(text.expose()).map_err(|source| NoUpstream::Invalid {
        flow: flow.clone(),
        place: rule.secret.place(),
        source,
    })
}
