//! `jdbc`: tables of PostgreSQL, looked up by key.
//!
//! The name and the options are Flink's. A request is one statement for all keys: they travel as
//! one JSON text, which PostgreSQL turns into rows of the table's own types, and its rows come back
//! as JSON, so that each side reads its own types.

use crate::lookup::options::{self, Asking};
use crate::lookup::{Answer, ByKey, Client, Key, LookupSpec, LookupTable};
use crate::options::{Known, refuse_unknown, required, wrong};
use crate::registry::Connector;
use crate::source::ConnectorError;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemill_formats::{Capabilities, LookupKind, OptionError, Table};
use tokio::sync::Mutex;
use tokio_postgres::{Client as Connection, Config, NoTls, Statement};

const KNOWN: Known = Known {
    keys: &[
        "url",
        "table-name",
        "username",
        "password",
        "driver",
        options::CACHE,
        options::MAX_RETRIES,
        options::PARTIAL_MAX_ROWS,
        options::PARTIAL_EXPIRE_WRITE,
        options::PARTIAL_EXPIRE_ACCESS,
        options::PARTIAL_MISSING_KEY,
    ],
    prefixes: &[],
};

/// So long may it take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The connector `jdbc`.
pub(crate) struct Jdbc;

impl Connector for Jdbc {
    fn name(&self) -> &'static str {
        "jdbc"
    }

    fn known(&self) -> &'static Known {
        &KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        refuse_unknown(table, &KNOWN, &BTreeSet::new())?;
        Asking::new(table)?;
        config(table)?;
        required(table, "table-name")?;
        Ok(Capabilities { source: None, sink: vec![], lookup: Some(LookupKind::ByKey) })
    }

    fn lookup(&self, spec: &LookupSpec) -> Result<Box<dyn LookupTable>, ConnectorError> {
        let client = Postgres {
            config: config(&spec.table)?,
            query: query(spec)?,
            connection: Mutex::new(None),
        };
        let asking = Asking::new(&spec.table)?;
        Ok(Box::new(ByKey::new(spec.clone(), asking, Arc::new(client))?))
    }
}

/// Where the database is, and as whom it is asked.
fn config(table: &Table) -> Result<Config, OptionError> {
    let url = required(table, "url")?;
    let hint = "write 'jdbc:postgresql://HOST:PORT/DATABASE'";
    let Some(own) = url.strip_prefix("jdbc:").filter(|own| own.starts_with("postgresql://")) else {
        return Err(wrong("url", format!("'{url}' leads to no PostgreSQL"), hint));
    };
    let mut config: Config =
        own.parse().map_err(|error| wrong("url", format!("'{url}': {error}"), hint))?;
    if let Some(user) = table.option("username") {
        config.user(user);
    }
    if let Some(password) = table.option("password") {
        config.password(password);
    }
    Ok(config.connect_timeout(CONNECT_TIMEOUT).application_name("tidemill").clone())
}

/// The statement, whose one parameter is a JSON array of keys.
fn query(spec: &LookupSpec) -> Result<String, OptionError> {
    let table: Vec<String> = required(&spec.table, "table-name")?.split('.').map(quoted).collect();
    let table = table.join(".");
    let names = |columns: &[usize]| -> String {
        let name = |&column: &usize| quoted(spec.table.schema.field(column).name());
        columns.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let (columns, keys) =
        (names(&spec.columns), names(spec.key_columns.as_deref().unwrap_or_default()));
    Ok(format!(
        "SELECT row_to_json(found)::text FROM (SELECT {columns} FROM {table} AS t JOIN (\
         SELECT DISTINCT {keys} FROM json_populate_recordset(NULL::{table}, $1::text::json)) AS k \
         USING ({keys})) AS found"
    ))
}

/// An identifier as PostgreSQL takes any.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A connection, made when it is first needed and again when it is lost.
struct Postgres {
    config: Config,
    query: String,
    connection: Mutex<Option<(Connection, Statement)>>,
}

impl Postgres {
    async fn connect(&self) -> Result<(Connection, Statement), tokio_postgres::Error> {
        let (connection, driver) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!("a connection to PostgreSQL ended: {error}");
            }
        });
        let statement = connection.prepare(&self.query).await?;
        Ok((connection, statement))
    }

    async fn rows(&self, keys: &[Key]) -> Result<Vec<Vec<u8>>, tokio_postgres::Error> {
        let mut connection = self.connection.lock().await;
        let (client, statement) = match connection.take() {
            Some(open) if !open.0.is_closed() => open,
            _ => self.connect().await?,
        };
        let answer = client.query(&statement, &[&array(keys)]).await?;
        *connection = Some((client, statement));
        Ok(answer.iter().map(|row| row.get::<_, String>(0).into_bytes()).collect())
    }
}

impl Client for Postgres {
    fn ask<'a>(&'a self, keys: &'a [Key]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async {
            match self.rows(keys).await {
                Ok(records) => Answer { records, ..Answer::default() },
                Err(error) => {
                    let reason = error.as_db_error().map(|reason| reason.message().to_owned());
                    let problem = reason.unwrap_or_else(|| error.to_string());
                    Answer { failed: keys.to_vec(), problem, ..Answer::default() }
                }
            }
        })
    }
}

/// Keys as one JSON array.
fn array(keys: &[Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
    format!("[{}]", keys.join(","))
}
