//! [`Exposition`]: a job's counters, served to Prometheus at `/metrics`.
//!
//! Nothing is counted here. A scrape reads the counters that the workers add to anyway, so it
//! costs the job nothing, and two scrapes never disturb each other. A new group of metrics
//! is one function beside [`Scrape::steps`], called in [`Scrape::encode`], and its rows in the
//! table in `docs/metrics.md`.

use crate::failure::Failure;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::{CONTENT_TYPE, encode};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tidemill_operators::Watermark;
use tidemill_runtime::{Metrics, NodeMetrics, Role, Usage};
use tiny_http::{Header, Method, Request, Response, Server};

/// Serves metrics until it is dropped.
pub(crate) struct Exposition {
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
}

impl Exposition {
    /// Listens at an address, `127.0.0.1:9464` or with port 0 for any free one, and says where.
    ///
    /// # Errors
    /// If nobody can listen there.
    pub(crate) fn serve(address: &str, job: &str, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let server = Server::http(address).map_err(|error| {
            let hint = "write HOST:PORT of this machine, port 0 for any free one";
            Failure::CommandLine(format!("--metrics {address}: {error}; {hint}"))
        })?;
        let server = Arc::new(server);
        tracing::info!("metrics are at http://{}/metrics", server.server_addr());
        let mut registry =
            Registry::with_labels([("job".into(), job.to_owned().into())].into_iter());
        registry.register_collector(Box::new(Scrape::new(metrics)));
        let listening = server.clone();
        let thread = std::thread::spawn(move || answer(&listening, &registry));
        Ok(Exposition { server, thread: Some(thread) })
    }
}

impl Drop for Exposition {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers requests until the server is unblocked.
fn answer(server: &Server, registry: &Registry) {
    while let Ok(request) = server.recv() {
        let (status, text) = page(&request, registry);
        let content_type = Header::from_bytes("Content-Type", CONTENT_TYPE);
        let mut response = Response::from_string(text).with_status_code(status);
        response.add_header(content_type.expect("it is a header"));
        // Whoever asked may be gone by now.
        let _ = request.respond(response);
    }
}

fn page(request: &Request, registry: &Registry) -> (u16, String) {
    let path = request.url().split('?').next().unwrap_or_default();
    match (request.method(), path) {
        (Method::Get | Method::Head, "/metrics") => {
            let mut text = String::new();
            match encode(&mut text, registry) {
                Ok(()) => (200, text),
                Err(error) => (500, format!("{error}\n")),
            }
        }
        (Method::Get | Method::Head, _) => (404, "there is only /metrics\n".to_owned()),
        _ => (405, "only GET\n".to_owned()),
    }
}

/// What a scrape finds.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    started: Instant,
    started_at: SystemTime,
}

/// Somewhere to write metrics, or why it could not be written.
type Written = Result<(), std::fmt::Error>;

impl Scrape {
    fn new(metrics: Arc<Metrics>) -> Self {
        Scrape { metrics, started: Instant::now(), started_at: SystemTime::now() }
    }

