//! How many images of each class a part gets, with scikit-learn's rounding.
//!
//! Follows `StratifiedShuffleSplit._iter_indices` and `sklearn.utils.extmath._approximate_mode` (scikit-learn 1.9.1).

use crate::random::Draws;

/// Shares out `n` draws over classes of the given sizes: each gets its proportion rounded down, and what is left goes to the largest
/// remainders; among equal remainders the draw decides.
pub fn approximate_mode(sizes: &[usize], n: usize, draws: &mut Draws) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    if total == 0 {
        return vec![0; sizes.len()];
    }
    // Divided before multiplied, as numpy does there: the remainders must tie where numpy's tie.
    let exact: Vec<f64> = sizes.iter().map(|size| *size as f64 / total as f64 * n as f64).collect();
    let mut shares: Vec<usize> = exact.iter().map(|x| x.floor() as usize).collect();
    let mut left = n.saturating_sub(shares.iter().sum());
    let remainder = |i: usize| exact[i] - exact[i].floor();
    let mut values: Vec<f64> = (0..sizes.len()).map(remainder).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values.dedup();
    for value in values {
        let mut tied: Vec<usize> = (0..sizes.len()).filter(|i| remainder(*i) == value).collect();
        draws.shuffle(&mut tied);
        for class in tied.into_iter().take(left) {
            shares[class] += 1;
            left -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// `/golden/sklearn/strat_split.json`: the paper's class counts, `train_test_split(test_size=0.3, stratify=y)`, any seed.
    const COUNTS: [usize; 21] =
        [8, 19630, 441, 11973, 27395, 5883, 47, 409, 42, 65, 26242, 3055, 4040, 6557, 9968, 29424, 3538, 294, 2740, 7629, 11994];
    const TRAIN: [usize; 21] =
        [6, 13741, 309, 8381, 19176, 4118, 33, 286, 29, 45, 18369, 2138, 2828, 4590, 6978, 20597, 2477, 206, 1918, 5340, 8396];
    const TEST: [usize; 21] =
        [2, 5889, 132, 3592, 8219, 1765, 14, 123, 13, 20, 7873, 917, 1212, 1967, 2990, 8827, 1061, 88, 822, 2289, 3598];

    #[test]
    fn the_papers_classes_are_shared_out_as_scikit_learn_does() {
        for seed in 0..4 {
            let mut draws = Stream::new(seed, "test").draws();
            let train = approximate_mode(&COUNTS, 119_961, &mut draws);
            assert_eq!(train, TRAIN);
            let rest: Vec<usize> = COUNTS.iter().zip(&train).map(|(a, b)| a - b).collect();
            assert_eq!(approximate_mode(&rest, 51_413, &mut draws), TEST);
        }
    }

    #[test]
    fn the_documented_example_of_scikit_learn_holds() {
        let mut draws = Stream::new(0, "test").draws();
        assert_eq!(approximate_mode(&[4, 2], 3, &mut draws), [2, 1]);
        let mut shares = approximate_mode(&[3, 3], 3, &mut draws);
        shares.sort();
        assert_eq!(shares, [1, 2]);
    }
}
