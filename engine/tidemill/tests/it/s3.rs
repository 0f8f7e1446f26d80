//! [`Bucket`]: a bucket of an object store that speaks as much of S3 as checkpoints ask of one, and
//! fails as it is told to.
//!
//! ```text
//! PUT /bucket/KEY                       an object, whole; If-None-Match: * and If-Match are kept
//! GET, HEAD /bucket/KEY                 all of it, or a range
//! DELETE /bucket/KEY, POST ?delete      one object, or several
//! GET /bucket?list-type=2&prefix=…      names in order, a few at a time
//! ```
//!
//! The invariant: a request is carried out whole, under one lock, or not at all. Whether its answer
//! arrives is another matter, as with the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Names on a page of a listing: few, so that every listing of some length has several pages.
const PAGE_KEYS: usize = 3;
/// A place for checkpoints in a bucket.
pub const URL: &str = "s3://bucket/deep/down";
/// Who may come in.
const ACCESS_KEY: &str = "tester";

/// What goes wrong. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Each so manieth request is refused with 503, and not carried out.
    pub refuses_each: Option<u64>,
    /// Each so manieth request is carried out, and the connection breaks before the answer.
    pub leaves_unanswered_each: Option<u64>,
    /// Every request takes at least so long.
    pub delay: Duration,
    /// Nothing is stored any more.
    pub is_full: bool,
    /// Nobody answers anything.
    pub is_down: bool,
}

/// A bucket that is there until the test ends.
pub struct Bucket {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    objects: BTreeMap<String, Object>,
    faults: Faults,
    requests: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    /// Changes with each writing.
    tag: String,
}

impl Bucket {
    /// An empty bucket at a port of its own.
    pub fn open() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let served = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                // A broken connection is the client's to deal with.
                thread::spawn(move || drop(serve(&stream, &served)));
            }
        });
        Bucket { address, shared }
    }

    /// A place for checkpoints in it.
    pub fn url(&self) -> &'static str {
        URL
    }

    /// The environment of a process that may use it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "nowhere".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ]
    }

    /// From here on this goes wrong, and nothing else.
    pub fn set(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// The names of the objects in a folder of a job, such as `manifests`, in order.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let part = format!("/{folder}/");
        self.lock().objects.keys().filter(|key| key.contains(&part)).cloned().collect()
    }

    /// The bytes of an object, if it is there.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().objects.get(name).map(|object| object.bytes.clone())
    }

    /// Puts other bytes in the place of an object's.
    pub fn replace(&self, name: &str, bytes: Vec<u8>) {
        self.lock().objects.get_mut(name).expect("an object").bytes = bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics while it holds the bucket")
    }
}

