//! Small words of messages: counts and guesses at what was meant.

/// Returns `1 image`, `2 images`, `119,961 images`.
pub fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 {
        thing.to_string()
    } else if let Some(stem) = thing.strip_suffix('y').filter(|s| !s.ends_with(['a', 'e', 'o', 'u'])) {
        format!("{stem}ies")
    } else if thing.ends_with('s') || thing.ends_with("ch") || thing.ends_with('x') {
        format!("{thing}es")
    } else {
        format!("{thing}s")
    };
    format!("{} {plural}", thousands(n))
}

/// Returns the digits of `n` in groups of three.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns the candidate that `word` was probably meant to be: at most one third of its letters away.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (edit_distance(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// The least number of letters to insert, delete, replace or swap with a neighbour (Damerau, optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_nouns() {
        assert_eq!(count(1, "image"), "1 image");
        assert_eq!(count(119_961, "image"), "119,961 images");
        assert_eq!(count(3, "class"), "3 classes");
        assert_eq!(count(2, "entry"), "2 entries");
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert_eq!(nearest("encodr", ["encoder", "split"]), Some("encoder"));
        assert_eq!(nearest("spilt", ["images", "split"]), Some("split"));
        assert_eq!(nearest("teacher", ["images", "split"]), None);
    }
}
