//! Pages of documentation as the tests read them: their blocks, tables, links and headings.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a page.
pub fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages of a folder and of those below it, by their paths from the root.
pub fn pages(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect("a folder of pages") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().expect("a type").is_dir() {
            true => found.extend(pages(&path)),
            false if path.ends_with(".md") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// A fenced block.
pub struct Block<'a> {
    /// The first word behind the fence.
    pub language: &'a str,
    /// What follows it: the name of the file that the block is.
    pub name: &'a str,
    pub text: &'a str,
    /// Where it begins, for messages.
    pub line: usize,
    /// Whether nothing stands between it and the block before.
    pub follows: bool,
}

/// The fenced blocks of a page, in order.
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut rest, mut line) = (Vec::new(), text, 1);
    loop {
        let at = match rest.starts_with("```") {
            true => 0,
            false => match rest.find("\n```") {
                Some(at) => at + 1,
                None => return blocks,
            },
        };
        let between = &rest[..at];
        let (info, inside) = rest[at + 3..].split_once('\n').expect("a fence ends its line");
        let (body, behind) = inside.split_once("```").expect("a block ends");
        line += between.lines().count();
        let (language, name) = info.split_once(' ').unwrap_or((info, ""));
        let follows = !blocks.is_empty() && between.trim().is_empty();
        blocks.push(Block { language, name, text: body, line, follows });
        line += body.lines().count() + 1;
        rest = behind;
    }
}

/// What stands between a line that holds `start` and the line `end`.
pub fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start:?}"));
    let (_, rest) = rest.split_once('\n').expect("a line ends");
    &rest[..rest.find(end).unwrap_or_else(|| panic!("no {end:?} after {start:?}"))]
}

/// What is quoted in the first cell of each row of a text's tables.
pub fn first_cells(text: &str) -> Vec<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The sections of a page by their headings of this depth (`"## "`), with what stands below them.
pub fn sections<'a>(text: &'a str, depth: &str) -> Vec<(&'a str, &'a str)> {
    let mark = format!("\n{depth}");
    let chapters = text.split("\n## ").map(|chapter| chapter.split(mark.as_str()).skip(1));
    let below: Vec<&str> = match depth {
        "## " => text.split(mark.as_str()).skip(1).collect(),
        _ => chapters.flatten().collect(),
    };
    below.into_iter().map(|section| section.split_once('\n').unwrap_or((section, ""))).collect()
}

/// The places that a page points to, outside of the web.
pub fn links(text: &str) -> Vec<&str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.starts_with("http")).collect()
}

/// The names by which a page's headings are pointed to.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|heading| anchor(heading.trim_start_matches('#').trim_start())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
