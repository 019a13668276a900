//! Tables for people: columns that line up, cells that wrap where the terminal ends.
//!
//! Others' text cannot leave its cell: see [`plain`].

use comfy_table::{ColumnConstraint, ContentArrangement, presets};

use crate::plain;

/// How a table looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// How wide it may be, in letters; none for a line a row, and all columns.
    pub(super) width: Option<u16>,
    /// Whether there is a line with the columns' names.
    pub(super) header: bool,
    /// Whether problems are red.
    pub(super) colour: bool,
}

/// Rows of cells.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    /// The column is left out if the width is limited.
    wide: bool,
}

/// The content of a cell: one line or several.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    lines: Vec<String>,
    bad: bool,
    /// It has ports, `127.0.0.1:8080->80/tcp`, which break behind `:` and `->`.
    ports: bool,
}

/// How many blanks there are between columns.
const GAP: u16 = 2;

/// How many letters a column has to have room for, so that the table can be read.
const NARROWEST: u16 = 5;

/// Mark the begin and end of red text until the layout is done: characters without a width, which no cell
/// contains.
const RED: char = '\u{2061}';
const PLAIN: char = '\u{2062}';
/// Marks where a word may break. No cell contains it, either.
const BREAK: char = '\u{200b}';

impl Table {
    /// A table of these columns.
    pub(super) fn new<const N: usize>(columns: [&'static str; N]) -> Self {
        let columns = columns.map(|name| Column { name, wide: false });
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// The same with more columns, for those who ask for all.
    pub(super) fn and_wide<const N: usize>(mut self, columns: [&'static str; N]) -> Self {
        self.columns.extend(columns.map(|name| Column { name, wide: true }));
        self
    }

    /// Adds a row: a cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, without blanks at the ends of lines. Where the terminal is too narrow for its
    /// columns, each row is a paragraph instead.
    pub(super) fn text(&self, style: Style) -> String {
        let columns = self.columns.iter().filter(|column| !column.wide).count();
        match style.width {
            Some(width) if usize::from(width) < columns * usize::from(NARROWEST + GAP) => {
                self.paragraphs(style)
            }
            _ => self.lines_up(style),
        }
    }

    /// A paragraph for each row, with a line for each of its cells.
    fn paragraphs(&self, style: Style) -> String {
        let paragraphs = self.rows.iter().map(|row| {
            let mut paragraph = Self::new(["", ""]);
            for (column, cell) in self.columns.iter().zip(row).filter(|(it, _)| !it.wide) {
                paragraph.row([column.name.into(), cell.clone()]);
            }
            paragraph.lines_up(Style { header: false, ..style })
        });
        paragraphs.collect::<Vec<_>>().join("\n")
    }

    fn lines_up(&self, style: Style) -> String {
        let shown = |index: usize| style.width.is_none() || !self.columns[index].wide;
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if style.header {
            let names = self.columns.iter().enumerate().filter(|(index, _)| shown(*index));
            table.set_header(names.map(|(_, column)| column.name));
        }
        for row in &self.rows {
            let cells = row.iter().enumerate().filter(|(index, _)| shown(*index));
            table.add_row(cells.map(|(_, cell)| {
                let laid_out = comfy_table::Cell::new(cell.text(style));
                if cell.ports { laid_out.set_delimiter(BREAK) } else { laid_out }
            }));
        }
        // The gap after the last column is not printed.
        let width = style.width.map(|width| width.saturating_add(GAP));
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        let widths = table.column_max_content_widths();
        let whole = width.map_or(vec![true; widths.len()], |width| unbroken(&widths, width));
        for (column, whole) in table.column_iter_mut().zip(whole) {
            column.set_padding((0, GAP));
            if whole {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let lines = table.lines().map(|line| coloured(line.replace(BREAK, "").trim_end()) + "\n");
        lines.collect()
    }
}

/// Which columns keep the width of their content: the narrow ones first, as long as the others have enough
/// room to wrap.
fn unbroken(widths: &[u16], width: u16) -> Vec<bool> {
    /// The minimum width of a wrapped cell.
    const LEAST: u16 = 8;
    let mut order: Vec<usize> = (0..widths.len()).collect();
    order.sort_by_key(|column| widths[*column]);
    let (mut left, mut unbroken) = (width, vec![false; widths.len()]);
    for (rank, column) in order.iter().enumerate() {
        let wrapped = |other: &usize| widths[*other].min(LEAST) + GAP;
        let others: u16 = order[rank + 1..].iter().map(wrapped).sum();
        let own = widths[*column].saturating_add(GAP);
        if own.saturating_add(others) > left {
            break;
        }
        left -= own;
        unbroken[*column] = true;
    }
    unbroken
}

/// A line with the terminal's own marks for red.
fn coloured(line: &str) -> String {
    let coloured = line.replace(RED, "\x1b[31m").replace(PLAIN, "\x1b[0m");
    // A broken word ends at the end of its line.
    let open = line.rfind(RED) > line.rfind(PLAIN);
    if open { coloured + "\x1b[0m" } else { coloured }
}

impl Cell {
    /// Several lines; `-` if there are none.
    pub(super) fn lines(lines: impl IntoIterator<Item = String>) -> Self {
        let lines: Vec<String> = lines.into_iter().collect();
        let lines = if lines.is_empty() { vec!["-".to_owned()] } else { lines };
        Self { lines, bad: false, ports: false }
    }

    /// Ports, a line each; `-` if there are none.
    pub(super) fn ports(ports: impl IntoIterator<Item = String>) -> Self {
        Self { ports: true, ..Self::lines(ports) }
    }

    /// A problem: it is red on a terminal.
    pub(super) fn bad(self) -> Self {
        Self { bad: true, ..self }
    }

    /// The same, if the condition holds.
    pub(super) fn bad_if(self, bad: bool) -> Self {
        if bad { self.bad() } else { self }
    }

    fn text(&self, style: Style) -> String {
        let lines = self.lines.iter().map(|line| {
            let line = plain::line(line).replace([RED, PLAIN, BREAK], "");
            let line = match self.ports {
                true => {
                    line.replace(':', &format!(":{BREAK}")).replace("->", &format!("->{BREAK}"))
                }
                false => line,
            };
            match self.bad && style.colour {
                true => format!("{RED}{line}{PLAIN}").replace(' ', &format!("{PLAIN} {RED}")),
                false => line,
            }
        });
        lines.collect::<Vec<_>>().join(if style.width.is_some() { "\n" } else { "," })
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::lines([text.into()])
    }
}

/// A cell for an optional value.
pub(super) fn or_none<T: ToString>(value: Option<T>) -> Cell {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Style = Style { width: Some(42), header: true, colour: false };

    fn table() -> Table {
        let mut table = Table::new(["NAME", "ADDRESSES", "WHY"]).and_wide(["ID"]);
        let addresses = ["10.22.0.5/16", "fd00::5/64"].map(str::to_owned);
        table.row([
            "web".into(),
            Cell::lines(addresses),
            Cell::from("the bridge is down on this host").bad(),
            "e1".into(),
        ]);
        table.row(["a\nb\x1b[31m".into(), Cell::lines([]), "-".into(), or_none(None::<u8>)]);
        table
    }

    #[test]
    fn a_table_fits_its_width_and_lines_up() {
        let text = table().text(TERMINAL);
        assert_eq!(
            text,
            "NAME            ADDRESSES     WHY\n\
             web             10.22.0.5/16  the bridge\n\
             \x20               fd00::5/64    is down on\n\
             \x20                             this host\n\
             a\\nb\\u{1b}[31m  -             -\n"
        );
    }

    #[test]
    fn on_a_narrow_terminal_it_wraps_and_then_each_row_is_a_paragraph() {
        for width in (24..60).rev() {
            let text = table().text(Style { width: Some(width), ..TERMINAL });
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= width.into()), "{width}:\n{text}");
        }
        let mut table = Table::new(["NAME", "NETWORK", "ADDRESSES", "WHY"]);
        let addresses = ["10.22.0.5/16", "fd00::5/64"].map(str::to_owned);
        table.row([
            "web".into(),
            "front".into(),
            Cell::lines(addresses),
            "the bridge is down on this host".into(),
        ]);
        table.row(["db".into(), "back".into(), Cell::lines([]), "-".into()]);
        let text = table.text(Style { width: Some(24), ..TERMINAL });
        assert!(
            text.starts_with("NAME       web\nNETWORK    front\nADDRESSES  10.22.0.5"),
            "{text}"
        );
        let second = "\n\nNAME       db\nNETWORK    back\nADDRESSES  -\nWHY        -\n";
        assert!(text.ends_with(second), "{text}");
    }

    #[test]
    fn what_just_fits_is_not_wrapped() {
        let mut table = Table::new(["CONFLIST", "POOL", "FREE"]);
        table.row(["cnm-cni-default".into(), "10.233.128.0/20".into(), "4093".into()]);
        let lines = |width| table.text(Style { width: Some(width), ..TERMINAL }).lines().count();
        assert_eq!([38, 37].map(lines), [2, 3]);
    }

    #[test]
    fn a_port_breaks_where_one_reads_on() {
        let mut table = Table::new(["PORTS", "STATE"]);
        let port = "127.0.0.1:8081->80/tcp";
        table.row([Cell::ports([port.to_owned()]), "up".into()]);
        let text = |width| table.text(Style { width, header: false, colour: false });
        let narrow = "127.0.0.1:     up\n8081->80/tcp\n";
        assert_eq!(text(Some(17)), narrow);
        assert_eq!([Some(80), None].map(text), [format!("{port}  up\n"), format!("{port}  up\n")]);
    }

    #[test]
    fn a_wide_one_has_a_line_for_each_row_and_all_columns() {
        let wide = Style { width: None, header: false, colour: false };
        let text = table().text(wide);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("10.22.0.5/16,fd00::5/64  the bridge is down on this host  e1"));
    }

    #[test]
    fn only_words_that_are_amiss_are_red() {
        let text = table().text(Style { colour: true, ..TERMINAL });
        assert!(
            text.contains("10.22.0.5/16  \x1b[31mthe\x1b[0m \x1b[31mbridge\x1b[0m\n"),
            "{text}"
        );
        let without = text.replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(without, table().text(TERMINAL));
    }
}
