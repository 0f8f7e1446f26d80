//! A disk that is full.

use crate::clients::PATIENCE;
use crate::kills::{Acknowledged, Victim, client, read};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tempfile::TempDir;

/// A file may be so long.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// So long are numbers with what stands before them.
const WIDTH: usize = 100;

/// Sends numbers in small batches; gives those that were acknowledged.
fn send(address: SocketAddr, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let acknowledged = Acknowledged::default();
    let options = [("message.timeout.ms", "2000"), ("batch.num.messages", "50")];
    let producer: BaseProducer<Acknowledged> =
        client(address, &options).create_with_context(acknowledged.clone()).unwrap();
    for number in numbers {
        let value = format!("{number:0WIDTH$}");
        let record = BaseRecord::<str, str, _>::with_opaque_to("numbers", Box::new(number));
        producer.send(record.partition(0).payload(&value)).map_err(|(e, _)| e).unwrap();
        if number % 50 == 0 {
            producer.poll(Duration::from_millis(1));
        }
    }
    let _ = producer.flush(PATIENCE);
    let numbers = acknowledged.0.lock().unwrap();
    numbers.clone()
}

#[test]
fn what_no_longer_fits_is_refused_and_what_was_acknowledged_stays() {
    let directory = TempDir::new().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut broker = Victim::start_on_small_disk(directory.path(), address, FILE_BYTES_MAX);
    let acknowledged = send(address, 0..10_000);
    let count = acknowledged.len();
    assert!((500..9_000).contains(&count), "{count} of 10,000 records of {WIDTH} bytes fit");
    // It goes on to serve those who want nothing that takes room.
    assert_eq!(read(address, "numbers", 0), acknowledged);
    broker.kill();
    // There is room again.
    let mut broker = Victim::start(directory.path(), address);
    assert_eq!(read(address, "numbers", 0), acknowledged);
    let more = send(address, 20_000..20_100);
    assert_eq!(more.len(), 100);
    assert_eq!(read(address, "numbers", 0), [acknowledged, more].concat());
    broker.kill();
}
