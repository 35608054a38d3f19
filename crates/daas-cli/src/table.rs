use crate::paint::Paint;
use daas_model::visible;

/// Rows under headings, in columns as wide as they must be. Whatever a cell holds, it stays on its line (threat S28).
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

/// How a cell is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Dim,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of plain cells.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.painted(cells.into_iter().map(|cell| (cell, Tone::Plain)));
    }

    /// Adds a row of painted cells.
    pub(crate) fn painted(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|(cell, tone)| (visible(&cell), tone))
                .collect(),
        );
    }

    /// Takes out columns of which no row says anything.
    pub(crate) fn without_empty(mut self, headings: &[&str]) -> Self {
        for heading in headings {
            let Some(at) = self.headings.iter().position(|h| h == heading) else {
                continue;
            };
            let said =
                |row: &Vec<(String, Tone)>| row.get(at).is_some_and(|(cell, _)| !cell.is_empty());
            if !self.rows.iter().any(said) {
                self.headings.remove(at);
                for row in &mut self.rows {
                    row.remove(at);
                }
            }
        }
        self
    }

    /// Writes the table; the last column is not filled up.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, (cell, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        let heading: Vec<(String, Tone)> = self
            .headings
            .iter()
            .map(|heading| ((*heading).to_owned(), Tone::Dim))
            .collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            for (n, (cell, tone)) in row.iter().enumerate() {
                line.push_str(&match tone {
                    Tone::Plain => cell.clone(),
                    Tone::Good => paint.good(cell),
                    Tone::Warning => paint.warning(cell),
                    Tone::Bad => paint.bad(cell),
                    Tone::Dim => paint.dim(cell),
                });
                if n + 1 < row.len() {
                    let gap = widths.get(n).copied().unwrap_or(0) + 2 - cell.chars().count();
                    line.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_there_when_a_row_says_something_of_it() {
        let list = |why: &str| {
            let mut table = Table::new(&["NAME", "ENDS IN", "WHY"]);
            table.row(["shop".into(), String::new(), String::new()]);
            table.row(["old".into(), String::new(), why.into()]);
            table.without_empty(&["ENDS IN", "WHY"]).text(Paint(false))
        };
        assert_eq!(list(""), "NAME\nshop\nold\n");
        assert_eq!(list("asleep"), "NAME  WHY\nshop\nold   asleep\n");
    }

    #[test]
    fn columns_are_aligned_and_a_nasty_cell_stays_in_its_place() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["shop".into(), "running".into()]);
        table.row(["a\u{1b}[2Jb\nc".into(), String::new()]);
        assert_eq!(
            table.text(Paint(false)),
            "NAME               STATE\nshop               running\na\\u{1b}[2Jb\\u{a}c\n"
        );
    }
}
