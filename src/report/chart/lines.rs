//! Line charts: curves with bands, named at their ends.

use super::axis::Axis;
use super::svg::{Anchor, Figure, width_of};

/// How a series looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A coloured line with filled markers; the number chooses both.
    Studied(usize),
    /// A thin grey dashed line; the number chooses the marker.
    Floor(usize),
    /// A dashed line in the text's colour.
    Baseline,
    /// Hollow markers in a method's colour, dotted: published numbers.
    Published(usize),
    /// A thin coloured line without markers, for many points.
    Trace(usize),
}

/// A point of a series with the band around it.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// From where to where the band around it reaches.
    pub band: Option<(f64, f64)>,
}

impl Point {
    /// Returns the lower end of the band, or the point itself.
    pub fn low(&self) -> f64 {
        self.band.map_or(self.y, |(low, _)| low)
    }

    /// Returns the upper end of the band, or the point itself.
    pub fn high(&self) -> f64 {
        self.band.map_or(self.y, |(_, high)| high)
    }
}

/// A named curve.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub look: Look,
    pub points: Vec<Point>,
}

/// A line chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What the figure shows, for those who cannot see it.
    pub title: String,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Horizontal lines with their names.
    pub levels: Vec<(String, f64)>,
}

/// A name at the right edge and the height it wants.
struct EndLabel {
    text: String,
    class: String,
    wanted: f64,
    y: f64,
}

const LEFT: f64 = 58.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;
const LABEL_HEIGHT: f64 = 16.0;

impl Chart {
    /// Draws the chart.
    pub fn draw(&self) -> Figure {
        let mut figure = Figure::new(self.width, self.height, &self.title);
        let names = self.series.iter().map(|s| s.name.as_str()).chain(self.levels.iter().map(|(name, _)| name.as_str()));
        let right = 26.0 + names.map(width_of).fold(0.0, f64::max);
        let (w, h) = ((self.width - LEFT - right).max(60.0), self.height - TOP - BOTTOM);
        let at = |x: f64, y: f64| (LEFT + self.x.place(x) * w, TOP + (1.0 - self.y.place(y)) * h);
        self.draw_axes(&mut figure, w, h);

        let mut labels = Vec::new();
        for (name, value) in self.levels.iter().filter(|(_, value)| (-0.01..=1.01).contains(&self.y.place(*value))) {
            let y = TOP + (1.0 - self.y.place(*value)) * h;
            figure.path(&[(LEFT, y), (LEFT + w, y)], "level");
            labels.push(EndLabel { text: name.clone(), class: "small".into(), wanted: y, y });
        }
        // Bands first, so that no band hides a line.
        let drawn: Vec<(&Series, Vec<Point>)> = self.series.iter().map(|s| (s, finite(&s.points))).collect();
        for (series, points) in drawn.iter().filter(|(_, points)| points.iter().any(|p| p.high() > p.low())) {
            let upper = points.iter().map(|p| at(p.x, p.high()));
            let lower = points.iter().rev().map(|p| at(p.x, p.low()));
            figure.area(&upper.chain(lower).collect::<Vec<_>>(), &format!("band f{}", colour(series.look)));
        }
        for (series, points) in &drawn {
            let Some(last) = points.last() else { continue };
            let places: Vec<(f64, f64)> = points.iter().map(|p| at(p.x, p.y)).collect();
            draw_series(&mut figure, series.look, &places);
            let (_, y) = at(last.x, last.y);
            let weight = if matches!(series.look, Look::Studied(_)) { " name" } else { "" };
            labels.push(EndLabel { text: series.name.clone(), class: format!("t{}{weight}", colour(series.look)), wanted: y, y });
        }
        // A curve alone in its figure needs no name.
        labels.retain(|label| !label.text.is_empty());
        spread_out(&mut labels, TOP, TOP + h);
        for label in &labels {
            figure.path(&[(LEFT + w + 3.0, label.wanted), (LEFT + w + 14.0, label.y)], "leader");
            figure.text(LEFT + w + 18.0, label.y + 4.5, Anchor::Start, &label.class, &label.text);
        }
        figure
    }

