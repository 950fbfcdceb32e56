//! Runs the commands of the documents.
//!
//! - Fenced `sh` blocks run line by line, in the order of the page, against a server with the
//!   shipped config. Programs of the system, such as `systemctl`, are not run.
//! - `<!-- run: COMMAND -->` runs as well. Readers do not see it.
//! - Code spans that begin with `flowgate` must be valid: their commands and options exist.
//! - Blocks of other languages, such as `text`, are not run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::pages::{Page, all_pages, root};
use crate::support::fake_services::FakeReceiver;
use crate::support::{Server, run};

/// Programs of the system, the toolchain and other machines. Lines that begin with them are not
/// run.
const FOREIGN: [&str; 23] = [
    "alias",
    "apt",
    "apt-get",
    "caddy",
    "cargo",
    "cat",
    "cp",
    "curl",
    "docker",
    "dpkg",
    "install",
    "journalctl",
    "man",
    "mdbook",
    "nginx",
    "openssl",
    "packaging/build-deb",
    "packaging/check-binary",
    "promtool",
    "scp",
    "ssh",
    "sudo",
    "systemctl",
];

/// A command of a document, with its place.
struct DocCommand {
    place: String,
    text: String,
}

/// Returns the commands of a page that run against a server.
fn commands_of(page: &Page) -> Vec<DocCommand> {
    let mut commands: Vec<DocCommand> = Vec::new();
    let mut is_continued = false;
    for line in page.lines() {
        let hidden = line.text.strip_prefix("<!-- run: ");
        let text = match hidden.and_then(|text| text.strip_suffix(" -->")) {
            Some(hidden) => hidden,
            None if line.language == Some("sh") => line.text.trim(),
            None => continue,
        };
        let (text, continues) = match text.strip_suffix('\\') {
            Some(start) => (start.trim_end(), true),
            None => (text, false),
        };
        match commands.last_mut().filter(|_| is_continued) {
            Some(last) => last.text = format!("{} {text}", last.text),
            None => commands.push(DocCommand {
                place: format!("{}:{}", page.path.display(), line.number),
                text: text.to_owned(),
            }),
        }
        is_continued = continues;
    }
    commands.retain(|command| !is_foreign(&command.text));
    commands
}

fn is_foreign(text: &str) -> bool {
    let first = text.split([' ', '=']).next().unwrap();
    let is_variable = text.starts_with(|letter: char| letter.is_ascii_uppercase());
    text.is_empty() || text.starts_with('#') || is_variable || FOREIGN.contains(&first)
}

/// Starts a server with the shipped config, a receiver as destination `crm`, and one agent.
fn demo_server(crm: &FakeReceiver) -> Server {
    let mut server = Server::stopped("");
    let shipped = fs::read_to_string(root().join("config.toml")).unwrap();
    let config = shipped
        .replace("# alerts = [\"ops\"]  ", "alerts = [\"crm\"]  ")
        .replace(
            "[flows.appointment]",
            "[flows.appointment]\ndeliver = [\"crm\"]",
        );
    assert!(config.contains("\nalerts = [\"crm\"]"));
    let config = format!("{config}\n{}", crm.table("crm", ""));
    fs::write(server.folder().join("config.toml"), config).unwrap();
    server.on_free_ports();
    install_programs(server.folder());
    server.start_again();
    server
}

