//! [`Screen`]: a picture on a terminal, drawn anew in place.
//!
//! The picture stands on the last lines of what the terminal shows, and the cursor below it. No
//! other screen is switched to and no mode is set but one: the cursor is hidden while the picture
//! moves, and [`Screen::leave`] shows it again. Whoever is killed leaves nothing worse behind.

use super::frame::{Glyphs, Ink, Looks, Size};
use console::Term;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const CLEAR_ALL: &str = "\u{1b}[2J\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Standard output, if it is a terminal that can be drawn on.
#[derive(Debug)]
pub(crate) struct Screen {
    /// What is drawn, the cursor standing below it.
    drawn: Vec<String>,
    size: Option<Size>,
    is_moving: bool,
}

impl Screen {
    /// Whether standard output can be drawn on, and how.
    pub(crate) fn looks() -> Option<Looks> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let is_dumb = variable("TERM") == "dumb";
        if is_dumb || !std::io::stdout().is_terminal() {
            return None;
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(variable);
        let ink = if variable("NO_COLOR").is_empty() { Ink::Colours } else { Ink::None };
        Some(Looks { ink, glyphs: glyphs(&locale) })
    }

    /// A screen with nothing on it yet.
    pub(crate) fn new() -> Self {
        Screen { drawn: Vec::new(), size: None, is_moving: false }
    }

    /// How much room there is. One line is the cursor's.
    pub(crate) fn size() -> Size {
        let (lines, columns) = Term::stdout().size_checked().unwrap_or_default();
        match (usize::from(lines), usize::from(columns)) {
            (0, _) | (_, 0) => Size { lines: 23, columns: 80 },
            (lines, columns) => Size { lines: lines - 1, columns },
        }
    }

    /// Shows these lines in place of those before.
    pub(crate) fn draw(&mut self, lines: Vec<String>, size: Size) {
        let mut out = String::new();
        if !self.is_moving {
            out.push_str(HIDE_CURSOR);
            self.is_moving = true;
        }
        // Lines that were drawn for another size may be wrapped now: nobody knows where they are.
        match self.size.replace(size) {
            Some(before) if before != size => out.push_str(CLEAR_ALL),
            _ => out.push_str(&up(self.drawn.len())),
        }
        for line in &lines {
            out.extend([line, CLEAR_LINE, "\n"]);
        }
        out.push_str(CLEAR_BELOW);
        self.drawn = lines;
        write(&out);
    }

    /// Lets something else be written above the picture.
    pub(crate) fn aside<R>(&mut self, other: impl FnOnce() -> R) -> R {
        // Line by line: some terminals keep what is cleared at once in their history.
        let lines = self.drawn.len();
        let cleared = format!("{CLEAR_LINE}\n").repeat(lines);
        write(&format!("{}{cleared}{CLEAR_LINE}{}", up(lines), up(lines)));
        let result = other();
        let lines: String = self.drawn.iter().map(|line| format!("{line}\n")).collect();
        write(&lines);
        result
    }

    /// Leaves the picture where it is and shows the cursor again.
    pub(crate) fn leave(&mut self) {
        if std::mem::take(&mut self.is_moving) {
            write(SHOW_CURSOR);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// To the beginning of the line so many lines above.
fn up(lines: usize) -> String {
    let mut text = "\r".to_owned();
    if lines > 0 {
        let _ = write!(text, "\u{1b}[{lines}A");
    }
    text
}

/// A terminal that is gone takes nothing more, and the job doesn't care.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// The first locale that is set decides; without any, terminals of today know Unicode.
fn glyphs(locale: &[String]) -> Glyphs {
    let set = locale.iter().find(|name| !name.is_empty());
    let set = set.map(|name| name.to_ascii_lowercase().replace('-', ""));
    match set {
        Some(name) if !name.contains("utf8") => Glyphs::Ascii,
        _ => Glyphs::Blocks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_without_unicode_gets_plain_bars() {
        let glyphs = |locale: [&str; 3]| glyphs(&locale.map(str::to_owned));
        assert_eq!(glyphs(["", "", "de_DE.UTF-8"]), Glyphs::Blocks);
        assert_eq!(glyphs(["C", "", "de_DE.UTF-8"]), Glyphs::Ascii);
        assert_eq!(glyphs(["", "en_US.utf8", "C"]), Glyphs::Blocks);
        assert_eq!(glyphs(["", "", ""]), Glyphs::Blocks);
    }

    #[test]
    fn the_cursor_goes_up_to_the_first_line() {
        assert_eq!((up(0).as_str(), up(3).as_str()), ("\r", "\r\u{1b}[3A"));
    }
}
