//! The picture of ARCHITECTURE.md, drawn from `docs/architecture.txt`, which tells its form.

use std::fmt::Write as _;

/// All measures are in pixels.
const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 20.0;
const GAP: f64 = 14.0;
/// Between two rows, for the arrows and their words.
const BETWEEN: f64 = 46.0;
const PADDING: f64 = 12.0;
const LINE: f64 = 17.0;
const CHIP: f64 = 24.0;
/// The width of a letter, on average.
const LETTER: f64 = 6.6;

const STYLE: &str = "\
svg { font: 13px system-ui, sans-serif; color-scheme: light dark; }
.page { fill: #ffffff; } .room { fill: #e8f0fe; stroke: #3b6fb6; } .outside { fill: #f4f4f4; stroke: #888888; }
.chip { fill: #ffffff; stroke: #3b6fb6; } text { fill: #1b1f24; } .name { font-weight: 600; font-size: 15px; }
.arrow { stroke: #57606a; fill: none; stroke-width: 1.5; } .head { fill: #57606a; } .label { fill: #57606a; font-size: 12px; }
.chipped { font-size: 12px; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .room { fill: #12263f; stroke: #6ea8fe; } .outside { fill: #21262d; stroke: #8b949e; }
.chip { fill: #0d1117; stroke: #6ea8fe; } text { fill: #e6edf3; }
.arrow { stroke: #9da7b1; } .head { fill: #9da7b1; } .label { fill: #9da7b1; }
}
";

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Room,
    Outside,
    Space,
}

#[derive(Debug)]
pub(crate) struct Item {
    kind: Kind,
    name: String,
    /// In hundredths of the picture's width.
    share: f64,
    words: String,
    pub(crate) holds: Vec<String>,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

#[derive(Debug)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    words: String,
}

#[derive(Debug, Default)]
pub(crate) struct Picture {
    rows: Vec<Vec<Item>>,
    pub(crate) arrows: Vec<Arrow>,
    height: f64,
}

impl Picture {
    /// Reads the source, and gives every box its place.
    pub(crate) fn read(source: &str) -> Self {
        let mut picture = Self::default();
        let lines = source.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in lines {
            let (head, words) = line.split_once(':').unwrap_or((line, ""));
            let words = words.trim().to_owned();
            match head.split(' ').collect::<Vec<_>>()[..] {
                ["row"] => picture.rows.push(Vec::new()),
                ["room", name, share] => picture.add(Kind::Room, name, share, words),
                ["outside", name, share] => picture.add(Kind::Outside, name, share, words),
                ["space", share] => picture.add(Kind::Space, "", share, words),
                ["holds", ref names @ ..] => {
                    let item = picture.rows.last_mut().and_then(|row| row.last_mut()).unwrap();
                    item.holds = names.iter().map(|name| (*name).to_owned()).collect();
                }
                ["arrow", from, to] => {
                    picture.arrows.push(Arrow { from: from.into(), to: to.into(), words });
                }
                _ => panic!("not understood: {line}"),
            }
        }
        picture.place();
        picture
    }

    fn add(&mut self, kind: Kind, name: &str, share: &str, words: String) {
        let (name, share) = (name.to_owned(), share.parse().unwrap());
        let holds = Vec::new();
        let (x, y, width, height) = (0.0, 0.0, 0.0, 0.0);
        let item = Item { kind, name, share, words, holds, x, y, width, height };
        self.rows.last_mut().expect("a row before the first box").push(item);
    }

    fn place(&mut self) {
        let mut y = MARGIN;
        for row in &mut self.rows {
            let mut x = MARGIN;
            for item in row.iter_mut() {
                item.width = (WIDTH - 2.0 * MARGIN + GAP) * item.share / 100.0 - GAP;
                (item.x, item.y) = (x, y);
                x += item.width + GAP;
                let chips = item.chips().iter().map(|chip| chip.1).fold(0.0, f64::max);
                let words = as_f64(wrapped(&item.words, item.width).len());
                item.height = 2.0 * PADDING + LINE + words * LINE + chips;
            }
            let height = row.iter().map(|item| item.height).fold(0.0, f64::max);
            row.iter_mut().for_each(|item| item.height = height);
            y += height + BETWEEN;
        }
        self.height = y - BETWEEN + MARGIN;
    }

    /// The boxes of rooms.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &str> {
        let rooms = self.rows.iter().flatten().filter(|item| item.kind == Kind::Room);
        rooms.map(|item| item.name.as_str())
    }

    /// The box of this name.
    pub(crate) fn item(&self, name: &str) -> &Item {
        let found = self.rows.iter().flatten().find(|item| item.name == name);
        found.unwrap_or_else(|| panic!("there is no box {name}"))
    }

    pub(crate) fn svg(&self) -> String {
        let (width, height) = (WIDTH, self.height);
        let mut svg = format!(
            "<!-- Drawn from architecture.txt by 'make picture'. -->\n<svg \
             xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             role=\"img\">\n<title>The rooms of cnm-cni, and what they speak with</title>\n\
             <style>\n{STYLE}</style>\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
             markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path class=\"head\" d=\"M0 0 8 4 0 8z\"/>\
             </marker></defs>\n<rect class=\"page\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n"
        );
        for arrow in &self.arrows {
            draw_arrow(&mut svg, arrow, self.item(&arrow.from), self.item(&arrow.to));
        }
        for item in self.rows.iter().flatten().filter(|item| item.kind != Kind::Space) {
            item.draw(&mut svg);
        }
        svg + "</svg>\n"
    }
}

impl Item {
    /// The inner boxes: where each begins, and where it ends below.
    fn chips(&self) -> Vec<(f64, f64, f64)> {
        let (mut x, mut row) = (PADDING, 0.0);
        let place = |name: &String| {
            let width = as_f64(name.len()) * (LETTER + 0.6) + 18.0;
            if x > PADDING && x + width + PADDING > self.width {
                (x, row) = (PADDING, row + 1.0);
            }
            let begin = x;
            x += width + 8.0;
            (begin, (row + 1.0) * (CHIP + 8.0), width)
        };
        self.holds.iter().map(place).collect()
    }

    fn draw(&self, svg: &mut String) {
        let Self { x, y, width, height, .. } = self;
        let class = if self.kind == Kind::Room { "room" } else { "outside" };
        box_of(svg, class, [*x, *y, *width, *height]);
        let mut at = y + PADDING + 13.0;
        let name = self.name.replace('_', " ");
        text(svg, "name", x + PADDING, at, &name);
        for line in wrapped(&self.words, *width) {
            at += LINE;
            text(svg, "words", x + PADDING, at, &line);
        }
        for (chip, (begin, below, width)) in self.holds.iter().zip(self.chips()) {
            let top = at + below - CHIP;
            box_of(svg, "chip", [x + begin, top, width, CHIP]);
            text(svg, "chipped", x + begin + 9.0, top + 16.0, chip);
        }
    }
}

/// Straight down in the middle of what the two have above each other.
fn draw_arrow(svg: &mut String, arrow: &Arrow, from: &Item, to: &Item) {
    let left = from.x.max(to.x);
    let right = (from.x + from.width).min(to.x + to.width);
    assert!(left < right, "{} is not above {}", arrow.from, arrow.to);
    let (x, begin, end) = (f64::midpoint(left, right), from.y + from.height, to.y - 2.0);
    writeln!(
        svg,
        "<path class=\"arrow\" marker-end=\"url(#head)\" d=\"M{x:.0} {begin:.0}V{end:.0}\"/>"
    )
    .unwrap();
    text(svg, "label", x + 7.0, f64::midpoint(begin, end) + 3.0, &arrow.words);
}

fn box_of(svg: &mut String, class: &str, [x, y, width, height]: [f64; 4]) {
    writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         rx=\"6\"/>"
    )
    .unwrap();
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    if !words.is_empty() {
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(svg, "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\">{words}</text>").unwrap();
    }
}

/// The words in lines that fit into a box of this width.
fn wrapped(words: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if as_f64(line.chars().count() + 1 + word.len()) * LETTER
                    <= width - 2.0 * PADDING =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[allow(clippy::cast_precision_loss, reason = "numbers of letters and lines")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
