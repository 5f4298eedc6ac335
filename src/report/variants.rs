//! Figures of the variants of a matrix, with differences to the first: as a page, Markdown, CSV or rows.

use serde_json::{Value, json};

use crate::diagnostic::{Context, Failure, count};

pub use super::page::variants_page;

/// What is compared: labels of the variants, and each figure's value in each of them.
#[derive(Clone, Debug, Default)]
pub struct Variants {
    pub title: String,
    /// "epochs=5,k=3"
    pub labels: Vec<String>,
    /// Those of one node stand together.
    pub figures: Vec<VariantFigure>,
}

/// A figure of a node, variant by variant; none where there is no result.
#[derive(Clone, Debug)]
pub struct VariantFigure {
    pub node: String,
    pub metric: String,
    pub values: Vec<Option<f64>>,
}

impl VariantFigure {
    /// Returns how far a later variant is from the first; none for the first itself and where either has no result.
    pub fn difference(&self, variant: usize) -> Option<f64> {
        Some(self.values[variant]? - self.values[0]?).filter(|_| variant > 0)
    }
}

impl Variants {
    /// Says in words what the columns are.
    pub fn about(&self) -> String {
        let first = self.labels.first().map_or("", String::as_str);
        format!("{}; in brackets the difference to the first, {first}", count(self.labels.len(), "variant"))
    }

    /// Returns the table as Markdown, a row for each figure.
    pub fn to_markdown(&self) -> String {
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        // A bar would end the cell.
        let plain = |text: &str| text.replace('|', "\\|");
        let mut text = row(std::iter::once("figure".to_string()).chain(self.labels.iter().map(|label| plain(label))).collect());
        text += &row(std::iter::once(":--".to_string()).chain(self.labels.iter().map(|_| "--:".to_string())).collect());
        for figure in &self.figures {
            let cells = (0..self.labels.len()).map(|variant| figure.cell(variant));
            text += &row(std::iter::once(plain(&format!("{} {}", figure.node, figure.metric))).chain(cells).collect());
        }
        text
    }

    /// Returns an object for each variant and figure.
    pub fn rows(&self) -> Vec<Value> {
        let row = |figure: &VariantFigure, variant: usize| {
            json!({
                "variant": self.labels[variant],
                "node": figure.node,
                "metric": figure.metric,
                "value": figure.values[variant],
                "difference_to_first": figure.apart_from_first(variant),
            })
        };
        self.figures.iter().flat_map(|figure| (0..self.labels.len()).map(move |variant| row(figure, variant))).collect()
    }

    /// Returns a line for each variant and figure.
    pub fn to_csv(&self) -> Result<String, Failure> {
        let what = || "failed to write the table";
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["variant", "node", "metric", "value", "difference_to_first"]).doing(what)?;
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for figure in &self.figures {
            for (variant, label) in self.labels.iter().enumerate() {
                let (value, apart) = (number(figure.values[variant]), number(figure.apart_from_first(variant)));
                writer.write_record([label, &figure.node, &figure.metric, &value, &apart]).doing(what)?;
            }
        }
        String::from_utf8(writer.into_inner().doing(what)?).doing(what)
    }
}

impl VariantFigure {
    /// Returns `0.6100 (+0.0200)`; the first variant stands alone.
    pub fn cell(&self, variant: usize) -> String {
        match (self.values[variant], self.difference(variant)) {
            (Some(value), Some(apart)) => format!("{value:.4} ({apart:+.4})"),
            (Some(value), None) => format!("{value:.4}"),
            (None, _) => "-".to_string(),
        }
    }

    /// The difference to the first variant, which differs by nothing from itself.
    fn apart_from_first(&self, variant: usize) -> Option<f64> {
        Some(self.values[variant]? - self.values[0]?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variants() -> Variants {
        let figure =
            |node: &str, values: [Option<f64>; 2]| VariantFigure { node: node.into(), metric: "SVM|10".into(), values: values.into() };
        Variants {
            title: "ablation <of> things".into(),
            labels: vec!["k=1".into(), "k=2".into()],
            figures: vec![figure("sweep", [Some(0.5), Some(0.625)]), figure("other", [None, Some(1.0)])],
        }
    }

    #[test]
    fn markdown_has_a_row_for_each_figure_with_differences_to_the_first() {
        let expected = "\
| figure | k=1 | k=2 |
| :-- | --: | --: |
| sweep SVM\\|10 | 0.5000 | 0.6250 (+0.1250) |
| other SVM\\|10 | - | 1.0000 |
";
        assert_eq!(variants().to_markdown(), expected);
    }

    #[test]
    fn the_page_has_a_table_for_each_node_and_needs_nothing_else() {
        let page = variants_page(&variants());
        assert!(
            page.contains("<h1>ablation &lt;of&gt; things</h1>")
                && page.contains("2 variants; in brackets the difference to the first, k=1")
        );
        assert_eq!(page.matches("<table>").count(), 2);
        assert!(page.contains("<td>0.6250 <span style=\"color:var(--muted)\">(+0.1250)</span></td>"), "{page}");
        for foreign in ["http://", "https://", "<script", "<link"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
