//! Tests that monitors follow the config, and that each gateway has only one monitor at a time.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use hyper::header::HeaderValue;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use super::{GatewayCredentials, GatewayCredentialsByName, GatewayMonitors, GatewayRegistry};
use crate::clock::{Clock, Entropy, SeededEntropy};
use crate::config::{Config, Secret};
use crate::net::HttpClients;
use crate::store::tests::support::StoreBench;

const TIME_LIMIT: Duration = Duration::from_mins(1);

/// Starts a WAHA gateway. The gateway responds to a request for session `shop` only after a message
/// on the sender, and to other sessions at once. The receiver gets the session name of each
/// request.
fn waha() -> (SocketAddr, Receiver<String>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived_tx, arrived_rx) = mpsc::channel();
    let (respond_tx, respond_rx) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let respond_rx = Arc::new(Mutex::new(respond_rx));
        for socket in listener.incoming().map_while(Result::ok) {
            let (arrived_tx, respond_rx) = (arrived_tx.clone(), Arc::clone(&respond_rx));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(socket.try_clone().unwrap())
                    .lines()
                    .map_while(Result::ok);
                while let Some(first) = lines.next() {
                    assert!(lines.any(|line| line.is_empty()), "the end of the head");
                    let path = first.split(' ').nth(1).unwrap();
                    let session = path.rsplit('/').next().unwrap().to_owned();
                    let is_held = session == "shop";
                    if arrived_tx.send(session).is_err() {
                        return;
                    }
                    if is_held {
                        // At the end of the test, the closed channel permits all requests.
                        let _ = respond_rx.lock().recv();
                    }
                    let body = r#"{"status":"WORKING"}"#;
                    let head = format!("HTTP/1.1 200 So\r\ncontent-length: {}\r\n\r\n", body.len());
                    if write!(&socket, "{head}{body}").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, arrived_rx, respond_tx)
}

/// Returns credentials for gateways with these names, with a probe interval of 100 ms.
fn credentials_for(address: SocketAddr, names: &[&str]) -> GatewayCredentialsByName {
    let table = |name: &&str| {
        format!(
            "[gateways.{name}]\nkind = \"waha\"\nurl = \"http://{address}\"\nallow_private = true\nsession = \"{name}\"\n\
             api_key = \"text:k\"\nwebhook_secret = \"text:x\"\nprobe_interval = \"100ms\"\n"
        )
    };
    let text: String = names.iter().map(table).collect();
    let config = Config::parse("config.toml".as_ref(), &text).unwrap();
    let gateways = config.gateways.into_iter().map(|(name, gateway)| {
        let credentials = GatewayCredentials {
            settings: gateway.settings,
            key: HeaderValue::from_static("k"),
            token: None,
            webhook_secret: Secret::new("x".to_owned()),
        };
        (name, Arc::new(credentials))
    });
    gateways.collect()
}

/// Starts the monitor of `shop`, and waits until its first probe has arrived at the gateway.
fn start_with_pending_probe(
    address: SocketAddr,
    arrived_rx: &Receiver<String>,
) -> (StoreBench, Runtime, GatewayMonitors) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let bench = StoreBench::new();
    let clock: Arc<dyn Clock> = bench.clock.clone();
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
    let gateways = GatewayMonitors::start(
        runtime.handle().clone(),
        &credentials_for(address, &["shop"]),
        GatewayRegistry::default(),
        HttpClients::load().unwrap(),
        &bench.store,
        &clock,
        &entropy,
    );
    assert_eq!(arrived_rx.recv_timeout(TIME_LIMIT).unwrap(), "shop");
    (bench, runtime, gateways)
}

#[test]
fn readded_gateway_has_one_monitor_at_a_time() {
    let (address, arrived_rx, respond_tx) = waha();
    let (_bench, runtime, gateways) = start_with_pending_probe(address, &arrived_rx);
    let next = || arrived_rx.recv_timeout(TIME_LIMIT).unwrap();

    gateways.reconcile(&GatewayCredentialsByName::new());
    gateways.reconcile(&credentials_for(address, &["shop", "zeta"]));
    // A second monitor of `shop` would have started before the monitor of `zeta`. It would have
    // sent a request by now.
    for _ in 0..3 {
        assert_eq!(next(), "zeta", "the first question is not answered yet");
    }
    respond_tx.send(()).unwrap();
    while next() != "shop" {}
    drop(respond_tx);
    runtime.block_on(gateways.stop(TIME_LIMIT));
}

#[test]
fn unwanted_monitor_sends_no_probe() {
    let (address, arrived_rx, respond_tx) = waha();
    let (_bench, runtime, gateways) = start_with_pending_probe(address, &arrived_rx);
    for names in [&[][..], &["shop"], &[]] {
        gateways.reconcile(&credentials_for(address, names));
    }
    drop(respond_tx);
    runtime.block_on(gateways.stop(TIME_LIMIT));
    assert!(arrived_rx.try_recv().is_err(), "both have ended");
}

#[test]
fn reconcile_after_stop_starts_no_monitor() {
    let (address, arrived_rx, respond_tx) = waha();
    let (_bench, runtime, gateways) = start_with_pending_probe(address, &arrived_rx);
    runtime.block_on(gateways.stop(Duration::ZERO));
    gateways.reconcile(&credentials_for(address, &["other"]));
    let probes = gateways.registry.last_probes();
    assert!(
        !probes.keys().any(|name| name.as_str() == "other"),
        "nobody would wait for its answers"
    );
    drop(respond_tx);
}
