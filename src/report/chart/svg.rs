//! A drawing as SVG text.
//!
//! Coordinates are written with one decimal, so that the bytes do not depend on the last bits of a logarithm.

use std::fmt::Write;

use super::theme::{CHART_CSS, LIGHT};

/// A finished or growing figure.
#[derive(Clone, Debug)]
pub struct Figure {
    width: f64,
    height: f64,
    /// Read aloud instead of the picture.
    title: String,
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Figure {
    /// Starts an empty figure of the given size in pixels.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        Self { width, height, title: title.to_string(), body: String::new() }
    }

    /// Adds a line through points.
    pub fn path(&mut self, points: &[(f64, f64)], class: &str) {
        self.shape(points, class, "");
    }

    /// Adds a filled area with points as its border.
    pub fn area(&mut self, points: &[(f64, f64)], class: &str) {
        self.shape(points, class, "Z");
    }

    fn shape(&mut self, points: &[(f64, f64)], class: &str, end: &str) {
        let mut d = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let _ = write!(self.body, r#"<path class="{class}" d="{d}{end}"/>"#);
    }

    /// Adds a rectangle.
    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str, opacity: Option<f64>) {
        let opacity = opacity.map_or(String::new(), |o| format!(r#" fill-opacity="{o:.3}""#));
        let _ = write!(self.body, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"{opacity}/>"#);
    }

    /// Adds a text; its baseline is `y`.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        self.turned_text(x, y, 0.0, anchor, class, text);
    }

    /// Adds a text turned clockwise by `degrees` about its place.
    pub fn turned_text(&mut self, x: f64, y: f64, degrees: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = if degrees == 0.0 { String::new() } else { format!(r#" transform="rotate({degrees:.0} {x:.1} {y:.1})""#) };
        let text = escaped(text);
        let _ = write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{turn}>{text}</text>"#);
    }

    /// Adds a marker: the shape tells series apart without colour.
    pub fn marker(&mut self, x: f64, y: f64, shape: usize, class: &str) {
        let r = 3.6;
        match shape % 4 {
            0 => {
                let _ = write!(self.body, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{r:.1}"/>"#);
            }
            1 => self.rect(x - r, y - r, 2.0 * r, 2.0 * r, class, None),
            2 => self.area(&[(x, y - 5.0), (x + 5.0, y), (x, y + 5.0), (x - 5.0, y)], class),
            _ => self.area(&[(x, y - 4.8), (x + 4.6, y + 3.6), (x - 4.6, y + 3.6)], class),
        }
    }

    /// Returns the figure for a page that has the style sheet.
    pub fn inline(&self) -> String {
        self.svg("", "")
    }

    /// Returns the figure as a file of its own, on a light ground.
    pub fn standalone(&self) -> String {
        let style = format!("<style>svg{{{LIGHT}}}{CHART_CSS}</style>");
        let ground = format!(r#"<rect class="bg" x="0" y="0" width="{:.0}" height="{:.0}"/>"#, self.width, self.height);
        let svg = self.svg(r#" xmlns="http://www.w3.org/2000/svg""#, &format!("{style}{ground}"));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{svg}\n")
    }

    fn svg(&self, namespace: &str, first: &str) -> String {
        let (width, height) = (self.width, self.height);
        let title = escaped(&self.title);
        format!(
            r#"<svg{namespace} class="figure" role="img" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}"><title>{title}</title>{first}{}</svg>"#,
            self.body
        )
    }
}

/// Returns text that XML takes as it is; control characters, which XML has no place for, become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Returns about how wide a text is in pixels at 13 pixels' size.
pub fn width_of(text: &str) -> f64 {
    // Capitals and digits are wider than the rest of a proportional face.
    text.chars().map(|c| if c.is_uppercase() || c == 'm' || c == 'w' { 9.0 } else { 7.1 }).sum()
}
