//! The progress as text.

use super::pace::{FileView, Outlook, View};
use crate::text::{Align, bytes, duration, middle_shortened, printable, table, width};
use std::time::Duration;

/// The columns of the bar, if there is room for it.
const BAR: usize = 30;
/// A smaller bar says nothing.
const SMALLEST_BAR: usize = 8;
/// How many files have lines. With more, the screen would scroll away what was there before.
const FILES: usize = 10;
/// A shorter name says nothing.
const SHORTEST_NAME: usize = 8;

/// One line about everything, for a log.
pub fn line(view: &View) -> String {
    let waits = view.waits.iter().map(|wait| format!("; {}", waiting(wait))).collect::<String>();
    format!("{}{}{waits}", text(view), aside(view))
}

/// The lines for a terminal of this size: everything, what is waited for, and the files in flight. No
/// line is wider than the terminal.
pub fn frame(view: &View, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = vec![everything(view, columns)];
    let shown = |text: &str| middle_shortened(&printable(text), columns).into_owned();
    lines.extend(view.waits.iter().map(|wait| shown(&format!("  {}", waiting(wait)))));
    let room = rows.saturating_sub(lines.len() + 1).min(FILES);
    let (files, left_out) = match view.files.len().checked_sub(room) {
        // The line that counts them needs a line too.
        Some(more @ 1..) => (&view.files[..room.saturating_sub(1)], more + 1),
        _ => (&view.files[..], 0),
    };
    lines.extend(file_lines(files, columns));
    if left_out > 0 && room > 0 {
        lines.push(shown(&format!("  and {left_out} more")));
    }
    lines.truncate(rows.max(1));
    lines
}

fn everything(view: &View, columns: usize) -> String {
    let with_bar = |rest: &str| {
        let room = columns.checked_sub(width(view.doing) + width(rest) + 4).filter(|room| *room >= SMALLEST_BAR && view.total > 0)?;
        Some(format!("{} {} {rest}", view.doing, drawn(view, room.min(BAR))))
    };
    let amounts = amounts(view);
    let line = with_bar(&format!("{amounts}{}", aside(view))).or_else(|| with_bar(&amounts)).unwrap_or_else(|| text(view));
    middle_shortened(&line, columns).into_owned()
}

/// What is done, how much of it, how fast, and how long it will take.
fn text(view: &View) -> String {
    match amounts(view) {
        amounts if amounts.is_empty() => view.doing.to_owned(),
        amounts if view.total == 0 => format!("{}, {amounts}", view.doing),
        amounts => format!("{} {amounts}", view.doing),
    }
}

fn drawn(view: &View, columns: usize) -> String {
    let full = (view.done as f64 / view.total as f64 * columns as f64) as usize;
    let tip = if full < columns { ">" } else { "" };
    format!("[{:<columns$}]", format!("{}{tip}", "=".repeat(full)))
}

