//! At the limit of the write queue, a sender gets a clear refusal, and accepted forms are not
//! affected.

use std::sync::Mutex;

use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::{PLAIN_FLOW, Server, all_at_once, assert_each_once, eventually};

#[test]
fn full_queue_answers_503_with_retry_after() {
    let server = Server::start(&format!(
        "{PLAIN_FLOW}\n[limits]\nintake_queue = 1\nmax_batch = 1\n"
    ));
    server.add_agent("Ann", &[]);
    let accepted = Mutex::new(Vec::new());
    let refused = Mutex::new(Vec::new());
    let round = std::cell::Cell::new(0);
    eventually("somebody is refused", || {
        round.set(round.get() + 1);
        let round = round.get();
        all_at_once(32, |sender| {
            let mut connection = server.connect();
            for number in 0..10 {
                let token = format!("{round}-{sender}-{number}");
                let answer = connection
                    .exchange(&signed_post("/form", &Form::new(&token).body()))
                    .unwrap();
                if answer.is_accepted() {
                    accepted.lock().unwrap().push(token);
                } else {
                    assert_eq!(
                        (answer.status, answer.code().as_str()),
                        (503, "busy"),
                        "{answer:?}"
                    );
                    assert!(
                        answer
                            .header("retry-after")
                            .unwrap()
                            .parse::<u32>()
                            .unwrap()
                            >= 1
                    );
                    refused.lock().unwrap().push(token);
                }
            }
        });
        (!refused.lock().unwrap().is_empty()).then_some(())
    });
    server.settled();
    assert_each_once(&server.submissions(), accepted.lock().unwrap().iter());

    // A refused sender tries again and is accepted.
    let late = refused.lock().unwrap()[0].clone();
    eventually("there is room", || {
        server
            .post("/form", &Form::new(&late))
            .is_accepted()
            .then_some(())
    });
}
