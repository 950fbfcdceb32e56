//! With the feature `otel`, a collector receives the spans of a form: its request, commit and job.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::support::form::Form;
use crate::support::request::Request;
use crate::support::{PLAIN_FLOW, Server, eventually};

/// Starts a collector that accepts every request. Returns its URL and the received requests.
fn start_collector() -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&received);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                while let Some(request) = Request::read(&mut reader) {
                    store.lock().unwrap().push(request);
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                }
            });
        }
    });
    (url, received)
}

#[test]
fn collector_receives_spans_of_a_form() {
    let (url, received) = start_collector();
    let mut server = Server::stopped(PLAIN_FLOW);
    server.start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    assert!(server.post("/form", &Form::new("one")).is_accepted());
    let has_name = |body: &[u8], name: &str| {
        body.windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    eventually("all spans have arrived", || {
        let received = received.lock().unwrap();
        let all = ["flowgate", "request", "commit", "job", "/form"];
        let has_all = all
            .iter()
            .all(|name| received.iter().any(|sent| has_name(&sent.body, name)));
        has_all.then_some(())
    });
    let received = received.lock().unwrap();
    for request in received.iter() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
    }
}
