//! The Debian package: built by the committed script, installed into a folder, upgraded, purged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::run;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const CONFIG: &str = "etc/flowgate/config.toml";

/// Folder that stands for the root of a machine, with a package database.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
            "etc",
        ] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
        Self(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Runs dpkg on this machine. Its scripts run without chroot, as the folder has no shell.
    fn dpkg(&self, args: &[&str]) -> String {
        let output = Command::new("dpkg")
            .arg(format!("--root={}", self.0.path().display()))
            .args([
                "--force-script-chrootless",
                "--force-depends",
                "--force-confdef",
            ])
            .args(["--log=/dev/null"])
            .args(args)
            .output()
            .unwrap();
        text_of(&output)
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }
}

fn text_of(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Builds the package with this version from the executable under test.
fn build_deb(folder: &Path, version: &str) -> String {
    let output = Command::new(Path::new(REPOSITORY).join("packaging/build-deb"))
        .args([
            "--binary",
            env!("CARGO_BIN_EXE_flowgate"),
            "--compression",
            "none",
        ])
        .args(["--version", version, "--output", folder.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text_of(&output);
    text.trim().to_owned()
}

/// Returns `true` if the package can be built and installed here.
fn has_tools() -> bool {
    let has = |program: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        found.is_ok_and(|output| output.status.success())
    };
    let all = ["dpkg-deb", "objdump", "systemd-sysusers"];
    all.into_iter().all(has) && rustix::process::geteuid().is_root()
}

#[test]
fn package_is_installed_upgraded_and_purged() {
    if !has_tools() {
        eprintln!("skipped: needs root, dpkg, binutils and systemd-sysusers");
        return;
    }
    let packages = tempfile::tempdir().unwrap();
    let machine = Machine::new();
    let first = build_deb(packages.path(), "0.1.0");
    machine.dpkg(&["--install", &first]);

    for file in [
        "usr/bin/flowgate",
        "usr/lib/systemd/system/flowgate.service",
        "usr/lib/systemd/system/flowgate.socket",
        "usr/share/man/man1/flowgate.1.gz",
        "usr/share/man/man1/flowgate-dead-letters-retry.1.gz",
        "usr/share/bash-completion/completions/flowgate",
        "usr/share/doc/flowgate/docs/operations.md",
    ] {
        assert!(machine.path(file).is_file(), "{file}");
    }
    let version = Command::new(machine.path("usr/bin/flowgate"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(
        text_of(&version),
        format!("flowgate {}\n", env!("CARGO_PKG_VERSION"))
    );
    let users = fs::read_to_string(machine.path("etc/passwd")).unwrap();
    assert!(users.contains("flowgate:"), "{users}");
    assert_eq!(machine.mode(CONFIG), 0o640);
    assert_eq!(machine.mode("etc/flowgate/credentials"), 0o700);
    assert_eq!(machine.mode("etc/flowgate/credentials/app-secret"), 0o600);

    let config = machine.path(CONFIG);
    let checked = run(
        machine.0.path(),
        &["--config", config.to_str().unwrap(), "config", "check"],
    );
    assert!(
        checked.code == 0 && checked.out.contains("/var/lib/flowgate"),
        "{checked:?}"
    );

    // An upgrade keeps the edited config and the secrets.
    let edited = fs::read_to_string(machine.path(CONFIG)).unwrap() + "# mine\n";
    fs::write(machine.path(CONFIG), &edited).unwrap();
    fs::write(
        machine.path("etc/flowgate/credentials/app-secret"),
        "hush\n",
    )
    .unwrap();
    let second = build_deb(packages.path(), "0.2.0");
    machine.dpkg(&["--install", &second]);
    assert_eq!(fs::read_to_string(machine.path(CONFIG)).unwrap(), edited);
    let secret = fs::read_to_string(machine.path("etc/flowgate/credentials/app-secret")).unwrap();
    assert_eq!(secret, "hush\n");
    assert!(
        machine
            .dpkg(&["--status", "flowgate"])
            .contains("Version: 0.2.0")
    );

    // A removal keeps the config. A purge removes it with the secrets, and keeps the data file.
    let data = machine.path("var/lib/flowgate/flowgate.redb");
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    fs::write(&data, "forms").unwrap();
    machine.dpkg(&["--remove", "flowgate"]);
    assert!(machine.path(CONFIG).exists() && !machine.path("usr/bin/flowgate").exists());
    let purged = machine.dpkg(&["--purge", "flowgate"]);
    assert!(purged.contains("The data file is kept"), "{purged}");
    assert!(!machine.path("etc/flowgate").exists() && data.exists());
}

#[test]
fn binary_that_needs_foreign_libraries_is_refused() {
    if !has_tools() {
        return;
    }
    let check = |binary: &str| {
        Command::new(Path::new(REPOSITORY).join("packaging/check-binary"))
            .arg(binary)
            .output()
            .unwrap()
    };
    let glibc = text_of(&check(env!("CARGO_BIN_EXE_flowgate")));
    assert!(glibc.starts_with("2."), "{glibc}");
    let foreign = check("/usr/bin/dpkg");
    let error = String::from_utf8_lossy(&foreign.stderr).into_owned();
    assert!(
        !foreign.status.success() && error.contains("needs lib"),
        "{error}"
    );
}
