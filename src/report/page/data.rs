//! What the numbers were measured on: images by class and part, and sample pictures.

use maud::{Markup, html};

use crate::diagnostic::{count, thousands};
use crate::report::findings::step_of;
use crate::report::study::{ClassCount, Dataset, Study};

pub fn section(study: &Study) -> Option<Markup> {
    (!study.datasets.is_empty() || !study.sheets.is_empty()).then(|| {
        html! {
            @for data in &study.datasets { (dataset(data)) }
            @for sheet in &study.sheets {
                @if !sheet.png.is_empty() {
                    figure {
                        img src=(format!("data:image/png;base64,{}", base64(&sheet.png))) alt=(sheet.caption);
                        figcaption { (sheet.caption) }
                    }
                }
            }
        }
    })
}

fn dataset(data: &Dataset) -> Markup {
    let n_classes = data.classes.iter().filter(|c| c.test > 0).count();
    let total = |of: fn(&ClassCount) -> usize| thousands(data.classes.iter().map(of).sum());
    let validates = data.classes.iter().any(|c| c.validation > 0);
    html! {
        h3 { (data.name) }
        @if !data.split.is_empty() { p { "Split: " (data.split) "." } }
        div.scroll { table {
            thead { tr {
                th.text { "class" } th { "train" } @if validates { th { "validation" } } th { "test" } th { "one test image moves balanced accuracy by" }
            } }
            tbody {
                @for c in &data.classes { tr {
                    td.text { (c.class) } td { (thousands(c.train)) } @if validates { td { (thousands(c.validation)) } } td { (thousands(c.test)) }
                    td { @match step_of(n_classes, c.test) { Some(step) => (format!("{step:.4}")), None => "n/a" } }
                } }
                tr.total {
                    td.text { (count(data.classes.len(), "class")) } td { (total(|c| c.train)) } @if validates { td { (total(|c| c.validation)) } }
                    td { (total(|c| c.test)) } td {}
                }
            }
        } }
        @if data.unlabelled > 0 { p.caption { (count(data.unlabelled, "image")) " without a label, used for label-blind training alone." } }
        @if !data.notes.is_empty() { ul.caption { @for note in &data.notes { li { (note) } } } }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, b| (word << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn the_examples_of_rfc_4648_hold() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}
