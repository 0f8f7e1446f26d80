//! `DESCRIBE` and `SHOW CREATE TABLE`, as text.

use crate::catalog::CatalogTable;
use crate::parser::ColumnKind;
use crate::types::SqlType;
use std::fmt::Write;

/// A table's columns.
pub(crate) fn table(table: &CatalogTable) -> String {
    let rows = table.columns.iter().map(|c| {
        let (data_type, extra) = match &c.kind {
            ColumnKind::Physical { data_type, not_null } => {
                (data_type.to_string(), if *not_null { "NOT NULL" } else { "" }.to_owned())
            }
            ColumnKind::Metadata { data_type, key, .. } => {
                let key = key.as_deref().unwrap_or(&c.name.text);
                (data_type.to_string(), format!("METADATA FROM '{key}'"))
            }
            ColumnKind::Computed(ast) => (String::new(), format!("AS {ast}")),
        };
        let mut extra = extra;
        if table.primary_key.iter().any(|k| k.text == c.name.text) {
            extra.push_str(" PRIMARY KEY");
        }
        if let Some((name, ast)) = &table.watermark
            && name.text == c.name.text
        {
            let _ = write!(extra, " WATERMARK AS {ast}");
        }
        (c.name.text.clone(), data_type, extra.trim().to_owned())
    });
    columns(rows.collect())
}

/// A view's columns.
pub(crate) fn view(described: &[(String, SqlType)]) -> String {
    columns(described.iter().map(|(n, t)| (n.clone(), t.to_string(), String::new())).collect())
}

fn columns(rows: Vec<(String, String, String)>) -> String {
    let name = rows.iter().map(|(n, ..)| n.chars().count()).max().unwrap_or(0).max(4);
    let kind = rows.iter().map(|(_, t, _)| t.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:name$}  {:kind$}  extras\n", "name", "type");
    for (n, t, extra) in rows {
        let _ = writeln!(text, "{}", format!("{n:name$}  {t:kind$}  {extra}").trim_end());
    }
    text.trim_end().to_owned()
}

/// The statement that would create the table again.
pub(crate) fn create_table(table: &CatalogTable) -> String {
    let quoted = |names: &[crate::parser::Name]| {
        names.iter().map(|n| format!("`{}`", n.text)).collect::<Vec<_>>().join(", ")
    };
    let mut parts: Vec<String> = (table.columns.iter())
        .map(|c| {
            let name = &c.name.text;
            match &c.kind {
                ColumnKind::Physical { data_type, not_null } => {
                    format!("`{name}` {data_type}{}", if *not_null { " NOT NULL" } else { "" })
                }
                ColumnKind::Metadata { data_type, key, is_virtual } => {
                    let from = key.as_ref().map(|k| format!(" FROM '{k}'")).unwrap_or_default();
                    let read_only = if *is_virtual { " VIRTUAL" } else { "" };
                    format!("`{name}` {data_type} METADATA{from}{read_only}")
                }
                ColumnKind::Computed(ast) => format!("`{name}` AS {ast}"),
            }
        })
        .collect();
    if let Some((name, ast)) = &table.watermark {
        parts.push(format!("WATERMARK FOR `{}` AS {ast}", name.text));
    }
    if !table.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({}) NOT ENFORCED", quoted(&table.primary_key)));
    }
    let options: Vec<String> = (table.options.iter())
        .map(|o| format!("  '{}' = '{}'", o.key, o.value.replace('\'', "''")))
        .collect();
    let partitions = match table.partitioned_by.is_empty() {
        true => String::new(),
        false => format!("PARTITIONED BY ({})\n", quoted(&table.partitioned_by)),
    };
    format!(
        "CREATE TABLE `{}` (\n  {}\n)\n{partitions}WITH (\n{}\n);",
        table.name,
        parts.join(",\n  "),
        options.join(",\n")
    )
}
