//! Fake mail server. It implements the part of SMTP (RFC 5321) that our client needs, including
//! STARTTLS and AUTH. A test can replace any reply. The server records its input.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConnection, StreamOwned};

use super::eventually;
use super::graph::localhost;

/// User who may send.
pub const USER: &str = "flowgate@shop.example";
/// Password of the user.
pub const PASSWORD: &str = "hush hush, it's mail";

/// Text of the line that stands for a new connection before the greeting.
pub const GREETING: &str = "GREETING";

/// Encryption of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// No encryption.
    Never,
    /// Encryption after `STARTTLS`.
    Starttls,
    /// Encryption from the start of the connection.
    Implicit,
}

/// Line of a client.
#[derive(Clone, Debug)]
pub struct Line {
    /// Text of the line without its line break. `.` stands for a whole mail.
    pub text: String,
    /// `true` if the connection was encrypted.
    pub is_private: bool,
    /// Number of earlier lines with the same verb, over all connections.
    pub before: usize,
}

impl Line {
    /// Returns the verb: `MAIL`, `RCPT` …
    pub fn verb(&self) -> String {
        self.text
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
    }
}

/// Accepted mail.
#[derive(Clone, Debug)]
pub struct AcceptedMail {
    /// Header lines, unfolded.
    pub head: Vec<String>,
    /// Decoded text.
    pub text: String,
}

impl AcceptedMail {
    fn read(mail: &str) -> Self {
        let (head, text) = mail.split_once("\r\n\r\n").unwrap_or((mail, ""));
        let head: Vec<String> = head
            .replace("\r\n ", " ")
            .split("\r\n")
            .map(str::to_owned)
            .collect();
        let encoding = head
            .iter()
            .find_map(|line| line.strip_prefix("Content-Transfer-Encoding: "));
        let text = match encoding {
            Some("quoted-printable") => unquoted(text),
            Some("base64") => {
                String::from_utf8(STANDARD.decode(text.replace("\r\n", "")).unwrap()).unwrap()
            }
            _ => text.to_owned(),
        };
        Self { head, text }
    }

    /// Returns the value of a header, which must occur exactly once.
    pub fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let found: Vec<&str> = self
            .head
            .iter()
            .filter_map(|line| line.strip_prefix(&start))
            .collect();
        assert_eq!(found.len(), 1, "{name}: {:?}", self.head);
        found[0]
    }
}

/// Replacement for the default reply to a line. `None`: default reply. Empty text: the server
/// closes the connection.
pub type ReplyFn = Box<dyn Fn(&Line) -> Option<String> + Send + Sync>;

/// Fake mail server. Its threads run until the test process exits.
pub struct MailServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Tls,
    shown_text: Mutex<Arc<ReplyFn>>,
    lines: Mutex<Vec<Line>>,
    taken: Mutex<Vec<AcceptedMail>>,
}

impl MailServer {
    /// Starts a server that accepts all mails of [`USER`].
    pub fn well(tls: Tls) -> Self {
        Self::with_replies(tls, |_| None)
    }

    /// Starts a server whose replies come from `says`.
    pub fn with_replies(
        tls: Tls,
        shown_text: impl Fn(&Line) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls,
            shown_text: Mutex::new(Arc::new(Box::new(shown_text))),
            lines: Mutex::default(),
            taken: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                // Some tests close the connection early or do not trust the certificate, so the
                // result is ignored.
                std::thread::spawn(move || shared.serve(socket));
            }
        });
        Self { address, shared }
    }

    /// Replaces the source of the replies.
    pub fn becomes(&self, shown_text: impl Fn(&Line) -> Option<String> + Send + Sync + 'static) {
        *self.shared.shown_text.lock().unwrap() = Arc::new(Box::new(shown_text));
    }

    /// Returns the config table of the destination `name`, at `localhost` with a user. `more`
    /// contains further keys.
    pub fn table(&self, name: &str, more: &str) -> String {
        let tls = match self.shared.tls {
            Tls::Never => "none",
            Tls::Starttls => "starttls",
            Tls::Implicit => "tls",
        };
        format!(
            "\n[destinations.{name}]\nkind = \"smtp\"\nhost = \"localhost\"\nport = {}\ntls = \"{tls}\"\nallow_private = true\n\
             user = \"{USER}\"\npassword = \"text:{PASSWORD}\"\nfrom = \"Flowgate <flowgate@shop.example>\"\n\
             to = [\"Ann <ann@shop.example>\", \"bob@shop.example\"]\n{more}\n",
            self.address.port()
        )
    }

    /// Returns the port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns all lines of clients so far.
    pub fn lines(&self) -> Vec<Line> {
        self.shared
            .lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.text != GREETING)
            .cloned()
            .collect()
    }

    /// Returns the number of lines with this verb.
    pub fn times(&self, verb: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.verb() == verb)
            .count()
    }

    /// Returns the accepted mails so far.
    pub fn taken(&self) -> Vec<AcceptedMail> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Waits for this number of accepted mails.
    pub fn wait_for_accepted(&self, mails: usize) -> Vec<AcceptedMail> {
        eventually(&format!("the mail server took {mails} mails"), || {
            (self.taken().len() >= mails).then_some(())
        });
        self.taken()
    }
}

