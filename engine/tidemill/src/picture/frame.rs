//! [`frame`]: from rows and counters to the lines of a picture of a given size.
//!
//! The size is kept: never more lines, never a wider one. When it gets narrow, bars go first and
//! then columns, the last ones first; when it gets low, panels go, the last one first. A panel
//! keeps its place while its rows are still coming in, so that nothing below it jumps.

use console::{Style, measure_text_width, truncate_str};

/// Between two columns.
const GAP: &str = "  ";
/// A bar is at least so wide …
const BAR_WIDTH_MIN: usize = 5;
/// … and at most.
const BAR_WIDTH_MAX: usize = 40;
/// The title and the counters.
const LINES_ABOVE: usize = 2;
/// A panel's empty line, title and headings.
const LINES_OF_PANEL: usize = 3;

/// Lines and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) lines: usize,
    pub(crate) columns: usize,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Colours,
    None,
}

/// What bars are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyphs {
    /// Blocks of eighths, for terminals that know Unicode.
    Blocks,
    Ascii,
}

/// How a picture looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looks {
    pub(crate) ink: Ink,
    pub(crate) glyphs: Glyphs,
}

/// What is to be shown.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) title: String,
    /// Stands behind the title, on the right.
    pub(super) hint: &'static str,
    /// The most important first.
    pub(super) counters: Vec<String>,
    pub(super) panels: Vec<Panel>,
}

/// One table.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) headings: Vec<Heading>,
    pub(super) rows: Vec<Row>,
    pub(super) has_bars: bool,
    /// It never has more rows than these.
    pub(super) rows_max: usize,
}

/// What stands above a column.
#[derive(Clone, Debug)]
pub(super) struct Heading {
    pub(super) text: &'static str,
    pub(super) side: Side,
}

/// Where in its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A row of a panel.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    /// How long its bar is beside those of other rows.
    pub(super) bar: f64,
    /// Whether it has just changed.
    pub(super) is_fresh: bool,
}

/// The lines of a picture.
pub(super) fn frame(scene: &Scene, size: Size, looks: Looks) -> Vec<String> {
    let painter = Painter { looks, columns: size.columns };
    let mut lines = vec![
        painter.title(&scene.title, scene.hint),
        painter.paint(&fitting(&scene.counters, size.columns), Style::new()),
    ];
    let room = deal(size.lines, &scene.panels);
    for (panel, rows) in scene.panels.iter().zip(room) {
        lines.push(String::new());
        lines.extend(painter.panel(panel, rows));
    }
    lines.truncate(size.lines);
    lines
}

