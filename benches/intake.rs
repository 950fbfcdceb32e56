//! Measures the complete path over loopback. The baseline for durable acknowledgements is a bare
//! hyper server that answers 200. Leads with bookings are measured at a steady rate.
//!
//! Run `cargo bench --bench intake`. Server, bare hyper and load share the cores of the machine. The
//! servers take turns. Quote the ratios, because seconds depend on the machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement, not a program"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{Running, Seen, closed_loop, open_loop};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);

const CONFIG: &str = r#"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[meta]
app_secrets = ["text:0123456789abcdef0123456789abcdef"]

[limits]
min_free_space = "1MiB"

[flows.form]
path = "/form"

[flows.visit]
path = "/visit"
booking = { calendar = "hall", date = "date", time = "time" }
lead = { team = "sales" }

[calendars.hall]
timezone = "UTC"
hours = { mon = ["00:00-24:00"], tue = ["00:00-24:00"], wed = ["00:00-24:00"], thu = ["00:00-24:00"], fri = ["00:00-24:00"], sat = ["00:00-24:00"], sun = ["00:00-24:00"] }
slot_length = "30m"
capacity = 1000
max_advance = "365d"
"#;

fn main() {
    if std::env::var_os("BARE_HYPER").is_some() {
        return support::be_bare_hyper();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Running::flowgate(folder.path(), CONFIG);
    let bare = Running::bare_hyper();
    runtime.block_on(async {
        acknowledgements(&server, &bare).await;
        steady(&server, &bare).await;
        leads_with_bookings(&server, folder.path()).await;
    });
}

/// Measures acknowledgements at full speed.
async fn acknowledgements(server: &Running, bare: &Running) {
    println!("closed loop          acks/s    p50 ms    p99 ms  p99.9 ms");
    for connections in [64, 256] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((name, to), rates) in [("flowgate", server), ("bare", bare)]
                .into_iter()
                .zip(&mut rates)
            {
                let mut seen = closed_loop(to.address, "/form", plain, connections, ROUND).await;
                report(&format!("{name} {connections}"), &mut seen);
                rates.push(seen.rate());
            }
        }
        let [ours, theirs] = rates.map(median);
        println!("ratio at {connections} connections: {:.2}", ours / theirs);
    }
}

/// Sends 500 forms per second, independent of the responses.
async fn steady(server: &Running, bare: &Running) {
    println!("open loop, 500/s     acks/s    p50 ms    p99 ms  p99.9 ms");
    for (name, to) in [("flowgate", server), ("bare", bare)] {
        let mut seen = open_loop(to.address, "/form", plain, 500, 32, ROUND * 3).await;
        report(name, &mut seen);
    }
}

/// Sends 8,000 forms per second through lead and booking. The backlog must not grow.
async fn leads_with_bookings(server: &Running, folder: &Path) {
    for agent in 0..10 {
        let name = format!("agent-{agent}");
        Running::ask(
            folder,
            &["agents", "add", &name, "--team", "sales", "--weight", "1"],
        );
    }
    let address = server.address;
    let load =
        tokio::spawn(
            async move { open_loop(address, "/visit", visit, 8000, 128, ROUND * 5).await },
        );
    println!("leads with bookings, 8000/s: jobs not done yet, every two seconds");
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_secs(2)).await;
        print!(" {}", scheduled(folder));
    }
    println!();
    let mut seen = load.await.unwrap();
    report("flowgate 8000/s", &mut seen);
    println!("left behind at the end: {}", scheduled(folder));
}

fn scheduled(folder: &Path) -> u64 {
    let status: Value = serde_json::from_str(&Running::ask(folder, &["status", "--json"])).unwrap();
    let jobs = |state: &str| status["jobs"][state].as_u64().unwrap();
    jobs("scheduled") + jobs("running")
}

fn report(name: &str, seen: &mut Seen) {
    println!(
        "{name:<16} {:>10.0} {:>9.2} {:>9.2} {:>9.2}{}",
        seen.rate(),
        seen.quantile(500),
        seen.quantile(990),
        seen.quantile(999),
        if seen.other == 0 {
            String::new()
        } else {
            format!("   {} not accepted", seen.other)
        }
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn plain(number: u64) -> String {
    format!(
        "{{\"version\":\"3.0\",\"action\":\"data_exchange\",\"screen\":\"FORM\",\"flow_token\":\"bench-{number}\",\
         \"data\":{{\"name\":\"Zoë Ñandú\",\"email\":\"zoe@example.com\",\"interest\":\"villa\",\"budget\":250000,\
         \"newsletter\":true,\"notes\":\"{}\"}},\"context\":{{\"user_id\":\"49151{:08}\"}}}}",
        "a garden, if possible; ".repeat(10),
        number % 100_000_000
    )
}

/// Returns a form. The slots of all forms are spread over a year of half hours, starting in a week.
fn visit(number: u64) -> String {
    let spread = number.wrapping_mul(104_729) % (300 * 48);
    let days = i64::try_from(spread / 48 + 7).unwrap();
    let day = jiff::ZonedDateTime::now()
        .date()
        .saturating_add(jiff::Span::new().days(days));
    let (hour, minute) = (spread % 48 / 2, spread % 2 * 30);
    format!(
        "{{\"version\":\"3.0\",\"action\":\"data_exchange\",\"screen\":\"VISIT\",\"flow_token\":\"visit-{number}\",\
         \"data\":{{\"date\":\"{day}\",\"time\":\"{hour:02}:{minute:02}\",\"name\":\"Ann\"}},\
         \"context\":{{\"user_id\":\"49151{:08}\"}}}}",
        number % 100_000_000
    )
}
