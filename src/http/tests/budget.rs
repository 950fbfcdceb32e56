//! The memory that bodies take: counted for as long as it is held.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::support::{Running, STRICT, signed};
use crate::store::{Batch, StoreError, Transaction};

/// A change that holds up the writer until it is let go on, as a disk that stalls does.
struct Stall {
    begun: Sender<()>,
    go_on: Receiver<()>,
}

impl Transaction for Stall {
    type Outcome = ();

    fn apply(&self, _: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        let _ = self.begun.try_send(());
        let _ = self.go_on.recv();
        Ok(())
    }
}

#[test]
fn a_body_counts_while_its_change_waits_for_the_writer_also_after_its_sender_was_answered() {
    let limits = "[limits]\nrequest = \"500ms\"\nbodies = \"64KiB\"";
    let server = Running::start(&STRICT.replace("[limits]", limits).replace("2KiB", "64KiB"));
    let big = |token: &str| {
        let text = "x".repeat(40_000);
        let body =
            format!(r#"{{"action":"data_exchange","screen":"S","data":{{"a":"{text}"}},"flow_token":"{token}"}}"#);
        signed("/form", body.as_bytes())
    };
    let ((begun, has_begun), (release, go_on)) = (bounded(1), bounded(0));
    server.store.send(Stall { begun, go_on }, |_, _| ());
    has_begun.recv().unwrap();

    server.ask(&big("first")).must_be(503, "not_ready");
    server.ask(&big("second")).must_be(503, "busy");
    drop(release);
    while server.ask(&big("third")).status != 200 {}
    assert_eq!(server.submissions(), 2, "the first one was stored after all");
}
