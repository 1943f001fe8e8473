//! Text for people: numbers, times, names that somebody else chose, tables. And the only place that prints.
#![allow(clippy::print_stderr, reason = "diagnostics go to stderr")]

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use indicatif::MultiProgress;

/// Prints a line of results, or several. What a terminal would obey is escaped as JSON has it, whoever wrote it.
pub(super) fn out(line: impl Display) {
    let line = line.to_string();
    // A reader that went away (`| head`) isn't our failure.
    let _ = writeln!(std::io::stdout().lock(), "{}", plain(&line));
}

/// The text without what a terminal would obey, but for the ends of lines.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_obeyed(c) && c != '\n') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // None of them is beyond 16 bits.
        if is_obeyed(c) && c != '\n' { plain.push_str(&format!("\\u{:04x}", u32::from(c))) } else { plain.push(c) }
    }
    plain.into()
}

/// Whether a terminal does something else with it than to show it, or shows what follows in another order.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The bars at the lower end of the terminal, while there are any.
static SCREEN: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Makes lines stand above these bars from now on.
pub(super) fn set_screen(screen: Option<MultiProgress>) {
    *SCREEN.lock().unwrap_or_else(PoisonError::into_inner) = screen;
}

/// Prints a line of diagnostics, above the bars if there are any.
pub(super) fn note(line: impl Display) {
    write_above(format!("{}\n", plain(&line.to_string())).as_bytes());
}

fn write_above(bytes: &[u8]) {
    let write = || {
        let _ = std::io::stderr().lock().write_all(bytes);
    };
    let screen = SCREEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match screen {
        Some(screen) => screen.suspend(write),
        None => write(),
    }
}

/// Where the layers below write what `-v` shows: each line whole, above the bars.
#[derive(Debug, Clone, Copy)]
pub(super) struct Diagnostics;

impl Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // One line, whatever paths and messages are in it.
        let line = String::from_utf8_lossy(bytes);
        note(shown(line.strip_suffix('\n').unwrap_or(&line)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Most characters that are shown of a text: more than a path can have. Names have no bound of their own.
const MOST_SHOWN: usize = 5000;

/// A text that somebody else chose, without what a terminal would obey, and not whole if it is pages long.
pub(super) fn shown(text: impl AsRef<str>) -> String {
    let mut shown = String::new();
    let mut chars = text.as_ref().chars();
    for c in chars.by_ref().take(MOST_SHOWN) {
        if is_obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    let rest = chars.as_str().len();
    if rest > 0 {
        shown.push_str(&format!("… (and {} more)", bytes(rest as u64)));
    }
    shown
}

/// A path, likewise.
pub(super) fn shown_path(path: &Path) -> String {
    shown(path.to_string_lossy())
}

/// A number with its thousands apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes.
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = value as f64;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{value} B") } else { format!("{scaled:.1} {unit}") }
}

/// A time in UTC, from ns since the Unix epoch.
pub(super) fn time(ns: i64) -> String {
    DateTime::from_timestamp_nanos(ns).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A length of time.
pub(super) fn duration(value: Duration) -> String {
    match value.as_secs_f64() {
        seconds if seconds < 120.0 => format!("{seconds} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A thing and how many of it.
pub(super) fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// What is longer than so many characters stands in its row as it is, out of line.
const MOST_ALIGNED: usize = 100;

/// A table: columns as wide as they must be; those named in the heading with `>` in front to the right.
pub(super) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        let right = heading.iter().map(|cell| cell.starts_with('>')).collect();
        let heading = heading.iter().map(|cell| cell.trim_start_matches('>').to_owned()).collect();
        Self { right, rows: vec![heading] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn print(&self) {
        let mut widths = vec![0; self.right.len()];
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                let width = cell.chars().count();
                // One long name doesn't make all other rows long.
                *widest = if width > MOST_ALIGNED { *widest } else { width.max(*widest) };
            }
        }
        for row in &self.rows {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths.get(column).copied().unwrap_or(0);
                if self.right.get(column) == Some(&true) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            out(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(number(0), "0");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(5 << 20), "5.0 MiB");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(shown("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(shown("txt.\u{202e}rfs\u{9b}1m"), "txt.\\u{202e}rfs\\u{9b}1m");
    }

    #[test]
    fn what_is_printed_without_a_look_is_harmless_and_still_the_same_json() {
        let value = serde_json::json!({ "path": "a\u{9b}31m\u{202e}\u{7f}\u{1b}é" });
        let (text, line) = (value.to_string(), plain(&value.to_string()).into_owned());
        assert!(text.contains('\u{9b}') && !line.contains(is_obeyed), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        assert_eq!(plain("two\nlines"), "two\nlines");
    }

    #[test]
    fn a_text_of_pages_is_shown_in_part() {
        let long = shown("é".repeat(MOST_SHOWN + 512));
        assert!(long.starts_with("éé") && long.ends_with("é… (and 1.0 KiB more)"), "{}", &long[long.len() - 40..]);
        assert_eq!(shown("é".repeat(MOST_SHOWN)), "é".repeat(MOST_SHOWN));
    }
}
