//! `flowgate keys`: a new private key for an encrypted flow, and the public halves that Meta is to have.
//!
//! Asks no server of ours: keys are files, and the config says where. What a key may look like is `crate::intake`'s, its
//! file is made in `crate::cli::private_file` and named in `fresh`, and what is said to Meta is in `at_meta`.

mod at_meta;
mod fresh;
mod held;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::flow_keys::{self, FlowKeys, NoFlowKey};
use crate::cli::graph::url_of_key;
use crate::cli::private_file;
use crate::config::{Config, ConfigError};
use crate::domain::ids::FlowName;
use crate::intake::{InvalidKey, PrivateKey};
pub use at_meta::AtMetaError;
use at_meta::Which;

/// Keys of encrypted flows
#[derive(Debug, clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Makes a private key, readable for its owner alone, and shows the public half and how to upload it
    New {
        /// Where to put the private key
        #[arg(value_name = "FILE", default_value = "flow_key.pem")]
        file: PathBuf,
    },
    /// Shows the public halves of the keys that the config names, newest first
    Show {
        /// Only those of this flow
        #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
        flow: Option<FlowName>,
    },
    /// Uploads the newest key's public half to Meta for each phone number. Needs `meta.access_token`
    Upload(Which),
    /// Says whether Meta has the right key for each phone number. Needs `meta.access_token`
    Check(Which),
}

/// Why there is no key to show, or none at Meta.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It would take the place of another one.
    #[error("{} is there already: a key that phones use must not be lost. Name another file", .0.display())]
    Exists(PathBuf),
    /// It can't be written.
    #[error("can't write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It can't be made, or read again.
    #[error("can't make a key: {0}")]
    Make(#[from] InvalidKey),
    /// No such flow.
    #[error("there is no encrypted flow {0} in the config")]
    NoFlow(FlowName),
    /// A key of the config.
    #[error(transparent)]
    FlowKey(#[from] NoFlowKey),
    /// What Meta holds, or did not take.
    #[error(transparent)]
    AtMeta(#[from] AtMetaError),
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The terminal is gone.
    #[error("can't print the answer: {0}")]
    Print(#[from] io::Error),
}

impl Keys {
    /// Does it. `load` loads the config, which `new` can do without.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn run(
        &self,
        load: impl FnOnce() -> Result<Config, ConfigError>,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), KeysError> {
        match &self.verb {
            Verb::New { file } => new(file, load().ok().as_ref(), json, out),
            Verb::Show { flow } => show(&load()?, flow.as_ref(), json, out),
            Verb::Upload(which) => {
                let config = load()?;
                let keys = keys_of(&config, which.flow.as_ref())?;
                Ok(at_meta::upload(&config, &keys, which, json, out)?)
            }
            Verb::Check(which) => {
                let config = load()?;
                let keys = keys_of(&config, which.flow.as_ref())?;
                Ok(at_meta::check(&config, &keys, which, json, out)?)
            }
        }
    }
}

/// All keys of the config, where `flow`, if one is named, has some.
fn keys_of(config: &Config, flow: Option<&FlowName>) -> Result<FlowKeys, KeysError> {
    let keys = flow_keys::read(config)?;
    match flow.filter(|flow| !keys.contains_key(*flow)) {
        Some(flow) => Err(KeysError::NoFlow(flow.clone())),
        None => Ok(keys),
    }
}

fn new(file: &Path, config: Option<&Config>, json: bool, out: &mut impl Write) -> Result<(), KeysError> {
    let text = PrivateKey::generate()?;
    let key = PrivateKey::read(&text, None)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists(file.to_owned()),
        _ => KeysError::Write { path: file.to_owned(), source },
    };
    private_file::create(file, &text).map_err(failed)?;
    let place = fresh::place(file, config.map(|config| config.file.as_path())).map_err(failed)?;
    let meta = config.map(|config| config.meta.clone()).unwrap_or_default();
    if json {
        writeln!(out, "{}", json!({ "private_key": place, "public_key": key.public_pem() }))?;
        return Ok(());
    }
    writeln!(out, "A new private key is in {}. Keep it, and a copy of it, to yourself.", file.display())?;
    writeln!(out, "In the flow's table of the config:")?;
    writeln!(out, "  encryption = \"required\"")?;
    let place = toml::Value::String(place);
    writeln!(out, "  private_keys = [{place}]   # newest first, keep older ones behind it")?;
    writeln!(out, "Its public half, for Meta:\n")?;
    write!(out, "{}", key.public_pem())?;
    writeln!(out, "\nUpload it for each phone number (TOKEN needs whatsapp_business_messaging):\n")?;
    // Quoted as a shell takes it: PEM has no quotes of its own.
    writeln!(out, "curl -X POST {} \\", url_of_key(&meta, "PHONE_NUMBER_ID"))?;
    writeln!(out, "  -H 'Authorization: Bearer TOKEN' --data-urlencode 'business_public_key={}'", key.public_pem())?;
    if matches!(meta.access_token.resolve(), Ok(Some(_))) {
        writeln!(out, "\nOr, once the config names it and the server runs with it: flowgate keys upload")?;
    }
    Ok(())
}

fn show(config: &Config, flow: Option<&FlowName>, json: bool, out: &mut impl Write) -> Result<(), KeysError> {
    let keys = keys_of(config, flow)?;
    for (name, keys) in keys.iter().filter(|(name, _)| flow.is_none_or(|flow| flow == *name)) {
        let places = config.keys.get(name).map(|places| places.private_keys.as_slice()).unwrap_or_default();
        for (key, place) in keys.iter().zip(places) {
            let place = place.place();
            if json {
                writeln!(out, "{}", json!({ "flow": name, "private_key": place, "public_key": key.public_pem() }))?;
            } else {
                write!(out, "flow {name}, {place}\n{}", key.public_pem())?;
            }
        }
    }
    if keys.is_empty() && !json {
        writeln!(out, "no flow of the config is encrypted")?;
    }
    Ok(())
}
