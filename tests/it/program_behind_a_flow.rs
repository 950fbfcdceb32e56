//! Programs of the owner that say what an encrypted flow shows next: what is wrong with one is told before anything listens.

use std::fs;

use crate::support::Server;

const FLOW: &str = r#"
[flows.home]
encryption = "required"
private_keys = ["file:key.pem"]

[flows.home.upstream]
url = "http://127.0.0.1:9"
secret = "file:upstream.secret"
"#;

#[test]
fn a_program_without_a_secret_that_can_be_used_is_told_before_anything_listens() {
    let mut server = Server::stopped(FLOW);
    fs::write(server.folder().join("key.pem"), include_str!("../vectors/key_private.pem")).unwrap();
    let secret = server.folder().join("upstream.secret");
    let refused = |server: &Server, why: &str| {
        for command in [&["serve"][..], &["config", "check"]] {
            let said = server.cli(command);
            assert_eq!(said.code, 2, "{said:?}");
            assert!(said.err.contains("flow home") && said.err.contains(why), "{said:?}");
            assert!(!said.err.contains("hush"), "{said:?}");
        }
    };
    refused(&server, "can't read the secret in");
    fs::write(&secret, "").unwrap();
    refused(&server, "is empty");
    fs::write(&secret, "hush hush\n").unwrap();
    refused(&server, "it is no base64");
    fs::write(&secret, "aHVzaA==\n").unwrap();
    refused(&server, "it has 4 bytes, and needs 24 to 64");
    server.configure(&FLOW.replace("file:upstream.secret", "env:UPSTREAM_SECRET_OF_NOBODY"));
    refused(&server, "env:UPSTREAM_SECRET_OF_NOBODY is not set");

    server.configure(FLOW);
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let said = server.cli(&["config", "check"]);
    assert!(said.code == 0 && said.out.contains("asks          http://127.0.0.1:9"), "{said:?}");
    server.start_again();
}
