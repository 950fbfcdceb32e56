//! Runs a long steady load with all other activities. Latency, memory and file size must stay
//! level.
//!
//! Run `cargo bench --bench endurance`. The server runs with the shipped defaults (log at `info`,
//! into a file) and a retention of a few minutes. 200,000 deliveries wait for a destination that
//! refuses every connection. Then 1,000 forms per second arrive, each delivered to a local sink. At
//! the same time, `check`, `status` and a scrape of the metrics run once per second.
//!
//! `ENDURANCE_MINUTES` sets the length of the load in minutes (default 30). `ENDURANCE_WAITING`
//! sets the number of waiting deliveries.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement, not a program"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Running, Seen, Sink, closed_loop, open_loop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RATE: u64 = 1000;
const CONNECTIONS: u64 = 32;
const MINUTE: Duration = Duration::from_mins(1);

/// Minutes until retention removes as much data as arrives. Memory and file size are compared from
/// then on.
const WARM_UP: u64 = 7;

fn config(sink: &Sink, refused: std::net::SocketAddr) -> String {
    format!(
        r#"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[meta]
app_secrets = ["text:0123456789abcdef0123456789abcdef"]

[limits]
min_free_space = "1MiB"

[retention]
idempotency_ttl = "4m"
message_id_ttl = "4m"
submissions = "4m"
attempt_history = "4m"

[flows.form]
path = "/form"
deliver = ["crm"]

[flows.stuck]
path = "/stuck"
deliver = ["gone"]

[destinations.crm]
url = "http://{}/"
allow_private = true

[destinations.gone]
url = "http://{refused}/"
allow_private = true
"#,
        sink.address
    )
}

fn main() {
    let minutes = number("ENDURANCE_MINUTES", 30);
    let waiting = number("ENDURANCE_WAITING", 200_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sink = Sink::open();
    // Port without a listener: bound once, then released.
    let refused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = Running::flowgate_with_its_log(folder.path(), &config(&sink, refused));
    runtime.block_on(async {
        println!(
            "                 acks/s   p50 ms   p99 ms p99.9 ms  memory MB  file MB  jobs waiting"
        );
        let mut quiet = open_loop(server.address, "/form", form, RATE, CONNECTIONS, MINUTE).await;
        report("quiet minute", &mut quiet, &server, folder.path());
        while deliveries_waiting(folder.path()) < waiting {
            closed_loop(server.address, "/stuck", form, 64, Duration::from_secs(1)).await;
        }
        loaded(&server, folder.path(), minutes, &mut quiet).await;
    });
}

/// Runs the long load and compares the results at its end.
async fn loaded(server: &Running, folder: &Path, minutes: u64, quiet: &mut Seen) {
    let company = Company::start(server, folder);
    let mut all = Seen::default();
    let mut levels = Vec::new();
    for minute in 1..=minutes {
        let mut seen = open_loop(server.address, "/form", form, RATE, CONNECTIONS, MINUTE).await;
        report(&format!("minute {minute}"), &mut seen, server, folder);
        if minute >= WARM_UP {
            levels.push((server.memory(), file_size(folder)));
        }
        all.add(seen);
    }
    let [checks, statuses, scrapes] = company.stop();
    println!(
        "meanwhile: {checks} checks, {statuses} statuses, {scrapes} scrapes; not accepted: {}",
        all.other
    );
    println!(
        "p99 against the quiet minute: {:.2}",
        all.quantile(990) / quiet.quantile(990)
    );
    if let [first, .., last] = levels[..] {
        let ratio = |first: u64, last: u64| as_float(last) / as_float(first);
        println!(
            "memory, last against minute {WARM_UP}: {:.2}",
            ratio(first.0, last.0)
        );
        println!(
            "file size, last against minute {WARM_UP}: {:.2}",
            ratio(first.1, last.1)
        );
    }
}

/// Activities of operators. Each runs in its own thread, one call after another, at most one per
/// second.
struct Company {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    counts: Arc<[AtomicU64; 3]>,
}

impl Company {
    fn start(server: &Running, folder: &Path) -> Self {
        let (stop, counts) = (
            Arc::new(AtomicBool::new(false)),
            Arc::<[AtomicU64; 3]>::default(),
        );
        let admin = server.admin;
        let check: Box<dyn Fn(&Path) + Send> = Box::new(|folder| {
            Running::ask(folder, &["check"]);
        });
        let status: Box<dyn Fn(&Path) + Send> = Box::new(|folder| {
            Running::ask(folder, &["status", "--json"]);
        });
        let scrape: Box<dyn Fn(&Path) + Send> = Box::new(move |_| scrape(admin));
        let threads = [check, status, scrape]
            .into_iter()
            .enumerate()
            .map(|(number, ask)| {
                let (stop, counts, folder) = (stop.clone(), counts.clone(), folder.to_owned());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        ask(&folder);
                        counts[number].fetch_add(1, Ordering::Relaxed);
                        std::thread::park_timeout(
                            Duration::from_secs(1).saturating_sub(began.elapsed()),
                        );
                    }
                })
            });
        let threads = threads.collect();
        Self {
            stop,
            threads,
            counts,
        }
    }

    /// Stops the threads and returns the number of calls of each activity.
    fn stop(self) -> [u64; 3] {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            thread.join().unwrap();
        }
        [0, 1, 2].map(|number: usize| self.counts[number].load(Ordering::Relaxed))
    }
}

fn scrape(admin: std::net::SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(async {
        let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn report(name: &str, seen: &mut Seen, server: &Running, folder: &Path) {
    println!(
        "{name:<14} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {:>10} {:>8} {:>13}{}",
        seen.rate(),
        seen.quantile(500),
        seen.quantile(990),
        seen.quantile(999),
        server.memory() >> 20,
        file_size(folder) >> 20,
        scheduled(folder),
        if seen.other == 0 {
            String::new()
        } else {
            format!("   {} not accepted", seen.other)
        }
    );
}

fn file_size(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("flowgate.redb"))
        .unwrap()
        .len()
}

fn scheduled(folder: &Path) -> u64 {
    let status: Value = serde_json::from_str(&Running::ask(folder, &["status", "--json"])).unwrap();
    status["jobs"]["scheduled"].as_u64().unwrap()
}

fn deliveries_waiting(folder: &Path) -> u64 {
    let lines = Running::ask(folder, &["destinations", "list", "--json"]);
    let rows = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter(|row| row["name"] == "gone")
        .map(|row| row["waiting"].as_u64().unwrap())
        .sum()
}

fn form(number: u64) -> String {
    format!(
        "{{\"version\":\"3.0\",\"action\":\"data_exchange\",\"screen\":\"FORM\",\"flow_token\":\"endurance-{number}\",\
         \"data\":{{\"name\":\"Zoë Ñandú\",\"email\":\"zoe@example.com\",\"notes\":\"{}\"}},\
         \"context\":{{\"user_id\":\"49151{:08}\"}}}}",
        "a garden, if possible; ".repeat(10),
        number % 100_000_000
    )
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn as_float(number: u64) -> f64 {
    f64::from(u32::try_from(number >> 10).unwrap())
}
