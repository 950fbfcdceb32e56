//! `flowgate keys`: creates a private key for an encrypted flow, and shows, uploads and checks the
//! public keys for Meta.
//!
//! The commands contact no flowgate server: keys are files, and the config names them. See
//! [`crate::intake`] for the format of a key and `crate::bootstrap::private_file` for its file. The
//! module `create` builds the config value of the file. The modules `compare` and `meta` are for
//! the key at Meta.

mod compare;
mod config_location;
mod meta;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bootstrap::private_file;
use crate::bootstrap::resolve::flow_keys::{self, FlowKeyError, FlowPrivateKeys};
use crate::cli::graph_api::encryption_key_url;
use crate::config::{Config, ConfigError};
use crate::domain::ids::FlowName;
use crate::intake::{InvalidKey, PrivateKey};
use meta::MetaKeyArgs;
pub use meta::MetaKeyError;

/// Create keys of encrypted flows, show them, and upload and check them at Meta
#[derive(Debug, clap::Args)]
pub struct KeysCommand {
    #[command(subcommand)]
    subcommand: KeysSubcommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysSubcommand {
    /// Create a private key that only its owner can read, and show its public key and how to upload
    /// it
    New {
        /// File for the private key. An existing file is never replaced
        #[arg(value_name = "FILE", default_value = "flow_key.pem")]
        file: PathBuf,
    },
    /// Show the public keys of the private keys that the config names, newest first
    Show {
        /// Only keys of this flow. Default: all flows
        #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
        flow: Option<FlowName>,
    },
    /// Upload the newest public key to Meta for each phone number. Needs `meta.access_token`
    Upload(MetaKeyArgs),
    /// Check that Meta has the right public key for each phone number. Needs `meta.access_token`
    Check(MetaKeyArgs),
}

/// Errors of `flowgate keys`.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file for a new key already exists. The path names it.
    #[error("{} already exists and is not overwritten, because phones may use its key: choose another file name", .0.display())]
    Exists(PathBuf),
    /// The file for a new key can't be written.
    #[error("can't write {}: {source}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// A new key can't be generated or parsed.
    #[error("can't create a key: {0}")]
    Generate(#[from] InvalidKey),
    /// The config has no encrypted flow of this name.
    #[error("there is no encrypted flow {0} in the config")]
    NoFlow(FlowName),
    /// A private key of the config can't be used.
    #[error(transparent)]
    FlowKey(#[from] FlowKeyError),
    /// An upload or a check at Meta failed.
    #[error(transparent)]
    Meta(#[from] MetaKeyError),
    /// The config can't be loaded.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Standard output can't be written.
    #[error("can't write the output: {0}")]
    Print(#[from] io::Error),
}

impl KeysCommand {
    /// Runs the subcommand and writes its result to `output`. `load` loads the config. `new` also
    /// works without a config.
    ///
    /// # Errors
    /// Returns [`KeysError`] if the subcommand fails.
    pub fn run(
        &self,
        load: impl FnOnce() -> Result<Config, ConfigError>,
        json: bool,
        output: &mut impl Write,
    ) -> Result<(), KeysError> {
        match &self.subcommand {
            KeysSubcommand::New { file } => create_key(file, load().ok().as_ref(), json, output),
            KeysSubcommand::Show { flow } => show_keys(&load()?, flow.as_ref(), json, output),
            KeysSubcommand::Upload(args) => {
                let config = load()?;
                let keys = load_keys(&config, args.flow.as_ref())?;
                Ok(meta::upload(&config, &keys, args, json, output)?)
            }
            KeysSubcommand::Check(args) => {
                let config = load()?;
                let keys = load_keys(&config, args.flow.as_ref())?;
                Ok(meta::check(&config, &keys, args, json, output)?)
            }
        }
    }
}

/// Returns all private keys of the config. Fails if `flow` is given and has no key.
fn load_keys(config: &Config, flow: Option<&FlowName>) -> Result<FlowPrivateKeys, KeysError> {
    let keys = flow_keys::resolve(config)?;
    match flow.filter(|flow| !keys.contains_key(*flow)) {
        Some(flow) => Err(KeysError::NoFlow(flow.clone())),
        None => Ok(keys),
    }
}

fn create_key(
    file: &Path,
    config: Option<&Config>,
    json: bool,
    output: &mut impl Write,
) -> Result<(), KeysError> {
    let text = PrivateKey::generate()?;
    let key = PrivateKey::parse(&text, None)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Exists(file.to_owned()),
        _ => KeysError::Write {
            path: file.to_owned(),
            source,
        },
    };
    private_file::create(file, &text).map_err(failed)?;
    let location =
        config_location::config_location(file, config.map(|config| config.file.as_path()))
            .map_err(failed)?;
    let meta = config.map(|config| config.meta.clone()).unwrap_or_default();
    if json {
        let row = json!({ "private_key": location, "public_key": key.public_pem() });
        return Ok(writeln!(output, "{row}")?);
    }
    let location = toml::Value::String(location);
    // Shell quoting is safe here: PEM contains no quotes.
    writeln!(
        output,
        "The new private key is in {file}. Keep it secret, and make a backup of it.
Add these lines to the flow in the config:
  encryption = \"required\"
  private_keys = [{location}]   # newest first; keep older keys after it
The public key, for Meta:

{public_pem}
Upload the public key for each phone number (TOKEN needs whatsapp_business_messaging):

curl -X POST {url} \\
  -H 'Authorization: Bearer TOKEN' --data-urlencode 'business_public_key={public_pem}'",
        file = file.display(),
        public_pem = key.public_pem(),
        url = encryption_key_url(&meta, "PHONE_NUMBER_ID")
    )?;
    if matches!(meta.access_token.resolve(), Ok(Some(_))) {
        writeln!(
            output,
            "\nOr, after you add the key to the config and run `flowgate reload`: flowgate keys upload"
        )?;
    }
    Ok(())
}

fn show_keys(
    config: &Config,
    flow: Option<&FlowName>,
    json: bool,
    output: &mut impl Write,
) -> Result<(), KeysError> {
    let keys = load_keys(config, flow)?;
    let is_selected = |name: &FlowName| flow.is_none_or(|flow| flow == name);
    for (name, keys) in keys.iter().filter(|(name, _)| is_selected(name)) {
        let locations = config
            .private_keys
            .get(name)
            .map(|locations| locations.private_keys.as_slice())
            .unwrap_or_default();
        for (key, location) in keys.iter().zip(locations) {
            let (location, pem) = (location.location(), key.public_pem());
            if json {
                let row = json!({ "flow": name, "private_key": location, "public_key": pem });
                writeln!(output, "{row}")?;
            } else {
                write!(output, "flow {name}, {location}\n{pem}")?;
            }
        }
    }
    if keys.is_empty() && !json {
        writeln!(output, "no flow of the config is encrypted")?;
    }
    Ok(())
}
