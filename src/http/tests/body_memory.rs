//! Tests the body memory: it stays reserved as long as the bytes are in memory.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::support::{STRICT, TestServer, signed};
use crate::store::{StoreError, Transaction, WriteContext};

/// Transaction that blocks the writer until its release, like a disk that stalls.
struct StalledTransaction {
    started: Sender<()>,
    released: Receiver<()>,
}

impl Transaction for StalledTransaction {
    type Outcome = ();

    fn apply(&self, _: &mut WriteContext<'_>) -> Result<(), StoreError> {
        let _ = self.started.try_send(());
        let _ = self.released.recv();
        Ok(())
    }
}

#[test]
fn body_memory_stays_reserved_until_commit() {
    let limits = "[limits]\nrequest_timeout = \"500ms\"\nmax_body_memory = \"64KiB\"";
    let server = TestServer::start(&STRICT.replace("[limits]", limits).replace("2KiB", "64KiB"));
    let large_request = |token: &str| {
        let text = "x".repeat(40_000);
        let body = format!(
            r#"{{"action":"data_exchange","screen":"S","data":{{"a":"{text}"}},"flow_token":"{token}"}}"#
        );
        signed("/form", body.as_bytes())
    };
    let ((started, started_rx), (release, released)) = (bounded(1), bounded(0));
    server
        .store
        .submit(StalledTransaction { started, released }, |_, _| ());
    started_rx.recv().unwrap();

    for (token, code) in [("first", "not_ready"), ("second", "busy")] {
        let response = server.send_request(&large_request(token));
        response.assert_error(503, code);
    }
    drop(release);
    while server.send_request(&large_request("third")).status != 200 {}
    assert_eq!(server.submissions(), 2, "the first one was stored, too");
}
