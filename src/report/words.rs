//! Numbers as text.

/// Returns a share as the paper writes it: `.72`, `1.00`.
pub fn share(x: f64) -> String {
    if !x.is_finite() {
        return "n/a".to_string();
    }
    let text = format!("{x:.2}");
    text.strip_prefix('0').map(str::to_string).unwrap_or(text)
}

/// Returns a difference of shares: `+.05`, `-.02`, `.00`.
pub fn signed(x: f64) -> String {
    let text = share(x.abs());
    match text.as_str() {
        ".00" | "n/a" => text,
        _ if x < 0.0 => format!("-{text}"),
        _ => format!("+{text}"),
    }
}

/// Returns mean and deviation as the paper's Table 1 writes them: `.72(.01)`.
pub fn mean_std(mean: f64, std: Option<f64>) -> String {
    match std {
        Some(std) => format!("{}({})", share(mean), share(std)),
        None => share(mean),
    }
}

/// Returns a number with as many decimals as tell it apart from its neighbours on an axis with this step.
pub fn tick(x: f64, step: f64) -> String {
    let decimals = (-(step.abs().max(1e-12).log10()) - 1e-9).ceil().clamp(0.0, 8.0) as usize;
    let text = format!("{x:.decimals$}");
    // No axis needs a negative zero.
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.trim_start_matches('-').to_string() } else { text }
}

/// Returns a text as a file name: letters, digits and dashes.
pub fn file_name(text: &str) -> String {
    let dashed: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "unnamed".to_string() } else { parts.join("-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_written_as_in_the_paper() {
        assert_eq!(mean_std(0.724, Some(0.012)), ".72(.01)");
        assert_eq!(mean_std(0.998, Some(0.0)), "1.00(.00)");
        assert_eq!(share(f64::NAN), "n/a");
        assert_eq!([signed(0.05), signed(-0.05), signed(-0.004)], ["+.05", "-.05", ".00"]);
    }

    #[test]
    fn ticks_have_the_decimals_they_need() {
        assert_eq!([tick(0.2, 0.2), tick(5.0, 5.0), tick(0.25, 0.05), tick(-0.0, 1.0)], ["0.2", "5", "0.25", "0"]);
    }
}
