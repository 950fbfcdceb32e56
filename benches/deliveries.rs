//! Measures deliveries to a local sink, from the queued state until all results are on disk. The
//! baseline is a bare hyper client that posts the same body equally often, with the same
//! concurrency, and stores nothing.
//!
//! Run `cargo bench --bench deliveries`. The server, or the bare client, shares the cores of the
//! machine with the sink. The two take turns. Quote the ratios, because seconds depend on the
//! machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement, not a program"
)]

mod support;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Running, Sink, closed_loop_of, signed};

const ROUNDS: usize = 3;

/// Deliveries in one round.
const DELIVERIES: u32 = 20_000;

/// Measured cases: path of the flow, number of destinations, and maximum number of requests in
/// flight for each destination.
const CASES: [(&str, u32, u32); 3] = [("one", 1, 8), ("four", 4, 8), ("wide", 1, 64)];

const CONFIG: &str = r#"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[meta]
app_secrets = ["text:0123456789abcdef0123456789abcdef"]

[limits]
min_free_space = "1MiB"
"#;

fn main() {
    if let Ok(how) = std::env::var("BARE_CLIENT") {
        return support::be_bare_client(&how);
    }
    let sink = Sink::open();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Running::flowgate(folder.path(), &config(&sink));
    println!("deliveries a second      flowgate      bare    ratio");
    let mut rates = [const { [Vec::new(), Vec::new()] }; CASES.len()];
    for round in 0..ROUNDS {
        for ((path, destinations, at_once), rates) in CASES.into_iter().zip(&mut rates) {
            let names: Vec<String> = (0..destinations)
                .map(|number| format!("{path}-{number}"))
                .collect();
            wait_for_them(&server, folder.path(), path, &names, round);
            rates[0].push(deliver(folder.path(), &sink, &names));
            rates[1].push(post(&sink, destinations * at_once));
        }
    }
    for ((path, destinations, at_once), rates) in CASES.into_iter().zip(rates) {
        let [ours, bare] = rates.map(median);
        println!(
            "{path:<8}{destinations} x {at_once:<8} {ours:>10.0} {bare:>9.0} {:>8.2}",
            ours / bare
        );
    }
}

fn config(sink: &Sink) -> String {
    let mut config = CONFIG.to_owned();
    for (path, destinations, at_once) in CASES {
        let mut received = Vec::new();
        for number in 0..destinations {
            writeln!(
                config,
                "[destinations.{path}-{number}]\nurl = \"http://{}/{path}\"\nallow_private = true\n\
                 secrets = [\"text:whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nconcurrency = {at_once}",
                sink.address
            )
            .unwrap();
            received.push(format!(
                "{{ to = \"{path}-{number}\", events = [\"submission.accepted\"] }}"
            ));
        }
        writeln!(
            config,
            "[flows.{path}]\npath = \"/{path}\"\ndeliver = [{}]",
            received.join(", ")
        )
        .unwrap();
    }
    config
}

/// Queues a round of deliveries: forms arrive while their destinations are paused.
fn wait_for_them(server: &Running, folder: &Path, path: &str, names: &[String], round: usize) {
    for name in names {
        Running::ask(folder, &["destinations", "pause", name]);
    }
    let to = format!("/{path}");
    let destinations = u32::try_from(names.len()).unwrap();
    let forms = (0..DELIVERIES / destinations)
        .map(|number| signed(&to, &form(&format!("{path}-{round}-{number}"))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let seen = runtime.block_on(closed_loop_of(
        server.address,
        forms.collect(),
        64,
        Duration::from_mins(5),
    ));
    assert_eq!(
        (seen.accepted * u64::from(destinations), seen.other),
        (u64::from(DELIVERIES), 0)
    );
    until(folder, u64::from(DELIVERIES));
}

/// Resumes the destinations and waits until the file reports all deliveries as done. Returns the
/// deliveries per second.
fn deliver(folder: &Path, sink: &Sink, names: &[String]) -> f64 {
    let all = sink.answered() + u64::from(DELIVERIES);
    let began = Instant::now();
    for name in names {
        Running::ask(folder, &["destinations", "resume", name]);
    }
    while sink.answered() < all {
        std::thread::sleep(Duration::from_millis(2));
    }
    until(folder, 0);
    let rate = f64::from(DELIVERIES) / began.elapsed().as_secs_f64();
    assert_eq!(sink.answered(), all, "each once");
    rate
}

/// Sends the same number of posts with a bare client in its own process. Returns the posts per
/// second.
fn post(sink: &Sink, at_once: u32) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(
            "BARE_CLIENT",
            format!("{} {DELIVERIES} {at_once}", sink.address),
        )
        .env("BARE_BODY", sink.body());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Waits until this number of jobs is unfinished.
fn until(folder: &Path, left: u64) {
    loop {
        let status: Value =
            serde_json::from_str(&Running::ask(folder, &["status", "--json"])).unwrap();
        let jobs = |state: &str| status["jobs"][state].as_u64().unwrap();
        if jobs("scheduled") + jobs("running") == left {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn form(token: &str) -> String {
    format!(
        "{{\"version\":\"3.0\",\"action\":\"data_exchange\",\"screen\":\"FORM\",\"flow_token\":\"{token}\",\
         \"data\":{{\"name\":\"Zoë Ñandú\",\"email\":\"zoe@example.com\",\"interest\":\"villa\",\"budget\":250000,\
         \"newsletter\":true,\"notes\":\"{}\"}},\"context\":{{\"user_id\":\"4915112345678\"}}}}",
        "a garden, if possible; ".repeat(10)
    )
}
