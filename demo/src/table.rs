//! The output of `kubectl get amplify`: at a terminal redrawn in place, elsewhere printed as lines that describe the
//! changes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Result;

use crate::say;

/// The columns of a change, with their widths. AGE is left out because it changes all the time.
const COLUMNS: [(&str, usize); 5] = [
    ("READY", 7),
    ("REASON", 20),
    ("APP", 16),
    ("ENVIRONMENT", 13),
    ("JOB", 0),
];
const NAME_WIDTH: usize = 28;

/// A table that is printed repeatedly.
pub(crate) struct LiveTable {
    is_terminal: bool,
    /// The number of lines that the next drawing replaces.
    drawn: usize,
    rows: BTreeMap<String, Row>,
    titled: bool,
}

type Row = BTreeMap<String, String>;

impl LiveTable {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            drawn: 0,
            rows: BTreeMap::new(),
            titled: false,
        }
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Returns the number of rows that are READY.
    pub(crate) fn ready(&self) -> usize {
        self.rows.values().filter(|row| cell(row, "READY") == "True").count()
    }

    pub(crate) fn show(&mut self, printed: &str, elapsed: Duration) -> Result<()> {
        let rows = parse(printed);
        if self.is_terminal {
            self.redraw(printed)?;
        } else {
            let changes = changes(&self.rows, &rows, elapsed.as_secs());
            if !changes.is_empty() {
                if !self.titled {
                    say(&title())?;
                    self.titled = true;
                }
                say(changes.trim_end())?;
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn redraw(&mut self, printed: &str) -> Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            write!(text, "\x1b[{}A", self.drawn)?;
        }
        // Long lines are cut, not wrapped, so that the count of lines stays correct. Then wrap again, and clear the
        // lines below.
        write!(text, "\x1b[?7l")?;
        for line in printed.lines() {
            writeln!(text, "{line}\x1b[K")?;
        }
        write!(text, "\x1b[?7h\x1b[J")?;
        self.drawn = printed.lines().count();
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

fn cell<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}

/// Parses the rows, by name. The output has a block per kind, with a header whose words mark the start of the columns.
fn parse(printed: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut header: Option<&str> = None;
    for line in printed.lines() {
        let Some(titles) = header else {
            header = Some(line).filter(|line| !line.is_empty());
            continue;
        };
        if line.is_empty() {
            header = None;
            continue;
        }
        let mut row = Row::new();
        let starts: Vec<usize> = titles
            .split_whitespace()
            .filter_map(|title| titles.find(title))
            .collect();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(line.len(), |end| (*end).min(line.len()));
            let title = titles[*start..].split_whitespace().next().unwrap_or_default();
            let value = line.get(*start..end).unwrap_or_default().trim();
            row.insert(title.to_owned(), value.to_owned());
        }
        rows.insert(cell(&row, "NAME").replacen(".amplify-operator.dev", "", 1), row);
    }
    rows
}

fn title() -> String {
    let mut text = format!("{:>6}  {:<NAME_WIDTH$}", "AFTER", "NAME");
    for (column, width) in COLUMNS {
        let _ = write!(text, "{column:<width$}");
    }
    text
}

/// Returns a line for each row that differs.
fn changes(old: &BTreeMap<String, Row>, new: &BTreeMap<String, Row>, seconds: u64) -> String {
    let mut text = String::new();
    for (name, row) in new {
        let was = old.get(name);
        if was.is_some_and(|was| COLUMNS.iter().all(|(column, _)| cell(was, column) == cell(row, column))) {
            continue;
        }
        let mut line = format!("{seconds:>4} s  {name:<NAME_WIDTH$}");
        for (column, width) in COLUMNS {
            let _ = write!(line, "{:<width$}", cell(row, column));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        let _ = writeln!(text, "{seconds:>4} s  {name:<NAME_WIDTH$}gone");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
NAME                                          READY   REASON               APP              ENVIRONMENT   JOB         AGE
amplifybackend.amplify-operator.dev/preview   False   DependencyNotReady   d1a2b3c4d5e6f7   preview                   9s
amplifybackend.amplify-operator.dev/staging   True    Available            d1a2b3c4d5e6f7   staging       COMPLETED   9s

NAME                                        READY   REASON   APP   ENVIRONMENT   JOB   AGE
backendapi.amplify-operator.dev/storefront                                             9s
";

    #[test]
    fn rows_are_read_by_the_headers_of_their_blocks_also_where_cells_are_empty() {
        let rows = parse(PRINTED);
        let names: Vec<&str> = rows.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "amplifybackend/preview",
                "amplifybackend/staging",
                "backendapi/storefront"
            ]
        );
        assert_eq!(cell(&rows["amplifybackend/preview"], "JOB"), "");
        assert_eq!(cell(&rows["amplifybackend/preview"], "AGE"), "9s");
        assert_eq!(cell(&rows["amplifybackend/staging"], "ENVIRONMENT"), "staging");
        assert_eq!(cell(&rows["backendapi/storefront"], "READY"), "");
        assert_eq!(parse(""), BTreeMap::new());
    }

    #[test]
    fn only_what_has_changed_is_told_and_age_is_no_change() {
        let old = parse(PRINTED);
        assert_eq!(changes(&old, &parse(&PRINTED.replace("9s", "8s")), 3), "");
        let new = parse(&PRINTED.replace("DependencyNotReady", "Cloning           "));
        let told = changes(&old, &new, 3);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(
            told.contains("amplifybackend/preview") && told.contains("Cloning"),
            "{told}"
        );
        let gone = changes(&old, &BTreeMap::new(), 12);
        assert_eq!(gone.lines().count(), 3, "{gone}");
        assert!(
            gone.starts_with("  12 s  amplifybackend/preview") && gone.ends_with("gone\n"),
            "{gone}"
        );
    }
}