/// How many rows each panel may show. Panels that get none are left out.
fn deal(lines: usize, panels: &[Panel]) -> Vec<usize> {
    let mut left = lines.saturating_sub(LINES_ABOVE);
    let shown = panels.len().min(left / (LINES_OF_PANEL + 1));
    left -= shown * LINES_OF_PANEL;
    let mut rows = vec![0; shown];
    while left > 0 {
        let before = left;
        for (rows, panel) in rows.iter_mut().zip(panels) {
            if left > 0 && *rows < panel.rows_max {
                *rows += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    rows
}

/// As many of the parts, from the first on, as fit beside each other.
fn fitting(parts: &[String], columns: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { GAP };
        if measure_text_width(&line) + gap.len() + measure_text_width(part) > columns {
            break;
        }
        line.push_str(gap);
        line.push_str(part);
    }
    line
}

struct Painter {
    looks: Looks,
    columns: usize,
}

impl Painter {
    fn title(&self, title: &str, hint: &str) -> String {
        let left = self.columns.saturating_sub(title.len() + hint.len());
        let painted = self.paint(title, Style::new().bold());
        match left >= GAP.len() {
            true => painted + &" ".repeat(left) + &self.paint(hint, Style::new().dim()),
            false => painted,
        }
    }

    fn panel(&self, panel: &Panel, rows_max: usize) -> Vec<String> {
        let rows = &panel.rows[..panel.rows.len().min(rows_max)];
        let layout = Layout::of(panel, rows, self.columns);
        let headings: Vec<&str> = panel.headings.iter().map(|heading| heading.text).collect();
        let mut lines = vec![
            self.paint(&panel.title, Style::new().bold()),
            self.paint(&layout.line(panel, &headings), Style::new().dim()),
        ];
        let longest = rows.iter().map(|row| row.bar).fold(0.0, f64::max);
        for row in rows {
            let cells: Vec<&str> = row.cells.iter().map(String::as_str).collect();
            let style = if row.is_fresh { Style::new().bold() } else { Style::new() };
            let mut line = self.paint(&layout.line(panel, &cells), style);
            if layout.bar > 0 && longest > 0.0 {
                let bar = bar(row.bar / longest, layout.bar, self.looks.glyphs);
                line.push_str(GAP);
                line.push_str(&self.paint(&bar, Style::new().cyan()));
            }
            lines.push(line);
        }
        lines.resize(rows_max + 2, String::new());
        lines
    }

    /// Text of at most the picture's width, in a style if there are colours.
    fn paint(&self, text: &str, style: Style) -> String {
        let text = truncate_str(text.trim_end(), self.columns, "");
        match self.looks.ink {
            Ink::None => text.into_owned(),
            Ink::Colours => style.force_styling(true).apply_to(text).to_string(),
        }
    }
}

/// How wide the columns and the bars of a panel are. Columns that have no place have no width
/// here.
struct Layout {
    widths: Vec<usize>,
    bar: usize,
}

impl Layout {
    fn of(panel: &Panel, rows: &[Row], columns: usize) -> Layout {
        let mut widths: Vec<usize> = Vec::new();
        for (at, heading) in panel.headings.iter().enumerate() {
            let cells = rows.iter().map(|row| measure_text_width(&row.cells[at]));
            widths.push(cells.max().unwrap_or(0).max(heading.text.len()));
        }
        let total = |widths: &[usize]| {
            widths.iter().sum::<usize>() + widths.len().saturating_sub(1) * GAP.len()
        };
        while widths.len() > 1 && total(&widths) > columns {
            widths.pop();
        }
        let left = columns.saturating_sub(total(&widths) + GAP.len());
        let all_are_there = widths.len() == panel.headings.len();
        let bar = if panel.has_bars && all_are_there && left >= BAR_WIDTH_MIN { left } else { 0 };
        Layout { widths, bar: bar.min(BAR_WIDTH_MAX) }
    }

    fn line(&self, panel: &Panel, cells: &[&str]) -> String {
        let mut line = String::new();
        for ((cell, width), heading) in cells.iter().zip(&self.widths).zip(&panel.headings) {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let padding = " ".repeat(width - measure_text_width(cell).min(*width));
            match heading.side {
                Side::Left => line.extend([cell, padding.as_str()]),
                Side::Right => line.extend([padding.as_str(), cell]),
            }
        }
        line
    }
}

/// A bar that fills this share of the width.
fn bar(share: f64, width: usize, glyphs: Glyphs) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    match glyphs {
        Glyphs::Blocks => format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]),
        Glyphs::Ascii => "#".repeat((eighths + 4) / 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Looks = Looks { ink: Ink::None, glyphs: Glyphs::Blocks };

    fn panel(title: &str, rows: usize, rows_max: usize) -> Panel {
        let heading = |text, side| Heading { text, side };
        let row = |at: usize| Row {
            cells: vec![
                (at + 1).to_string(),
                ["swift-otter-1042", "grumpy-ibex-7", "tiny-moth-31337"][at % 3].to_owned(),
                crate::status::grouped(60_000 / (at as u64 + 1)),
            ],
            bar: 60_000.0 / (at as f64 + 1.0),
            is_fresh: at == 1,
        };
        Panel {
            title: title.to_owned(),
            headings: vec![
                heading("#", Side::Right),
                heading("player", Side::Left),
                heading("points", Side::Right),
            ],
            rows: (0..rows).map(row).collect(),
            has_bars: true,
            rows_max,
        }
    }

    fn scene() -> Scene {
        let counters = [
            "123,456 events",
            "2,000/s",
            "late 12",
            "bad 61",
            "watermark 2026-01-05 08:12:31",
            "lag 1,234",
        ];
        Scene {
            title: "tidemill demo leaderboard".to_owned(),
            hint: "Ctrl-C stops it",
            counters: counters.map(str::to_owned).to_vec(),
            panels: vec![panel("Best of all time", 100, 100), panel("Best of the minute", 5, 80)],
        }
    }

    fn picture(lines: usize, columns: usize, looks: Looks) -> String {
        let lines = frame(&scene(), Size { lines, columns }, looks);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn a_terminal_of_80_by_24_shows_this() {
        // The last line is the cursor's.
        let expected = "\
tidemill demo leaderboard                                        Ctrl-C stops it
123,456 events  2,000/s  late 12  bad 61  watermark 2026-01-05 08:12:31

Best of all time
#  player            points
1  swift-otter-1042  60,000  ████████████████████████████████████████
2  grumpy-ibex-7     30,000  ████████████████████
3  tiny-moth-31337   20,000  █████████████▍
4  swift-otter-1042  15,000  ██████████
5  grumpy-ibex-7     12,000  ████████
6  tiny-moth-31337   10,000  ██████▋
7  swift-otter-1042   8,571  █████▊
8  grumpy-ibex-7      7,500  █████

Best of the minute
#  player            points
1  swift-otter-1042  60,000  ████████████████████████████████████████
2  grumpy-ibex-7     30,000  ████████████████████
3  tiny-moth-31337   20,000  █████████████▍
4  swift-otter-1042  15,000  ██████████
5  grumpy-ibex-7     12,000  ████████


";
        assert_eq!(picture(23, 80, PLAIN), expected);
    }

    #[test]
    fn a_narrow_one_loses_bars_and_then_columns() {
        let looks = Looks { glyphs: Glyphs::Ascii, ..PLAIN };
        let expected = "\
tidemill demo leaderboard
123,456 events  2,000/s  late 12

Best of all time
#  player            points
1  swift-otter-1042  60,000  #####
2  grumpy-ibex-7     30,000  ###
";
        assert_eq!(picture(7, 34, looks), expected);
        let expected = "\
tidemill demo leader
123,456 events

Best of all time
#  player
1  swift-otter-1042
";
        assert_eq!(picture(6, 20, looks), expected);
    }

    #[test]
    fn no_size_is_exceeded() {
        for (lines, columns) in (0..30).flat_map(|lines| (0..90).map(move |at| (lines, at))) {
            for ink in [Ink::None, Ink::Colours] {
                let picture = frame(&scene(), Size { lines, columns }, Looks { ink, ..PLAIN });
                assert!(picture.len() <= lines, "{lines} x {columns}");
                let widest = picture.iter().map(|line| measure_text_width(line)).max();
                assert!(widest.unwrap_or(0) <= columns, "{lines} x {columns}");
            }
        }
    }

    #[test]
    fn only_colours_need_escapes() {
        assert!(!picture(23, 80, PLAIN).contains('\u{1b}'));
        assert!(picture(23, 80, Looks { ink: Ink::Colours, ..PLAIN }).contains('\u{1b}'));
    }

    #[test]
    fn lines_are_dealt_evenly_until_a_panel_has_all_it_wants() {
        let panels = [panel("a", 0, 5), panel("b", 0, 100)];
        assert_eq!(deal(23, &panels), [5, 10]);
        assert_eq!(deal(10, &panels), [1, 1]);
        assert_eq!(deal(9, &panels), [4]);
        assert_eq!(deal(5, &panels), [] as [usize; 0]);
        assert_eq!(deal(100, &panels[..1]), [5]);
    }
}
