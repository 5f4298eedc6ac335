//! Each row judged by its nearest neighbours among all others: how well a representation keeps classes together, without a split.
//!
//! The weighted k-NN of Wu et al. 2018 (arXiv:1805.01978), as DINO watches trainings with: L2-normalised rows, votes of exp(cosine/0.07).

use rayon::prelude::*;

use super::metrics::Confusion;

/// Sharpness of votes.
const TEMPERATURE: f64 = 0.07;

/// Returns who is taken for what: `rows` (n × `dim`), each with its class among `classes`, judged by the `k` nearest others.
///
/// # Panics
/// If `dim` or `k` is 0, or a row has no class.
pub fn judged_by_others(rows: &[f32], dim: usize, class: &[usize], classes: usize, k: usize) -> Confusion {
    let unit: Vec<Vec<f64>> = rows
        .chunks_exact(dim)
        .map(|row| {
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
            row.iter().map(|x| f64::from(*x) / norm).collect()
        })
        .collect();
    let predict = |i: usize| {
        let others = (0..unit.len()).filter(|j| *j != i);
        let mut near: Vec<(f64, usize)> = others.map(|j| (unit[i].iter().zip(&unit[j]).map(|(a, b)| a * b).sum(), j)).collect();
        // The earlier row among equals.
        let nearer = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if k < near.len() {
            near.select_nth_unstable_by(k - 1, nearer);
            near.truncate(k);
        }
        near.sort_unstable_by(nearer);
        let mut votes = vec![0.0; classes];
        near.iter().for_each(|(cosine, j)| votes[class[*j]] += (cosine / TEMPERATURE).exp());
        let winner = (0..classes).max_by(|a, b| votes[*a].total_cmp(&votes[*b]).then(b.cmp(a)));
        winner.map(|predicted| (class[i], predicted))
    };
    let pairs: Vec<(usize, usize)> = (0..unit.len()).into_par_iter().filter_map(predict).collect();
    Confusion::of(classes, pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_never_votes_for_itself() {
        // Two pairs and one alone: its nearest neighbour is of another class.
        let rows = [1.0f32, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9, 0.6, 0.5];
        let confusion = judged_by_others(&rows, 2, &[0, 0, 1, 1, 2], 3, 1);
        assert_eq!([confusion.at(0, 0), confusion.at(1, 1), confusion.at(2, 0)], [2, 2, 1]);
        assert!((confusion.balanced_accuracy() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_length_of_a_row_does_not_count_and_near_votes_count_more() {
        let rows = [10.0f32, 0.0, 0.99, 0.01, 0.0, 3.0, 0.1, 7.0, 0.3, 1.0];
        let confusion = judged_by_others(&rows, 2, &[0, 0, 1, 1, 1], 2, 4);
        assert_eq!(confusion.balanced_accuracy(), 1.0);
    }
}
