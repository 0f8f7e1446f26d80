//! A stand-in for the SQL front's entry, until it lands: refuses every session.

use std::collections::BTreeMap;
use tidemill_formats::Connectors;
use tidemill_sql::plan::Plan;

#[derive(Debug)]
pub(crate) struct SourceText {
    pub(crate) name: String,
    pub(crate) text: String,
}

pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) outputs: Vec<String>,
}

impl Planned {
    pub(crate) fn explain(&self) -> String {
        String::new()
    }
}

pub(crate) fn plan_session(
    texts: Vec<SourceText>,
    _: &BTreeMap<String, String>,
    _: &dyn Connectors,
) -> Result<Planned, String> {
    let place = texts.first().map_or("", |text| text.name.as_str());
    let bytes: usize = texts.iter().map(|text| text.text.len()).sum();
    Err(format!("{place}:1:1: error: {bytes} bytes of SQL can't be planned yet"))
}
