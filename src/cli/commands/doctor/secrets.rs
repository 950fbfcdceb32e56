//! Checks that the service sees its secrets. A shell has other variables and other rights.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::context::Context;
use super::report::Report;
use crate::bootstrap::components::find_startup_errors;
use crate::config::SecretRef;

/// Permission bits that let others than the owner read or write a file.
const OTHERS: u32 = 0o077;
/// Permission bits that let users outside the group read or write a file.
const WORLD: u32 = 0o007;

/// Checks each secret of `[meta]` and each key, and that all secrets can be read.
pub(super) fn check(context: &Context, report: &mut Report<'_>) {
    let config = &context.config;
    let meta = &config.meta;
    let app_secrets = meta.app_secrets.iter();
    let needed = app_secrets.map(|secret| ("meta.app_secrets", secret, true));
    let tokens = [
        ("meta.verify_token", &meta.verify_token, true),
        ("meta.access_token", &meta.access_token, false),
    ];
    let keys = config.private_keys.values().flat_map(|sources| {
        let keys = sources.private_keys.iter().chain(&sources.passphrase);
        keys.map(|key| ("private_keys", key, true))
    });
    let upstreams = config.upstreams.values();
    let upstreams = upstreams.map(|upstream| ("upstream.secret", &upstream.secret, true));
    for (key, secret, is_needed) in needed.chain(tokens).chain(keys).chain(upstreams) {
        check_secret(context, key, secret, is_needed, report);
    }
    if context.status.is_some() {
        report.right("secrets", "the running server could read all its secrets");
    } else if let Some(errors) = find_startup_errors(config, &context.clock) {
        for line in errors.to_string().lines() {
            report.warning("secrets", line, "this shell was checked, not the service");
        }
    }
}

fn check_secret(
    context: &Context,
    key: &str,
    secret: &SecretRef,
    is_needed: bool,
    report: &mut Report<'_>,
) {
    let location = secret.location();
    match secret {
        SecretRef::Text(_) => {
            let advice = "use \"credential:NAME\" or \"file:PATH\"";
            report.warning(
                "secrets",
                format!("{key}: the secret is in the config itself"),
                advice,
            );
        }
        SecretRef::Env(name) => {
            let unit = context.unit.as_ref();
            let is_set = std::env::var_os(name).is_some_and(|value| !value.is_empty())
                || unit.is_some_and(|unit| unit.has_variable(name));
            if is_set {
                report.right("secrets", format!("{key}: {location} is set"));
            } else if is_needed {
                let message =
                    format!("{key}: {location} is set neither in the unit nor in this shell");
                let advice =
                    "set it in the EnvironmentFile of the unit, then: systemctl restart flowgate";
                report.wrong("secrets", message, advice);
            }
        }
        SecretRef::Credential(credential) => {
            let (name, file) = (&credential.name, &credential.source);
            let line = format!("LoadCredential={name}:{}", file.display());
            let passed = context.unit.as_ref().map(|unit| unit.credentials.get(name));
            if passed == Some(None) {
                let advice = format!("add the line {line}: systemctl edit flowgate");
                report.wrong(
                    "secrets",
                    format!("{key}: the unit does not pass {location}"),
                    advice,
                );
                return;
            }
            let file = passed
                .flatten()
                .filter(|file| file.is_absolute())
                .unwrap_or(file);
            check_file(key, file, is_needed, OTHERS, report);
        }
        SecretRef::File(path) => {
            check_file(key, path, is_needed, WORLD, report);
            check_service_access(context, key, path, report);
        }
    }
}

/// Checks the content and the mode of the file of a secret. `forbidden` are the bits that must not
/// be set.
fn check_file(key: &str, path: &Path, is_needed: bool, forbidden: u32, report: &mut Report<'_>) {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) if !is_needed => return,
        Err(error) => {
            let advice = format!("create {shown} with mode 600, or run the command as root");
            report.wrong("secrets", format!("{key}: {shown}: {error}"), advice);
            return;
        }
    };
    let mode = metadata.permissions().mode();
    if mode & forbidden != 0 {
        let message = format!("{key}: {shown} has mode {:04o}", mode & 0o7777);
        let who = if forbidden == OTHERS { "go" } else { "o" };
        report.wrong("secrets", message, format!("chmod {who}-rwx {shown}"));
    } else if metadata.len() > 0 {
        report.right("secrets", format!("{key}: {shown}"));
    } else if is_needed {
        let advice = format!("put the secret into {shown}, then: systemctl restart flowgate");
        report.wrong("secrets", format!("{key}: {shown} is empty"), advice);
    }
}

/// Checks that the user of the service may read a file that no service manager passes.
fn check_service_access(context: &Context, key: &str, path: &Path, report: &mut Report<'_>) {
    let user = context.unit.as_ref().and_then(|unit| unit.user.clone());
    let (Some(user), Ok(metadata)) = (user, fs::metadata(path)) else {
        return;
    };
    let Some((uid, gid)) = find_user(&user) else {
        return;
    };
    let mode = metadata.permissions().mode();
    let may_read = (metadata.uid() == uid && mode & 0o400 != 0)
        || (metadata.gid() == gid && mode & 0o040 != 0);
    if !may_read {
        let shown = path.display();
        let message = format!("{key}: the service's user {user} can't read {shown}");
        report.wrong("secrets", message, format!("chown {user}: {shown}"));
    }
}

/// Returns the user ID and the group ID of a user of this machine.
pub(super) fn find_user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_meant = fields.first() == Some(&name);
        let uid = fields.get(2).filter(|_| is_meant)?.parse().ok()?;
        Some((uid, fields.get(3)?.parse().ok()?))
    })
}