    fn draw_axes(&self, figure: &mut Figure, w: f64, h: f64) {
        for (value, text) in self.y.ticks(0.05) {
            let y = TOP + (1.0 - self.y.place(value)) * h;
            figure.path(&[(LEFT, y), (LEFT + w, y)], "grid");
            figure.text(LEFT - 8.0, y + 4.0, Anchor::End, "small", text);
        }
        for (value, text) in self.x.ticks(30.0 / w) {
            let x = LEFT + self.x.place(value) * w;
            figure.path(&[(x, TOP + h), (x, TOP + h + 5.0)], "axis");
            figure.text(x, TOP + h + 19.0, Anchor::Middle, "small", text);
        }
        figure.path(&[(LEFT, TOP + h), (LEFT + w, TOP + h)], "axis");
        figure.text(LEFT + w / 2.0, self.height - 9.0, Anchor::Middle, "", &self.x.label);
        figure.turned_text(16.0, TOP + h / 2.0, -90.0, Anchor::Middle, "", &self.y.label);
    }
}

fn finite(points: &[Point]) -> Vec<Point> {
    let mut points: Vec<Point> = points.iter().copied().filter(|p| p.x.is_finite() && p.y.is_finite()).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

/// The name of a series' colour in the style sheet.
fn colour(look: Look) -> String {
    match look {
        Look::Studied(i) | Look::Published(i) | Look::Trace(i) => (i % 6).to_string(),
        Look::Floor(_) => "floor".to_string(),
        Look::Baseline => "base".to_string(),
    }
}

fn draw_series(figure: &mut Figure, look: Look, places: &[(f64, f64)]) {
    let c = colour(look);
    let line = match look {
        Look::Studied(_) => "line",
        Look::Floor(_) => "line thin dashed",
        Look::Baseline => "line thin dashed",
        Look::Published(_) => "line thin dotted",
        Look::Trace(_) => "line thin",
    };
    figure.path(places, &format!("{line} s{c}"));
    for (x, y) in places {
        match look {
            Look::Studied(i) => figure.marker(*x, *y, i, &format!("f{c}")),
            Look::Floor(i) => figure.marker(*x, *y, i, &format!("f{c}")),
            Look::Baseline => figure.marker(*x, *y, 0, &format!("f{c}")),
            Look::Published(i) => figure.marker(*x, *y, i, &format!("hollow s{c}")),
            Look::Trace(_) => {}
        }
    }
}

/// Moves labels apart until none hides another, keeping their order and as near as may be to where they belong.
fn spread_out(labels: &mut [EndLabel], top: f64, bottom: f64) {
    labels.sort_by(|a, b| a.wanted.total_cmp(&b.wanted));
    let mut least = top;
    for label in labels.iter_mut() {
        label.y = label.wanted.max(least);
        least = label.y + LABEL_HEIGHT;
    }
    let mut most = bottom;
    for label in labels.iter_mut().rev() {
        label.y = label.y.min(most);
        most = label.y - LABEL_HEIGHT;
    }
    // What was pushed down together now moves back up half-way, unless something is in its way.
    for i in 0..labels.len() {
        let above = if i == 0 { top } else { labels[i - 1].y + LABEL_HEIGHT };
        let crowd = (i..labels.len()).take_while(|j| labels[*j].y - labels[i].y <= (j - i) as f64 * LABEL_HEIGHT + 0.01);
        let shifts: Vec<f64> = crowd.map(|j| labels[j].wanted - labels[j].y).collect();
        let shift = shifts.iter().sum::<f64>() / shifts.len().max(1) as f64;
        if shift < 0.0 {
            let shift = shift.max(above - labels[i].y).min(0.0);
            labels[i..i + shifts.len()].iter_mut().for_each(|label| label.y += shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_overlap_and_keep_their_order() {
        let label = |wanted: f64| EndLabel { text: String::new(), class: String::new(), wanted, y: wanted };
        let mut labels: Vec<EndLabel> = [100.0, 101.0, 99.0, 300.0, 305.0].map(label).into();
        spread_out(&mut labels, 10.0, 310.0);
        assert!(labels.windows(2).all(|w| w[1].y - w[0].y >= LABEL_HEIGHT - 0.01), "{:?}", labels.iter().map(|l| l.y).collect::<Vec<_>>());
        assert!(labels.iter().all(|l| (10.0..=310.0).contains(&l.y)));
        assert!((labels[1].y - 100.0).abs() < 1.0);
    }
}
