//! Keepers come and go with the config, one of each gateway at a time.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver, Sender};

use hyper::header::HeaderValue;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::clock::SeededEntropy;
use crate::config::{Config, Secret};
use crate::store::tests::support::Bench;

const PATIENCE: Duration = Duration::from_mins(1);

/// A WAHA whose session `shop` answers when it is let, and any other at once. Tells which session each question is about.
fn waha() -> (SocketAddr, Receiver<String>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (came, comes) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let may_answer = Arc::new(Mutex::new(may_answer));
        for socket in listener.incoming().map_while(Result::ok) {
            let (came, may_answer) = (came.clone(), Arc::clone(&may_answer));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map_while(Result::ok);
                while let Some(first) = lines.next() {
                    assert!(lines.any(|line| line.is_empty()), "the end of the head");
                    let path = first.split(' ').nth(1).unwrap();
                    let session = path.rsplit('/').next().unwrap().to_owned();
                    let is_held = session == "shop";
                    if came.send(session).is_err() {
                        return;
                    }
                    if is_held {
                        // Let for good once the test is over.
                        let _ = may_answer.lock().unwrap().recv();
                    }
                    let body = r#"{"status":"WORKING"}"#;
                    let head = format!("HTTP/1.1 200 So\r\ncontent-length: {}\r\n\r\n", body.len());
                    if (&socket).write_all(format!("{head}{body}").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, comes, answer)
}

/// Gateways of these names, looked at every tenth of a second.
fn accesses(address: SocketAddr, names: &[&str]) -> Accesses {
    let table = |name: &&str| {
        format!(
            "[gateways.{name}]\nkind = \"waha\"\nurl = \"http://{address}\"\nallow_private = true\nsession = \"{name}\"\n\
             api_key = \"text:k\"\nwebhook_secret = \"text:x\"\ncheck = \"100ms\"\n"
        )
    };
    let text: String = names.iter().map(table).collect();
    let gateways = Config::parse("config.toml".as_ref(), &text).unwrap().gateways.into_iter();
    let access = |rule| Access {
        rule,
        key: HeaderValue::from_static("k"),
        token: None,
        webhook_secret: Secret::new("x".to_owned()),
    };
    gateways.map(|(name, gateway)| (name, Arc::new(access(gateway.rule)))).collect()
}

fn start(runtime: &Runtime, bench: &Bench, accesses: &Accesses) -> Gateways {
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
    let clients = Clients::load().unwrap();
    Gateways::start(runtime.handle().clone(), accesses, Board::default(), clients, &bench.store, &clock, &entropy)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_gateway_that_goes_and_comes_back_is_asked_by_one_keeper_at_a_time() {
    let (address, comes, answer) = waha();
    let (runtime, bench) = (runtime(), Bench::new());
    let gateways = start(&runtime, &bench, &accesses(address, &["shop"]));
    let next = || comes.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), "shop");

    gateways.renew(&Accesses::new());
    gateways.renew(&accesses(address, &["shop", "zeta"]));
    // Until then a second keeper of `shop`, which began before that of `zeta`, would have asked.
    for _ in 0..3 {
        assert_eq!(next(), "zeta", "the first question is not answered yet");
    }
    answer.send(()).unwrap();
    while next() != "shop" {}
    drop(answer);
    runtime.block_on(gateways.stop(PATIENCE));
}

#[test]
fn a_keeper_that_is_not_wanted_any_more_once_the_one_before_it_has_ended_asks_nothing() {
    let (address, comes, answer) = waha();
    let (runtime, bench) = (runtime(), Bench::new());
    let gateways = start(&runtime, &bench, &accesses(address, &["shop"]));
    assert_eq!(comes.recv_timeout(PATIENCE).unwrap(), "shop");
    for names in [&[][..], &["shop"], &[]] {
        gateways.renew(&accesses(address, names));
    }
    drop(answer);
    runtime.block_on(gateways.stop(PATIENCE));
    assert!(comes.try_recv().is_err(), "both have ended");
}

#[test]
fn a_reload_while_it_stops_begins_nothing() {
    let (address, comes, answer) = waha();
    let (runtime, bench) = (runtime(), Bench::new());
    let gateways = start(&runtime, &bench, &accesses(address, &["shop"]));
    assert_eq!(comes.recv_timeout(PATIENCE).unwrap(), "shop");
    runtime.block_on(gateways.stop(Duration::ZERO));
    gateways.renew(&accesses(address, &["other"]));
    assert!(!gateways.board.read().keys().any(|name| name.as_str() == "other"), "nobody would wait for its answers");
    drop(answer);
}