    /// One line for each step that has something to say.
    fn steps<M: EncodeMetric>(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&NodeMetrics) -> Option<M>,
    ) -> Written {
        let known = self.metrics.nodes.iter().filter_map(|node| Some((node, value(node)?)));
        let known: Vec<_> = known.collect();
        let Some((_, first)) = known.first() else { return Ok(()) };
        let mut family = to.encode_descriptor(name, help, None, first.metric_type())?;
        for (node, value) in &known {
            value.encode(family.encode_family(&[("step", node.name.as_str())])?)?;
        }
        Ok(())
    }

    fn rows(&self, to: &mut DescriptorEncoder<'_>) -> Written {
        self.steps(to, "tidemill_rows_in", "Rows that came in", |node| {
            (node.role != Role::Source).then(|| count(node.rows_in.load(Ordering::Relaxed)))
        })?;
        self.steps(to, "tidemill_rows_out", "Rows that went out", |node| {
            (node.role != Role::Sink).then(|| count(node.rows_out.load(Ordering::Relaxed)))
        })?;
        self.steps(to, "tidemill_rows_combined", "Rows combined before the exchange", |node| {
            let combined = node.rows_combined.load(Ordering::Relaxed);
            (combined > 0).then(|| count(combined))
        })?;
        self.steps(to, "tidemill_source_bytes", "Bytes read, as columns in memory", |node| {
            (node.role == Role::Source).then(|| count(node.bytes.load(Ordering::Relaxed)))
        })?;
        self.steps(to, "tidemill_bad_records", "Records that could not be decoded", |node| {
            (node.role == Role::Source).then(|| count(node.bad_records.load(Ordering::Relaxed)))
        })?;
        self.steps(to, "tidemill_late_rows", "Rows that came too late for a window", |node| {
            (node.role == Role::Step).then(|| count(node.late_rows.load(Ordering::Relaxed)))
        })?;
        self.steps(to, "tidemill_source_lag_records", "Records not read yet", |node| {
            node.lag().map(|lag| gauge(lag as f64))
        })
    }

    fn state(&self, to: &mut DescriptorEncoder<'_>) -> Written {
        self.steps(to, "tidemill_state_bytes", "State held, on all workers", |node| {
            (node.role == Role::Step).then(|| gauge(node.state_bytes() as f64))
        })?;
        let help = "Event time that has been reached, in seconds since 1970";
        self.steps(to, "tidemill_watermark_seconds", help, |node| {
            match Watermark(node.watermark_ms.load(Ordering::Relaxed)) {
                Watermark::MIN => None,
                Watermark::MAX => Some(gauge(f64::INFINITY)),
                Watermark(ms) => Some(gauge(ms as f64 / 1e3)),
            }
        })
    }

    fn progress(&self, to: &mut DescriptorEncoder<'_>) -> Written {
        let epochs = count(self.metrics.totals().epochs);
        one(to, "tidemill_epochs", "Epochs entered", epochs)?;
        let epoch = gauge(self.metrics.epoch() as f64 / 1e6);
        one(to, "tidemill_epoch_seconds", "The latest epoch, in seconds since 1970", epoch)?;
        let uptime = gauge(self.started.elapsed().as_secs_f64());
        one(to, "tidemill_uptime_seconds", "Since the job was started", uptime)
    }

    fn checkpoints(&self, to: &mut DescriptorEncoder<'_>) -> Written {
        let totals = self.metrics.totals();
        one(to, "tidemill_checkpoints", "Checkpoints that stand", count(totals.checkpoints))?;
        let restarts = count(totals.restarts);
        one(to, "tidemill_restarts", "Starts after a failure, in this process", restarts)?;
        let Some(last) = self.metrics.checkpoint() else { return Ok(()) };
        let (age, took) = (last.at.elapsed().as_secs_f64(), last.took.as_secs_f64());
        let help = "Since the last checkpoint came to stand";
        one(to, "tidemill_checkpoint_age_seconds", help, gauge(age))?;
        let help = "From the last worker's part of it until its output was visible";
        one(to, "tidemill_checkpoint_duration_seconds", help, gauge(took))?;
        let help = "Bytes of changed state written for it";
        one(to, "tidemill_checkpoint_bytes", help, gauge(last.bytes as f64))
    }

    /// Under the names that Prometheus's own clients use.
    fn process(&self, to: &mut DescriptorEncoder<'_>) -> Written {
        let usage = Usage::now();
        let cpu = ConstCounter::new(usage.cpu_seconds);
        one(to, "process_cpu_seconds", "Processor time, user and system", cpu)?;
        let resident = gauge(usage.rss_bytes as f64);
        one(to, "process_resident_memory_bytes", "Memory held", resident)?;
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = gauge(started.as_secs_f64());
        one(to, "process_start_time_seconds", "The start, in seconds since 1970", started)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Written {
        self.rows(&mut to)?;
        self.state(&mut to)?;
        self.checkpoints(&mut to)?;
        self.progress(&mut to)?;
        self.process(&mut to)
    }
}

fn one(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeMetric,
) -> Written {
    value.encode(to.encode_descriptor(name, help, None, value.metric_type())?)
}

fn count(value: u64) -> ConstCounter<u64> {
    ConstCounter::new(value)
}

fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tidemill_sql::{SourceText, plan_session};

    fn scraped(prepare: impl FnOnce(&Metrics)) -> String {
        let text = "SELECT a, COUNT(*) FROM (VALUES (1)) AS t(a) GROUP BY a;".to_owned();
        let text = SourceText { name: "one.sql".to_owned(), text };
        let registry = tidemill_connectors::Registry;
        let plan = plan_session(vec![text], &BTreeMap::new(), &registry).expect("it plans").plan;
        let metrics = Arc::new(Metrics::new(&plan, 1));
        prepare(&metrics);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape::new(metrics)));
        let mut text = String::new();
        encode(&mut text, &registry).expect("memory takes everything");
        text
    }

    #[test]
    fn a_step_says_what_it_knows_and_nothing_else() {
        let text = scraped(|metrics| {
            let step = metrics.nodes.iter().find(|node| node.role == Role::Step).expect("a step");
            step.rows_in.store(7, Ordering::Relaxed);
            step.watermark_ms.store(1_767_600_000_500, Ordering::Relaxed);
        });
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("{step=")).collect();
        let about = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
        assert!(text.contains("# TYPE tidemill_rows_in_total counter\n"), "{text}");
        assert!(lines.iter().any(|line| line.ends_with("\"} 7")), "{text}");
        assert!(text.contains("1767600000.5"), "{text}");
        assert_eq!((about("tidemill_watermark_seconds"), about("tidemill_source_lag")), (1, 0));
    }
}
