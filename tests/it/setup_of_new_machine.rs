//! `flowgate init` on a new machine: files with modes, a valid config, a hardened unit, and a
//! server that serves with them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::form::Form;
use crate::support::http::SECRET;
use crate::support::{CommandOutput, Server, flowgate, run, tools};

const CONFIG: &str = "etc/flowgate/config.toml";
const SERVICE: &str = "etc/systemd/system/flowgate.service";

/// Exposure of the unit by `systemd-analyze security`, from 0 (safe) to 10.
const EXPOSURE_MAX: f64 = 1.5;

fn new_machine() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn init(root: &Path, more: &[&str]) -> CommandOutput {
    let root_option = ["init", "--root", root.to_str().unwrap(), "--yes"];
    run(root, &[&root_option, more].concat())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_have_modes_and_valid_config() {
    let root = new_machine();
    let done = init(
        root.path(),
        &[
            "--domain",
            "forms.clinic.example",
            "--encrypted",
            "--hours",
            "mon-fri 08:30-12:00, sat 10:00-12:00",
        ],
    );
    assert_eq!(done.code, 0, "{done:?}");
    for step in [
        "1. ",
        "2. ",
        "3. ",
        "systemctl enable --now flowgate.socket",
        "https://forms.clinic.example/webhook",
    ] {
        assert!(done.out.contains(step), "{step}: {}", done.out);
    }
    let credentials = root.path().join("etc/flowgate/credentials");
    assert_eq!(mode(&credentials), 0o700);
    for name in ["app-secret", "verify-token", "access-token", "flow-key"] {
        assert_eq!(mode(&credentials.join(name)), 0o600, "{name}");
    }
    let token = fs::read_to_string(credentials.join("verify-token")).unwrap();
    assert!(token.trim().len() >= 32 && !done.out.contains(token.trim()));
    let config = root.path().join(CONFIG);
    assert_eq!(mode(&config), 0o640);
    let checked = run(
        root.path(),
        &["--config", config.to_str().unwrap(), "config", "check"],
    );
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.out.contains("/flows/appointment (encrypted)"),
        "{}",
        checked.out
    );
    let unit = fs::read_to_string(root.path().join(SERVICE)).unwrap();
    assert!(unit.contains("LoadCredential=flow-key:/etc/flowgate/credentials/flow-key"));
    for name in ["Caddyfile", "nginx.conf"] {
        let text = fs::read_to_string(root.path().join("etc/flowgate/proxy").join(name)).unwrap();
        assert!(text.contains("forms.clinic.example") && !text.contains("forms.example.com"));
    }
}

