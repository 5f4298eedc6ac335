//! A confusion matrix as a field of shaded cells with their numbers.

use super::svg::{Anchor, Figure, width_of};
use super::theme::DEEP;
use crate::report::words::share;

/// Draws shares of rows: `shares[row][column]`, none where a row is empty. Rows are true classes, columns predicted ones.
pub fn heatmap(title: &str, names: &[&str], shares: &[Vec<Option<f64>>]) -> Figure {
    let n = names.len().max(1) as f64;
    let longest = names.iter().map(|name| width_of(name)).fold(40.0, f64::max);
    let cell = (900.0 / n).clamp(34.0, 56.0);
    // Slanted names need room above, and the last one to the right.
    let (left, top, right) = (longest + 34.0, longest * 0.72 + 40.0, longest * 0.72 + 12.0);
    let (width, height) = (left + n * cell + right, top + n * cell + 12.0);
    let mut figure = Figure::new(width, height, title);
    for (row, name) in names.iter().enumerate() {
        let y = top + row as f64 * cell;
        figure.text(left - 8.0, y + cell / 2.0 + 4.5, Anchor::End, "", name);
        let x = left + row as f64 * cell;
        figure.turned_text(x + cell / 2.0, top - 8.0, -45.0, Anchor::Start, "", name);
        for (column, share_of_row) in shares.get(row).into_iter().flatten().enumerate() {
            let x = left + column as f64 * cell;
            let Some(value) = *share_of_row else { continue };
            // The root shows small confusions too; white cells stay white.
            let shade = value.clamp(0.0, 1.0).sqrt();
            figure.rect(x, y, cell, cell, "cell", Some(shade));
            if value >= 0.005 {
                let class = if shade > DEEP { "deep" } else { "pale" };
                figure.text(x + cell / 2.0, y + cell / 2.0 + 4.5, Anchor::Middle, class, &share(value));
            }
        }
        figure.rect(x, y, cell, cell, "diagonal", None);
    }
    figure.rect(left, top, n * cell, n * cell, "frame", None);
    figure.text(left, 16.0, Anchor::Start, "small", "columns: predicted class");
    figure.turned_text(14.0, top + n * cell / 2.0, -90.0, Anchor::Middle, "small", "rows: true class");
    figure
}
