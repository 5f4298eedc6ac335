//! How the trainings went.

use maud::{Markup, PreEscaped, html};

use super::figures::Figures;
use crate::report::study::{Study, Verdict};

pub fn section(study: &Study, figures: &Figures) -> Option<Markup> {
    (!study.curves.is_empty()).then(|| {
        html! {
            @for (curve, panels) in study.curves.iter().zip(&figures.training) {
                h3 { (curve.name) }
                @if let Some(verdict) = &curve.verdict { (said(verdict)) }
                div.three {
                    @for (panel, figure) in curve.panels.iter().zip(panels) {
                        figure { h3 { (panel.title) } (PreEscaped(figure.inline())) }
                    }
                }
            }
        }
    })
}

fn said(verdict: &Verdict) -> Markup {
    match verdict {
        Verdict::Good(text) => html! { p { b.good { "Sound: " } (text) } },
        Verdict::Doubtful(text) => html! { p { b.bad { "Doubtful: " } (text) } },
        Verdict::Bad(text) => html! { p { b.bad { "Failed: " } (text) } },
    }
}
