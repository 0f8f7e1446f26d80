//! A real Kafka broker for tests, started once for each test process.
//!
//! Found in this order: the address in `TIDEMILL_TEST_KAFKA`; Apache Kafka from Maven Central,
//! cached under `target/`, run with the machine's Java. With neither, tests that need it say why
//! they are skipped, and fail where `CI` is set. The broker has ports and a directory of its own
//! and ends with the test process, however that ends: its keeper waits for a pipe to close.
//!
//! Other crates' tests take this file in with `#[path]`.
#![allow(dead_code)]

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

const VERSION: &str = "4.1.0";

/// How long the broker may take to start, beside other builds and tests.
const START_TIMEOUT: Duration = Duration::from_secs(120);

static BROKER: OnceLock<Result<Shared, String>> = OnceLock::new();

struct Shared {
    address: String,
    /// Kept for what happens when it goes: then the keeper ends the broker.
    _broker: Option<Broker>,
}

/// The address of a broker, or `None` where there can't be one and tests may be skipped.
pub fn brokers() -> Option<&'static str> {
    match BROKER.get_or_init(find) {
        Ok(broker) => Some(&broker.address),
        Err(why) if std::env::var_os("CI").is_some() => panic!("no Kafka broker: {why}"),
        Err(why) => {
            eprintln!("skipped: no Kafka broker: {why}");
            None
        }
    }
}

fn find() -> Result<Shared, String> {
    if let Ok(address) = std::env::var("TIDEMILL_TEST_KAFKA") {
        return Ok(Shared { address, _broker: None });
    }
    let broker = Broker::start(&jars()?, "shared")?;
    Ok(Shared { address: broker.address.clone(), _broker: Some(broker) })
}

/// A broker of a test's own, which may be ill-treated; `None` where there can't be one.
pub fn own_broker(name: &str) -> Option<Broker> {
    match jars().and_then(|jars| Broker::start(&jars, name)) {
        Ok(broker) => Some(broker),
        Err(why) if std::env::var_os("CI").is_some() => panic!("no Kafka broker: {why}"),
        Err(why) => {
            eprintln!("skipped: no Kafka broker: {why}");
            None
        }
    }
}

/// The directory of Kafka's jars, fetched if need be.
fn jars() -> Result<PathBuf, String> {
    // Cargo names that directory to integration tests, not to benchmarks.
    let target = option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target/tmp");
    let cache = Path::new(target).join(format!("kafka-{VERSION}"));
    if cache.is_dir() {
        return Ok(cache);
    }
    // Made aside and renamed, for another test process may do the same.
    let work = cache.with_extension(format!("{}", std::process::id()));
    let jars = work.join("lib");
    fs::create_dir_all(&jars).map_err(|e| e.to_string())?;
    let pom = work.join("pom.xml");
    fs::write(&pom, pom_text()).map_err(|e| e.to_string())?;
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .output()
        .map_err(|e| format!("mvn can't be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("mvn: {}", String::from_utf8_lossy(&output.stdout)));
    }
    let _ = fs::rename(&jars, &cache);
    let _ = fs::remove_dir_all(&work);
    if cache.is_dir() { Ok(cache) } else { Err("mvn has copied no jars".to_owned()) }
}

fn pom_text() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\
           <modelVersion>4.0.0</modelVersion>\
           <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>\
           <packaging>pom</packaging>\
           <dependencies><dependency>\
             <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>\
             <version>{VERSION}</version>\
           </dependency></dependencies>\
         </project>"
    )
}

/// Runs the broker's command as it is told to, and kills the broker when standard input closes.
const KEEPER: &str = r#"
    directory="$1"; shift
    while read -r order; do
        case "$order" in
            start) "$@" >>"$directory/log" 2>&1 </dev/null & broker=$! ;;
            kill) kill -9 "$broker"; wait "$broker" 2>/dev/null ;;
            pause) kill -STOP "$broker" ;;
            resume) kill -CONT "$broker" ;;
        esac
    done
    kill -9 "$broker"
    wait "$broker" 2>/dev/null
    rm -rf "$directory"
"#;

