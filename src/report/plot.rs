//! A small SVG plotter: lines, marks, clouds, bars and legends, and panels laid out on a sheet.
//!
//! Colours are class names of `figure.css` used through `currentColor`, so that one drawing serves light and dark, in the page and
//! as a file of its own. Lengths are pixels of a panel's own view box.

use std::fmt::Write;

use super::axis::Axis;
use crate::experiment::Mark;

/// Style of every figure: colour classes in light and dark.
pub(super) const STYLE: &str = include_str!("figure.css");

impl Mark {
    fn path(self, x: f64, y: f64) -> String {
        match self {
            Self::Disc => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", x - 4.0),
            Self::Square => format!("M{:.1} {:.1}h7v7h-7z", x - 3.5, y - 3.5),
            Self::Diamond => format!("M{x:.1} {:.1}l5 5l-5 5l-5-5z", y - 5.0),
            Self::Up => format!("M{x:.1} {:.1}l4.6 8h-9.2z", y - 5.0),
            Self::Down => format!("M{x:.1} {:.1}l4.6-8h-9.2z", y + 5.0),
            Self::Left => format!("M{:.1} {y:.1}l8 4.6v-9.2z", x - 5.0),
            Self::Right => format!("M{:.1} {y:.1}l-8 4.6v-9.2z", x + 5.0),
        }
    }
}

/// What a legend shows before a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Key {
    Line(Mark),
    Stroke,
    Block,
    Mark(Mark),
}

/// A finished drawing with its own view box.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub width: f64,
    pub height: f64,
    pub title: String,
    pub alt: String,
    pub body: String,
}

impl Panel {
    /// The drawing for a page that carries [`STYLE`].
    pub fn svg(&self) -> String {
        let Self { width, height, title, alt, body } = self;
        let (title, alt) = (escape(title), escape(alt));
        format!(
            "<svg class=\"plot\" role=\"img\" aria-label=\"{alt}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             style=\"aspect-ratio:{width:.0}/{height:.0}\"><title>{title}</title><desc>{alt}</desc>{body}</svg>"
        )
    }
}

/// A file of its own: `panels` in rows of `columns` under `title`, with its style and background.
pub(super) fn sheet(title: &str, alt: &str, panels: &[Panel], columns: usize) -> String {
    const HEAD: f64 = 34.0;
    let (mut body, mut width, mut y) = (String::new(), 0f64, HEAD);
    for row in panels.chunks(columns) {
        let mut x = 0.0;
        for panel in row {
            let _ = write!(body, "<g transform=\"translate({x:.0} {y:.0})\">{}</g>", panel.body);
            x += panel.width;
        }
        width = width.max(x);
        y += row.iter().map(|p| p.height).fold(0.0, f64::max);
    }
    let (title, alt) = (escape(title), escape(alt));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" aria-label=\"{alt}\" width=\"{width:.0}\" \
         height=\"{y:.0}\" viewBox=\"0 0 {width:.0} {y:.0}\"><title>{title}</title><desc>{alt}</desc><style>{STYLE}</style>\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/><text class=\"head\" x=\"12\" y=\"24\">{title}</text>{body}</svg>\n"
    )
}

/// A panel in the making: a frame with axes to draw into.
pub(super) struct Chart {
    panel: Panel,
    x: Axis,
    y: Axis,
    /// Left, top, width and height of the frame.
    frame: [f64; 4],
}

impl Chart {
    /// A frame of `width` × `height` pixels with grid, ticks and labels.
    pub fn new([width, height]: [f64; 2], title: &str, x: Axis, y: Axis) -> Self {
        let longest = y.ticks().iter().map(|(_, label)| width_of(label)).fold(0.0, f64::max);
        let (left, top) = (30.0 + longest, 28.0);
        let panel = Panel { width: left + width + 16.0, height: top + height + 46.0, title: title.into(), ..Panel::empty() };
        let mut chart = Self { panel, x, y, frame: [left, top, width, height] };
        chart.axes();
        chart
    }

