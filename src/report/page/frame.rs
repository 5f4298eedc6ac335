//! The page as a whole: head, first sentences, warnings, sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::Figures;
use super::{classes, data, provenance, results, training};
use crate::report::chart::{CHART_CSS, DARK, LIGHT};
use crate::report::findings::{headline, warnings};
use crate::report::study::Study;

/// Returns the page as text.
pub fn page(study: &Study, figures: &Figures) -> String {
    let sections: Vec<(&str, &str, Markup)> = [
        ("results", "Results", results::section(study, figures)),
        ("classes", "Classes", classes::section(study, figures)),
        ("training", "Training", training::section(study, figures)),
        ("data", "Data", data::section(study)),
        ("provenance", "Provenance", provenance::section(study)),
    ]
    .into_iter()
    .filter_map(|(id, title, content)| content.map(|content| (id, title, content)))
    .collect();
    let warnings = warnings(study);
    let body = html! {
        header {
            h1 { (study.title) }
            @if !study.subtitle.is_empty() { p.subtitle { (study.subtitle) } }
            @for sentence in headline(study) { p.headline { (sentence) } }
            nav {
                @for (id, title, _) in &sections { a href=(format!("#{id}")) { (title) } " " }
            }
        }
        @if !warnings.is_empty() {
            aside.warnings {
                h2 { "Before believing a number" }
                ul { @for warning in &warnings { li { (warning) } } }
            }
        }
        @for (id, title, content) in &sections {
            section id=(id) {
                h2 { (title) }
                (content)
            }
        }
        @if !study.notes.is_empty() {
            section {
                h2 { "Notes" }
                ul { @for note in &study.notes { li { (note) } } }
            }
        }
    };
    document(&study.title, &body)
}

/// Puts a page's content into a document that needs nothing else.
pub(super) fn document(title: &str, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style())) }
            }
            body { main { (body) } }
        }
    };
    markup.into_string()
}

fn style() -> String {
    format!(":root{{color-scheme:light dark;{LIGHT}}}@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}{PAGE_CSS}{CHART_CSS}")
}

const PAGE_CSS: &str = "\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}\
main{max-width:1144px;margin:0 auto;padding:32px 24px 64px}\
h1{font-size:30px;line-height:1.2;margin:0 0 4px}\
h2{font-size:21px;margin:44px 0 12px;padding-top:14px;border-top:1px solid var(--rule)}\
h3{font-size:16px;margin:26px 0 6px}\
p{margin:8px 0;max-width:76ch}\
.subtitle{color:var(--muted);margin-bottom:18px}\
.headline{font-size:19px;line-height:1.45;margin:10px 0}\
nav{margin-top:18px;font-size:14px}nav a{color:var(--c0);margin-right:14px;text-decoration:none}nav a:hover{text-decoration:underline}\
.warnings{background:var(--warn);border-left:4px solid var(--warn-rule);padding:12px 20px 12px;margin:26px 0 0;border-radius:0 6px 6px 0}\
.warnings h2{border:0;margin:0 0 4px;padding:0;font-size:16px}.warnings ul{margin:0;padding-left:20px}\
figure{margin:14px 0 8px;overflow-x:auto}figure svg,figure img{max-width:100%;height:auto;display:block}\
figcaption,.caption{color:var(--muted);font-size:14px;margin-top:4px;max-width:96ch}\
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(460px,1fr));gap:8px 24px}\
.three{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:8px 20px}\
.three h3,.pair h3{margin-top:12px}\
.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-size:14px;margin:10px 0;font-variant-numeric:tabular-nums}\
th,td{padding:5px 12px 5px 0;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}\
th{font-weight:600;border-bottom:1px solid var(--rule);vertical-align:bottom}\
th.text,td.text{text-align:left}td.wrap{white-space:normal;max-width:340px;overflow-wrap:anywhere}\
tr.group td{padding-top:14px}td.muted,tr.muted td{color:var(--muted)}td.best{font-weight:700}\
.interval{display:block;font-size:12px;font-weight:400;color:var(--muted)}\
tr.total td{font-weight:600;border-top:1px solid var(--rule)}\
.bar{display:inline-block;width:120px;height:9px;background:var(--grid);vertical-align:middle;margin-left:8px;border-radius:2px}\
.bar i{display:block;height:9px;background:var(--c0);border-radius:2px}\
code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace}\
.good{color:var(--good)}.bad{color:var(--bad)}\
@media print{body{font-size:11pt}main{max-width:none;padding:0}nav{display:none}figure,tr,.warnings{break-inside:avoid}h2,h3{break-after:avoid}\
table{font-size:9pt}th,td{padding:3px 8px 3px 0}.scroll,figure{overflow:visible}.pair{grid-template-columns:1fr 1fr}.three{grid-template-columns:1fr 1fr 1fr}\
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}";
