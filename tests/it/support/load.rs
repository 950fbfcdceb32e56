//! Sends a steady load of forms, for tests that do something to the server at the same time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::form::Form;
use super::http::{Connection, signed_post};

/// Senders that post one form after another, each on its own connection.
pub struct Load {
    senders: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    enough: AtomicBool,
    sent: Mutex<Vec<String>>,
    acknowledged: Mutex<Vec<String>>,
}

/// Forms that the senders posted.
pub struct PostedForms {
    /// Tokens of all posted forms.
    pub sent: Vec<String>,
    /// Tokens of the forms with a success response.
    pub acknowledged: Vec<String>,
}

impl Load {
    /// Starts `senders` senders. Their tokens begin with `prefix`.
    pub fn begin(server: SocketAddr, path: &'static str, prefix: &str, senders: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let senders = (0..senders).map(|sender| {
            let (shared, prefix) = (Arc::clone(&shared), format!("{prefix}-{sender}"));
            std::thread::spawn(move || post_forms(server, path, &prefix, &shared))
        });
        Self {
            senders: senders.collect(),
            shared,
        }
    }

    /// Returns the number of acknowledged forms so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Waits until each sender has finished its form, and stops.
    pub fn end(self) -> PostedForms {
        self.shared.enough.store(true, Ordering::SeqCst);
        for sender in self.senders {
            sender.join().unwrap();
        }
        let Shared {
            sent, acknowledged, ..
        } = &*self.shared;
        PostedForms {
            sent: std::mem::take(&mut sent.lock().unwrap()),
            acknowledged: std::mem::take(&mut acknowledged.lock().unwrap()),
        }
    }
}

/// Posts forms until the load stops or the server is gone. Every response except 503 must be a
/// success.
fn post_forms(server: SocketAddr, path: &str, prefix: &str, shared: &Shared) {
    let Ok(mut connection) = Connection::open(server) else {
        return;
    };
    for number in 0.. {
        if shared.enough.load(Ordering::SeqCst) {
            return;
        }
        let token = format!("{prefix}-{number}");
        shared.sent.lock().unwrap().push(token.clone());
        let Ok(answer) = connection.exchange(&signed_post(path, &Form::new(&token).body())) else {
            return;
        };
        if answer.status == 503 {
            return;
        }
        assert!(answer.is_accepted(), "{answer:?}");
        shared.acknowledged.lock().unwrap().push(token);
    }
}
