//! `rest-lookup`: rows behind an HTTP service, looked up by key.
//!
//! Each key is a request of its own, several at once: `GET url?column=value&…`. The answer is a
//! JSON object or an array of them; `404` or an empty answer means that there are no rows. The
//! key's columns need not be in the answer: they are what was asked for.

use crate::lookup::options::{self, Asking};
use crate::lookup::{Answer, ByKey, Client, Key, LookupSpec, LookupTable};
use crate::options::{Known, duration, number, refuse_unknown, required, wrong};
use crate::registry::Connector;
use crate::source::ConnectorError;
use futures_util::StreamExt as _;
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemill_formats::{Capabilities, LookupKind, OptionError, Table, check};

const KNOWN: Known = Known {
    keys: &[
        "url",
        "lookup-method",
        "http.request.timeout",
        "http.request.max-concurrent",
        options::CACHE,
        options::MAX_RETRIES,
        options::PARTIAL_MAX_ROWS,
        options::PARTIAL_EXPIRE_WRITE,
        options::PARTIAL_EXPIRE_ACCESS,
        options::PARTIAL_MISSING_KEY,
    ],
    prefixes: &["http.request.header."],
};

/// The beginning of the options that are headers of each request.
const HEADER: &str = "http.request.header.";

/// The connector `rest-lookup`.
pub(crate) struct RestLookup;

impl Connector for RestLookup {
    fn name(&self) -> &'static str {
        "rest-lookup"
    }

    fn known(&self) -> &'static Known {
        &KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let format = check(table)?;
        refuse_unknown(table, &KNOWN, &format.options)?;
        if table.option("format") != Some("json") {
            return Err(wrong("format", "is not one that services answer in", "write 'json'"));
        }
        Asking::new(table)?;
        Service::new(table)?;
        Ok(Capabilities { source: None, sink: vec![], lookup: Some(LookupKind::ByKey) })
    }

    fn lookup(&self, spec: &LookupSpec) -> Result<Box<dyn LookupTable>, ConnectorError> {
        let (client, asking) = (Service::new(&spec.table)?, Asking::new(&spec.table)?);
        Ok(Box::new(ByKey::new(spec.clone(), asking, Arc::new(client))?))
    }
}

/// A service that is asked.
struct Service {
    client: reqwest::Client,
    url: Url,
    concurrent: usize,
}

impl Service {
    fn new(table: &Table) -> Result<Self, OptionError> {
        let text = required(table, "url")?;
        let url = Url::parse(text).ok().filter(|url| url.scheme().starts_with("http"));
        let hint = "write 'http://HOST/PATH' or 'https://HOST/PATH'";
        let url = url.ok_or_else(|| wrong("url", format!("'{text}' is no address"), hint))?;
        let method = table.option("lookup-method").unwrap_or("GET");
        if !method.eq_ignore_ascii_case("GET") {
            return Err(wrong(
                "lookup-method",
                format!("'{method}' is not supported"),
                "write 'GET'",
            ));
        }
        let timeout = duration(table, "http.request.timeout")?.unwrap_or(Duration::from_secs(30));
        let concurrent = number(table, "http.request.max-concurrent")?.unwrap_or(8usize);
        let client = reqwest::Client::builder().timeout(timeout).default_headers(headers(table)?);
        let client = client.build().map_err(|error| wrong("url", error.to_string(), hint))?;
        Ok(Service { client, url, concurrent: concurrent.max(1) })
    }

    /// The rows of a key.
    async fn rows(&self, key: &Key) -> Result<Option<Vec<u8>>, String> {
        let key: Map<String, Value> = serde_json::from_slice(key).map_err(|e| e.to_string())?;
        let mut url = self.url.clone();
        for (name, value) in &key {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(name, &text);
        }
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let answer = self.client.get(url).send().await.map_err(failed)?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::NO_CONTENT) {
            return Ok(None);
        }
        let body = answer.error_for_status().map_err(failed)?.bytes().await.map_err(failed)?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let mut answer: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        complete(&mut answer, &key);
        Ok(Some(answer.to_string().into_bytes()))
    }
}

impl Client for Service {
    fn ask<'a>(&'a self, keys: &'a [Key]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        let request = move |key| async move { (key, self.rows(key).await) };
        let answers = futures_util::stream::iter(keys).map(request);
        let answers = answers.buffer_unordered(self.concurrent);
        Box::pin(answers.fold(Answer::default(), |mut all, (key, rows)| async move {
            match rows {
                Ok(rows) => all.records.extend(rows),
                Err(problem) => {
                    all.failed.push(key.clone());
                    all.problem = problem;
                }
            }
            all
        }))
    }
}

/// Puts the key's columns into each row of an answer.
fn complete(answer: &mut Value, key: &Map<String, Value>) {
    match answer {
        Value::Array(rows) => rows.iter_mut().for_each(|row| complete(row, key)),
        Value::Object(row) => row.extend(key.clone()),
        _ => {}
    }
}

fn headers(table: &Table) -> Result<reqwest::header::HeaderMap, OptionError> {
    let mut headers = reqwest::header::HeaderMap::new();
    for (option, value) in &table.options {
        let Some(name) = option.strip_prefix(HEADER) else { continue };
        let refuse =
            |what: &str| wrong(option, format!("is no {what} of a header"), "look at it again");
        let name: reqwest::header::HeaderName = name.parse().map_err(|_| refuse("name"))?;
        headers.insert(name, value.parse().map_err(|_| refuse("value"))?);
    }
    Ok(headers)
}
