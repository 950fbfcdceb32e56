//! `flowgate keys`: a new private key for an encrypted flow, and the public halves that Meta is to have.
//!
//! Asks no server: keys are files, and the config says where. What a key may look like is `crate::intake`'s.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::flow_keys::{self, NoFlowKey};
use crate::config::{Config, ConfigError};
use crate::domain::ids::FlowName;
use crate::intake::{InvalidKey, PrivateKey};

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
}

/// Why there is no key to show.
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
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The terminal is gone.
    #[error("can't print the answer: {0}")]
    Print(#[from] io::Error),
}

impl Keys {
    /// Does it. `load` loads the config, which `new` does without.
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
            Verb::New { file } => new(file, json, out),
            Verb::Show { flow } => show(&load()?, flow.as_ref(), json, out),
        }
    }
}

fn new(file: &Path, json: bool, out: &mut impl Write) -> Result<(), KeysError> {
    let text = PrivateKey::generate()?;
    let key = PrivateKey::read(&text, None)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists(file.to_owned()),
        _ => KeysError::Write { path: file.to_owned(), source },
    };
    let mut private = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    private.write_all(text.as_bytes()).and_then(|()| private.sync_all()).map_err(failed)?;
    let place = format!("file:{}", file.display());
    if json {
        writeln!(out, "{}", json!({ "private_key": place, "public_key": key.public_pem() }))?;
        return Ok(());
    }
    writeln!(out, "A new private key is in {}. Keep it, and a copy of it, to yourself.", file.display())?;
    writeln!(out, "In the flow's table of the config:")?;
    writeln!(out, "  encryption = \"required\"")?;
    writeln!(
        out,
        "  private_keys = [\"{place}\"]   # relative to the config; newest first, keep older ones behind it"
    )?;
    writeln!(out, "Its public half, for Meta:\n")?;
    write!(out, "{}", key.public_pem())?;
    writeln!(out, "\nUpload it for each phone number (TOKEN needs whatsapp_business_messaging):\n")?;
    // Quoted as a shell takes it: PEM has no quotes of its own.
    writeln!(out, "curl -X POST https://graph.facebook.com/v26.0/PHONE_NUMBER_ID/whatsapp_business_encryption \\")?;
    writeln!(out, "  -H 'Authorization: Bearer TOKEN' --data-urlencode 'business_public_key={}'", key.public_pem())?;
    Ok(())
}

fn show(config: &Config, flow: Option<&FlowName>, json: bool, out: &mut impl Write) -> Result<(), KeysError> {
    let keys = flow_keys::read(config)?;
    if let Some(flow) = flow.filter(|flow| !keys.contains_key(*flow)) {
        return Err(KeysError::NoFlow(flow.clone()));
    }
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