/// A request, read whole.
struct Request {
    method: String,
    /// Decoded, with the bucket in front.
    path: String,
    query: BTreeMap<String, String>,
    /// By names in small letters.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    /// The next request of a connection; none if the client has closed it.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = query.map(|(name, value)| (decoded(name), decoded(value))).collect();
        let (method, path) = (method.to_owned(), decoded(path));
        let headers = read_headers(reader)?;
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        Ok(Some(Request { method, path, query, headers, body }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn asks(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(headers) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// Text of a URL as it was meant.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.filter(|_| *first == b'%');
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = &behind[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8(bytes).expect("names are text")
}

/// An answer.
struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer { status: "200 OK", headers: Vec::new(), body: body.into() }
    }

    fn refusal(status: &'static str, code: &str) -> Answer {
        let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
        Answer { status, headers: Vec::new(), body: body.into_bytes() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes it; of an answer to `HEAD` all but the body.
    fn write(&self, mut stream: &TcpStream, method: &str) -> io::Result<()> {
        let Answer { status, headers, body } = self;
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if method != "HEAD" {
            bytes.extend(body);
        }
        stream.write_all(&bytes)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Refused,
    Unanswered,
    Unheard,
}

impl Faults {
    /// What becomes of the `number`th request.
    fn fate(&self, number: u64) -> Fate {
        let is_each = |each: Option<u64>| each.is_some_and(|each| number.is_multiple_of(each));
        match () {
            () if self.is_down => Fate::Unheard,
            () if is_each(self.refuses_each) => Fate::Refused,
            () if is_each(self.leaves_unanswered_each) => Fate::Unanswered,
            () => Fate::Answered,
        }
    }
}

/// Answers the requests of a connection, until either side closes it.
fn serve(stream: &TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        let (delay, answer) = {
            let mut shared = shared.lock().expect("no answer panics");
            shared.requests += 1;
            let answer = match shared.faults.fate(shared.requests) {
                Fate::Unheard => return Ok(()),
                Fate::Refused => Some(Answer::refusal("503 Slow Down", "SlowDown")),
                Fate::Answered => Some(shared.answer(&request)),
                Fate::Unanswered => {
                    shared.answer(&request);
                    None
                }
            };
            (shared.faults.delay, answer)
        };
        thread::sleep(delay);
        let Some(answer) = answer else { return Ok(()) };
        answer.write(stream, &request.method)?;
    }
    Ok(())
}

impl Shared {
    fn answer(&mut self, request: &Request) -> Answer {
        let signed = request.header("authorization").unwrap_or_default();
        if !signed.contains(&format!("Credential={ACCESS_KEY}/")) {
            return Answer::refusal("403 Forbidden", "InvalidAccessKeyId");
        }
        let key = match request.path.strip_prefix("/bucket") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => return Answer::refusal("404 Not Found", "NoSuchBucket"),
        };
        match (request.method.as_str(), key) {
            ("PUT", key) => self.put(key, request),
            ("GET", "") if request.asks("list-type") => self.list(request),
            ("GET" | "HEAD", key) => self.get(key, request),
            ("DELETE", key) => self.delete(&[key]),
            ("POST", "") if request.asks("delete") => self.delete_many(request),
            _ => Answer::refusal("400 Bad Request", "NotImplemented"),
        }
    }

    fn put(&mut self, key: &str, request: &Request) -> Answer {
        if self.faults.is_full {
            return Answer::refusal("403 Forbidden", "QuotaExceeded");
        }
        let there = self.objects.get(key).map(|object| object.tag.as_str());
        let must_be_new = request.header("if-none-match") == Some("*");
        let is_refused = match request.header("if-match") {
            Some(expected) => there != Some(expected),
            None => must_be_new && there.is_some(),
        };
        if is_refused {
            return Answer::refusal("412 Precondition Failed", "PreconditionFailed");
        }
        let tag = format!("\"{}\"", self.requests);
        let answer = Answer::ok("").with("ETag", tag.clone());
        self.objects.insert(key.to_owned(), Object { bytes: request.body.clone(), tag });
        answer
    }

    fn get(&self, key: &str, request: &Request) -> Answer {
        let Some(Object { bytes, tag }) = self.objects.get(key) else {
            return Answer::refusal("404 Not Found", "NoSuchKey");
        };
        let answer = match request.header("range").and_then(|range| bounds(range, bytes.len())) {
            None => Answer::ok(bytes.clone()),
            Some((first, last)) => {
                let part = bytes.get(first..=last).unwrap_or_default().to_vec();
                let answer = Answer { status: "206 Partial Content", ..Answer::ok(part) };
                answer.with("Content-Range", format!("bytes {first}-{last}/{}", bytes.len()))
            }
        };
        answer.with("ETag", tag).with("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
    }

    fn delete(&mut self, keys: &[&str]) -> Answer {
        keys.iter().for_each(|key| drop(self.objects.remove(*key)));
        Answer { status: "204 No Content", ..Answer::ok("") }
    }

    fn delete_many(&mut self, request: &Request) -> Answer {
        let text = String::from_utf8_lossy(&request.body);
        let keys =
            text.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0));
        let keys: Vec<&str> = keys.collect();
        self.delete(&keys);
        let deleted = keys.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>"));
        Answer::ok(format!("<DeleteResult>{}</DeleteResult>", deleted.collect::<String>()))
    }

    /// A page of the names under a prefix, those in deeper folders as their folder's.
    fn list(&self, request: &Request) -> Answer {
        let (prefix, delimiter) = (request.parameter("prefix"), request.parameter("delimiter"));
        let after = request.parameter("continuation-token");
        let keys = self.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let (mut contents, mut folders, mut last) = (String::new(), BTreeSet::new(), None);
        let mut has_more = false;
        for (rows, (key, object)) in keys.filter(|(key, _)| key.as_str() > after).enumerate() {
            if rows == PAGE_KEYS {
                has_more = true;
                break;
            }
            last = Some(key);
            let rest = &key[prefix.len()..];
            match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(end) => {
                    folders.insert(&key[..prefix.len() + end + delimiter.len()]);
                }
                None => contents.push_str(&format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size><ETag>{}</ETag>\
                     <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
                    object.bytes.len(),
                    object.tag
                )),
            }
        }
        let next = last.filter(|_| has_more);
        let next = next.map(|key| format!("<NextContinuationToken>{key}</NextContinuationToken>"));
        let folders = folders
            .iter()
            .map(|folder| format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
        Answer::ok(format!(
            "<ListBucketResult><IsTruncated>{has_more}</IsTruncated>{}{contents}{}\
             </ListBucketResult>",
            next.unwrap_or_default(),
            folders.collect::<String>()
        ))
    }
}

/// The first and the last byte that a `Range` header asks for.
fn bounds(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = last.parse().unwrap_or(usize::MAX).min(length.checked_sub(1)?);
    Some((first.parse().ok()?, last))
}