impl Shared {
    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let private =
            |socket| StreamOwned::new(ServerConnection::new(localhost()).unwrap(), socket);
        match self.tls {
            Tls::Implicit => self.serve_session(private(socket), true, true).map(|_| ()),
            Tls::Never => self.serve_session(socket, true, false).map(|_| ()),
            Tls::Starttls => {
                if self.serve_session(socket.try_clone()?, true, false)? {
                    self.serve_session(private(socket), false, true)?;
                }
                Ok(())
            }
        }
    }

    /// Answers until the client closes the connection. Returns `true` if TLS starts.
    fn serve_session(
        &self,
        stream: impl Read + Write,
        greets: bool,
        is_private: bool,
    ) -> io::Result<bool> {
        let mut stream = BufReader::new(stream);
        if greets {
            let greeting = Line {
                text: GREETING.to_owned(),
                is_private,
                before: self.before(GREETING),
            };
            self.lines.lock().unwrap().push(greeting.clone());
            if !self.reply_with(&mut stream, &greeting, "220 mail.test ESMTP ready")? {
                return Ok(false);
            }
        }
        loop {
            let line = self.receive_line(&mut stream, is_private)?;
            let usual = self.usual(&line);
            if !self.reply_with(&mut stream, &line, &usual)? {
                return Ok(false);
            }
            let output = self.reply(&line, &usual);
            match line.verb().as_str() {
                "STARTTLS" if output.starts_with("220") => return Ok(true),
                "QUIT" => return Ok(false),
                "AUTH" if output.starts_with("334") => {
                    let user = self.receive_line(&mut stream, is_private)?.text;
                    stream.get_mut().write_all(
                        format!("334 {}\r\n", STANDARD.encode("Password:")).as_bytes(),
                    )?;
                    stream.get_mut().flush()?;
                    let password = self.receive_line(&mut stream, is_private)?.text;
                    let fits =
                        (user, password) == (STANDARD.encode(USER), STANDARD.encode(PASSWORD));
                    let output = if fits {
                        "235 2.7.0 welcome\r\n"
                    } else {
                        "535 5.7.8 no\r\n"
                    };
                    stream.get_mut().write_all(output.as_bytes())?;
                    stream.get_mut().flush()?;
                }
                "DATA" if output.starts_with("354") => {
                    let mail = read_mail(&mut stream)?;
                    let end = Line {
                        text: ".".to_owned(),
                        is_private,
                        before: self.before("."),
                    };
                    self.lines.lock().unwrap().push(end.clone());
                    if self
                        .reply(&end, "250 2.0.0 queued as 77")
                        .starts_with("250")
                    {
                        // The mail is recorded before the reply is sent.
                        self.taken.lock().unwrap().push(mail);
                    }
                    if !self.reply_with(&mut stream, &end, "250 2.0.0 queued as 77")? {
                        return Ok(false);
                    }
                }
                _ => {}
            }
        }
    }

    fn receive_line(&self, stream: &mut impl BufRead, is_private: bool) -> io::Result<Line> {
        let mut text = String::new();
        if stream.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut line = Line {
            text: text.trim_end_matches(['\r', '\n']).to_owned(),
            is_private,
            before: 0,
        };
        line.before = self.before(&line.verb());
        self.lines.lock().unwrap().push(line.clone());
        Ok(line)
    }

    fn before(&self, verb: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.verb() == verb)
            .count()
    }

    fn reply(&self, line: &Line, usual: &str) -> String {
        let shown_text = Arc::clone(&self.shown_text.lock().unwrap());
        shown_text(line).unwrap_or_else(|| usual.to_owned())
    }

    /// Sends the reply. Returns `false` if the server closes the connection instead.
    fn reply_with(
        &self,
        stream: &mut BufReader<impl Read + Write>,
        line: &Line,
        usual: &str,
    ) -> io::Result<bool> {
        let output = self.reply(line, usual);
        if output.is_empty() {
            return Ok(false);
        }
        stream
            .get_mut()
            .write_all(format!("{output}\r\n").as_bytes())?;
        stream.get_mut().flush()?;
        Ok(true)
    }

    fn usual(&self, line: &Line) -> String {
        match line.verb().as_str() {
            "EHLO" if self.tls == Tls::Starttls && !line.is_private => {
                "250-mail.test\r\n250-SIZE 1000000\r\n250 STARTTLS".to_owned()
            }
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN".to_owned(),
            "STARTTLS" => "220 2.0.0 go on".to_owned(),
            "AUTH" if line.text == "AUTH LOGIN" => format!("334 {}", STANDARD.encode("Username:")),
            "AUTH"
                if line.text
                    == format!(
                        "AUTH PLAIN {}",
                        STANDARD.encode(format!("\0{USER}\0{PASSWORD}"))
                    ) =>
            {
                "235 2.7.0 welcome".to_owned()
            }
            "AUTH" => "535 5.7.8 bad credentials".to_owned(),
            "DATA" => "354 go on".to_owned(),
            "QUIT" => "221 2.0.0 bye".to_owned(),
            "MAIL" | "RCPT" => "250 2.1.0 fine".to_owned(),
            _ => "500 5.5.1 what?".to_owned(),
        }
    }
}

/// Reads a mail up to the line with a single dot. Removes the dot that the client adds to lines
/// with a leading dot (RFC 5321, 4.5.2).
fn read_mail(stream: &mut impl BufRead) -> io::Result<AcceptedMail> {
    let mut mail = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            break;
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
    Ok(AcceptedMail::read(&mail))
}

/// Decodes quoted-printable text (RFC 2045, 6.7).
fn unquoted(text: &str) -> String {
    let mut parts = text.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        if let Some(rest) = part.strip_prefix("\r\n") {
            bytes.extend_from_slice(rest.as_bytes());
        } else {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
    }
    String::from_utf8(bytes).unwrap()
}
