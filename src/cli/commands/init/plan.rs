//! Plans the files of `flowgate init`: the secrets, and the texts of the folder `packaging` with
//! the addresses of the answers.

use super::answers::Answers;
use super::executable::Executable;
use super::files::{OnExisting, Owner, PlannedFile, PlannedFolder};
use super::paths::{CONFIG_FILE, CREDENTIALS, PACKAGED_LISTEN, SYSUSERS_FILE};
use crate::config::Secret;
use crate::intake::{InvalidKey, PrivateKey};

/// Path of the executable in the shipped unit.
const PACKAGED_EXECUTABLE: &str = "/usr/bin/flowgate";
/// Domain in the shipped files.
const PACKAGED_DOMAIN: &str = "forms.example.com";

const SERVICE_UNIT: &str = include_str!("../../../../packaging/systemd/flowgate.service");
const SOCKET_UNIT: &str = include_str!("../../../../packaging/systemd/flowgate.socket");
const SYSUSERS: &str = include_str!("../../../../packaging/systemd/sysusers.conf");
const CADDYFILE: &str = include_str!("../../../../packaging/proxy/Caddyfile");
const NGINX: &str = include_str!("../../../../packaging/proxy/nginx.conf");

/// Folders of the files.
pub(super) const FOLDERS: [PlannedFolder; 3] = [
    PlannedFolder {
        path: "/etc/flowgate",
        mode: 0o750,
        owner: Owner::RootAndServiceGroup,
    },
    PlannedFolder {
        path: CREDENTIALS,
        mode: 0o700,
        owner: Owner::Root,
    },
    PlannedFolder {
        path: "/etc/flowgate/proxy",
        mode: 0o755,
        owner: Owner::Root,
    },
];

/// Plans the config, the units and the snippets of proxies.
pub(super) fn plan_files(
    answers: &Answers,
    config: String,
    executable: &Executable,
) -> Vec<PlannedFile> {
    let adapt = |text: &str| {
        let text = text
            .replace(PACKAGED_LISTEN, &answers.listen)
            .replace(PACKAGED_DOMAIN, &answers.domain);
        text.replace(
            PACKAGED_EXECUTABLE,
            &executable.service_path.display().to_string(),
        )
    };
    let mut unit = adapt(SERVICE_UNIT);
    if answers.is_encrypted {
        let last = format!("LoadCredential=access-token:{CREDENTIALS}/access-token\n");
        let key = format!("LoadCredential=flow-key:{CREDENTIALS}/flow-key\n");
        unit = unit.replace(&last, &format!("{last}{key}"));
    }
    let public = |path: &str, text: String| PlannedFile {
        path: path.to_owned(),
        text: Secret::new(text),
        mode: 0o644,
        owner: Owner::Root,
        on_existing: OnExisting::Refuse,
    };
    vec![
        public(
            &format!("/etc/sysusers.d/{SYSUSERS_FILE}"),
            SYSUSERS.to_owned(),
        ),
        PlannedFile {
            mode: 0o640,
            owner: Owner::RootAndServiceGroup,
            ..public(CONFIG_FILE, config)
        },
        public("/etc/systemd/system/flowgate.service", unit),
        public("/etc/systemd/system/flowgate.socket", adapt(SOCKET_UNIT)),
        public("/etc/flowgate/proxy/Caddyfile", adapt(CADDYFILE)),
        public("/etc/flowgate/proxy/nginx.conf", adapt(NGINX)),
    ]
}

/// Plans the files of the secrets. A secret that nobody gave is an empty file, which counts as
/// not set.
pub(super) fn plan_secrets(answers: &Answers) -> Result<Vec<PlannedFile>, InvalidKey> {
    let secret = |name: &str, value: Option<&Secret>| PlannedFile {
        path: format!("{CREDENTIALS}/{name}"),
        text: Secret::new(
            value
                .map(|value| format!("{}\n", value.expose()))
                .unwrap_or_default(),
        ),
        mode: 0o600,
        owner: Owner::Root,
        on_existing: match value {
            Some(_) => OnExisting::Refuse,
            None => OnExisting::Retain,
        },
    };
    let mut token = secret("verify-token", Some(&answers.verify_token));
    if answers.is_new_verify_token {
        token.on_existing = OnExisting::Retain;
    }
    let mut files = vec![
        secret("app-secret", answers.app_secret.as_ref()),
        token,
        secret("access-token", answers.access_token.as_ref()),
    ];
    if answers.is_encrypted {
        // Phones use an existing key.
        files.push(PlannedFile {
            text: Secret::new(PrivateKey::generate()?.to_string()),
            ..secret("flow-key", None)
        });
    }
    Ok(files)
}