/// A broker that was started here. It ends when this is dropped, or the process ends.
pub struct Broker {
    pub address: String,
    log: PathBuf,
    /// Orders to the keeper. Closed when the process ends, by whatever cause.
    orders: ChildStdin,
}

impl Broker {
    fn start(jars: &Path, name: &str) -> Result<Broker, String> {
        let directory = format!("tidemill-kafka-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(|e| e.to_string())?;
        let (port, controller) = free_ports()?;
        let config = directory.join("server.properties");
        fs::write(&config, properties(&directory, port, controller)).map_err(|e| e.to_string())?;
        let classes = format!("{}/*", jars.display());
        let format = Command::new("java")
            .args(["-cp", &classes, "kafka.tools.StorageTool", "format", "-t"])
            .args(["MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(&config)
            .output()
            .map_err(|e| format!("java can't be run: {e}"))?;
        if !format.status.success() {
            return Err(format!("formatting: {}", String::from_utf8_lossy(&format.stderr)));
        }
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .args(["java", "-Xmx512m", "-cp", &classes, "kafka.Kafka"])
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("sh can't be run: {e}"))?;
        let orders = keeper.stdin.take().expect("a pipe");
        let address = format!("127.0.0.1:{port}");
        let mut broker = Broker { address, log: directory.join("log"), orders };
        broker.order("start");
        broker.wait()?;
        Ok(broker)
    }

    /// Kills the broker: connections break, its data stays.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Starts a killed broker again, at the same address with the same data.
    pub fn start_again(&mut self) {
        self.order("start");
        self.wait().expect("the broker starts again");
    }

    /// Stops the broker without closing its connections.
    pub fn pause(&mut self) {
        self.order("pause");
    }

    /// Lets a paused broker go on.
    pub fn resume(&mut self) {
        self.order("resume");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the keeper lives");
    }

    /// Waits until the broker answers.
    fn wait(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !answers(&self.address) {
            if Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("the broker doesn't start: {log}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

fn answers(address: &str) -> bool {
    if std::net::TcpStream::connect(address).is_err() {
        return false;
    }
    let admin = admin(address);
    admin
        .inner()
        .fetch_metadata(None, Duration::from_secs(5))
        .is_ok_and(|m| !m.brokers().is_empty())
}

fn free_ports() -> Result<(u16, u16), String> {
    let port = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        Ok::<_, std::io::Error>((listener.local_addr()?.port(), listener))
    };
    let (one, two) = (port().map_err(|e| e.to_string())?, port().map_err(|e| e.to_string())?);
    Ok((one.0, two.0))
}

fn properties(directory: &Path, port: u16, controller: u16) -> String {
    let data = directory.join("data");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=2\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=2\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        data.display()
    )
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.create().expect("an admin client")
}

/// Makes a topic and waits until it can be used.
pub fn create_topic(brokers: &str, topic: &str, partitions: i32) {
    create_topic_with(brokers, topic, partitions, &[]);
}

/// Makes a topic with options of its own.
pub fn create_topic_with(brokers: &str, topic: &str, partitions: i32, options: &[(&str, &str)]) {
    let admin = admin(brokers);
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let new = options.iter().fold(new, |new, (key, value)| new.set(key, value));
    let results = wait(admin.create_topics([&new], &AdminOptions::new())).expect("an answer");
    results.into_iter().for_each(|result| drop(result.expect("a new topic")));
    wait_for_partitions(&admin, topic, partitions);
}

/// Adds partitions to a topic.
pub fn grow_topic(brokers: &str, topic: &str, partitions: i32) {
    let admin = admin(brokers);
    let new = NewPartitions::new(topic, partitions as usize);
    let results = wait(admin.create_partitions([&new], &AdminOptions::new())).expect("an answer");
    results.into_iter().for_each(|result| drop(result.expect("new partitions")));
    wait_for_partitions(&admin, topic, partitions);
}

fn wait_for_partitions(admin: &AdminClient<DefaultClientContext>, topic: &str, partitions: i32) {
    let is_there = || {
        let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(10)).ok()?;
        let topic = metadata.topics().first()?;
        let led = topic.partitions().iter().filter(|p| p.leader() >= 0).count();
        (led == partitions as usize).then_some(())
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_there().is_none() {
        assert!(Instant::now() < deadline, "topic {topic} is not there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