    fn axes(&mut self) {
        let [left, top, width, height] = self.frame;
        let (right, bottom) = (left + width, top + height);
        let mut body = format!("<text class=\"name\" x=\"12\" y=\"17\">{}</text>", escape(&self.panel.title));
        let (mut grid, mut labels) = (String::new(), String::new());
        for (value, label) in self.x.ticks() {
            let x = left + width * self.x.position(value);
            let _ = write!(grid, "M{x:.1} {top:.1}V{bottom:.1}");
            let _ =
                write!(labels, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", bottom + 18.0, escape(&label));
        }
        for (value, label) in self.y.ticks() {
            let y = bottom - height * self.y.position(value);
            let _ = write!(grid, "M{left:.1} {y:.1}H{right:.1}");
            let _ = write!(
                labels,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.5,
                escape(&label)
            );
        }
        let _ = write!(body, "<path class=\"grid\" d=\"{grid}\"/><g class=\"soft\">{labels}");
        let (middle, below) = (left + width / 2.0, bottom + 38.0);
        let _ = write!(body, "<text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{}</text>", escape(&self.x.label));
        let beside = top + height / 2.0;
        let turned = format!("transform=\"translate(15 {beside:.1}) rotate(-90)\" text-anchor=\"middle\"");
        let _ = write!(body, "<text {turned}>{}</text></g>", escape(&self.y.label));
        let _ = write!(body, "<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>");
        self.panel.body = body;
    }

    /// Least and greatest value of each axis.
    pub fn ranges(&self) -> [[f64; 2]; 2] {
        [&self.x, &self.y].map(|axis| [axis.min, axis.max])
    }

    /// Pixel of the point (x, y).
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, width, height] = self.frame;
        (left + width * self.x.position(x), top + height * (1.0 - self.y.position(y)))
    }

    /// Whether the point (x, y) lies in the frame.
    pub fn holds(&self, (x, y): (f64, f64)) -> bool {
        self.x.holds(x) && self.y.holds(y)
    }

    /// A line of class `class` through the points that lie in the frame.
    pub fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let pixels = points.iter().filter(|p| self.holds(**p)).map(|p| self.at(*p));
        let path: Vec<String> = pixels.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if path.len() > 1 {
            let _ = write!(self.panel.body, "<path class=\"line {class}\" d=\"M{}\"/>", path.join("L"));
        }
    }

    /// Marks of class `class` on the points that lie in the frame.
    pub fn marks(&mut self, class: &str, mark: Mark, points: &[(f64, f64)]) {
        let pixels = points.iter().filter(|p| self.holds(**p)).map(|p| self.at(*p));
        let path: String = pixels.map(|(x, y)| mark.path(x, y)).collect();
        if !path.is_empty() {
            let _ = write!(self.panel.body, "<path class=\"mark {class}\" d=\"{path}\"/>");
        }
    }

    /// A cloud of class `class`: a round dot on each point that lies in the frame.
    pub fn cloud(&mut self, class: &str, points: &[(f64, f64)]) {
        let pixels = points.iter().filter(|p| self.holds(**p)).map(|p| self.at(*p));
        let path: String = pixels.map(|(x, y)| format!("M{x:.1} {y:.1}h0")).collect();
        if !path.is_empty() {
            let _ = write!(self.panel.body, "<path class=\"cloud {class}\" d=\"{path}\"/>");
        }
    }

    /// A filled block of class `class` between two corners.
    pub fn block(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x0, y0), (x1, y1)) = (self.at(from), self.at(to));
        let (x, y, w, h) = (x0.min(x1), y0.min(y1), (x1 - x0).abs(), (y1 - y0).abs());
        let _ = write!(
            self.panel.body,
            "<rect class=\"block {class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\"/>"
        );
    }

    /// A soft `text` that begins `shift` pixels from the point.
    pub fn note(&mut self, point: (f64, f64), shift: (f64, f64), text: &str) {
        let (x, y) = self.at(point);
        let (x, y, text) = (x + shift.0, y + shift.1, escape(text));
        let _ = write!(self.panel.body, "<text class=\"soft\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"start\">{text}</text>");
    }

    /// The panel, with a legend of (class, key, label) below the frame and its alternative text.
    pub fn finish(mut self, legend: &[(&str, Key, &str)], alt: String) -> Panel {
        let left = 12.0;
        let (mut x, mut y) = (left, self.panel.height + 12.0);
        for (class, key, label) in legend {
            let advance = 30.0 + width_of(label) + 14.0;
            if x > left && x + advance > self.panel.width {
                (x, y) = (left, y + 20.0);
            }
            let key = match key {
                Key::Line(mark) => format!(
                    "<path class=\"line {class}\" d=\"M{x:.1} {:.1}h24\"/><path class=\"mark {class}\" d=\"{}\"/>",
                    y - 4.5,
                    mark.path(x + 12.0, y - 4.5)
                ),
                Key::Stroke => format!("<path class=\"line {class}\" d=\"M{x:.1} {:.1}h24\"/>", y - 4.5),
                Key::Block => {
                    format!(
                        "<rect class=\"block {class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"16\" height=\"10\"/>",
                        x + 4.0,
                        y - 9.5
                    )
                }
                Key::Mark(mark) => format!("<path class=\"mark {class}\" d=\"{}\"/>", mark.path(x + 12.0, y - 4.5)),
            };
            let _ = write!(self.panel.body, "{key}<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + 30.0, escape(label));
            x += advance;
        }
        if !legend.is_empty() {
            self.panel.height = y + 8.0;
        }
        Panel { alt, ..self.panel }
    }
}

impl Panel {
    fn empty() -> Self {
        Self { width: 0.0, height: 0.0, title: String::new(), alt: String::new(), body: String::new() }
    }
}

/// Pixels that `text` takes at the figures' 13 pixels, in a font on the wide side.
fn width_of(text: &str) -> f64 {
    let advance = |c| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | '-' | '.' | ',' | ' ' | '(' | ')' => 4.6,
        'm' | 'w' | 'M' | 'W' | '−' | '×' => 11.8,
        '⁰'..='⁻' | '¹' | '²' | '³' => 5.2,
        _ => 8.0,
    };
    text.chars().map(advance).sum()
}

/// `text` as the content or a quoted attribute of an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
