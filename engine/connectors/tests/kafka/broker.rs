//! A real Kafka broker for tests, started once for each test process.
//!
//! Found in this order: the address in `TIDEMILL_TEST_KAFKA`; Apache Kafka from Maven Central,
//! cached under `target/`, run with the machine's Java. With neither, tests that need it say why
//! they are skipped, and fail where `CI` is set. The broker has ports and a directory of its own
//! and ends with the test process, however that ends: its keeper waits for a pipe to close.
//!
//! In a test target called `own_broker` the same tests get this project's broker instead, as a
//! process that can be killed like the other.
//!
//! Other crates' tests take this file in with `#[path]`.
#![allow(dead_code)]

#[path = "jars.rs"]
mod jars;

use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
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

/// Whether this test target is the one for this project's broker.
fn is_own() -> bool {
    env!("CARGO_CRATE_NAME") == "own_broker"
}

fn find() -> Result<Shared, String> {
    if is_own() {
        let broker = Broker::start_own("shared")?;
        return Ok(Shared { address: broker.address.clone(), _broker: Some(broker) });
    }
    if let Ok(address) = std::env::var("TIDEMILL_TEST_KAFKA") {
        return Ok(Shared { address, _broker: None });
    }
    let broker = Broker::start(&jars()?, "shared")?;
    Ok(Shared { address: broker.address.clone(), _broker: Some(broker) })
}

/// A broker of a test's own, which may be ill-treated; `None` where there can't be one.
pub fn own_broker(name: &str) -> Option<Broker> {
    let broker = match is_own() {
        true => Broker::start_own(name),
        false => jars().and_then(|jars| Broker::start(&jars, name)),
    };
    match broker {
        Ok(broker) => Some(broker),
        Err(why) if std::env::var_os("CI").is_some() => panic!("no Kafka broker: {why}"),
        Err(why) => {
            eprintln!("skipped: no Kafka broker: {why}");
            None
        }
    }
}

fn jars() -> Result<PathBuf, String> {
    jars::fetch("kafka_2.13", VERSION)
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
    keeper: u32,
    /// Orders to the keeper. Closed when the process ends, by whatever cause.
    orders: ChildStdin,
}

impl Broker {
    fn start(jars: &Path, name: &str) -> Result<Broker, String> {
        let directory = new_directory(name)?;
        let [port, controller] = free_ports()?;
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
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-cp", &classes, "kafka.Kafka"]).arg(&config);
        Broker::kept(&command, &directory, port)
    }

    /// A process of this test program that is nothing but a broker.
    fn start_own(name: &str) -> Result<Broker, String> {
        let directory = new_directory(name)?;
        let [port, _] = free_ports()?;
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let module = module_path!().split_once("::").map_or("", |(_, module)| module);
        let mut command = Command::new(program);
        command.args(["--exact", &format!("{module}::the_own_broker"), "--ignored"]);
        command.env(OWN_PORT, port.to_string()).env(OWN_DATA, directory.join("data"));
        Broker::kept(&command, &directory, port)
    }

    /// Starts the broker's command, with a keeper that ends it.
    fn kept(command: &Command, directory: &Path, port: u16) -> Result<Broker, String> {
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(directory)
            .arg(command.get_program())
            .args(command.get_args())
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("sh can't be run: {e}"))?;
        let orders = keeper.stdin.take().expect("a pipe");
        let address = format!("127.0.0.1:{port}");
        let (log, keeper) = (directory.join("log"), keeper.id());
        let mut broker = Broker { address, log, keeper, orders };
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

    /// The broker's process, which is its keeper's child.
    pub fn process(&self) -> Option<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.keeper);
        fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
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

const OWN_PORT: &str = "TIDEMILL_TEST_OWN_PORT";
const OWN_DATA: &str = "TIDEMILL_TEST_OWN_DATA";

#[test]
#[ignore = "the broker that other tests use"]
fn the_own_broker() {
    let (Ok(port), Ok(data)) = (std::env::var(OWN_PORT), std::env::var(OWN_DATA)) else { return };
    let listen = format!("127.0.0.1:{port}").parse().expect("an address");
    // As many partitions as a topic of Apache Kafka gets that doesn't say.
    let config = tidemill_broker::Config::new(data);
    let config = tidemill_broker::Config { listen, default_partitions: 1, ..config };
    let _broker = tidemill_broker::Broker::start(config).expect("a broker");
    loop {
        std::thread::park();
    }
}

/// A directory of a broker's own.
fn new_directory(name: &str) -> Result<PathBuf, String> {
    let directory = format!("tidemill-kafka-{}-{name}", std::process::id());
    let directory = std::env::temp_dir().join(directory);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).map_err(|e| e.to_string())?;
    Ok(directory)
}

/// Two ports that nobody listens on.
fn free_ports() -> Result<[u16; 2], String> {
    let listen = || TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string());
    let listeners = [listen()?, listen()?];
    let ports = listeners.each_ref().map(|it| it.local_addr().map(|address| address.port()));
    let [one, two] = ports;
    Ok([one.map_err(|e| e.to_string())?, two.map_err(|e| e.to_string())?])
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
    let results = block_on(admin.create_topics([&new], &AdminOptions::new())).expect("an answer");
    results.into_iter().for_each(|result| drop(result.expect("a new topic")));
    wait_for_partitions(&admin, topic, partitions);
}

/// Adds partitions to a topic.
pub fn grow_topic(brokers: &str, topic: &str, partitions: i32) {
    let admin = admin(brokers);
    let new = NewPartitions::new(topic, partitions as usize);
    let results =
        block_on(admin.create_partitions([&new], &AdminOptions::new())).expect("an answer");
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