/// Writes `bin/flowgate`. Commands that need a stopped server, a file or another machine only have
/// their arguments checked; stories of their own run them. `doctor` finds faults of a server that
/// is no service. `trace` finds no form of the number in a page.
fn install_programs(folder: &Path) {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in\n\
         *' serve '* | *' init '* | *' restore '* | *' follow '* | *' promote '* | *' import '* | *' forget '* | *' /mnt/'*)\n\
         exec {program} \"$@\" --help >/dev/null ;;\n\
         *' trace '*) {program} \"$@\"; code=$?; [ $code -eq 0 ] || [ $code -eq 3 ] ;;\n\
         *' doctor '*) {program} \"$@\" --offline; [ $? -le 1 ] ;;\n\
         *) exec {program} \"$@\" ;;\nesac\n",
        program = env!("CARGO_BIN_EXE_flowgate")
    );
    fs::write(bin.join("flowgate"), script).unwrap();
    fs::set_permissions(bin.join("flowgate"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a command. Returns its error output if it fails.
fn run_command(folder: &Path, command: &DocCommand) -> Result<(), String> {
    let mut shell = Command::new("sh");
    for name in ["META_APP_SECRET", "META_VERIFY_TOKEN", "META_ACCESS_TOKEN"] {
        shell.env_remove(name);
    }
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    let output = shell
        .args(["-c", &command.text])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}: `{}` failed:\n{}{}",
        command.place,
        command.text,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Runs all commands of a page on one server. Returns the errors.
fn run_page(page: &Page) -> Vec<String> {
    let commands = commands_of(page);
    if commands.is_empty() {
        return Vec::new();
    }
    let crm = FakeReceiver::well();
    let server = demo_server(&crm);
    commands
        .iter()
        .filter_map(|command| run_command(server.folder(), command).err())
        .collect()
}

#[test]
fn each_command_block_runs() {
    let pages = all_pages();
    let faults: Vec<String> = pages.iter().flat_map(run_page).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let count: usize = pages.iter().map(|page| commands_of(page).len()).sum();
    assert!(count > 30, "only {count} commands were found");
}

#[test]
fn wrong_commands_of_a_page_are_found() {
    let page = Page {
        path: "wrong.md".into(),
        text: "```sh\nflowgate status\nflowgate sttaus\nsystemctl restart x\n```\n\
               <!-- run: flowgate jobs show 999 -->\n```text\nflowgate none\n```\n"
            .to_owned(),
    };
    let faults = run_page(&page);
    let [typo, missing] = &faults[..] else {
        panic!("{faults:?}");
    };
    assert!(
        typo.starts_with("wrong.md:3: `flowgate sttaus` failed:"),
        "{typo}"
    );
    assert!(
        missing.starts_with("wrong.md:6: `flowgate jobs show 999` failed:"),
        "{missing}"
    );
}

/// Returns an error if the commands and options of a code span do not exist. Names in capitals are
/// values.
fn check_span(span: &str) -> Result<(), String> {
    let words = span.split_whitespace().skip(1);
    let words = words.filter(|word| !["…", "[OPTIONS]"].contains(word));
    let is_value = |word: &str| word.len() > 1 && !word.chars().any(|it| it.is_ascii_lowercase());
    let mut args: Vec<&str> = words
        .map(|word| match word {
            "DAY" => "today",
            "KIND" => "agents",
            word if is_value(word) => "1",
            word => word,
        })
        .collect();
    if args == ["help", "1"] {
        args.pop();
    }
    args.push("--help");
    let output = run(root(), &args);
    let is_valid = output.code == 0 || args.first() == Some(&"help");
    is_valid.then_some(()).ok_or(output.err)
}

#[test]
fn each_named_command_exists() {
    let mut spans: BTreeMap<String, String> = BTreeMap::new();
    for page in all_pages() {
        for (line, span) in page.code_spans() {
            let place = format!("{}:{line}", page.path.display());
            spans.entry(span).or_insert(place);
        }
    }
    let config = fs::read_to_string(root().join("config.toml")).unwrap();
    for span in config.replace("\n# ", " ").split('`').skip(1).step_by(2) {
        spans
            .entry(span.to_owned())
            .or_insert("config.toml".to_owned());
    }
    spans.retain(|span, _| span.starts_with("flowgate ") && !span.contains(['|', '&', '"', '=']));
    assert!(spans.len() > 40, "only {} commands were found", spans.len());
    let faults: Vec<String> = spans
        .iter()
        .filter_map(|(span, place)| Some((place, span, check_span(span).err()?)))
        .map(|(place, span, why)| format!("{place}: `{span}`: {why}"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn wrong_code_spans_are_found() {
    assert_eq!(
        check_span("flowgate deliveries discard --all --destination NAME"),
        Ok(())
    );
    for wrong in [
        "flowgate delivery",
        "flowgate jobs shw ID",
        "flowgate status --chekc",
    ] {
        assert!(check_span(wrong).is_err(), "{wrong}");
    }
}
