//! [`Broker`]: a running broker, with threads of its own.

use crate::clock::now_ms;
use crate::config::Config;
use crate::connection::serve;
use crate::error::BrokerError;
use crate::node::Node;
use crate::wire::frame::Budget;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// The most connections at a time. Those beyond wait to be accepted.
const CONNECTIONS_MAX: usize = 1_000;

/// How often members and transactions are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often summaries of logs are written.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(5);

/// How often old segments are deleted, as in Apache Kafka.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// How long those who are in the middle of something are given at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// A running broker. It ends, in good order, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    node: Arc<Node>,
    runtime: Option<Runtime>,
}

impl Broker {
    /// Starts a broker. When this returns, clients can connect.
    pub fn start(config: Config) -> Result<Broker, BrokerError> {
        raise_file_limit();
        let node = Arc::new(Node::open(&config)?);
        let listening = |source| BrokerError::Listen { address: config.listen, source };
        let listener = StdListener::bind(config.listen).map_err(listening)?;
        listener.set_nonblocking(true).map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let runtime = runtime().map_err(BrokerError::Threads)?;
        let guard = runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(listening)?;
        drop(guard);
        runtime.spawn(accept(listener, Arc::clone(&node), config.advertised));
        runtime.spawn(tick(Arc::clone(&node)));
        runtime.spawn(every(SUMMARY_INTERVAL, Arc::clone(&node), Node::summarise));
        runtime.spawn(every(RETENTION_INTERVAL, Arc::clone(&node), Node::apply_retention));
        Ok(Broker { address, node, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the broker: connections are closed, and everything is left such that the next start
    /// is quick.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime can't be waited for from within another one, where this may be dropped.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(SHUTDOWN_TIMEOUT));
            let _ = ended.join();
            self.node.close();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Each segment and each connection is an open file; the usual limit is for smaller appetites.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!("the limit of open files stays: {error}");
    }
}

fn runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    Builder::new_multi_thread()
        // A write that waits for the disk holds its thread; another must be left.
        .worker_threads(cores.clamp(2, 4))
        .thread_name("broker")
        .enable_io()
        .enable_time()
        .build()
}

async fn accept(listener: TcpListener, node: Arc<Node>, advertised: Option<(String, u16)>) {
    let (budget, places) = (Budget::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (node, budget, advertised) =
                    (Arc::clone(&node), budget.clone(), advertised.clone());
                tokio::spawn(async move {
                    serve(stream, &node, budget, advertised).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of files, most likely: some will be closed.
                tracing::warn!("accepting a connection: {error}");
                sleep(TICK).await;
            }
        }
    }
}

async fn tick(node: Arc<Node>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        node.groups.tick(now_ms());
        if let Err(error) = node.coordinator.tick(now_ms()) {
            tracing::warn!("ending transactions: {error}");
        }
    }
}

/// Does something now and then, on a thread that may wait for the disk.
async fn every(period: Duration, node: Arc<Node>, work: fn(&Node)) {
    loop {
        sleep(period).await;
        let node = Arc::clone(&node);
        let _ = tokio::task::spawn_blocking(move || work(&node)).await;
    }
}
