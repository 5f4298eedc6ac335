//! Figures as SVG, coloured by CSS classes so that one figure serves light and dark pages and stands alone as a file.

mod axis;
mod heatmap;
mod lines;
mod svg;
mod theme;

pub use axis::Axis;
pub use heatmap::heatmap;
pub use lines::{Chart, Look, Point, Series};
pub use svg::Figure;
pub use theme::{CHART_CSS, DARK, LIGHT};
