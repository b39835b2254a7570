//! What was asked and what came back, in columns.

pub(super) struct Row {
    pub asked: String,
    pub expected: String,
    pub answered: String,
}

impl Row {
    pub fn as_expected(&self) -> bool {
        self.expected == self.answered
    }

    fn cells(&self) -> [&str; 4] {
        let verdict = if self.as_expected() { "ok" } else { "FAILED" };
        [&self.asked, &self.expected, &self.answered, verdict]
    }
}

/// Rows under their headings, columns as wide as their widest cell.
pub(super) fn render(parts: &[(&str, Vec<Row>)]) -> String {
    const TITLES: [&str; 4] = ["request", "expected", "answered", ""];
    let mut widths = TITLES.map(str::len);
    for row in parts.iter().flat_map(|(_, rows)| rows) {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; 4]| {
        let mut text = String::from("  ");
        for (cell, width) in cells.into_iter().zip(widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        format!("{}\n", text.trim_end())
    };
    let mut table = line(TITLES);
    for (heading, rows) in parts {
        table.push_str(&format!("\n{heading}\n"));
        for row in rows {
            table.push_str(&line(row.cells()));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(asked: &str, expected: &str, answered: &str) -> Row {
        Row {
            asked: asked.into(),
            expected: expected.into(),
            answered: answered.into(),
        }
    }

    #[test]
    fn columns_are_aligned_over_all_parts_and_a_difference_is_a_failure() {
        let parts = [
            ("One", vec![row("é", "200", "200")]),
            ("Two", vec![row("long request", "401 a", "200")]),
        ];
        let want = "  request       expected  answered\n\
                    \nOne\n  é             200       200       ok\n\
                    \nTwo\n  long request  401 a     200       FAILED\n";
        assert_eq!(render(&parts), want);
    }
}