/// How much is done, how fast, and how long it will take.
fn amounts(view: &View) -> String {
    let amount = match view.total {
        0 => None,
        total => Some(format!("{} of {}", bytes(view.done), bytes(total))),
    };
    let rate = view.rate.map(|rate| format!("{}/s", bytes(rate)));
    let outlook = match view.outlook {
        Outlook::Unknown => None,
        Outlook::Left(left) => Some(format!("{} left", duration(left))),
        // What it waits for is said.
        Outlook::Paused(_) if !view.waits.is_empty() => None,
        Outlook::Paused(time) => Some(format!("no bytes for {}", duration(time))),
        Outlook::Finishing => Some("finishing".to_owned()),
    };
    [amount, rate, outlook].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What had not to be done.
fn aside(view: &View) -> String {
    let parts = [(view.present, "already there"), (view.resumed, "resumed")];
    let parts: Vec<String> = parts.iter().filter(|(size, _)| *size > 0).map(|(size, how)| format!("{} {how}", bytes(*size))).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn waiting((reason, time): &(String, Option<Duration>)) -> String {
    match time {
        Some(time) => format!("waiting {}: {reason}", duration(*time)),
        None => format!("waiting: {reason}"),
    }
}

fn file_lines(files: &[FileView], columns: usize) -> Vec<String> {
    let cells = |file: &FileView| {
        let amount = format!("{}{} of {}", if file.is_hashed { "hashed " } else { "" }, bytes(file.done), bytes(file.size));
        [amount, file.rate.map(|rate| format!("{}/s", bytes(rate))).unwrap_or_default()]
    };
    let cells: Vec<[String; 2]> = files.iter().map(cells).collect();
    let widest = |column: usize| cells.iter().map(|cells| width(&cells[column])).max().unwrap_or(0);
    // Two spaces are before each column.
    let room = columns.saturating_sub(6 + widest(0) + widest(1)).max(SHORTEST_NAME);
    let row = |(file, [amount, rate]): (&FileView, &[String; 2])| {
        [format!("  {}", middle_shortened(&printable(&file.name), room)), amount.clone(), rate.clone()]
    };
    let rows: Vec<[String; 3]> = files.iter().zip(&cells).map(row).collect();
    table([Align::Left, Align::Right, Align::Right], &rows).lines().map(|line| middle_shortened(line, columns).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            doing: "pulling",
            done: 1_200_000_000,
            total: 4_000_000_000,
            rate: Some(100_000_000),
            outlook: Outlook::Left(Duration::from_secs(28)),
            resumed: 0,
            present: 0,
            waits: Vec::new(),
            files: Vec::new(),
        }
    }

    fn file(name: &str, rate: Option<u64>) -> FileView {
        FileView { name: name.to_owned(), is_hashed: false, done: 5_000_000, size: 1_500_000_000, rate }
    }

    #[test]
    fn a_log_has_one_line_about_everything() {
        assert_eq!(line(&view()), "pulling 1.2 GB of 4.0 GB, 100.0 MB/s, 28 s left");
        let resumed = View { resumed: 500_000_000, present: 200_000_000, outlook: Outlook::Unknown, ..view() };
        assert_eq!(line(&resumed), "pulling 1.2 GB of 4.0 GB, 100.0 MB/s (200.0 MB already there, 500.0 MB resumed)");
        let paused = || View { rate: None, outlook: Outlook::Paused(Duration::from_secs(7)), ..view() };
        assert_eq!(line(&paused()), "pulling 1.2 GB of 4.0 GB, no bytes for 7 s");
        let waits = vec![("the registry answered 429".to_owned(), Some(Duration::from_secs(80))), ("x".to_owned(), None)];
        let waiting = View { waits, ..paused() };
        assert_eq!(line(&waiting), "pulling 1.2 GB of 4.0 GB; waiting 1 min 20 s: the registry answered 429; waiting: x");
        assert_eq!(line(&View { total: 0, done: 0, ..paused() }), "pulling, no bytes for 7 s");
        let finishing = View { done: view().total, rate: None, outlook: Outlook::Finishing, ..view() };
        assert_eq!(line(&finishing), "pulling 4.0 GB of 4.0 GB, finishing");
    }

    #[test]
    fn a_terminal_has_a_bar_and_a_line_for_each_file() {
        let files = vec![file("model-00001-of-00002.safetensors", Some(52_100_000)), file("a", None)];
        let view = View { present: 200_000_000, files, ..view() };
        assert_eq!(
            frame(&view, 110, 24),
            [
                "pulling [=========>                    ] 1.2 GB of 4.0 GB, 100.0 MB/s, 28 s left (200.0 MB already there)",
                "  model-00001-of-00002.safetensors  5.0 MB of 1.5 GB  52.1 MB/s",
                "  a                                 5.0 MB of 1.5 GB",
            ]
        );
        assert_eq!(
            frame(&view, 60, 24),
            [
                "pulling [===>      ] 1.2 GB of 4.0 GB, 100.0 MB/s, 28 s left",
                "  model-00001-of…02.safetensors  5.0 MB of 1.5 GB  52.1 MB/s",
                "  a                              5.0 MB of 1.5 GB",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_and_no_frame_higher_than_the_terminal() {
        let names = ["名前のとても長いファイル.safetensors", "a\u{1b}[2J\u{202e}\nb", "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}", ""];
        let files = names.iter().cycle().take(30).map(|name| file(name, Some(1))).collect();
        let waits = vec![("名前".repeat(50), Some(Duration::from_secs(5)))];
        let view = View { files, waits, resumed: 1, present: 1, ..view() };
        for columns in 1..130 {
            for rows in 1..20 {
                let lines = frame(&view, columns, rows);
                assert!(lines.len() <= rows.min(FILES + 2), "{columns} x {rows}: {lines:#?}");
                for line in &lines {
                    assert!(width(line) <= columns && !line.contains(char::is_control), "{columns} x {rows}: {line}");
                }
            }
        }
        assert_eq!(frame(&view, 80, 24).last().unwrap(), "  and 21 more");
    }

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        let at = |done, total| drawn(&View { done, total, ..view() }, 10);
        assert_eq!(at(0, 7), "[>         ]");
        assert_eq!(at(6_999_999, 7_000_000), "[=========>]");
        assert_eq!(at(7, 7), "[==========]");
        assert_eq!(at(u64::MAX, u64::MAX), "[==========]");
    }
}
