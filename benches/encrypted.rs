//! Measures encrypted flows over loopback. The baseline is their upper limit: the bare RSA private
//! operation on the same number of threads.
//!
//! Run `cargo bench --bench encrypted`. Only server, load and disk share the cores of the machine.
//! Bare RSA and the server take turns. Requests are encrypted before a round begins, because phones
//! do this work. Quote the ratios.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement, not a program"
)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use flowgate::intake::PrivateKey;
use flowgate::intake::encryption::EncryptedRequest;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use support::{Running, Seen, closed_loop_of, open_loop_of, signed};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
const CONNECTIONS: [usize; 2] = [64, 256];
/// Number of requests, which is more than a round can answer.
const REQUESTS: u64 = 40_000;
const KEY: &str = include_str!("../tests/vectors/key_private.pem");

const CONFIG: &str = r#"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[meta]
app_secrets = ["text:0123456789abcdef0123456789abcdef"]

[limits]
min_free_space = "1MiB"

[flows.visit]
path = "/visit"
encryption = "required"
private_keys = ["file:key.pem"]
lead = { team = "sales" }
screens = [
    { name = "DAY", data = { days = { dates = "hall", limit = 20 } }, fields = { day = { type = "date" } } },
    { name = "NAME", final = true, fields = { name = { required = true } } },
]

[calendars.hall]
timezone = "UTC"
hours = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"] }
slot_length = "1h"
capacity = 1000
max_advance = "30d"
"#;

/// Kind of request. Request numbers are unique in one run.
#[derive(Clone, Copy)]
enum Ask {
    /// Opens the form. The response has twenty days with free slots.
    Open,
    /// Sends the first screen.
    Screen,
    /// Completes the form.
    Last,
}

impl Ask {
    const ALL: [(&'static str, Self); 3] = [
        ("open", Self::Open),
        ("screen", Self::Screen),
        ("last screen", Self::Last),
    ];

    fn text(self, number: u64) -> String {
        let token = format!("\"flow_token\":\"bench-{number}\"");
        match self {
            Self::Open => format!("{{\"version\":\"3.0\",\"action\":\"INIT\",{token}}}"),
            Self::Screen => format!(
                "{{\"version\":\"3.0\",\"action\":\"data_exchange\",\"screen\":\"DAY\",{token},\"data\":{{\"day\":\"2027-01-04\"}}}}"
            ),
            Self::Last => format!(
                "{{\"version\":\"3.0\",\"action\":\"data_exchange\",\"screen\":\"NAME\",{token},\
                 \"data\":{{\"name\":\"Zoë Ñandú\",\"notes\":\"{}\"}}}}",
                "a garden, if possible; ".repeat(10)
            ),
        }
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("key.pem"), KEY).unwrap();
    let server = Running::flowgate(folder.path(), CONFIG);
    let key = PrivateKey::parse(KEY, None).unwrap();
    let bare = Bare::new();

    println!("closed loop                      a second    p50 ms    p99 ms");
    let (mut alone, mut rates) = (
        Vec::new(),
        vec![Vec::new(); CONNECTIONS.len() * Ask::ALL.len()],
    );
    for _ in 0..ROUNDS {
        let rate = bare.run(ROUND);
        println!("{:<28} {rate:>12.0}", "bare RSA, two threads");
        alone.push(rate);
        for ((name, ask, connections), rates) in subjects().zip(&mut rates) {
            let requests = sealed(&key, ask, REQUESTS);
            let mut seen =
                runtime.block_on(closed_loop_of(server.address, requests, connections, ROUND));
            report(&format!("{name}, {connections}"), &mut seen);
            rates.push(seen.rate());
        }
    }
    let alone = median(alone);
    for ((name, _, connections), rates) in subjects().zip(rates) {
        println!(
            "ratio to bare RSA, {name}, {connections} connections: {:.2}",
            median(rates) / alone
        );
    }

    println!("open loop, 200 a second");
    for (name, ask) in Ask::ALL {
        let requests = sealed(&key, ask, 200 * 10);
        let mut seen = runtime.block_on(open_loop_of(server.address, requests, 200, 16));
        report(name, &mut seen);
    }
}

/// Returns all cases that are measured at full speed.
fn subjects() -> impl Iterator<Item = (&'static str, Ask, usize)> {
    let at = |connections| {
        Ask::ALL
            .into_iter()
            .map(move |(name, ask)| (name, ask, connections))
    };
    CONNECTIONS.into_iter().flat_map(at)
}

/// Returns requests that are encrypted as by phones and ready to send.
fn sealed(key: &PrivateKey, ask: Ask, many: u64) -> Vec<Vec<u8>> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let one = |_| {
        let mut chance = [0; 32];
        getrandom::fill(&mut chance).unwrap();
        let text = ask.text(NUMBER.fetch_add(1, Ordering::Relaxed));
        signed(
            "/visit",
            &EncryptedRequest::encrypt(key.public(), chance, &text)
                .unwrap_or_else(|why| panic!("{why}"))
                .body,
        )
    };
    (0..many).map(one).collect()
}

/// The private operation that every encrypted request needs, without anything else.
struct Bare {
    private: OaepPrivateDecryptingKey,
    wrapped: Vec<u8>,
}

impl Bare {
    fn new() -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let private = PrivateDecryptingKey::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let public = OaepPublicEncryptingKey::new(private.public_key()).unwrap();
        let mut wrapped = vec![0; public.ciphertext_size()];
        public
            .encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 16], &mut wrapped, None)
            .unwrap();
        Self {
            private: OaepPrivateDecryptingKey::new(private).unwrap(),
            wrapped,
        }
    }

    /// Returns the operations per second of two threads.
    fn run(&self, length: Duration) -> f64 {
        let began = Instant::now();
        let work = || {
            let (mut room, mut done) = (vec![0; self.private.min_output_size()], 0_u32);
            while began.elapsed() < length {
                self.private
                    .decrypt(&OAEP_SHA256_MGF1SHA256, &self.wrapped, &mut room, None)
                    .unwrap();
                done += 1;
            }
            done
        };
        let done: u32 = std::thread::scope(|scope| {
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        f64::from(done) / began.elapsed().as_secs_f64()
    }
}

fn report(name: &str, seen: &mut Seen) {
    let refused = if seen.other == 0 {
        String::new()
    } else {
        format!("   {} not answered well", seen.other)
    };
    println!(
        "{name:<28} {:>12.0} {:>9.2} {:>9.2}{refused}",
        seen.rate(),
        seen.quantile(500),
        seen.quantile(990)
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
