//! A small HTTP service that knows some customers.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A running service. Its first answer is an error.
pub(super) struct Service {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Service {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, count.fetch_add(1, Ordering::Relaxed) == 0);
            }
        });
        Service { address, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/customers", self.address)
    }

    /// How many requests there were.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: TcpStream, fails: bool) {
    let mut lines =
        BufReader::new(stream.try_clone().expect("a handle")).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let is_allowed = headers.iter().any(|header| header.eq_ignore_ascii_case("x-key: secret"));
    let number = |(_, rest): (&str, &str)| rest.split(' ').next()?.parse::<u64>().ok();
    let id = request.split_once("?id=").and_then(number);
    let (status, body) = match id {
        _ if fails || !is_allowed => ("503 Service Unavailable", String::new()),
        Some(id) if id % 3 == 0 => {
            let rows = format!("[{{\"name\": \"x{id}\"}}, {{\"name\": \"y{id}\", \"id\": {id}}}]");
            ("200 OK", rows)
        }
        Some(id) if id % 2 == 0 => ("200 OK", format!("{{\"name\": \"n{id}\", \"other\": 1}}")),
        Some(1) => ("200 OK", "[]".to_owned()),
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}
