//! The snippets of `flowgate init` work with the real Caddy and nginx: signed forms, large bodies,
//! the verification, and `flowgate doctor` through TLS.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::fake_services::add_top_level_keys;
use crate::support::form::Form;
use crate::support::graph::CERTIFICATE;
use crate::support::http::{Connection, signed_post};
use crate::support::{PLAIN_FLOW, Process, Server, eventually, flowgate, get, run, tools};

/// Server behind a proxy.
struct Site {
    server: Server,
    /// Port of the proxy for plain HTTP, which only the test uses.
    http: SocketAddr,
    /// Port of the proxy for TLS.
    https: SocketAddr,
}

impl Site {
    /// Starts a server and writes the snippets for it.
    fn new() -> Self {
        let server = Server::start(PLAIN_FLOW);
        let [http, https] = [(); 2].map(|()| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        });
        add_top_level_keys(
            &server,
            &format!("public_url = \"https://localhost:{}\"\n", https.port()),
        );
        let root = server.folder().join("machine");
        let written = run(
            server.folder(),
            &[
                "init",
                "--yes",
                "--domain",
                "localhost",
                "--listen",
                &server.address().to_string(),
                "--root",
                root.to_str().unwrap(),
            ],
        );
        assert_eq!(written.code, 0, "{written:?}");
        Self {
            server,
            http,
            https,
        }
    }

    fn folder(&self) -> &Path {
        self.server.folder()
    }

    fn snippet(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join("machine/etc/flowgate/proxy").join(name)).unwrap()
    }

    fn start(&self, command: &mut Command) -> Process {
        let log = fs::File::create(self.folder().join("proxy.log")).unwrap();
        let process = command
            .env("HOME", self.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let process = Process(process.unwrap());
        eventually("the proxy answers", || {
            let open = Connection::open(self.http).ok();
            open.and_then(|_| (get(self.http, "/healthz").status == 200).then_some(()))
        });
        process
    }

    /// Asserts that the proxy changes nothing that flowgate needs.
    fn assert_works(&self, authority: &Path) {
        let exchange = |bytes: &[u8]| {
            Connection::open(self.http)
                .unwrap()
                .exchange(bytes)
                .unwrap()
        };
        let form = Form::new("first").body();
        assert!(exchange(&signed_post("/form", &form)).is_accepted());
        assert!(exchange(&signed_post("/form", &form)).is_duplicate());
        let unsigned = String::from_utf8(signed_post("/form", &form)).unwrap();
        let unsigned = unsigned.replace("sha256=", "sha256=0");
        assert_eq!(exchange(unsigned.as_bytes()).status, 401);
        let path = "/webhook?hub.mode=subscribe&hub.challenge=42&hub.verify_token=let%20me%20in";
        assert_eq!(get(self.http, path).text(), "42");

        let output = flowgate(self.folder())
            .args(["doctor", "--json"])
            .env("SSL_CERT_FILE", authority)
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let right = |check: &str| {
            let found = rows.iter().filter(|row| row["check"] == check);
            found.filter(|row| row["result"] == "right").count()
        };
        assert_eq!(right("proxy"), 3, "{lines}{}", self.log());
        assert!(
            rows.iter()
                .any(|row| row["check"] == "certificate" && row["result"] != "wrong"),
            "{lines}"
        );
        assert_eq!(self.server.submissions().len(), 1, "doctor leaves no row");
        assert_eq!(self.server.row(&["status"])["jobs"]["dead"], 0);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder().join("proxy.log")).unwrap_or_default()
    }
}

#[test]
fn caddy_passes_signed_requests_on() {
    let Some(caddy) = tools::find("caddy") else {
        return;
    };
    let site = Site::new();
    let snippet = site.snippet("Caddyfile");
    let storage = site.folder().join("caddy");
    let config = format!(
        "{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\thttps_port {}\n\
         \tstorage file_system {}\n}}\n{snippet}\n{}",
        site.https.port(),
        storage.display(),
        snippet.replace("localhost {", &format!("http://:{} {{", site.http.port())),
    );
    let file = site.folder().join("Caddyfile");
    fs::write(&file, config).unwrap();
    let arguments = ["run", "--adapter", "caddyfile", "--config"];
    let _caddy = site.start(Command::new(caddy).args(arguments).arg(&file));
    let authority = storage.join("pki/authorities/local/root.crt");
    eventually("caddy has made its authority", || {
        authority.exists().then_some(())
    });
    site.assert_works(&authority);
}

#[test]
fn nginx_passes_signed_requests_on() {
    let Some(nginx) = tools::find("nginx") else {
        return;
    };
    let site = Site::new();
    let folder = site.folder();
    let key = Path::new(CERTIFICATE).with_file_name("localhost_private.pem");
    let letsencrypt = "/etc/letsencrypt/live/localhost";
    let snippet = site
        .snippet("nginx.conf")
        .replace("    listen [::]:443 ssl;\n", "")
        .replace(
            "listen 443 ssl;",
            &format!("listen {} ssl;\n    listen {};", site.https, site.http),
        )
        .replace(&format!("{letsencrypt}/fullchain.pem"), CERTIFICATE)
        .replace(&format!("{letsencrypt}/privkey.pem"), key.to_str().unwrap());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()));
    let config = format!(
        "daemon off;\nmaster_process off;\npid {0}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{1}{snippet}}}\n",
        folder.display(),
        temporary.concat(),
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let _nginx = site.start(
        Command::new(nginx)
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&file),
    );
    site.assert_works(Path::new(CERTIFICATE));
}
