//! Fake S3-compatible store: objects in memory, lists in pages, and faults that a test turns on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;

use super::request::Request;

/// Number of names in one page of a list. Real stores send 1000.
const PAGE_NAMES: usize = 5;

/// Behavior of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Everything works.
    None,
    /// Every request gets 503.
    Unavailable,
    /// Every request is read and gets no response.
    Hang,
    /// Connections are closed after the request was stored, without a response.
    LostResponse,
    /// Wrong credentials: every request gets 403.
    Forbidden,
}

/// Fake store. Its threads run until the test process exits.
pub struct FakeObjectStore {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    fault: Mutex<StoreFault>,
    /// Connections without a response.
    hanging: Mutex<Vec<TcpStream>>,
}

impl FakeObjectStore {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            objects: Mutex::default(),
            fault: Mutex::new(StoreFault::None),
            hanging: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || serve(&socket, &shared));
            }
        });
        Self { address, shared }
    }

    /// Returns the config table of backups to the bucket `shop`. `more` contains further keys.
    pub fn table(&self, more: &str) -> String {
        format!(
            "\n[backup]\nurl = \"s3://shop/clinic\"\nendpoint = \"http://{}\"\naccess_key_id = \"text:id\"\nsecret_access_key = \"text:key\"\n{more}\n",
            self.address
        )
    }

    pub fn set_fault(&self, fault: StoreFault) {
        *self.shared.fault.lock().unwrap() = fault;
        if fault == StoreFault::None {
            self.shared.hanging.lock().unwrap().clear();
        }
    }

    /// Returns the names of all objects that contain `part`.
    pub fn names_with(&self, part: &str) -> Vec<String> {
        let objects = self.shared.objects.lock().unwrap();
        objects
            .keys()
            .filter(|name| name.contains(part))
            .cloned()
            .collect()
    }

    /// Removes an object.
    pub fn remove(&self, name: &str) {
        assert!(self.shared.objects.lock().unwrap().remove(name).is_some());
    }

    /// Replaces `from` by `to` in all names, and in the content of all objects that are text.
    pub fn replace(&self, from: &str, to: &str) {
        let mut objects = self.shared.objects.lock().unwrap();
        let old = std::mem::take(&mut *objects);
        objects.extend(old.into_iter().map(|(name, bytes)| {
            let bytes = match String::from_utf8(bytes) {
                Ok(text) => text.replace(from, to).into_bytes(),
                Err(binary) => binary.into_bytes(),
            };
            (name.replace(from, to), bytes)
        }));
    }

    /// Returns the content of an object that is text.
    pub fn text(&self, name: &str) -> String {
        let objects = self.shared.objects.lock().unwrap();
        String::from_utf8(objects[name].clone()).unwrap()
    }

    /// Alters the last byte of an object.
    pub fn damage(&self, name: &str) {
        let mut objects = self.shared.objects.lock().unwrap();
        *objects.get_mut(name).unwrap().last_mut().unwrap() ^= 1;
    }
}

fn serve(socket: &TcpStream, shared: &Shared) {
    let (mut from, mut to) = (BufReader::new(socket), socket);
    while let Some(request) = Request::read(&mut from) {
        let fault = *shared.fault.lock().unwrap();
        let (status, body) = match fault {
            StoreFault::Hang => {
                shared
                    .hanging
                    .lock()
                    .unwrap()
                    .push(socket.try_clone().unwrap());
                return;
            }
            StoreFault::Unavailable => {
                (503, "<Error><Code>ServiceUnavailable</Code></Error>".into())
            }
            StoreFault::Forbidden => (403, "<Error><Code>InvalidAccessKeyId</Code></Error>".into()),
            StoreFault::None | StoreFault::LostResponse => answer(&request, shared),
        };
        if fault == StoreFault::LostResponse {
            let _ = socket.shutdown(std::net::Shutdown::Both);
            return;
        }
        let head = format!(
            "HTTP/1.1 {status} So\r\netag: \"e\"\r\nlast-modified: Tue, 24 Nov 2026 08:00:00 GMT\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if to.write_all(head.as_bytes()).is_err() || to.write_all(&body).is_err() {
            return;
        }
    }
}

fn answer(request: &Request, shared: &Shared) -> (u16, Vec<u8>) {
    assert!(
        request
            .header("authorization")
            .starts_with("AWS4-HMAC-SHA256 Credential=id/"),
        "{request:?}"
    );
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let path = decode(path);
    let key = path
        .strip_prefix("/shop")
        .expect("the bucket")
        .trim_start_matches('/');
    let query: BTreeMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let mut objects = shared.objects.lock().unwrap();
    match (request.method.as_str(), key) {
        ("GET", "") => (200, list(&objects, &query).into_bytes()),
        ("GET", key) => match objects.get(key) {
            Some(bytes) => (200, bytes.clone()),
            None => (404, b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        },
        ("PUT", key) => {
            objects.insert(key.to_owned(), request.body.clone());
            (200, Vec::new())
        }
        ("DELETE", key) => {
            objects.remove(key);
            (200, Vec::new())
        }
        other => panic!("{other:?}"),
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>, query: &BTreeMap<String, String>) -> String {
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    let (prefix, delimiter) = (get("prefix"), get("delimiter"));
    let after = get("continuation-token").max(get("start-after"));
    let matching = objects
        .iter()
        .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
    let matching: Vec<_> = matching.collect();
    let (mut contents, mut folders) = (String::new(), BTreeSet::new());
    for (key, bytes) in matching.iter().take(PAGE_NAMES) {
        let rest = &key[prefix.len()..];
        if let Some((folder, _)) = rest.split_once('/').filter(|_| !delimiter.is_empty()) {
            folders.insert(format!("{prefix}{folder}/"));
        } else {
            write!(contents, "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-24T08:00:00.000Z</LastModified><ETag>e</ETag></Contents>",
                bytes.len()).unwrap();
        }
    }
    let token = matching.get(PAGE_NAMES).map_or(String::new(), |_| {
        let (last, _) = matching[PAGE_NAMES - 1];
        format!("<NextContinuationToken>{last}</NextContinuationToken>")
    });
    for folder in folders {
        write!(
            contents,
            "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
        )
        .unwrap();
    }
    format!("<ListBucketResult>{contents}{token}</ListBucketResult>")
}
