//! Colours and the style sheet of figures.
//!
//! The series colours keep a contrast of at least 3:1 with their background and differ in lightness too; markers differ in shape, so
//! that no figure depends on colour alone.

/// Values of the colours on a light page, and on paper.
pub const LIGHT: &str = "--ink:#1c2127;--muted:#59636e;--page:#ffffff;--rule:#d8dde3;--grid:#e8ebef;\
--c0:#0b62c4;--c1:#c2410c;--c2:#0d7a5f;--c3:#7a3bd1;--c4:#b02a6b;--c5:#7a6200;--floor:#737c87;--base:#1c2127;\
--heat:#0b62c4;--on-pale:#000000;--on-heat:#ffffff;--warn:#fff3d6;--warn-rule:#b87a0a;--good:#0d7a5f;--bad:#b42318";

/// Values of the colours on a dark page.
pub const DARK: &str = "--ink:#e6e9ed;--muted:#9aa4b0;--page:#14171b;--rule:#363d46;--grid:#272d34;\
--c0:#6cb2ff;--c1:#ff9a62;--c2:#4fd1aa;--c3:#c1a0ff;--c4:#ff8fc0;--c5:#e0c34d;--floor:#8d97a3;--base:#e6e9ed;\
--heat:#2f74d0;--on-pale:#ffffff;--on-heat:#ffffff;--warn:#33290f;--warn-rule:#c98d1a;--good:#4fd1aa;--bad:#ff8a7a";

/// From this shade of `--heat` over the page on, text is in `--on-heat`, below in `--on-pale`.
pub const DEEP: f64 = 0.86;

/// How the parts of a figure look, in terms of the colours above.
pub const CHART_CSS: &str = "\
svg.figure text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif;fill:var(--ink)}\
svg.figure .bg{fill:var(--page)}\
svg.figure .small{font-size:12px;fill:var(--muted)}\
svg.figure .name{font-weight:600}\
svg.figure .grid{stroke:var(--grid);stroke-width:1}\
svg.figure .axis{stroke:var(--muted);stroke-width:1}\
svg.figure .line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}\
svg.figure .thin{stroke-width:1.6}\
svg.figure .dashed{stroke-dasharray:7 4}\
svg.figure .dotted{stroke-dasharray:1.5 4}\
svg.figure .band{opacity:.16;stroke:none}\
svg.figure .leader{stroke:var(--rule);stroke-width:1;fill:none}\
svg.figure .level{stroke:var(--muted);stroke-width:1.2;stroke-dasharray:2 3}\
svg.figure .s0{stroke:var(--c0)}svg.figure .s1{stroke:var(--c1)}svg.figure .s2{stroke:var(--c2)}\
svg.figure .s3{stroke:var(--c3)}svg.figure .s4{stroke:var(--c4)}svg.figure .s5{stroke:var(--c5)}\
svg.figure .sfloor{stroke:var(--floor)}svg.figure .sbase{stroke:var(--base)}\
svg.figure .f0{fill:var(--c0)}svg.figure .f1{fill:var(--c1)}svg.figure .f2{fill:var(--c2)}\
svg.figure .f3{fill:var(--c3)}svg.figure .f4{fill:var(--c4)}svg.figure .f5{fill:var(--c5)}\
svg.figure .ffloor{fill:var(--floor)}svg.figure .fbase{fill:var(--base)}\
svg.figure .hollow{fill:var(--page);stroke-width:1.6}\
svg.figure text.t0{fill:var(--c0)}svg.figure text.t1{fill:var(--c1)}svg.figure text.t2{fill:var(--c2)}\
svg.figure text.t3{fill:var(--c3)}svg.figure text.t4{fill:var(--c4)}svg.figure text.t5{fill:var(--c5)}\
svg.figure text.tfloor{fill:var(--muted)}svg.figure text.tbase{fill:var(--base)}\
svg.figure .cell{fill:var(--heat)}\
svg.figure .frame{fill:none;stroke:var(--rule);stroke-width:1}\
svg.figure .diagonal{fill:none;stroke:var(--muted);stroke-width:1}\
svg.figure text.pale{fill:var(--on-pale)}svg.figure text.deep{fill:var(--on-heat)}";

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a colour, red, green and blue from 0 to 1.
    fn colour(theme: &str, name: &str) -> [f64; 3] {
        let value = theme.split(';').find_map(|pair| pair.strip_prefix(name)?.strip_prefix(":#")).expect(name);
        [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&value[at..at + 2], 16).unwrap()) / 255.0)
    }

    /// The contrast ratio of two colours (Web Content Accessibility Guidelines 2.2).
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let luminance = |colour: [f64; 3]| {
            let [r, g, b] = colour.map(|v| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) });
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        if a > b { a / b } else { b / a }
    }

    #[test]
    fn text_can_be_read_and_lines_be_seen_in_light_and_in_the_dark() {
        for theme in [LIGHT, DARK] {
            let on = |ground: &str, name: &str| contrast(colour(theme, ground), colour(theme, name));
            for name in ["--ink", "--muted", "--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--base", "--good", "--bad"] {
                assert!(on("--page", name) >= 4.5, "{name} {:.2}", on("--page", name));
            }
            assert!(on("--warn", "--ink") >= 4.5 && on("--page", "--floor") >= 3.0 && on("--page", "--warn-rule") >= 3.0);
            assert!(on("--grid", "--c0") >= 3.0, "bars on their track");
        }
    }

    #[test]
    fn numbers_can_be_read_on_every_shade_of_a_cell() {
        for theme in [LIGHT, DARK] {
            let [page, heat] = ["--page", "--heat"].map(|name| colour(theme, name));
            for step in 0..=1000 {
                let shade = f64::from(step) / 1000.0;
                let cell = [0, 1, 2].map(|i| page[i] + shade * (heat[i] - page[i]));
                let found = contrast(cell, colour(theme, if shade > DEEP { "--on-heat" } else { "--on-pale" }));
                assert!(found >= 4.5, "{shade}: {found:.2}");
            }
        }
    }
}