#[test]
fn nothing_is_overwritten_without_force() {
    let root = new_machine();
    assert_eq!(init(root.path(), &["--domain", "a.example"]).code, 0);
    let token = root.path().join("etc/flowgate/credentials/verify-token");
    let old_token = fs::read_to_string(&token).unwrap();
    let config = root.path().join(CONFIG);
    fs::write(&config, "# mine\n").unwrap();
    let refused = init(root.path(), &["--domain", "b.example"]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("config.toml") && refused.err.contains("--force"),
        "{}",
        refused.err
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");

    fs::write(root.path().join("secret"), "hush\n").unwrap();
    let forced = init(
        root.path(),
        &[
            "--domain",
            "b.example",
            "--force",
            "--app-secret",
            "file:secret",
        ],
    );
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(
        fs::read_to_string(&config)
            .unwrap()
            .contains("https://b.example")
    );
    assert_eq!(
        fs::read_to_string(&token).unwrap(),
        old_token,
        "Meta knows it"
    );
    let secret = token.with_file_name("app-secret");
    assert_eq!(fs::read_to_string(secret).unwrap(), "hush\n");
}

#[test]
fn wrong_answers_write_nothing() {
    let root = new_machine();
    for (wrong, why) in [
        (&[][..], "--domain"),
        (&["--domain", "https://a.example"], "without https://"),
        (
            &["--domain", "a.example", "--timezone", "berlin"],
            "Europe/Berlin",
        ),
        (
            &["--domain", "a.example", "--hours", "9-17"],
            "mon-fri 09:00-12:00",
        ),
        (
            &["--domain", "a.example", "--hours", "mon 17:00-09:00"],
            "17:00",
        ),
        (
            &["--domain", "a.example", "--slot-length", "30"],
            "slot_length",
        ),
        (&["--domain", "a.example", "--language", "xx"], "language"),
        (&["--domain", "a.example", "--flow", ""], "--flow"),
        (
            &["--domain", "a.example", "--app-secret", "hush"],
            "env:NAME",
        ),
        (
            &["--domain", "a.example", "--app-secret", "env:NO_SUCH"],
            "env:NO_SUCH",
        ),
        (
            &["--domain", "a.example", "--app-secret", "file:none"],
            "none",
        ),
        (&["--domain", "a.example", "--listen", "8080"], "--listen"),
    ] {
        let refused = init(root.path(), wrong);
        assert_eq!(refused.code, 2, "{wrong:?}: {refused:?}");
        assert!(refused.err.contains(why), "{wrong:?}: {}", refused.err);
        assert!(!refused.err.contains("hush"), "{}", refused.err);
    }
    assert!(files(root.path()).is_empty());
    let asked = run(root.path(), &["init", "--root", "."]);
    assert_eq!(asked.code, 2);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
}

#[test]
fn server_uses_config_and_credentials_of_init() {
    let root = new_machine();
    fs::write(root.path().join("secret"), SECRET).unwrap();
    let done = init(
        root.path(),
        &[
            "--domain",
            "a.example",
            "--no-calendar",
            "--app-secret",
            "file:secret",
        ],
    );
    assert_eq!(done.code, 0, "{done:?}");
    let mut server = Server::stopped("");
    let config = fs::read_to_string(root.path().join(CONFIG)).unwrap();
    let config = config.replace("/var/lib/flowgate/", "");
    fs::write(server.folder().join("config.toml"), config).unwrap();
    server.on_free_ports();
    let credentials = root.path().join("etc/flowgate/credentials");
    server.start_with(&[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]);
    let answer = server.post("/flows/appointment", &Form::new("one"));
    assert!(answer.is_accepted(), "{answer:?}");
    let token = fs::read_to_string(credentials.join("verify-token")).unwrap();
    let verify = format!(
        "/webhook?hub.mode=subscribe&hub.challenge=42&hub.verify_token={}",
        token.trim()
    );
    assert_eq!(server.get(&verify).text(), "42");
}

#[test]
fn unit_is_valid_and_hardened() {
    let Some(analyze) = tools::find("systemd-analyze") else {
        return;
    };
    let root = new_machine();
    assert_eq!(
        init(root.path(), &["--domain", "a.example", "--encrypted"]).code,
        0
    );
    let service = root.path().join(SERVICE);
    let text = fs::read_to_string(&service).unwrap();
    // The program of the unit does not exist on this machine.
    let text = text.replace("/usr/local/bin/flowgate", env!("CARGO_BIN_EXE_flowgate"));
    fs::write(&service, text).unwrap();
    let socket = service.with_extension("socket");
    let verified = Command::new(&analyze)
        .args(["verify", "--man=no"])
        .args([&service, &socket])
        .output()
        .unwrap();
    let complaints = String::from_utf8(verified.stderr).unwrap();
    assert!(!complaints.contains("flowgate."), "{complaints}");
    let security = Command::new(&analyze)
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(&service)
        .output()
        .unwrap();
    let text = String::from_utf8(security.stdout).unwrap();
    let (_, rating) = text
        .split_once("Overall exposure level for flowgate.service: ")
        .unwrap_or_else(|| panic!("{text}"));
    let exposure: f64 = rating.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE_MAX, "{exposure}: {text}");
}

#[test]
fn help_names_each_option() {
    let help = flowgate(Path::new("."))
        .args(["init", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in [
        "--domain",
        "--app-secret",
        "--root",
        "--yes",
        "--force",
        "mon-fri 09:00-12:00 13:00-17:00",
    ] {
        assert!(help.contains(option), "{option}");
    }
}
